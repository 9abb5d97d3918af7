//! A simulated chain: the nodes, and connections with the faults of a seed in between.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, SystemTime};
use std::{fs, io};

use tempfile::TempDir;
use tokio::task::AbortHandle;

use super::faulty::{Fault, Plan, Seeded, Slices, join};
use super::{MACHINE, moved, pair};
use crate::faults::Faults;
use crate::limits::Limits;
use crate::net::access::Access;
use crate::net::node::registry::Slots;
use crate::net::node::root::Root;
use crate::net::node::{Node, NodeConfig};
use crate::net::os::deadline::Deadline;
use crate::net::server::session;
use crate::net::upstream::resolve::Resolver;
use crate::options::LocalUsers;
use crate::route::{Protocol, Route};
use crate::snapshot::UpstreamTotals;

/// Port of the first node.
const FIRST_PORT: u16 = 9101;
/// A stalled connection stalls for longer than every limit, then discards its input.
const STALLED: Duration = Duration::from_secs(380);

/// A fault: on which connection to which hop, in which direction and at which byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) hop: usize,
    pub(super) connect: usize,
    pub(super) back: bool,
    pub(super) at: u64,
    pub(super) fault: Fault,
}

/// What the connections between nodes do.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) slices: Slices,
    pub(super) faults: Vec<Planned>,
    /// This hop refuses this connection attempt.
    pub(super) refuses: Option<(usize, usize)>,
    pub(super) seed: u64,
}

impl Network {
    fn plan(&self, hop: usize, connect: usize, back: bool) -> Plan {
        let here = |planned: &&Planned| (planned.hop, planned.connect, planned.back) == (hop, connect, back);
        let mut faults: Vec<(u64, Fault)> = self.faults.iter().filter(here).map(|p| (p.at, p.fault)).collect();
        faults.sort_by_key(|(at, _)| *at);
        Plan { faults, ..Plan::sliced(self.slices, self.seed ^ (hop * 100 + connect * 2 + usize::from(back)) as u64) }
    }

    /// Returns how many faults alter bytes.
    pub(super) fn altered(&self) -> usize {
        self.faults.iter().filter(|planned| planned.fault.alters()).count()
    }
}

impl Planned {
    pub(super) fn any(random: &mut Seeded, hops: usize, size: usize) -> Self {
        let back = !random.one_in(4);
        let reach = match (back, random.one_in(2)) {
            (false, _) => 500,
            (true, true) => 700,
            (true, false) => 700 + size as u64,
        };
        Self {
            hop: random.below(hops as u64) as usize,
            connect: random.below(5).saturating_sub(2) as usize,
            back,
            at: random.below(reach),
            fault: Fault::any(random),
        }
    }
}

/// Nodes that are running, and the connections between them.
pub(super) struct Chain {
    network: Network,
    root: PathBuf,
    limit: Option<u64>,
    limits: Limits,
    /// The node at each address; with `None`, nothing listens there.
    nodes: RefCell<Vec<Option<Arc<Node>>>>,
    /// Nodes that were stopped.
    stopped: RefCell<Vec<Arc<Node>>>,
    /// The sessions of each node.
    sessions: RefCell<Vec<(usize, AbortHandle)>>,
    /// Connects to each hop so far.
    connects: RefCell<HashMap<usize, usize>>,
    /// Number of sessions and connections that have not ended.
    tasks: Arc<AtomicUsize>,
}

/// Counts a task until dropped.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn count(tasks: &Arc<AtomicUsize>) -> Self {
        tasks.fetch_add(1, Relaxed);
        Self(Arc::clone(tasks))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

pub(super) fn address(hop: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], FIRST_PORT + hop as u16))
}

impl Chain {
    /// Starts this many nodes that serve a folder; the first has a rate limit if any.
    pub(super) fn new(count: usize, network: Network, root: &Path, (limit, limits): (Option<u64>, Limits)) -> Self {
        let chain = Self {
            network,
            root: root.to_owned(),
            limit,
            limits,
            nodes: RefCell::new(vec![None; count]),
            stopped: RefCell::default(),
            sessions: RefCell::default(),
            connects: RefCell::default(),
            tasks: Arc::default(),
        };
        (0..count).for_each(|hop| chain.start(hop));
        chain
    }

    /// Starts the node at an address, unless one runs there.
    pub(super) fn start(&self, hop: usize) {
        let config = NodeConfig {
            access: Access { local_users: LocalUsers::Any, ..Access::new(address(hop)) }, // Pairs have no user.
            faults: Faults { limit: self.limit.filter(|_| hop == 0), ..Faults::default() },
            resolver: Resolver::default().on(MACHINE),
            limits: self.limits,
            ..NodeConfig::of_test(address(hop), Root::open(&self.root).unwrap().on(MACHINE))
        };
        self.nodes.borrow_mut()[hop].get_or_insert_with(|| Node::new(config, address(hop)));
    }

    /// Drains a node, which accepts nothing from now on.
    pub(super) fn drain(&self, hop: usize) {
        if let Some(node) = self.nodes.borrow_mut()[hop].take() {
            node.drain().begin();
            node.upstream_shared().drain();
            self.stopped.borrow_mut().push(node);
        }
    }

    /// Ends a node with all its sessions, as a crash does.
    pub(super) fn kill(&self, hop: usize) {
        self.drain(hop);
        self.sessions.borrow_mut().retain(|(of, session)| {
            if *of == hop {
                session.abort();
            }
            *of != hop
        });
    }

    /// Returns the number of connections to a hop so far, refused ones included.
    pub(super) fn connects(&self, hop: usize) -> usize {
        self.connects.borrow().get(&hop).copied().unwrap_or(0)
    }

    /// Opens a connection to a hop, with the faults of the seed in between.
    pub(super) fn connect(&self, to: SocketAddr) -> io::Result<OwnedFd> {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let hop = usize::from(to.port()).checked_sub(usize::from(FIRST_PORT)).ok_or_else(refused)?;
        let node = self.nodes.borrow().get(hop).cloned().flatten();
        let connect = self.connects(hop);
        self.connects.borrow_mut().insert(hop, connect + 1);
        let node = node.filter(|_| self.network.refuses != Some((hop, connect))).ok_or_else(refused)?;
        let (near, mut near_end) = pair()?;
        let (far, mut far_end) = pair()?;
        let far = tokio::net::TcpStream::from_std(far.into())?;
        let peer = SocketAddr::from(([127, 0, 0, 1], 20_000 + (hop * 1000 + connect) as u16));
        let conn = node.registry.open(peer);
        let head = conn.begin_head(Slots(node.config.max_connections)).unwrap();
        let deadline = Deadline::after(node.config.limits.head);
        let running = Running::count(&self.tasks);
        let session = tokio::spawn(async move {
            session::run(node, far, conn, head, deadline).await;
            drop(running);
        });
        self.sessions.borrow_mut().push((hop, session.abort_handle()));
        let (mut there, mut back) = (self.network.plan(hop, connect, false), self.network.plan(hop, connect, true));
        let stall = [&mut there, &mut back].into_iter().find_map(|plan| {
            let at = plan.faults.iter().position(|(_, fault)| *fault == Fault::Stall)?;
            // Nothing after it arrives.
            plan.faults.truncate(at + 1);
            Some(())
        });
        let running = Running::count(&self.tasks);
        tokio::spawn(async move {
            if stall.is_some() {
                // For a while nothing moves without any error; then both ends may close.
                let joined = join(&mut near_end, &mut far_end, there, back, moved);
                if tokio::time::timeout(STALLED, joined).await.is_err() {
                    let (swallow_near, swallow_far) = (swallow(near_end), swallow(far_end));
                    tokio::join!(swallow_near, swallow_far);
                }
            } else {
                join(near_end, far_end, there, back, moved).await;
            }
            drop(running);
        });
        Ok(near)
    }

    /// Closes what nodes keep for a limited time, as their accept loops do.
    pub(super) fn close_expired(&self) {
        let nodes = self.nodes.borrow();
        nodes
            .iter()
            .flatten()
            .chain(&*self.stopped.borrow())
            .for_each(|node| _ = node.upstream_shared().close_expired());
    }

    /// Returns the sum of the nodes' counts of connections to next hops; asserts that no more are idle than may be.
    pub(super) fn upstream_totals(&self) -> UpstreamTotals {
        let (nodes, stopped) = (self.nodes.borrow(), self.stopped.borrow());
        let totals = nodes.iter().flatten().chain(&*stopped).map(|node| node.upstream_shared().totals());
        totals.fold(UpstreamTotals::default(), |sum, one| {
            assert!(one.idle <= self.limits.idle_connections as u64, "{one:?}");
            UpstreamTotals { reused: sum.reused + one.reused, opened: sum.opened + one.opened, ..sum }
        })
    }

    /// Returns what is left of all connections and transfers, if anything.
    pub(super) fn left(&self) -> Option<String> {
        let nodes: Vec<_> = self.nodes.borrow().iter().flatten().chain(&*self.stopped.borrow()).cloned().collect();
        let open: Vec<usize> = nodes.iter().map(|node| node.registry.open_count()).collect();
        // One holder is the chain, and one the list above.
        let held: Vec<usize> = nodes.iter().map(|node| Arc::strong_count(node) - 2).collect();
        let tasks = self.tasks.load(Relaxed);
        let rests = tasks == 0 && open.iter().chain(&held).all(|count| *count == 0);
        (!rests).then(|| format!("{tasks} tasks, connections {open:?}, holders of nodes {held:?}"))
    }
}

/// Returns the route over these hops, with their protocols.
pub(super) fn route(name: &str, hops: impl Iterator<Item = (usize, Option<Protocol>)>) -> Route {
    let lines: Vec<_> = hops
        .map(|(hop, protocol)| {
            let protocol = protocol.map_or(String::new(), |protocol| format!(" protocol={}", protocol.as_str()));
            format!("127.0.0.1 {}{protocol}\n", address(hop).port())
        })
        .collect();
    Route::parse(format!("{name}\n{}", lines.concat()).as_bytes()).unwrap()
}

/// Reads until the other end closes, then closes this one.
async fn swallow(mut end: tokio::net::TcpStream) {
    let mut space = [0; 4096];
    while matches!(tokio::io::AsyncReadExt::read(&mut end, &mut space).await, Ok(1..)) {
        super::activity();
    }
}

/// Creates a folder in memory, if the machine has that.
pub(super) fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Writes the file, with a modification time by which its digest is always cached or never.
pub(super) fn write(path: &Path, content: &[u8], settled: bool) {
    let (mut file, hour) = (fs::File::create(path).unwrap(), Duration::from_hours(1));
    std::io::Write::write_all(&mut file, content).unwrap();
    file.set_modified(if settled { SystemTime::now() - hour } else { SystemTime::now() + hour }).unwrap();
}
