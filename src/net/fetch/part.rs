//! The partial file: claimed beside its target, filled, then given its name in one step, or kept for the next try.
//!
//! A small one has no name while it is filled: nobody can touch it, and one whose program is killed is gone. A larger
//! one has the name `NAME.part` and a state beside it, from before its first byte.

mod look;
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

use look::{Found, Names, RACES, look};
pub(super) use publish::Published;

/// Largest file that is filled without a name. Up to here naming it and writing its state would cost more than a tenth
/// of the fetch, and a broken one is fetched again sooner than it would be missed.
const UNNAMED: u64 = 1 << 20;
/// Most partial files of one name.
const MOST_PARTS: usize = 1000;
/// The share of the free room that a file may not take, and the most that is left free on its account: other programs
/// go on writing while a file arrives, and an origin's word alone must not fill a disk. It is a share of what is free,
/// not of the disk, so that a small file still fits on a disk that is nearly full.
const MARGIN: u64 = 20;
const LARGEST_MARGIN: u64 = 1 << 30;

/// A partial file that belongs to this transfer for as long as it is open: the locks say so to others.
#[derive(Debug)]
pub(super) struct PartialFile {
    place: Arc<TargetPath>,
    file: File,
    id: FileId,
    names: Option<Names>,
    /// It is closed to others until it is whole, and gets the permissions of any new file then.
    narrow: bool,
}

/// What trying to get a partial file came to.
#[derive(Debug)]
pub(super) enum ClaimResult {
    Ours(PartialFile),
    /// Another fetch fills it.
    Busy(Busy),
}

/// A partial file that another fetch fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Busy {
    /// Its place in the series of names.
    pub(super) number: usize,
    /// How far it is.
    pub(super) length: u64,
}

/// The partial file's names are not its own any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost;

impl PartialFile {
    /// Makes a partial file for so many bytes, or takes one that is left; `tight` closes it to others. The names before
    /// `first` are not looked at.
    pub(super) fn open(place: &Arc<TargetPath>, size: u64, tight: bool, first: usize) -> Result<ClaimResult, Error> {
        let failed = |error: Errno| Error::disk("make a partial file beside it", &place.path(), &error.into());
        if size <= UNNAMED
            && let Some(part) = Self::unnamed(place, tight).map_err(failed)?
        {
            return Ok(ClaimResult::Ours(part));
        }
        for number in first..MOST_PARTS {
            for _ in 0..RACES {
                match look(place, number) {
                    Found::Absent => {
                        let name = names::partial(place.name(), number);
                        if let Some(part) = Self::create(place, name, tight).map_err(failed)? {
                            return Ok(ClaimResult::Ours(part));
                        }
                    }
                    Found::Ours(file, id, names) => {
                        let mut part = Self::found(place, file, id, names);
                        part.empty()?;
                        if tight {
                            part.tighten()?;
                        }
                        return Ok(ClaimResult::Ours(part));
                    }
                    Found::Busy(length) => return Ok(ClaimResult::Busy(Busy { number, length })),
                    Found::Foreign => break,
                }
            }
        }
        Err(too_many(place))
    }

    /// True if something has the name of a partial file: one look, so that a fetch that begins pays for no more.
    pub(super) fn is_there(place: &TargetPath) -> bool {
        place.stat(&names::partial(place.name(), 0)).is_ok()
    }

    /// The partial file that an earlier fetch left, as it is.
    pub(super) fn left_over(place: &Arc<TargetPath>, first: usize) -> Option<ClaimResult> {
        for number in first..MOST_PARTS {
            match look(place, number) {
                Found::Absent => return None,
                Found::Foreign => {}
                Found::Busy(length) => return Some(ClaimResult::Busy(Busy { number, length })),
                Found::Ours(file, id, names) => return Some(ClaimResult::Ours(Self::found(place, file, id, names))),
            }
        }
        None
    }

    /// How far a partial file is that another fetch fills; `None` where none does any more.
    pub(super) fn length_of_busy(place: &Arc<TargetPath>, number: usize) -> Option<u64> {
        if let Found::Busy(length) = look(place, number) { Some(length) } else { None }
    }

    /// The partial file that was found under its name.
    fn found(place: &Arc<TargetPath>, file: File, id: FileId, names: Names) -> Self {
        Self { place: Arc::clone(place), file, id, names: Some(names), narrow: true }
    }

    fn unnamed(place: &Arc<TargetPath>, tight: bool) -> Result<Option<Self>, Errno> {
        let mode = Mode::from_raw_mode(if tight { 0o600 } else { 0o666 });
        let Some(file) = names::unnamed(place, mode)? else { return Ok(None) };
        let id = FileId::of(&rustix::fs::fstat(&file)?);
        Ok(Some(Self { place: Arc::clone(place), file, id, names: None, narrow: tight }))
    }

    /// Makes a partial file under a name; `None` where something has it by now.
    fn create(place: &Arc<TargetPath>, name: OsString, tight: bool) -> Result<Option<Self>, Errno> {
        if let Some(mut part) = Self::unnamed(place, tight)? {
            match part.give(name.clone()) {
                Err(error) if names::cannot_link(error) => {}
                given => return Ok(given?.then_some(part)),
            }
        }
        // No other order works here: a program that is killed between these lines leaves an empty file that nobody
        // uses.
        let mode = Mode::from_raw_mode(if tight { 0o600 } else { 0o644 });
        let Some(file) = names::create(place, &name, mode)? else { return Ok(None) };
        let _ = resume_state::lock(&file);
        let id = FileId::of(&rustix::fs::fstat(&file)?);
        match StateFile::create(place, &file, &name) {
            Ok(Some(state)) => {
                Ok(Some(Self { place: Arc::clone(place), file, id, names: Some(Names { name, state }), narrow: tight }))
            }
            other => {
                names::remove(place, &name, id);
                other.map(|_| None)
            }
        }
    }

    /// Gives a file without a name this one, its state first; false where something has it by now.
    fn give(&mut self, name: OsString) -> Result<bool, Errno> {
        let mode = rustix::fs::fstat(&self.file)?.st_mode & 0o777;
        if mode & 0o022 != 0 {
            // What others may write to is not taken for ours later.
            rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode & !0o022))?;
            self.narrow = true;
        }
        let _ = resume_state::lock(&self.file);
        let Some(state) = StateFile::create(&self.place, &self.file, &name)? else { return Ok(false) };
        let linked = names::link(&self.place, &self.file, &name);
        if linked != Ok(true) {
            state.remove(&self.place);
            return linked;
        }
        self.names = Some(Names { name, state });
        Ok(true)
    }

    /// What the state says of it.
    pub(super) fn mark(&self) -> Option<(ResumeSource, ResumePoint)> {
        self.names.as_ref().and_then(|names| names.state.mark())
    }

    /// Makes it a part of nothing again.
    pub(super) fn empty(&self) -> Result<(), Error> {
        // First what says that there is something, then what there is.
        self.forget();
        self.file.set_len(0).map_err(|error| self.error("empty it", &error))
    }

    /// Closes it to others until it is whole.
    pub(super) fn tighten(&mut self) -> Result<(), Error> {
        self.narrow = true;
        let closed = self.file.set_permissions(Permissions::from_mode(0o600));
        closed.map_err(|error| self.error("close it to others", &error))
    }

    /// Writes down how far it got; what is before the mark has to be on the disk.
    pub(super) fn record(&self, source: &ResumeSource, mark: &ResumePoint) -> Result<(), Lost> {
        let Some(names) = &self.names else { return Ok(()) };
        if !self.is_in_place() {
            return Err(Lost);
        }
        // A partial file without a mark is started again: that is all that is lost.
        let _ = names.state.note(source, mark);
        Ok(())
    }

    /// Takes back what says how far it got.
    pub(super) fn forget(&self) {
        let _ = self.names.as_ref().map(|names| names.state.clear());
    }

    /// True where its names are its own still.
    fn is_in_place(&self) -> bool {
        let holds = |names: &Names| self.place.holds(&names.name, self.id) && names.state.is_in_place(&self.place);
        self.names.as_ref().is_none_or(holds)
    }

    /// Takes the room on the disk, so that a full disk is found before the first byte and not after the last.
    ///
    /// The file's length stays what was written: it is how far a broken transfer got.
    pub(super) fn reserve(&self, size: u64) -> Result<(), Error> {
        if size == 0 {
            return Ok(());
        }
        if size > UNNAMED {
            self.has_room(size)?;
        }
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, size) {
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => {
                Err(self.error("reserve its size", &error.into()))
            }
            // Not every file system can; then the disk may turn out to be full later.
            _ => Ok(()),
        }
    }

    /// Asks before anything is taken: a reservation that fails fills the disk for a moment.
    fn has_room(&self, size: u64) -> Result<(), Error> {
        let (Ok(disk), Ok(found)) = (rustix::fs::fstatvfs(&self.file), rustix::fs::fstat(&self.file)) else {
            return Ok(());
        };
        // Some file systems do not say.
        if disk.f_blocks == 0 {
            return Ok(());
        }
        let needed = size.saturating_sub(found.st_blocks.unsigned_abs() * 512);
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let margin = (free / MARGIN).min(LARGEST_MARGIN);
        if needed <= free - margin {
            return Ok(());
        }
        let reason = format!(
            "not enough room on the disk: it needs {}, {} is free and {} of that is left to others: make room, or name \
             another folder with -o",
            Bytes(needed),
            Bytes(free),
            Bytes(margin)
        );
        Err(Error::Disk { action: "reserve its size", path: self.shown(), reason })
    }

    /// The file, to be written to at explicit offsets.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// The path, for people; the target's where it has no name.
    pub(super) fn shown(&self) -> SafeText {
        let named = self.names.as_ref().map(|names| self.place.beside(&names.name));
        shown(&named.unwrap_or_else(|| self.place.path()))
    }

    /// An error of this file.
    pub(super) fn error(&self, action: &'static str, error: &io::Error) -> Error {
        let named = self.names.as_ref().map(|names| self.place.beside(&names.name));
        Error::disk(action, &named.unwrap_or_else(|| self.place.path()), error)
    }

    /// The error of one whose names are not its own any more.
    pub(super) fn lost(&self) -> Error {
        Error::Lost { path: self.shown(), kept: KeptBytes::default() }
    }

    /// The transfer ends here: the partial file stays if it holds anything, and the answer is where it is.
    pub(super) fn keep(&mut self) -> KeptBytes {
        let Ok(length) = self.file.metadata().map(|found| found.len()) else { return KeptBytes::default() };
        if length == 0 || self.restore().is_err() {
            self.remove();
            return KeptBytes::default();
        }
        // Room that was reserved and not used is given back.
        let _ = self.file.set_len(length);
        // On a file system that has no owners or permissions it would not be taken for ours again: none is piled up
        // there.
        if !rustix::fs::fstat(&self.file).is_ok_and(|found| is_own(&found)) {
            self.remove();
            return KeptBytes::default();
        }
        KeptBytes { file: Some(self.shown()), resumable: self.mark().is_some() }
    }

    /// Sees to it that it has names of its own: names it, or, where its names were taken away, copies what it holds to
    /// a new partial file, for a file that has lost its last name can never have one again.
    pub(super) fn restore(&mut self) -> Result<(), Error> {
        if self.names.is_some() && self.is_in_place() {
            return Ok(());
        }
        if let Some(names) = &mut self.names
            && self.place.holds(&names.name, self.id)
            && let Ok(Some(state)) = StateFile::create(&self.place, &self.file, &names.name)
        {
            names.state = state;
            return Ok(());
        }
        if self.names.is_none() {
            for number in 0..MOST_PARTS {
                let named = matches!(look(&self.place, number), Found::Absent)
                    && self
                        .give(names::partial(self.place.name(), number))
                        .map_err(|e| self.error("name it", &e.into()))?;
                if named {
                    return Ok(());
                }
            }
            return Err(too_many(&self.place));
        }
        // First the names go, so that the next fetch finds the copy under the name where it looks first.
        self.remove();
        *self = self.copied()?;
        Ok(())
    }

    /// A new partial file that holds the same.
    fn copied(&self) -> Result<Self, Error> {
        let failed = |error: io::Error| self.error("save what arrived of it", &error);
        for number in 0..MOST_PARTS {
            if !matches!(look(&self.place, number), Found::Absent) {
                continue;
            }
            let name = names::partial(self.place.name(), number);
            let made = Self::create(&self.place, name, self.narrow).map_err(|error| failed(error.into()))?;
            let Some(copy) = made else { continue };
            (&self.file).rewind().map_err(failed)?;
            let copied = io::copy(&mut &self.file, &mut &copy.file)
                .and_then(|_| copy.file.set_modified(self.file.metadata()?.modified()?));
            if let Err(error) = copied {
                copy.remove();
                return Err(failed(error));
            }
            if let (Some((source, mark)), Some(names)) = (self.mark(), &copy.names) {
                let _ = names.state.note(&source, &mark);
            }
            return Ok(copy);
        }
        Err(too_many(&self.place))
    }

    /// Removes it, if it has a name.
    fn remove(&self) {
        if let Some(Names { name, state }) = &self.names {
            names::remove(&self.place, name, self.id);
            state.remove(&self.place);
        }
    }
}

fn too_many(place: &TargetPath) -> Error {
    let reason = format!("{MOST_PARTS} partial files of this name are there: remove those that nobody needs");
    Error::Disk { action: "make a partial file beside it", path: shown(&place.path()), reason }
}

#[cfg(test)]
mod tests;
