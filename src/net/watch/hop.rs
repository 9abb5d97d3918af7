//! The task of one hop: finds out what it is, follows its events, and comes back with growing patience.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use tokio::pin;
use tokio::time::{Instant, sleep, sleep_until};

use super::stream::{BodyLines, StreamEnd};
use super::subject::Subject;
use crate::net::http_client::{PendingReply, ask, hops_of, is_problem, page_request, short_body};
use crate::net::os::deadline::within;
use crate::net::supervisor::{HopLinks, is_near};
use crate::net::upstream::connect::connect;
use crate::net::upstream::protocols::{SILENCE, probe};
use crate::net::upstream::resolve::Resolver;
use crate::route::{Hop, Protocol};
use crate::secret::Secret;
use crate::snapshot::{DownReason, HopLink, NodeSnapshot};
use crate::text::SafeText;
use crate::wire::{Problem, Reason, problem};

/// The page, and how often it is to say something.
const EVENTS: &str = "/v1/events?interval=250ms";
/// The shortest and the longest pause before a hop is tried again.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(5);
/// Pauses between attempts to follow a hop.
const BACKOFF: ExponentialBuilder =
    ExponentialBuilder::new().with_min_delay(SHORTEST).with_max_delay(LONGEST).without_max_times();
/// Reports taken per second at most: no screen shows more, and reading slower slows the sender.
const PACE: Duration = Duration::from_millis(50);
/// How long a hop may take to be connected to, and to answer.
const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(5);
/// How long the question in the legacy protocol may take; the original answers at once.
const PROBE: Duration = Duration::from_secs(1);

/// Why there is no stream of events.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    /// It cannot be reached, and why.
    Down(SafeText),
    /// Its machine answers, and nobody listens on its port.
    Refused,
    /// It speaks only the legacy protocol.
    Original,
    /// It takes connections and says nothing that could be an answer.
    Silent(SafeText),
    /// It speaks HTTP, and is no node or does not let us read.
    Foreign,
    /// It drained, and has told all there was to tell.
    Left,
}

/// The task of one hop.
pub(super) struct HopTask {
    subject: Arc<Subject>,
    token: Option<Secret>,
    spawned_token: Option<Secret>,
    /// What the supervisor says.
    told: Option<HopLink>,
    /// The hop was found to speak the legacy protocol alone, so it is not asked in HTTP again.
    legacy: bool,
}

impl HopTask {
    /// A task for this hop, with its own token and that of the nodes we started.
    pub(super) fn new(subject: Arc<Subject>, token: Option<Secret>, spawned_token: Option<Secret>) -> Self {
        let legacy = subject.hop().protocol == Some(Protocol::Legacy);
        Self { subject, token, spawned_token, told: None, legacy }
    }

    /// Runs until it is aborted.
    pub(super) async fn run(mut self, mut links: Option<HopLinks>) {
        let mut pauses = BACKOFF.build();
        loop {
            let told = links.as_mut().and_then(|links| links.borrow_and_update()[self.subject.at].clone());
            if told != self.told {
                self.heed(told);
                pauses = BACKOFF.build();
            }
            if matches!(self.told, Some(HopLink::Down { .. })) {
                // It may be answering still while it leaves; whoever comes in its place is found soon enough.
                tokio::select! {
                    () = sleep(SHORTEST) => {}
                    _ = news(links.as_mut(), self.subject.at, self.told.as_ref()) => continue,
                }
            }
            let mut reported = false;
            let mut told = self.told.clone();
            let ended = {
                let follow = self.follow(&mut reported);
                pin!(follow);
                loop {
                    tokio::select! {
                        failure = &mut follow => break Some(failure),
                        now = news(links.as_mut(), self.subject.at, told.as_ref()) => told = now,
                    }
                    // One that was asked to stop reports until its last transfer is over.
                    if !matches!(told, Some(HopLink::Down { reason: DownReason::Stopping })) {
                        break None;
                    }
                }
            };
            let Some(failure) = ended else { continue };
            self.told = told;
            self.failed(failure);
            if reported {
                pauses = BACKOFF.build();
            }
            tokio::select! {
                () = sleep(pauses.next().unwrap_or(LONGEST)) => {}
                _ = news(links.as_mut(), self.subject.at, self.told.as_ref()) => {}
            }
        }
    }

    /// Takes what the supervisor says; that a node runs is shown only when it reports.
    fn heed(&mut self, told: Option<HopLink>) {
        self.told = told;
        let ours = self.told.is_some();
        self.subject.change(|state| std::mem::replace(&mut state.ours, ours) != ours);
        if !ours && self.subject.state().link == HopLink::Starting {
            // Nothing was to be started: somebody listens there.
            self.set(HopLink::Unknown);
        }
        if let Some(link @ (HopLink::Starting | HopLink::Down { .. })) = self.told.clone() {
            self.set(link);
        }
    }

    fn set(&self, link: HopLink) {
        self.subject.change(|state| state.set_link(link));
    }

    /// Shows why there are no reports; what the supervisor knows of its own node goes first.
    fn failed(&mut self, failure: Failure) {
        self.legacy = failure == Failure::Original || (self.legacy && !matches!(failure, Failure::Foreign));
        let link = match (failure, &self.told) {
            // Whatever answers on the way there while it is being started, is not it.
            (_, Some(told @ HopLink::Starting))
            | (
                Failure::Down(_) | Failure::Refused | Failure::Silent(_) | Failure::Left,
                Some(told @ HopLink::Down { .. }),
            ) => told.clone(),
            (Failure::Left, _) => HopLink::Down { reason: DownReason::Stopped },
            // That nobody listens any more is no news of one that was seen to stop.
            (Failure::Down(_) | Failure::Refused, _) if self.is_stopped() => return,
            (Failure::Down(reason) | Failure::Silent(reason), _) => HopLink::Down { reason: reason.into() },
            (Failure::Refused, _) => HopLink::Down { reason: Reason::Refused.as_str().into() },
            (Failure::Original, _) => HopLink::Original,
            (Failure::Foreign, _) => HopLink::Foreign,
        };
        self.set(link);
    }

    /// Opens the stream and takes its reports to the end.
    async fn follow(&self, reported: &mut bool) -> Failure {
        let asked = match self.open().await {
            Ok(asked) => asked,
            Err(failure) => return failure,
        };
        let _driver = asked.driver;
        let mut lines = BodyLines::new(asked.reply.into_body());
        let mut due = Instant::now();
        let mut draining = false;
        loop {
            let node: NodeSnapshot = match lines.next().await.map(|line| serde_json::from_slice(&line)) {
                Ok(Ok(node)) => node,
                Ok(Err(_)) | Err(StreamEnd::TooLong) => return Failure::Foreign,
                Err(StreamEnd::Quiet) => return Failure::Down("says nothing any more".into()),
                Err(StreamEnd::Whole) if draining => return Failure::Left,
                Err(StreamEnd::Whole | StreamEnd::Closed) => return Failure::Down("closed the connection".into()),
            };
            draining = node.draining;
            let link = match &self.told {
                Some(told @ HopLink::Spawned { .. }) => told.clone(),
                _ => HopLink::Attached,
            };
            *reported = true;
            self.subject.change(|state| {
                let linked = state.set_link(link);
                state.report(node, Instant::now()) || linked
            });
            sleep_until(due).await;
            due = Instant::now() + PACE;
        }
    }

    /// Asks for the events: directly, and where there is no way, through the hops before.
    async fn open(&self) -> Result<PendingReply, Failure> {
        let hops = &self.subject.way;
        let direct = if is_near(hops, self.subject.at) {
            self.direct(&hops[self.subject.at]).await
        } else {
            Err(Failure::Down("its address is of loopback on another machine".into()))
        };
        match direct {
            // One that was started here is on this machine, and the hops before it need not see the token made for it.
            direct if self.subject.at == 0 || self.is_spawned() => direct,
            // A refusal by the hop's own machine says more than what the chain makes of it.
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
            match probe(&Resolver::default(), &hop.address, PROBE, &|_| Ok(())).await {
                Some(Protocol::Legacy) => return Err(Failure::Original),
                Some(Protocol::Http) => {}
                None => {
                    let connected = connect(&hop.address, CONNECT, &|_| Ok(()), b"", None).await;
                    let silent = |_| Failure::Silent("did not reply in time".into());
                    return Err(connected.map_or_else(|problem| not_connected(&problem), silent));
                }
            }
        }
        let connected = connect(&hop.address, CONNECT, &|_| Ok(()), b"", None).await;
        let connected = connected.map_err(|problem| not_connected(&problem))?;
        let request =
            page_request(&hop.address, &[], EVENTS, self.token(), ANSWER).map_err(|error| no_request(&error))?;
        let asking = ask(connected.stream, &hop.address, request, ANSWER);
        pin!(asking);
        let early = within(SILENCE, &mut asking).await.ok();
        // The original says nothing to HTTP, or trips over it and closes; a question of its own tells it from a slow
        // node, and from one that is leaving.
        let is_odd = early.as_ref().is_none_or(|asked| asked.as_ref().is_err_and(|why| why.reason == Reason::Closed));
        if is_odd && probe(&Resolver::default(), &hop.address, PROBE, &|_| Ok(())).await == Some(Protocol::Legacy) {
            return Err(Failure::Original);
        }
        let asked = match early {
            Some(asked) => asked,
            None => asking.await,
        };
        match asked {
            Ok(asked) => judge(asked, 0, 0).await,
            Err(problem) if problem.reason == Reason::Closed => Err(down(&problem)),
            Err(problem) => Err(Failure::Silent(problem.to_string().into())),
        }
    }

    /// Asks hop 1 for the page of this hop.
    async fn through(&self) -> Result<PendingReply, Failure> {
        let (first, behind) = (&self.subject.way[0].address, &self.subject.way[1..=self.subject.at]);
        let named = |problem: Problem| Failure::Down(format!("hop 1: {problem}").into());
        let connected = connect(first, CONNECT, &|_| Ok(()), b"", None).await.map_err(named)?;
        let request = page_request(first, behind, EVENTS, self.token(), ANSWER).map_err(|error| no_request(&error))?;
        let asked = ask(connected.stream, first, request, ANSWER).await.map_err(named)?;
        judge(asked, self.subject.at as u32, self.subject.at as u32).await
    }

    /// A random token is for the nodes it was made for, and for nobody who may stand in their place.
    fn token(&self) -> Option<&Secret> {
        if self.is_spawned() { self.spawned_token.as_ref() } else { self.token.as_ref() }
    }

    fn is_stopped(&self) -> bool {
        self.subject.state().link == HopLink::Down { reason: DownReason::Stopped }
    }

    fn is_spawned(&self) -> bool {
        matches!(self.told, Some(HopLink::Spawned { .. }))
    }
}

/// Waits until the supervisor says something else of this hop than it did; the answer is that.
async fn news(links: Option<&mut HopLinks>, at: usize, told: Option<&HopLink>) -> Option<HopLink> {
    if let Some(links) = links
        && let Ok(links) = links.wait_for(|links| links[at].as_ref() != told).await
    {
        return links[at].clone();
    }
    std::future::pending().await
}

/// Tells a stream of events from everything else; `hops` relays should have passed it on.
async fn judge(asked: PendingReply, hops: u32, hop: u32) -> Result<PendingReply, Failure> {
    let (status, headers) = (asked.reply.status(), asked.reply.headers());
    let events = headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/x-ndjson");
    if status == StatusCode::OK && events && hops_of(headers) == hops {
        return Ok(asked);
    }
    if !is_problem(headers) {
        let busy = status == StatusCode::SERVICE_UNAVAILABLE;
        return Err(if busy { Failure::Down(Reason::Busy.as_str().into()) } else { Failure::Foreign });
    }
    let PendingReply { reply, driver: _driver } = asked;
    let body = short_body(reply.into_body(), problem::MAX_BODY, PROBE).await;
    let Some(problem) = body.and_then(|body| Problem::from_json(&body)) else { return Err(Failure::Foreign) };
    // It answered, with something else or with a refusal; a hop that says nothing may be anything.
    let answered = matches!(problem.reason, Reason::RouteIgnored | Reason::Unauthorized);
    if problem.hop != hop {
        // The way there is broken, which says nothing of the hop itself.
        return Err(Failure::Down(format!("hop {}: {problem}", problem.hop.saturating_add(1)).into()));
    }
    Err(if answered { Failure::Foreign } else { down(&problem) })
}

/// No request can be made of its address.
fn no_request(error: &hyper::http::Error) -> Failure {
    Failure::Down(format!("cannot be asked: {error}").into())
}

/// Why the hop could not be connected to from here.
fn not_connected(problem: &Problem) -> Failure {
    if problem.reason == Reason::Refused { Failure::Refused } else { down(problem) }
}

fn down(problem: &Problem) -> Failure {
    Failure::Down(problem.to_string().into())
}
