//! Verdict on running transfers, over a sliding window of the hops' reports, and their stalls.
//!
//! Only the bodies of this client's own transfers count; those of other clients are evaluated separately.

use std::collections::{BTreeMap, BTreeSet};

use super::debounce::Debounce;
use super::evaluate::{evaluate, evaluate_others};
use super::stage::Stage;
use crate::faults::Faults;
use crate::growth::LinkState;
use crate::meter::{Difference, SlidingWindow};
use crate::snapshot::verdict::{Limit, Verdict};
use crate::snapshot::{
    ConnSnapshot, ConnState, Flow, HopSnapshot, Load, NodeSnapshot, Phase, Stall, TcpSnapshot, TransferRecord,
    TransferSnapshot,
};
use crate::text::SafeText;

/// Length of the window, in µs: several reports, and several periods of a limit that alternates four times a second.
const WINDOW_US: u64 = 1_500_000;
/// Age from which on a report is stale, in µs.
const STALE_AFTER_US: u64 = 1_500_000;
/// Shortest stall, in µs.
const STALL_US: u64 = 1_000_000;

/// Rolling verdict on the running transfers of one client, updated at explicit times.
#[derive(Debug, Default)]
pub struct Rolling {
    client: Sums<u64, Flow>,
    flows: SlidingWindow<Flow>,
    hops: Vec<Trace>,
    debounce: Debounce,
    latest: Limit,
    received: BTreeMap<u64, Received>,
}

/// State of one hop, from its reports on these transfers.
#[derive(Debug, Default)]
struct Trace {
    /// Counters of the bodies, and separately those of the kernel while they stream.
    conns: Sums<(u64, bool), BodyCounters>,
    window: SlidingWindow<BodyCounters>,
    last: ReportedState,
    /// Streaming transfers, and their waits for this hop's rate limit.
    limited: BTreeMap<SafeText, LimitedBody>,
    /// Time of the newest report, in µs.
    seen_us: u64,
}

/// Wait of one body for the rate limit of a hop.
#[derive(Clone, Copy, Debug, Default)]
struct LimitedBody {
    /// Total wait, in µs.
    us: u64,
    /// It waited for most of the time between the last two reports.
    mostly: bool,
}

/// Values of a report that are not counters.
#[derive(Clone, Copy, Debug, Default)]
struct ReportedState {
    uptime_us: u64,
    faults: Faults,
    /// The smallest rate limit of a key of our bodies.
    key_rate: Option<u64>,
    rtt_us: u64,
    unread: u64,
    /// Time for which its bodies have moved no byte, in µs; `None` if it has none of ours.
    idle_us: Option<u64>,
}

/// Progress of a transfer.
#[derive(Clone, Copy, Debug, Default)]
struct Received {
    bytes: u64,
    /// Time of its last change, in µs.
    since_us: u64,
    stall: Option<Stall>,
}

/// Counters of one body or several.
#[derive(Clone, Copy, Debug, Default)]
struct BodyCounters {
    flow: Flow,
    tcp: Option<TcpSnapshot>,
    load: Option<Load>,
}

/// Increasing sum of counters that appear and disappear: each counts from when it was first seen.
#[derive(Debug, Default)]
struct Sums<K, T> {
    before: BTreeMap<K, T>,
    sum: T,
}

impl Rolling {
    /// Adds the hops' reports and the transfers' snapshots of this time; returns the current verdict.
    pub fn update(&mut self, now_us: u64, hops: &[HopSnapshot], transfers: &[TransferSnapshot]) -> Verdict {
        let ids = under_way(transfers).flat_map(TransferSnapshot::reported_ids).collect();
        self.report(now_us, hops, &ids);
        self.conclude(now_us, transfers)
    }

    /// The same for the transfers of other clients that these hops report; `None` if there are none.
    ///
    /// Only those that enter the chain at the same hop count: the one nearest to the client.
    pub fn update_others(&mut self, now_us: u64, hops: &[HopSnapshot]) -> Option<Verdict> {
        let ids = hops.iter().filter(|hop| !hop.extra).filter_map(|hop| hop.node.as_ref()).map(streaming);
        let ids = ids.map(|conns| conns.map(|conn| &conn.transfer).collect::<BTreeSet<_>>());
        let Some(ids) = ids.into_iter().find(|ids| !ids.is_empty()) else {
            *self = Self::default();
            return None;
        };
        self.report(now_us, hops, &ids);
        let found = evaluate_others(&self.stages(now_us));
        Some(self.debounce.feed(now_us, found))
    }

    fn report(&mut self, now_us: u64, hops: &[HopSnapshot], ids: &BTreeSet<&SafeText>) {
        self.hops.resize_with(hops.iter().filter(|hop| !hop.extra).count(), Trace::default);
        for (trace, hop) in self.hops.iter_mut().zip(hops.iter().filter(|hop| !hop.extra)) {
            let age_us = hop.age.as_micros() as u64;
            match &hop.node {
                Some(node) if hop.link.is_up() => trace.report(node, ids, now_us.saturating_sub(age_us)),
                _ => *trace = Trace::default(),
            }
        }
    }

    /// The same from the hops' records, hop 1 first, of the one running transfer.
    pub fn update_from_records(
        &mut self,
        now_us: u64,
        records: &[Option<TransferRecord>],
        transfer: &TransferSnapshot,
    ) -> Verdict {
        self.hops.resize_with(records.len(), Trace::default);
        for (trace, record) in self.hops.iter_mut().zip(records) {
            if let Some(record) = record.as_ref().filter(|record| !record.ended) {
                trace.apply_record(record, transfer, now_us);
            }
        }
        self.conclude(now_us, std::slice::from_ref(transfer))
    }

    /// Returns the last evaluation before debouncing, which takes half a second more, and the state of the link
    /// that it names.
    pub fn latest(&self) -> (Limit, Option<LinkState>) {
        let sending = self.latest.link().and_then(|from| self.hops.get(from.checked_sub(1)?));
        let tcp = sending.and_then(|trace| trace.window.change()).and_then(|change| change.tcp);
        let trips = tcp.map(|tcp| LinkState {
            now_us: tcp.rtt_us,
            least_us: tcp.min_rtt_us,
            tolerates_loss: tcp.tolerates_loss,
        });
        (self.latest, trips)
    }

    /// Returns the stall of the transfer with this number, and which hop moved data last; `None` while it moves.
    pub fn stall(&self, number: u64) -> Option<Stall> {
        self.received.get(&number).and_then(|received| received.stall)
    }

    fn conclude(&mut self, now_us: u64, transfers: &[TransferSnapshot]) -> Verdict {
        self.update_stalls(now_us, transfers);
        let flows = under_way(transfers).map(|transfer| (transfer.number, transfer.flow));
        self.client.feed(flows, true);
        self.flows.feed(now_us, self.client.sum, WINDOW_US);
        let client = self.flows.change().unwrap_or_default();
        let found = evaluate(&client, &self.stages(now_us));
        self.latest = found.limit;
        self.debounce.feed(now_us, found)
    }

    fn stages(&self, now_us: u64) -> Vec<Stage> {
        (1..).zip(&self.hops).map(|(number, trace)| trace.stage(number, now_us)).collect()
    }

    fn update_stalls(&mut self, now_us: u64, transfers: &[TransferSnapshot]) {
        let rtt_us = self.hops.iter().map(|trace| trace.last.rtt_us).max().unwrap_or_default();
        let limit_us = rtt_us.saturating_mul(3).max(STALL_US);
        let moved_last = self.moved_last(now_us);
        // Many bodies may share a rate limit, so that each waits long for its turn.
        let its_turn = |id: &SafeText| {
            let waits = |trace: &Trace| trace.limited.get(id).is_some_and(|limited| limited.mostly);
            !self.hops.iter().any(|trace| trace.is_fresh(now_us) && waits(trace))
        };
        let before = std::mem::take(&mut self.received);
        for transfer in transfers.iter().filter(|transfer| transfer.phase == Phase::Streaming) {
            let bytes = transfer.flow.bytes_in;
            let known = before.get(&transfer.number).filter(|received| received.bytes == bytes);
            let since_us = known.map_or(now_us, |received| received.since_us);
            let lasting_us = now_us.saturating_sub(since_us);
            let lasting = std::time::Duration::from_micros(lasting_us);
            let is_stalled = lasting_us >= limit_us && transfer.reported_ids().all(&its_turn);
            let stall = is_stalled.then_some(Stall { lasting, last_moved: moved_last });
            self.received.insert(transfer.number, Received { bytes, since_us, stall });
        }
    }

    /// Returns the hop whose bodies moved a byte last, the one nearest to the client among equals.
    fn moved_last(&self, now_us: u64) -> Option<usize> {
        let moved = |(number, trace): (usize, &Trace)| {
            let idle_us = trace.last.idle_us.filter(|_| trace.is_fresh(now_us))?;
            Some((trace.seen_us.saturating_sub(idle_us), std::cmp::Reverse(number)))
        };
        (1..).zip(&self.hops).filter_map(moved).max().map(|(_, number)| number.0)
    }
}

impl Trace {
    fn report(&mut self, node: &NodeSnapshot, ids: &BTreeSet<&SafeText>, seen_us: u64) {
        if node.uptime_us == self.last.uptime_us {
            return;
        }
        let limited = streaming(node).filter(|conn| ids.contains(&conn.transfer));
        self.record_limited(node.uptime_us, node.faults, limited.map(|conn| (&conn.transfer, conn.flow.limited_us)));
        let all = || node.connections.iter().filter(|conn| ids.contains(&conn.transfer));
        let ours = || streaming(node).filter(|conn| ids.contains(&conn.transfer));
        let flows = all().map(|conn| ((conn.id, false), BodyCounters { flow: conn.flow, ..BodyCounters::default() }));
        let sockets = ours().map(|conn| ((conn.id, true), BodyCounters { tcp: conn.tcp, ..BodyCounters::default() }));
        let state = ReportedState {
            uptime_us: node.uptime_us,
            faults: node.faults,
            key_rate: ours().filter_map(|conn| conn.key_rate).min(),
            rtt_us: ours().filter_map(|conn| conn.tcp).map(|tcp| tcp.rtt_us).max().unwrap_or_default(),
            unread: ours().map(|conn| conn.queued_in).max().unwrap_or_default(),
            idle_us: ours().map(|conn| conn.idle_us).min(),
        };
        self.apply(flows.chain(sockets), node.load, state, seen_us);
    }

    fn apply_record(&mut self, record: &TransferRecord, transfer: &TransferSnapshot, seen_us: u64) {
        let limited = std::iter::once((&transfer.id, record.flow.limited_us));
        self.record_limited(record.uptime_us, record.faults, limited);
        let state = ReportedState {
            uptime_us: record.uptime_us,
            faults: record.faults,
            key_rate: record.key_rate,
            rtt_us: record.tcp.map_or(0, |tcp| tcp.rtt_us),
            unread: record.queued_in,
            idle_us: Some(record.idle_us),
        };
        let counted = std::iter::once((
            (u64::from(transfer.attempt), false),
            BodyCounters { flow: record.flow, tcp: record.tcp, load: None },
        ));
        self.apply(counted, record.load, state, seen_us);
    }

    /// Records how long each body has waited for the rate limit here. An injected stall is no such wait.
    fn record_limited<'a>(
        &mut self,
        uptime_us: u64,
        faults: Faults,
        bodies: impl Iterator<Item = (&'a SafeText, u64)>,
    ) {
        let span_us = uptime_us.saturating_sub(self.last.uptime_us);
        let before = std::mem::take(&mut self.limited);
        for (id, us) in bodies {
            let waited = |before: &LimitedBody| us.saturating_sub(before.us).saturating_mul(2) >= span_us.max(1);
            let mostly = !faults.stall && before.get(id).is_some_and(waited);
            self.limited.insert(id.clone(), LimitedBody { us, mostly });
        }
    }

    fn apply(
        &mut self,
        counted: impl Iterator<Item = ((u64, bool), BodyCounters)>,
        load: Option<Load>,
        state: ReportedState,
        seen_us: u64,
    ) {
        if state.uptime_us < self.last.uptime_us {
            // It was restarted, and its counters are reset.
            *self = Self::default();
        }
        self.conns.feed(counted, false);
        self.window.feed(state.uptime_us, BodyCounters { load, ..self.conns.sum }, WINDOW_US);
        (self.last, self.seen_us) = (state, seen_us);
    }

    fn stage(&self, number: usize, now_us: u64) -> Stage {
        let change = self.window.change().filter(|_| self.is_fresh(now_us));
        let Some(BodyCounters { flow, tcp, load }) = change else { return Stage { number, ..Stage::default() } };
        let ReportedState { unread, faults, key_rate, .. } = self.last;
        Stage { number, reports: true, flow, tcp, load, unread, faults, key_rate }
    }

    fn is_fresh(&self, now_us: u64) -> bool {
        now_us.saturating_sub(self.seen_us) <= STALE_AFTER_US
    }
}

impl<K: Ord, T: Copy + Difference> Sums<K, T> {
    /// Adds the current counters; a new one counts from 0 if `from_zero`, else from its current value.
    fn feed(&mut self, now: impl Iterator<Item = (K, T)>, from_zero: bool) {
        let mut before = std::mem::take(&mut self.before);
        for (key, value) in now {
            let known = before.remove(&key).or_else(|| (!from_zero).then_some(value));
            self.sum.grow(&known.map_or(value, |known| value.since(&known)));
            self.before.insert(key, value);
        }
    }
}

impl Difference for BodyCounters {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            flow: self.flow.since(&earlier.flow),
            tcp: self.tcp.map(|tcp| tcp.since(&earlier.tcp.unwrap_or_default())),
            load: self.load.map(|load| load.since(&earlier.load.unwrap_or_default())),
        }
    }

    fn grow(&mut self, by: &Self) {
        self.flow.add(&by.flow);
        if let Some(tcp) = by.tcp {
            let mut sum = self.tcp.unwrap_or_default();
            sum.add(&tcp);
            // A sum has no round trip and no window of its own: those of the last socket are used.
            let TcpSnapshot { rtt_us, min_rtt_us, cwnd, under_way, delivery_rate, tolerates_loss, .. } = tcp;
            self.tcp = Some(TcpSnapshot { rtt_us, min_rtt_us, cwnd, under_way, delivery_rate, tolerates_loss, ..sum });
        }
    }
}

fn streaming(node: &NodeSnapshot) -> impl Iterator<Item = &ConnSnapshot> {
    node.connections.iter().filter(|conn| conn.state == ConnState::Streaming)
}

fn under_way(transfers: &[TransferSnapshot]) -> impl Iterator<Item = &TransferSnapshot> {
    transfers.iter().filter(|transfer| transfer.phase.is_under_way())
}

#[cfg(test)]
mod tests;
