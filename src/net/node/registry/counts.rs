//! Counts of connections, idle ones, heads and readers, over all addresses and for each.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use super::conn::{Conn, SourceCounts, lock};
use crate::snapshot::ConnState;

/// How many connections there may be; what a share is follows from that.
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
    /// Grows with every connection that becomes idle, so that the longest idle one has the smallest number.
    pub(super) idle_order: AtomicUsize,
}

/// What the last search for idle connections found and nobody has used yet, the first to go at the front.
#[derive(Debug, Default)]
pub(super) struct Evictable {
    pub(super) found: VecDeque<(usize, Arc<Conn>)>,
    pub(super) searched: Option<Instant>,
}

impl Slots {
    /// From so many active connections on, addresses are held to their shares, and bodies to a minimum rate.
    pub(super) fn short_from(self) -> usize {
        self.0 - self.0 / 4
    }

    /// The active connections that one address may have while they are short.
    pub(super) fn share(self) -> usize {
        (self.0 / 4).max(1)
    }
}

impl Counts {
    pub(super) fn active(&self) -> usize {
        self.open.load(Relaxed).saturating_sub(self.idle.load(Relaxed))
    }

    /// This address has its share of the active connections, and they are short.
    pub(super) fn has_its_share(&self, source: &SourceCounts, slots: Slots) -> bool {
        self.active() >= slots.short_from() && source.active() >= slots.share()
    }

    /// What an address has; a new one has nothing yet.
    pub(super) fn source(&self, peer: IpAddr) -> Arc<SourceCounts> {
        Arc::clone(lock(&self.sources).entry(counted_as(peer)).or_default())
    }

    /// Counts a connection that was let in.
    pub(super) fn count_open(&self, source: &SourceCounts, reserved: bool) {
        if reserved {
            source.reserved.fetch_add(1, Relaxed);
        } else {
            source.open.fetch_add(1, Relaxed);
            self.open.fetch_add(1, Relaxed);
        }
    }

    /// A connection that was counted has ended.
    pub(super) fn count_closed(&self, conn: &Conn) {
        self.set_state(conn, ConnState::Lingering);
        if conn.reserved {
            conn.source.reserved.fetch_sub(1, Relaxed);
            lock(&self.reserved).retain(|other| other.id != conn.id);
        } else {
            conn.source.open.fetch_sub(1, Relaxed);
            self.open.fetch_sub(1, Relaxed);
        }
        self.leave(conn.peer.ip(), &conn.source);
    }

    /// What a connection does from now on.
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

    /// Forgets an address that has nothing any more.
    pub(super) fn leave(&self, peer: IpAddr, source: &SourceCounts) {
        // A head is always that of an open connection.
        let has_nothing =
            || [&source.open, &source.reserved, &source.readers].iter().all(|count| count.load(Relaxed) == 0);
        if has_nothing() {
            let (mut sources, peer) = (lock(&self.sources), counted_as(peer));
            if has_nothing() && sources.get(&peer).is_some_and(|known| std::ptr::eq(&raw const **known, source)) {
                sources.remove(&peer);
            }
        }
    }
}

/// Who is counted as one: an IPv4 address, or the IPv6 network from which a host takes as many addresses as it likes.
fn counted_as(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}
