//! Identity of a file's content.

use rustix::fs::Stat;

/// Version of a file's content: if none of these fields changed, the content did not change either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    device: u64,
    inode: u64,
    /// The size in bytes.
    pub size: u64,
    /// Last change of content: seconds and nanoseconds.
    pub modified: (i64, i64),
    /// Last change of its state.
    changed: (i64, i64),
}

impl Version {
    /// Creates the version of a file in this state.
    pub(in crate::net) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: (stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
            changed: (stat.st_ctime, stat.st_ctime_nsec.cast_signed()),
        }
    }

    /// Returns the version of the same file in a later state. To remove its last name changes that, not its content.
    pub(in crate::net) fn later(self, stat: &Stat) -> Self {
        let now = Self::of(stat);
        if stat.st_nlink == 0 { Self { changed: self.changed, ..now } } else { now }
    }

    /// Returns the strong validator, quotes included; it reveals only the size of the file, and that it changed.
    pub fn etag(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        let (modified, changed) = (self.modified, self.changed);
        for number in [self.device, self.inode, self.size] {
            hasher.update(&number.to_le_bytes());
        }
        for number in [modified.0, modified.1, changed.0, changed.1] {
            hasher.update(&number.to_le_bytes());
        }
        let hex = hasher.finalize().to_hex();
        format!("\"{}-{:x}\"", &hex[..32], self.size)
    }

    /// Returns the size that the file had when it had this validator, if that is less than its size now.
    ///
    /// The validator contains it, so that nothing must be stored about the files that were sent, and no client can
    /// exhaust such a store.
    pub fn grown_from(&self, etag: &str) -> Option<u64> {
        let (hash, size) = etag.strip_prefix('"')?.strip_suffix('"')?.split_once('-')?;
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let size = u64::from_str_radix(size, 16).ok().filter(|_| hash.len() == 32 && digits(hash) && digits(size))?;
        (size < self.size).then_some(size)
    }
}
