//! A watched hop and its state.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::report::HopState;
use crate::route::Hop;

/// The hop that one task watches.
#[derive(Debug)]
pub(super) struct Subject {
    /// The hops of its route, in chain order; the hop alone if it is not part of the route.
    pub(super) hops: Arc<[Hop]>,
    /// Its index in `hops`.
    pub(super) at: usize,
    pub(super) extra: bool,
    state: Mutex<HopState>,
    generation: Arc<watch::Sender<u64>>,
}

impl Subject {
    pub(super) fn new(hops: Arc<[Hop]>, at: usize, extra: bool, generation: Arc<watch::Sender<u64>>) -> Self {
        Self { hops, at, extra, state: Mutex::default(), generation }
    }

    pub(super) fn hop(&self) -> &Hop {
        &self.hops[self.at]
    }

    /// Returns whether a token may be sent to it: in clear text, only on a route on which nothing is encrypted.
    pub(super) fn may_have_token(&self) -> bool {
        self.hop().key.is_some() || self.hops.last().is_none_or(|last| last.key.is_none())
    }

    /// Returns the state. A panic in one task must not blind the others: no change is left half-made.
    pub(super) fn state(&self) -> MutexGuard<'_, HopState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state; `change` returns whether the change is visible.
    pub(super) fn change(&self, change: impl FnOnce(&mut HopState) -> bool) {
        let visible = change(&mut self.state());
        if visible {
            self.generation.send_modify(|generation| *generation += 1);
        }
    }
}
