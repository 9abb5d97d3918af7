//! A hop that is watched, and what is known of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::report::HopState;
use crate::route::Hop;

/// What a task follows.
#[derive(Debug)]
pub(super) struct Subject {
    /// The hops it stands among, in chain order; alone where no route passes it.
    pub(super) way: Arc<[Hop]>,
    /// Its place there, from 0.
    pub(super) at: usize,
    pub(super) extra: bool,
    state: Mutex<HopState>,
    generation: Arc<watch::Sender<u64>>,
}

impl Subject {
    pub(super) fn new(way: Arc<[Hop]>, at: usize, extra: bool, generation: Arc<watch::Sender<u64>>) -> Self {
        Self { way, at, extra, state: Mutex::default(), generation }
    }

    pub(super) fn hop(&self) -> &Hop {
        &self.way[self.at]
    }

    /// A panic in one task must not blind the others: no change is left half-made.
    pub(super) fn state(&self) -> MutexGuard<'_, HopState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known of it; `change` says whether that can be seen.
    pub(super) fn change(&self, change: impl FnOnce(&mut HopState) -> bool) {
        let visible = change(&mut self.state());
        if visible {
            self.generation.send_modify(|generation| *generation += 1);
        }
    }
}
