//! The nodes this program starts: a child process for each loopback hop on which nobody listens, stopped with it.

mod child;
mod line;
mod orders;
mod spawning;
#[cfg(test)]
mod tests;
mod vacant;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::route::{Hop, Host, HostPort, Route};
use crate::snapshot::{DownReason, HopLink};
pub use child::STAY;
use child::Spec;
pub use line::ChildLine;
use orders::ChildTask;
pub use orders::Order;
pub use spawning::{ReadToken, Spawning};

/// How this program stands to its hops: `None` for those that it did not start.
pub type HopLinks = watch::Receiver<Vec<Option<HopLink>>>;

/// Lines that wait to be shown; more are dropped, for a node must not be held up by its log.
const LINES: usize = 256;
/// How long a stop takes at most: 2 s for SIGTERM, a moment for SIGKILL.
const STOP: Duration = Duration::from_secs(3);

/// How much longer than its own limit a node may take that was asked to leave in order.
const MOMENT: Duration = Duration::from_secs(1);
/// Orders that wait; a keeper takes each as it comes, but for the second or two in which it stops a node.
const ORDERS: usize = 4;

/// Owns the child processes; dropping it kills them.
#[derive(Debug)]
pub struct Supervisor {
    hops: Vec<Hop>,
    spawning: Arc<Spawning>,
    links: watch::Sender<Vec<Option<HopLink>>>,
    lines: mpsc::Sender<ChildLine>,
    keepers: Vec<Option<mpsc::Sender<Order>>>,
    tasks: JoinSet<()>,
}

impl Supervisor {
    /// Starts nothing yet; the lines are what the nodes will write to their standard error.
    pub fn new(route: &Route, spawning: Spawning) -> (Self, mpsc::Receiver<ChildLine>) {
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

    /// Begins to start a node for every hop of this machine on which nobody listens, all at once; how that goes is told
    /// by `links`.
    pub fn start_all(&mut self) {
        for at in 0..self.hops.len() {
            let already = self.hops[..at].iter().any(|hop| hop.address == self.hops[at].address);
            let elsewhere = matches!(&self.hops[at].address.host, Host::Ip(ip) if !ip.to_canonical().is_loopback());
            // A loopback hop behind one that is elsewhere is that other machine's loopback, not ours.
            if !already && !elsewhere && self.keepers[at].is_none() && is_near(&self.hops, at) {
                self.keep(at);
            }
        }
    }

    /// Gives an order for the node of a hop, counted from 1; how that went is told by `links`.
    ///
    /// # Errors
    /// A sentence for the user if this program has no node there, if the node's state rules the order out, or if
    /// earlier orders are still being executed.
    pub fn order(&self, hop: usize, order: Order) -> Result<(), String> {
        let at = hop.checked_sub(1).filter(|at| *at < self.hops.len());
        let keeper = at.and_then(|at| self.keepers[at].as_ref());
        let (Some(at), Some(keeper)) = (at, keeper) else {
            return Err("no node of this program could stand there".to_owned());
        };
        match (&self.links.borrow()[at], order) {
            (None, Order::Start) => {}
            (None, _) => return Err("it was not started by this program".to_owned()),
            (Some(HopLink::Spawned { .. }), Order::Start) => return Err("it runs already".to_owned()),
            (Some(HopLink::Down { reason: DownReason::Stopping }), Order::Start) => {
                return Err("it is still leaving: wait, or kill it first".to_owned());
            }
            _ => {}
        }
        keeper.try_send(order).map_err(|_| "the orders before are still being carried out".to_owned())
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

    /// Lets all nodes live on after us; the answer is which, and their processes.
    pub async fn let_all_go(&mut self) -> Vec<(HostPort, u32)> {
        let mut told = Vec::new();
        for (at, keeper) in self.keepers.iter().enumerate() {
            let link = self.links.borrow()[at].clone();
            if let (Some(keeper), Some(HopLink::Spawned { pid })) = (keeper, link)
                && matches!(timeout(STOP, keeper.send(Order::LetGo)).await, Ok(Ok(())))
            {
                told.push((at, pid));
            }
        }
        self.stop_all().await;
        let links = self.links.borrow();
        let living = told.into_iter().filter(|(at, _)| links[*at].is_none());
        living.map(|(at, pid)| (self.hops[at].address.clone(), pid)).collect()
    }

    fn keep(&mut self, at: usize) {
        let spec = Spec {
            hop: at + 1,
            address: self.hops[at].address.clone(),
            next: self.hops.get(at + 1).cloned(),
            spawning: Arc::clone(&self.spawning),
        };
        let (keeper, orders) = mpsc::channel(ORDERS);
        self.keepers[at] = Some(keeper);
        self.links.send_modify(|links| links[at] = Some(HopLink::Starting));
        let leave = self.spawning.drain + MOMENT;
        let keeper = ChildTask { spec, links: self.links.clone(), lines: self.lines.clone(), leave };
        self.tasks.spawn(keeper.run(orders));
    }
}

/// Waits until each node is up or has failed to start; every keeper says within its own limit how that went.
pub async fn all_started(links: &HopLinks) {
    let mut links = links.clone();
    let _ = links.wait_for(|links| !links.contains(&Some(HopLink::Starting))).await;
}

/// True if a hop's address means the same to this machine as to the hop before it.
pub(super) fn is_near(hops: &[Hop], at: usize) -> bool {
    !hops[at].address.host.is_loopback() || hops[..at].iter().all(|hop| hop.address.host.is_loopback())
}
