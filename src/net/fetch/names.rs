//! File names in the target's folder: linked to and removed from open files, so that no other file is ever affected.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::LazyLock;

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::target::{FileId, TargetPath};
use crate::net::os::random;

/// Suffix of the state file's name, after that of the partial file.
pub(super) const STATE_SUFFIX: &str = ".state";
/// Longest name that a file system accepts, in bytes.
const MAX_NAME: usize = 255;
/// Bytes reserved when a long name is shortened: for `.999.part` and the state suffix, or for the random part of
/// `aside`.
const SUFFIX_ROOM: usize = ".999.part".len() + STATE_SUFFIX.len() + RANDOM;
/// Digits of a random name: 64 bits, so that no collision occurs by chance.
const RANDOM: usize = 16;

/// True if open files can be linked to a name: this needs /proc.
static CAN_LINK: LazyLock<bool> = LazyLock::new(|| rustix::fs::access("/proc/self/fd", Access::EXISTS).is_ok());

/// Opens an unnamed file, which is deleted when closed; `None` where that is not supported.
pub(super) fn unnamed(target: &TargetPath, mode: Mode) -> Result<Option<File>, Errno> {
    if !*CAN_LINK || !target.can_link() {
        return Ok(None);
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::openat(target.folder(), ".", flags, mode) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::NOTSUP | Errno::ISDIR | Errno::INVAL | Errno::NOENT | Errno::NOSYS) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Creates a file under an unused name; `None` if the name is taken.
pub(super) fn create(target: &TargetPath, name: &OsStr, mode: Mode) -> Result<Option<File>, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(target.folder(), name, flags, mode) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::EXIST) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Links an open file to an unused name; false if the name is taken.
pub(super) fn link(target: &TargetPath, file: &File, name: &OsStr) -> Result<bool, Errno> {
    if !*CAN_LINK {
        return Err(Errno::NOSYS);
    }
    let handle = format!("/proc/self/fd/{}", file.as_raw_fd());
    match rustix::fs::linkat(CWD, handle, target.folder(), name, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => {
            if cannot_link(error) {
                target.note_linkless();
            }
            Err(error)
        }
    }
}

/// Returns true for errors that mean that an open file cannot be linked on this system or file system.
pub(super) fn cannot_link(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL | Errno::MLINK | Errno::XDEV)
}

/// Replaces the file of a name, if any, by an open file, atomically.
pub(super) fn replace(target: &TargetPath, file: &File, name: &OsStr) -> Result<(), Errno> {
    let aside = aside(name);
    if !link(target, file, &aside)? {
        return Err(Errno::EXIST);
    }
    let replaced = rustix::fs::renameat(target.folder(), &aside, target.folder(), name);
    if replaced.is_err() {
        let _ = rustix::fs::unlinkat(target.folder(), &aside, AtFlags::empty());
    }
    replaced
}

/// Removes a file's name; if the name belongs to another file by now, that file keeps it.
///
/// Checking and then removing would be a race with another file. So the name is moved aside first, and moved back if it
/// turns out to be another file's.
pub(super) fn remove(target: &TargetPath, name: &OsStr, id: FileId) {
    let folder = target.folder();
    if !target.holds(name, id) {
        return;
    }
    let aside = aside(name);
    if rustix::fs::renameat(folder, name, folder, &aside).is_err() {
        return;
    }
    if target.holds(&aside, id) {
        let _ = rustix::fs::unlinkat(folder, &aside, AtFlags::empty());
    } else {
        let _ = move_back(target, &aside, name);
    }
}

fn move_back(target: &TargetPath, aside: &OsStr, name: &OsStr) -> Result<(), Errno> {
    let folder = target.folder();
    match rustix::fs::renameat_with(folder, aside, folder, name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => rustix::fs::renameat(folder, aside, folder, name),
        other => other,
    }
}

/// Returns `NAME.part`, `NAME.1.part` and so on; a long name is shortened.
pub(super) fn partial(name: &OsStr, number: usize) -> OsString {
    let infix = if number == 0 { String::new() } else { format!(".{number}") };
    with(name, &format!("{infix}.part"))
}

/// Returns an unused random name derived from another.
pub(super) fn aside(name: &OsStr) -> OsString {
    with(name, &format!(".{}.part", &random::word()[..RANDOM]))
}

fn with(name: &OsStr, suffix: &str) -> OsString {
    let mut bytes = name.as_bytes().to_vec();
    if bytes.len() > MAX_NAME - SUFFIX_ROOM {
        let mut end = MAX_NAME - SUFFIX_ROOM;
        // Not in the middle of a character: some file systems take UTF-8 only.
        while end > 0 && bytes[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        bytes.truncate(end);
    }
    bytes.extend_from_slice(suffix.as_bytes());
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::route::FileName;

    fn target(folder: &Path) -> TargetPath {
        TargetPath::of(folder, &FileName::new(b"f").unwrap()).unwrap()
    }

    #[test]
    fn a_long_name_is_shortened_at_a_character_boundary() {
        let long = "é".repeat(127);
        let name = partial(OsStr::new(&long), 999);
        assert!(name.len() <= MAX_NAME && name.to_str().is_some_and(|name| name.ends_with("é.999.part")));
        assert!(aside(OsStr::new(&long)).len() <= MAX_NAME && aside(&name) != aside(&name));
    }

    #[test]
    fn removes_only_the_name_of_the_given_file() {
        let folder = tempfile::tempdir().unwrap();
        let target = target(folder.path());
        let file = create(&target, OsStr::new("a"), Mode::from_raw_mode(0o600)).unwrap().unwrap();
        assert!(create(&target, OsStr::new("a"), Mode::from_raw_mode(0o600)).unwrap().is_none());
        let id = FileId::of(&rustix::fs::fstat(&file).unwrap());
        std::fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
        std::fs::write(folder.path().join("a"), b"mine").unwrap();
        remove(&target, OsStr::new("a"), id);
        assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"mine");
        assert!(!link(&target, &file, OsStr::new("a")).unwrap() && link(&target, &file, OsStr::new("c")).unwrap());
        for name in ["b", "c"] {
            remove(&target, OsStr::new(name), id);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
