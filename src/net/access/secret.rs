//! A token: read from a file or made at random, never shown, compared in constant time.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use subtle::ConstantTimeEq;

use crate::error::shown;
use crate::net::ids;
use crate::text::SafeText;

/// Longest token, in bytes; it travels in a head that has 8 KiB for everything.
const LONGEST: usize = 1024;

/// A token, which nothing shows; whoever sends it must ask for it by name.
#[derive(Clone)]
pub struct Secret(String);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("token file {path}: {source}")]
    Read {
        /// The file.
        path: SafeText,
        /// What the system says.
        source: io::Error,
    },
    /// Others can read the file, so what it holds is no secret.
    #[error("token file {path} can be read by others: chmod 600 it")]
    Open {
        /// The file.
        path: SafeText,
    },
    /// The text cannot be sent as a token.
    #[error("{place} holds no token: write 1 to {LONGEST} letters, digits and signs, without blanks")]
    Unfit {
        /// Where it came from.
        place: String,
    },
}

impl Secret {
    /// Takes a token from text; blanks around it, such as the newline of a file, are not part of it.
    pub fn new(text: &str) -> Result<Self, SecretError> {
        Self::fit(text, "the text")
    }

    /// Reads a token from a file that nobody but its owner may read.
    pub fn from_file(path: &Path) -> Result<Self, SecretError> {
        let failed = |source| SecretError::Read { path: shown(path), source };
        let file = File::open(path).map_err(failed)?;
        // The handle is asked, not the path, so that what was checked is what is read.
        let mode = file.metadata().map_err(failed)?.mode();
        if mode & 0o077 != 0 {
            return Err(SecretError::Open { path: shown(path) });
        }
        let mut text = String::new();
        file.take(2 * LONGEST as u64).read_to_string(&mut text).map_err(failed)?;
        Self::fit(&text, &format!("token file {}", shown(path)))
    }

    /// Makes a token of 128 random bits.
    pub fn random() -> Self {
        Self(ids::word())
    }

    /// The token itself, for the one who sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares without telling by the time it takes how much of it was right.
    pub fn matches(&self, offered: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(offered).into()
    }

    fn fit(text: &str, place: &str) -> Result<Self, SecretError> {
        let text = text.trim_ascii();
        let fits = (1..=LONGEST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.to_owned())).ok_or_else(|| SecretError::Unfit { place: place.to_owned() })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_read_from_a_private_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "s3cret\r\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(Secret::from_file(&path).unwrap().matches(b"s3cret"));
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert!(Secret::from_file(&path).unwrap_err().to_string().contains("chmod 600"));
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        for unfit in ["", "\n", "two words", "caf\u{e9}", &"x".repeat(LONGEST + 1)] {
            fs::write(&path, unfit).unwrap();
            assert!(Secret::from_file(&path).unwrap_err().to_string().contains("no token"), "{unfit:?}");
        }
        let missing = Secret::from_file(&folder.path().join("none\x1b[2J")).unwrap_err().to_string();
        assert!(missing.contains("none\\u{1b}[2J") && !missing.contains('\x1b'), "{missing}");
    }

    #[test]
    fn a_token_shows_nowhere() {
        let secret = Secret::random();
        assert_eq!(secret.reveal().len(), 32);
        assert!(!format!("{secret:?}").contains(secret.reveal()));
        assert!(secret.matches(secret.reveal().as_bytes()) && !secret.matches(b""));
        assert_ne!(secret.reveal(), Secret::random().reveal());
    }
}
