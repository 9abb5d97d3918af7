//! The served folder, held as a handle: a file is opened once, beneath it, and judged by what was opened.

mod list;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use rustix::io::Errno;

use crate::route::FileName;

/// A folder whose files are served; names resolve beneath it, whatever links or dots they hold.
#[derive(Debug)]
pub struct Root {
    folder: OwnedFd,
    /// The path it was opened by, for people.
    path: PathBuf,
}

/// An open regular file, and what identifies its content.
#[derive(Clone, Debug)]
pub struct Served {
    /// The file.
    pub file: Arc<File>,
    /// What its content is known by.
    pub version: Version,
}

/// A file's content at one moment: if none of these changed, it did not either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Version {
    device: u64,
    inode: u64,
    /// The size in bytes.
    pub size: u64,
    /// Last change of content: seconds and nanoseconds.
    pub modified: (i64, i64),
    changed: (i64, i64),
}

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

/// Tries at a name that is being renamed while it is resolved, which the kernel reports as EAGAIN.
const TRIES: usize = 16;

impl Root {
    /// Opens a folder to serve from.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { folder, path: path.to_owned() })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens a regular file beneath the folder. Absolute names, names that lead out, hidden files, folders, pipes and
    /// devices are not found; nothing here waits for a pipe's writer.
    pub fn serve(&self, name: &FileName) -> Result<Served, OpenError> {
        let bytes = name.as_bytes();
        if is_hidden(bytes) {
            return Err(OpenError::NotFound);
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = self.open_beneath(bytes, flags)?;
        let stat = fstat(&file).map_err(|error| OpenError::Failed(error.into()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(OpenError::Folder),
            _ => return Err(OpenError::NotFound),
        }
        Ok(Served { file: Arc::new(File::from(file)), version: Version::of(&stat) })
    }

    /// Opens what a path leads to, if it does so beneath the folder.
    fn open_beneath(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, OpenError> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut tries = 0;
        let opened = loop {
            match openat2(&self.folder, path, flags, Mode::empty(), resolve) {
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

/// A part of the path begins with a dot.
fn is_hidden(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|part| part.starts_with(b"."))
}

impl Served {
    /// True while the file's content is still what it was when it was opened; its name may be gone.
    pub fn is_unchanged(&self) -> bool {
        fstat(&self.file).is_ok_and(|stat| {
            let now = Version::of(&stat);
            // Taking the last name away is a change of the file's state, and not of its content.
            let changed = if stat.st_nlink == 0 { self.version.changed } else { now.changed };
            Version { changed, ..now } == self.version
        })
    }
}

impl Version {
    fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or_default(),
            modified: (stat.st_mtime, stat.st_mtime_nsec.cast_signed()),
            changed: (stat.st_ctime, stat.st_ctime_nsec.cast_signed()),
        }
    }

    /// The strong validator, quotes included; says nothing about the file but that it changed.
    pub fn etag(&self) -> String {
        // Faults alter it, and what comes of that depends on what it was.
        #[cfg(test)]
        if let Some(ordinal) = super::sim::ordinal(self) {
            return format!("\"{ordinal:032x}\"");
        }
        let mut hasher = blake3::Hasher::new();
        let (modified, changed) = (self.modified, self.changed);
        for number in [self.device, self.inode, self.size] {
            hasher.update(&number.to_le_bytes());
        }
        for number in [modified.0, modified.1, changed.0, changed.1] {
            hasher.update(&number.to_le_bytes());
        }
        let hex = hasher.finalize().to_hex();
        format!("\"{}\"", &hex[..32])
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

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
    }
}
