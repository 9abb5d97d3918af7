//! The partial file: claimed next to its target, filled, then published atomically, or kept for the next attempt.
//!
//! A small one is an unnamed file while it is filled: no other program can change it, and it is deleted if the program
//! is killed. A larger one is named `NAME.part`, with a state file, from before its first byte.

mod lookup;
mod publish;

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io::{self, Seek};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, Mode};
use rustix::io::Errno;

use super::names;
use super::resume_state::{self, ResumePoint, ResumeSource, StateFile, is_own};
use super::target::{FileId, TargetPath};
use crate::error::{Error, KeptBytes, shown};
use crate::text::SafeText;
use crate::units::Bytes;

use lookup::{Found, MAX_LOOKUPS, Names, lookup};
pub(super) use publish::{Publication, Published, publish_all, same_bytes};

/// Largest file that is filled unnamed. Up to this size, naming it and writing its state would cost more than a tenth
/// of the fetch, and fetching it again is cheap.
const MAX_UNNAMED_SIZE: u64 = 1 << 20;
/// Limit on partial files of one name.
const MAX_PARTIAL_FILES: usize = 1000;
/// Share of the free space that stays free (as a divisor), and the most that stays free: other programs write
/// while a file arrives, and the size that an origin announces must not fill a disk. It is a share of the free space,
/// not of the disk, so that a small file still fits on a nearly full disk.
const MARGIN_DIVISOR: u64 = 20;
const MAX_MARGIN: u64 = 1 << 30;

/// A partial file that this transfer owns while it is open; its locks show that to other fetches.
#[derive(Debug)]
pub(super) struct PartialFile {
    target: Arc<TargetPath>,
    file: File,
    id: FileId,
    names: Option<Names>,
    /// True if its permissions are restricted until it is published, and then set to those of a new file.
    restricted: bool,
    /// It may be executed once it is published, unless it replaces a file.
    executable: bool,
}

/// Outcome of claiming a partial file.
#[derive(Debug)]
pub(super) enum ClaimResult {
    Ours(PartialFile),
    /// Another fetch fills it.
    Busy(Busy),
}

/// A partial file that another fetch fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy {
    /// Its number in the series of names.
    pub(super) number: usize,
    /// Its length so far.
    pub(super) length: u64,
}

/// The error of a partial file whose names were removed or replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost;

impl PartialFile {
    /// Creates a partial file for `size` bytes, or empties one that is left over; `private` restricts its permissions.
    /// Names with a number below `first` are skipped.
    pub(super) fn open(target: &Arc<TargetPath>, size: u64, private: bool, first: usize) -> Result<ClaimResult, Error> {
        let failed = |error: Errno| Error::disk("create a partial file next to it", &target.path(), &error.into());
        if size <= MAX_UNNAMED_SIZE
            && let Some(part) = Self::unnamed(target, private).map_err(failed)?
        {
            return Ok(ClaimResult::Ours(part));
        }
        for number in first..MAX_PARTIAL_FILES {
            for _ in 0..MAX_LOOKUPS {
                match lookup(target, number) {
                    Found::Absent => {
                        let name = names::partial(target.name(), number);
                        if let Some(part) = Self::create(target, name, private).map_err(failed)? {
                            return Ok(ClaimResult::Ours(part));
                        }
                    }
                    Found::Ours(file, id, names) => {
                        let mut part = Self::found(target, file, id, names);
                        part.empty()?;
                        if private {
                            part.restrict()?;
                        }
                        return Ok(ClaimResult::Ours(part));
                    }
                    Found::Busy(length) => return Ok(ClaimResult::Busy(Busy { number, length })),
                    Found::Foreign => break,
                }
            }
        }
        Err(too_many(target))
    }

    /// Returns true if the first name of a partial file exists: one system call, so that a new fetch does not pay for
    /// more.
    pub(super) fn exists(target: &TargetPath) -> bool {
        target.stat(&names::partial(target.name(), 0)).is_ok()
    }

    /// Returns the partial file of an earlier fetch, unchanged.
    pub(super) fn find(target: &Arc<TargetPath>, first: usize) -> Option<ClaimResult> {
        for number in first..MAX_PARTIAL_FILES {
            match lookup(target, number) {
                Found::Absent => return None,
                Found::Foreign => {}
                Found::Busy(length) => return Some(ClaimResult::Busy(Busy { number, length })),
                Found::Ours(file, id, names) => return Some(ClaimResult::Ours(Self::found(target, file, id, names))),
            }
        }
        None
    }

    /// Returns the length of a partial file that another fetch fills; `None` if none does any more.
    pub(super) fn length_of_busy(target: &Arc<TargetPath>, number: usize) -> Option<u64> {
        if let Found::Busy(length) = lookup(target, number) { Some(length) } else { None }
    }

    /// Wraps a partial file that was found by name.
    fn found(target: &Arc<TargetPath>, file: File, id: FileId, names: Names) -> Self {
        Self { target: Arc::clone(target), file, id, names: Some(names), restricted: true, executable: false }
    }

    /// Sets whether it may be executed once it is published.
    pub(super) fn executable(self, executable: bool) -> Self {
        Self { executable, ..self }
    }

    fn unnamed(target: &Arc<TargetPath>, private: bool) -> Result<Option<Self>, Errno> {
        let mode = Mode::from_raw_mode(if private { 0o600 } else { 0o666 });
        let Some(file) = names::unnamed(target, mode)? else { return Ok(None) };
        let id = FileId::of(&rustix::fs::fstat(&file)?);
        Ok(Some(Self { target: Arc::clone(target), file, id, names: None, restricted: private, executable: false }))
    }

    /// Creates a named partial file; `None` if the name is taken by now.
    fn create(target: &Arc<TargetPath>, name: OsString, private: bool) -> Result<Option<Self>, Errno> {
        if let Some(mut part) = Self::unnamed(target, private)? {
            match part.link_as(name.clone()) {
                Err(error) if names::cannot_link(error) => {}
                given => return Ok(given?.then_some(part)),
            }
        }
        // There is no better order: a program that is killed between these lines leaves an empty file that no fetch
        // uses.
        let mode = Mode::from_raw_mode(if private { 0o600 } else { 0o644 });
        let Some(file) = names::create(target, &name, mode)? else { return Ok(None) };
        let _ = resume_state::lock(&file);
        let id = FileId::of(&rustix::fs::fstat(&file)?);
        match StateFile::create(target, &file, &name) {
            Ok(Some(state)) => Ok(Some(Self {
                target: Arc::clone(target),
                file,
                id,
                names: Some(Names { name, state }),
                restricted: private,
                executable: false,
            })),
            other => {
                names::remove(target, &name, id);
                other.map(|_| None)
            }
        }
    }

    /// Links an unnamed file to a name, after creating its state file; false if the name is taken by now.
    fn link_as(&mut self, name: OsString) -> Result<bool, Errno> {
        let mode = rustix::fs::fstat(&self.file)?.st_mode & 0o777;
        if mode & 0o022 != 0 {
            // A file that others may write to would not be recognized as ours later.
            rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode & !0o022))?;
            self.restricted = true;
        }
        let _ = resume_state::lock(&self.file);
        let Some(state) = StateFile::create(&self.target, &self.file, &name)? else { return Ok(false) };
        let linked = names::link(&self.target, &self.file, &name);
        if linked != Ok(true) {
            state.remove(&self.target);
            return linked;
        }
        self.names = Some(Names { name, state });
        Ok(true)
    }

    /// Returns the source and the resume point that its state file records.
    pub(super) fn resume_point(&self) -> Option<(ResumeSource, ResumePoint)> {
        self.names.as_ref().and_then(|names| names.state.resume_point())
    }

    /// Empties it.
    pub(super) fn empty(&self) -> Result<(), Error> {
        // The state first: it must never describe bytes that are not there.
        self.clear_resume_point();
        self.file.set_len(0).map_err(|error| self.error("empty it", &error))
    }

    /// Restricts its permissions until it is published.
    pub(super) fn restrict(&mut self) -> Result<(), Error> {
        self.restricted = true;
        let closed = self.file.set_permissions(Permissions::from_mode(0o600));
        closed.map_err(|error| self.error("restrict its permissions", &error))
    }

    /// Records a resume point; the bytes before it have to be on the disk already.
    pub(super) fn record(&self, source: &ResumeSource, resume_point: &ResumePoint) -> Result<(), Lost> {
        let Some(names) = &self.names else { return Ok(()) };
        if !self.is_in_place() {
            return Err(Lost);
        }
        // A partial file without a resume point is fetched from the start: nothing else is lost.
        let _ = names.state.write_resume_point(source, resume_point);
        Ok(())
    }

    /// Deletes the recorded resume point.
    pub(super) fn clear_resume_point(&self) {
        let _ = self.names.as_ref().map(|names| names.state.clear());
    }

    /// Returns true if its names still refer to it.
    fn is_in_place(&self) -> bool {
        let holds = |names: &Names| self.target.holds(&names.name, self.id) && names.state.is_in_place(&self.target);
        self.names.as_ref().is_none_or(holds)
    }

    /// Reserves disk space, so that a full disk is detected before the first byte instead of after the last.
    ///
    /// The file's length remains the number of bytes written: it shows how far an interrupted transfer got.
    pub(super) fn reserve(&self, size: u64) -> Result<(), Error> {
        if size == 0 {
            return Ok(());
        }
        if size > MAX_UNNAMED_SIZE {
            self.check_free_space(size)?;
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, size) {
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => {
                Err(self.error("reserve its size", &error.into()))
            }
            // Some file systems do not support it; then the disk may fill up later.
            _ => Ok(()),
        }
    }

    /// Checks the free space before reserving: a reservation that fails fills the disk for a moment.
    fn check_free_space(&self, size: u64) -> Result<(), Error> {
        let (Ok(disk), Ok(found)) = (rustix::fs::fstatvfs(&self.file), rustix::fs::fstat(&self.file)) else {
            return Ok(());
        };
        // Some file systems do not report it.
        if disk.f_blocks == 0 {
            return Ok(());
        }
        let needed = size.saturating_sub(found.st_blocks.unsigned_abs() * 512);
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let margin = (free / MARGIN_DIVISOR).min(MAX_MARGIN);
        if needed <= free - margin {
            return Ok(());
        }
        let reason = format!(
            "not enough disk space: {} needed, {} free, {} of that reserved for other programs: free some space, or \
             choose another folder with -o",
            Bytes(needed),
            Bytes(free),
            Bytes(margin)
        );
        Err(Error::Disk { action: "reserve its size", path: self.shown(), reason })
    }

    /// Returns the file, to be written at explicit offsets.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Returns its path for display; the target's if it is unnamed.
    pub(super) fn shown(&self) -> SafeText {
        let named = self.names.as_ref().map(|names| self.target.beside(&names.name));
        shown(&named.unwrap_or_else(|| self.target.path()))
    }

    /// Returns an error about this file.
    pub(super) fn error(&self, action: &'static str, error: &io::Error) -> Error {
        let named = self.names.as_ref().map(|names| self.target.beside(&names.name));
        Error::disk(action, &named.unwrap_or_else(|| self.target.path()), error)
    }

    /// Returns the error of a partial file whose names were removed or replaced.
    pub(super) fn lost(&self) -> Error {
        Error::Lost { path: self.shown(), kept: KeptBytes::default() }
    }

    /// Ends the transfer: keeps the partial file if it holds any bytes, and returns where it is.
    pub(super) fn keep(&mut self) -> KeptBytes {
        let Ok(length) = self.file.metadata().map(|found| found.len()) else { return KeptBytes::default() };
        if length == 0 || self.restore().is_err() {
            self.remove();
            return KeptBytes::default();
        }
        // Frees space that was reserved and not used.
        let _ = self.file.set_len(length);
        // On a file system without owners or permissions it would not be recognized as ours, and such files would
        // accumulate.
        if !rustix::fs::fstat(&self.file).is_ok_and(|found| is_own(&found)) {
            self.remove();
            return KeptBytes::default();
        }
        KeptBytes { file: Some(self.shown()), resumable: self.resume_point().is_some() }
    }

    /// Makes sure that it has names: links it if unnamed, or copies its content to a new partial file if its names were
    /// removed, because a file that has lost its last link can never be linked again.
    pub(super) fn restore(&mut self) -> Result<(), Error> {
        if self.names.is_some() && self.is_in_place() {
            return Ok(());
        }
        if let Some(names) = &mut self.names
            && self.target.holds(&names.name, self.id)
            && let Ok(Some(state)) = StateFile::create(&self.target, &self.file, &names.name)
        {
            names.state = state;
            return Ok(());
        }
        if self.names.is_none() {
            for number in 0..MAX_PARTIAL_FILES {
                let named = matches!(lookup(&self.target, number), Found::Absent)
                    && self
                        .link_as(names::partial(self.target.name(), number))
                        .map_err(|e| self.error("name it", &e.into()))?;
                if named {
                    return Ok(());
                }
            }
            return Err(too_many(&self.target));
        }
        // The names are removed first, so that the next fetch finds the copy under the first name.
        self.remove();
        *self = self.copied()?;
        Ok(())
    }

    /// Copies the content to a new partial file.
    fn copied(&self) -> Result<Self, Error> {
        let failed = |error: io::Error| self.error("save the part that was received", &error);
        for number in 0..MAX_PARTIAL_FILES {
            if !matches!(lookup(&self.target, number), Found::Absent) {
                continue;
            }
            let name = names::partial(self.target.name(), number);
            let made = Self::create(&self.target, name, self.restricted).map_err(|error| failed(error.into()))?;
            let Some(copy) = made else { continue };
            (&self.file).rewind().map_err(failed)?;
            let copied = io::copy(&mut &self.file, &mut &copy.file)
                .and_then(|_| copy.file.set_modified(self.file.metadata()?.modified()?));
            if let Err(error) = copied {
                copy.remove();
                return Err(failed(error));
            }
            if let (Some((source, resume_point)), Some(names)) = (self.resume_point(), &copy.names) {
                let _ = names.state.write_resume_point(&source, &resume_point);
            }
            return Ok(copy.executable(self.executable));
        }
        Err(too_many(&self.target))
    }

    /// Removes its names, if any.
    fn remove(&self) {
        if let Some(Names { name, state }) = &self.names {
            names::remove(&self.target, name, self.id);
            state.remove(&self.target);
        }
    }
}

fn too_many(target: &TargetPath) -> Error {
    let reason = format!("{MAX_PARTIAL_FILES} partial files of this name exist: remove those that are not needed");
    Error::Disk { action: "create a partial file next to it", path: shown(&target.path()), reason }
}

#[cfg(test)]
mod tests;
