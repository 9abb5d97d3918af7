//! The served folder, opened as a handle: a file is opened once, beneath it, and checked by its handle.

mod folder;
mod list;
mod list_walk;
mod names;
mod walk;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Stat, fstat, fstatfs};

use crate::net::os::machine::Machine;
use crate::net::os::version::Version;
use crate::route::FileName;
use folder::{CurrentFolder, OPEN, is_hidden};

pub use folder::{FolderMissing, OpenError};
pub use walk::{Walk, WalkEntry, WalkError};

/// A folder whose files are served; names resolve beneath it, whatever links or dots they contain.
#[derive(Debug)]
pub struct Root {
    current: CurrentFolder,
    /// The path it was opened by; it may lead to another folder later.
    path: PathBuf,
    machine: Machine,
}

/// An open regular file, with the version of its content.
#[derive(Clone, Debug)]
pub struct ServedFile {
    /// The file.
    pub file: Arc<File>,
    /// Identity of its content.
    pub version: Version,
    /// The machine it is on.
    pub(in crate::net) machine: Machine,
}

/// File systems that generate files as they are read: their sizes are 0 or a guess, so no length can be announced.
const SYNTHETIC: [i64; 14] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x27_e0eb,   // cgroup
    0x6367_7270, // cgroup2
    0xcafe_4a11, // bpf
    0x6265_6570, // configfs
    0x6165_676c, // pstore
    0xde5e_81e4, // efivarfs
    0xf97c_ff8c, // selinuxfs
    0x4249_4e4d, // binfmt_misc
    0x6573_5543, // fusectl
];

impl Root {
    /// Opens a folder to serve from.
    ///
    /// # Errors
    /// The system's error if the path cannot be opened as a folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { current: CurrentFolder::open(path)?, path: path.to_owned(), machine: Machine::default() })
    }

    /// Returns the same folder on another machine.
    #[cfg(test)]
    pub(in crate::net) fn on(self, machine: Machine) -> Self {
        Self { machine, ..self }
    }

    /// The machine it is on.
    pub(super) fn machine(&self) -> Machine {
        self.machine
    }

    /// Returns the path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks the path now; returns why the folder cannot be found, if it is missing.
    pub fn missing(&self) -> Option<FolderMissing> {
        self.current.missing(&self.path)
    }

    /// Opens a regular file beneath the folder. Absolute names, names that lead out, hidden files, folders, pipes and
    /// devices are not found; opening never waits for a pipe's writer.
    ///
    /// # Errors
    /// `NotFound` if there is no visible regular file of this name, `Folder` if it is a folder, `Failed` if the system
    /// reports any other error.
    pub fn serve(&self, name: &FileName) -> Result<ServedFile, OpenError> {
        let bytes = name.as_bytes();
        if is_hidden(bytes) {
            return Err(OpenError::NotFound);
        }
        let file = self.current.folder(&self.path).open_beneath(bytes, OPEN)?;
        let stat = fstat(&file).map_err(|error| OpenError::Failed(error.into()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile if !is_synthetic(&file, &stat) => {}
            FileType::Directory => return Err(OpenError::Folder),
            _ => return Err(OpenError::NotFound),
        }
        Ok(ServedFile { file: Arc::new(File::from(file)), version: Version::of(&stat), machine: self.machine })
    }
}

/// Returns true for a file that its owner may execute.
pub fn is_executable(stat: &Stat) -> bool {
    stat.st_mode & 0o100 != 0
}

/// True if the kernel does not know the file's size. Such files have no blocks, as few others do, so that hardly any
/// request costs another system call.
fn is_synthetic(file: impl AsFd, stat: &Stat) -> bool {
    stat.st_blocks == 0 && is_on_synthetic(file)
}

/// True if the file system generates files as they are read.
fn is_on_synthetic(file: impl AsFd) -> bool {
    fstatfs(file).is_ok_and(|system| SYNTHETIC.contains(&system.f_type))
}

impl ServedFile {
    /// Returns the strong validator of its content.
    pub fn etag(&self) -> String {
        (self.machine.etag)(&self.version)
    }

    /// Returns whether the content is still what it was when the file was opened; its name may have been removed.
    pub fn is_unchanged(&self) -> bool {
        self.change() == FileChange::Unchanged
    }

    /// Returns how the file changed since it was opened.
    pub fn change(&self) -> FileChange {
        let Ok(stat) = fstat(&self.file) else { return FileChange::Changed };
        let now = self.version.later(&stat);
        match (now == self.version, now.size > self.version.size) {
            (true, _) => FileChange::Unchanged,
            (false, true) => FileChange::Grown,
            (false, false) => FileChange::Changed,
        }
    }
}

/// How a file changed since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// Not at all.
    Unchanged,
    /// Longer; only a comparison shows whether its first bytes are the same.
    Grown,
    /// Shorter, or written to in place.
    Changed,
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::Mode;

    use super::*;

    fn found(root: &Root, name: &[u8]) -> bool {
        root.serve(&FileName::new(name).unwrap()).is_ok()
    }

    #[test]
    fn only_regular_files_beneath_the_folder_are_served() {
        let dir = tempfile::tempdir().unwrap();
        let served = dir.path().join("served");
        std::fs::create_dir_all(served.join("sub")).unwrap();
        std::fs::write(dir.path().join("secret"), "s").unwrap();
        std::fs::write(served.join("sub/file"), "abc").unwrap();
        std::fs::write(served.join(".hidden"), "h").unwrap();
        symlink("sub/file", served.join("inside")).unwrap();
        symlink("../secret", served.join("outside")).unwrap();
        symlink("/etc/passwd", served.join("absolute")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, served.join("pipe"), Mode::from(0o600)).unwrap();
        let root = Root::open(&served).unwrap();
        for name in [&b"sub/file"[..], b"inside", b"sub//file"] {
            assert!(found(&root, name), "{}", String::from_utf8_lossy(name));
        }
        let escapes = [
            &b"../secret"[..],
            b"sub/../../secret",
            b"/etc/passwd",
            b"outside",
            b"absolute",
            b".hidden",
            b"sub",
            b"pipe",
            b"",
        ];
        for name in escapes.into_iter().filter(|name| !name.is_empty()) {
            assert!(!found(&root, name), "{}", String::from_utf8_lossy(name));
        }
        assert!(!found(&root, &[b'x'; 1000]));
    }

    #[test]
    fn a_file_whose_size_nobody_knows_is_not_found_and_an_empty_one_is() {
        for (folder, name) in [("/proc/self", &b"status"[..]), ("/sys/kernel", b"mm/transparent_hugepage/enabled")] {
            if Path::new(folder).join(std::str::from_utf8(name).unwrap()).exists() {
                assert!(!found(&Root::open(Path::new(folder)).unwrap(), name), "{folder}");
            }
        }
        let listed = Root::open(Path::new("/proc/self")).unwrap().list(None, None).unwrap();
        assert!(listed.entries.iter().all(|entry| entry.is_folder), "{listed:?}");
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("empty"), "").unwrap();
        File::create(dir.path().join("holes")).unwrap().set_len(1 << 20).unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert!(found(&root, b"empty") && found(&root, b"holes"));
        assert_eq!(root.list(None, None).unwrap().entries.len(), 2);
    }

    #[test]
    fn a_file_whose_name_is_taken_away_is_still_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        std::fs::write(&path, "abc").unwrap();
        let served = Root::open(dir.path()).unwrap().serve(&FileName::new(b"f").unwrap()).unwrap();
        let writer = File::options().write(true).open(&path).unwrap();
        // The clock of a file system may stand still for a few ms; then nothing would differ anyway.
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::remove_file(&path).unwrap();
        assert!(served.is_unchanged());
        std::os::unix::fs::FileExt::write_all_at(&writer, b"x", 0).unwrap();
        assert!(!served.is_unchanged());
    }

    #[test]
    fn a_change_shows_in_the_version_and_the_validator() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "abc").unwrap();
        let root = Root::open(dir.path()).unwrap();
        let served = root.serve(&FileName::new(b"f").unwrap()).unwrap();
        assert!(served.is_unchanged());
        std::fs::write(dir.path().join("f"), "abcd").unwrap();
        assert!(!served.is_unchanged());
        let again = root.serve(&FileName::new(b"f").unwrap()).unwrap();
        assert_ne!(served.version.etag(), again.version.etag());
        assert_eq!((served.change(), again.change()), (FileChange::Grown, FileChange::Unchanged));
        assert_eq!(again.version.grown_from(&served.version.etag()), Some(3));
        assert_eq!(again.version.grown_from(&again.version.etag()), None);
        assert_eq!(served.version.grown_from(&again.version.etag()), None);
        for other in ["*", "\"abc-3\"", "W/\"0-1\"", "\"-3\"", "\"00000000000000000000000000000000-+3\""] {
            assert_eq!(again.version.grown_from(other), None, "{other}");
        }
        std::fs::write(dir.path().join("f"), "ab").unwrap();
        assert_eq!((served.change(), again.change()), (FileChange::Changed, FileChange::Changed));
    }
}
