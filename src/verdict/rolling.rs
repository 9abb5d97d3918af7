//! The verdict on what is running: a window that rolls over the reports of the hops, and what has stood still.
//!
//! Only the bodies of this client's own transfers count, whoever else uses the hops; those of others are judged apart.

use std::collections::{BTreeMap, BTreeSet};

use super::debounce::Debounce;
use super::evaluate::{evaluate, evaluate_others};
use super::stage::Stage;
use crate::faults::Faults;
use crate::meter::{Difference, SlidingWindow};
use crate::snapshot::verdict::Verdict;
use crate::snapshot::{
    ConnSnapshot, ConnState, Flow, HopSnapshot, Load, NodeSnapshot, Phase, Stall, TcpSnapshot, TransferRecord,
    TransferSnapshot,
};
use crate::text::SafeText;

/// How far back the window reaches, in µs: several reports, and a cause that comes and goes four times a second.
const WINDOW_US: u64 = 1_500_000;
/// A report older than this, in µs, says nothing about now.
const FRESH_US: u64 = 1_500_000;
/// The least time without a byte that is called standing still, in µs.
const STALL_US: u64 = 1_000_000;
/// The same while bodies use up a rate limit, in µs: what waits before it waits in full socket buffers, where the
/// kernel drops segments and is some seconds late to send them again.
const LIMITED_STALL_US: u64 = 10_000_000;
/// For so long afterwards, in µs, the kernel may still be at it.
const LIMITED_FOR_US: u64 = 3_000_000;

/// Judges the running transfers of one client, fed with all that is known of them at explicit times.
#[derive(Debug, Default)]
pub struct Rolling {
    client: Sums<u64, Flow>,
    flows: SlidingWindow<Flow>,
    hops: Vec<Trace>,
    debounce: Debounce,
    received: BTreeMap<u64, Received>,
    /// When bodies last used up a rate limit, in µs.
    limited_us: Option<u64>,
}

/// What one hop has done for these transfers, as far as its reports go.
#[derive(Debug, Default)]
struct Trace {
    /// What the bodies do, and apart from it what the kernel says while they move.
    conns: Sums<(u64, bool), BodyCounters>,
    window: SlidingWindow<BodyCounters>,
    last: ReportedState,
    /// The transfers that stream here, and how they wait for this hop's rate limit.
    capped: BTreeMap<SafeText, LimitedBody>,
    /// When the newest report came, in µs.
    seen_us: u64,
}

/// How one body waits for the rate limit of a hop.
#[derive(Clone, Copy, Debug, Default)]
struct LimitedBody {
    /// For how long in all, in µs.
    us: u64,
    /// It did for most of the time between the last two reports.
    mostly: bool,
}

/// What a report says besides what it counts.
#[derive(Clone, Copy, Debug, Default)]
struct ReportedState {
    uptime_us: u64,
    faults: Faults,
    rtt_us: u64,
    unread: u64,
    /// Its body has moved nothing for so long, in µs; `None` where it has none of ours.
    idle_us: Option<u64>,
}

/// How far a transfer has come.
#[derive(Clone, Copy, Debug, Default)]
struct Received {
    bytes: u64,
    /// When that changed last, in µs.
    since_us: u64,
    stall: Option<Stall>,
}

/// What is counted of one body, or of several.
#[derive(Clone, Copy, Debug, Default)]
struct BodyCounters {
    flow: Flow,
    tcp: Option<TcpSnapshot>,
    load: Option<Load>,
}

/// Sums that only grow, of counters that come and go: each counts from when it was first seen.
#[derive(Debug, Default)]
struct Sums<K, T> {
    before: BTreeMap<K, T>,
    sum: T,
}

impl Rolling {
    /// Looks at what hops report and transfers tell, at this time; the answer is what holds now.
    pub fn see(&mut self, now_us: u64, hops: &[HopSnapshot], transfers: &[TransferSnapshot]) -> Verdict {
        let ids = under_way(transfers).map(|transfer| &transfer.id).collect();
        self.report(now_us, hops, &ids);
        self.conclude(now_us, transfers)
    }

    /// Looks at the transfers of other clients, as far as these hops report them; `None` where none moves.
    ///
    /// All that enter the chain at the same hop count, that nearest to the client.
    pub fn watch(&mut self, now_us: u64, hops: &[HopSnapshot]) -> Option<Verdict> {
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

    /// The same from what each hop, hop 1 first, says of the one transfer that runs.
    pub fn hear(&mut self, now_us: u64, accounts: &[Option<TransferRecord>], transfer: &TransferSnapshot) -> Verdict {
        self.hops.resize_with(accounts.len(), Trace::default);
        for (trace, account) in self.hops.iter_mut().zip(accounts) {
            if let Some(account) = account.as_ref().filter(|account| !account.ended) {
                trace.account(account, transfer, now_us);
            }
        }
        self.conclude(now_us, std::slice::from_ref(transfer))
    }

    /// How long the transfer with this number has stood still, and which hop moved data last; `None` while it moves.
    pub fn stall(&self, number: u64) -> Option<Stall> {
        self.received.get(&number).and_then(|received| received.stall)
    }

    fn conclude(&mut self, now_us: u64, transfers: &[TransferSnapshot]) -> Verdict {
        self.note_stalls(now_us, transfers);
        let flows = under_way(transfers).map(|transfer| (transfer.number, transfer.flow));
        self.client.feed(flows, true);
        self.flows.feed(now_us, self.client.sum, WINDOW_US);
        let client = self.flows.change().unwrap_or_default();
        let found = evaluate(&client, &self.stages(now_us));
        self.debounce.feed(now_us, found)
    }

    fn stages(&self, now_us: u64) -> Vec<Stage> {
        (1..).zip(&self.hops).map(|(number, trace)| trace.stage(number, now_us)).collect()
    }

    fn note_stalls(&mut self, now_us: u64, transfers: &[TransferSnapshot]) {
        let rtt_us = self.hops.iter().map(|trace| trace.last.rtt_us).max().unwrap_or_default();
        let is_used_up = |trace: &Trace| trace.capped.values().any(|capped| capped.mostly);
        if self.hops.iter().any(|trace| trace.is_fresh(now_us) && is_used_up(trace)) {
            self.limited_us = Some(now_us);
        }
        let limited = self.limited_us.is_some_and(|time| now_us.saturating_sub(time) < LIMITED_FOR_US);
        let least_us = if limited { LIMITED_STALL_US } else { STALL_US };
        let limit_us = rtt_us.saturating_mul(3).max(least_us);
        let moved_last = self.moved_last(now_us);
        // Many bodies share a rate limit, and the turn of each may be far off.
        let its_turn = |id: &SafeText| {
            let waits = |trace: &Trace| trace.capped.get(id).is_some_and(|capped| capped.mostly);
            !self.hops.iter().any(|trace| trace.is_fresh(now_us) && waits(trace))
        };
        let before = std::mem::take(&mut self.received);
        for transfer in transfers.iter().filter(|transfer| transfer.phase == Phase::Streaming) {
            let bytes = transfer.flow.bytes_in;
            let known = before.get(&transfer.number).filter(|received| received.bytes == bytes);
            let since_us = known.map_or(now_us, |received| received.since_us);
            let lasting_us = now_us.saturating_sub(since_us);
            let lasting = std::time::Duration::from_micros(lasting_us);
            let stands = lasting_us >= limit_us && its_turn(&transfer.id);
            let stall = stands.then_some(Stall { lasting, last_moved: moved_last });
            self.received.insert(transfer.number, Received { bytes, since_us, stall });
        }
    }

    /// The hop whose bodies moved a byte later than those of all others, the one nearest to the client among equals.
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
        let capped = streaming(node).filter(|conn| ids.contains(&conn.transfer));
        self.cap(node.uptime_us, node.faults, capped.map(|conn| (&conn.transfer, conn.flow.limited_us)));
        let all = || node.connections.iter().filter(|conn| ids.contains(&conn.transfer));
        let ours = || streaming(node).filter(|conn| ids.contains(&conn.transfer));
        let flows = all().map(|conn| ((conn.id, false), BodyCounters { flow: conn.flow, ..BodyCounters::default() }));
        let sockets = ours().map(|conn| ((conn.id, true), BodyCounters { tcp: conn.tcp, ..BodyCounters::default() }));
        let said = ReportedState {
            uptime_us: node.uptime_us,
            faults: node.faults,
            rtt_us: ours().filter_map(|conn| conn.tcp).map(|tcp| tcp.rtt_us).max().unwrap_or_default(),
            unread: ours().map(|conn| conn.queued_in).max().unwrap_or_default(),
            idle_us: ours().map(|conn| conn.idle_us).min(),
        };
        self.take(flows.chain(sockets), node.load, said, seen_us);
    }

    fn account(&mut self, account: &TransferRecord, transfer: &TransferSnapshot, seen_us: u64) {
        let capped = std::iter::once((&transfer.id, account.flow.limited_us));
        self.cap(account.uptime_us, account.faults, capped);
        let said = ReportedState {
            uptime_us: account.uptime_us,
            faults: account.faults,
            rtt_us: account.tcp.map_or(0, |tcp| tcp.rtt_us),
            unread: account.queued_in,
            idle_us: Some(account.idle_us),
        };
        let counted = std::iter::once((
            (u64::from(transfer.attempt), false),
            BodyCounters { flow: account.flow, tcp: account.tcp, load: None },
        ));
        self.take(counted, account.load, said, seen_us);
    }

    /// Notes how long each body has waited for the rate limit here. One that a person stopped waits for nobody's turn.
    fn cap<'a>(&mut self, uptime_us: u64, faults: Faults, bodies: impl Iterator<Item = (&'a SafeText, u64)>) {
        let span_us = uptime_us.saturating_sub(self.last.uptime_us);
        let before = std::mem::take(&mut self.capped);
        for (id, us) in bodies {
            let waited = |before: &LimitedBody| us.saturating_sub(before.us).saturating_mul(2) >= span_us.max(1);
            let mostly = !faults.stall && before.get(id).is_some_and(waited);
            self.capped.insert(id.clone(), LimitedBody { us, mostly });
        }
    }

    fn take(
        &mut self,
        counted: impl Iterator<Item = ((u64, bool), BodyCounters)>,
        load: Option<Load>,
        said: ReportedState,
        seen_us: u64,
    ) {
        if said.uptime_us < self.last.uptime_us {
            // It was restarted, and counts from the start again.
            *self = Self::default();
        }
        self.conns.feed(counted, false);
        self.window.feed(said.uptime_us, BodyCounters { load, ..self.conns.sum }, WINDOW_US);
        (self.last, self.seen_us) = (said, seen_us);
    }

    fn stage(&self, number: usize, now_us: u64) -> Stage {
        let change = self.window.change().filter(|_| self.is_fresh(now_us));
        let Some(BodyCounters { flow, tcp, load }) = change else { return Stage { number, ..Stage::default() } };
        Stage { number, seen: true, flow, tcp, load, unread: self.last.unread, faults: self.last.faults }
    }

    fn is_fresh(&self, now_us: u64) -> bool {
        now_us.saturating_sub(self.seen_us) <= FRESH_US
    }
}

impl<K: Ord, T: Copy + Difference> Sums<K, T> {
    /// Takes all that is counted now; what is new counts from 0 if it began unseen, else from here.
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
            // A sum has no round trip and no window of its own: those of the newest report are as good as any.
            let TcpSnapshot { rtt_us, min_rtt_us, cwnd, under_way, delivery_rate, .. } = tcp;
            self.tcp = Some(TcpSnapshot { rtt_us, min_rtt_us, cwnd, under_way, delivery_rate, ..sum });
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
