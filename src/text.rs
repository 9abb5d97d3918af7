//! Sanitized text from outside: the only type that screens, logs, JSON and errors accept.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Deserializer, Serialize};
use unicode_width::UnicodeWidthChar;

/// Longest text kept, in characters; more than a screen row shows, and a bound on what a hostile peer sends.
const MAX_CHARS: usize = 255;
/// Length of the longest file name: it has 1,024 bytes, each escaped with six characters at most, as `\u{1b}`.
const MAX_NAME_CHARS: usize = 6 * 1024;
/// Mark of truncated text; it counts toward the length, so that the next node does not truncate again.
const ELLIPSIS: &str = "...";
/// Most combining marks kept on one letter; no script needs more, and a stack of them covers the lines above.
const MAX_MARKS: usize = 4;

/// Text from outside, with control, bidi and zero-width characters escaped.
///
/// A value can be written to a terminal as it is: it contains no character that moves the cursor, changes colors,
/// reverses the reading order or has no width.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SafeText(String);

impl SafeText {
    /// Sanitizes text; more than 255 characters are truncated and end in `...`.
    pub fn new(outside: &str) -> Self {
        Self::up_to(MAX_CHARS, outside)
    }

    /// Returns true if there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Sanitizes bytes that are at most a file name, without truncating them; see [`Self::from_bytes`].
    pub fn whole_name(outside: &[u8]) -> Self {
        Self::up_to(MAX_NAME_CHARS, &lossless(outside))
    }

    fn up_to(most: usize, outside: &str) -> Self {
        if outside.len() <= most && is_plain(outside) {
            return Self(outside.to_owned());
        }
        let mut safe = String::with_capacity(outside.len().min(most));
        let (mut length, mut cut) = (0, 0);
        // A mark without a letter would combine with the character before the text.
        let mut marks = MAX_MARKS;
        for c in outside.chars() {
            let before = safe.len();
            marks = if c.width() == Some(0) { marks + 1 } else { 0 };
            if is_hidden(c) || marks > MAX_MARKS {
                safe.extend(c.escape_default());
            } else {
                safe.push(c);
            }
            length += safe[before..].chars().count();
            if length > most {
                safe.truncate(cut);
                safe.push_str(ELLIPSIS);
                break;
            }
            if length <= most - ELLIPSIS.len() {
                cut = safe.len();
            }
        }
        Self(safe)
    }

    /// Sanitizes bytes; those that are not UTF-8 appear as `\xNN`.
    pub fn from_bytes(outside: &[u8]) -> Self {
        lossless(outside).into()
    }

    /// Returns the sanitized text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SafeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for SafeText {
    fn from(outside: &str) -> Self {
        Self::new(outside)
    }
}

impl From<String> for SafeText {
    fn from(outside: String) -> Self {
        if outside.len() <= MAX_CHARS && is_plain(&outside) { Self(outside) } else { Self::new(&outside) }
    }
}

impl<'de> Deserialize<'de> for SafeText {
    /// Sanitizes again: a snapshot from another node is text from outside, too.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::new(&text))
    }
}

/// Returns bytes as text; those that are not UTF-8 appear as `\xNN`.
fn lossless(outside: &[u8]) -> String {
    let mut text = String::with_capacity(outside.len());
    for chunk in outside.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// Returns true for visible ASCII, as nearly every text is, which needs no change.
fn is_plain(outside: &str) -> bool {
    outside.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// Returns true for characters that are invisible or change how other characters are displayed.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{00ad}'                      // soft hyphen
            | '\u{034f}'                    // combining grapheme joiner
            | '\u{061c}'                    // Arabic letter mark
            | '\u{115f}'..='\u{1160}'       // Hangul fillers
            | '\u{17b4}'..='\u{17b5}'       // Khmer inherent vowels
            | '\u{180b}'..='\u{180f}'       // Mongolian selectors
            | '\u{200b}'..='\u{200f}'       // zero-width and direction marks
            | '\u{2028}'..='\u{202e}'       // separators and bidi embeddings
            | '\u{2060}'..='\u{206f}'       // joiners, isolates, deprecated formatting
            | '\u{3164}' | '\u{ffa0}'       // fillers
            | '\u{fe00}'..='\u{fe0f}'       // variation selectors
            | '\u{feff}'                    // byte order mark
            | '\u{fff0}'..='\u{fffb}'       // interlinear annotations
            | '\u{13430}'..='\u{1345f}'     // hieroglyph formatting
            | '\u{1bca0}'..='\u{1bca3}'     // shorthand formatting
            | '\u{1d173}'..='\u{1d17a}'     // musical formatting
            | '\u{e0000}'..='\u{e0fff}'     // tags and selectors
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn escapes_control_characters() {
        assert_eq!(SafeText::new("a\x1b[2Jb").as_str(), "a\\u{1b}[2Jb");
        assert_eq!(SafeText::new("tab\tnew\n").as_str(), "tab\\tnew\\n");
        assert_eq!(SafeText::new("x\u{202e}y\u{200b}").as_str(), "x\\u{202e}y\\u{200b}");
        assert_eq!(SafeText::from_bytes(b"caf\xe9").as_str(), "caf\\xe9");
    }

    #[test]
    fn deserialized_text_is_sanitized() {
        let read: SafeText = serde_json::from_str(r#""a\u001b[2Jb""#).unwrap();
        assert_eq!(read.as_str(), "a\\u{1b}[2Jb");
    }

    #[test]
    fn combining_marks_are_limited() {
        assert_eq!(SafeText::new("e\u{301}te\u{301}").as_str(), "e\u{301}te\u{301}");
        assert_eq!(SafeText::new("\u{301}te").as_str(), "\\u{301}te");
        let tower = SafeText::new(&format!("e{}", "\u{301}".repeat(200)));
        assert_eq!(tower.as_str().matches('\u{301}').count(), MAX_MARKS);
        assert_eq!(SafeText::new("a\u{1bca0}b").as_str(), "a\\u{1bca0}b");
    }

    #[test]
    fn keeps_ordinary_text_and_truncates_long_text() {
        assert_eq!(SafeText::new("naïve файл 文件.txt").as_str(), "naïve файл 文件.txt");
        let long = SafeText::new(&"x".repeat(1000));
        assert_eq!(long.as_str(), format!("{}...", "x".repeat(MAX_CHARS - 3)));
        let whole = "\n".repeat(MAX_CHARS / 2) + "x";
        assert_eq!(SafeText::new(&whole).as_str(), "\\n".repeat(MAX_CHARS / 2) + "x");
        let name = "x".repeat(1022);
        assert_eq!(SafeText::whole_name(format!("{name}\u{ad}").as_bytes()).as_str(), format!("{name}\\u{{ad}}"));
        for hidden in ["\u{ad}", "\u{200b}", "\u{e0001}", "\x1b"] {
            let name = hidden.repeat(1024 / hidden.len());
            let whole = SafeText::whole_name(name.as_bytes());
            assert_eq!(whole.as_str().matches("\\u{").count(), 1024 / hidden.len(), "{whole}");
        }
        assert_eq!(SafeText::whole_name(&[0xff; 1024]).as_str(), "\\xff".repeat(1024));
        // An escape is kept whole or not at all.
        assert_eq!(SafeText::new(&format!("{whole}y")).as_str(), format!("{}...", "\\n".repeat(126)));
    }

    proptest! {
        #[test]
        fn never_contains_a_hidden_character(text in "\\PC{0,300}|(.|\n){0,300}") {
            let safe = SafeText::new(&text);
            prop_assert!(!safe.as_str().chars().any(is_hidden));
            prop_assert!(safe.as_str().chars().count() <= MAX_CHARS);
            prop_assert_eq!(&SafeText::new(safe.as_str()), &safe);
        }
    }
}
