//! Where a fetched file is to go: the folder, held open, and the name in it, chosen here and never by a peer.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use crate::error::{Error, Kept, shown};
use crate::route::FileName;

/// A folder that exists and a name in it.
#[derive(Debug)]
pub(super) struct Place {
    folder: PathBuf,
    handle: File,
    name: OsString,
}

impl Place {
    /// Finds the place for a file: `output` is an existing folder, or names the file itself.
    pub(super) fn of(output: &Path, file: &FileName) -> Result<Self, Error> {
        let is_folder = output.is_dir() || output.as_os_str().as_bytes().ends_with(b"/");
        let (folder, name) = if is_folder {
            let local = file.local().ok_or_else(|| {
                Error::Usage(format!("{}: cannot be the name of a local file: name one with -o", file.shown()))
            })?;
            (output, OsStr::from_bytes(local))
        } else {
            let name = output.file_name().ok_or_else(|| {
                Error::Usage(format!("-o {}: neither a folder nor the name of a file", shown(output)))
            })?;
            let parent = output.parent().unwrap_or(Path::new(""));
            (if parent.as_os_str().is_empty() { Path::new(".") } else { parent }, name)
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(folder, flags, Mode::empty())
            .map_err(|error| Error::disk("write to this folder", folder, &error.into()))?;
        Ok(Self { folder: folder.to_owned(), handle: handle.into(), name: name.to_owned() })
    }

    /// The whole path, as short as it was named.
    pub(super) fn path(&self) -> PathBuf {
        self.beside(&self.name)
    }

    /// The path of another name in the same folder.
    pub(super) fn beside(&self, name: &OsStr) -> PathBuf {
        if self.folder == Path::new(".") { PathBuf::from(name) } else { self.folder.join(name) }
    }

    /// The folder.
    pub(super) fn folder(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// The file's name in the folder.
    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Writes the folder's entries to the disk; some file systems cannot, and need not.
    pub(super) fn sync(&self) {
        let _ = self.handle.sync_all();
    }

    /// The size of the file that is there already, if there is one.
    pub(super) fn existing(&self) -> Result<Option<u64>, Error> {
        let found = match rustix::fs::statat(self.folder(), &self.name, AtFlags::empty()) {
            Ok(found) => found,
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(error) => return Err(Error::disk("look at it", &self.path(), &error.into())),
        };
        let reason = match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => return Ok(Some(found.st_size.unsigned_abs())),
            FileType::Directory => "a folder of that name is there: name another with -o",
            _ => "something else than a file is there: name another place with -o",
        };
        Err(Error::Disk { action: "write it", path: shown(&self.path()), reason: reason.to_owned() })
    }

    /// Refuses a file of another size before its body is asked for.
    pub(super) fn check_existing(&self, size: u64, force: bool) -> Result<(), Error> {
        match self.existing()? {
            Some(there) if there != size && !force => Err(Error::Exists {
                path: shown(&self.path()),
                difference: format!("of another size ({there} bytes, not {size})"),
                kept: Kept::default(),
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> FileName {
        FileName::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_folder_takes_the_last_component_and_a_path_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::of(folder.path(), &name("a/b.txt")).unwrap();
        assert_eq!(place.path(), folder.path().join("b.txt"));
        let place = Place::of(&folder.path().join("other"), &name("a/..")).unwrap();
        assert_eq!(place.path(), folder.path().join("other"));
    }

    #[test]
    fn hostile_and_impossible_names_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for bad in ["..", "x/", ".", "a/\u{1b}[2J"] {
            assert_eq!(Place::of(folder.path(), &name(bad)).unwrap_err().exit_code(), 2, "{bad:?}");
        }
        let missing = Place::of(&folder.path().join("no/such"), &name("f")).unwrap_err();
        assert_eq!(missing.exit_code(), 7);
        assert!(missing.to_string().contains("make the folder first"), "{missing}");
    }

    #[test]
    fn another_size_is_refused_unless_forced_and_a_folder_always() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("f"), b"123").unwrap();
        let place = Place::of(folder.path(), &name("f")).unwrap();
        assert!(place.check_existing(3, false).is_ok() && place.check_existing(4, true).is_ok());
        let error = place.check_existing(4, false).unwrap_err();
        assert!(error.to_string().contains("--force"), "{error}");
        std::fs::create_dir(folder.path().join("d")).unwrap();
        assert_eq!(Place::of(folder.path(), &name("d")).unwrap().existing().unwrap_err().exit_code(), 7);
    }
}
