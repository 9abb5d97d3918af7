//! The task that keeps one node: starts it, notices its end, restarts and stops it when told to.

use std::pin::pin;

use tokio::sync::{mpsc, watch};

use super::Line;
use super::child::{Running, Spec};
use crate::snapshot::HopLink;

/// What a keeper is told; when nobody can tell it anything any more, it stops its node and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Stop the node, if it runs, and start it.
    Restart,
}

/// Keeps the node of one hop.
#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) spec: Spec,
    pub(super) links: watch::Sender<Vec<Option<HopLink>>>,
    pub(super) lines: mpsc::Sender<Line>,
}

impl Keeper {
    /// Runs until the orders end.
    pub(super) async fn run(self, mut orders: mpsc::Receiver<Order>) {
        let mut running = None;
        let mut order = Some(Order::Restart);
        while order.is_some() {
            if let Some(old) = running.take() {
                Running::stop(old).await;
            }
            self.tell(HopLink::Starting);
            running = match self.start(&mut orders).await {
                Some(started) => self.took(started),
                None => return,
            };
            let ended = async {
                match &mut running {
                    Some(running) => running.ended().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                next = orders.recv() => order = next,
                reason = ended => {
                    running = None;
                    self.tell(HopLink::Down { reason: reason.into() });
                    order = orders.recv().await;
                }
            }
        }
        if let Some(last) = running {
            last.stop().await;
        }
    }

    /// Starts the node; `None` if leaving came first, which does not wait for a node that takes its time: dropping it
    /// kills it.
    async fn start(&self, orders: &mut mpsc::Receiver<Order>) -> Option<Result<Running, String>> {
        let mut starting = pin!(self.spec.start(self.lines.clone()));
        loop {
            tokio::select! {
                started = &mut starting => return Some(started),
                order = orders.recv() => match order {
                    // It is being started anew already.
                    Some(Order::Restart) => {}
                    None => return None,
                },
            }
        }
    }

    fn took(&self, started: Result<Running, String>) -> Option<Running> {
        match started {
            Ok(running) => {
                self.tell(HopLink::Spawned { pid: running.pid() });
                Some(running)
            }
            Err(reason) => {
                self.tell(HopLink::Down { reason: reason.into() });
                None
            }
        }
    }

    fn tell(&self, link: HopLink) {
        self.links.send_modify(|links| links[self.spec.hop - 1] = Some(link));
    }
}
