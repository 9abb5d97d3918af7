//! File names: bytes as they are asked for, and the local name they are written under.

use std::borrow::Cow;
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
    /// A NUL, CR or LF, which would end the name on one of the protocols.
    #[error("the file name holds a NUL, a carriage return or a line feed")]
    Forbidden,
}

impl FileName {
    /// Takes bytes as they came; nothing is trimmed or unescaped.
    ///
    /// # Errors
    /// [`NameError`] if the name is empty, longer than 1,024 bytes, or holds a NUL, CR or LF.
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

    /// True if a segment means the folder above, for whichever server will read it: some part a path at `\\`, too, or
    /// take what follows `;` for no part of the name.
    pub fn climbs(&self) -> bool {
        let up = |segment: &[u8]| segment.strip_prefix(b"..").is_some_and(|rest| matches!(rest, [] | [b';', ..]));
        self.0.windows(2).any(|pair| pair == b"..") && self.0.split(|b| matches!(b, b'/' | b'\\')).any(up)
    }

    /// The name without segments that lead nowhere (`.` and empty ones). A last one stays: it says that a folder is
    /// meant.
    pub fn without_dots(&self) -> Cow<'_, Self> {
        let idle = |segment: &[u8]| matches!(segment, b"" | b".");
        let segments = || self.0.split(|b| *b == b'/');
        let inner = segments().count() - 1;
        if !segments().take(inner).any(idle) {
            return Cow::Borrowed(self);
        }
        let mut kept: Vec<&[u8]> = segments().take(inner).filter(|segment| !idle(segment)).collect();
        kept.extend(segments().next_back());
        // A name that is nothing else stays as it is, and is not found.
        Self::new(&kept.join(&b'/')).map_or(Cow::Borrowed(self), Cow::Owned)
    }

    /// The folder that this name means with a slash at its end, without segments that lead nowhere; `None` for the
    /// root.
    pub fn as_folder(&self) -> Option<Self> {
        let kept: Vec<&[u8]> = self.0.split(|b| *b == b'/').filter(|segment| !matches!(*segment, b"" | b".")).collect();
        Self::new(&kept.join(&b'/')).ok()
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
    fn a_folder_is_named_without_what_leads_nowhere() {
        let folder = |name: &str| FileName::new(name.as_bytes()).unwrap().as_folder();
        for root in ["/", "//", ".", "./", "/./.", ".//./"] {
            assert_eq!(folder(root), None, "{root}");
        }
        for same in ["a/b", "a/b/", "/a//b/", "./a/./b/./", "a/.///b//"] {
            assert_eq!(folder(same), FileName::new(b"a/b").ok(), "{same}");
        }
        // What leads up, or only begins with a dot, is left to whoever opens it.
        assert_eq!(folder("a/../.b/"), FileName::new(b"a/../.b").ok());
    }

    #[test]
    fn a_name_climbs_where_any_server_could_read_it_so() {
        for up in ["..", "../a", "a/..", "a/../b", "..\\a", "a\\..\\b", "..;/a", "a/..;x=1/b", "/../a"] {
            assert!(FileName::new(up.as_bytes()).unwrap().climbs(), "{up}");
        }
        for plain in ["...", "a..", "..a", "a/..b/c", "a;../b", ".;.", "./a", "..%2fa"] {
            assert!(!FileName::new(plain.as_bytes()).unwrap().climbs(), "{plain}");
        }
    }

    #[test]
    fn segments_that_lead_nowhere_are_dropped_and_a_folder_stays_one() {
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
    fn a_name_is_shown_safely() {
        let name = FileName::new(b"a\x1bb\xff").unwrap();
        assert_eq!(name.shown().as_str(), "a\\u{1b}b\\xff");
        assert_eq!(format!("{name:?}"), "FileName(a\\u{1b}b\\xff)");
    }
}
