//! The served folder itself: the handle that names resolve beneath, and whether its path still leads to it.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2, stat};
use rustix::io::Errno;

/// Time between two looks at the path. A look costs about a microsecond; ten a second are nothing even for a busy node,
/// and nobody notices a tenth of a second after a deployment.
const LOOK: Duration = Duration::from_millis(100);
/// Tries at a name that is being renamed while it is resolved, which the kernel reports as EAGAIN.
const TRIES: usize = 16;

/// Why a file cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no regular file by this name that may be seen.
    #[error("no such file")]
    NotFound,
    /// A folder has this name.
    #[error("a folder")]
    Folder,
    /// The system failed.
    #[error("{0}")]
    Failed(io::Error),
}

/// Why the served folder is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FolderGone {
    /// The path leads nowhere.
    #[error("the served folder is gone")]
    Missing,
    /// The path leads to something else.
    #[error("what stands in place of the served folder is no folder")]
    NoFolder,
}

/// An open folder; everything served is found beneath it.
#[derive(Debug)]
pub(super) struct Folder {
    handle: OwnedFd,
    /// Device and inode.
    id: (u64, u64),
}

/// The folder that the path leads to now, as far as was looked.
#[derive(Debug)]
pub(super) struct CurrentFolder(Mutex<FolderState>);

#[derive(Debug)]
struct FolderState {
    folder: Arc<Folder>,
    looked: Instant,
    gone: Option<FolderGone>,
}

impl Folder {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(path, flags, Mode::empty())?;
        let id = id(&fstat(&handle)?);
        Ok(Self { handle, id })
    }

    /// Opens what a path leads to, if it does so beneath the folder.
    pub(super) fn open_beneath(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, OpenError> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        let opened = loop {
            match openat2(&self.handle, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN | Errno::INTR) if tries < TRIES => tries += 1,
                opened => break opened,
            }
        };
        opened.map_err(|error| match error {
            // What the asker may not know and what is not there look the same from outside.
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
}

impl CurrentFolder {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let folder = Arc::new(Folder::open(path)?);
        Ok(Self(Mutex::new(FolderState { folder, looked: Instant::now(), gone: None })))
    }

    /// The folder to serve from; what was opened beneath an earlier one stays open.
    pub(super) fn folder(&self, path: &Path) -> Arc<Folder> {
        let mut state = self.lock();
        if state.looked.elapsed() >= LOOK {
            state.look(path);
        }
        Arc::clone(&state.folder)
    }

    /// Looks at the path now.
    pub(super) fn gone(&self, path: &Path) -> Option<FolderGone> {
        let mut state = self.lock();
        state.look(path);
        state.gone
    }

    fn lock(&self) -> MutexGuard<'_, FolderState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FolderState {
    /// Opens the folder again where its path leads to another, and says in the log, once, where it leads to none.
    fn look(&mut self, path: &Path) {
        self.looked = Instant::now();
        let gone = match stat(path) {
            Ok(found) if id(&found) == self.folder.id => None,
            Ok(found) if FileType::from_raw_mode(found.st_mode) != FileType::Directory => Some(FolderGone::NoFolder),
            Ok(_) => match Folder::open(path) {
                Ok(folder) => {
                    tracing::info!("{} leads to another folder now, which is served from here on", path.display());
                    self.folder = Arc::new(folder);
                    None
                }
                // It may be on its way; the next look knows more.
                Err(_) => self.gone,
            },
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Some(FolderGone::Missing),
            // The path may have become unreadable, which says nothing about the folder that is open.
            Err(_) if fstat(&self.folder.handle).is_ok_and(|held| held.st_nlink == 0) => Some(FolderGone::Missing),
            Err(_) => None,
        };
        match (self.gone, gone) {
            (None, Some(gone)) => tracing::error!("{}: {gone}", path.display()),
            (Some(_), None) => tracing::info!("{}: the served folder is there again", path.display()),
            _ => {}
        }
        self.gone = gone;
    }
}

fn id(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::net::node::root::Root;
    use crate::route::FileName;

    /// The content of `f` once the path has been looked at.
    fn read(root: &Root) -> Option<String> {
        let gone = root.gone();
        let served = root.serve(&FileName::new(b"f").unwrap()).ok();
        assert!(gone.is_none() || served.is_none(), "a folder that is gone has nothing");
        served.map(|served| io::read_to_string(&*served.file).unwrap())
    }

    #[test]
    fn a_path_that_leads_elsewhere_is_followed_and_what_is_open_stays() {
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
        assert_eq!((io::read_to_string(&*before.file).unwrap().as_str(), root.gone()), ("one", None));
        // A folder that is replaced by one of the same name.
        fs::rename(dir.path().join("two"), dir.path().join("old")).unwrap();
        fs::create_dir(dir.path().join("two")).unwrap();
        assert_eq!((read(&root), root.gone()), (None, None));
        fs::write(dir.path().join("two/f"), "three").unwrap();
        assert_eq!(read(&root).as_deref(), Some("three"));
    }

    #[test]
    fn a_folder_that_is_gone_is_known_to_be_and_may_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("served");
        fs::create_dir(&path).unwrap();
        let root = Root::open(&path).unwrap();
        assert_eq!(root.gone(), None);
        fs::remove_dir(&path).unwrap();
        assert_eq!(root.gone(), Some(FolderGone::Missing));
        fs::write(&path, "").unwrap();
        assert_eq!(root.gone(), Some(FolderGone::NoFolder));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("f"), "again").unwrap();
        assert_eq!(read(&root).as_deref(), Some("again"));
    }

    #[test]
    fn requests_look_at_the_path_by_themselves() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("served");
        fs::create_dir(&path).unwrap();
        let root = Root::open(&path).unwrap();
        fs::rename(&path, dir.path().join("old")).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("f"), "new").unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while root.serve(&FileName::new(b"f").unwrap()).is_err() {
            assert!(Instant::now() < deadline, "nobody looked");
        }
    }
}
