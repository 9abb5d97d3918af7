//! The task that keeps one node: starts it, notices its end, starts it again but not for ever, and obeys.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::child::{ChildNode, Spec, words};
use super::line::ChildLine;
use crate::snapshot::{DownReason, HopLink};

/// What a keeper is told; when nobody can tell it anything any more, it stops its node and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start the node, unless it runs or somebody else listens there.
    Start,
    /// Stop the node at once, if it runs, and start it.
    Restart,
    /// Let the node finish what it does, then leave.
    Stop,
    /// End the node now.
    Kill,
    /// Let the node live on without us.
    LetGo,
}

/// A node that has run for so long before it died did not die of being started.
const SOUND: Duration = Duration::from_secs(10);
/// After so many early deaths in a row it is left alone.
const DEATHS: usize = 4;
/// Pauses before restarts of a node that exited by itself.
const BACKOFF: ExponentialBuilder =
    ExponentialBuilder::new().with_min_delay(Duration::from_secs(1)).with_max_times(DEATHS - 1);

/// Keeps the node of one hop.
#[derive(Debug)]
pub(super) struct ChildTask {
    pub(super) spec: Spec,
    pub(super) links: watch::Sender<Vec<Option<HopLink>>>,
    pub(super) lines: mpsc::Sender<ChildLine>,
    /// How long a node may take that is asked to leave in order: its own limit, and a moment.
    pub(super) leave: Duration,
}

/// How its node stands.
#[derive(Debug)]
enum ChildState {
    /// There is none.
    None,
    /// It runs, since then.
    Up(ChildNode, Instant),
    /// It was asked to leave, and is made to then.
    Leaving(ChildNode, Instant),
    /// It has died, and is started again then.
    Dead(Instant),
}

impl ChildTask {
    /// Runs until the orders end.
    pub(super) async fn run(self, mut orders: mpsc::Receiver<Order>) {
        let mut node = ChildState::None;
        let mut pauses = BACKOFF.build();
        let mut order = Some(Order::Start);
        while let Some(now) = order.take() {
            node = match (now, node) {
                (Order::Start, node @ (ChildState::Up(..) | ChildState::Leaving(..))) => node,
                (Order::Start | Order::Restart, old) => {
                    pauses = BACKOFF.build();
                    if let ChildState::Up(old, _) | ChildState::Leaving(old, _) = old {
                        old.stop().await;
                    }
                    match self.start(&mut orders).await {
                        Some(started) => started,
                        None => return,
                    }
                }
                (Order::Stop, ChildState::Up(running, _)) => {
                    running.ask_to_leave();
                    self.tell(Some(HopLink::Down { reason: DownReason::Stopping }));
                    ChildState::Leaving(running, Instant::now() + self.leave)
                }
                (Order::Kill, ChildState::Up(running, _) | ChildState::Leaving(running, _)) => {
                    running.kill().await;
                    self.down(DownReason::Killed)
                }
                (Order::LetGo, ChildState::Up(running, _) | ChildState::Leaving(running, _)) => {
                    running.let_go().await;
                    self.tell(None);
                    ChildState::None
                }
                (Order::Stop | Order::Kill | Order::LetGo, ChildState::Dead(_)) => self.down(DownReason::Stopped),
                (Order::Stop | Order::Kill | Order::LetGo, node) => node,
            };
            // Until there is the next order, the node goes its own way.
            while order.is_none() {
                node = match node {
                    ChildState::None => match orders.recv().await {
                        None => return,
                        next => {
                            order = next;
                            ChildState::None
                        }
                    },
                    ChildState::Up(mut running, since) => tokio::select! {
                        next = orders.recv() => {
                            if next.is_none() {
                                return running.stop().await;
                            }
                            order = next;
                            ChildState::Up(running, since)
                        }
                        status = running.ended() => {
                            if since.elapsed() >= SOUND {
                                pauses = BACKOFF.build();
                            }
                            self.died(status, &mut pauses)
                        }
                    },
                    ChildState::Leaving(mut running, by) => tokio::select! {
                        next = orders.recv() => {
                            if next.is_none() {
                                return running.stop().await;
                            }
                            order = next;
                            ChildState::Leaving(running, by)
                        }
                        _ = running.ended() => self.down(DownReason::Stopped),
                        () = sleep_until(by) => {
                            running.kill().await;
                            self.down("killed: it did not leave in time".into())
                        }
                    },
                    ChildState::Dead(again) => tokio::select! {
                        next = orders.recv() => {
                            if next.is_none() {
                                return;
                            }
                            order = next;
                            ChildState::Dead(again)
                        }
                        () = sleep_until(again) => match self.start(&mut orders).await {
                            Some(started) => started,
                            None => return,
                        },
                    },
                };
            }
        }
    }

    /// Starts the node, if nobody listens in its place; `None` if leaving came first, which does not wait for a node
    /// that takes its time: dropping it kills it.
    async fn start(&self, orders: &mut mpsc::Receiver<Order>) -> Option<ChildState> {
        self.tell(Some(HopLink::Starting));
        let starting = self.spec.start(self.lines.clone());
        tokio::pin!(starting);
        let started = loop {
            tokio::select! {
                started = &mut starting => break started,
                order = orders.recv() => match order {
                    // It is being started already.
                    Some(Order::Start | Order::Restart) => {}
                    Some(_) => return Some(self.down(DownReason::Stopped)),
                    None => return None,
                },
            }
        };
        Some(match started {
            Ok(Some(running)) => {
                self.tell(Some(HopLink::Spawned { pid: running.pid() }));
                ChildState::Up(running, Instant::now())
            }
            Ok(None) => {
                self.tell(None);
                ChildState::None
            }
            Err(reason) => self.down(reason.into()),
        })
    }

    /// Says how the node ended by itself, and what comes of that.
    fn died(&self, status: Option<std::process::ExitStatus>, pauses: &mut ExponentialBackoff) -> ChildState {
        let how = words(status);
        // Somebody asked it to leave.
        if status.is_some_and(|status| status.success()) {
            return self.down(DownReason::Stopped);
        }
        let Some(pause) = pauses.next() else {
            return self.down(format!("{how}, for the {DEATHS}th time in a row: not started again by itself").into());
        };
        self.tell(Some(HopLink::Down { reason: format!("{how}: started again in {} s", pause.as_secs()).into() }));
        ChildState::Dead(Instant::now() + pause)
    }

    fn down(&self, reason: DownReason) -> ChildState {
        self.tell(Some(HopLink::Down { reason }));
        ChildState::None
    }

    fn tell(&self, link: Option<HopLink>) {
        self.links.send_modify(|links| links[self.spec.hop - 1] = link);
    }
}
