//! A node: its configuration, and what its sessions share.

pub mod digests;
pub mod drain;
pub(super) mod latest_line;
pub mod listings;
pub mod registry;
pub mod root;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use self::digests::Digests;
use self::drain::Drain;
use self::latest_line::{LatestLine, Line};
use self::listings::Listings;
use self::registry::Registry;
use self::root::Root;
use crate::allow_list::Purpose;
use crate::faults::Faults;
use crate::limits::Limits;
use crate::meter::{SlidingWindow, WINDOW_US};
use crate::net::access::{Access, LocalPeers};
use crate::net::body::splice::Pipes;
use crate::net::faults::LiveFaults;
use crate::net::os::clock::Clock;
use crate::net::os::machine::Machine;
use crate::net::os::random;
use crate::net::os::starvation::SchedDelayProbe;
use crate::net::upstream::Upstream;
use crate::net::upstream::policy::Policy;
use crate::net::upstream::protocols::ProtocolCache;
use crate::net::upstream::resolve::Resolver;
use crate::options::LocalUsers;
use crate::route::Protocol;
use crate::snapshot::{Flow, Load, NodeSnapshot, TransferRecord};
use crate::verdict::{LocalLimit, Stage};
use crate::wire::{Request, TransferId};

/// How a relay writes itself down.
pub const VIA: &str = "1.1 chainview";

/// What a node is told when it starts.
#[derive(Debug)]
pub struct NodeConfig {
    /// What it serves.
    pub root: Root,
    /// Whom it may connect to.
    pub policy: Policy,
    /// Who may read its pages.
    pub access: Access,
    /// How long anything may take.
    pub limits: Limits,
    /// How its faults stand when it starts.
    pub faults: Faults,
    /// Most connections at once.
    pub max_connections: usize,
    /// The wire of next hops that are not marked with one; `None` finds out.
    pub protocol: Option<Protocol>,
    /// What looks up the names of next hops.
    pub resolver: Resolver,
}

#[cfg(test)]
impl NodeConfig {
    /// A configuration for tests: the defaults, at this address, with this folder.
    pub fn of_test(address: SocketAddr, root: Root) -> Self {
        Self {
            root,
            policy: Policy::default(),
            access: Access::new(address),
            limits: Limits::default(),
            faults: Faults::default(),
            max_connections: 64,
            protocol: None,
            resolver: Resolver::default(),
        }
    }
}

/// A listening node; its sessions share it.
#[derive(Debug)]
pub struct Node {
    /// What it was told.
    pub config: NodeConfig,
    /// The listener's own address.
    pub address: SocketAddr,
    /// Who is connected.
    pub registry: Arc<Registry>,
    /// How its faults stand now.
    pub faults: LiveFaults,
    /// Digests of what it serves.
    pub digests: Arc<Digests>,
    /// The newest line of events, shared by those who read them.
    latest: LatestLine,
    /// Who lists its folders.
    pub listings: Listings,
    /// Files that changed after their last byte was sent, perhaps before their readers had it.
    pub late_changes: AtomicU64,
    /// What bodies are spliced through.
    pub pipes: Arc<Pipes>,
    /// Like that of every accepted connection, and never used itself.
    upstream: Upstream,
    peers: LocalPeers,
    drain: OnceLock<Drain>,
    /// Cancelled when a draining node has nothing left but readers of its events.
    finished: CancellationToken,
    recent: Mutex<SlidingWindow<Flow>>,
    /// Beats while somebody holds it, and what it has counted so far, in µs.
    pulse: Mutex<Weak<SchedDelayProbe>>,
    sched_delay_us: Arc<AtomicU64>,
    id: String,
}

impl Node {
    /// A node for a listener that is bound to `address`.
    pub fn new(config: NodeConfig, address: SocketAddr) -> Arc<Self> {
        let policy = config.policy.clone();
        let judge = Arc::new(move |address, purpose: Purpose<'_>| policy.allows(address, purpose));
        Arc::new(Self {
            faults: LiveFaults::new(config.faults),
            upstream: Upstream::new(
                Arc::new(ProtocolCache::new(config.resolver.clone())),
                config.limits,
                judge,
                config.protocol,
            ),
            config,
            peers: LocalPeers::new(),
            address,
            registry: Registry::new(Clock::start()),
            digests: Arc::default(),
            latest: LatestLine::default(),
            listings: Listings::default(),
            late_changes: AtomicU64::default(),
            pipes: Arc::default(),
            drain: OnceLock::new(),
            finished: CancellationToken::new(),
            recent: Mutex::default(),
            pulse: Mutex::default(),
            sched_delay_us: Arc::default(),
            id: random::word(),
        })
    }

    /// Takes the signal to drain, unless there is one already; the answer is the one that counts.
    pub(in crate::net) fn drain_by(&self, drain: Drain) -> &Drain {
        self.drain.get_or_init(|| drain)
    }

    /// Ends the streams of events: a draining node has nothing else left.
    pub(in crate::net) fn finish(&self) {
        self.finished.cancel();
    }

    /// Waits until a draining node has nothing left but readers of its events, or has to end at once.
    pub(in crate::net) fn finished(&self) -> impl Future<Output = ()> + Send + use<> {
        let (finished, drain) = (self.finished.clone(), self.drain().clone());
        async move {
            tokio::select! {
                () = finished.cancelled() => {}
                () = drain.forced() => {}
            }
        }
    }

    /// The machine it runs on.
    pub(in crate::net) fn machine(&self) -> Machine {
        self.config.root.machine()
    }

    /// How far leaving is; nothing leaves before the node runs.
    pub fn drain(&self) -> &Drain {
        self.drain.get_or_init(Drain::new)
    }

    /// It takes no new work.
    pub fn draining(&self) -> bool {
        self.drain().is_draining()
    }

    /// A way to next hops for one accepted connection.
    pub fn upstream(&self) -> Upstream {
        self.upstream.another()
    }

    /// The address that a connection came to, where the listener's own does not say it.
    pub fn met_at(&self, stream: &TcpStream) -> Option<SocketAddr> {
        if self.address.ip().is_unspecified() { stream.local_addr().ok() } else { None }
    }

    /// Whether a connection may ask for anything; the error says in words why not.
    ///
    /// Asked once for each connection, when its first request is there: a connection keeps the user it was made by.
    ///
    /// # Errors
    /// A sentence for the client if `--local-users own` applies and the connection is of another user.
    pub fn admits(&self, stream: &TcpStream, peer: SocketAddr) -> Result<(), String> {
        match self.config.access.local_users {
            LocalUsers::Any => Ok(()),
            LocalUsers::Own => self.peers.admits(peer, self.met_at(stream).unwrap_or(self.address)),
        }
    }

    /// The address by which a request calls this node; its own where the request does not say.
    pub fn called(&self, request: &Request) -> String {
        request.host.as_ref().map_or_else(|| self.address.to_string(), ToString::to_string)
    }

    /// What this node knows of a transfer.
    pub fn account(&self, id: TransferId) -> Option<TransferRecord> {
        let account = self.registry.account(id)?;
        // Faults can be turned while a body moves; those of one that is over are as they were.
        let faults = if account.ended { account.faults } else { self.faults.now() };
        Some(TransferRecord { faults, load: (self.machine().load)(), ..account })
    }

    /// What limits its bodies by its own account, over the last second of those that moved.
    pub fn alone(&self) -> LocalLimit {
        let flow = self.look().unwrap_or_default();
        LocalLimit::of(&Stage { flow, faults: self.faults.now(), ..Stage::default() })
    }

    /// Closes what was opened ahead.
    pub(in crate::net) fn close_spares(&self) {
        self.upstream.spares().close_all();
    }

    /// Closes what was opened ahead in vain; true if something is left for later.
    pub(crate) fn tidy(&self) -> bool {
        self.upstream.spares().close_old()
    }

    /// Looks at what its bodies have done so far; the answer is what they did lately.
    pub(in crate::net) fn look(&self) -> Option<Flow> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.feed(self.registry.clock().now_us(), self.registry.totals().flow, WINDOW_US);
        recent.change()
    }

    /// How long this node is not running counts for as long as somebody holds this.
    pub(crate) fn pulse(&self) -> Arc<SchedDelayProbe> {
        let mut pulse = self.pulse.lock().unwrap_or_else(PoisonError::into_inner);
        pulse.upgrade().unwrap_or_else(|| {
            let sched_delay_us = Arc::clone(&self.sched_delay_us);
            let started = Arc::new(SchedDelayProbe::start(self.machine(), move |us| {
                sched_delay_us.fetch_add(us, Relaxed);
            }));
            *pulse = Arc::downgrade(&started);
            started
        })
    }

    /// The node at this moment.
    pub fn snapshot(&self) -> NodeSnapshot {
        let mut snapshot = NodeSnapshot {
            version: env!("CARGO_PKG_VERSION").into(),
            node: self.id.as_str().into(),
            pid: std::process::id(),
            address: self.address.to_string().into(),
            policy: self.config.policy.to_string().into(),
            protocols: vec!["http".into(), "legacy".into()],
            draining: self.draining(),
            faults: self.faults.now(),
            load: (self.machine().load)()
                .map(|load| Load { sched_delay_us: self.sched_delay_us.load(Relaxed), ..load }),
            ..NodeSnapshot::default()
        };
        self.registry.fill(&mut snapshot);
        snapshot
    }

    /// The newest line of events, or a new one where that is old.
    pub(in crate::net) fn latest_line(&self) -> Result<Line, serde_json::Error> {
        self.latest.get(self.drain(), || self.snapshot())
    }
}
