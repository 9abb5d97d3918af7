//! The state of one hop: the newest report, the rates computed from it, and the evidence for the verdict.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::meter::{RateWindow, SlidingWindow, WINDOW_US};
use crate::route::Hop;
use crate::snapshot::{ConnSnapshot, ConnState, Flow, HopLink, HopSnapshot, NodeSnapshot, RATE_SAMPLES};

/// A report older than this is not evidence of the present.
const MAX_AGE: Duration = Duration::from_millis(1500);

/// Bodies that were active for less than this of the last second, in µs, are too short to attribute their time.
const MIN_ACTIVE_US: u64 = 100_000;

/// State of one hop; written by its task, copied by readers.
#[derive(Debug, Default)]
pub(super) struct HopState {
    pub(super) link: HopLink,
    /// Started by this program.
    pub(super) ours: bool,
    node: Option<NodeSnapshot>,
    seen: Option<Instant>,
    window_in: RateWindow,
    window_out: RateWindow,
    rate_in: u64,
    rate_out: u64,
    history: VecDeque<u64>,
    flows: SlidingWindow<Flow>,
}

impl HopState {
    /// Stores a report; true if it changes anything visible.
    pub(super) fn report(&mut self, node: NodeSnapshot, now: Instant) -> bool {
        let before = self.node.as_ref();
        let visible = before.is_none_or(|before| differs(before, &node));
        let restarted = before.is_some_and(|before| before.node != node.node || before.uptime_us > node.uptime_us);
        if restarted {
            self.reset_rates();
        }
        let (time, flow) = (node.uptime_us, node.totals.flow);
        // The rates keep their own samples, which are as bounded as those of this window.
        if self.flows.feed(time, flow, WINDOW_US) {
            self.rate_in = self.window_in.feed(time, flow.bytes_in);
            self.rate_out = self.window_out.feed(time, flow.bytes_out);
        }
        self.node = Some(node);
        self.seen = Some(now);
        visible
    }

    /// Sets the link state; true if it changed.
    pub(super) fn set_link(&mut self, link: HopLink) -> bool {
        if !matches!(link, HopLink::Spawned { .. } | HopLink::Attached) {
            self.reset_rates();
        }
        let visible = self.link != link;
        self.link = link;
        visible
    }

    /// Appends the rate to the history; true if a line drawn from it changes.
    pub(super) fn sample(&mut self, now: Instant) -> bool {
        let stale = self.seen.is_none_or(|seen| now.duration_since(seen) > MAX_AGE);
        if stale {
            (self.rate_in, self.rate_out) = (0, 0);
        }
        let flat = self.rate_out == 0 && self.history.iter().all(|rate| *rate == 0);
        self.history.push_back(self.rate_out);
        if self.history.len() > RATE_SAMPLES {
            self.history.pop_front();
        }
        // A stale report still needs a redraw, which shows its age.
        !flat || (stale && self.link.is_up() && self.node.is_some())
    }

    /// Activity of the hop over the last second of its own time; empty if its reports are stale.
    fn flow(&self, now: Instant) -> Flow {
        let fresh = self.seen.is_some_and(|seen| now.duration_since(seen) <= MAX_AGE);
        self.flows.change().filter(|_| fresh).unwrap_or_default()
    }

    /// Returns the hop as the screen shows it.
    pub(super) fn copy(&self, at: usize, hop: &Hop, origin: bool, now: Instant) -> HopSnapshot {
        HopSnapshot {
            number: at + 1,
            address: hop.address.to_string().into(),
            label: hop.label(),
            origin,
            key: hop.key.map(|key| key.short().into()).unwrap_or_default(),
            link: self.link.clone(),
            ours: self.ours,
            node: self.node.clone(),
            age: self.seen.map(|seen| now.duration_since(seen)).unwrap_or_default(),
            rate_in: self.rate_in,
            rate_out: self.rate_out,
            history: self.history.iter().copied().collect(),
            ..self.evidence(now)
        }
    }

    /// Returns the evidence of its newest report over all bodies.
    fn evidence(&self, now: Instant) -> HopSnapshot {
        let share = |us: fn(&Flow) -> u64| {
            let flow = self.flow(now);
            (flow.active_us >= MIN_ACTIVE_US).then(|| (us(&flow) as f64 / flow.active_us as f64).min(1.0))
        };
        let node = self.node.as_ref();
        HopSnapshot {
            starved_share: share(|flow| flow.starved_us),
            blocked_share: share(|flow| flow.blocked_us),
            limited_share: share(|flow| flow.limited_us),
            tcp: node.and_then(NodeSnapshot::tcp),
            buffered: node.map(NodeSnapshot::buffered),
            ..HopSnapshot::default()
        }
    }

    /// Clears the rates: the node was replaced by another one, or is down.
    fn reset_rates(&mut self) {
        self.flows = SlidingWindow::default();
        (self.window_in, self.window_out) = (RateWindow::default(), RateWindow::default());
        (self.rate_in, self.rate_out) = (0, 0);
    }
}

/// True if two reports differ visibly; uptime always differs, and our own requests to endpoints do not count.
fn differs(before: &NodeSnapshot, after: &NodeSnapshot) -> bool {
    let compared = |node: &NodeSnapshot| (node.totals, node.omitted, node.draining, node.faults, node.node.clone());
    compared(before) != compared(after) || !shown(before).eq(shown(after))
}

fn shown(node: &NodeSnapshot) -> impl Iterator<Item = &ConnSnapshot> {
    node.connections.iter().filter(|conn| conn.state != ConnState::Admin)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot::Totals;

    fn node(uptime_us: u64, bytes: u64) -> NodeSnapshot {
        let flow = Flow { bytes_in: bytes, bytes_out: bytes, active_us: bytes.saturating_mul(250), ..Flow::default() };
        NodeSnapshot { uptime_us, totals: Totals { flow, ..Totals::default() }, ..NodeSnapshot::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn rates_and_evidence_cover_the_last_second() {
        let mut state = HopState::default();
        let now = Instant::now();
        for step in 0..=8 {
            state.report(node(step * 250_000, step * 1000), now);
        }
        assert!(state.sample(now));
        let hop = state.copy(0, &Hop::parse_element("h:1").unwrap(), true, now);
        assert_eq!((hop.rate_in, hop.rate_out, hop.history.as_slice()), (4000, 4000, &[4000][..]));
        assert_eq!((state.flow(now).bytes_in, state.flow(now).active_us), (4000, 1_000_000));
        assert_eq!((hop.starved_share, hop.buffered, hop.tcp), (Some(0.0), Some(0), None));
        let later = now + Duration::from_secs(2);
        assert_eq!(state.flow(later), Flow::default());
        state.sample(later);
        assert_eq!(state.copy(0, &Hop::parse_element("h:1").unwrap(), true, later).rate_out, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_of_a_few_ms_has_no_shares() {
        for (active_us, share) in [(9_000, None), (100_000, Some(0.84))] {
            let mut state = HopState::default();
            let now = Instant::now();
            state.report(node(0, 0), now);
            let blocked_us = active_us * 84 / 100;
            let flow = Flow { bytes_out: 372_100, active_us, blocked_us, ..Flow::default() };
            let totals = Totals { flow, ..Totals::default() };
            state.report(NodeSnapshot { uptime_us: 1_000_000, totals, ..NodeSnapshot::default() }, now);
            let hop = state.copy(0, &Hop::parse_element("h:1").unwrap(), true, now);
            assert_eq!((hop.rate_out, hop.blocked_share), (372_100, share));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_restarted_node_counts_from_its_own_start() {
        let mut state = HopState::default();
        let now = Instant::now();
        state.report(node(5_000_000, 9_000_000), now);
        state.report(node(250_000, 100), now);
        assert_eq!((state.rate_out, state.flow(now)), (0, Flow::default()));
        state.report(node(500_000, 350), now);
        assert_eq!(state.rate_out, 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_hop_needs_no_redraw() {
        let mut state = HopState::default();
        let now = Instant::now();
        assert!(state.report(node(1, 5), now));
        assert!(!state.report(node(300_000, 5), now) && !state.sample(now));
        let mut endpoint = node(600_000, 5);
        endpoint.connections.push(ConnSnapshot { state: ConnState::Admin, age_ms: 9, ..ConnSnapshot::default() });
        assert!(!state.report(endpoint.clone(), now));
        endpoint.connections.push(ConnSnapshot::default());
        assert!(state.report(endpoint, now));
        assert!(state.set_link(HopLink::Attached) && !state.set_link(HopLink::Attached));
    }

    proptest! {
        #[test]
        fn memory_is_bounded_for_arbitrary_reports(
            claims in proptest::collection::vec((any::<u64>(), any::<u64>(), any::<bool>()), 0..400),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let _in = runtime.enter();
            let mut state = HopState::default();
            let mut time = 0;
            for (claim, bytes, near) in claims {
                time = if near { time + claim % 20_000 } else { claim };
                let flow = Flow { starved_us: claim, active_us: bytes, ..node(0, bytes).totals.flow };
                let totals = Totals { flow, ..Totals::default() };
                state.report(NodeSnapshot { uptime_us: time, totals, ..NodeSnapshot::default() }, Instant::now());
                state.sample(Instant::now());
                state.flow(Instant::now());
                prop_assert!(state.history.len() <= RATE_SAMPLES);
            }
        }
    }
}
