//! Names of one directory, sorted, within a limit of memory: a large directory is read several times, in pages.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ops::{Bound, RangeBounds};
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, RawDir, SeekFrom, seek};

use super::folder::is_requestable;

/// Bytes of names on a page. With the index of a page, which has at most an eighth as many entries, it takes 6 MiB; a
/// directory of a million short names is read some five times, and most are read once.
pub(super) const MAX_PAGE: usize = 4 << 20;
/// Bytes of the longest name, its type and the zero byte.
const MAX_ENTRY: usize = 257;
/// Buffer for one system call, which returns some hundred names.
const READ_BUFFER: usize = 32 * 1024;

/// Type of a name according to its directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameKind {
    File,
    Folder,
    /// A link, pipe, socket or device.
    Special,
    /// The file system does not report types.
    Unknown,
}

/// Names of a directory in order, up to a limit.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// The type, the name and a zero byte of each.
    bytes: Vec<u8>,
    /// The beginning of each in `bytes`, sorted by name.
    index: Vec<u32>,
    /// How many were taken.
    taken: usize,
    /// The directory has more names after these.
    more: bool,
}

impl Names {
    /// Reads the visible names of a directory that a request can contain, between two bounds, up to about `max` bytes.
    ///
    /// The memory of earlier names is used again: freed by another thread each time, it would not return to the system.
    pub(super) fn read(
        &mut self,
        folder: &OwnedFd,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        max: usize,
    ) -> rustix::io::Result<()> {
        self.bytes.clear();
        self.index.clear();
        (self.taken, self.more) = (0, false);
        // The last name that can still be on this page.
        let mut last: Option<Vec<u8>> = None;
        let mut buffer = vec![MaybeUninit::uninit(); READ_BUFFER];
        seek(folder, SeekFrom::Start(0))?;
        let mut entries = RawDir::new(folder, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if !is_requestable(name)
                || !RangeBounds::<[u8]>::contains(&(lower, upper), name)
                || last.as_deref().is_some_and(|last| name > last)
            {
                continue;
            }
            self.push(NameKind::of(entry.file_type()), name);
            if self.bytes.len() + MAX_ENTRY > max || self.index.len() >= max / 8 {
                last = Some(self.halve());
            }
        }
        self.sort();
        Ok(())
    }

    /// Takes the next name.
    pub(super) fn take(&mut self) -> Option<(NameKind, &CStr)> {
        self.taken += 1;
        if self.taken > self.index.len() {
            return None;
        }
        self.last()
    }

    /// Returns the name taken last.
    pub(super) fn last(&self) -> Option<(NameKind, &CStr)> {
        let start = *self.index.get(self.taken.checked_sub(1)?)?;
        let (kind, rest) = self.bytes[start as usize..].split_first()?;
        Some((NameKind::from_byte(*kind), CStr::from_bytes_until_nul(rest).ok()?))
    }

    /// Returns the last name of the page.
    pub(super) fn greatest(&self) -> &[u8] {
        self.index.last().map(|start| self.name(*start)).unwrap_or_default()
    }

    /// Returns whether the directory has names after this page.
    pub(super) fn has_more(&self) -> bool {
        self.more
    }

    /// Returns the bytes of memory.
    pub(super) fn memory(&self) -> usize {
        self.bytes.capacity() + self.index.capacity() * size_of::<u32>()
    }

    fn push(&mut self, kind: NameKind, name: &[u8]) {
        self.index.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
        self.bytes.push(kind as u8);
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
    }

    fn name(&self, start: u32) -> &[u8] {
        let rest = &self.bytes[start as usize + 1..];
        rest.split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn sort(&mut self) {
        let mut index = std::mem::take(&mut self.index);
        index.sort_unstable_by(|one, other| self.name(*one).cmp(self.name(*other)));
        self.index = index;
    }

    /// Drops the greater half; returns the greatest name kept.
    fn halve(&mut self) -> Vec<u8> {
        self.sort();
        self.more = true;
        self.index.truncate(self.index.len().div_ceil(2));
        let greatest = self.greatest().to_vec();
        // In the order of the bytes, each moves to the end of those before it.
        self.index.sort_unstable();
        let mut index = std::mem::take(&mut self.index);
        let mut end = 0;
        for start in &mut index {
            let from = *start as usize;
            let length = self.name(*start).len() + 2;
            self.bytes.copy_within(from..from + length, end);
            *start = u32::try_from(end).unwrap_or(u32::MAX);
            end += length;
        }
        self.bytes.truncate(end);
        self.index = index;
        greatest
    }
}

impl NameKind {
    fn of(kind: FileType) -> Self {
        match kind {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Folder,
            FileType::Unknown => Self::Unknown,
            _ => Self::Special,
        }
    }

    fn from_byte(byte: u8) -> Self {
        [Self::File, Self::Folder, Self::Special].into_iter().find(|kind| *kind as u8 == byte).unwrap_or(Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn pages_hold_every_name_once_in_order_within_their_limit() {
        let dir = tempfile::tempdir().unwrap();
        let mut expected: Vec<String> = (0..500).map(|number: u32| format!("{:x}", number * 2_654_435)).collect();
        expected.extend(["a".to_owned(), "a-".to_owned(), "a.b".to_owned()]);
        for name in expected.iter().map(String::as_str).chain([".hidden", "line\nbreak"]) {
            File::create(dir.path().join(name)).unwrap();
        }
        expected.sort();
        expected.dedup();
        let folder = OwnedFd::from(File::open(dir.path()).unwrap());
        for max in [64, 1000, 1 << 20] {
            let mut page = Names::default();
            let (mut names, mut lower, mut pages) = (Vec::new(), None::<Vec<u8>>, 0);
            loop {
                let bound = lower.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                page.read(&folder, bound, Bound::Unbounded, max).unwrap();
                assert!(page.bytes.len() <= max + MAX_ENTRY && page.index.len() <= (max / 8).max(1), "{page:?}");
                pages += 1;
                while let Some((kind, name)) = page.take() {
                    assert_eq!(kind, NameKind::File);
                    names.push(name.to_str().unwrap().to_owned());
                }
                lower = names.last().map(|name| name.as_bytes().to_vec());
                if !page.has_more() {
                    break;
                }
            }
            assert_eq!((names == expected, pages > 1), (true, max < 1 << 20));
        }
        let mut within = Names::default();
        within.read(&folder, Bound::Included(b"a"), Bound::Included(b"a-"), MAX_PAGE).unwrap();
        assert_eq!((within.index.len(), within.has_more()), (2, false));
    }
}
