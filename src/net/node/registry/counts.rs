//! Counts of open and idle connections, pending heads and readers, in total and per address.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use super::conn::{Conn, SourceCounts, lock};
use crate::snapshot::ConnState;

/// Maximum number of connections, from which the shares follow.
#[derive(Clone, Copy, Debug)]
pub struct Slots(pub usize);

/// Counts over all addresses.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) sources: Mutex<HashMap<IpAddr, Arc<SourceCounts>>>,
    pub(super) open: AtomicUsize,
    pub(super) idle: AtomicUsize,
    pub(super) heads: AtomicUsize,
    pub(super) readers: AtomicUsize,
    pub(super) evicted: AtomicUsize,
    pub(super) reserved: Mutex<VecDeque<Arc<Conn>>>,
    pub(super) evictable: Mutex<Evictable>,
    /// Incremented with every connection that becomes idle, so that the longest idle one has the smallest number.
    pub(super) idle_order: AtomicUsize,
}

/// Remaining results of the last search for idle connections, in order of eviction.
#[derive(Debug, Default)]
pub(super) struct Evictable {
    pub(super) found: VecDeque<(usize, Arc<Conn>)>,
    pub(super) searched: Option<Instant>,
}

impl Slots {
    /// Returns the number of active connections from which on addresses are limited to their shares, and bodies must
    /// keep a minimum rate.
    pub(super) fn short_from(self) -> usize {
        self.0 - self.0 / 4
    }

    /// Returns the active connections that one address may have while they are short.
    pub(super) fn share(self) -> usize {
        (self.0 / 4).max(1)
    }
}

impl Counts {
    pub(super) fn active(&self) -> usize {
        self.open.load(Relaxed).saturating_sub(self.idle.load(Relaxed))
    }

    /// Returns whether connections are short and this address has its share of the active ones.
    pub(super) fn is_at_share(&self, source: &SourceCounts, slots: Slots) -> bool {
        self.active() >= slots.short_from() && source.active() >= slots.share()
    }

    /// Returns the counts of an address, created if it is new.
    pub(super) fn source(&self, peer: IpAddr) -> Arc<SourceCounts> {
        Arc::clone(lock(&self.sources).entry(source_key(peer)).or_default())
    }

    /// Counts an admitted connection.
    pub(super) fn count_open(&self, source: &SourceCounts, reserved: bool) {
        if reserved {
            source.reserved.fetch_add(1, Relaxed);
        } else {
            source.open.fetch_add(1, Relaxed);
            self.open.fetch_add(1, Relaxed);
        }
    }

    /// Removes an ended connection from the counts.
    pub(super) fn count_closed(&self, conn: &Conn) {
        self.set_state(conn, ConnState::Lingering);
        if conn.reserved {
            conn.source.reserved.fetch_sub(1, Relaxed);
            lock(&self.reserved).retain(|other| other.id != conn.id);
        } else {
            conn.source.open.fetch_sub(1, Relaxed);
            self.open.fetch_sub(1, Relaxed);
        }
        self.forget_if_unused(conn.peer.ip(), &conn.source);
    }

    /// Sets the state of a connection.
    pub(super) fn set_state(&self, conn: &Conn, state: ConnState) {
        let mut now = lock(&conn.now);
        now.state = state;
        match (now.idle, state == ConnState::Idle) {
            (None, true) => {
                now.idle = Some(self.idle_order.fetch_add(1, Relaxed));
                conn.source.idle.fetch_add(1, Relaxed);
                self.idle.fetch_add(1, Relaxed);
            }
            (Some(_), false) => {
                now.idle = None;
                conn.source.idle.fetch_sub(1, Relaxed);
                self.idle.fetch_sub(1, Relaxed);
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    pub(super) fn remember_reserved(&self, conn: &Arc<Conn>) {
        lock(&self.reserved).push_back(Arc::clone(conn));
    }

    /// Removes an address without connections and readers.
    pub(super) fn forget_if_unused(&self, peer: IpAddr, source: &SourceCounts) {
        // A head always belongs to an open connection.
        let is_unused =
            || [&source.open, &source.reserved, &source.readers].iter().all(|count| count.load(Relaxed) == 0);
        if is_unused() {
            let (mut sources, peer) = (lock(&self.sources), source_key(peer));
            if is_unused() && sources.get(&peer).is_some_and(|known| std::ptr::eq(&raw const **known, source)) {
                sources.remove(&peer);
            }
        }
    }
}

/// Returns the key under which a peer is counted: its IPv4 address, or its IPv6 network, from which a host may take any
/// number of addresses.
fn source_key(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}
