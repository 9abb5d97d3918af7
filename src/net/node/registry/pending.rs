//! Transfers that are being set up: those whose reply head is pending.

use std::sync::Arc;

use super::Registry;
use super::conn::lock;
use crate::wire::TransferId;

/// Marks a transfer id as having its head pending on this node.
#[derive(Debug)]
pub struct PendingGuard {
    pub(super) registry: Arc<Registry>,
    pub(super) id: TransferId,
}

impl Registry {
    /// A transfer's head is pending from now on; `None` where it is already, which makes the route a loop.
    pub fn begin_setup(self: &Arc<Self>, id: TransferId) -> Option<PendingGuard> {
        lock(&self.pending).insert(id).then(|| PendingGuard { registry: Arc::clone(self), id })
    }

    /// This node has asked on for this transfer and has no answer yet.
    pub fn is_pending(&self, id: TransferId) -> bool {
        lock(&self.pending).contains(&id)
    }
}

impl Drop for PendingGuard {
    fn drop(&mut self) {
        lock(&self.registry.pending).remove(&self.id);
    }
}
