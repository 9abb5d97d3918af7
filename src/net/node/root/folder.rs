//! The handle of the served folder, which names are visible beneath it, and checks that its path still leads to it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2, stat};
use rustix::io::Errno;

use crate::route::FileName;

/// Time between two checks of the path. A check costs about a microsecond; ten a second are nothing even for a busy
/// node, and a tenth of a second after a deployment is not noticeable.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Attempts at a name that is being renamed while it is resolved, which the kernel reports as EAGAIN.
const MAX_ATTEMPTS: usize = 16;

/// Flags of every open for reading, which never waits for a pipe's writer.
pub(super) const OPEN: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Why a file cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no visible regular file of this name.
    #[error("no such file")]
    NotFound,
    /// The name is a folder's.
    #[error("a folder")]
    Folder,
    /// The system reported an error.
    #[error("{0}")]
    Failed(io::Error),
}

/// Reason why the served folder is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FolderMissing {
    /// The path leads nowhere.
    #[error("the served folder is missing")]
    Missing,
    /// The path leads to something that is not a folder.
    #[error("the served folder was replaced by something that is not a folder")]
    NoFolder,
}

/// An open folder; all served names resolve beneath it.
#[derive(Debug)]
pub(super) struct Folder {
    handle: OwnedFd,
    /// Device and inode.
    id: (u64, u64),
}

/// The folder that the path led to at the last check.
#[derive(Debug)]
pub(super) struct CurrentFolder(Mutex<FolderState>);

#[derive(Debug)]
struct FolderState {
    folder: Arc<Folder>,
    checked: Instant,
    missing: Option<FolderMissing>,
}

impl Folder {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())?;
        let id = id(&fstat(&handle)?);
        Ok(Self { handle, id })
    }

    /// Opens what a path leads to, if that is beneath the folder.
    pub(super) fn open_beneath(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, OpenError> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut attempts = 0;
        let opened = loop {
            match openat2(&self.handle, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) if attempts < MAX_ATTEMPTS => attempts += 1,
                opened => break opened,
            }
        };
        opened.map_err(|error| match error {
            // Forbidden and missing names look the same from outside.
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::XDEV
            | Errno::LOOP
            | Errno::ACCESS
            | Errno::PERM
            | Errno::ISDIR
            | Errno::NAMETOOLONG
            | Errno::NXIO
            | Errno::INVAL
            | Errno::AGAIN => OpenError::NotFound,
            other => OpenError::Failed(other.into()),
        })
    }

    /// Opens a visible folder beneath this one, `None` for this one itself, to read its names.
    pub(super) fn open_folder(&self, folder: Option<&FileName>) -> Result<(OwnedFd, Stat), OpenError> {
        let path = folder.map_or(&b"."[..], FileName::as_bytes);
        if folder.is_some() && is_hidden(path) {
            return Err(OpenError::NotFound);
        }
        let handle = self.open_beneath(path, OPEN | OFlags::DIRECTORY)?;
        let stat = fstat(&handle).map_err(|error| OpenError::Failed(error.into()))?;
        // A folder that was removed while it was served can still be opened, and is empty.
        if stat.st_nlink == 0 {
            return Err(OpenError::NotFound);
        }
        Ok((handle, stat))
    }
}

impl CurrentFolder {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let folder = Arc::new(Folder::open(path)?);
        Ok(Self(Mutex::new(FolderState { folder, checked: Instant::now(), missing: None })))
    }

    /// Returns the folder to serve from; files opened beneath an earlier one stay open.
    pub(super) fn folder(&self, path: &Path) -> Arc<Folder> {
        let mut state = self.lock();
        if state.checked.elapsed() >= CHECK_INTERVAL {
            state.check(path);
        }
        Arc::clone(&state.folder)
    }

    /// Checks the path now; returns why the folder is missing, if it is.
    pub(super) fn missing(&self, path: &Path) -> Option<FolderMissing> {
        let mut state = self.lock();
        state.check(path);
        state.missing
    }

    fn lock(&self) -> MutexGuard<'_, FolderState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FolderState {
    /// Reopens the folder if its path leads to another, and logs once if the folder is missing.
    fn check(&mut self, path: &Path) {
        self.checked = Instant::now();
        let missing = match stat(path) {
            Ok(found) if id(&found) == self.folder.id => None,
            Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::Directory => Some(FolderMissing::NoFolder),
            Ok(_) => match Folder::open(path) {
                Ok(folder) => {
                    tracing::info!("{} leads to another folder now, which is served from now on", path.display());
                    self.folder = Arc::new(folder);
                    None
                }
                // It may be in the middle of a change; decided at the next check.
                Err(_) => self.missing,
            },
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Some(FolderMissing::Missing),
            // The path may have become unreadable, which is no evidence about the open folder.
            Err(_) if fstat(&self.folder.handle).is_ok_and(|stat| stat.st_nlink == 0) => Some(FolderMissing::Missing),
            Err(_) => None,
        };
        match (self.missing, missing) {
            (None, Some(missing)) => tracing::error!("{}: {missing}", path.display()),
            (Some(_), None) => tracing::info!("{}: the served folder is back", path.display()),
            _ => {}
        }
        self.missing = missing;
    }
}

/// True if a part of the path begins with a dot.
pub(super) fn is_hidden(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|part| part.starts_with(b"."))
}

/// True if a name in a folder can be requested.
pub(super) fn is_requestable(name: &[u8]) -> bool {
    !is_hidden(name) && !name.iter().any(|byte| matches!(byte, b'\r' | b'\n'))
}

/// Returns what the names of all files in a folder begin with: its own name with a slash at the end, or nothing for the
/// root.
pub(super) fn base(folder: Option<&FileName>) -> Vec<u8> {
    let mut base = folder.map(|folder| folder.as_bytes().to_vec()).unwrap_or_default();
    if !base.is_empty() && !base.ends_with(b"/") {
        base.push(b'/');
    }
    base
}

/// Returns device and inode.
pub(super) fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::net::node::root::Root;

    /// Returns the content of `f` after a check of the path.
    fn read(root: &Root) -> Option<String> {
        let missing = root.missing();
        let served = root.serve(&FileName::new(b"f").unwrap()).ok();
        assert!(missing.is_none() || served.is_none(), "a missing folder has no files");
        served.map(|served| io::read_to_string(&*served.file).unwrap())
    }

    #[test]
    fn a_path_that_changes_is_followed_and_open_files_stay_open() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["one", "two"] {
            fs::create_dir(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("f"), name).unwrap();
        }
        let path = dir.path().join("current");
        symlink("one", &path).unwrap();
        let root = Root::open(&path).unwrap();
        let before = root.serve(&FileName::new(b"f").unwrap()).unwrap();
        symlink("two", dir.path().join("next")).unwrap();
        fs::rename(dir.path().join("next"), &path).unwrap();
        assert_eq!(read(&root).as_deref(), Some("two"));
        fs::remove_dir_all(dir.path().join("one")).unwrap();
        assert_eq!((io::read_to_string(&*before.file).unwrap().as_str(), root.missing()), ("one", None));
        // A folder that is replaced by one of the same name.
        fs::rename(dir.path().join("two"), dir.path().join("old")).unwrap();
        fs::create_dir(dir.path().join("two")).unwrap();
        assert_eq!((read(&root), root.missing()), (None, None));
        fs::write(dir.path().join("two/f"), "three").unwrap();
        assert_eq!(read(&root).as_deref(), Some("three"));
    }

    #[test]
    fn a_missing_folder_is_reported_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("served");
        fs::create_dir(&path).unwrap();
        let root = Root::open(&path).unwrap();
        assert_eq!(root.missing(), None);
        fs::remove_dir(&path).unwrap();
        assert_eq!(root.missing(), Some(FolderMissing::Missing));
        fs::write(&path, "").unwrap();
        assert_eq!(root.missing(), Some(FolderMissing::NoFolder));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("f"), "again").unwrap();
        assert_eq!(read(&root).as_deref(), Some("again"));
    }

    #[test]
    fn requests_check_the_path_by_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("served");
        fs::create_dir(&path).unwrap();
        let root = Root::open(&path).unwrap();
        fs::rename(&path, dir.path().join("old")).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("f"), "new").unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while root.serve(&FileName::new(b"f").unwrap()).is_err() {
            assert!(Instant::now() < deadline, "the path was not checked");
        }
    }
}
