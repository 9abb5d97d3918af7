//! Fingerprints: a key in 51 characters, as users write it.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Begins every fingerprint, and names its hash.
const PREFIX: &str = "sha256:";
/// Characters of 32 bytes in base64.
const CODED: usize = 44;

/// Base64 characters of a shortened fingerprint: 48 bits.
const SHOWN: usize = 8;

/// SHA-256 of a public key's `SubjectPublicKeyInfo`, written as `sha256:` and base64.
///
/// curl takes the same digits as a pinned key, behind `sha256//`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

/// Error in a text that is not a fingerprint; positions count characters from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// The text begins with something else.
    #[error("a fingerprint begins with sha256:")]
    Prefix,
    /// One character has no place there.
    #[error("character {at} of the fingerprint is {found:?}, which cannot be there: it is base64, and ends in one =")]
    Character {
        /// Its position in the text.
        at: usize,
        /// The character.
        found: char,
    },
    /// Characters are missing, or there are too many.
    #[error("the fingerprint has {found} characters after sha256:, not {CODED}")]
    Length {
        /// The number of characters behind the prefix.
        found: usize,
    },
}

impl Fingerprint {
    /// Creates a fingerprint from the hash.
    pub(crate) fn new(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// Returns its first characters, for display: enough to distinguish the keys of one chain.
    pub fn short(&self) -> String {
        let coded = STANDARD.encode(self.0);
        format!("{PREFIX}{}...", &coded[..SHOWN])
    }

    /// Returns the hash.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{PREFIX}{}", STANDARD.encode(self.0)))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let coded = text.strip_prefix(PREFIX).ok_or(FingerprintError::Prefix)?;
        let wrong = |index: usize, found| FingerprintError::Character { at: PREFIX.len() + index + 1, found };
        let digit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
        for (index, found) in coded.chars().enumerate() {
            if !(digit(found) || (found == '=' && index + 1 >= CODED)) {
                return Err(wrong(index, found));
            }
        }
        // ASCII alone from here on.
        if coded.len() != CODED {
            return Err(FingerprintError::Length { found: coded.len() });
        }
        let hash = STANDARD.decode(coded).ok().and_then(|hash| hash.try_into().ok());
        // The last but one character carries four bits; others than these sixteen have no meaning there.
        let at = CODED - if coded.ends_with('=') { 2 } else { 1 };
        hash.map(Self).ok_or_else(|| wrong(at, char::from(coded.as_bytes()[at])))
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "sha256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn a_fingerprint_is_written_in_one_way() {
        let bytes: [u8; 32] = std::array::from_fn(|at| at as u8);
        assert_eq!(Fingerprint::new(bytes).to_string(), TEXT);
        assert_eq!(TEXT.parse::<Fingerprint>().unwrap().as_bytes(), &bytes);
    }

    #[test]
    fn a_typo_is_named_with_its_position() {
        let error = |text: &str| text.parse::<Fingerprint>().unwrap_err();
        for prefix in ["", "sha256", "SHA256:AA", "sha256//AA", " sha256:"] {
            assert_eq!(error(prefix), FingerprintError::Prefix, "{prefix:?}");
        }
        let with = |at: usize, found: char| {
            let mut chars: Vec<char> = TEXT.chars().collect();
            chars[at - 1] = found;
            error(&chars.into_iter().collect::<String>())
        };
        for (at, found) in [(8, '-'), (20, ' '), (30, '\u{e9}'), (33, '='), (50, '9'), (51, 'A')] {
            assert_eq!(with(at, found), FingerprintError::Character { at, found }, "{at}");
        }
        assert_eq!(with(50, '='), FingerprintError::Character { at: 50, found: '=' });
        assert!(with(20, '\u{202e}').to_string().starts_with("character 20 of the fingerprint is '\\u{202e}'"));
        assert_eq!(error(&TEXT[..50]), FingerprintError::Length { found: 43 });
        assert_eq!(error(&format!("{TEXT}=")), FingerprintError::Length { found: 45 });
        assert_eq!(error("sha256:"), FingerprintError::Length { found: 0 });
    }

    proptest! {
        #[test]
        fn fingerprints_round_trip(bytes: [u8; 32]) {
            let text = Fingerprint::new(bytes).to_string();
            prop_assert_eq!(text.parse::<Fingerprint>(), Ok(Fingerprint::new(bytes)));
        }

        #[test]
        fn whatever_parses_is_written_the_same(text in "sha256:[A-Za-z0-9+/]{42,44}={0,2}") {
            if let Ok(fingerprint) = text.parse::<Fingerprint>() {
                prop_assert_eq!(fingerprint.to_string(), text);
            }
        }
    }
}
