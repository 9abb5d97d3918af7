//! The part of a walk that a request names: which names of a folder are in it.

use std::cmp::Ordering;

use crate::route::{FileName, WalkRange};

/// Where the segments that limit the names of a folder begin in the paths of a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) after: Option<usize>,
    pub(super) until: Option<usize>,
}

impl Limits {
    /// Returns the limits of the folder that a walk begins with.
    pub(super) fn of(range: &WalkRange) -> Self {
        Self { after: range.after.as_ref().map(|_| 0), until: range.until.as_ref().map(|_| 0) }
    }
}

/// Place of a name in the range of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The entry itself is in the range.
    pub(super) included: bool,
    /// Something below it may be.
    pub(super) descends: bool,
    /// Limits of the names below it.
    pub(super) limits: Limits,
}

impl Place {
    /// Returns the place of a name in a folder; `None` after the end of the range. Names before the range are not read.
    pub(super) fn of(limits: Limits, name: &[u8], range: &WalkRange) -> Option<Self> {
        let mut place = Self { included: true, descends: true, limits: Limits::default() };
        if let Some((path, at)) = range.after.as_ref().zip(limits.after) {
            let (segment, next) = segment(path, at);
            match name.cmp(segment) {
                Ordering::Less => (place.included, place.descends) = (false, false),
                Ordering::Equal => (place.included, place.limits.after) = (false, next),
                Ordering::Greater => {}
            }
        }
        if let Some((path, at)) = range.until.as_ref().zip(limits.until) {
            let (segment, next) = segment(path, at);
            match name.cmp(segment) {
                Ordering::Less => {}
                Ordering::Equal => (place.descends, place.limits.until) = (place.descends && next.is_some(), next),
                Ordering::Greater => return None,
            }
        }
        Some(place)
    }
}

/// Returns the segment of a path that begins at an offset, and where the next one does.
pub(super) fn segment(path: &FileName, at: usize) -> (&[u8], Option<usize>) {
    let rest = path.as_bytes().get(at..).unwrap_or_default();
    match rest.iter().position(|byte| *byte == b'/') {
        Some(end) => (&rest[..end], Some(at + end + 1)),
        None => (rest, None),
    }
}
