//! Names in the folder of a target, given to open files and taken away from them, so that no other file is ever hit.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::LazyLock;

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::target::{FileId, TargetPath};
use crate::net::os::random;

/// What follows the name of a partial file in that of its state.
pub(super) const STATE_SUFFIX: &str = ".state";
/// Longest name a file system takes.
const LONGEST_NAME: usize = 255;
/// Room kept behind a name that is too long: for `.999.part` and the state beside it, or for the random word of
/// `aside`.
const SUFFIX_ROOM: usize = ".999.part".len() + STATE_SUFFIX.len() + RANDOM;
/// Digits of a random name: 64 bits, which nobody meets by chance.
const RANDOM: usize = 16;

/// Open files can be given a name: without /proc they cannot.
static CAN_LINK: LazyLock<bool> = LazyLock::new(|| rustix::fs::access("/proc/self/fd", Access::EXISTS).is_ok());

/// A file without a name, which is gone when it is closed; `None` where there is no such thing.
pub(super) fn unnamed(place: &TargetPath, mode: Mode) -> Result<Option<File>, Errno> {
    if !*CAN_LINK || !place.can_link() {
        return Ok(None);
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    match rustix::fs::openat(place.folder(), ".", flags, mode) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::NOTSUP | Errno::ISDIR | Errno::INVAL | Errno::NOENT | Errno::NOSYS) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a file under a name that nothing has; `None` where something has it.
pub(super) fn create(place: &TargetPath, name: &OsStr, mode: Mode) -> Result<Option<File>, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(place.folder(), name, flags, mode) {
        Ok(file) => Ok(Some(file.into())),
        Err(Errno::EXIST) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Gives an open file a name that nothing has; false where something has it.
pub(super) fn link(place: &TargetPath, file: &File, name: &OsStr) -> Result<bool, Errno> {
    if !*CAN_LINK {
        return Err(Errno::NOSYS);
    }
    let handle = format!("/proc/self/fd/{}", file.as_raw_fd());
    match rustix::fs::linkat(CWD, handle, place.folder(), name, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => {
            if cannot_link(error) {
                place.note_linkless();
            }
            Err(error)
        }
    }
}

/// True for the errors of a system or file system on which an open file cannot be given another name.
pub(super) fn cannot_link(error: Errno) -> bool {
    matches!(error, Errno::PERM | Errno::NOTSUP | Errno::NOSYS | Errno::INVAL | Errno::MLINK | Errno::XDEV)
}

/// Puts an open file in the place of whatever has a name, in one step.
pub(super) fn replace(place: &TargetPath, file: &File, name: &OsStr) -> Result<(), Errno> {
    let aside = aside(name);
    if !link(place, file, &aside)? {
        return Err(Errno::EXIST);
    }
    let replaced = rustix::fs::renameat(place.folder(), &aside, place.folder(), name);
    if replaced.is_err() {
        let _ = rustix::fs::unlinkat(place.folder(), &aside, AtFlags::empty());
    }
    replaced
}

/// Takes a name away from a file; where another file has that name by now, it keeps it.
///
/// A look and a removal would hit a file that came in between. So the name is moved aside first, and what turns out to
/// be another file is moved back.
pub(super) fn remove(place: &TargetPath, name: &OsStr, id: FileId) {
    let folder = place.folder();
    if !place.holds(name, id) {
        return;
    }
    let aside = aside(name);
    if rustix::fs::renameat(folder, name, folder, &aside).is_err() {
        return;
    }
    if place.holds(&aside, id) {
        let _ = rustix::fs::unlinkat(folder, &aside, AtFlags::empty());
    } else {
        let _ = move_back(place, &aside, name);
    }
}

fn move_back(place: &TargetPath, aside: &OsStr, name: &OsStr) -> Result<(), Errno> {
    let folder = place.folder();
    match rustix::fs::renameat_with(folder, aside, folder, name, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => rustix::fs::renameat(folder, aside, folder, name),
        other => other,
    }
}

/// `NAME.part`, then `NAME.1.part` and so on; a name that is too long is shortened.
pub(super) fn partial(name: &OsStr, number: usize) -> OsString {
    let infix = if number == 0 { String::new() } else { format!(".{number}") };
    with(name, &format!("{infix}.part"))
}

/// A name beside another that nobody has.
pub(super) fn aside(name: &OsStr) -> OsString {
    with(name, &format!(".{}.part", &random::word()[..RANDOM]))
}

fn with(name: &OsStr, suffix: &str) -> OsString {
    let mut bytes = name.as_bytes().to_vec();
    if bytes.len() > LONGEST_NAME - SUFFIX_ROOM {
        let mut end = LONGEST_NAME - SUFFIX_ROOM;
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

    fn place(folder: &Path) -> TargetPath {
        TargetPath::of(folder, &FileName::new(b"f").unwrap()).unwrap()
    }

    #[test]
    fn a_long_name_is_shortened_between_characters() {
        let long = "é".repeat(127);
        let name = partial(OsStr::new(&long), 999);
        assert!(name.len() <= LONGEST_NAME && name.to_str().is_some_and(|name| name.ends_with("é.999.part")));
        assert!(aside(OsStr::new(&long)).len() <= LONGEST_NAME && aside(&name) != aside(&name));
    }

    #[test]
    fn only_the_file_itself_loses_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        let file = create(&place, OsStr::new("a"), Mode::from_raw_mode(0o600)).unwrap().unwrap();
        assert!(create(&place, OsStr::new("a"), Mode::from_raw_mode(0o600)).unwrap().is_none());
        let id = FileId::of(&rustix::fs::fstat(&file).unwrap());
        std::fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
        std::fs::write(folder.path().join("a"), b"mine").unwrap();
        remove(&place, OsStr::new("a"), id);
        assert_eq!(std::fs::read(folder.path().join("a")).unwrap(), b"mine");
        assert!(!link(&place, &file, OsStr::new("a")).unwrap() && link(&place, &file, OsStr::new("c")).unwrap());
        for name in ["b", "c"] {
            remove(&place, OsStr::new(name), id);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
