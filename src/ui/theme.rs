//! Themes: the style of each role and the glyphs, with fallbacks for terminals without color and for ASCII.

mod palette;
mod role;

use ratatui::style::{Color, Modifier, Style};

use crate::options::{ColorMode, ColorScheme};
use palette::Palette;
pub use palette::ThemeSet;
pub(crate) use role::StyleRole;

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
    /// What the headline is about. It differs from the key for faults.
    pub cause: &'static str,
    /// A file that was received and verified.
    pub verified: &'static str,
    /// A file that was not received.
    pub failed: &'static str,
    /// Encrypted: a link, a hop with a key, a transfer.
    pub lock: &'static str,
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
    cause: "✖",
    verified: "✓",
    failed: "✗",
    // A plate with a keyhole: a padlock would be two columns wide.
    lock: "◘",
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
    cause: "*",
    verified: "+",
    failed: "x",
    lock: "&",
    above: "^",
    below: "v",
    braille: false,
};

/// Theme of the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// The glyphs.
    pub glyphs: Glyphs,
    palette: &'static Palette,
    themes: ThemeSet,
}

impl Theme {
    /// Makes a theme of a glyph set and a theme of the program.
    pub fn new(ascii: bool, colors: ColorScheme) -> Self {
        Self::named(ascii, ThemeSet::default(), colors.name())
    }

    /// Makes a theme of a glyph set and the theme of this name; the first one if there is none.
    pub fn named(ascii: bool, themes: ThemeSet, name: &str) -> Self {
        let palette = themes.find(name).unwrap_or(themes.first());
        Self { glyphs: if ascii { ASCII } else { LINES }, palette, themes }
    }

    /// Returns the theme for these options and the environment.
    pub fn for_options(ascii: bool, color: ColorMode, themes: ThemeSet, name: &str) -> Self {
        let colored = match color {
            ColorMode::Always => true,
            ColorMode::Never => false,
            ColorMode::Auto => {
                let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                !plain && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        };
        Self::named(ascii, themes, if colored { name } else { ColorScheme::Mono.name() })
    }

    /// Returns its name.
    pub fn name(&self) -> &'static str {
        &self.palette.name
    }

    /// Returns the next theme, in a cycle.
    #[must_use]
    pub fn next(self) -> Self {
        Self { palette: self.themes.after(self.palette), ..self }
    }

    /// Returns the base style of the screen, with a background where the theme has one.
    pub fn base(&self) -> Style {
        self.palette.base
    }

    /// Returns the style of a bar over the whole width: reversed, where there is no color by reverse video alone.
    pub fn bar(&self, role: StyleRole) -> Style {
        let style = self.style(role).remove_modifier(Modifier::UNDERLINED).add_modifier(Modifier::BOLD);
        match (self.base().bg, style.fg) {
            // The background of the terminal's own palette may be bright: text on a colored bar has a color of its own.
            (None, Some(Color::Red)) => style.fg(Color::White).bg(Color::Red),
            (None, Some(color)) => style.fg(Color::Black).bg(color),
            _ => style.add_modifier(Modifier::REVERSED),
        }
    }

    /// Returns the style of a role.
    pub fn style(&self, role: StyleRole) -> Style {
        self.palette.style(role)
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
                g.lock,
                g.above,
                g.below,
            ];
            assert!(single.iter().chain(&g.bars).all(|glyph| glyph.width() == 1));
        }
        let ascii =
            [ASCII.arrow, ASCII.line, ASCII.idle, ASCII.selected, ASCII.unfocused, ASCII.title, ASCII.rule, ASCII.lock];
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
