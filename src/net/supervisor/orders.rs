//! The task that supervises one node: starts it, restarts it after crashes with backoff, and executes orders.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::child::{ChildNode, Spec, exit_text};
use super::duty_cycle::DutyCycle;
use super::line::ChildLine;
use crate::snapshot::{DownReason, HopLink};

/// Order to a child task; when the queue of orders closes, the task stops its node and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Start the node, unless it runs or another process listens there.
    Start,
    /// Stop the node immediately, if it runs, and start it.
    Restart,
    /// Drain the node, then stop it.
    Stop,
    /// Kill the node.
    Kill,
    /// Detach the node, which then outlives this program.
    Detach,
    /// Let the node's process run only for a part of the time, or all of it; a restarted one runs all of it.
    SetDutyCycle(Option<DutyCycle>),
}

/// A node that ran at least this long did not crash because of its start.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// Early crashes in a row after which a node is not restarted.
const MAX_CRASHES: usize = 4;
/// Pauses before restarts of a node that exited by itself.
const BACKOFF: ExponentialBuilder =
    ExponentialBuilder::new().with_min_delay(Duration::from_secs(1)).with_max_times(MAX_CRASHES - 1);

/// Supervises the node of one hop.
#[derive(Debug)]
pub(super) struct ChildTask {
    pub(super) spec: Spec,
    pub(super) links: watch::Sender<Vec<Option<HopLink>>>,
    pub(super) lines: mpsc::Sender<ChildLine>,
    /// Time limit of a graceful stop: the node's own drain limit plus a grace period.
    pub(super) drain_timeout: Duration,
}

/// State of the node.
#[derive(Debug)]
enum ChildState {
    /// Not running.
    Stopped,
    /// Running since this time.
    Up(ChildNode, Instant),
    /// Draining; killed at this time.
    Draining(ChildNode, Instant),
    /// Crashed; restarted at this time.
    Crashed(Instant),
}

impl ChildTask {
    /// Runs until the orders end.
    pub(super) async fn run(self, mut orders: mpsc::Receiver<Order>) {
        let mut node = ChildState::Stopped;
        let mut pauses = BACKOFF.build();
        let mut order = Some(Order::Start);
        while let Some(now) = order.take() {
            node = match (now, node) {
                (Order::Start, node @ (ChildState::Up(..) | ChildState::Draining(..))) => node,
                (Order::Start | Order::Restart, old) => {
                    pauses = BACKOFF.build();
                    if let ChildState::Up(old, _) | ChildState::Draining(old, _) = old {
                        self.stop(old).await;
                    }
                    match self.start(&mut orders).await {
                        Some(started) => started,
                        None => return,
                    }
                }
                (Order::SetDutyCycle(cycle), ChildState::Up(mut running, since)) => {
                    running.set_duty_cycle(cycle);
                    ChildState::Up(running, since)
                }
                (Order::Stop, ChildState::Up(mut running, _)) => {
                    running.terminate();
                    self.publish(Some(HopLink::Down { reason: DownReason::Stopping }));
                    ChildState::Draining(running, Instant::now() + self.drain_timeout)
                }
                (Order::Kill, ChildState::Up(running, _) | ChildState::Draining(running, _)) => {
                    running.kill().await;
                    self.down(DownReason::Killed)
                }
                (Order::Detach, ChildState::Up(running, _) | ChildState::Draining(running, _)) => {
                    running.detach().await;
                    self.publish(None);
                    ChildState::Stopped
                }
                (Order::Stop | Order::Kill | Order::Detach, ChildState::Crashed(_)) => self.down(DownReason::Stopped),
                (Order::Stop | Order::Kill | Order::Detach | Order::SetDutyCycle(_), node) => node,
            };
            // Watches the node until the next order.
            while order.is_none() {
                node = match node {
                    ChildState::Stopped => match orders.recv().await {
                        None => return,
                        next => {
                            order = next;
                            ChildState::Stopped
                        }
                    },
                    ChildState::Up(mut running, since) => tokio::select! {
                        next = orders.recv() => {
                            if next.is_none() {
                                self.stop(running).await;
                                return;
                            }
                            order = next;
                            ChildState::Up(running, since)
                        }
                        status = running.exited() => {
                            if since.elapsed() >= STABLE_AFTER {
                                pauses = BACKOFF.build();
                            }
                            self.crashed(status, &mut pauses)
                        }
                    },
                    ChildState::Draining(mut running, by) => tokio::select! {
                        next = orders.recv() => {
                            if next.is_none() {
                                self.stop(running).await;
                                return;
                            }
                            order = next;
                            ChildState::Draining(running, by)
                        }
                        _ = running.exited() => self.down(DownReason::Stopped),
                        () = sleep_until(by) => {
                            running.kill().await;
                            self.down("killed: it did not exit in time".into())
                        }
                    },
                    ChildState::Crashed(restart_at) => tokio::select! {
                        next = orders.recv() => {
                            if next.is_none() {
                                return;
                            }
                            order = next;
                            ChildState::Crashed(restart_at)
                        }
                        () = sleep_until(restart_at) => match self.start(&mut orders).await {
                            Some(started) => started,
                            None => return,
                        },
                    },
                };
            }
        }
    }

    /// Starts the node, if no process listens at its address; `None` if the order queue closed first: a stop does not
    /// wait for a slow start, and dropping the child kills it.
    async fn start(&self, orders: &mut mpsc::Receiver<Order>) -> Option<ChildState> {
        self.publish(Some(HopLink::Starting));
        let starting = self.spec.start(self.lines.clone());
        tokio::pin!(starting);
        let started = loop {
            tokio::select! {
                started = &mut starting => break started,
                order = orders.recv() => match order {
                    // Already starting.
                    Some(Order::Start | Order::Restart | Order::SetDutyCycle(_)) => {}
                    Some(_) => return Some(self.down(DownReason::Stopped)),
                    None => return None,
                },
            }
        };
        Some(match started {
            Ok(Some(running)) => {
                self.publish(Some(HopLink::Spawned { pid: running.pid() }));
                ChildState::Up(running, Instant::now())
            }
            Ok(None) => {
                self.publish(None);
                ChildState::Stopped
            }
            Err(reason) => self.down(reason.into()),
        })
    }

    /// Stops the node. That it was asked to is published first: its connections close before it has exited, which is
    /// no failure.
    async fn stop(&self, running: ChildNode) {
        self.publish(Some(HopLink::Down { reason: DownReason::Stopping }));
        running.stop().await;
        self.publish(Some(HopLink::Down { reason: DownReason::Stopped }));
    }

    /// Publishes how the node exited by itself, and schedules the restart.
    fn crashed(&self, status: Option<std::process::ExitStatus>, pauses: &mut ExponentialBackoff) -> ChildState {
        let how = exit_text(status);
        // It was asked to exit.
        if status.is_some_and(|status| status.success()) {
            return self.down(DownReason::Stopped);
        }
        let Some(pause) = pauses.next() else {
            return self
                .down(format!("{how}, for the {MAX_CRASHES}th time in a row: not restarted automatically").into());
        };
        self.publish(Some(HopLink::Down { reason: format!("{how}: restarting in {} s", pause.as_secs()).into() }));
        ChildState::Crashed(Instant::now() + pause)
    }

    fn down(&self, reason: DownReason) -> ChildState {
        self.publish(Some(HopLink::Down { reason }));
        ChildState::Stopped
    }

    fn publish(&self, link: Option<HopLink>) {
        self.links.send_modify(|links| links[self.spec.hop - 1] = link);
    }
}
