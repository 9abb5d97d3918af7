//! Registry of a node: live connections, recent transfers, and copies of both for reports.

mod audited;
mod begin;
mod close;
mod conn;
mod counts;
mod ending;
mod evidence;
mod finished;
mod next_hop;
mod pending;
mod record;
mod slots;
mod slow;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use super::audit::Audit;
use crate::net::os::clock::Clock;
use crate::route::{HostPort, Protocol};
use crate::snapshot::{ConnState, Flow, MAX_CONNECTIONS, NodeSnapshot, Totals, TransferRecord};
use crate::text::SafeText;
use crate::wire::{Method, Problem, Reason, TransferId};

pub use conn::{Conn, FileRequest};
use conn::{Requested, SourceCounts, lock};
use counts::Counts;
pub use counts::Slots;
pub use ending::Closing;
use ending::Ending;
pub use evidence::WatchedSockets;
use next_hop::NextHop;
pub use pending::PendingGuard;
use record::{Outcome, RequestRecord};
pub use slots::{Admission, HeadGuard, ReaderGuard};
pub use slow::SlowBodies;

/// Number of ended transfers whose record is kept, at about half a kilobyte each.
const HISTORY: usize = 1024;

/// Requests that a node has sent upstream: transfer id and length of the route behind the node, with their number.
type PendingRequests = BTreeMap<(TransferId, usize), usize>;

/// All connections and recent transfers of a node.
///
/// Locks are held for a few instructions, at state changes and when a copy is made, never across a wait and never per
/// chunk: the copy loop writes to a `Meter`, which has no lock.
#[derive(Debug)]
pub struct Registry {
    clock: Clock,
    audit: Audit,
    next_id: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    denied: AtomicU64,
    served: AtomicU64,
    tunnels: AtomicU64,
    jobs: AtomicU64,
    live: Mutex<BTreeMap<u64, Arc<Conn>>>,
    ended: Mutex<EndedTransfers>,
    counts: Counts,
    pending: Mutex<PendingRequests>,
}

/// Totals and records of ended transfers.
#[derive(Debug, Default)]
struct EndedTransfers {
    flow: Flow,
    upstream_flow: Flow,
    failed: BTreeMap<Reason, u64>,
    jobs: VecDeque<Arc<FileRequest>>,
}

/// Keeps a connection in the registry until dropped.
#[derive(Debug)]
pub struct ConnGuard {
    registry: Arc<Registry>,
    conn: Arc<Conn>,
}

/// Keeps a file request on its connection until dropped; the record outlives it.
#[derive(Debug)]
pub struct FileRequestGuard<'a> {
    conn: &'a ConnGuard,
    job: Arc<FileRequest>,
}

impl Registry {
    /// Creates an empty registry that uses this clock, without an audit.
    #[cfg(test)]
    pub fn new(clock: Clock) -> Arc<Self> {
        Self::audited(clock, Audit::default())
    }

    /// Creates an empty registry that uses this clock and audit.
    pub fn audited(clock: Clock, audit: Audit) -> Arc<Self> {
        Arc::new(Self {
            clock,
            audit,
            next_id: AtomicU64::new(1),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            served: AtomicU64::new(0),
            tunnels: AtomicU64::new(0),
            jobs: AtomicU64::new(0),
            live: Mutex::default(),
            ended: Mutex::default(),
            counts: Counts::default(),
            pending: Mutex::default(),
        })
    }

    /// Returns the clock of all times.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Returns the audit of the node.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Registers an accepted connection without checking any limit.
    pub fn open(self: &Arc<Self>, peer: SocketAddr) -> ConnGuard {
        self.open_as(peer, self.counts.source(peer.ip()), false)
    }

    fn open_as(self: &Arc<Self>, peer: SocketAddr, source: Arc<SourceCounts>, reserved: bool) -> ConnGuard {
        self.counts.count_open(&source, reserved);
        self.accepted.fetch_add(1, Relaxed);
        let id = self.next_id.fetch_add(1, Relaxed);
        let conn = Arc::new(Conn {
            id,
            peer,
            accepted_us: self.clock.now_us(),
            source,
            reserved,
            now: Mutex::default(),
            ending: Ending::default(),
        });
        lock(&self.live).insert(id, Arc::clone(&conn));
        if reserved {
            self.counts.remember_reserved(&conn);
        }
        ConnGuard { registry: Arc::clone(self), conn }
    }

    /// Counts a rejected connection.
    pub fn refuse(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Counts a connection from an address that is not served.
    pub fn deny(&self) {
        self.denied.fetch_add(1, Relaxed);
    }

    /// Returns the number of open connections.
    pub fn open_count(&self) -> usize {
        lock(&self.live).len()
    }

    /// Returns this node's record of a transfer; a request for the file itself is preferred to one for its size or
    /// digest.
    pub fn record(&self, id: TransferId) -> Option<TransferRecord> {
        let live: Vec<Arc<FileRequest>> =
            lock(&self.live).values().filter_map(|conn| lock(&conn.now).job.clone()).collect();
        let ended: Vec<Arc<FileRequest>> = lock(&self.ended).jobs.iter().cloned().collect();
        let known = || live.iter().chain(ended.iter().rev()).filter(|job| job.id == id);
        known().find(|job| job.is_whole()).or_else(|| known().next()).map(|job| job.record(self.clock))
    }

    /// Returns the number of failed requests by reason.
    pub fn failures(&self) -> BTreeMap<Reason, u64> {
        lock(&self.ended).failed.clone()
    }

    /// Returns the number of open connections by state.
    pub fn states(&self) -> HashMap<ConnState, u64> {
        let conns: Vec<Arc<Conn>> = lock(&self.live).values().cloned().collect();
        let mut states = HashMap::new();
        for conn in conns {
            *states.entry(lock(&conn.now).state).or_default() += 1;
        }
        states
    }

    /// Returns the counters since the start.
    pub fn totals(&self) -> Totals {
        let conns: Vec<Arc<Conn>> = lock(&self.live).values().cloned().collect();
        let now_us = self.clock.now_us();
        let ended = lock(&self.ended);
        let (mut flow, mut upstream_flow) = (ended.flow, ended.upstream_flow);
        for conn in &conns {
            if let Some(job) = &lock(&conn.now).job {
                flow.add(&job.meter.flow(now_us));
                if let Some(meter) = job.upstream_meter() {
                    upstream_flow.add(&meter.flow(now_us));
                }
            }
        }
        Totals {
            open: conns.len() as u64,
            accepted: self.accepted.load(Relaxed),
            refused: self.refused.load(Relaxed),
            denied: self.denied.load(Relaxed),
            served: self.served.load(Relaxed),
            failed: ended.failed.values().sum(),
            tunnels: self.tunnels.load(Relaxed),
            flow,
            upstream_flow,
        }
    }

    /// Copies times, counters and connections into a snapshot.
    pub fn fill(&self, snapshot: &mut NodeSnapshot) {
        snapshot.uptime_us = self.clock.now_us();
        snapshot.totals = self.totals();
        let conns: Vec<Arc<Conn>> = lock(&self.live).values().cloned().collect();
        snapshot.connections = conns.iter().take(MAX_CONNECTIONS).map(|conn| conn.snapshot(self.clock)).collect();
        snapshot.omitted = (conns.len() - snapshot.connections.len()) as u64;
    }
}

impl ConnGuard {
    /// Returns the peer's address.
    pub fn peer(&self) -> SocketAddr {
        self.conn.peer
    }

    /// Sets the state of the connection.
    pub fn set_state(&self, state: ConnState) {
        self.registry.counts.set_state(&self.conn, state);
    }

    /// Returns the state of the connection.
    pub fn state(&self) -> ConnState {
        lock(&self.conn.now).state
    }

    /// Returns whether no connection was accepted since.
    pub(in crate::net) fn is_newest(&self) -> bool {
        self.registry.next_id.load(Relaxed) == self.conn.id + 1
    }

    /// Returns the number of file requests being served, on all connections.
    pub(in crate::net) fn requests(&self) -> u64 {
        self.registry.jobs.load(Relaxed)
    }
}

impl FileRequestGuard<'_> {
    /// Returns its connection.
    pub(in crate::net) fn connection(&self) -> &ConnGuard {
        self.conn
    }

    /// Returns the shared part of the request; a clone can be passed to the copy loop.
    pub fn job(&self) -> &Arc<FileRequest> {
        &self.job
    }

    /// Returns the requested name, sanitized for display.
    pub fn name(&self) -> SafeText {
        lock(&self.job.record).name.clone()
    }

    /// Returns the client's address.
    pub fn peer(&self) -> SocketAddr {
        self.conn.peer()
    }

    /// Changes its record.
    pub fn update(&self, change: impl FnOnce(&mut RequestRecord)) {
        change(&mut lock(&self.job.record));
    }

    /// Sets the state of the connection, and of this request.
    pub fn set_state(&self, state: ConnState) {
        self.conn.set_state(state);
        self.update(|record| record.state = state);
    }

    /// Records the time at which the head of its reply was ready.
    pub fn record_head(&self) {
        let head_ms = self.job.since_ms(self.conn.registry.clock.now_us());
        self.update(|record| record.head_ms = Some(head_ms));
    }

    /// Sets the hop that the request is relayed to.
    pub fn set_upstream(&self, hop: &HostPort) {
        *lock(&self.job.next) = NextHop::to(hop);
    }

    /// Sets the address and protocol that the next hop replied with.
    pub fn set_upstream_addr(&self, address: SocketAddr, protocol: Protocol) {
        lock(&self.job.next).set_addr(address, protocol);
    }

    /// Records that the reply was sent completely, or that the tunnel is open.
    pub fn served(&self) {
        match &self.job.requested {
            Requested::File(method) => {
                self.conn.registry.served.fetch_add(u64::from(*method == Method::Get), Relaxed);
                self.ended_well();
            }
            Requested::Tunnel(_) => {
                self.conn.registry.tunnels.fetch_add(1, Relaxed);
            }
        }
    }

    /// Records that it has ended as it should: a file when it was sent, a tunnel when both directions have ended.
    pub fn ended_well(&self) {
        self.update(|record| record.outcome = Outcome::Served);
    }

    /// Records that the request failed.
    pub fn failed(&self, problem: &Problem) {
        self.update(|record| {
            record.error = Some(problem.to_string().into());
            record.outcome = Outcome::Failed(problem.into());
        });
        *lock(&self.conn.registry.ended).failed.entry(problem.reason).or_default() += 1;
    }
}

impl Drop for ConnGuard {
    fn drop(&mut self) {
        lock(&self.registry.live).remove(&self.conn.id);
        self.registry.counts.count_closed(&self.conn);
    }
}

impl Drop for FileRequestGuard<'_> {
    fn drop(&mut self) {
        self.conn.registry.jobs.fetch_sub(1, Relaxed);
        // A body that was sent has just ended.
        let now_us = self.job.ended_us().unwrap_or_else(|| self.conn.registry.clock.now_us());
        self.job.meter.end(now_us);
        let flow = self.job.meter.flow(now_us);
        let upstream_flow = self.job.upstream_meter().map(|meter| {
            meter.end(now_us);
            meter.flow(now_us)
        });
        self.update(|record| record.ended = true);
        // The request is moved from the connection to the ended ones under one lock, or a copy made in between would
        // count its bytes twice or not at all.
        let mut ended = lock(&self.conn.registry.ended);
        let mut now = lock(&self.conn.conn.now);
        now.job = None;
        now.past.add(&flow);
        ended.flow.add(&flow);
        if let Some(flow) = &upstream_flow {
            ended.upstream_flow.add(flow);
        }
        ended.jobs.push_back(Arc::clone(&self.job));
        if ended.jobs.len() > HISTORY {
            ended.jobs.pop_front();
        }
        drop((ended, now));
        finished::log(&self.job, self.peer(), &flow, now_us);
        let registry = &self.conn.registry;
        finished::audit(&registry.audit, registry.clock, &self.job, self.peer(), &flow, now_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::FileName;

    fn registry() -> Arc<Registry> {
        Registry::new(Clock::start())
    }

    fn peer() -> SocketAddr {
        "127.0.0.1:9".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_are_counted_once_while_a_transfer_runs_and_after() {
        let registry = registry();
        let conn = registry.open(peer());
        let name = FileName::new(b"f").unwrap();
        let job = conn.begin_job(TransferId(1 << 100), Method::Get, &name, Protocol::Http);
        job.job().meter.begin(0);
        job.job().meter.record_read(5);
        job.job().meter.record_write(5);
        assert_eq!(registry.totals().flow.bytes_out, 5);
        assert!(!registry.record(TransferId(1 << 100)).unwrap().ended);
        drop(job);
        assert_eq!(registry.totals().flow.bytes_out, 5);
        let mut snapshot = NodeSnapshot::default();
        registry.fill(&mut snapshot);
        assert_eq!((snapshot.connections[0].flow.bytes_out, snapshot.totals.open), (5, 1));
        drop(conn);
        assert_eq!((registry.totals().flow.bytes_out, registry.open_count()), (5, 0));
        assert!(registry.record(TransferId(1 << 100)).unwrap().ended);
        assert!(registry.record(TransferId(2)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_comes_back_is_a_loop_and_one_that_is_repeated_is_not() {
        let registry = registry();
        let id = TransferId(3);
        let setup = registry.begin_setup(id, 2).unwrap();
        let repeated = registry.begin_setup(id, 2).unwrap();
        assert!(registry.begin_setup(id, 1).is_none() && registry.has_come_back(id, 0));
        assert!(!registry.has_come_back(TransferId(2), 0) && !registry.has_come_back(TransferId(4), 0));
        drop(setup);
        assert!(registry.has_come_back(id, 1));
        drop(repeated);
        assert!(!registry.has_come_back(id, 0) && registry.begin_setup(id, 1).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn history_is_bounded() {
        let registry = registry();
        let conn = registry.open(peer());
        let name = FileName::new(b"f").unwrap();
        for id in 0..=HISTORY as u128 {
            drop(conn.begin_job(TransferId(id), Method::Get, &name, Protocol::Http));
        }
        assert!(registry.record(TransferId(0)).is_none() && registry.record(TransferId(1)).is_some());
    }
}
