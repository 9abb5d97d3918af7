//! File names: bytes as they are asked for, and the local name they are written under.

use std::fmt;

use crate::text::SafeText;

/// Longest file name, in bytes.
pub const MAX_NAME: usize = 1024;

/// The name a file is asked for by: 1 to 1,024 bytes without NUL, CR or LF; not always UTF-8.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FileName(Box<[u8]>);

/// Why bytes cannot be a file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing.
    #[error("the file name is empty")]
    Empty,
    /// More than 1,024 bytes.
    #[error("the file name has {0} bytes, more than {MAX_NAME}")]
    TooLong(usize),
    /// A NUL, CR or LF, which would end the name on one of the wires.
    #[error("the file name holds a NUL, a carriage return or a line feed")]
    Forbidden,
}

impl FileName {
    /// Takes bytes as they came; nothing is trimmed or unescaped.
    pub fn new(bytes: &[u8]) -> Result<Self, NameError> {
        if bytes.is_empty() {
            return Err(NameError::Empty);
        }
        if bytes.len() > MAX_NAME {
            return Err(NameError::TooLong(bytes.len()));
        }
        if bytes.iter().any(|b| matches!(b, 0 | b'\r' | b'\n')) {
            return Err(NameError::Forbidden);
        }
        Ok(Self(bytes.into()))
    }

    /// The name as it goes over the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last component, which is the local name: `None` if it is empty, hidden or holds control characters.
    ///
    /// Input files are passed on, and a hidden file in a home folder often decides what programs do: who wants such a
    /// name has to type it.
    pub fn local(&self) -> Option<&[u8]> {
        let last = self.0.rsplit(|b| *b == b'/').next().unwrap_or_default();
        let control = last.iter().any(u8::is_ascii_control)
            || last.utf8_chunks().any(|chunk| chunk.valid().contains(char::is_control));
        (!last.is_empty() && !last.starts_with(b".") && !control).then_some(last)
    }

    /// The name made safe to show.
    pub fn shown(&self) -> SafeText {
        SafeText::from_bytes(&self.0)
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileName({})", self.shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_safely() {
        let name = FileName::new(b"a\x1bb\xff").unwrap();
        assert_eq!(name.shown().as_str(), "a\\u{1b}b\\xff");
        assert_eq!(format!("{name:?}"), "FileName(a\\u{1b}b\\xff)");
    }
}
