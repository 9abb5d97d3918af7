//! Differences of an archive from what an origin sends.

use std::fmt;

use crate::route::NameError;
use crate::text::SafeText;
use crate::units::Bytes;

/// A difference of an archive from what an origin sends, and the entry that has it, if it is of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveError {
    /// The entry's name in the archive.
    pub entry: Option<SafeText>,
    /// The difference.
    pub fault: Fault,
}

/// A difference from what an origin sends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No archive has this length.
    #[error("{0} bytes is not the length of an archive")]
    Length(u64),
    /// The header's checksum is wrong.
    #[error("the checksum of a header is wrong")]
    Checksum,
    /// The header is not in the ustar format.
    #[error("a header is not in the ustar format")]
    Format,
    /// A number in the header is none, or negative.
    #[error("its {0} is not an octal number")]
    Number(&'static str),
    /// A link, a device, a sparse file or another type that no origin sends.
    #[error("its type {:?} is neither a file nor a folder", char::from(*.0))]
    Kind(u8),
    /// The size exceeds what is left of the archive.
    #[error("its size of {size} bytes exceeds the {left} bytes that are left of the archive")]
    Size {
        /// The size.
        size: u64,
        /// Bytes left.
        left: u64,
    },
    /// A folder has content.
    #[error("a folder with content")]
    FolderWithContent,
    /// The name does not begin with that of the requested folder.
    #[error("it is not in the requested folder")]
    Prefix,
    /// The name contains an empty segment.
    #[error("its name contains an empty segment")]
    Segment,
    /// The name contains `..`.
    #[error("its name contains a parent folder (..)")]
    Parent,
    /// The name is hidden.
    #[error("its name is hidden")]
    Hidden,
    /// No request can contain the name.
    #[error("{0}")]
    Name(NameError),
    /// The entry is repeated, or not in order.
    #[error("it is repeated, or out of order")]
    Order,
    /// The entry is beneath a file.
    #[error("it is in a file, not in a folder")]
    BeneathFile,
    /// The entry was not requested.
    #[error("it was not requested")]
    Range,
    /// An extended header is empty or too long.
    #[error("an extended header of {}", Bytes(*.0))]
    ExtendedLength(u64),
    /// An extended header is malformed, or contains another record.
    #[error("an extended header with the record {0:?}")]
    Record(SafeText),
    /// An extended header is not followed by a file or a folder.
    #[error("an extended header that is not followed by a file or a folder")]
    ExtendsNothing,
    /// The number of digests is wrong.
    #[error("{found} digests of {files} files")]
    DigestCount {
        /// Number of digests.
        found: usize,
        /// Number of files since the last ones.
        files: usize,
    },
    /// Digests are missing.
    #[error("the digests of {0} files are missing")]
    Unproven(usize),
    /// The archive ends before or after its announced length.
    #[error("the archive does not end at its announced length")]
    AfterEnd,
}

impl Fault {
    pub(super) fn of_archive(self) -> ArchiveError {
        ArchiveError { entry: None, fault: self }
    }

    pub(super) fn of_entry(self, name: SafeText) -> ArchiveError {
        ArchiveError { entry: Some(name), fault: self }
    }
}

impl fmt::Display for ArchiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.entry {
            Some(entry) => write!(f, "entry {:?}: {}", entry.as_str(), self.fault),
            None => self.fault.fmt(f),
        }
    }
}

impl std::error::Error for ArchiveError {}
