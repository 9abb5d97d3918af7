//! Where a fetched file is to go: the folder, held open, and the name in it, chosen here and never by a peer.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::{Error, KeptBytes, shown};
use crate::route::FileName;

/// A folder that exists and a name in it that is no symbolic link.
#[derive(Debug)]
pub(super) struct TargetPath {
    /// The path as it was named: where that is a symbolic link, it is not the path of the file.
    named: PathBuf,
    folder: PathBuf,
    handle: File,
    name: OsString,
    /// An open file could not be given a name here.
    linkless: AtomicBool,
}

/// What tells one file from another for as long as either is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

/// A regular file that stands under the final name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Existing {
    pub(super) size: u64,
    /// Permissions, without the set-id bits: those were meant for another content.
    pub(super) mode: u32,
    pub(super) owner: u32,
    pub(super) group: u32,
}

impl FileId {
    pub(super) fn of(found: &Stat) -> Self {
        Self { device: found.st_dev, inode: found.st_ino }
    }
}

impl TargetPath {
    /// Finds the place for a file: `output` is a folder, or names the file itself. A folder that is named with a slash
    /// at its end is made; a symbolic link is followed, so that the file it points to is the one that is replaced.
    pub(super) fn of(output: &Path, file: &FileName) -> Result<Self, Error> {
        let slash = output.as_os_str().as_bytes().ends_with(b"/");
        let is_folder = output.is_dir();
        let (folder, name) = if is_folder || slash {
            let local = file.local().ok_or_else(|| {
                Error::Usage(format!("{}: cannot be the name of a local file: name one with -o", file.shown()))
            })?;
            if !is_folder {
                fs::create_dir_all(output).map_err(|error| Error::disk("make this folder", output, &error))?;
            }
            (output, OsStr::from_bytes(local))
        } else {
            let name = output.file_name().ok_or_else(|| {
                Error::Usage(format!("-o {}: neither a folder nor the name of a file", shown(output)))
            })?;
            let parent = output.parent().unwrap_or(Path::new(""));
            (if parent.as_os_str().is_empty() { Path::new(".") } else { parent }, name)
        };
        // What can never become the file is refused before anything is asked.
        let place = Self::in_folder(folder, name)?;
        match place.found()? {
            Some(found) if FileType::from_raw_mode(found.st_mode) == FileType::Symlink => {
                let place = place.followed()?;
                place.existing().map(|_| place)
            }
            Some(found) => place.regular(&found).map(|_| place),
            None => Ok(place),
        }
    }

    fn in_folder(folder: &Path, name: &OsStr) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(folder, flags, Mode::empty())
            .map_err(|error| Error::disk("write to this folder", folder, &error.into()))?;
        let (folder, name) = (folder.to_owned(), name.to_owned());
        let place =
            Self { named: PathBuf::new(), folder, handle: handle.into(), name, linkless: AtomicBool::new(false) };
        Ok(Self { named: place.beside(&place.name), ..place })
    }

    /// What stands under the final name.
    fn found(&self) -> Result<Option<Stat>, Error> {
        match self.stat(&self.name) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::disk("look at it", &self.named, &error.into())),
        }
    }

    fn regular(&self, found: &Stat) -> Result<Existing, Error> {
        let reason = match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => {
                return Ok(Existing {
                    size: found.st_size.unsigned_abs(),
                    mode: found.st_mode & 0o777,
                    owner: found.st_uid,
                    group: found.st_gid,
                });
            }
            FileType::Directory => "a folder of that name is there: name another with -o",
            _ => "something else than a file is there: name another place with -o",
        };
        Err(Error::Disk { action: "write it", path: shown(&self.named), reason: reason.to_owned() })
    }

    /// The place that a symbolic link points to.
    fn followed(self) -> Result<Self, Error> {
        let refused = |what: &str| Error::Disk {
            action: "write it",
            path: shown(&self.named),
            reason: format!("a symbolic link to {what} is there: name another place with -o"),
        };
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => refused("nothing"),
            _ => Error::disk("follow the symbolic link", &self.named, &error),
        };
        // The kernel goes first: it refuses to follow what somebody else has put into a folder that all may write to.
        if !fs::metadata(&self.named).map_err(failed)?.is_file() {
            return Err(refused("something else than a file"));
        }
        let real = fs::canonicalize(&self.named).map_err(failed)?;
        match (real.parent(), real.file_name()) {
            (Some(folder), Some(name)) => Ok(Self { named: self.named, ..Self::in_folder(folder, name)? }),
            _ => Err(refused("something else than a file")),
        }
    }

    /// The whole path, as short as it was named.
    pub(super) fn path(&self) -> PathBuf {
        self.named.clone()
    }

    /// The path of another name in the same folder.
    pub(super) fn beside(&self, name: &OsStr) -> PathBuf {
        if self.folder == Path::new(".") { PathBuf::from(name) } else { self.folder.join(name) }
    }

    /// The folder.
    pub(super) fn folder(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// Whether open files can be given names here, as far as it has turned out.
    pub(super) fn can_link(&self) -> bool {
        !self.linkless.load(Relaxed)
    }

    /// It has turned out that open files cannot be given names here.
    pub(super) fn note_linkless(&self) {
        self.linkless.store(true, Relaxed);
    }

    /// The file's name in the folder.
    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// What stands under a name in the folder; a symbolic link is not followed.
    pub(super) fn stat(&self, name: &OsStr) -> Result<Stat, Errno> {
        rustix::fs::statat(self.folder(), name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// True where nothing has a name in the folder.
    pub(super) fn is_free(&self, name: &OsStr) -> bool {
        matches!(self.stat(name), Err(Errno::NOENT))
    }

    /// True where this very file stands under a name in the folder.
    pub(super) fn holds(&self, name: &OsStr, id: FileId) -> bool {
        self.stat(name).is_ok_and(|found| FileId::of(&found) == id)
    }

    /// Writes the folder's entries to the disk.
    pub(super) fn sync(&self) -> Result<(), Error> {
        match rustix::fs::fsync(self.folder()) {
            // Some file systems cannot do this with a folder, and need not.
            Ok(()) | Err(Errno::INVAL | Errno::BADF | Errno::NOTSUP | Errno::NOSYS | Errno::ROFS) => Ok(()),
            Err(error) => Err(Error::disk("write its name to the disk", &self.path(), &error.into())),
        }
    }

    /// The file that is there already, if there is one.
    pub(super) fn existing(&self) -> Result<Option<Existing>, Error> {
        self.found()?.map(|found| self.regular(&found)).transpose()
    }

    /// Refuses a file of another size before its body is asked for; the answer is what will have to be compared or
    /// replaced.
    pub(super) fn check_existing(&self, size: u64, force: bool) -> Result<Option<Existing>, Error> {
        match self.existing()? {
            Some(there) if there.size != size && !force => Err(Error::Exists {
                path: shown(&self.path()),
                difference: format!("of another size ({} bytes, not {size})", there.size),
                kept: KeptBytes::default(),
            }),
            there => Ok(there),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn name(text: &str) -> FileName {
        FileName::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_folder_takes_the_last_component_and_a_path_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let place = TargetPath::of(folder.path(), &name("a/b.txt")).unwrap();
        assert_eq!(place.path(), folder.path().join("b.txt"));
        let place = TargetPath::of(&folder.path().join("other"), &name("a/..")).unwrap();
        assert_eq!(place.path(), folder.path().join("other"));
    }

    #[test]
    fn hostile_and_impossible_names_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for bad in ["..", "x/", ".", "a/\u{1b}[2J"] {
            assert_eq!(TargetPath::of(folder.path(), &name(bad)).unwrap_err().exit_code(), 2, "{bad:?}");
        }
        let missing = TargetPath::of(&folder.path().join("no/such"), &name("f")).unwrap_err();
        assert_eq!(missing.exit_code(), 7);
        assert!(missing.to_string().contains("make the folder first"), "{missing}");
    }

    #[test]
    fn a_folder_that_is_named_as_one_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let place = TargetPath::of(&folder.path().join("a/b/"), &name("f")).unwrap();
        assert_eq!((place.path(), folder.path().join("a/b").is_dir()), (folder.path().join("a/b/f"), true));
        fs::write(folder.path().join("file"), b"").unwrap();
        for taken in ["file/", "file/c/"] {
            let error = TargetPath::of(&folder.path().join(taken), &name("f")).unwrap_err();
            assert!(error.exit_code() == 7 && error.to_string().contains("cannot make this folder"), "{error}");
        }
    }

    #[test]
    fn a_link_to_a_file_is_followed_and_one_to_nothing_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("real")).unwrap();
        fs::write(path("real/file"), b"12345").unwrap();
        symlink("real/file", path("link")).unwrap();
        symlink("link", path("again")).unwrap();
        let place = TargetPath::of(&path("again"), &name("f")).unwrap();
        assert_eq!((place.path(), place.name()), (path("again"), OsStr::new("file")));
        assert_eq!(place.beside(OsStr::new("x")), fs::canonicalize(path("real")).unwrap().join("x"));
        assert_eq!(place.existing().unwrap().map(|there| there.size), Some(5));
        symlink("nowhere", path("dangling")).unwrap();
        symlink("round", path("round")).unwrap();
        symlink("/dev/null", path("device")).unwrap();
        // One that leads to a folder is that folder, unless it stands in the place of the file itself.
        fs::create_dir(path("out")).unwrap();
        symlink("../real", path("out/folder")).unwrap();
        for (bad, says) in [
            ("dangling", "to nothing"),
            ("round", "follow"),
            ("device", "something else"),
            ("folder", "something else"),
        ] {
            let (output, file) = if bad == "folder" { (path("out"), bad) } else { (path(bad), "f") };
            let error = TargetPath::of(&output, &name(file)).unwrap_err();
            assert!(error.exit_code() == 7 && error.to_string().contains(says), "{bad}: {error}");
        }
    }

    #[test]
    fn another_size_is_refused_unless_forced_and_a_folder_always() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("f"), b"123").unwrap();
        let place = TargetPath::of(folder.path(), &name("f")).unwrap();
        assert!(place.check_existing(3, false).is_ok() && place.check_existing(4, true).is_ok());
        let error = place.check_existing(4, false).unwrap_err();
        assert!(error.to_string().contains("--force"), "{error}");
        fs::create_dir(folder.path().join("d")).unwrap();
        assert_eq!(TargetPath::of(folder.path(), &name("d")).unwrap_err().exit_code(), 7);
    }
}
