//! Whose a partial file is that has a name already: ours and free, another fetch's, or nobody's that we know.

use std::ffi::OsString;
use std::fs::File;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::net::fetch::names;
use crate::net::fetch::resume_state::{self, StateFile, is_own};
use crate::net::fetch::target::{FileId, TargetPath};

/// Looks at one name while others change it at the same time.
pub(super) const RACES: usize = 100;

/// The name of a partial file, and what stands beside it.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) name: OsString,
    pub(super) state: StateFile,
}

/// What stands under the name of a partial file.
pub(super) enum Found {
    Absent,
    /// It is not ours: nothing is done with it.
    Foreign,
    Busy(u64),
    Ours(File, FileId, Names),
}

/// Looks what stands under the name of a partial file, and takes it where it is ours and free.
pub(super) fn look(place: &Arc<TargetPath>, number: usize) -> Found {
    let name = names::partial(place.name(), number);
    let length = || place.stat(&name).map_or(0, |found| found.st_size.unsigned_abs());
    for _ in 0..RACES {
        let state = match StateFile::find(place, &name) {
            resume_state::StateLookup::Ours(state) => state,
            resume_state::StateLookup::Locked => return Found::Busy(length()),
            resume_state::StateLookup::Absent if place.is_free(&name) => return Found::Absent,
            resume_state::StateLookup::Absent | resume_state::StateLookup::Foreign => return Found::Foreign,
        };
        // Its owner may have removed it between our open and our lock.
        if !state.is_in_place(place) {
            continue;
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(place.folder(), &name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => {
                // A program was killed before the file had its name, or after it had another.
                state.remove(place);
                continue;
            }
            Err(_) => return Found::Foreign,
        };
        let Ok(found) = rustix::fs::fstat(&file) else { return Found::Foreign };
        if !state.is_about(&file) {
            return Found::Foreign;
        }
        let id = FileId::of(&found);
        if found.st_nlink == 2 && place.holds(place.name(), id) {
            // A program was killed right after the file had its final name.
            names::remove(place, &name, id);
            state.remove(place);
            continue;
        }
        if !is_own(&found) {
            return Found::Foreign;
        }
        match resume_state::lock(&file) {
            Ok(true) => {}
            Ok(false) => return Found::Busy(found.st_size.unsigned_abs()),
            Err(_) => return Found::Foreign,
        }
        if place.holds(&name, id) {
            return Found::Ours(file, id, Names { name, state });
        }
    }
    Found::Foreign
}
