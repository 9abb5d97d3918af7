//! Themes: the style of each role and the glyphs, with fallbacks for terminals without color and for ASCII.

use ratatui::style::{Color, Modifier, Style};

use crate::options::{ColorMode, ColorScheme};

/// Role of a part of the screen, which the theme maps to a style.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StyleRole {
    /// Ordinary text.
    Plain,
    /// Labels, rules, and ended items.
    Dim,
    /// Headings and the program's name.
    Title,
    /// Success.
    Good,
    /// Warning.
    Warn,
    /// Failure.
    Bad,
    /// The stage or link that the headline is about.
    Cause,
    /// Moving bytes.
    Flow,
    /// The selected row of the focused panel.
    Selected,
    /// A key to press.
    Key,
    /// The cursor of a line being typed.
    Cursor,
}

/// Glyphs other than letters, each one column wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glyphs {
    /// Points toward the client, where the bytes go.
    pub arrow: &'static str,
    /// A link with traffic.
    pub line: &'static str,
    /// A link without traffic.
    pub idle: &'static str,
    /// The selected row of the focused panel.
    pub selected: &'static str,
    /// The selected row of another panel, and log lines above the level `Info`.
    pub unfocused: &'static str,
    /// Starts a heading.
    pub title: &'static str,
    /// Fills the rest of a heading.
    pub rule: &'static str,
    /// The full part of a gauge.
    pub full: &'static str,
    /// The end of the full part.
    pub head: &'static str,
    /// The empty part of a gauge.
    pub rest: &'static str,
    /// Eight heights, low to high.
    pub bars: [&'static str; 8],
    /// Time spent on connecting.
    pub connect: &'static str,
    /// Time spent waiting for a reply.
    pub wait: &'static str,
    /// Time spent waiting for input.
    pub starved: &'static str,
    /// Time spent waiting to send.
    pub blocked: &'static str,
    /// Time spent waiting for the own rate limit.
    pub limited: &'static str,
    /// Time spent on anything but waiting.
    pub busy: &'static str,
    /// Rows above the first visible one.
    pub above: &'static str,
    /// Rows below the last visible one.
    pub below: &'static str,
    /// Charts are drawn in braille.
    pub braille: bool,
}

const LINES: Glyphs = Glyphs {
    arrow: "◀",
    line: "━",
    idle: "╌",
    selected: "▌",
    unfocused: "▏",
    title: "▎",
    rule: "─",
    full: "━",
    head: "╸",
    rest: "╌",
    bars: ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
    connect: "▒",
    wait: "█",
    starved: "░",
    blocked: "▒",
    limited: "█",
    busy: "▪",
    above: "▲",
    below: "▼",
    braille: true,
};

const ASCII: Glyphs = Glyphs {
    arrow: "<",
    line: "=",
    idle: "-",
    selected: ">",
    unfocused: "|",
    title: "+",
    rule: "-",
    full: "=",
    head: ">",
    rest: "-",
    bars: ["_", ".", ",", "-", "=", "+", "*", "#"],
    connect: ":",
    wait: "#",
    starved: ".",
    blocked: ":",
    limited: "#",
    busy: "=",
    above: "^",
    below: "v",
    braille: false,
};

/// Theme of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// The glyphs.
    pub glyphs: Glyphs,
    colors: ColorScheme,
}

impl Theme {
    /// Makes a theme of a glyph set and a color scheme.
    pub fn new(ascii: bool, colors: ColorScheme) -> Self {
        Self { glyphs: if ascii { ASCII } else { LINES }, colors }
    }

    /// Returns the theme for these options and the environment.
    pub fn for_options(ascii: bool, color: ColorMode, scheme: ColorScheme) -> Self {
        let colored = match color {
            ColorMode::Always => true,
            ColorMode::Never => false,
            ColorMode::Auto => {
                let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                !plain && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        };
        Self::new(ascii, if colored { scheme } else { ColorScheme::Mono })
    }

    /// Returns the name of its color scheme.
    pub fn name(&self) -> &'static str {
        self.colors.name()
    }

    /// Returns the next theme, in a cycle.
    #[must_use]
    pub fn next(self) -> Self {
        let at = ColorScheme::ALL.iter().position(|colors| *colors == self.colors).unwrap_or(0);
        Self { colors: ColorScheme::ALL[(at + 1) % ColorScheme::ALL.len()], ..self }
    }

    /// Returns the base style of the screen, with a background where the scheme has one.
    pub fn base(&self) -> Style {
        match self.colors {
            ColorScheme::Terminal | ColorScheme::Mono => Style::new(),
            ColorScheme::Light => Style::new().fg(Color::Indexed(235)).bg(Color::Indexed(231)),
            ColorScheme::Contrast => Style::new().fg(Color::Indexed(231)).bg(Color::Indexed(16)),
        }
    }

    /// Returns the style of a bar over the whole width: reversed, where there is no color by reverse video alone.
    pub fn bar(&self, role: StyleRole) -> Style {
        let style = self.style(role).remove_modifier(Modifier::UNDERLINED).add_modifier(Modifier::BOLD);
        match (self.colors, style.fg) {
            // The background of the terminal's own palette may be bright: text on a colored bar has a color of its own.
            (ColorScheme::Terminal, Some(Color::Red)) => style.fg(Color::White).bg(Color::Red),
            (ColorScheme::Terminal, Some(color)) => style.fg(Color::Black).bg(color),
            _ => style.add_modifier(Modifier::REVERSED),
        }
    }

    /// Returns the style of a role. Roles differ by weight as well as by color, for users who do not see colors.
    pub fn style(&self, role: StyleRole) -> Style {
        let style = Style::new();
        let plain = match role {
            StyleRole::Plain | StyleRole::Good | StyleRole::Flow => style,
            StyleRole::Dim if self.colors == ColorScheme::Light || self.colors == ColorScheme::Contrast => style,
            StyleRole::Dim => style.add_modifier(Modifier::DIM),
            StyleRole::Title | StyleRole::Warn | StyleRole::Selected | StyleRole::Key | StyleRole::Cause => {
                style.add_modifier(Modifier::BOLD)
            }
            StyleRole::Bad => style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
            StyleRole::Cursor => style.add_modifier(Modifier::REVERSED),
        };
        let color = match self.colors {
            ColorScheme::Mono => None,
            ColorScheme::Terminal => match role {
                StyleRole::Good => Some(Color::Green),
                StyleRole::Warn | StyleRole::Cause => Some(Color::Yellow),
                StyleRole::Bad => Some(Color::Red),
                StyleRole::Flow | StyleRole::Selected => Some(Color::Cyan),
                _ => None,
            },
            // Blue, orange and a bluish green stay apart for red-green blindness; the indices are exact in 256 colors.
            ColorScheme::Light => match role {
                StyleRole::Dim => Some(Color::Indexed(241)),
                StyleRole::Good => Some(Color::Indexed(29)),
                StyleRole::Warn | StyleRole::Cause => Some(Color::Indexed(130)),
                StyleRole::Bad => Some(Color::Indexed(160)),
                StyleRole::Flow | StyleRole::Selected => Some(Color::Indexed(25)),
                _ => None,
            },
            ColorScheme::Contrast => match role {
                StyleRole::Dim => Some(Color::Indexed(250)),
                StyleRole::Good => Some(Color::Indexed(86)),
                StyleRole::Warn | StyleRole::Cause | StyleRole::Selected => Some(Color::Indexed(226)),
                StyleRole::Bad => Some(Color::Indexed(215)),
                StyleRole::Flow => Some(Color::Indexed(117)),
                _ => None,
            },
        };
        let light = self.colors == ColorScheme::Terminal && matches!(role, StyleRole::Warn | StyleRole::Bad);
        // With the terminal's own palette, a colored word needs no weight as well.
        let base = if light { style } else { plain };
        color.map_or(plain, |color| base.fg(color))
    }
}

impl Default for Theme {
    fn default() -> Self {
        Self::new(false, ColorScheme::Terminal)
    }
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    #[test]
    fn every_glyph_is_one_column_wide() {
        for g in [LINES, ASCII] {
            let single = [
                g.arrow,
                g.line,
                g.idle,
                g.selected,
                g.unfocused,
                g.title,
                g.rule,
                g.full,
                g.head,
                g.rest,
                g.connect,
                g.wait,
                g.starved,
                g.blocked,
                g.limited,
                g.busy,
                g.above,
                g.below,
            ];
            assert!(single.iter().chain(&g.bars).all(|glyph| glyph.width() == 1));
        }
        let ascii = [ASCII.arrow, ASCII.line, ASCII.idle, ASCII.selected, ASCII.unfocused, ASCII.title, ASCII.rule];
        assert!(ascii.iter().chain(&ASCII.bars).all(|glyph| glyph.is_ascii()));
    }

    #[test]
    fn styles_without_color_have_none() {
        let theme = Theme::new(false, ColorScheme::Mono);
        for role in [
            StyleRole::Plain,
            StyleRole::Good,
            StyleRole::Warn,
            StyleRole::Bad,
            StyleRole::Flow,
            StyleRole::Selected,
            StyleRole::Cursor,
        ] {
            assert_eq!((theme.style(role).fg, theme.style(role).bg), (None, None));
        }
        assert_ne!(theme.style(StyleRole::Bad), theme.style(StyleRole::Warn));
    }

    #[test]
    fn warnings_and_failures_differ_in_every_theme() {
        let mut theme = Theme::default();
        for scheme in ColorScheme::ALL {
            assert_eq!(theme.name(), scheme.name());
            let styles = [StyleRole::Plain, StyleRole::Warn, StyleRole::Bad].map(|role| theme.style(role));
            assert!(styles[0] != styles[1] && styles[1] != styles[2] && styles[0] != styles[2], "{scheme:?}");
            theme = theme.next();
        }
        assert_eq!(theme, Theme::default(), "themes wrap around");
    }
}
