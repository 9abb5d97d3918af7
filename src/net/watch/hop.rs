//! The task that watches one hop: classifies it, follows its events, and retries with backoff.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use tokio::pin;
use tokio::time::{Instant, sleep, sleep_until};

use super::stream::{BodyLines, StreamEnd};
use super::subject::Subject;
use crate::keys::KeyPair;
use crate::net::endpoint_client::{EndpointClient, EndpointReply};
use crate::net::http_client::{Credentials, PendingReply, short_body};
use crate::net::os::deadline::within;
use crate::net::os::machine::Machine;
use crate::net::supervisor::{HopLinks, is_near};
use crate::net::upstream::connect::connect;
use crate::net::upstream::protocols::{SILENCE, probe};
use crate::net::upstream::resolve::Resolver;
use crate::route::{Hop, Protocol};
use crate::secret::Secret;
use crate::snapshot::{DownReason, HopLink, NodeSnapshot};
use crate::text::SafeText;
use crate::wire::{FailedAction, Problem, Reason, problem};

/// The endpoint, with the requested interval between reports.
const EVENTS: &str = "/v1/events?interval=250ms";
/// Shortest and longest pause before the next attempt.
const MIN_PAUSE: Duration = Duration::from_millis(250);
const MAX_PAUSE: Duration = Duration::from_secs(5);
/// Pauses between attempts to follow a hop.
const BACKOFF: ExponentialBuilder =
    ExponentialBuilder::new().with_min_delay(MIN_PAUSE).with_max_delay(MAX_PAUSE).without_max_times();
/// Shortest time between two reports: no screen shows more, and reading slower slows the sender down.
const MIN_INTERVAL: Duration = Duration::from_millis(50);
/// Timeout of connecting to a hop.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout of its reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout of the probe in the legacy protocol; the legacy program replies immediately.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why there is no stream of events.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    /// Cannot be reached, and why.
    Down(SafeText),
    /// Its machine refused the connection: no process listens on its port.
    Refused,
    /// Speaks only the legacy protocol.
    Legacy,
    /// Accepts connections and does not reply in time.
    Silent,
    /// Accepts connections and sends an invalid reply.
    Invalid(SafeText),
    /// Speaks HTTP, but is not a node or denies reading.
    Foreign,
    /// Finished draining and ended its stream of events.
    Drained,
}

/// The task that watches one hop.
pub(super) struct HopTask {
    subject: Arc<Subject>,
    token: Option<Secret>,
    spawned_token: Option<Secret>,
    identity: Option<Arc<KeyPair>>,
    /// Link state reported by the supervisor.
    reported_link: Option<HopLink>,
    /// The hop was found to speak only the legacy protocol, so it is probed before an HTTP request is sent.
    legacy: bool,
}

impl HopTask {
    /// Creates the task of a hop, with the hop's token, the token of the nodes this program started, and the key that
    /// signs requests.
    pub(super) fn new(
        subject: Arc<Subject>,
        token: Option<Secret>,
        spawned_token: Option<Secret>,
        identity: Option<Arc<KeyPair>>,
    ) -> Self {
        let legacy = subject.hop().protocol == Some(Protocol::Legacy);
        Self { subject, token, spawned_token, identity, reported_link: None, legacy }
    }

    /// Runs until it is aborted.
    pub(super) async fn run(mut self, mut links: Option<HopLinks>) {
        let mut pauses = BACKOFF.build();
        loop {
            let reported_link = links.as_mut().and_then(|links| links.borrow_and_update()[self.subject.at].clone());
            if reported_link != self.reported_link {
                self.on_supervisor_report(reported_link);
                pauses = BACKOFF.build();
            }
            if matches!(self.reported_link, Some(HopLink::Down { .. })) {
                // It may still reply while it shuts down; its successor is found by the next attempt.
                tokio::select! {
                    () = sleep(MIN_PAUSE) => {}
                    _ = link_change(links.as_mut(), self.subject.at, self.reported_link.as_ref()) => continue,
                }
            }
            let mut reported = false;
            let mut reported_link = self.reported_link.clone();
            let ended = {
                let follow = self.follow(&mut reported);
                pin!(follow);
                loop {
                    tokio::select! {
                        // First: the supervisor publishes that it stops a node before the node closes its connections.
                        biased;
                        now = link_change(links.as_mut(), self.subject.at, reported_link.as_ref()) => {
                            reported_link = now;
                        }
                        failure = &mut follow => break Some(failure),
                    }
                    // A node that is stopping reports until its last transfer is over.
                    if !matches!(reported_link, Some(HopLink::Down { reason: DownReason::Stopping })) {
                        break None;
                    }
                }
            };
            let Some(failure) = ended else { continue };
            self.reported_link = reported_link;
            self.failed(failure);
            if reported {
                pauses = BACKOFF.build();
            }
            tokio::select! {
                () = sleep(pauses.next().unwrap_or(MAX_PAUSE)) => {}
                _ = link_change(links.as_mut(), self.subject.at, self.reported_link.as_ref()) => {}
            }
        }
    }

    /// Applies a report of the supervisor; a node counts as up only once it sends reports itself.
    fn on_supervisor_report(&mut self, reported_link: Option<HopLink>) {
        self.reported_link = reported_link;
        let is_ours = self.reported_link.is_some();
        self.subject.change(|state| std::mem::replace(&mut state.ours, is_ours) != is_ours);
        if !is_ours && self.subject.state().link == HopLink::Starting {
            // Nothing was started: another process listens there.
            self.set(HopLink::Unknown);
        }
        if let Some(link @ (HopLink::Starting | HopLink::Down { .. })) = self.reported_link.clone() {
            self.set(link);
        }
    }

    fn set(&self, link: HopLink) {
        self.subject.change(|state| state.set_link(link));
    }

    /// Publishes why there are no reports; for its own nodes the state known to the supervisor takes precedence.
    fn failed(&mut self, failure: Failure) {
        self.legacy = failure == Failure::Legacy || (self.legacy && !matches!(failure, Failure::Foreign));
        let link = match (failure, &self.reported_link) {
            // A reply that arrives while the node is being started comes from something else.
            (_, Some(reported_link @ HopLink::Starting))
            | (
                Failure::Down(_) | Failure::Refused | Failure::Silent | Failure::Invalid(_) | Failure::Drained,
                Some(reported_link @ HopLink::Down { .. }),
            ) => reported_link.clone(),
            (Failure::Drained, _) => HopLink::Down { reason: DownReason::Stopped },
            // A refused connection is expected after the node was seen to stop.
            (Failure::Down(_) | Failure::Refused, _) if self.is_stopped() => return,
            // The supervisor knows that it is a node, and that its process runs.
            (Failure::Legacy | Failure::Foreign, Some(reported_link @ HopLink::Spawned { .. })) => {
                reported_link.clone()
            }
            (Failure::Down(reason) | Failure::Invalid(reason), _) => HopLink::Down { reason: reason.into() },
            (Failure::Silent, _) => HopLink::Down { reason: DownReason::Silent },
            (Failure::Refused, _) => HopLink::Down { reason: Reason::Refused.as_str().into() },
            (Failure::Legacy, _) => HopLink::Legacy,
            (Failure::Foreign, _) => HopLink::Foreign,
        };
        self.set(link);
    }

    /// Opens the stream and reads its reports to the end.
    async fn follow(&self, reported: &mut bool) -> Failure {
        let pending = match self.open().await {
            Ok(pending) => pending,
            Err(failure) => return failure,
        };
        let _driver = pending.driver;
        let mut lines = BodyLines::new(pending.reply.into_body());
        let mut due = Instant::now();
        let mut draining = false;
        loop {
            let node: NodeSnapshot = match lines.next().await.map(|line| serde_json::from_slice(&line)) {
                Ok(Ok(node)) => node,
                Ok(Err(_)) | Err(StreamEnd::TooLong) => return Failure::Foreign,
                Err(StreamEnd::Quiet) => return Failure::Down("sends no more events".into()),
                Err(StreamEnd::Whole) if draining => return Failure::Drained,
                Err(StreamEnd::Whole | StreamEnd::Closed) => return Failure::Down("closed the connection".into()),
            };
            draining = node.draining;
            let link = match &self.reported_link {
                Some(reported_link @ HopLink::Spawned { .. }) => reported_link.clone(),
                _ => HopLink::Attached,
            };
            *reported = true;
            self.subject.change(|state| {
                let linked = state.set_link(link);
                state.report(node, Instant::now()) || linked
            });
            sleep_until(due).await;
            due = Instant::now() + MIN_INTERVAL;
        }
    }

    /// Requests the events: directly, or through the hops before where there is no direct path.
    async fn open(&self) -> Result<PendingReply, Failure> {
        let hops = &self.subject.hops;
        let direct = if is_near(hops, self.subject.at) {
            self.direct(&hops[self.subject.at]).await
        } else {
            Err(Failure::Down("its loopback address is on another machine".into()))
        };
        match direct {
            // A node started by this program is on this machine, and the hops before it need not see the token made for
            // it.
            direct if self.subject.at == 0 || self.is_spawned() => direct,
            // A refusal by the hop's own machine is more precise than an error reported by the chain.
            Err(Failure::Refused) => match self.through().await {
                Err(Failure::Down(_) | Failure::Refused) => Err(Failure::Refused),
                through => through,
            },
            Err(Failure::Down(_)) => self.through().await,
            direct => direct,
        }
    }

    async fn direct(&self, hop: &Hop) -> Result<PendingReply, Failure> {
        if self.legacy {
            match probe(&Resolver::default(), &hop.address, PROBE_TIMEOUT, &|_| Ok(())).await {
                Some(Protocol::Legacy) => return Err(Failure::Legacy),
                Some(Protocol::Http) => {}
                None => {
                    let connected = connect(&hop.address, CONNECT_TIMEOUT).await;
                    return Err(connected.map_or_else(|problem| not_connected(&problem), |_| Failure::Silent));
                }
            }
        }
        let client = self.client();
        let conn = client.open(hop, &[]).await.map_err(|problem| not_connected(&problem))?;
        let requesting = client.request(conn, EVENTS);
        pin!(requesting);
        let early = within(SILENCE, &mut requesting).await.ok();
        // The legacy program does not reply to HTTP, or fails on it and closes; a probe in its own protocol
        // distinguishes it from a slow node and from one that is shutting down. It has no TLS, either.
        let suspicious = hop.key.is_none()
            && early.as_ref().is_none_or(|reply| reply.as_ref().is_err_and(|why| why.reason == Reason::Closed));
        if suspicious
            && probe(&Resolver::default(), &hop.address, PROBE_TIMEOUT, &|_| Ok(())).await == Some(Protocol::Legacy)
        {
            return Err(Failure::Legacy);
        }
        let reply = match early {
            Some(reply) => reply,
            None => requesting.await,
        };
        match reply {
            Ok(reply) => classify(reply, 1).await,
            Err(problem) => Err(failed_reply(&problem)),
        }
    }

    /// Requests this hop's events through hop 1.
    async fn through(&self) -> Result<PendingReply, Failure> {
        let (first, rest) = (&self.subject.hops[0], &self.subject.hops[1..=self.subject.at]);
        let hop = self.subject.at as u32 + 1;
        let failed = |problem: Problem| if problem.hop == hop { failed_reply(&problem) } else { on_the_way(&problem) };
        let client = self.client();
        let conn = client.open(first, rest).await.map_err(failed)?;
        let reply = client.request(conn, EVENTS).await.map_err(failed)?;
        classify(reply, hop).await
    }

    fn client(&self) -> EndpointClient<'_> {
        let credentials = Credentials { token: self.token(), identity: self.identity.as_ref() };
        EndpointClient { machine: Machine::default(), credentials, connect: CONNECT_TIMEOUT, reply: REPLY_TIMEOUT }
    }

    /// Returns the token for this hop; the generated token must only be sent to nodes that this program started.
    fn token(&self) -> Option<&Secret> {
        if self.is_spawned() { self.spawned_token.as_ref() } else { self.token.as_ref() }
    }

    fn is_stopped(&self) -> bool {
        self.subject.state().link == HopLink::Down { reason: DownReason::Stopped }
    }

    fn is_spawned(&self) -> bool {
        matches!(self.reported_link, Some(HopLink::Spawned { .. }))
    }
}

/// Waits until the supervisor reports another link state for this hop; returns that state.
async fn link_change(links: Option<&mut HopLinks>, at: usize, reported_link: Option<&HopLink>) -> Option<HopLink> {
    if let Some(links) = links
        && let Ok(links) = links.wait_for(|links| links[at].as_ref() != reported_link).await
    {
        return links[at].clone();
    }
    std::future::pending().await
}

/// Accepts a stream of events of the hop itself, and classifies any other reply as a failure; `hop` counts from 1.
async fn classify(reply: EndpointReply, hop: u32) -> Result<PendingReply, Failure> {
    let (status, headers) = (reply.pending.reply.status(), reply.pending.reply.headers());
    let events = headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/x-ndjson");
    if status == StatusCode::OK && events && reply.is_of_last() {
        return Ok(reply.pending);
    }
    if !reply.is_problem() {
        let busy = status == StatusCode::SERVICE_UNAVAILABLE;
        return Err(if busy { Failure::Down(Reason::Busy.as_str().into()) } else { Failure::Foreign });
    }
    let counted = reply.counting();
    let PendingReply { reply, driver: _driver } = reply.pending;
    let body = short_body(reply.into_body(), problem::MAX_BODY, PROBE_TIMEOUT).await;
    let problem = body.and_then(|body| Problem::from_json(&body)).map(counted);
    let Some(problem) = problem else { return Err(Failure::Foreign) };
    // It replied, with something else or with a refusal; a hop that does not reply may be anything.
    let replied = matches!(
        problem.reason,
        Reason::RouteIgnored | Reason::Unauthorized | Reason::KeyRequired | Reason::BadSignature
    );
    if problem.hop != hop {
        return Err(on_the_way(&problem));
    }
    Err(if replied { Failure::Foreign } else { failed_reply(&problem) })
}

/// Classifies a failed exchange with the hop.
fn failed_reply(problem: &Problem) -> Failure {
    match (problem.action, problem.reason) {
        (FailedAction::Reply, Reason::TimedOut) => Failure::Silent,
        (FailedAction::Reply, Reason::BadResponse) => Failure::Invalid(problem.to_string().into()),
        _ => down(problem),
    }
}

/// The path to the hop is broken, which is no evidence about the hop itself.
fn on_the_way(problem: &Problem) -> Failure {
    Failure::Down(format!("hop {}: {problem}", problem.hop.max(1)).into())
}

/// Classifies a failed connection attempt to the hop.
fn not_connected(problem: &Problem) -> Failure {
    if problem.reason == Reason::Refused { Failure::Refused } else { down(problem) }
}

fn down(problem: &Problem) -> Failure {
    Failure::Down(problem.to_string().into())
}
