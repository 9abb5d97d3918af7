//! Changes while a file is received over several connections: their number, their shares of the rate limit, and pieces
//! that do not move.

use std::time::Duration;

use tokio::time::Instant;

use super::Run;
use crate::growth::Sample;
use crate::net::fetch::ranges::observe::Finding;
use crate::snapshot::verdict::Limit;
use crate::snapshot::{ConnectionsStep, Phase};

/// Bytes of the first piece of a connection that is on trial, in seconds of one connection's rate: it lasts as long as
/// the trial, and little is left to give back afterwards.
const TRIAL_PIECE: f64 = 3.0;
/// Least time without data after which the piece of a connection may be received by others.
const LEAST_STALL: Duration = Duration::from_secs(2);
/// Round trips without data that the chain explains.
const STALL_ROUND_TRIPS: u32 = 5;

/// Least time between two requests to the hops: while a decision depends on them, and otherwise.
const DECISION_INTERVAL: Duration = Duration::from_millis(100);
const DISPLAY_INTERVAL: Duration = Duration::from_millis(500);

impl Run<'_, '_> {
    /// Looks at all connections, ten times a second.
    pub(super) fn look(&mut self) {
        let now = Instant::now();
        for (number, active) in &mut self.active {
            let news = active.news.borrow();
            self.shared.with_map(|map| map.measure(*number, news.rate));
            if news.flow.bytes_in != active.bytes {
                (active.bytes, active.moved) = (news.flow.bytes_in, now);
            }
        }
        self.share_rate_limit();
        self.release_stalled(now);
        for at in 0..self.ways.len() {
            self.grow(at, None);
        }
        self.publish();
    }

    /// Stops a connection that does not move, if another could receive its piece: others do move.
    fn release_stalled(&mut self, now: Instant) {
        if self.active.values().all(|active| active.bytes == 0 || now.duration_since(active.moved) >= LEAST_STALL) {
            return;
        }
        for at in 0..self.ways.len() {
            let limit = LEAST_STALL.max(self.ways[at].round_trip * STALL_ROUND_TRIPS);
            let has_room = |at: usize| self.count(at) < self.ways[at].target && self.ways[at].is_usable();
            if !(0..self.ways.len()).any(has_room) {
                return;
            }
            let stalled = self.active.values_mut().find(|active| {
                let streams = active.news.borrow().phase == Phase::Streaming;
                active.way == at && streams && !active.stalled && now.duration_since(active.moved) >= limit
            });
            if let Some(active) = stalled {
                active.stalled = true;
                active.stop.cancel();
            }
        }
    }

    /// Changes the number of connections of a way, if a step is due.
    pub(super) fn grow(&mut self, at: usize, finding: Option<Finding>) {
        let of_way = || self.active.iter().filter(|(_, active)| active.way == at && !active.stalled);
        let delivers = of_way().filter(|(_, active)| active.bytes > 0).count();
        let sample = Sample {
            now_us: self.clock.now_us(),
            bytes: self.received(at),
            active: delivers,
            pending: of_way().count() - delivers,
            rtt_us: self.ways[at].round_trip.as_micros() as u64,
            limit: finding.map(|finding| finding.limit).filter(|limit| *limit != Limit::Measuring),
            link: finding.and_then(|finding| finding.link),
            own_limit: self.rate_limit.get().is_some(),
            left: self.left(),
        };
        let representative = of_way().find(|(_, active)| active.bytes > 0);
        let representative = representative.map(|(number, active)| (*number, active.news.borrow().clone()));
        let way = &mut self.ways[at];
        if let Some(finding) = finding {
            way.verdict = Some(finding.verdict);
        }
        let step = way.growth.as_mut().and_then(|growth| growth.feed(&sample));
        // A fixed number depends on no verdict, which is only shown.
        let pause = match &way.growth {
            Some(growth) => growth.wants_verdict(sample.now_us).then_some(DECISION_INTERVAL),
            None => Some(DISPLAY_INTERVAL),
        };
        if let (Some(pause), Some((number, transfer))) = (pause, representative) {
            self.observer.query(at, &way.job.route, (number, &transfer), pause);
        }
        let Some(step) = step else { return };
        let before = way.resize(step.connections);
        let reason = step.reason.to_string().into();
        let (route, to) = (usize::from(way.number), way.target);
        let elapsed = Duration::from_micros(self.tracker.now_us());
        self.steps.record(ConnectionsStep { at: elapsed, route, from: before, to, reason });
        self.retire(at);
    }

    /// Lets the newest connections end with their pieces while a way has more than it should.
    fn retire(&mut self, at: usize) {
        let target = self.ways[at].target;
        let of_way = self.active.values().filter(|active| active.way == at && !active.stalled);
        for (position, active) in of_way.enumerate() {
            if position >= target {
                active.retired.cancel();
            }
        }
    }

    /// Returns the most bytes of the first piece of a connection.
    pub(super) fn first_piece(&self, at: usize) -> Option<u64> {
        let way = &self.ways[at];
        if way.growth.is_none() {
            // All begin with an equal share, of what has not begun.
            let missing = self.ways.iter().map(|way| way.target).sum::<usize>().saturating_sub(self.active.len());
            return self.shared.with_map(|map| map.unassigned()).checked_div(missing as u64).filter(|share| *share > 0);
        }
        let count = self.count(at) as u64;
        // The first connection has no end but that of the file; the others are on trial.
        let rate = self.rate(at).checked_div(count)?;
        Some((rate as f64 * TRIAL_PIECE) as u64)
    }

    /// Gives each connection its share of the user's rate limit.
    pub(super) fn share_rate_limit(&self) {
        let count = self.active.len().max(1) as u64;
        let share = self.rate_limit.get().map(|rate| (rate / count).max(1));
        for active in self.active.values().filter(|active| active.rate_limit.get() != share) {
            active.rate_limit.set(share);
        }
    }
}
