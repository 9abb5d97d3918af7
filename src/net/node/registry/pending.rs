//! Transfers in setup: those whose reply head is pending.

use std::sync::Arc;

use super::Registry;
use super::conn::lock;
use crate::wire::TransferId;

/// Registers a transfer id as pending on this node until dropped.
#[derive(Debug)]
pub struct PendingGuard {
    pub(super) registry: Arc<Registry>,
    pub(super) id: TransferId,
}

impl Registry {
    /// Registers a transfer as pending; `None` if it is pending already, which makes the route a loop.
    pub fn begin_setup(self: &Arc<Self>, id: TransferId) -> Option<PendingGuard> {
        lock(&self.pending).insert(id).then(|| PendingGuard { registry: Arc::clone(self), id })
    }

    /// Returns whether this node has sent a request for this transfer upstream and awaits the reply.
    pub fn is_pending(&self, id: TransferId) -> bool {
        lock(&self.pending).contains(&id)
    }
}

impl Drop for PendingGuard {
    fn drop(&mut self) {
        lock(&self.registry.pending).remove(&self.id);
    }
}
