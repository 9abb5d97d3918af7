//! Nodes started by this program: a child process for each vacant loopback hop, stopped with the program.

mod child;
mod duty_cycle;
mod line;
mod orders;
mod origin_token;
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
pub use duty_cycle::DutyCycle;
pub use line::ChildLine;
use orders::ChildTask;
pub use orders::Order;
pub use origin_token::OriginToken;
pub use spawning::{ReadToken, Spawning};

/// Link state of each hop; `None` for hops that this program did not start.
pub type HopLinks = watch::Receiver<Vec<Option<HopLink>>>;

/// Capacity of the queue of log lines; more are dropped, because a node must not block on its log.
const LINE_QUEUE: usize = 256;
/// Timeout of a stop: 2 s for SIGTERM, the rest for SIGKILL.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Grace beyond a node's own drain limit.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// Capacity of the queue of orders of a node; orders wait only while the node is being stopped, for a second or two.
const ORDER_QUEUE: usize = 4;

/// Owns the child processes; dropping it kills them.
#[derive(Debug)]
pub struct Supervisor {
    hops: Vec<Hop>,
    spawning: Arc<Spawning>,
    links: watch::Sender<Vec<Option<HopLink>>>,
    lines: mpsc::Sender<ChildLine>,
    orders: Vec<Option<mpsc::Sender<Order>>>,
    tasks: JoinSet<()>,
}

impl Supervisor {
    /// Creates a supervisor that has not started any node; the receiver gets what nodes write to standard error.
    pub fn new(route: &Route, spawning: Spawning) -> (Self, mpsc::Receiver<ChildLine>) {
        let hops = route.hops().to_vec();
        let (lines, received) = mpsc::channel(LINE_QUEUE);
        let links = watch::Sender::new(vec![None; hops.len()]);
        let orders = hops.iter().map(|_| None).collect();
        let spawning = Arc::new(spawning);
        (Self { hops, spawning, links, lines, orders, tasks: JoinSet::new() }, received)
    }

    /// Returns the link states, with their changes.
    pub fn links(&self) -> HopLinks {
        self.links.subscribe()
    }

    /// Starts a node for every hop of this machine on which no process listens, all in parallel; `links` reports the
    /// outcome.
    pub fn start_all(&mut self) {
        for at in 0..self.hops.len() {
            let already = self.hops[..at].iter().any(|hop| hop.address == self.hops[at].address);
            let elsewhere = matches!(&self.hops[at].address.host, Host::Ip(ip) if !ip.to_canonical().is_loopback());
            // A loopback hop behind a remote one is on the remote machine's loopback, not ours.
            if !already && !elsewhere && self.orders[at].is_none() && is_near(&self.hops, at) {
                self.keep(at);
            }
        }
    }

    /// Sends an order to the node of a hop, counted from 1; `links` reports the outcome.
    ///
    /// # Errors
    /// A sentence for the user if this program has no node there, if the node's state rules the order out, or if
    /// earlier orders are still being executed.
    pub fn order(&self, hop: usize, order: Order) -> Result<(), String> {
        let at = hop.checked_sub(1).filter(|at| *at < self.hops.len());
        let keeper = at.and_then(|at| self.orders[at].as_ref());
        let (Some(at), Some(keeper)) = (at, keeper) else {
            return Err("this program cannot run a node there".to_owned());
        };
        match (&self.links.borrow()[at], order) {
            (None, Order::Start) => {}
            (None, _) => return Err("it was not started by this program".to_owned()),
            (Some(HopLink::Spawned { .. }), Order::Start) => return Err("it is already running".to_owned()),
            (Some(HopLink::Down { reason: DownReason::Stopping }), Order::Start) => {
                return Err("it is still shutting down: wait, or kill it first".to_owned());
            }
            _ => {}
        }
        keeper.try_send(order).map_err(|_| "earlier orders are still being executed".to_owned())
    }

    /// Stops all nodes in parallel: SIGTERM, 2 s, SIGKILL.
    pub async fn stop_all(&mut self) {
        for keeper in self.orders.iter_mut().filter_map(Option::take) {
            // The task stops its node when its order queue closes.
            drop(keeper);
        }
        let _ = timeout(STOP_TIMEOUT, async { while self.tasks.join_next().await.is_some() {} }).await;
        self.tasks.shutdown().await;
    }

    /// Detaches all running nodes, which outlive this program; returns their addresses and process ids.
    pub async fn detach_all(&mut self) -> Vec<(HostPort, u32)> {
        let mut detached = Vec::new();
        for (at, keeper) in self.orders.iter().enumerate() {
            let link = self.links.borrow()[at].clone();
            if let (Some(keeper), Some(HopLink::Spawned { pid })) = (keeper, link)
                && matches!(timeout(STOP_TIMEOUT, keeper.send(Order::Detach)).await, Ok(Ok(())))
            {
                detached.push((at, pid));
            }
        }
        self.stop_all().await;
        let links = self.links.borrow();
        let still_running = detached.into_iter().filter(|(at, _)| links[*at].is_none());
        still_running.map(|(at, pid)| (self.hops[at].address.clone(), pid)).collect()
    }

    fn keep(&mut self, at: usize) {
        let spec = Spec {
            hop: at + 1,
            address: self.hops[at].address.clone(),
            next: self.hops.get(at + 1).cloned(),
            spawning: Arc::clone(&self.spawning),
        };
        let (keeper, orders) = mpsc::channel(ORDER_QUEUE);
        self.orders[at] = Some(keeper);
        self.links.send_modify(|links| links[at] = Some(HopLink::Starting));
        let drain_timeout = self.spawning.drain + DRAIN_GRACE;
        let keeper = ChildTask { spec, links: self.links.clone(), lines: self.lines.clone(), drain_timeout };
        self.tasks.spawn(keeper.run(orders));
    }
}

/// Waits until each node is up or has failed to start, which each child task reports within its own time limit.
pub async fn all_started(links: &HopLinks) {
    let mut links = links.clone();
    let _ = links.wait_for(|links| !links.contains(&Some(HopLink::Starting))).await;
}

/// True if a hop's address resolves to the same machine here as at the hop before it.
pub(super) fn is_near(hops: &[Hop], at: usize) -> bool {
    !hops[at].address.host.is_loopback() || hops[..at].iter().all(|hop| hop.address.host.is_loopback())
}
