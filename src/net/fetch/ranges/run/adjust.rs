//! Changes while a file is received over several connections: their number, their shares of the rate limit, and pieces
//! that do not move.

use std::time::Duration;

use tokio::time::Instant;

use super::{Active, Run};
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
                self.routes[active.route].moves();
            }
        }
        self.share_rate_limit();
        self.release_stalled(now);
        for at in 0..self.routes.len() {
            self.grow(at, None);
            self.observe(at);
        }
        self.publish();
    }

    /// Stops a connection of each route that does not move, if another could receive its piece: others do move.
    fn release_stalled(&mut self, now: Instant) {
        let still = |active: &Active| now.duration_since(active.moved);
        let is_moving = self.active.values().any(|active| active.bytes > 0 && still(active) < LEAST_STALL);
        for at in 0..self.routes.len() {
            let has_room = |at: usize| self.count(at) < self.routes[at].target && self.routes[at].is_usable();
            if !is_moving || !(0..self.routes.len()).any(has_room) {
                return;
            }
            let limit = LEAST_STALL.max(self.routes[at].round_trip * STALL_ROUND_TRIPS);
            let stalled = self.active.values_mut().find(|active| {
                let streams = active.news.borrow().phase == Phase::Streaming;
                active.route == at && streams && !active.stalled && still(active) >= limit
            });
            if let Some(active) = stalled {
                active.stalled = true;
                active.stop.cancel();
            }
        }
    }

    /// Changes the number of connections of a route, if a step is due.
    pub(super) fn grow(&mut self, at: usize, finding: Option<Finding>) {
        let of_route = || self.active.values().filter(|active| active.route == at && !active.stalled);
        let delivers = of_route().filter(|active| active.bytes > 0).count();
        let sample = Sample {
            now_us: self.tracker.now_us(),
            bytes: self.received(at),
            active: delivers,
            pending: of_route().count() - delivers,
            rtt_us: self.routes[at].round_trip.as_micros() as u64,
            limit: finding.map(|finding| finding.limit).filter(|limit| *limit != Limit::Measuring),
            link: finding.and_then(|finding| finding.link),
            own_limit: self.rate_limit.get().is_some(),
            left: self.left(),
        };
        let route = &mut self.routes[at];
        if let Some(finding) = finding {
            route.limited_by(finding.verdict);
        }
        let Some(step) = route.growth.as_mut().and_then(|growth| growth.feed(&sample)) else { return };
        let before = route.resize(step.connections);
        let reason = step.reason.to_string().into();
        let (route, to) = (usize::from(route.number), route.target);
        let elapsed = Duration::from_micros(sample.now_us);
        self.steps.record(ConnectionsStep { at: elapsed, route, from: before, to, reason });
        self.retire(at);
    }

    /// Requests what the hops record of the first connection of a route that delivers, if a decision depends on it; a
    /// fixed number depends on nothing, and its verdict is only shown.
    fn observe(&mut self, at: usize) {
        let route = &self.routes[at];
        let pause = match &route.growth {
            Some(growth) if !growth.wants_verdict(self.tracker.now_us()) => return,
            Some(_) => DECISION_INTERVAL,
            None => DISPLAY_INTERVAL,
        };
        let first = self.active.iter().find(|(_, active)| active.route == at && !active.stalled && active.bytes > 0);
        if let Some((number, active)) = first {
            self.observer.query(at, &route.job.route, (*number, &active.news.borrow()), pause);
        }
    }

    /// Lets the newest connections end with their pieces while a route has more than it should.
    fn retire(&mut self, at: usize) {
        let target = self.routes[at].target;
        let of_route = self.active.values().filter(|active| active.route == at && !active.stalled);
        for (position, active) in of_route.enumerate() {
            if position >= target {
                active.retired.cancel();
            }
        }
    }

    /// Returns the most bytes of the first piece of a connection.
    pub(super) fn first_piece(&self, at: usize) -> Option<u64> {
        let route = &self.routes[at];
        if route.growth.is_none() {
            // All begin with an equal share, of what has not begun.
            let missing = self.routes.iter().map(|route| route.target).sum::<usize>().saturating_sub(self.active.len());
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
