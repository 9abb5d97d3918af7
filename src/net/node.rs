//! A node: its configuration, and what its sessions share.

pub mod audit;
pub mod digests;
pub mod drain;
pub mod folder_work;
pub(super) mod latest_line;
pub mod registry;
pub mod root;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::SystemTime;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use self::audit::{Audit, AuditWriter};
use self::digests::Digests;
use self::drain::Drain;
use self::folder_work::FolderWork;
use self::latest_line::{EventLine, LatestLine};
use self::registry::Registry;
use self::root::Root;
use crate::allow_list::Purpose;
use crate::faults::Faults;
use crate::keys::Fingerprint;
use crate::limits::Limits;
use crate::meter::{SlidingWindow, WINDOW_US};
use crate::net::access::{Access, Caller, Denied, HandshakeKeys, LocalPeers, is_own_address};
use crate::net::body::splice::Pipes;
use crate::net::faults::LiveFaults;
use crate::net::os::clock::{Clock, seconds};
use crate::net::os::machine::Machine;
use crate::net::os::random;
use crate::net::os::starvation::SchedDelayProbe;
use crate::net::tls::ServerTls;
use crate::net::upstream::Upstream;
use crate::net::upstream::policy::Policy;
use crate::net::upstream::protocols::UpstreamShared;
use crate::net::upstream::resolve::Resolver;
use crate::options::LocalUsers;
use crate::route::{HostPort, Protocol};
use crate::snapshot::{Flow, Load, NodeSnapshot, TransferRecord};
use crate::verdict::{LocalLimit, Stage};
use crate::wire::{Request, TransferId};

/// Value with which a relay adds itself to `Via`.
pub const VIA: &str = "1.1 chainview";

/// Configuration of a node.
#[derive(Debug)]
pub struct NodeConfig {
    /// The served folder.
    pub root: Root,
    /// Addresses it may connect to.
    pub policy: Policy,
    /// Access rules of its endpoints.
    pub access: Access,
    /// Timeouts and size limits.
    pub limits: Limits,
    /// Faults at start.
    pub faults: Faults,
    /// Maximum number of connections.
    pub max_connections: usize,
    /// Protocol of next hops whose route element names none; `None` detects it.
    pub protocol: Option<Protocol>,
    /// Resolver for the names of next hops.
    pub resolver: Resolver,
    /// The key of this node; `None` serves no TLS.
    pub tls: Option<Arc<ServerTls>>,
    /// Writer of audit lines; `None` writes none.
    pub audit: Option<Arc<dyn AuditWriter>>,
}

#[cfg(test)]
impl NodeConfig {
    /// Creates a configuration for tests: the defaults, at this address, with this folder.
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
            tls: None,
            audit: None,
        }
    }
}

/// A listening node; its sessions share it.
#[derive(Debug)]
pub struct Node {
    /// Its configuration.
    pub config: NodeConfig,
    /// The listener's own address.
    pub address: SocketAddr,
    /// Connections and transfers.
    pub registry: Arc<Registry>,
    /// Current faults.
    pub faults: LiveFaults,
    /// Digests of the served files.
    pub digests: Arc<Digests>,
    /// The newest line of events, shared by all its readers.
    latest: LatestLine,
    /// The same with the names of encrypted transfers.
    latest_with_names: LatestLine,
    /// Limits of concurrent folder listings.
    pub listings: FolderWork,
    /// Limits of concurrent tar streams of folders.
    pub tar_streams: FolderWork,
    /// Files that changed after their last byte was sent, possibly before their readers had it.
    pub late_changes: AtomicU64,
    /// Pipes for spliced bodies.
    pub pipes: Arc<Pipes>,
    /// Template for the upstream of each accepted connection; never used itself.
    upstream: Upstream,
    peers: LocalPeers,
    drain: OnceLock<Drain>,
    /// Cancelled when a draining node has only readers of its events left.
    finished: CancellationToken,
    recent: Mutex<SlidingWindow<Flow>>,
    /// Probe that runs while it is referenced, and its total so far, in µs.
    sched_delay_probe: Mutex<Weak<SchedDelayProbe>>,
    sched_delay_us: Arc<AtomicU64>,
    id: String,
}

impl Node {
    /// Creates a node for a listener that is bound to `address`.
    pub fn new(config: NodeConfig, address: SocketAddr) -> Arc<Self> {
        let (policy, audit) = (config.policy.clone(), Audit::new(address, config.audit.clone()));
        let connect_filter = Arc::new(move |address, purpose: Purpose<'_>| policy.allows(address, purpose));
        Arc::new(Self {
            faults: LiveFaults::new(config.faults),
            upstream: Upstream::new(
                Arc::new(UpstreamShared::new(config.resolver.clone())),
                config.limits,
                connect_filter,
                config.protocol,
            ),
            config,
            peers: LocalPeers::new(),
            address,
            registry: Registry::audited(Clock::start(), audit),
            digests: Arc::default(),
            latest: LatestLine::default(),
            latest_with_names: LatestLine::default(),
            listings: FolderWork::listings(),
            tar_streams: FolderWork::tar_streams(),
            late_changes: AtomicU64::default(),
            pipes: Arc::default(),
            drain: OnceLock::new(),
            finished: CancellationToken::new(),
            recent: Mutex::default(),
            sched_delay_probe: Mutex::default(),
            sched_delay_us: Arc::default(),
            id: random::word(),
        })
    }

    /// Sets the drain signal, unless one is set already; returns the one in effect.
    pub(in crate::net) fn drain_by(&self, drain: Drain) -> &Drain {
        self.drain.get_or_init(|| drain)
    }

    /// Ends the streams of events: a draining node has no other work left.
    pub(in crate::net) fn finish(&self) {
        self.finished.cancel();
    }

    /// Waits until a draining node has only readers of its events left, or must stop immediately.
    pub(in crate::net) fn finished(&self) -> impl Future<Output = ()> + Send + use<> {
        let (finished, drain) = (self.finished.clone(), self.drain().clone());
        async move {
            tokio::select! {
                () = finished.cancelled() => {}
                () = drain.forced() => {}
            }
        }
    }

    /// Returns the machine it runs on.
    pub(in crate::net) fn machine(&self) -> Machine {
        self.config.root.machine()
    }

    /// Returns the drain signal; inactive before the node runs.
    pub fn drain(&self) -> &Drain {
        self.drain.get_or_init(Drain::new)
    }

    /// Returns whether the node is draining.
    pub fn draining(&self) -> bool {
        self.drain().is_draining()
    }

    /// Creates the upstream of one accepted connection.
    pub fn upstream(&self) -> Upstream {
        self.upstream.another()
    }

    /// Returns the local address of a connection, if the listener's own is unspecified.
    pub fn local_addr_of(&self, stream: &TcpStream) -> Option<SocketAddr> {
        if self.address.ip().is_unspecified() { stream.local_addr().ok() } else { None }
    }

    /// Returns `Ok` if the user at the other end of a connection may be served.
    ///
    /// Called once for each connection, when its first request is read: the owner of a connection does not change.
    ///
    /// # Errors
    /// A sentence for the client if `--local-users own` applies and the connection is of another user.
    pub fn admits(&self, stream: &TcpStream, peer: SocketAddr) -> Result<(), String> {
        match self.config.access.local_users {
            LocalUsers::Any => Ok(()),
            LocalUsers::Own => self.peers.admits(peer, self.local_addr_of(stream).unwrap_or(self.address)),
        }
    }

    /// Returns the caller of a request with this head, which came over a connection whose client has this key.
    ///
    /// # Errors
    /// [`Denied`] if it is signed, and the signature does not hold here, or is of another key.
    pub(in crate::net) fn caller_of(
        &self,
        head: &[u8],
        stream: &TcpStream,
        tls_key: Option<Fingerprint>,
    ) -> Result<Caller, Box<Denied>> {
        let Some(keys) = &self.config.access.keys else { return Ok(Caller::default()) };
        let is_own = |named: &str| {
            let listener = self.local_addr_of(stream).unwrap_or(self.address);
            is_own_address(&self.config.access, listener, named)
        };
        let own_key = self.config.tls.as_ref().map(|tls| tls.key());
        keys.caller_of(head, seconds(SystemTime::now()), is_own, HandshakeKeys { own: own_key, client: tls_key })
    }

    /// Returns the caller of a request that cannot be signed, from a client that has proven this key in its TLS
    /// handshake.
    pub(in crate::net) fn unsigned_caller(&self, tls_key: Option<Fingerprint>) -> Caller {
        self.config.access.keys.as_ref().map(|keys| keys.unsigned(tls_key)).unwrap_or_default()
    }

    /// Returns the address by which a request names this node; the listener's own if the request has none.
    pub fn address_for(&self, request: &Request) -> String {
        self.address_or(request.host.as_ref())
    }

    /// Returns the address by which a client named this node; the listener's own if it named none.
    pub fn address_or(&self, named: Option<&HostPort>) -> String {
        named.map_or_else(|| self.address.to_string(), ToString::to_string)
    }

    /// Returns this node's record of a transfer.
    pub fn record(&self, id: TransferId) -> Option<TransferRecord> {
        let record = self.registry.record(id)?;
        // Faults can change while a body is sent; a finished record keeps those it ended with.
        let faults = if record.ended { record.faults } else { self.faults.now() };
        Some(TransferRecord { faults, load: (self.machine().load)(), ..record })
    }

    /// Returns what limits its bodies by its own evidence, over the last second of active ones.
    pub fn local_limit(&self) -> LocalLimit {
        let flow = self.sample().unwrap_or_default();
        LocalLimit::of(&Stage { flow, faults: self.faults.now(), ..Stage::default() })
    }

    /// Returns what the upstreams of all its connections share.
    pub(in crate::net) fn upstream_shared(&self) -> &UpstreamShared {
        self.upstream.shared()
    }

    /// Samples the activity of its bodies; returns their recent activity.
    pub(in crate::net) fn sample(&self) -> Option<Flow> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.feed(self.registry.clock().now_us(), self.registry.totals().flow, WINDOW_US);
        recent.change()
    }

    /// Returns the probe that measures scheduling delay for as long as it is referenced.
    pub(crate) fn sched_delay_probe(&self) -> Arc<SchedDelayProbe> {
        let mut sched_delay_probe = self.sched_delay_probe.lock().unwrap_or_else(PoisonError::into_inner);
        sched_delay_probe.upgrade().unwrap_or_else(|| {
            let sched_delay_us = Arc::clone(&self.sched_delay_us);
            let started = Arc::new(SchedDelayProbe::start(self.machine(), move |us| {
                sched_delay_us.fetch_add(us, Relaxed);
            }));
            *sched_delay_probe = Arc::downgrade(&started);
            started
        })
    }

    /// Returns the state of the node at this moment.
    pub fn snapshot(&self) -> NodeSnapshot {
        let mut snapshot = NodeSnapshot {
            version: env!("CARGO_PKG_VERSION").into(),
            node: self.id.as_str().into(),
            pid: std::process::id(),
            address: self.address.to_string().into(),
            policy: self.config.policy.to_string().into(),
            protocols: vec!["http".into(), "legacy".into()],
            key: self.config.tls.as_ref().map(|tls| tls.key()),
            draining: self.draining(),
            upstream: self.upstream_shared().totals(),
            faults: self.faults.now(),
            load: (self.machine().load)()
                .map(|load| Load { sched_delay_us: self.sched_delay_us.load(Relaxed), ..load }),
            ..NodeSnapshot::default()
        };
        self.registry.fill(&mut snapshot);
        snapshot
    }

    /// Returns the newest line of events, or a new one if that is stale; with the names of encrypted transfers for a
    /// reader that sees them.
    pub(in crate::net) fn latest_line(&self, sees_names: bool) -> Result<EventLine, serde_json::Error> {
        let latest = if sees_names { &self.latest_with_names } else { &self.latest };
        latest.get(self.drain(), || {
            let mut snapshot = self.snapshot();
            if sees_names {
                snapshot.reveal_names();
            }
            snapshot
        })
    }
}
