//! The nodes this program starts: a child process for each loopback hop on which nobody listens, stopped with it.

mod child;
mod orders;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::access::Secret;
use super::policy::AllowList;
use crate::dials::Dials;
use crate::route::{Hop, Host, HostPort, Route};
use crate::snapshot::HopLink;
use crate::text::SafeText;
use child::Spec;
use orders::{Keeper, Order};

/// What the nodes are started with.
#[derive(Clone, Debug)]
pub struct Spawning {
    /// The program; itself, but for tests.
    pub program: PathBuf,
    /// The folder they serve.
    pub root: PathBuf,
    /// Lets this program read their pages through a chain.
    pub read: Secret,
    /// Lets this program control them.
    pub control: Secret,
    /// How the dials of each hop stand, hop 1 first; those of hops behind the end are not turned.
    pub dials: Vec<Dials>,
    /// Whom they may dial besides loopback and the next hop.
    pub allow_next: Option<AllowList>,
    /// Further flags, the same for all: time limits and the like.
    pub flags: Vec<OsString>,
}

/// How this program stands to its hops: `None` for those that it did not start.
pub type HopLinks = watch::Receiver<Vec<Option<HopLink>>>;

/// A line that a node wrote to its standard error, and its hop, from 1.
pub type Line = (usize, SafeText);

/// Lines that wait to be shown; more are dropped, for a node must not be held up by its log.
const LINES: usize = 256;
/// How long to look for somebody who listens; on loopback the answer is there at once.
const LOOK: Duration = Duration::from_secs(1);
/// How long a stop takes at most: 2 s for SIGTERM, a moment for SIGKILL.
const STOP: Duration = Duration::from_secs(3);

/// Owns the child processes; dropping it kills them.
#[derive(Debug)]
pub struct Supervisor {
    hops: Vec<Hop>,
    spawning: Arc<Spawning>,
    links: watch::Sender<Vec<Option<HopLink>>>,
    lines: mpsc::Sender<Line>,
    keepers: Vec<Option<mpsc::Sender<Order>>>,
    tasks: JoinSet<()>,
}

impl Supervisor {
    /// Starts nothing yet; the lines are what the nodes will write to their standard error.
    pub fn new(route: &Route, spawning: Spawning) -> (Self, mpsc::Receiver<Line>) {
        let hops = route.hops().to_vec();
        let (lines, said) = mpsc::channel(LINES);
        let links = watch::Sender::new(vec![None; hops.len()]);
        let keepers = hops.iter().map(|_| None).collect();
        let spawning = Arc::new(spawning);
        (Self { hops, spawning, links, lines, keepers, tasks: JoinSet::new() }, said)
    }

    /// How this program stands to its hops, now and later.
    pub fn links(&self) -> HopLinks {
        self.links.subscribe()
    }

    /// Starts a node for every hop of this machine on which nobody listens, all at once; returns when each is up or
    /// has failed, which `links` tells.
    pub async fn start_all(&mut self) {
        let mut looking = JoinSet::new();
        for (at, next) in self.vacancies() {
            let address = self.hops[at].address.clone();
            let already = self.hops[..at].iter().any(|hop| hop.address == address);
            if !already && self.keepers[at].is_none() {
                looking.spawn(async move { (at, vacant(&address).await, beyond(next).await) });
            }
        }
        while let Some(looked) = looking.join_next().await {
            if let Ok((at, Some(listen), next)) = looked {
                self.keep(at, listen, next);
            }
        }
        let mut links = self.links();
        // Every keeper says within its own limit how its start went.
        let _ = links.wait_for(|links| !links.contains(&Some(HopLink::Starting))).await;
    }

    /// Stops the node of a hop, counted from 1, and starts it anew; how that went is told by `links`.
    pub fn restart(&self, hop: usize) -> Result<(), String> {
        let keeper = hop.checked_sub(1).and_then(|at| self.keepers.get(at)).and_then(Option::as_ref);
        let keeper = keeper.ok_or_else(|| format!("hop {hop} was not started by this program"))?;
        // A full queue means that it is being restarted already.
        let _ = keeper.try_send(Order::Restart);
        Ok(())
    }

    /// Stops all nodes at once: SIGTERM, 2 s, SIGKILL.
    pub async fn stop_all(&mut self) {
        for keeper in self.keepers.iter_mut().filter_map(Option::take) {
            // The keeper stops its node when nobody can give it orders any more.
            drop(keeper);
        }
        let _ = timeout(STOP, async { while self.tasks.join_next().await.is_some() {} }).await;
        self.tasks.shutdown().await;
    }

    /// The hops that stand on this machine, and the hop behind each.
    ///
    /// A loopback hop behind one that is elsewhere is that other machine's loopback, not ours.
    fn vacancies(&self) -> Vec<(usize, Option<HostPort>)> {
        let near = (0..self.hops.len()).filter(|at| is_near(&self.hops, *at));
        near.map(|at| (at, self.hops.get(at + 1).map(|hop| hop.address.clone()))).collect()
    }

    fn keep(&mut self, at: usize, listen: SocketAddr, next: Vec<SocketAddr>) {
        let spec = Spec {
            hop: at + 1,
            name: match &self.hops[at].address.host {
                Host::Name(name) => Some(name.clone()),
                Host::Ip(_) => None,
            },
            listen,
            next,
            spawning: Arc::clone(&self.spawning),
        };
        let (keeper, orders) = mpsc::channel(1);
        self.keepers[at] = Some(keeper);
        self.links.send_modify(|links| links[at] = Some(HopLink::Starting));
        let keeper = Keeper { spec, links: self.links.clone(), lines: self.lines.clone() };
        self.tasks.spawn(keeper.run(orders));
    }
}

/// True if a hop's address means the same to this machine as to the hop before it.
pub(super) fn is_near(hops: &[Hop], at: usize) -> bool {
    !is_loopback(&hops[at].address.host) || hops[..at].iter().all(|hop| is_loopback(&hop.address.host))
}

/// The host is loopback by its very spelling; a name may be, which only its resolution tells.
fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Ip(ip) => ip.to_canonical().is_loopback(),
        Host::Name(name) => name.eq_ignore_ascii_case("localhost"),
    }
}

/// The address to listen on for a hop, if it stands on loopback and nobody listens there yet.
async fn vacant(address: &HostPort) -> Option<SocketAddr> {
    let found = resolve(address).await;
    if found.is_empty() || !found.iter().all(|address| address.ip().is_loopback()) {
        return None;
    }
    for address in &found {
        if let Ok(Ok(_)) = timeout(LOOK, TcpStream::connect(address)).await {
            return None;
        }
    }
    // Where a name means both, IPv4 is what other programs try first or second, never not at all.
    found.iter().find(|address| address.is_ipv4()).or(found.first()).copied()
}

/// The addresses of the next hop that a loopback node would not dial without being told to.
async fn beyond(next: Option<HostPort>) -> Vec<SocketAddr> {
    let Some(next) = next else { return Vec::new() };
    resolve(&next).await.into_iter().filter(|address| !address.ip().is_loopback()).collect()
}

async fn resolve(address: &HostPort) -> Vec<SocketAddr> {
    let canonical = |ip: IpAddr| SocketAddr::new(ip.to_canonical(), address.port);
    match &address.host {
        Host::Ip(ip) => vec![canonical(*ip)],
        Host::Name(name) => match timeout(LOOK, lookup_host((name.as_str(), address.port))).await {
            Ok(Ok(found)) => found.map(|address| canonical(address.ip())).collect(),
            _ => Vec::new(),
        },
    }
}
