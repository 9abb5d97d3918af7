//! Tokens: never displayed, compared in constant time.

use std::fmt;

use subtle::ConstantTimeEq;

/// Longest token, in bytes; it is sent in a head of at most 8 KiB.
pub const MAX_SECRET: usize = 1024;

/// Environment variable with which a program that starts nodes passes them its own token; users configure another one.
pub const CHAIN_TOKEN: &str = "CHAINVIEW_CHAIN_TOKEN";

/// A token; `Debug` hides it.
#[derive(Clone)]
pub struct Secret(String);

/// A text that cannot be sent as a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("contains no valid token: write 1 to {MAX_SECRET} letters, digits and signs, without blanks")]
pub struct UnfitSecret;

impl Secret {
    /// Parses a token; whitespace around it, such as the newline of a file, is not part of it.
    ///
    /// # Errors
    /// [`UnfitSecret`] if the text is empty, too long, or contains whitespace or anything but ASCII.
    pub fn new(text: &str) -> Result<Self, UnfitSecret> {
        let text = text.trim_ascii();
        let fits = (1..=MAX_SECRET).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(text.to_owned())).ok_or(UnfitSecret)
    }

    /// Creates a token from 128 random bits.
    pub fn from_bits(bits: u128) -> Self {
        Self(format!("{bits:032x}"))
    }

    /// Returns the token itself, for sending.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares in constant time.
    pub fn matches(&self, offered: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(offered).into()
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_hides_the_token() {
        let secret = Secret::from_bits(0x7);
        assert_eq!(secret.reveal(), "00000000000000000000000000000007");
        assert!(!format!("{secret:?}").contains(secret.reveal()));
        assert!(secret.matches(secret.reveal().as_bytes()) && !secret.matches(b""));
    }

    #[test]
    fn text_that_cannot_be_sent_is_rejected() {
        assert!(Secret::new(" s3cret\r\n").unwrap().matches(b"s3cret"));
        for unfit in ["", "\n", "two words", "caf\u{e9}", &"x".repeat(MAX_SECRET + 1)] {
            assert_eq!(Secret::new(unfit).unwrap_err(), UnfitSecret, "{unfit:?}");
        }
    }
}
