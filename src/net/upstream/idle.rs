//! Idle connections to next hops, shared by all requests of a node, or of a client.
//!
//! Route, transfer id and credentials travel with each request, so a connection belongs to no client. One is kept only
//! if the reply was read to its announced end with nothing behind it, by an HTTP/1.1 server that keeps connections
//! open. Before it is used again, the socket must show neither bytes nor an end: bytes would be taken for the reply.
//! Such are the `408` that some servers send before they close an idle connection, and what a faulty server sends
//! behind a body.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::link::{Peer, UpstreamConn};
use crate::snapshot::UpstreamTotals;

/// Longest time for which a connection is kept: clients that fetch file after file are back by then, and few servers
/// close earlier without saying so.
const MAX_IDLE_TIME: Duration = Duration::from_secs(10);
/// Part of an announced timeout in which no request is sent any more: it might arrive after the server has closed.
const CLOSE_MARGIN: Duration = Duration::from_millis(500);
/// Limit on connections to one address that stay idle, so that one busy hop does not take the place of all others, and
/// does not find all its connection slots taken by one relay. Applied by the periodic check: in one turn of the runtime
/// the exchanges of many clients end before the next requests are read, and a limit at that moment would close and
/// reopen up to half of the connections of 64 clients.
const MAX_PER_HOP: usize = 32;
/// Time after which a connection beyond this limit counts as unused: longer than any turn of the runtime.
const UNUSED: Duration = Duration::from_millis(400);

/// Returns how long a connection may be idle, from the time that its server announced.
pub(super) fn idle_time(announced: Option<Duration>) -> Duration {
    announced.map_or(MAX_IDLE_TIME, |announced| announced.saturating_sub(CLOSE_MARGIN).min(MAX_IDLE_TIME))
}

/// The idle connections of a node or a client.
#[derive(Default)]
pub(super) struct IdleConnections(Mutex<Pool<UpstreamConn>>);

impl IdleConnections {
    /// Keeps a connection for the next request, unless `max` is 0. Another one may be closed instead.
    pub(super) fn put(&self, conn: UpstreamConn, max: usize) {
        let (peer, since) = (conn.peer.clone(), Instant::now());
        let expires = since + conn.idle_time;
        let (grown, verification_pending) = (conn.grown, conn.verification_pending);
        let entry = Entry { peer, since, expires, verification_pending, grown, conn };
        // Dropped when the lock is released: closing a socket takes as long as everything else here.
        let displaced = self.lock().put(entry, max);
        drop(displaced);
    }

    /// Takes the connection to a peer that was used last, if there is one that is silent. For a body, its buffers must
    /// not have grown.
    pub(super) fn take(&self, peer: &Peer, for_body: bool) -> Option<UpstreamConn> {
        let now = Instant::now();
        loop {
            let conn = self.lock().take(peer, for_body, now)?;
            if conn.is_silent() {
                return Some(conn);
            }
            self.lock().not_reused();
        }
    }

    /// Counts a connection that was closed, most likely while it was idle, before it replied to the request that took
    /// it.
    pub(super) fn closed_unanswered(&self) {
        self.lock().not_reused();
    }

    /// Counts a new connection.
    pub(super) fn opened(&self) {
        self.lock().totals.opened += 1;
    }

    /// Closes expired connections, those that are too many, and those that their servers have closed, which may wait
    /// for that; returns true if others are left.
    pub(super) fn close_expired(&self) -> bool {
        let (closed, left) = {
            let mut pool = self.lock();
            let closed = (pool.expire(Instant::now()), pool.remove_closed(UpstreamConn::is_silent));
            (closed, !pool.entries.is_empty())
        };
        drop(closed);
        left
    }

    /// Closes all connections but those over which a file may still have to be verified, and keeps no others from now
    /// on.
    pub(super) fn drain(&self) {
        let drained = self.lock().drain();
        drop(drained);
    }

    /// Returns the counts.
    pub(super) fn totals(&self) -> UpstreamTotals {
        let pool = self.lock();
        UpstreamTotals { idle: pool.entries.len() as u64, ..pool.totals }
    }

    /// Returns true if no idle connection has received anything.
    #[cfg(test)]
    pub(super) fn are_silent(&self) -> bool {
        self.lock().entries.iter().all(|entry| entry.conn.is_silent())
    }

    /// A panic elsewhere leaves nothing half-changed.
    fn lock(&self) -> MutexGuard<'_, Pool<UpstreamConn>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for IdleConnections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("IdleConnections").field(&self.totals()).finish()
    }
}

/// An idle connection.
#[derive(Debug)]
struct Entry<C> {
    peer: Peer,
    since: Instant,
    expires: Instant,
    /// It delivered a file whose verification may be requested next.
    verification_pending: bool,
    /// Its buffers have grown.
    grown: bool,
    conn: C,
}

/// The bookkeeping, independent of sockets and clocks.
#[derive(Debug)]
struct Pool<C> {
    /// In order of their last use. At most some hundred, nearly always of a few hops, of which the latest is wanted: a
    /// search from the end finds it at once.
    entries: Vec<Entry<C>>,
    totals: UpstreamTotals,
    draining: bool,
}

impl<C> Default for Pool<C> {
    fn default() -> Self {
        Self { entries: Vec::new(), totals: UpstreamTotals::default(), draining: false }
    }
}

impl<C> Pool<C> {
    /// Keeps a connection; returns the one to close instead, which may be the same.
    fn put(&mut self, entry: Entry<C>, max: usize) -> Option<Entry<C>> {
        if max == 0 || (self.draining && !entry.verification_pending) {
            return Some(entry);
        }
        // The one that was idle for longest is the first that its server would close.
        let displaced = (self.entries.len() >= max).then(|| self.entries.remove(0));
        self.totals.displaced += u64::from(displaced.is_some());
        self.entries.push(entry);
        displaced
    }

    /// Takes the connection to a peer that was used last; it counts as reused.
    fn take(&mut self, peer: &Peer, for_body: bool, now: Instant) -> Option<C> {
        let fits = |entry: &Entry<C>| entry.peer == *peer && entry.expires > now && !(for_body && entry.grown);
        let at = self.entries.iter().rposition(fits)?;
        self.totals.reused += 1;
        Some(self.entries.remove(at).conn)
    }

    /// Counts a connection that was taken as found closed instead of reused.
    fn not_reused(&mut self) {
        self.totals.reused -= 1;
        self.totals.found_closed += 1;
    }

    /// Removes expired connections, and the oldest unused ones of each hop that has too many.
    fn expire(&mut self, now: Instant) -> Vec<Entry<C>> {
        let mut expired: Vec<_> = self.entries.extract_if(.., |entry| entry.expires <= now).collect();
        self.totals.expired += expired.len() as u64;
        let mut of_hop = BTreeMap::<SocketAddr, usize>::new();
        for entry in &self.entries {
            *of_hop.entry(entry.peer.address).or_default() += 1;
        }
        let surplus = self.entries.extract_if(.., |entry| {
            let left = of_hop.entry(entry.peer.address).or_default();
            let removed = *left > MAX_PER_HOP && entry.since + UNUSED <= now;
            *left -= usize::from(removed);
            removed
        });
        let before = expired.len();
        expired.extend(surplus);
        self.totals.displaced += (expired.len() - before) as u64;
        if self.entries.is_empty() {
            self.entries = Vec::new();
        }
        expired
    }

    /// Removes connections that are not open and silent.
    fn remove_closed(&mut self, is_silent: impl Fn(&C) -> bool) -> Vec<Entry<C>> {
        let closed: Vec<_> = self.entries.extract_if(.., |entry| !is_silent(&entry.conn)).collect();
        self.totals.found_closed += closed.len() as u64;
        closed
    }

    fn drain(&mut self) -> Vec<Entry<C>> {
        self.draining = true;
        self.entries.extract_if(.., |entry| !entry.verification_pending).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Hop;

    const MAX: usize = 256;

    fn hop(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn entry(port: u16, conn: u32) -> Entry<u32> {
        let now = Instant::now();
        Entry { peer: peer(port), since: now, expires: now, verification_pending: false, grown: false, conn }
    }

    fn peer(port: u16) -> Peer {
        Peer { address: hop(port), encrypted: None }
    }

    /// The pool on a clock that starts at 0 s.
    struct Scene {
        pool: Pool<u32>,
        began: Instant,
    }

    impl Scene {
        fn new() -> Self {
            Self { pool: Pool::default(), began: Instant::now() }
        }

        fn put(&mut self, port: u16, conn: u32, expires: u64) -> Option<u32> {
            self.put_of(MAX, port, conn, expires)
        }

        fn put_of(&mut self, max: usize, port: u16, conn: u32, expires: u64) -> Option<u32> {
            let (since, expires) = (self.began, self.began + Duration::from_secs(expires));
            let entry = Entry { since, expires, ..entry(port, conn) };
            self.pool.put(entry, max).map(|entry| entry.conn)
        }

        fn take(&mut self, port: u16, now: u64) -> Option<u32> {
            self.pool.take(&peer(port), true, self.began + Duration::from_secs(now))
        }

        fn expire(&mut self, now: u64) -> Vec<u32> {
            let expired = self.pool.expire(self.began + Duration::from_secs(now));
            expired.into_iter().map(|entry| entry.conn).collect()
        }
    }

    #[test]
    fn the_latest_connection_of_the_same_address_is_taken_and_none_twice() {
        let mut scene = Scene::new();
        for (port, conn) in [(1, 10), (2, 20), (1, 11), (2, 21)] {
            assert_eq!(scene.put(port, conn, 10), None);
        }
        assert_eq!(scene.take(3, 0), None);
        assert_eq!((scene.take(1, 0), scene.take(1, 0), scene.take(1, 0)), (Some(11), Some(10), None));
        assert_eq!((scene.take(2, 0), scene.pool.entries.len(), scene.pool.totals.reused), (Some(21), 1, 3));
        scene.pool.not_reused();
        assert_eq!((scene.pool.totals.reused, scene.pool.totals.found_closed), (2, 1));
    }

    #[test]
    fn an_expired_connection_is_never_taken_and_is_closed_later() {
        let mut scene = Scene::new();
        for (conn, expires) in [(1, 10), (2, 3), (3, 9)] {
            scene.put(1, conn, expires);
        }
        // A server that announces a short time does not hide the others.
        assert_eq!((scene.take(1, 9), scene.take(1, 10)), (Some(1), None));
        assert_eq!((scene.expire(2), scene.expire(3), scene.expire(9)), (vec![], vec![2], vec![3]));
        assert_eq!((scene.pool.totals.expired, scene.pool.entries.capacity()), (2, 0), "memory is given back");
    }

    #[test]
    fn at_the_limit_of_the_node_the_oldest_connection_is_closed() {
        let mut scene = Scene::new();
        for conn in 0..MAX as u32 {
            assert_eq!(scene.put(1 + conn as u16 % 2, conn, 10), None);
        }
        assert_eq!((scene.put(3, 1000, 10), scene.put(3, 1001, 10)), (Some(0), Some(1)));
        assert_eq!((scene.pool.entries.len(), scene.pool.totals.displaced), (MAX, 2));
        assert_eq!(scene.put_of(4, 1, 7, 10), Some(2), "one out, one in, even with another limit");
    }

    #[test]
    fn more_connections_of_a_hop_than_its_limit_are_kept_only_while_they_are_in_use() {
        let mut scene = Scene::new();
        let per_hop = MAX_PER_HOP as u32;
        scene.put(9, 1000, 10);
        for conn in 0..2 * per_hop {
            assert_eq!(scene.put(1, conn, 10), None);
        }
        assert!(scene.expire(0).is_empty(), "between two requests");
        let oldest: Vec<u32> = (0..per_hop).collect();
        assert_eq!((scene.expire(1), scene.pool.totals.displaced), (oldest, u64::from(per_hop)));
        assert!(scene.expire(2).is_empty());
        assert_eq!((scene.take(1, 2), scene.take(9, 2)), (Some(2 * per_hop - 1), Some(1000)));
    }

    #[test]
    fn connections_that_their_servers_have_closed_are_removed_before_they_expire() {
        let mut scene = Scene::new();
        for conn in 1..=3 {
            scene.put(1, conn, 10);
        }
        let removed: Vec<_> = scene.pool.remove_closed(|conn| *conn == 2).into_iter().map(|entry| entry.conn).collect();
        assert_eq!((removed, scene.pool.totals.found_closed, scene.take(1, 0)), (vec![1, 3], 2, Some(2)));
    }

    #[test]
    fn a_limit_of_zero_keeps_none() {
        let mut scene = Scene::new();
        assert_eq!((scene.put_of(0, 1, 5, 10), scene.take(1, 0)), (Some(5), None));
        assert_eq!(scene.pool.totals, UpstreamTotals::default());
    }

    #[test]
    fn a_draining_pool_keeps_only_what_a_verification_may_need() {
        let mut scene = Scene::new();
        let expires = scene.began + Duration::from_secs(10);
        let since = scene.began;
        let pending = |conn| Entry { since, expires, verification_pending: true, ..entry(1, conn) };
        scene.put(1, 1, 10);
        scene.pool.put(pending(2), MAX);
        let drained: Vec<_> = scene.pool.drain().into_iter().map(|entry| entry.conn).collect();
        assert_eq!((drained, scene.put(1, 3, 10)), (vec![1], Some(3)));
        assert!(scene.pool.put(pending(4), MAX).is_none());
        assert_eq!((scene.take(1, 0), scene.take(1, 0), scene.take(1, 0)), (Some(4), Some(2), None));
    }

    #[test]
    fn a_connection_with_grown_buffers_carries_no_other_body() {
        let mut scene = Scene::new();
        let (since, expires) = (scene.began, scene.began + Duration::from_secs(10));
        scene.put(1, 1, 10);
        let grown = Entry { since, expires, verification_pending: true, grown: true, ..entry(1, 2) };
        assert!(scene.pool.put(grown, MAX).is_none());
        assert_eq!((scene.take(1, 0), scene.take(1, 0)), (Some(1), None));
        assert_eq!(scene.pool.take(&peer(1), false, scene.began), Some(2));
    }

    #[test]
    fn an_announced_timeout_shortens_the_time_and_never_prolongs_it() {
        for (announced, expected) in [(None, 10_000), (Some(60), 10_000), (Some(5), 4500), (Some(1), 500), (Some(0), 0)]
        {
            let expected = Duration::from_millis(expected);
            assert_eq!(idle_time(announced.map(Duration::from_secs)), expected, "{announced:?}");
        }
    }

    #[test]
    fn an_encrypted_connection_carries_only_requests_to_the_same_end_over_the_same_relays() {
        let mut scene = Scene::new();
        let (since, expires) = (scene.began, scene.began + Duration::from_secs(10));
        let route = |text: &str| Peer {
            encrypted: Some(text.split(',').map(|hop| Hop::parse_line(hop).unwrap()).collect()),
            ..peer(1)
        };
        let key = "key=sha256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let peer = route(&format!("a 1,b 2 {key}"));
        assert!(scene.pool.put(Entry { since, expires, peer: peer.clone(), ..entry(1, 1) }, MAX).is_none());
        assert_eq!(scene.take(1, 0), None, "the relay itself is another peer");
        for other in [format!("b 2 {key}"), format!("a 1,c 3,b 2 {key}"), "a 1,b 2".to_owned()] {
            assert_eq!(scene.pool.take(&route(&other), true, scene.began), None, "{other}");
        }
        assert_eq!(scene.pool.take(&peer, true, scene.began), Some(1));
    }
}
