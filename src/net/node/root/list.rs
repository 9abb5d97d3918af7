//! Listings of a served folder: its files and folders, found by the same rules as they are served by.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, fstat, statat};

use super::folder::{Folder, base, is_requestable};
use super::{OpenError, Root, is_on_synthetic, is_synthetic};
use crate::route::FileName;
use crate::snapshot::{Listing, ListingEntry, MAX_ENTRIES};
use crate::text::SafeText;

/// Approximate maximum length of a page in JSON, in bytes: thousands of entries with long names of odd bytes would be
/// longer.
pub(super) const MAX_PAGE: usize = 2 << 20;
/// Maximum length of an entry in JSON without its names.
const ENTRY_OVERHEAD: usize = 80;

impl Root {
    /// Lists a page of a folder beneath the root, `None` for the root itself: the names that can be requested there,
    /// sorted, after the name `after`.
    ///
    /// Blocks on the disk. Every name of the folder is read for every page, but only one page is kept in memory. Hidden
    /// files, links that lead out, pipes, devices, and names that no request can contain are omitted; names after the
    /// page are counted.
    ///
    /// # Errors
    /// `NotFound` if there is no visible folder of this name, `Failed` if it cannot be read.
    pub fn list(&self, folder: Option<&FileName>, after: Option<&FileName>) -> Result<Listing, OpenError> {
        let root = self.current.folder(&self.path);
        let (handle, _) = root.open_folder(folder)?;
        let (names, after_page) = names(&handle, after).map_err(|error| OpenError::Failed(error.into()))?;
        let synthetic = is_on_synthetic(&handle);
        let shown = folder.map(FileName::shown).unwrap_or_default();
        let mut listing = Listing { folder: shown, omitted: after_page, ..Listing::default() };
        let (base, mut length, mut last) = (base(folder), 0, None);
        for (at, FolderEntry { name, kind }) in names.iter().enumerate() {
            if length > MAX_PAGE {
                listing.omitted += (names.len() - at) as u64;
                break;
            }
            last = Some(name);
            let Some(entry) = entry(&root, &base, &handle, name, *kind) else { continue };
            if synthetic && !entry.is_folder {
                continue;
            }
            length += json_length(&entry) + ENTRY_OVERHEAD;
            listing.entries.push(entry);
        }
        if listing.omitted > 0 {
            listing.next = last.and_then(|name| FileName::new(name.to_bytes()).ok());
        }
        Ok(listing)
    }
}

/// Returns the maximum length of the names of an entry in JSON.
pub(super) fn json_length(entry: &ListingEntry) -> usize {
    // Escapes for display are escaped once more in JSON; a byte of a path becomes three at most.
    2 * entry.name.as_str().len() + 3 * entry.path.as_bytes().len()
}

/// Returns the entry of one name; `None` if it is not served.
fn entry(root: &Folder, base: &[u8], handle: &OwnedFd, name: &CStr, kind: FileType) -> Option<ListingEntry> {
    let path = [base, name.to_bytes()].concat();
    let path = FileName::new(&path).ok()?;
    let stat = match kind {
        // Not followed: between reading the name and this, it may have become a link.
        FileType::RegularFile | FileType::Directory => statat(handle, name, AtFlags::SYMLINK_NOFOLLOW).ok()?,
        // Followed beneath the root, as for serving; a handle of this kind opens nothing.
        _ => {
            let file = root.open_beneath(path.as_bytes(), OFlags::PATH | OFlags::CLOEXEC).ok()?;
            let stat = fstat(&file).ok()?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && is_synthetic(&file, &stat) {
                return None;
            }
            stat
        }
    };
    let is_folder = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => false,
        FileType::Directory => true,
        _ => return None,
    };
    let size = if is_folder { 0 } else { u64::try_from(stat.st_size).unwrap_or_default() };
    Some(ListingEntry::new(SafeText::from_bytes(name.to_bytes()), path, size, is_folder))
}

/// A name in a folder, and its type according to the folder; ordered by the name.
struct FolderEntry {
    name: CString,
    kind: FileType,
}

impl Ord for FolderEntry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.name.cmp(&other.name)
    }
}

impl PartialOrd for FolderEntry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for FolderEntry {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for FolderEntry {}

/// Returns the first visible names after `after`, sorted, up to one page, and the number of names after them.
fn names(handle: &OwnedFd, after: Option<&FileName>) -> rustix::io::Result<(Vec<FolderEntry>, u64)> {
    let after = after.map_or(&b""[..], FileName::as_bytes);
    // The largest is on top: it is replaced by a smaller one.
    let mut first = BinaryHeap::new();
    let mut after_page = 0;
    for entry in Dir::read_from(handle)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type());
        let served =
            matches!(kind, FileType::RegularFile | FileType::Directory | FileType::Symlink | FileType::Unknown);
        let bytes = name.to_bytes();
        if !served || !is_requestable(bytes) || bytes <= after {
            continue;
        }
        if first.len() == MAX_ENTRIES {
            after_page += 1;
            if first.peek().is_some_and(|largest: &FolderEntry| largest.name.to_bytes() < bytes) {
                continue;
            }
            first.pop();
        }
        first.push(FolderEntry { name: name.to_owned(), kind });
    }
    Ok((first.into_sorted_vec(), after_page))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::*;

    fn list(root: &Path, folder: &[u8]) -> Result<Listing, OpenError> {
        Root::open(root).unwrap().list(FileName::new(folder).ok().as_ref(), None)
    }

    /// Returns the names in a listing, folders with a slash at the end.
    fn names(listing: &Listing) -> Vec<String> {
        listing
            .entries
            .iter()
            .map(|entry| format!("{}{}", entry.name, if entry.is_folder { "/" } else { "" }))
            .collect()
    }

    #[test]
    fn a_folder_is_listed_as_it_is_served() {
        let dir = tempfile::tempdir().unwrap();
        let served = dir.path().join("served");
        fs::create_dir_all(served.join("sub/empty")).unwrap();
        fs::write(dir.path().join("secret"), "s3cret").unwrap();
        fs::write(served.join("b"), "12345").unwrap();
        fs::write(served.join("a b%\u{1b}"), "1").unwrap();
        fs::write(served.join(OsStr::from_bytes(b"\xff")), "").unwrap();
        fs::write(served.join("line\nbreak"), "").unwrap();
        fs::write(served.join(".hidden"), "h").unwrap();
        symlink("b", served.join("link")).unwrap();
        symlink("sub", served.join("to-sub")).unwrap();
        symlink("../secret", served.join("outside")).unwrap();
        symlink("/etc/passwd", served.join("absolute")).unwrap();
        symlink("loop", served.join("loop")).unwrap();
        symlink("/proc/self/root", served.join("magic")).unwrap();
        symlink("../../b", served.join("sub/up")).unwrap();
        symlink("../b", served.join("sub/back")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, served.join("pipe"), rustix::fs::Mode::from(0o600)).unwrap();
        symlink("pipe", served.join("pipe-link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(served.join("socket")).unwrap();
        let listing = list(&served, b"").unwrap();
        assert_eq!(names(&listing), ["a b%\\u{1b}", "b", "link", "sub/", "to-sub/", "\\xff"]);
        let sizes: Vec<u64> = listing.entries.iter().map(|entry| entry.size).collect();
        assert_eq!((sizes, listing.omitted), (vec![1, 5, 5, 0, 0, 0], 0));
        let root = Root::open(&served).unwrap();
        for file in listing.entries.iter().filter(|entry| !entry.is_folder) {
            assert_eq!(root.serve(&file.path).unwrap().version.size, file.size, "{:?}", file.path);
        }
        for folder in [&b"sub"[..], b"sub/", b"to-sub"] {
            assert_eq!(names(&list(&served, folder).unwrap()), ["back", "empty/"]);
        }
        assert_eq!(list(&served, b"sub/").unwrap().entries[0].path.as_bytes(), b"sub/back");
        assert_eq!(list(&served, b"sub/empty").unwrap().entries, []);
    }

    #[test]
    fn names_outside_are_not_listed_and_only_folders_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let served = dir.path().join("served");
        fs::create_dir_all(served.join(".git")).unwrap();
        fs::write(served.join("file"), "f").unwrap();
        symlink("..", served.join("up")).unwrap();
        symlink("/", served.join("top")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, served.join("pipe"), rustix::fs::Mode::from(0o600)).unwrap();
        for folder in [&b".."[..], b"/", b"/etc", b"up", b"top", b"top/etc", b".git", b".", b"file", b"pipe", b"none"] {
            assert!(matches!(list(&served, folder), Err(OpenError::NotFound)), "{}", String::from_utf8_lossy(folder));
        }
        assert_eq!(names(&list(&served, b"").unwrap()), ["file"]);
    }

    #[test]
    fn a_large_folder_is_listed_page_by_page_and_the_rest_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let total = 2 * MAX_ENTRIES + 5;
        for number in 0..total {
            fs::write(dir.path().join(format!("{number:05}%")), "").unwrap();
        }
        assert_eq!(paged(dir.path()), [(MAX_ENTRIES, (total - MAX_ENTRIES) as u64), (MAX_ENTRIES, 5), (5, 0)]);
        // Names that grow sixfold when escaped.
        let dir = tempfile::tempdir().unwrap();
        for number in 0..2000 {
            fs::write(dir.path().join(format!("{number:04}{}", "\u{1b}".repeat(240))), "").unwrap();
        }
        let listing = list(dir.path(), b"").unwrap();
        assert!(listing.omitted > 0 && serde_json::to_vec(&listing).unwrap().len() < MAX_PAGE + 8192);
        paged(dir.path());
    }

    /// Returns the number of entries on each page of a root and after it; every name of the folder is on exactly one
    /// page, in order.
    fn paged(root: &Path) -> Vec<(usize, u64)> {
        let root = Root::open(root).unwrap();
        let mut all: Vec<_> = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        all.sort();
        let (mut pages, mut names, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let listing = root.list(None, after.as_ref()).unwrap();
            pages.push((listing.entries.len(), listing.omitted));
            names.extend(listing.entries.iter().map(|entry| OsStr::from_bytes(entry.path.as_bytes()).to_owned()));
            assert_eq!(names.len() as u64 + listing.omitted, all.len() as u64);
            after = listing.next;
            if after.is_none() {
                assert_eq!(names, all);
                return pages;
            }
        }
    }
}
