//! One route of a transfer over several connections: how many it uses, what it has brought, and what became of it.

use std::time::Duration;

use tokio::time::Instant;

use crate::connections::{ConnectionCount, Connections};
use crate::error::Error;
use crate::growth::Growth;
use crate::net::fetch::job::FetchJob;
use crate::net::fetch::resume_state::ResumeSource;
use crate::net::fetch::retry::{RetryPolicy, is_transient};
use crate::net::upstream::{Upstream, UpstreamReply};
use crate::snapshot::verdict::{Limit, Verdict};
use crate::snapshot::{RouteProgress, RouteState};
use crate::text::SafeText;
use crate::wire::{Leg, Reason};

/// One route to the file.
pub(super) struct TransferRoute {
    /// Its number, from 1.
    pub(super) number: u8,
    /// A job of this route.
    pub(super) job: FetchJob,
    /// An upstream without a connection, from which those of its connections are made.
    pub(super) upstream: Upstream,
    /// The version of the file at its origin, once that is known.
    pub(super) version: Option<Version>,
    pub(super) state: RouteState,
    /// Connections that it should have, and at most.
    pub(super) target: usize,
    most: usize,
    pub(super) growth: Option<Growth>,
    policy: RetryPolicy,
    /// When it is tried again after a failure.
    due: Option<Instant>,
    /// Bytes of ended connections, and all bytes at the last failure.
    pub(super) ended: u64,
    at_failure: u64,
    /// Round trip through all of its links.
    pub(super) round_trip: Duration,
    verdict: Option<Verdict>,
    error: Option<SafeText>,
    failed_hop: Option<usize>,
}

/// A version of the file, and the reply that names it.
pub(super) struct Version {
    pub(super) source: ResumeSource,
    pub(super) response: Box<UpstreamReply>,
}

impl TransferRoute {
    /// Creates a route whose file is not checked yet; `count` is how many connections it may have.
    pub(super) fn new(number: u8, job: FetchJob, upstream: Upstream, connections: Connections, count: usize) -> Self {
        let growth = (connections == Connections::Auto)
            .then(|| Growth::new(ConnectionCount::new(count).unwrap_or(ConnectionCount::ONE)));
        let target = if growth.is_some() { 1 } else { count };
        let policy = RetryPolicy::of_part(job.retries);
        Self {
            number,
            job,
            upstream,
            version: None,
            state: RouteState::Checking,
            target,
            most: count,
            growth,
            policy,
            due: None,
            ended: 0,
            at_failure: 0,
            round_trip: Duration::ZERO,
            verdict: None,
            error: None,
            failed_hop: None,
        }
    }

    /// Records the version of the file at its origin: the route can be used.
    pub(super) fn is_same(&mut self, source: ResumeSource, response: Box<UpstreamReply>, legs: &[Leg]) {
        self.round_trip = round_trip(legs);
        (self.version, self.state) = (Some(Version { source, response }), RouteState::Active);
    }

    /// Returns true if a connection may be started now.
    pub(super) fn is_usable(&self) -> bool {
        let waited = self.due.is_none_or(|due| Instant::now() >= due);
        matches!(self.state, RouteState::Active | RouteState::Waiting) && waited
    }

    /// Sets how many connections it should have; returns the number before.
    pub(super) fn resize(&mut self, wanted: usize) -> usize {
        std::mem::replace(&mut self.target, wanted.min(self.most).max(1))
    }

    /// Records what limits it. A connection that has just begun says nothing yet, and the last verdict stays.
    pub(super) fn limited_by(&mut self, verdict: Verdict) {
        if verdict.limit != Limit::Measuring || self.verdict.is_none() {
            self.verdict = Some(verdict);
        }
    }

    /// Records that a connection has ended well.
    pub(super) fn works(&mut self) {
        (self.state, self.due, self.error, self.failed_hop) = (RouteState::Active, None, None, None);
    }

    /// Records that bytes come by it: after a failure it waits no longer.
    pub(super) fn moves(&mut self) {
        if self.state == RouteState::Waiting {
            self.works();
        }
    }

    /// Records the failure of a connection, after which this many others run; all bytes so far tell whether it has made
    /// progress since the last failure.
    pub(super) fn fail(&mut self, error: &Error, others: usize, bytes: u64) {
        (self.error, self.failed_hop) = (Some(error.to_string().into()), error.hop());
        let progressed = bytes > std::mem::replace(&mut self.at_failure, bytes);
        if is_busy(error) || !is_transient(error) {
            // What the origin refuses to a further connection, it would refuse again.
            self.limit(others);
            if others > 0 {
                return;
            }
        }
        match self.policy.after(error, progressed) {
            Some(retry) => {
                self.due = Some(Instant::now() + retry.pause);
                if others == 0 {
                    self.state = RouteState::Waiting;
                }
            }
            None if others == 0 => self.state = RouteState::Failed,
            None => self.limit(others),
        }
    }

    /// Limits it to this many connections, or one.
    fn limit(&mut self, connections: usize) {
        self.most = connections.max(1);
        self.resize(self.target);
    }

    /// Records that it could not be checked.
    pub(super) fn give_up(&mut self, error: &Error) {
        (self.state, self.error, self.failed_hop) = (RouteState::Failed, Some(error.to_string().into()), error.hop());
    }

    /// Records that it leads elsewhere.
    pub(super) fn refuse(&mut self, why: &'static str) {
        (self.state, self.error) = (RouteState::Refused, Some(why.into()));
    }

    /// Returns its progress.
    pub(super) fn progress(&self, received: u64, rate: u64) -> RouteProgress {
        let hops = self.job.route.hops().iter().map(|hop| hop.address.to_string()).collect::<Vec<_>>();
        RouteProgress {
            number: usize::from(self.number),
            chain: hops.join(", ").into(),
            received,
            rate,
            state: self.state,
            verdict: self.verdict,
            error: self.error.clone(),
            failed_hop: self.failed_hop,
        }
    }
}

/// Returns the round trip through all links, as far as their set-up shows it.
fn round_trip(legs: &[Leg]) -> Duration {
    let connects: f64 = legs.iter().map(|leg| leg.connect_ms).sum();
    // Over an idle connection nothing was connected, and the reply took one round trip.
    let ms = if connects > 0.0 { connects } else { legs.first().map_or(0.0, |leg| leg.wait_ms) };
    Duration::from_secs_f64((ms / 1000.0).clamp(0.0, 60.0))
}

fn is_busy(error: &Error) -> bool {
    matches!(error, Error::Hop(fault) if matches!(fault.problem.reason, Reason::Busy | Reason::TooManyTransfers))
}
