//! Entries of all streams of a folder that wait to be published, as one group.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::results::{Item, Summary};
use crate::error::Error;

/// Limits of a group: what a killed run has to receive again.
const MAX_FILES: usize = 4096;
const MAX_BYTES: u64 = 64 << 20;
/// Time after which a group is published although it is small, and its names are synced although no group follows.
const PERIOD: Duration = Duration::from_secs(1);

/// What a stream hands over, in its order.
#[derive(Debug)]
pub(super) enum Entry {
    Item(Item),
    /// Nothing more comes of the stream: what became of it is sent once all of it is on the disk.
    End(oneshot::Sender<Summary>),
}

/// What the publisher waits for besides the next group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsynced {
    Nothing,
    /// Names that are to be synced some time.
    Names,
    /// Names of a stream that has ended.
    End,
}

/// The group that is being filled. Streams wait while it is full.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    group: Vec<(usize, Entry)>,
    bytes: u64,
    /// Time of its first entry.
    since: Option<Instant>,
    /// It is published without waiting for more.
    is_due: bool,
    /// No more streams come.
    is_closed: bool,
    /// Nothing more is published, because of this error.
    ended: Option<Error>,
}

impl Queue {
    /// Adds an entry of a stream, with its bytes; false if nothing more is published.
    pub(super) fn add(&self, stream: usize, entry: Entry, bytes: u64) -> bool {
        let mut state = self.state();
        while state.is_full() && state.ended.is_none() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.ended.is_some() {
            return false;
        }
        state.is_due |= matches!(entry, Entry::End(_));
        state.group.push((stream, entry));
        state.bytes += bytes;
        let is_first = state.since.is_none();
        state.since.get_or_insert_with(Instant::now);
        if is_first || state.is_due || state.is_full() {
            self.changed.notify_all();
        }
        true
    }

    /// Waits for the next group, which is empty if only names are to be synced; `None` once nothing is left.
    pub(super) fn next(&self, unsynced: Unsynced) -> Option<Vec<(usize, Entry)>> {
        let idle_until = Instant::now() + PERIOD;
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let until = match state.since {
                Some(since) if state.is_due || state.is_full() || state.is_closed || unsynced == Unsynced::End => since,
                Some(since) => since + PERIOD,
                None if unsynced == Unsynced::End => now,
                None if state.is_closed && unsynced == Unsynced::Nothing => return None,
                None if state.is_closed => now,
                None if unsynced == Unsynced::Names => idle_until,
                // Woken by the first entry.
                None => now + PERIOD,
            };
            if until > now {
                state = self.changed.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner).0;
            } else if state.since.is_some() || unsynced != Unsynced::Nothing {
                (state.bytes, state.since, state.is_due) = (0, None, false);
                let group = std::mem::take(&mut state.group);
                self.changed.notify_all();
                return Some(group);
            }
        }
    }

    /// Ends the publishing of what has been added.
    pub(super) fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    /// Refuses all further entries, for this reason; what waits is dropped.
    pub(super) fn end(&self, error: Error) {
        let mut state = self.state();
        state.ended.get_or_insert(error);
        let dropped = std::mem::take(&mut state.group);
        drop(state);
        self.changed.notify_all();
        drop(dropped);
    }

    /// Returns why nothing more is published.
    pub(super) fn error(&self) -> Option<Error> {
        self.state().ended.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_full(&self) -> bool {
        self.group.len() >= MAX_FILES || self.bytes >= MAX_BYTES
    }
}
