//! The target of a fetch: an open folder and a file name in it, which no peer can choose.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::{Error, shown};
use crate::route::FileName;

/// An existing folder and a name in it that is not a symbolic link.
#[derive(Debug)]
pub(super) struct TargetPath {
    /// The path as the user named it: for a symbolic link, this is not the file's path.
    named: PathBuf,
    folder: PathBuf,
    handle: File,
    name: OsString,
    /// True once linking an open file has failed here.
    linkless: AtomicBool,
}

/// Identifies a file for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

/// A regular file under the final name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Existing {
    pub(super) size: u64,
    /// Last change of its content, in seconds since 1970.
    pub(super) modified: i64,
    /// Permissions, without the set-id bits: those were meant for other content.
    pub(super) mode: u32,
    pub(super) owner: u32,
    pub(super) group: u32,
}

impl FileId {
    pub(super) fn of(found: &Stat) -> Self {
        Self { device: found.st_dev, inode: found.st_ino }
    }

    /// Returns the file system that it is on.
    pub(super) fn device(self) -> u64 {
        self.device
    }
}

impl TargetPath {
    /// Resolves the target path: `output` is a folder, or names the file itself. A folder named with a trailing slash
    /// is created; a symbolic link is followed, so that the file it points to is the one that is replaced.
    pub(super) fn of(output: &Path, file: &FileName) -> Result<Self, Error> {
        let slash = output.as_os_str().as_bytes().ends_with(b"/");
        let is_folder = output.is_dir();
        let (folder, name) = if is_folder || slash {
            let local = file.local().ok_or_else(|| {
                Error::Usage(format!("{}: not usable as a local file name: choose one with -o", file.shown()))
            })?;
            if !is_folder {
                fs::create_dir_all(output).map_err(|error| Error::disk("create this folder", output, &error))?;
            }
            (output, OsStr::from_bytes(local))
        } else {
            let name = output.file_name().ok_or_else(|| {
                Error::Usage(format!("-o {}: neither a folder nor the name of a file", shown(output)))
            })?;
            let parent = output.parent().unwrap_or(Path::new(""));
            (if parent.as_os_str().is_empty() { Path::new(".") } else { parent }, name)
        };
        // A target that can never be written is refused before any request.
        let target = Self::in_folder(folder, name)?;
        match target.found()? {
            Some(found) if FileType::from_raw_mode(found.st_mode) == FileType::Symlink => {
                let target = target.followed()?;
                target.existing().map(|_| target)
            }
            Some(found) => target.regular(&found).map(|_| target),
            None => Ok(target),
        }
    }

    fn in_folder(folder: &Path, name: &OsStr) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(folder, flags, Mode::empty())
            .map_err(|error| Error::disk("write to this folder", folder, &error.into()))?;
        let (folder, name) = (folder.to_owned(), name.to_owned());
        let target =
            Self { named: PathBuf::new(), folder, handle: handle.into(), name, linkless: AtomicBool::new(false) };
        Ok(Self { named: target.beside(&target.name), ..target })
    }

    /// Returns the target of a name in an open folder, where no symbolic link is followed.
    pub(super) fn in_open_folder(handle: File, folder: PathBuf, name: &OsStr) -> Result<Self, Error> {
        let (named, name) = (folder.join(name), name.to_owned());
        let target = Self { named, folder, handle, name, linkless: AtomicBool::new(false) };
        target.existing().map(|_| target)
    }

    /// Returns the status of the file under the final name.
    fn found(&self) -> Result<Option<Stat>, Error> {
        match self.stat(&self.name) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(Error::disk("check it", &self.named, &error.into())),
        }
    }

    fn regular(&self, found: &Stat) -> Result<Existing, Error> {
        let reason = match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => {
                return Ok(Existing {
                    size: found.st_size.unsigned_abs(),
                    modified: found.st_mtime,
                    mode: found.st_mode & 0o777,
                    owner: found.st_uid,
                    group: found.st_gid,
                });
            }
            FileType::Directory => "it is a folder: choose another path with -o",
            _ => "it is not a regular file: choose another path with -o",
        };
        Err(Error::Disk { action: "write it", path: shown(&self.named), reason: reason.to_owned() })
    }

    /// Follows a symbolic link to its file.
    fn followed(self) -> Result<Self, Error> {
        let refused = |what: &str| Error::Disk {
            action: "write it",
            path: shown(&self.named),
            reason: format!("it is a symbolic link to {what}: choose another path with -o"),
        };
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => refused("nothing"),
            _ => Error::disk("follow the symbolic link", &self.named, &error),
        };
        // The kernel checks first: it refuses links that another user put into a world-writable folder
        // (protected_symlinks).
        if !fs::metadata(&self.named).map_err(failed)?.is_file() {
            return Err(refused("something other than a regular file"));
        }
        let real = fs::canonicalize(&self.named).map_err(failed)?;
        match (real.parent(), real.file_name()) {
            (Some(folder), Some(name)) => Ok(Self { named: self.named, ..Self::in_folder(folder, name)? }),
            _ => Err(refused("something other than a regular file")),
        }
    }

    /// Returns the whole path, as the user named it.
    pub(super) fn path(&self) -> PathBuf {
        self.named.clone()
    }

    /// Returns the path of another name in the same folder.
    pub(super) fn beside(&self, name: &OsStr) -> PathBuf {
        if self.folder == Path::new(".") { PathBuf::from(name) } else { self.folder.join(name) }
    }

    /// Returns the open folder.
    pub(super) fn folder(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// Returns false once linking an open file has failed here.
    pub(super) fn can_link(&self) -> bool {
        !self.linkless.load(Relaxed)
    }

    /// Records that open files cannot be linked here.
    pub(super) fn note_linkless(&self) {
        self.linkless.store(true, Relaxed);
    }

    /// Returns the file's name in the folder.
    pub(super) fn name(&self) -> &OsStr {
        &self.name
    }

    /// Returns the status of a name in the folder, without following a symbolic link.
    pub(super) fn stat(&self, name: &OsStr) -> Result<Stat, Errno> {
        rustix::fs::statat(self.folder(), name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Returns true if a name in the folder is unused.
    pub(super) fn is_free(&self, name: &OsStr) -> bool {
        matches!(self.stat(name), Err(Errno::NOENT))
    }

    /// Returns true if a name in the folder refers to this file.
    pub(super) fn holds(&self, name: &OsStr, id: FileId) -> bool {
        self.stat(name).is_ok_and(|found| FileId::of(&found) == id)
    }

    /// Syncs the folder's entries.
    pub(super) fn sync(&self) -> Result<(), Error> {
        match rustix::fs::fsync(self.folder()) {
            // Some file systems cannot sync a folder, and need not.
            Ok(()) | Err(Errno::INVAL | Errno::BADF | Errno::NOTSUP | Errno::NOSYS | Errno::ROFS) => Ok(()),
            Err(error) => Err(Error::disk("sync its folder", &self.path(), &error.into())),
        }
    }

    /// Returns the existing target, if any.
    pub(super) fn existing(&self) -> Result<Option<Existing>, Error> {
        self.found()?.map(|found| self.regular(&found)).transpose()
    }

    /// Refuses an existing target of another size before the body is requested; otherwise returns the file that will
    /// have to be compared or replaced.
    pub(super) fn check_existing(&self, size: u64, force: bool) -> Result<Option<Existing>, Error> {
        match self.existing()? {
            Some(there) if there.size != size && !force => {
                Err(Error::exists(&self.named, another_size(there.size, size)))
            }
            there => Ok(there),
        }
    }
}

/// Describes an existing file of another size than the new one.
pub(super) fn another_size(there: u64, size: u64) -> String {
    format!("of another size ({there} bytes, not {size})")
}

/// Opens an existing file to read it: no symbolic link is followed, and no pipe is waited for.
pub(super) fn open_existing(folder: BorrowedFd<'_>, name: &OsStr) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    rustix::fs::openat(folder, name, flags, Mode::empty()).map(File::from)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn name(text: &str) -> FileName {
        FileName::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn uses_the_last_component_in_a_folder_and_a_path_as_given() {
        let folder = tempfile::tempdir().unwrap();
        let target = TargetPath::of(folder.path(), &name("a/b.txt")).unwrap();
        assert_eq!(target.path(), folder.path().join("b.txt"));
        let target = TargetPath::of(&folder.path().join("other"), &name("a/..")).unwrap();
        assert_eq!(target.path(), folder.path().join("other"));
    }

    #[test]
    fn rejects_hostile_and_impossible_names() {
        let folder = tempfile::tempdir().unwrap();
        for bad in ["..", "x/", ".", "a/\u{1b}[2J"] {
            assert_eq!(TargetPath::of(folder.path(), &name(bad)).unwrap_err().exit_code(), 2, "{bad:?}");
        }
        let missing = TargetPath::of(&folder.path().join("no/such"), &name("f")).unwrap_err();
        assert_eq!(missing.exit_code(), 7);
        assert!(missing.to_string().contains("create the folder first"), "{missing}");
    }

    #[test]
    fn creates_a_folder_named_with_a_slash() {
        let folder = tempfile::tempdir().unwrap();
        let target = TargetPath::of(&folder.path().join("a/b/"), &name("f")).unwrap();
        assert_eq!((target.path(), folder.path().join("a/b").is_dir()), (folder.path().join("a/b/f"), true));
        fs::write(folder.path().join("file"), b"").unwrap();
        for taken in ["file/", "file/c/"] {
            let error = TargetPath::of(&folder.path().join(taken), &name("f")).unwrap_err();
            assert!(error.exit_code() == 7 && error.to_string().contains("cannot create this folder"), "{error}");
        }
    }

    #[test]
    fn follows_a_link_to_a_file_and_rejects_a_dangling_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("real")).unwrap();
        fs::write(path("real/file"), b"12345").unwrap();
        symlink("real/file", path("link")).unwrap();
        symlink("link", path("again")).unwrap();
        let target = TargetPath::of(&path("again"), &name("f")).unwrap();
        assert_eq!((target.path(), target.name()), (path("again"), OsStr::new("file")));
        assert_eq!(target.beside(OsStr::new("x")), fs::canonicalize(path("real")).unwrap().join("x"));
        assert_eq!(target.existing().unwrap().map(|there| there.size), Some(5));
        symlink("nowhere", path("dangling")).unwrap();
        symlink("round", path("round")).unwrap();
        symlink("/dev/null", path("device")).unwrap();
        // A link to a folder is that folder, unless it is in the place of the file itself.
        fs::create_dir(path("out")).unwrap();
        symlink("../real", path("out/folder")).unwrap();
        for (bad, expected) in [
            ("dangling", "to nothing"),
            ("round", "follow"),
            ("device", "something other"),
            ("folder", "something other"),
        ] {
            let (output, file) = if bad == "folder" { (path("out"), bad) } else { (path(bad), "f") };
            let error = TargetPath::of(&output, &name(file)).unwrap_err();
            assert!(error.exit_code() == 7 && error.to_string().contains(expected), "{bad}: {error}");
        }
    }

    #[test]
    fn another_size_is_rejected_unless_forced_and_a_folder_always() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("f"), b"123").unwrap();
        let target = TargetPath::of(folder.path(), &name("f")).unwrap();
        assert!(target.check_existing(3, false).is_ok() && target.check_existing(4, true).is_ok());
        let error = target.check_existing(4, false).unwrap_err();
        assert!(error.to_string().contains("--force"), "{error}");
        fs::create_dir(folder.path().join("d")).unwrap();
        assert_eq!(TargetPath::of(folder.path(), &name("d")).unwrap_err().exit_code(), 7);
    }
}
