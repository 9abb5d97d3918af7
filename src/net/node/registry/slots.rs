//! Admission of connections: an address is limited to its share while connections are short, idle ones are evicted, and
//! a few are reserved for endpoints.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::time::Instant;

use super::conn::{Conn, SourceCounts, lock};
use super::counts::{Evictable, Slots};
use super::ending::Closing;
use super::{ConnGuard, Registry};
use crate::limits::{HEADS_PER_SOURCE, MAX_EVENT_STREAMS, MAX_EVENT_STREAMS_PER_SOURCE, RESERVED, RESERVED_PER_SOURCE};
use crate::snapshot::ConnState;

/// Shortest time between two searches for idle connections: a search iterates over all open ones, and a flood must not
/// repeat it constantly.
const SEARCH_INTERVAL: Duration = Duration::from_millis(50);
/// Time after which a reserved connection may be displaced by a newer one even while it is served.
const RESERVED_TIME: Duration = Duration::from_secs(1);

/// Result of admitting a new connection.
#[derive(Debug)]
pub enum Admission {
    /// A regular connection.
    Open(ConnGuard, HeadGuard),
    /// A reserved connection, served only if its request is for an endpoint.
    Reserved(ConnGuard),
    /// No slot.
    Refused,
}

/// Counts a request head that is being read, until dropped.
#[derive(Debug)]
pub struct HeadGuard {
    registry: Arc<Registry>,
    source: Arc<SourceCounts>,
}

/// Counts a reader of events, until dropped.
#[derive(Debug)]
pub struct ReaderGuard {
    registry: Arc<Registry>,
    address: IpAddr,
    source: Arc<SourceCounts>,
}

impl Registry {
    /// Admits or refuses a new connection.
    ///
    /// The share of an address is a quarter of the connections, and is enforced only once three quarters are active:
    /// all transfers of a chain come from the one address of the relay before, which must not be limited to a quarter
    /// of an idle node. So no address ever has the last quarter. Idle connections may fill the table, because they can
    /// be evicted: an address with more than its share of those gets the slot of its own longest idle connection; any
    /// other address gets that of an address over its share, or else of any address.
    pub fn admit(self: &Arc<Self>, peer: SocketAddr, slots: Slots, now: Instant) -> Admission {
        let source = self.counts.source(peer.ip());
        let counts = &self.counts;
        // Half of the connections, and so of the descriptors, are kept for those that have sent a request.
        let heads = source.heads.load(Relaxed) < HEADS_PER_SOURCE && counts.heads.load(Relaxed) < slots.0.div_ceil(2);
        let full = counts.open.load(Relaxed) >= slots.0;
        let has_room = || {
            let over = source.open.load(Relaxed) >= slots.share();
            !full || self.evict(over.then_some(&source), slots, now)
        };
        if heads && !counts.is_at_share(&source, slots) && has_room() {
            let head = self.count_head(&source);
            return Admission::Open(self.open_as(peer, source, false), head);
        }
        if self.free_reserved(&source) {
            return Admission::Reserved(self.open_as(peer, source, true));
        }
        self.counts.forget_if_unused(peer.ip(), &source);
        Admission::Refused
    }

    /// Returns how many active connections must end before they are no longer short.
    pub fn short_by(&self, slots: Slots) -> usize {
        (self.counts.active() + 1).saturating_sub(slots.short_from())
    }

    /// Returns the number of evicted idle connections.
    pub fn evicted(&self) -> u64 {
        self.counts.evicted.load(Relaxed) as u64
    }

    /// Registers a reader of events; `None` if its address, or all together, have as many as allowed.
    pub fn begin_reader(self: &Arc<Self>, peer: IpAddr) -> Option<ReaderGuard> {
        let source = self.counts.source(peer);
        if source.readers.load(Relaxed) >= MAX_EVENT_STREAMS_PER_SOURCE
            || self.counts.readers.load(Relaxed) >= MAX_EVENT_STREAMS
        {
            self.counts.forget_if_unused(peer, &source);
            return None;
        }
        source.readers.fetch_add(1, Relaxed);
        self.counts.readers.fetch_add(1, Relaxed);
        Some(ReaderGuard { registry: Arc::clone(self), address: peer, source })
    }

    /// Returns the number of streams of events being read.
    pub fn readers(&self) -> usize {
        self.counts.readers.load(Relaxed)
    }

    fn count_head(self: &Arc<Self>, source: &Arc<SourceCounts>) -> HeadGuard {
        source.heads.fetch_add(1, Relaxed);
        self.counts.heads.fetch_add(1, Relaxed);
        HeadGuard { registry: Arc::clone(self), source: Arc::clone(source) }
    }

    /// Closes the longest idle connection, of `only` this address or of any; false if there is none.
    fn evict(&self, only: Option<&Arc<SourceCounts>>, slots: Slots, now: Instant) -> bool {
        let mut idle = lock(&self.counts.evictable);
        if self.evict_found(&mut idle, only) {
            return true;
        }
        if idle.searched.is_some_and(|searched| now < searched + SEARCH_INTERVAL) {
            return false;
        }
        idle.searched = Some(now);
        let mut found: Vec<(bool, usize, Arc<Conn>)> = lock(&self.live)
            .values()
            .filter(|conn| !conn.reserved)
            .filter_map(|conn| {
                let order = lock(&conn.now).idle?;
                Some((conn.source.open.load(Relaxed) < slots.share(), order, Arc::clone(conn)))
            })
            .collect();
        // Connections of addresses over their share come first.
        found.sort_unstable_by_key(|(within_share, order, _)| (*within_share, *order));
        idle.found = found.into_iter().map(|(_, order, conn)| (order, conn)).collect();
        self.evict_found(&mut idle, only)
    }

    /// Closes the first connection found that is still idle.
    fn evict_found(&self, idle: &mut Evictable, only: Option<&Arc<SourceCounts>>) -> bool {
        let mut at = 0;
        while let Some((order, conn)) = idle.found.get(at) {
            if only.is_some_and(|only| !Arc::ptr_eq(only, &conn.source)) {
                at += 1;
                continue;
            }
            let evicted = lock(&conn.now).idle == Some(*order) && conn.ending.abort();
            if evicted {
                self.counts.set_state(conn, ConnState::Lingering);
            }
            idle.found.remove(at);
            if evicted {
                self.counts.evicted.fetch_add(1, Relaxed);
                return true;
            }
        }
        // Frees the empty queue.
        if idle.found.is_empty() {
            idle.found = VecDeque::new();
        }
        false
    }

    /// True if a reserved slot is free for this address, or was freed by displacing a connection: the first that has
    /// not sent its request head, else the first that has had its slot for more than a second.
    fn free_reserved(&self, source: &Arc<SourceCounts>) -> bool {
        let reserved = lock(&self.counts.reserved);
        let only_own = source.reserved.load(Relaxed) >= RESERVED_PER_SOURCE;
        if !only_own && reserved.len() < RESERVED {
            return true;
        }
        let now_us = self.clock.now_us();
        let candidates = || reserved.iter().filter(|conn| !only_own || Arc::ptr_eq(&conn.source, source));
        let silent = |conn: &&Arc<Conn>| !conn.ending.is_closing() && lock(&conn.now).state == ConnState::Head;
        let old = |conn: &&Arc<Conn>| {
            !conn.ending.is_closing() && now_us.saturating_sub(conn.accepted_us) > RESERVED_TIME.as_micros() as u64
        };
        let Some(conn) = candidates().find(silent).or_else(|| candidates().find(old)).cloned() else { return false };
        drop(reserved);
        conn.ending.close(Closing::Displaced);
        if lock(&conn.now).state != ConnState::Head {
            conn.ending.abort();
        }
        true
    }
}

impl ConnGuard {
    /// Returns whether it was admitted only for endpoint requests.
    pub fn is_reserved(&self) -> bool {
        self.conn.reserved
    }

    /// Registers another request head on this idle connection; `None` if its address has too many in progress, or its
    /// share of the active connections.
    ///
    /// The limit over all addresses applies to new connections: a flood of those must not cost existing connections
    /// their slots.
    pub fn begin_head(&self, slots: Slots) -> Option<HeadGuard> {
        let source = &self.conn.source;
        let admitted =
            source.heads.load(Relaxed) < HEADS_PER_SOURCE && !self.registry.counts.is_at_share(source, slots);
        admitted.then(|| self.registry.count_head(source))
    }
}

impl Drop for HeadGuard {
    fn drop(&mut self) {
        self.source.heads.fetch_sub(1, Relaxed);
        self.registry.counts.heads.fetch_sub(1, Relaxed);
    }
}

impl Drop for ReaderGuard {
    fn drop(&mut self) {
        self.source.readers.fetch_sub(1, Relaxed);
        self.registry.counts.readers.fetch_sub(1, Relaxed);
        self.registry.counts.forget_if_unused(self.address, &self.source);
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::AbortHandle;

    use super::*;
    use crate::net::os::clock::Clock;

    const SLOTS: Slots = Slots(16);

    fn registry() -> Arc<Registry> {
        Registry::new(Clock::start())
    }

    fn admit(registry: &Arc<Registry>, source: &str) -> Admission {
        registry.admit(SocketAddr::new(source.parse().unwrap(), 9), SLOTS, Instant::now())
    }

    /// Opens a connection in this state, served by a task that never ends by itself.
    fn open(registry: &Arc<Registry>, source: &str, state: ConnState) -> Option<(ConnGuard, AbortHandle)> {
        let Admission::Open(conn, _) = admit(registry, source) else { return None };
        let session = tokio::spawn(std::future::pending::<()>()).abort_handle();
        conn.conn().served_by(session.clone());
        conn.set_state(state);
        Some((conn, session))
    }

    /// Removes and returns the connections that were closed, after the aborted tasks have ended.
    async fn closed(conns: &mut Vec<(ConnGuard, AbortHandle)>) -> Vec<u64> {
        tokio::task::yield_now().await;
        let removed = conns.extract_if(.., |(_, session)| session.is_finished());
        removed.map(|(conn, _)| conn.conn.id).collect()
    }

    #[tokio::test]
    async fn pending_heads_are_limited_per_address_and_in_all() {
        let registry = registry();
        let mut held = Vec::new();
        let mut more = |source: &str, most| {
            let admitted = registry.admit(SocketAddr::new(source.parse().unwrap(), 9), Slots(most), Instant::now());
            let open = matches!(admitted, Admission::Open(..));
            held.push(admitted);
            open
        };
        assert!((0..HEADS_PER_SOURCE).all(|_| more("127.0.0.1", 10_000)));
        assert!(!more("127.0.0.1", 10_000) && !more("::ffff:127.0.0.1", 10_000));
        assert!(more("127.0.0.2", 10_000));
        assert!(!more("127.0.0.3", 2 * HEADS_PER_SOURCE), "all of them together are limited, too");
        assert!((0..HEADS_PER_SOURCE).all(|last| more(&format!("2001:db8::{last:x}"), 10_000)));
        assert!(!more("2001:db8::ffff:1", 10_000), "one network has 2^64 addresses");
        assert!(more("2001:db8:0:1::1", 10_000));
        held.clear();
        assert!(matches!(admit(&registry, "127.0.0.1"), Admission::Open(..)));
        assert!(lock(&registry.counts.sources).is_empty(), "an address without connections is forgotten");
    }

    #[tokio::test]
    async fn one_address_never_has_the_last_quarter_for_active_connections() {
        let registry = registry();
        let mut conns: Vec<_> = (0..12).map(|_| open(&registry, "10.0.0.1", ConnState::Streaming).unwrap()).collect();
        assert!(open(&registry, "10.0.0.1", ConnState::Streaming).is_none());
        conns.extend((0..4).map(|_| open(&registry, "10.0.0.2", ConnState::Streaming).unwrap()));
        assert!(open(&registry, "10.0.0.3", ConnState::Streaming).is_none(), "the table is full");
        assert_eq!(closed(&mut conns).await, [0; 0]);
        assert_eq!((registry.short_by(SLOTS), registry.evicted()), (5, 0));
        conns.truncate(11);
        assert_eq!(registry.short_by(SLOTS), 0);
        assert!(open(&registry, "10.0.0.1", ConnState::Streaming).is_some());
    }

    #[tokio::test]
    async fn an_idle_connection_needs_a_share_to_become_active() {
        let registry = registry();
        let idle: Vec<_> = (0..4).map(|_| open(&registry, "10.0.0.1", ConnState::Idle).unwrap()).collect();
        let _busy: Vec<_> = (0..12).map(|_| open(&registry, "10.0.0.1", ConnState::Streaming).unwrap()).collect();
        assert!(idle[0].0.begin_head(SLOTS).is_none());
        let other = open(&registry, "10.0.0.2", ConnState::Idle).unwrap();
        assert!(other.0.begin_head(SLOTS).is_some());
    }

    #[tokio::test]
    async fn idle_connections_are_evicted_longest_idle_first() {
        let registry = registry();
        let mut conns: Vec<_> = (0..12).map(|_| open(&registry, "10.0.0.1", ConnState::Idle).unwrap()).collect();
        conns.extend((0..4).map(|_| open(&registry, "10.0.0.2", ConnState::Idle).unwrap()));
        let (busy, again) = (conns[0].0.conn.id, conns[1].0.conn.id);
        conns[0].0.set_state(ConnState::Streaming);
        conns[1].0.set_state(ConnState::Head);
        conns[1].0.set_state(ConnState::Idle);
        let (mut removed, mut admitted) = (Vec::new(), Vec::new());
        for last in 0..15 {
            admitted.push(open(&registry, &format!("10.0.3.{last}"), ConnState::Connecting).unwrap());
            removed.extend(closed(&mut conns).await);
        }
        let expected: Vec<u64> = (3..=16).chain([again]).collect();
        assert_eq!((removed, conns[0].0.conn.id), (expected, busy));
        assert!(open(&registry, "10.0.3.15", ConnState::Connecting).is_none());
    }

    #[tokio::test]
    async fn an_address_over_its_share_only_evicts_its_own_connections() {
        let registry = registry();
        let mut conns: Vec<_> = (0..4).map(|_| open(&registry, "10.0.0.2", ConnState::Idle).unwrap()).collect();
        conns.extend((0..4).map(|_| open(&registry, "10.0.0.1", ConnState::Waiting).unwrap()));
        let others = ["10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8", "10.0.0.9"];
        conns.extend(others.map(|source| open(&registry, source, ConnState::Idle).unwrap()));
        conns.push(open(&registry, "10.0.0.1", ConnState::Idle).unwrap());
        let own = conns.last().unwrap().0.conn.id;
        conns.push(open(&registry, "10.0.0.1", ConnState::Waiting).unwrap());
        assert_eq!(closed(&mut conns).await, [own]);
        assert!(open(&registry, "10.0.0.1", ConnState::Waiting).is_none());
        assert_eq!((closed(&mut conns).await.len(), registry.evicted()), (0, 1));
    }

    #[tokio::test]
    async fn a_few_connections_are_reserved_and_the_newest_silent_ones_keep_them() {
        let registry = registry();
        let full: Vec<_> = (0..16).map(|last| open(&registry, &format!("10.0.1.{last}"), ConnState::Waiting)).collect();
        assert!(full.iter().all(Option::is_some));
        let reserved = |source: &str| match admit(&registry, source) {
            Admission::Reserved(conn) => Some(conn),
            Admission::Open(..) | Admission::Refused => None,
        };
        let silent: Vec<_> = (0..RESERVED_PER_SOURCE).map(|_| reserved("10.0.0.1").unwrap()).collect();
        let served = reserved("10.0.0.2").unwrap();
        served.set_state(ConnState::Admin);
        let fifth = reserved("10.0.0.1").unwrap();
        let closing = |conn: &ConnGuard| conn.conn.ending.is_closing();
        assert!(closing(&silent[0]) && !closing(&silent[1]) && !closing(&served) && !closing(&fifth));
        assert_eq!(silent[0].closing().await, Closing::Displaced);
        let others: Vec<_> = (0..20).map(|last| reserved(&format!("10.0.2.{last}")).unwrap()).collect();
        assert!(closing(&silent[1]) && !closing(&served) && !closing(&others[19]));
        drop((silent, served, fifth, others));
        assert!(lock(&registry.counts.reserved).is_empty());
    }
}
