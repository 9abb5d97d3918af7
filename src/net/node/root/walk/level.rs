//! A folder on the way down to the current entry of a walk, and how much of all of them is held at once.

use std::os::fd::OwnedFd;

use rustix::fs::Stat;

use super::super::folder::id;
use super::super::names::{MAX_PAGE, Names};
use super::place::Limits;

/// What a walk may hold at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Folders on the current path that are open; one above them is opened again on the way back.
    pub(super) open: usize,
    /// Bytes of the names of one folder.
    pub(super) names: usize,
    /// Bytes of the names of all folders above that; those of the highest are dropped first, and read again on the way
    /// back.
    pub(super) above: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { open: 32, names: MAX_PAGE, above: 1 << 20 }
    }
}

/// A folder on the current path.
#[derive(Debug)]
pub(super) struct Level {
    /// `None` while many below it are open.
    pub(super) handle: Option<OwnedFd>,
    /// Device and inode.
    pub(super) id: (u64, u64),
    /// Length of its own part of the current path, with the slash.
    pub(super) path: usize,
    /// `None` until they are needed.
    pub(super) names: Option<Names>,
    /// The last name that was taken; those after it are read next.
    pub(super) last: Vec<u8>,
    pub(super) limits: Limits,
}

impl Level {
    pub(super) fn new(handle: OwnedFd, stat: &Stat, path: usize, limits: Limits) -> Self {
        Self { handle: Some(handle), id: id(stat), path, names: None, last: Vec::new(), limits }
    }

    /// Frees the names; those after `taken` are read again when they are needed. Returns the bytes of memory freed.
    pub(super) fn forget_names(&mut self, taken: Vec<u8>) -> usize {
        self.last = taken;
        self.names.take().map_or(0, |names| names.memory())
    }
}
