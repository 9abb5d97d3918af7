//! What is being set up: request heads by address, and transfers whose reply head is pending.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Registry, lock};
use crate::wire::TransferId;

/// Counts a request head that is being read from one address.
#[derive(Debug)]
pub struct HeadGuard {
    pub(super) registry: Arc<Registry>,
    pub(super) source: IpAddr,
}

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

impl Drop for HeadGuard {
    fn drop(&mut self) {
        let mut heads = lock(&self.registry.heads);
        if let Some(count) = heads.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                heads.remove(&self.source);
            }
        }
    }
}

impl Drop for PendingGuard {
    fn drop(&mut self) {
        lock(&self.registry.pending).remove(&self.id);
    }
}
