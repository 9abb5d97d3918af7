//! Finds the owner of an existing partial file: free to claim, held by another fetch, or foreign.

use std::ffi::OsString;
use std::fs::File;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::net::fetch::names;
use crate::net::fetch::resume_state::{self, StateFile, is_own};
use crate::net::fetch::target::{FileId, TargetPath};

/// Limit on retries of a lookup while other processes change the same name.
pub(super) const MAX_LOOKUPS: usize = 100;

/// The name of a partial file, and its state file.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) name: OsString,
    pub(super) state: StateFile,
}

/// What exists under the name of a partial file.
pub(super) enum Found {
    Absent,
    /// Not ours: it is not touched.
    Foreign,
    Busy(u64),
    Ours(File, FileId, Names),
}

/// Looks up the name of a partial file, and claims it if it is ours and not locked.
pub(super) fn lookup(target: &Arc<TargetPath>, number: usize) -> Found {
    let name = names::partial(target.name(), number);
    let length = || target.stat(&name).map_or(0, |found| found.st_size.unsigned_abs());
    for _ in 0..MAX_LOOKUPS {
        let state = match StateFile::find(target, &name) {
            resume_state::StateLookup::Ours(state) => state,
            resume_state::StateLookup::Locked => return Found::Busy(length()),
            resume_state::StateLookup::Absent if target.is_free(&name) => return Found::Absent,
            resume_state::StateLookup::Absent | resume_state::StateLookup::Foreign => return Found::Foreign,
        };
        // Its owner may have removed it between open and lock.
        if !state.is_in_place(target) {
            continue;
        }
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(target.folder(), &name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => {
                // A program was killed before the file was named, or after it was renamed.
                state.remove(target);
                continue;
            }
            Err(_) => return Found::Foreign,
        };
        let Ok(found) = rustix::fs::fstat(&file) else { return Found::Foreign };
        if !state.is_about(&file) {
            return Found::Foreign;
        }
        let id = FileId::of(&found);
        if found.st_nlink == 2 && target.holds(target.name(), id) {
            // A program was killed right after the file was linked to its final name.
            names::remove(target, &name, id);
            state.remove(target);
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
        if target.holds(&name, id) {
            return Found::Ours(file, id, Names { name, state });
        }
    }
    Found::Foreign
}
