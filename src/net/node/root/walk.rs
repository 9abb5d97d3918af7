//! The walk of a folder: its visible regular files and folders with all below them, in one order, with the names of
//! about one directory in memory at a time.

mod level;
mod place;

use std::ffi::CStr;
use std::io;
use std::ops::Bound;
use std::os::fd::OwnedFd;

use rustix::fs::{
    Access, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, accessat, fstat, openat, openat2, statat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::folder::{OPEN, base, id};
use super::names::{NameKind, Names};
use super::{OpenError, Root, is_on_synthetic, is_synthetic};
use crate::route::{FileName, MAX_NAME, WalkRange};
use crate::text::SafeText;
use level::{Bounds, Level};
use place::{Limits, Place, segment};

/// Seconds and nanoseconds of a change.
type ChangeTime = (i64, i64);

/// A walk in progress.
#[derive(Debug)]
pub struct Walk {
    /// The folder's whole name with a slash at the end; empty for the root.
    base: Vec<u8>,
    range: WalkRange,
    /// The folder and those on the way down to the current entry.
    levels: Vec<Level>,
    /// The current entry, relative to the folder.
    path: Vec<u8>,
    /// The folder itself.
    stat: Stat,
    /// Links, special files, and what this program may not read, so far.
    omitted: u64,
    /// The latest change that was seen.
    newest: ChangeTime,
    /// The latest change that an earlier walk saw: a later one ends this walk.
    limit: Option<ChangeTime>,
    bounds: Bounds,
    /// Memory for the next names.
    spare: Names,
}

/// An entry of a walk.
#[derive(Clone, Copy, Debug)]
pub enum WalkEntry {
    /// A folder, before its content.
    Folder(Stat),
    /// A file by its directory's account; it is to be read or opened next.
    File,
}

/// Why a walk ended.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// It is not what it was in an earlier walk.
    #[error("{0} changed meanwhile")]
    Changed(SafeText),
    /// The system reported an error.
    #[error("{path}: {error}")]
    Failed {
        /// The name of the file or folder.
        path: SafeText,
        /// The error.
        error: io::Error,
    },
}

impl Root {
    /// Starts a walk through a folder beneath the root, `None` for the root itself. Blocks on the disk, as all of a
    /// walk does.
    ///
    /// # Errors
    /// `NotFound` if there is no visible folder of this name, `Failed` if it cannot be opened.
    pub fn walk(&self, folder: Option<&FileName>, range: WalkRange) -> Result<Walk, OpenError> {
        let (handle, stat) = self.current.folder(&self.path).open_folder(folder)?;
        let limits = Limits::of(&range);
        // A generated folder has no files of known size.
        let levels = if is_on_synthetic(&handle) { Vec::new() } else { vec![Level::new(handle, &stat, 0, limits)] };
        Ok(Walk {
            base: base(folder),
            range,
            levels,
            path: Vec::new(),
            stat,
            omitted: 0,
            newest: change_time(&stat),
            limit: None,
            bounds: Bounds::default(),
            spare: Names::default(),
        })
    }
}

impl Walk {
    /// Ends the walk at anything that changed later than the latest change seen by an earlier walk.
    ///
    /// Times of the same file system are compared with each other alone, so no clock has to be right; where a time lies
    /// in the future, only a difference in length shows.
    ///
    /// # Errors
    /// `Changed` if the folder itself did.
    pub fn unchanged_since(self, newest: ChangeTime) -> Result<Self, WalkError> {
        let walk = Self { limit: Some(newest), ..self };
        walk.check(&walk.stat)?;
        Ok(walk)
    }

    /// Returns the state of the folder itself.
    pub fn folder(&self) -> &Stat {
        &self.stat
    }

    /// Returns the latest change of all folders and files that were seen.
    pub fn newest(&self) -> ChangeTime {
        self.newest
    }

    /// Returns how many links, special files, and files and folders that may not be read were left out so far.
    pub fn omitted(&self) -> u64 {
        self.omitted
    }

    /// Returns the path of the current entry relative to the folder.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Returns the whole name of the current entry, by which it can be requested.
    pub fn name(&self) -> Vec<u8> {
        [&self.base[..], &self.path].concat()
    }

    /// Advances to the next entry in the range; `None` at the end.
    ///
    /// # Errors
    /// `Failed` if a folder cannot be read; `Changed` if it is not what it was in the earlier walk.
    pub fn advance(&mut self) -> Result<Option<WalkEntry>, WalkError> {
        loop {
            let Some(level) = self.levels.last() else { return Ok(None) };
            self.path.truncate(level.path);
            if self.path.len() < level.path {
                self.path.push(b'/');
            }
            let (closed, unread) = (level.handle.is_none(), level.names.is_none());
            if closed {
                self.reopen()?;
            }
            if unread {
                self.read_names()?;
            }
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            let limits = level.limits;
            let Some(names) = &mut level.names else { return Ok(None) };
            let Some((kind, name)) = names.take() else {
                if names.has_more() {
                    level.last = names.greatest().to_vec();
                    self.spare = level.names.take().unwrap_or_default();
                } else {
                    self.spare = self.levels.pop().and_then(|level| level.names).unwrap_or_default();
                }
                continue;
            };
            self.path.extend_from_slice(name.to_bytes());
            let Some(place) = Place::of(limits, name.to_bytes(), &self.range) else {
                // Everything else comes later still.
                self.levels.clear();
                return Ok(None);
            };
            let kind = if kind == NameKind::Unknown { self.kind()? } else { kind };
            // No request could contain a longer name; that of a folder needs a slash, too.
            let length = self.base.len() + self.path.len() + usize::from(kind == NameKind::Folder);
            if length > MAX_NAME {
                continue;
            }
            match kind {
                NameKind::File if place.included => return Ok(Some(WalkEntry::File)),
                NameKind::Folder => {
                    if let Some(stat) = self.enter(place)?
                        && place.included
                    {
                        return Ok(Some(WalkEntry::Folder(stat)));
                    }
                }
                NameKind::Special if place.included => self.omitted += 1,
                NameKind::File | NameKind::Special | NameKind::Unknown => {}
            }
        }
    }

    /// Returns the state of the current file; `None` if it is left out.
    ///
    /// # Errors
    /// `Failed` if the system reports an error.
    pub fn read(&mut self) -> Result<Option<Stat>, WalkError> {
        let Some((folder, name)) = self.current() else { return Ok(None) };
        let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(self.failed(error)),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || !may_read(folder, name, &stat) {
            self.omitted += 1;
            return Ok(None);
        }
        // In a folder that is not generated, only a file that is mounted by itself can be.
        let mounted = stat.st_blocks == 0 && self.levels.last().is_some_and(|level| level.id.0 != stat.st_dev);
        if mounted && openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()).is_ok_and(is_on_synthetic) {
            return Ok(None);
        }
        self.newest = self.newest.max(change_time(&stat));
        Ok(Some(stat))
    }

    /// Opens the current file; `None` if it is left out.
    ///
    /// # Errors
    /// `Failed` if it cannot be opened, `Changed` if it is not what it was in the earlier walk.
    pub fn open(&mut self) -> Result<Option<(OwnedFd, Stat)>, WalkError> {
        let Some((folder, name)) = self.current() else { return Ok(None) };
        let opened = openat(folder, name, OPEN | OFlags::NOFOLLOW, Mode::empty());
        let file = match opened {
            Ok(file) => file,
            // It was removed or replaced since its directory was read.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) if self.limit.is_some() => return Err(self.changed()),
            // Left out of the earlier walk, too, or not.
            Err(error) => return if self.read()?.is_some() { Err(self.failed(error)) } else { Ok(None) },
        };
        let stat = fstat(&file).map_err(|error| self.failed(error))?;
        self.check(&stat)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || is_synthetic(&file, &stat) {
            return Ok(None);
        }
        Ok(Some((file, stat)))
    }

    /// Returns the folder of the current entry, and its name there.
    fn current(&self) -> Option<(&OwnedFd, &CStr)> {
        let level = self.levels.last()?;
        Some((level.handle.as_ref()?, level.names.as_ref()?.last()?.1))
    }

    /// Finds out what the current entry is, where its directory does not report it.
    fn kind(&self) -> Result<NameKind, WalkError> {
        let Some((folder, name)) = self.current() else { return Ok(NameKind::Unknown) };
        match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => NameKind::File,
                FileType::Directory => NameKind::Folder,
                _ => NameKind::Special,
            }),
            Err(Errno::NOENT) => Ok(NameKind::Unknown),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Opens the current entry, a folder, and continues with its content; `None` if it is left out.
    fn enter(&mut self, place: Place) -> Result<Option<Stat>, WalkError> {
        let Some((folder, name)) = self.current() else { return Ok(None) };
        let handle = match openat(folder, name, OPEN | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(handle) => handle,
            Err(Errno::ACCESS | Errno::PERM) => {
                self.omitted += u64::from(place.included);
                return Ok(None);
            }
            // It was removed or replaced since its directory was read.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) if self.limit.is_none() => return Ok(None),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Err(self.changed()),
            Err(error) => return Err(self.failed(error)),
        };
        let stat = fstat(&handle).map_err(|error| self.failed(error))?;
        let same_device = self.levels.last().is_some_and(|level| level.id.0 == stat.st_dev);
        if !same_device && is_on_synthetic(&handle) {
            return Ok(None);
        }
        self.check(&stat)?;
        self.newest = self.newest.max(change_time(&stat));
        if place.descends {
            let path = self.path.len() + 1;
            self.levels.push(Level::new(handle, &stat, path, place.limits));
            if let Some(above) = self.levels.len().checked_sub(self.bounds.open + 1).filter(|above| *above > 0) {
                self.levels[above].handle = None;
            }
        }
        Ok(Some(stat))
    }

    /// Reads the next names of the current folder.
    fn read_names(&mut self) -> Result<(), WalkError> {
        let mut above: usize = self.levels.iter().filter_map(|level| level.names.as_ref()).map(Names::memory).sum();
        for at in 1..self.levels.len() {
            if above <= self.bounds.above {
                break;
            }
            let taken = self.path[self.levels[at - 1].path..self.levels[at].path - 1].to_vec();
            above -= self.levels[at - 1].forget_names(taken);
        }
        let Some(level) = self.levels.last() else { return Ok(()) };
        let Some(handle) = &level.handle else { return Ok(()) };
        let segment = |path: &Option<FileName>, at: Option<usize>| {
            path.as_ref().zip(at).map(|(path, at)| segment(path, at).0.to_vec())
        };
        let (after, until) =
            (segment(&self.range.after, level.limits.after), segment(&self.range.until, level.limits.until));
        let lower = match &after {
            _ if !level.last.is_empty() => Bound::Excluded(&level.last[..]),
            Some(after) => Bound::Included(&after[..]),
            None => Bound::Unbounded,
        };
        let upper = until.as_deref().map_or(Bound::Unbounded, Bound::Included);
        let mut names = std::mem::take(&mut self.spare);
        names.read(handle, lower, upper, self.bounds.names).map_err(|error| self.failed(error))?;
        if let Some(level) = self.levels.last_mut() {
            level.names = Some(names);
        }
        Ok(())
    }

    /// Opens the current folder again, which was closed while many below it were open.
    fn reopen(&mut self) -> Result<(), WalkError> {
        let Some((level, top)) = self.levels.last().zip(self.levels.first().and_then(|top| top.handle.as_ref())) else {
            return Ok(());
        };
        let path = &self.path[..level.path - 1];
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let handle = match openat2(top, path, OPEN | OFlags::DIRECTORY, Mode::empty(), resolve) {
            Ok(handle) => handle,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => return Err(self.changed()),
            Err(error) => return Err(self.failed(error)),
        };
        let stat = fstat(&handle).map_err(|error| self.failed(error))?;
        if id(&stat) != level.id {
            return Err(self.changed());
        }
        if let Some(level) = self.levels.last_mut() {
            level.handle = Some(handle);
        }
        Ok(())
    }

    /// Checks that a file or folder has not changed since the earlier walk.
    fn check(&self, stat: &Stat) -> Result<(), WalkError> {
        if self.limit.is_some_and(|limit| change_time(stat) > limit) { Err(self.changed()) } else { Ok(()) }
    }

    fn changed(&self) -> WalkError {
        WalkError::Changed(SafeText::from_bytes(&self.name()))
    }

    fn failed(&self, error: Errno) -> WalkError {
        WalkError::Failed { path: SafeText::from_bytes(&self.name()), error: error.into() }
    }
}

/// True if this program may read a file.
fn may_read(folder: &OwnedFd, name: &CStr, stat: &Stat) -> bool {
    const ALL: u32 = 0o444;
    const OWNER: u32 = 0o400;
    // Most files are readable by all, or are the user's own; the others cost a system call.
    let own = || stat.st_mode & OWNER != 0 && stat.st_uid == geteuid().as_raw();
    stat.st_mode & ALL == ALL || own() || accessat(folder, name, Access::READ_OK, AtFlags::EACCESS).is_ok()
}

fn change_time(stat: &Stat) -> ChangeTime {
    (stat.st_ctime, stat.st_ctime_nsec.cast_signed())
}

#[cfg(test)]
mod tests;
