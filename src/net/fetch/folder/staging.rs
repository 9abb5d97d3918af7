//! The staging folder: files are written here, under numbers, until they are proven and synced.
//!
//! It is a hidden folder in the output folder, so that renaming moves no bytes. A lock shows that it is in use; one
//! that a killed run left is emptied and used again.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::tree::{STAGING, Tree};
use crate::error::Error;
use crate::net::fetch::resume_state::lock;
use crate::net::fetch::target::FileId;

/// Most staging folders in one output folder.
const MAX_FOLDERS: u32 = 100;

/// A staging folder that this run owns; it is removed when dropped.
#[derive(Debug)]
pub(super) struct Staging {
    tree: Arc<Tree>,
    name: String,
    handle: OwnedFd,
    /// Number of the next file.
    next: AtomicU64,
}

impl Staging {
    /// Creates a staging folder, or empties one that an earlier run left.
    pub(super) fn open(tree: &Arc<Tree>) -> Result<Self, Error> {
        let failed = |error: Errno| Error::disk("create a staging folder in it", tree.path(), &error.into());
        for number in 0..MAX_FOLDERS {
            let name = folder_name(number);
            let created = match rustix::fs::mkdirat(tree.root(), &name, Mode::RWXU) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(failed(error)),
            };
            if let Some(staging) = Self::claim(tree, name, created) {
                return Ok(staging);
            }
        }
        Err(failed(Errno::EXIST))
    }

    /// Removes the staging folders that earlier runs left.
    pub(super) fn remove_left_over(tree: &Arc<Tree>) {
        let names = (0..MAX_FOLDERS).map(folder_name);
        let is_used = |name: &String| rustix::fs::statat(tree.root(), name, AtFlags::SYMLINK_NOFOLLOW).is_ok();
        names.filter(is_used).for_each(|name| drop(Self::claim(tree, name, false)));
    }

    /// Opens, locks and empties a staging folder; `None` if it is not ours, or another run uses it.
    fn claim(tree: &Arc<Tree>, name: String, created: bool) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(tree.root(), &name, flags, Mode::empty()).ok()?;
        let claimed = is_ours(tree, &name, &handle, created) && empty(handle.as_fd());
        // Not `then_some`: what it drops would remove the folder of another run.
        claimed.then(|| Self { tree: Arc::clone(tree), name, handle, next: AtomicU64::new(0) })
    }

    /// Returns its handle.
    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// Creates a file; returns its number, too.
    pub(super) fn create(&self, executable: bool) -> io::Result<(u64, File)> {
        let number = self.next.fetch_add(1, Relaxed);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        // The umask removes what new files do not get.
        let mode = Mode::from_raw_mode(if executable { 0o777 } else { 0o666 });
        Ok((number, rustix::fs::openat(&self.handle, name(number).as_str(), flags, mode)?.into()))
    }

    /// Opens a file to read it.
    pub(super) fn read(&self, number: u64) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.handle, name(number).as_str(), flags, Mode::empty())?.into())
    }

    /// Gives a file its final name, unless that is taken.
    pub(super) fn publish(&self, number: u64, folder: BorrowedFd<'_>, leaf: &[u8]) -> Result<(), Errno> {
        let from = name(number);
        match rustix::fs::renameat_with(&self.handle, from.as_str(), folder, leaf, RenameFlags::NOREPLACE) {
            // Without RENAME_NOREPLACE only a check and a rename remain, which race.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                match rustix::fs::statat(folder, leaf, AtFlags::SYMLINK_NOFOLLOW) {
                    Err(Errno::NOENT) => rustix::fs::renameat(&self.handle, from.as_str(), folder, leaf),
                    Ok(_) => Err(Errno::EXIST),
                    Err(error) => Err(error),
                }
            }
            renamed => renamed,
        }
    }

    /// Replaces a regular file by one with its permissions.
    pub(super) fn replace(&self, number: u64, folder: BorrowedFd<'_>, leaf: &[u8], old: &Stat) -> Result<(), Errno> {
        let from = name(number);
        rustix::fs::chmodat(&self.handle, from.as_str(), Mode::from_raw_mode(old.st_mode & 0o777), AtFlags::empty())?;
        rustix::fs::renameat(&self.handle, from.as_str(), folder, leaf)
    }

    /// Removes a file.
    pub(super) fn remove(&self, number: u64) {
        let _ = rustix::fs::unlinkat(&self.handle, name(number).as_str(), AtFlags::empty());
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        for_each_entry(self.handle.as_fd(), &mut |name, found| {
            if is_own(name, found) {
                let _ = rustix::fs::unlinkat(&self.handle, name, AtFlags::empty());
            }
            true
        });
        let _ = rustix::fs::unlinkat(self.tree.root(), self.name.as_str(), AtFlags::REMOVEDIR);
    }
}

/// Takes the lock of a staging folder; true if no other run uses it, and no other user can write to it.
fn is_ours(tree: &Tree, name: &str, handle: &OwnedFd, created: bool) -> bool {
    let Ok(found) = rustix::fs::fstat(handle) else { return false };
    let own = found.st_uid == rustix::process::geteuid().as_raw() && found.st_mode & 0o022 == 0;
    // Without locks it is unknown whether another run uses an existing one.
    let locked = lock(handle).unwrap_or(created);
    // The run that used it may have removed it before its lock was taken here.
    let in_place = rustix::fs::statat(tree.root(), name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|now| FileId::of(&now) == FileId::of(&found));
    own && locked && in_place
}

/// Removes the files of an earlier run; false, and nothing is removed, if there is anything else.
fn empty(handle: BorrowedFd<'_>) -> bool {
    for_each_entry(handle, &mut is_own)
        && for_each_entry(handle, &mut |name, _| rustix::fs::unlinkat(handle, name, AtFlags::empty()).is_ok())
}

/// Returns true for a file of this user with a number as its name.
fn is_own(name: &CStr, found: &Stat) -> bool {
    name.to_bytes().iter().all(u8::is_ascii_digit)
        && FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
        && found.st_uid == rustix::process::geteuid().as_raw()
        && found.st_nlink == 1
}

/// Calls a function for every entry of a folder until it returns false; true if it never did.
fn for_each_entry(folder: BorrowedFd<'_>, each: &mut dyn FnMut(&CStr, &Stat) -> bool) -> bool {
    let Ok(entries) = Dir::read_from(folder) else { return false };
    for entry in entries {
        let Ok(entry) = entry else { return false };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(found) = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
        if !each(name, &found) {
            return false;
        }
    }
    true
}

fn folder_name(number: u32) -> String {
    if number == 0 { STAGING.to_owned() } else { format!("{STAGING}-{number}") }
}

fn name(number: u64) -> String {
    number.to_string()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::super::tree::TreePath;
    use super::*;
    use crate::route::FileName;

    #[test]
    fn runs_beside_each_other_leave_each_others_files_alone() {
        let output = tempfile::tempdir().unwrap();
        let tree = TreePath::of(output.path(), &FileName::new(b"/").unwrap()).unwrap().open().unwrap();
        let first = Staging::open(&tree).unwrap();
        first.create(false).unwrap().1.write_all(b"first").unwrap();
        let second = Staging::open(&tree).unwrap();
        second.create(false).unwrap().1.write_all(b"second").unwrap();
        Staging::remove_left_over(&tree);
        for (staging, leaf) in [(first, "a"), (second, "b")] {
            staging.publish(0, tree.root(), leaf.as_bytes()).unwrap();
        }
        let mut names: Vec<_> =
            std::fs::read_dir(output.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["a", "b"], "staging folders are removed with their runs");
    }
}
