//! Palettes: a style for each role, read from a theme file; eight are part of the program.

use std::sync::LazyLock;

use ratatui::style::{Color, Modifier, Style};

use super::role::StyleRole;
use crate::options::{ColorScheme, ThemeFile};

/// Palette of a theme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Palette {
    /// Its name.
    pub name: String,
    /// Style of the whole screen, with a background if it has one of its own.
    pub base: Style,
    styles: [Style; StyleRole::ALL.len()],
}

/// Themes to choose from; the user's own are after those of the program, or in place of one of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThemeSet(&'static [Palette]);

/// Those of the program.
static SHIPPED: LazyLock<Vec<Palette>> = LazyLock::new(|| {
    let palettes = ColorScheme::ALL.map(|scheme| (scheme.name(), text(scheme)));
    // A unit test shows that all of them are valid.
    palettes
        .into_iter()
        .map(|(name, text)| Palette::parse(name, text).unwrap_or_else(|_| Palette::plain(name)))
        .collect()
});

fn text(scheme: ColorScheme) -> &'static str {
    match scheme {
        ColorScheme::Terminal => include_str!("../../../assets/themes/terminal.toml"),
        ColorScheme::Dark => include_str!("../../../assets/themes/dark.toml"),
        ColorScheme::Light => include_str!("../../../assets/themes/light.toml"),
        ColorScheme::Contrast => include_str!("../../../assets/themes/contrast.toml"),
        ColorScheme::Mono => include_str!("../../../assets/themes/mono.toml"),
        ColorScheme::Frost => include_str!("../../../assets/themes/frost.toml"),
        ColorScheme::Ember => include_str!("../../../assets/themes/ember.toml"),
        ColorScheme::Dusk => include_str!("../../../assets/themes/dusk.toml"),
    }
}

impl Palette {
    /// Reads a theme file: for the screen (`base`) and each role `COLOR [on COLOR] [MODIFIER...]`; a role that is left
    /// out differs from plain text by weight alone.
    ///
    /// # Errors
    /// The key, and what is wrong with its value.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
        let mut palette = Self::plain(name);
        for (key, value) in &table {
            let value = value.as_str().ok_or_else(|| format!("{key}: write a text, such as \"yellow bold\""))?;
            let style = parse_style(value).map_err(|reason| format!("{key}: {reason}"))?;
            match StyleRole::ALL.iter().position(|(_, role)| role == key) {
                Some(at) => palette.styles[at] = style,
                None if key == "base" => palette.base = style,
                None => {
                    let roles = StyleRole::ALL.map(|(_, role)| role).join(", ");
                    return Err(format!("{key}: no such role: there are base, {roles}"));
                }
            }
        }
        Ok(palette)
    }

    /// Returns a palette without colors. Roles differ by weight as well, for users who do not see colors.
    fn plain(name: &str) -> Self {
        let weight = |(role, _): (StyleRole, _)| match role {
            StyleRole::Plain | StyleRole::Dim | StyleRole::Good | StyleRole::Flow => Modifier::empty(),
            StyleRole::Title | StyleRole::Warn | StyleRole::Selected | StyleRole::Key | StyleRole::Cause => {
                Modifier::BOLD
            }
            StyleRole::Bad => Modifier::BOLD | Modifier::UNDERLINED,
            StyleRole::Cursor => Modifier::REVERSED,
        };
        let styles = StyleRole::ALL.map(|role| Style::new().add_modifier(weight(role)));
        Self { name: name.to_owned(), base: Style::new(), styles }
    }

    /// Returns the style of a role.
    pub(crate) fn style(&self, role: StyleRole) -> Style {
        self.styles[role as usize]
    }
}

impl ThemeSet {
    /// Returns the themes of the program with those of the user; invalid files are left out, with the reason for each.
    pub fn with(files: &[ThemeFile]) -> (Self, Vec<(String, String)>) {
        let (mut all, mut invalid) = (SHIPPED.clone(), Vec::new());
        for file in files {
            let parsed = file.text.clone().and_then(|text| Palette::parse(&file.name, &text));
            match (parsed, all.iter().position(|palette| palette.name == file.name)) {
                (Ok(palette), Some(at)) => all[at] = palette,
                (Ok(palette), None) => all.push(palette),
                (Err(reason), _) => invalid.push((file.name.clone(), format!("{}: {reason}", file.path))),
            }
        }
        // Read once, and used until the program ends.
        let set = if files.is_empty() { Self::default() } else { Self(all.leak()) };
        (set, invalid)
    }

    /// Returns the theme with this name.
    pub(crate) fn find(self, name: &str) -> Option<&'static Palette> {
        self.0.iter().find(|palette| palette.name == name)
    }

    /// Returns the theme after this one, in a cycle.
    pub(super) fn after(self, palette: &Palette) -> &'static Palette {
        let at = self.0.iter().position(|other| other.name == palette.name).map_or(0, |at| at + 1);
        &self.0[at % self.0.len()]
    }

    /// Returns the first theme.
    pub(super) fn first(self) -> &'static Palette {
        &self.0[0]
    }
}

impl Default for ThemeSet {
    fn default() -> Self {
        Self(&SHIPPED)
    }
}

fn parse_style(text: &str) -> Result<Style, String> {
    let mut style = Style::new();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        if word == "on" {
            let color = words.next().ok_or("a color is missing after \"on\"")?;
            style = style.bg(parse_color(color)?);
        } else if let Some(modifier) = modifier(word) {
            style = style.add_modifier(modifier);
        } else if style.fg.is_some() {
            return Err(format!("{word:?} is a second color: write \"on {word}\" for the background"));
        } else {
            style = style.fg(parse_color(word)?);
        }
    }
    Ok(style)
}

fn parse_color(word: &str) -> Result<Color, String> {
    word.parse().map_err(|_| {
        format!("{word:?} is neither a color nor a modifier: write yellow, #ffaf00 or 214; bold, dim, underlined")
    })
}

fn modifier(word: &str) -> Option<Modifier> {
    Some(match word {
        "bold" => Modifier::BOLD,
        "dim" => Modifier::DIM,
        "italic" => Modifier::ITALIC,
        "underlined" => Modifier::UNDERLINED,
        "reversed" => Modifier::REVERSED,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Relative luminance of a color (WCAG 2.2).
    fn luminance(color: Color) -> Option<f64> {
        let (r, g, b) = match color {
            Color::Rgb(r, g, b) => (r, g, b),
            Color::Indexed(at @ 16..=231) => {
                let level = |step: u8| if step == 0 { 0 } else { 55 + 40 * step };
                (level((at - 16) / 36), level((at - 16) / 6 % 6), level((at - 16) % 6))
            }
            Color::Indexed(at @ 232..=255) => (8 + 10 * (at - 232), 8 + 10 * (at - 232), 8 + 10 * (at - 232)),
            _ => return None,
        };
        let linear = |c: u8| match f64::from(c) / 255.0 {
            c if c <= 0.04045 => c / 12.92,
            c => ((c + 0.055) / 1.055).powf(2.4),
        };
        Some(0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b))
    }

    #[test]
    fn shipped_themes_are_valid_and_in_order() {
        for scheme in ColorScheme::ALL {
            let palette = Palette::parse(scheme.name(), text(scheme)).unwrap();
            assert_eq!(ThemeSet::default().find(scheme.name()), Some(&palette));
            let styles = [StyleRole::Plain, StyleRole::Warn, StyleRole::Bad].map(|role| palette.style(role));
            assert!(styles[0] != styles[1] && styles[1] != styles[2] && styles[0] != styles[2], "{scheme:?}");
        }
    }

    #[test]
    fn text_contrasts_with_the_background() {
        let mut checked = 0;
        for palette in &*SHIPPED {
            let Some(ground) = palette.base.bg.and_then(luminance) else { continue };
            for (role, name) in StyleRole::ALL {
                let color = palette.style(role).fg.or(palette.base.fg).and_then(luminance).unwrap();
                let contrast = (color.max(ground) + 0.05) / (color.min(ground) + 0.05);
                assert!(contrast >= 4.5, "{}: {name}: {contrast:.2}", palette.name);
                checked += 1;
            }
        }
        assert_eq!(checked, 6 * StyleRole::ALL.len());
    }

    #[test]
    fn invalid_files_name_the_key_and_the_reason() {
        let fails = |text: &str| Palette::parse("x", text).unwrap_err();
        assert!(fails("warn = \"yelow\"").starts_with("warn: \"yelow\" is neither a color nor a modifier"));
        assert!(fails("wran = \"red\"").starts_with("wran: no such role: there are base, plain, dim, "));
        assert!(fails("good = 5").starts_with("good: write a text"));
        assert_eq!(fails("good = \"red on\""), "good: a color is missing after \"on\"");
        assert!(fails("good = \"red blue\"").starts_with("good: \"blue\" is a second color"));
        assert!(!fails("good = ").is_empty());
        let style = Palette::parse("x", "flow = \"#010203 on lightblue italic\"").unwrap().style(StyleRole::Flow);
        assert_eq!(style, Style::new().fg(Color::Rgb(1, 2, 3)).bg(Color::LightBlue).add_modifier(Modifier::ITALIC));
    }

    #[test]
    fn themes_of_the_user_come_last_or_replace() {
        let file = |name: &str, text: &str| ThemeFile {
            name: name.to_owned(),
            path: format!("themes/{name}.toml").into(),
            text: Ok(text.to_owned()),
        };
        let files = [file("dark", "flow = \"red\""), file("mine", "flow = \"blue\""), file("bad", "flow = \"blu\"")];
        let (set, invalid) = ThemeSet::with(&files);
        assert_eq!(set.find("dark").unwrap().style(StyleRole::Flow).fg, Some(Color::Red));
        assert_eq!(set.0.last().map(|palette| palette.name.as_str()), Some("mine"));
        assert_eq!((set.after(set.find("mine").unwrap()).name.as_str(), set.find("bad")), ("terminal", None));
        assert!(invalid.len() == 1 && invalid[0].1.starts_with("themes/bad.toml: flow: \"blu\" is neither"));
    }
}
