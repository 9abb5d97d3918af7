//! What is being set up: request heads by address, and transfers whose reply head is pending.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::{Registry, lock};
use crate::wire::TransferId;

/// Request heads that are being read.
#[derive(Debug, Default)]
pub(super) struct Heads {
    by_source: BTreeMap<IpAddr, usize>,
    all: usize,
}

/// Counts a request head that is being read from one source.
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
    /// A request head begins; `None` where its source, or all of them together, have so many under way already.
    pub fn begin_head(self: &Arc<Self>, peer: IpAddr, each: usize, all: usize) -> Option<HeadGuard> {
        let source = source(peer);
        let mut heads = lock(&self.heads);
        if heads.all >= all || heads.by_source.get(&source).is_some_and(|count| *count >= each) {
            return None;
        }
        heads.all += 1;
        *heads.by_source.entry(source).or_default() += 1;
        Some(HeadGuard { registry: Arc::clone(self), source })
    }

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
        heads.all -= 1;
        if let Some(count) = heads.by_source.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                heads.by_source.remove(&self.source);
            }
        }
    }
}

/// Who is counted as one: an IPv4 address, or the IPv6 network from which a host takes as many addresses as it likes.
fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Drop for PendingGuard {
    fn drop(&mut self) {
        lock(&self.registry.pending).remove(&self.id);
    }
}
