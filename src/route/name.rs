//! File names: the requested bytes, and the local name derived from them.

use std::borrow::Cow;
use std::fmt;

use crate::text::SafeText;

/// Longest file name, in bytes.
pub const MAX_NAME: usize = 1024;

/// The requested name of a file: 1 to 1,024 bytes without NUL, CR or LF; not necessarily UTF-8.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FileName(Box<[u8]>);

/// Error of an invalid file name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("the file name is empty")]
    Empty,
    /// More than 1,024 bytes.
    #[error("the file name has {0} bytes, more than {MAX_NAME}")]
    TooLong(usize),
    /// A NUL, CR or LF, which would end the name in one of the protocols.
    #[error("the file name contains a NUL, a carriage return or a line feed")]
    Forbidden,
}

impl FileName {
    /// Validates bytes as they are; nothing is trimmed or unescaped.
    ///
    /// # Errors
    /// [`NameError`] if the name is empty, longer than 1,024 bytes, or contains a NUL, CR or LF.
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

    /// Returns the name of the served folder itself.
    pub fn root() -> Self {
        Self(b"/".as_slice().into())
    }

    /// Returns the segments, without `.` and empty ones.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|b| *b == b'/').filter(|segment| !matches!(*segment, b"" | b"."))
    }

    /// Returns the name as it is sent.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns true if any server could read a segment as the parent folder: some also split a path at `\\`, or strip
    /// `;` parameters.
    pub fn has_parent_segment(&self) -> bool {
        let up = |segment: &[u8]| segment.strip_prefix(b"..").is_some_and(|rest| matches!(rest, [] | [b';', ..]));
        self.0.windows(2).any(|pair| pair == b"..") && self.0.split(|b| matches!(b, b'/' | b'\\')).any(up)
    }

    /// Returns the name without `.` and empty segments, except the last one, which marks a folder.
    pub fn without_dots(&self) -> Cow<'_, Self> {
        let redundant = |segment: &[u8]| matches!(segment, b"" | b".");
        let segments = || self.0.split(|b| *b == b'/');
        let inner = segments().count() - 1;
        if !segments().take(inner).any(redundant) {
            return Cow::Borrowed(self);
        }
        let mut kept: Vec<&[u8]> = segments().take(inner).filter(|segment| !redundant(segment)).collect();
        kept.extend(segments().next_back());
        // A name of such segments only is kept unchanged, and is not found.
        Self::new(&kept.join(&b'/')).map_or(Cow::Borrowed(self), Cow::Owned)
    }

    /// Returns the folder that this name means, without `.` and empty segments; `None` for the root.
    pub fn as_folder(&self) -> Option<Self> {
        let kept: Vec<&[u8]> = self.segments().collect();
        Self::new(&kept.join(&b'/')).ok()
    }

    /// Returns the name of the same folder with a slash at its end, as it is requested whole.
    ///
    /// # Errors
    /// [`NameError::TooLong`] if that is longer than 1,024 bytes.
    pub fn with_slash(&self) -> Result<Self, NameError> {
        if self.names_folder() { Ok(self.clone()) } else { Self::new(&[self.as_bytes(), b"/"].concat()) }
    }

    /// Returns true if the name means a folder: it ends in a slash.
    pub fn names_folder(&self) -> bool {
        self.0.ends_with(b"/")
    }

    /// Returns the last component, which is the local name; `None` if it is empty, hidden or contains control
    /// characters.
    ///
    /// Input files come from others, and hidden files in a home folder often configure programs: the user has to type
    /// such a name.
    pub fn local(&self) -> Option<&[u8]> {
        self.0.rsplit(|b| *b == b'/').next().filter(|last| is_local(last))
    }

    /// Returns true if each segment can be a local name, see [`Self::local`].
    pub fn is_visible(&self) -> bool {
        self.0.split(|b| *b == b'/').all(is_local)
    }

    /// Returns the name for display, sanitized; the end of a long one is cut off.
    pub fn shown(&self) -> SafeText {
        SafeText::from_bytes(&self.0)
    }

    /// Returns the whole name, sanitized.
    pub fn shown_whole(&self) -> SafeText {
        SafeText::whole_name(&self.0)
    }
}

/// Returns true if a peer's name may become that of a local file or folder: it is not empty, not hidden and contains no
/// control characters.
pub fn is_local(segment: &[u8]) -> bool {
    let control = segment.iter().any(u8::is_ascii_control)
        || segment.utf8_chunks().any(|chunk| chunk.valid().contains(char::is_control));
    !segment.is_empty() && !segment.starts_with(b".") && !control
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
    fn folder_names_are_normalized() {
        let folder = |name: &str| FileName::new(name.as_bytes()).unwrap().as_folder();
        for root in ["/", "//", ".", "./", "/./.", ".//./"] {
            assert_eq!(folder(root), None, "{root}");
        }
        for same in ["a/b", "a/b/", "/a//b/", "./a/./b/./", "a/.///b//"] {
            assert_eq!(folder(same), FileName::new(b"a/b").ok(), "{same}");
        }
        // `..` and hidden names are kept, for the code that opens them.
        assert_eq!(folder("a/../.b/"), FileName::new(b"a/../.b").ok());
    }

    #[test]
    fn parent_segments_of_any_server_are_detected() {
        for up in ["..", "../a", "a/..", "a/../b", "..\\a", "a\\..\\b", "..;/a", "a/..;x=1/b", "/../a"] {
            assert!(FileName::new(up.as_bytes()).unwrap().has_parent_segment(), "{up}");
        }
        for plain in ["...", "a..", "..a", "a/..b/c", "a;../b", ".;.", "./a", "..%2fa"] {
            assert!(!FileName::new(plain.as_bytes()).unwrap().has_parent_segment(), "{plain}");
        }
    }

    #[test]
    fn redundant_segments_are_dropped_and_a_trailing_slash_is_kept() {
        for (name, without) in [
            ("a/b", "a/b"),
            ("./a", "a"),
            ("a/./b", "a/b"),
            ("//a///b", "a/b"),
            ("/a", "a"),
            ("a/.", "a/."),
            ("./a/.", "a/."),
            ("a//", "a/"),
            ("./.", "."),
            ("/", "/"),
            (".", "."),
            ("a/.b", "a/.b"),
            ("../a", "../a"),
        ] {
            let name = FileName::new(name.as_bytes()).unwrap();
            assert_eq!(name.without_dots().shown().as_str(), without, "{name:?}");
        }
    }

    #[test]
    fn displayed_names_are_sanitized() {
        let name = FileName::new(b"a\x1bb\xff").unwrap();
        assert_eq!(name.shown().as_str(), "a\\u{1b}b\\xff");
        assert_eq!(format!("{name:?}"), "FileName(a\\u{1b}b\\xff)");
    }
}
