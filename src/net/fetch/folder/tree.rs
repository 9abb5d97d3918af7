//! The output folder as a handle: everything in it is opened beneath it, and no symbolic link is followed.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::error::{Error, shown};
use crate::net::fetch::target::TargetPath;
use crate::route::FileName;

/// Permissions of a new folder, as far as the umask allows them.
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o777);
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// Name of a staging folder; a number follows if another run uses it.
pub(super) const STAGING: &str = ".chainview-staging";
/// Attempts at a path beneath which something is renamed while it is resolved.
const MAX_ATTEMPTS: usize = 16;

/// The place of an output folder, which need not exist yet; clones share its handle.
#[derive(Clone, Debug)]
pub(super) struct TreePath {
    /// The folder that the user named, or the folder itself.
    base: PathBuf,
    /// The name of the folder in it.
    name: Option<Vec<u8>>,
    opened: Arc<OnceLock<Arc<Tree>>>,
}

/// An open output folder.
#[derive(Debug)]
pub(super) struct Tree {
    path: PathBuf,
    root: OwnedFd,
}

/// The folder of the last path, kept open: in a sorted list most paths are in the same folder as the one before.
#[derive(Debug)]
pub(super) struct CurrentFolder<'a> {
    tree: &'a Tree,
    current: Option<(Vec<u8>, OwnedFd)>,
}

impl TreePath {
    /// Resolves the output: in an existing folder, or one named with a trailing slash, the requested folder keeps its
    /// name; otherwise `output` is the folder itself.
    pub(super) fn of(output: &Path, folder: &FileName) -> Result<Self, Error> {
        let slash = output.as_os_str().as_bytes().ends_with(b"/");
        let name = match folder.as_folder() {
            Some(folder) if slash || output.is_dir() => Some(folder.local().map(<[u8]>::to_vec).ok_or_else(|| {
                Error::Usage(format!(
                    "{}: not usable as the name of a local folder: choose one with -o",
                    folder.shown()
                ))
            })?),
            _ => None,
        };
        Ok(Self { base: output.to_owned(), name, opened: Arc::default() })
    }

    /// Returns the whole path.
    pub(super) fn path(&self) -> PathBuf {
        match &self.name {
            Some(name) => self.base.join(OsStr::from_bytes(name)),
            None => self.base.clone(),
        }
    }

    /// Returns true if the folder is missing, or contains nothing but what a killed run left.
    pub(super) fn is_vacant(&self) -> bool {
        match fs::read_dir(self.path()) {
            Ok(entries) => entries.flatten().all(|entry| entry.file_name().as_bytes().starts_with(STAGING.as_bytes())),
            Err(_) => true,
        }
    }

    /// Opens the folder if it exists.
    pub(super) fn open_existing(&self) -> Result<Option<Arc<Tree>>, Error> {
        if fs::symlink_metadata(self.path()).is_err() { Ok(None) } else { self.open().map(Some) }
    }

    /// Opens the folder the first time, and creates it if it is missing.
    pub(super) fn open(&self) -> Result<Arc<Tree>, Error> {
        if let Some(tree) = self.opened.get() {
            return Ok(Arc::clone(tree));
        }
        let tree = Arc::new(self.open_or_create()?);
        Ok(Arc::clone(self.opened.get_or_init(|| tree)))
    }

    fn open_or_create(&self) -> Result<Tree, Error> {
        let path = self.path();
        fs::create_dir_all(&self.base).map_err(|error| Error::disk("create this folder", &self.base, &error))?;
        let failed = |error: Errno| match error {
            Errno::NOTDIR | Errno::LOOP => {
                let reason = "it is not a folder: choose another one with -o".to_owned();
                Error::Disk { action: "write to it", path: shown(&path), reason }
            }
            other => Error::disk("write to this folder", &path, &other.into()),
        };
        let base = rustix::fs::open(&self.base, FOLDER, Mode::empty()).map_err(failed)?;
        let root = match &self.name {
            None => base,
            Some(name) => open_or_create(base.as_fd(), name).map_err(failed)?,
        };
        Ok(Tree { path, root })
    }
}

impl Tree {
    /// Returns its handle.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Returns its path, for display.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the target of a file in it, in folders that are created if they are missing.
    pub(super) fn target(&self, path: &FileName) -> Result<TargetPath, Error> {
        let (parent, name) = split(path.as_bytes());
        let failed = |error: Errno| Error::disk("create its folder", &self.join(path.as_bytes()), &error.into());
        let mut current = CurrentFolder::new(self);
        let handle = current.open(parent).map_err(failed)?.try_clone_to_owned();
        let handle = handle.map_err(|error| Error::disk("open its folder", &self.join(parent), &error))?;
        TargetPath::in_open_folder(handle.into(), self.join(parent), OsStr::from_bytes(name))
    }

    /// Returns the whole path of one in it, for display.
    pub(super) fn join(&self, path: &[u8]) -> PathBuf {
        self.path.join(OsStr::from_bytes(path))
    }
}

impl<'a> CurrentFolder<'a> {
    pub(super) fn new(tree: &'a Tree) -> Self {
        Self { tree, current: None }
    }

    /// Opens a folder beneath the output folder, and creates it and those above it if they are missing. Anything else
    /// in place of one of them, such as a link, is an error.
    pub(super) fn open(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, Errno> {
        self.open_with(path, |root| match open_beneath(root, path) {
            Err(Errno::NOENT) => create_beneath(root, path),
            opened => opened,
        })
    }

    /// Opens a folder beneath the output folder that exists.
    pub(super) fn existing(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, Errno> {
        self.open_with(path, |root| open_beneath(root, path))
    }

    fn open_with(
        &mut self,
        path: &[u8],
        open: impl FnOnce(BorrowedFd<'_>) -> Result<OwnedFd, Errno>,
    ) -> Result<BorrowedFd<'_>, Errno> {
        if path.is_empty() {
            return Ok(self.tree.root());
        }
        if self.current.as_ref().is_none_or(|(current, _)| current != path) {
            self.current = None;
            self.current = Some((path.to_vec(), open(self.tree.root())?));
        }
        Ok(self.current.as_ref().map_or(self.tree.root(), |(_, handle)| handle.as_fd()))
    }
}

/// Splits a path into its folder, empty for the top, and its name.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&path[..0], path),
    }
}

/// Opens a folder by its name, and creates it if it is missing.
fn open_or_create(parent: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    match open_beneath(parent, name) {
        Err(Errno::NOENT) => {}
        opened => return opened,
    }
    match rustix::fs::mkdirat(parent, name, FOLDER_MODE) {
        Ok(()) | Err(Errno::EXIST) => open_beneath(parent, name),
        Err(error) => Err(error),
    }
}

/// Creates a folder and those above it that are missing.
fn create_beneath(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut folder: Option<OwnedFd> = None;
    for name in path.split(|byte| *byte == b'/') {
        folder = Some(open_or_create(folder.as_ref().map_or(root, AsFd::as_fd), name)?);
    }
    folder.ok_or(Errno::INVAL)
}

fn open_beneath(parent: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let mut attempts = 0;
    loop {
        // A rename somewhere beneath meanwhile is reported as EAGAIN.
        match rustix::fs::openat2(parent, path, FOLDER, Mode::empty(), resolve) {
            Err(Errno::INTR | Errno::AGAIN) if attempts < MAX_ATTEMPTS => attempts += 1,
            opened => return opened,
        }
    }
}
