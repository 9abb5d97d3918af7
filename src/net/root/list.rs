//! What a served folder offers: its files and folders, found by the same rules as they are served by.

use std::ffi::CStr;
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, OFlags, fstat, statat};

use super::{OpenError, Root, is_hidden};
use crate::route::FileName;
use crate::snapshot::{Entry, Listing, MAX_ENTRIES};
use crate::text::SafeText;

/// Most names read of one folder: of a larger one, which of them the list has is chance, but its cost has a bound.
const MOST_READ: usize = 16 * MAX_ENTRIES;
/// About how long a list may be in JSON, in bytes: thousands of entries with long names of odd bytes would be longer.
const LONGEST: usize = 2 << 20;
/// What an entry is in JSON besides its names, at most.
const AROUND: usize = 80;

impl Root {
    /// Lists a folder beneath the root, `None` for the root itself: what could be asked for there by name, sorted.
    ///
    /// Blocks on the disk. Hidden files, links that lead out, pipes, devices, and names that no request can hold are
    /// left out; what is there but has no more room is counted.
    pub fn list(&self, folder: Option<&FileName>) -> Result<Listing, OpenError> {
        let path = folder.map_or(&b"."[..], FileName::as_bytes);
        if folder.is_some() && is_hidden(path) {
            return Err(OpenError::NotFound);
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let handle = self.open_beneath(path, flags)?;
        let names = names(&handle).map_err(|error| OpenError::Failed(error.into()))?;
        let shown = folder.map(FileName::shown).unwrap_or_default();
        let mut listing = Listing { folder: shown, ..Listing::default() };
        let mut length = 0;
        for (at, (name, kind)) in names.iter().enumerate() {
            if listing.entries.len() == MAX_ENTRIES || length > LONGEST {
                listing.more = (names.len() - at) as u64;
                break;
            }
            let Some(entry) = self.entry(folder, &handle, name, *kind) else { continue };
            // What was escaped to be shown is escaped once more in JSON; a byte of a path becomes three at most.
            length += 2 * entry.name.as_str().len() + 3 * entry.path.as_bytes().len() + AROUND;
            listing.entries.push(entry);
        }
        Ok(listing)
    }

    /// What stands behind one name; `None` where it is nothing that is served.
    fn entry(&self, folder: Option<&FileName>, handle: &OwnedFd, name: &CStr, kind: FileType) -> Option<Entry> {
        let mut path = folder.map(|folder| folder.as_bytes().to_vec()).unwrap_or_default();
        if !path.is_empty() && !path.ends_with(b"/") {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let path = FileName::new(&path).ok()?;
        let stat = match kind {
            // Not followed: between reading the name and this, it may have become a link.
            FileType::RegularFile | FileType::Directory => statat(handle, name, AtFlags::SYMLINK_NOFOLLOW).ok()?,
            // Followed beneath the root, as for serving; a handle of this kind opens nothing.
            _ => fstat(self.open_beneath(path.as_bytes(), OFlags::PATH | OFlags::CLOEXEC).ok()?).ok()?,
        };
        let is_folder = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => false,
            FileType::Directory => true,
            _ => return None,
        };
        let size = if is_folder { 0 } else { u64::try_from(stat.st_size).unwrap_or_default() };
        Some(Entry { name: SafeText::from_bytes(name.to_bytes()), path, size, is_folder })
    }
}

/// The names that may be seen, sorted, and what the folder says they are.
fn names(handle: &OwnedFd) -> rustix::io::Result<Vec<(std::ffi::CString, FileType)>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(handle)? {
        let entry = entry?;
        let served = matches!(
            entry.file_type(),
            FileType::RegularFile | FileType::Directory | FileType::Symlink | FileType::Unknown
        );
        if served && !is_hidden(entry.file_name().to_bytes()) {
            names.push((entry.file_name().to_owned(), entry.file_type()));
        }
        if names.len() == MOST_READ {
            break;
        }
    }
    names.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    Ok(names)
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
        Root::open(root).unwrap().list(FileName::new(folder).ok().as_ref())
    }

    /// The names in a listing, folders with a slash behind them.
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
        symlink("sub", served.join("door")).unwrap();
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
        assert_eq!(names(&listing), ["a b%\\u{1b}", "b", "door/", "link", "sub/", "\\xff"]);
        let sizes: Vec<u64> = listing.entries.iter().map(|entry| entry.size).collect();
        assert_eq!((sizes, listing.more), (vec![1, 5, 0, 5, 0, 0], 0));
        let root = Root::open(&served).unwrap();
        for file in listing.entries.iter().filter(|entry| !entry.is_folder) {
            assert_eq!(root.serve(&file.path).unwrap().version.size, file.size, "{:?}", file.path);
        }
        for folder in [&b"sub"[..], b"sub/", b"door"] {
            assert_eq!(names(&list(&served, folder).unwrap()), ["back", "empty/"]);
        }
        assert_eq!(list(&served, b"sub/").unwrap().entries[0].path.as_bytes(), b"sub/back");
        assert_eq!(list(&served, b"sub/empty").unwrap().entries, []);
    }

    #[test]
    fn nothing_outside_is_listed_and_what_is_no_folder_is_not_found() {
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
    fn a_large_folder_is_listed_from_its_beginning_and_the_rest_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        for number in 0..MAX_ENTRIES + 5 {
            fs::write(dir.path().join(format!("{number:05}")), "").unwrap();
        }
        let listing = list(dir.path(), b"").unwrap();
        assert_eq!((listing.entries.len(), listing.more), (MAX_ENTRIES, 5));
        assert_eq!(listing.entries[MAX_ENTRIES - 1].name.as_str(), format!("{:05}", MAX_ENTRIES - 1));
        // Names that grow sixfold when they are made safe.
        let dir = tempfile::tempdir().unwrap();
        for number in 0..2000 {
            fs::write(dir.path().join(format!("{number:04}{}", "\u{1b}".repeat(240))), "").unwrap();
        }
        let listing = list(dir.path(), b"").unwrap();
        assert_eq!(listing.entries.len() as u64 + listing.more, 2000);
        assert!(listing.more > 0 && serde_json::to_vec(&listing).unwrap().len() < LONGEST + 8192);
    }
}
