//! Transfers in setup: those whose reply head is pending.

use std::collections::btree_map::Entry;
use std::ops::Bound::{Excluded, Included};
use std::sync::Arc;

use super::conn::lock;
use super::{PendingRequests, Registry};
use crate::wire::TransferId;

/// Registers a request as pending on this node until dropped.
#[derive(Debug)]
pub struct PendingGuard {
    pub(super) registry: Arc<Registry>,
    pub(super) request: (TransferId, usize),
}

impl Registry {
    /// Registers a request with this many hops left as pending; `None` if it has come back, which makes the route a
    /// loop.
    pub fn begin_setup(self: &Arc<Self>, id: TransferId, hops: usize) -> Option<PendingGuard> {
        let mut pending = lock(&self.pending);
        if has_longer(&pending, id, hops) {
            return None;
        }
        *pending.entry((id, hops)).or_default() += 1;
        Some(PendingGuard { registry: Arc::clone(self), request: (id, hops) })
    }

    /// Returns whether a request with this many hops left has come back: this node has sent it upstream, and awaits the
    /// reply.
    pub fn has_come_back(&self, id: TransferId, hops: usize) -> bool {
        has_longer(&lock(&self.pending), id, hops)
    }
}

/// Returns whether a request of this transfer with a longer route is pending. Each relay takes its element off the
/// route, so one with the same length is no loop: the hop before sends it again because its connection was closed
/// without a reply, and the end of the first one is not known here yet.
fn has_longer(pending: &PendingRequests, id: TransferId, hops: usize) -> bool {
    pending.range((Excluded((id, hops)), Included((id, usize::MAX)))).next().is_some()
}

impl Drop for PendingGuard {
    fn drop(&mut self) {
        if let Entry::Occupied(mut entry) = lock(&self.registry.pending).entry(self.request) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}
