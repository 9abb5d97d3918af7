//! Looks by meaning: which style a warning has, which glyph a gauge; with fallbacks for no colour and for ASCII.

use ratatui::style::{Color, Modifier, Style};

use super::Options;

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColorMode {
    /// Unless `NO_COLOR` is set, or the terminal says that it is dumb.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never: bold, dim and reverse are all that is left.
    Never,
}

/// What a piece of the screen means; the theme decides how that looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Ordinary text.
    Plain,
    /// Labels, rules, and what is over.
    Dim,
    /// Headings and what names the program.
    Title,
    /// All is well.
    Good,
    /// Worth a look.
    Warn,
    /// Something failed.
    Bad,
    /// Bytes on their way.
    Flow,
    /// The marked row of the panel that has the arrow keys.
    Mark,
    /// A key to press.
    Key,
    /// The cursor of a line being typed.
    Cursor,
}

/// The characters that are not letters; each is one column wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glyphs {
    /// Points toward the client, where the bytes go.
    pub arrow: &'static str,
    /// A link with bytes on it.
    pub line: &'static str,
    /// A link without.
    pub still: &'static str,
    /// The marked row of the panel that has the arrow keys.
    pub mark: &'static str,
    /// The marked row of another panel, and log lines worth a look.
    pub pale: &'static str,
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
}

const LINES: Glyphs = Glyphs {
    arrow: "◀",
    line: "━",
    still: "╌",
    mark: "▌",
    pale: "▏",
    title: "▎",
    rule: "─",
    full: "━",
    head: "╸",
    rest: "╌",
    bars: ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
};

const ASCII: Glyphs = Glyphs {
    arrow: "<",
    line: "=",
    still: "-",
    mark: ">",
    pale: "|",
    title: "+",
    rule: "-",
    full: "=",
    head: ">",
    rest: "-",
    bars: ["_", ".", ",", "-", "=", "+", "*", "#"],
};

/// One look of the whole screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// The characters.
    pub glyphs: Glyphs,
    color: bool,
}

impl Theme {
    /// A look with these two choices made.
    pub fn new(ascii: bool, color: bool) -> Self {
        Self { glyphs: if ascii { ASCII } else { LINES }, color }
    }

    /// The look that these options and this environment ask for.
    pub fn for_options(options: &Options) -> Self {
        let color = match options.color {
            ColorMode::Always => true,
            ColorMode::Never => false,
            ColorMode::Auto => {
                let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
                !plain && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
            }
        };
        Self::new(options.ascii, color)
    }

    /// Colours are in use.
    pub fn has_color(&self) -> bool {
        self.color
    }

    /// How this meaning looks. The sixteen colours of the terminal's own palette are used, so that its owner's
    /// choice of background holds; without colour, weight alone tells them apart.
    pub fn style(&self, tone: Tone) -> Style {
        let style = Style::new();
        let plain = match tone {
            Tone::Plain | Tone::Good | Tone::Flow => style,
            Tone::Dim => style.add_modifier(Modifier::DIM),
            Tone::Title | Tone::Warn | Tone::Mark | Tone::Key => style.add_modifier(Modifier::BOLD),
            Tone::Bad => style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
            Tone::Cursor => style.add_modifier(Modifier::REVERSED),
        };
        if !self.color {
            return plain;
        }
        match tone {
            Tone::Good => style.fg(Color::Green),
            Tone::Warn => style.fg(Color::Yellow),
            Tone::Bad => style.fg(Color::Red),
            Tone::Flow => style.fg(Color::Cyan),
            Tone::Mark => plain.fg(Color::Cyan),
            Tone::Plain | Tone::Dim | Tone::Title | Tone::Key | Tone::Cursor => plain,
        }
    }
}

impl Default for Theme {
    fn default() -> Self {
        Self::new(false, true)
    }
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    #[test]
    fn every_glyph_is_one_column_wide() {
        for g in [LINES, ASCII] {
            let single = [g.arrow, g.line, g.still, g.mark, g.pale, g.title, g.rule, g.full, g.head, g.rest];
            assert!(single.iter().chain(&g.bars).all(|glyph| glyph.width() == 1));
        }
        let ascii = [ASCII.arrow, ASCII.line, ASCII.still, ASCII.mark, ASCII.pale, ASCII.title, ASCII.rule];
        assert!(ascii.iter().chain(&ASCII.bars).all(|glyph| glyph.is_ascii()));
    }

    #[test]
    fn without_colour_no_style_has_one() {
        let theme = Theme::new(false, false);
        for tone in [Tone::Plain, Tone::Good, Tone::Warn, Tone::Bad, Tone::Flow, Tone::Mark, Tone::Cursor] {
            assert_eq!((theme.style(tone).fg, theme.style(tone).bg), (None, None));
        }
        assert_ne!(theme.style(Tone::Bad), theme.style(Tone::Warn));
    }
}
