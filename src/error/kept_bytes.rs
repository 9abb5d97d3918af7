//! Place of the bytes of a failed transfer.

use std::fmt;

use crate::text::SafeText;

/// Where the bytes of a failed transfer are; displayed as nothing if there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptBytes {
    /// The partial file.
    pub file: Option<SafeText>,
    /// The same command resumes from there.
    pub resumable: bool,
}

impl KeptBytes {
    /// Returns advice for the user.
    pub(super) fn advice(&self) -> &'static str {
        if self.resumable { ": run the same command again to resume" } else { "" }
    }
}

impl fmt::Display for KeptBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(path) => write!(f, "; the received bytes are in {path}"),
            None => Ok(()),
        }
    }
}
