//! History of the snapshots: rates of single connections and of the client, ten minutes of samples, a steady scale.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::evidence::Evidence;
use super::fill::Scale;
use super::finding::Periods;
use super::rates::ConnRates;
use super::waits::Waits;
use crate::meter::SlidingWindow;
use crate::snapshot::{ChainSnapshot, Flow, Phase, RATE_SAMPLES, TransferSnapshot};

/// Time over which rates are shown.
const SECOND: Duration = Duration::from_secs(1);
/// Shortest time, in µs, whose parts are shown.
const MIN_ACTIVE_US: u64 = 50_000;
/// Time between two samples of a hop's history.
const FAST: Duration = Duration::from_millis(250);
/// Number of fast samples in a slow one: 240 slow ones are ten minutes.
const PER_SLOW: usize = 10;
/// Time between two slow samples.
const SLOW: Duration = Duration::from_millis(2500);

/// Time span of a chart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChartSpan {
    /// A second.
    Second,
    /// Ten seconds.
    Ten,
    /// A minute.
    #[default]
    Minute,
    /// Ten minutes.
    TenMinutes,
}

/// Data derived from all snapshots so far.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Rates of single connections.
    pub rates: ConnRates,
    /// Scale of the bars of buffered bytes.
    pub scale: Scale,
    /// How each stage spent its time.
    pub waits: Waits,
    client: VecDeque<u64>,
    /// Bytes and times of the client's own stage, all transfers together, and of each at the last snapshot.
    client_flow: (Flow, BTreeMap<u64, Flow>),
    client_window: SlidingWindow<Flow>,
    /// What mattered, from when to when.
    pub(crate) periods: Periods,
    /// Recent figures of each hop.
    pub(crate) evidence: Evidence,
    client_at: Duration,
    /// Slow samples: the client's first, then each hop's.
    slow: Vec<VecDeque<u64>>,
    slow_at: Duration,
    /// Time of the first snapshot in which each transfer had ended.
    over: BTreeMap<u64, Duration>,
    now: Duration,
}

impl ChartSpan {
    /// All spans, the shortest first.
    pub(crate) const ALL: [Self; 4] = [Self::Second, Self::Ten, Self::Minute, Self::TenMinutes];

    /// Returns the span that many steps longer, clamped to the ends.
    pub fn by(self, steps: isize) -> Self {
        let at = Self::ALL.iter().position(|span| *span == self).unwrap_or(0);
        Self::ALL[at.saturating_add_signed(steps).min(Self::ALL.len() - 1)]
    }

    /// Returns its label in a heading.
    pub fn name(self) -> &'static str {
        match self {
            Self::Second => "1 s",
            Self::Ten => "10 s",
            Self::Minute => "60 s",
            Self::TenMinutes => "10 min",
        }
    }

    /// Returns its number of samples.
    pub fn samples(self) -> usize {
        match self {
            Self::Second => 4,
            Self::Ten => 40,
            Self::Minute | Self::TenMinutes => RATE_SAMPLES,
        }
    }
}

impl History {
    /// Records a snapshot at a time.
    pub fn observe(&mut self, chain: &ChainSnapshot, now: Duration) {
        self.rates.observe(chain);
        self.scale.follow(chain);
        self.now = now;
        let over: BTreeSet<u64> = chain.transfers.iter().filter(|t| t.phase.is_over()).map(|t| t.number).collect();
        self.over.retain(|number, _| over.contains(number));
        for number in over {
            self.over.entry(number).or_insert(now);
        }
        self.observe_client(chain);
        self.periods.observe(chain, now);
        self.evidence.observe(chain);
        self.waits.observe(chain, self.client_flow(), now);
        let rate = self.client_rate(chain);
        while self.client_at <= now {
            push(&mut self.client, rate);
            self.client_at += FAST;
        }
        self.slow.resize_with(chain.hops.len() + 1, VecDeque::new);
        while self.slow_at <= now {
            for (at, slow) in self.slow.iter_mut().enumerate() {
                let recent: Vec<u64> = match at {
                    0 => self.client.iter().rev().take(PER_SLOW).copied().collect(),
                    hop => chain.hops[hop - 1].history.iter().rev().take(PER_SLOW).copied().collect(),
                };
                push(slow, recent.iter().sum::<u64>() / recent.len().max(1) as u64);
            }
            self.slow_at += SLOW;
        }
    }

    /// Adds what each transfer has counted since the last snapshot.
    fn observe_client(&mut self, chain: &ChainSnapshot) {
        let (sum, before) = &mut self.client_flow;
        let after: BTreeMap<u64, Flow> =
            chain.transfers.iter().filter(|t| t.phase.is_under_way()).map(|t| (t.number, t.flow)).collect();
        for (number, flow) in &after {
            sum.add(&before.get(number).map_or(*flow, |before| flow.since(before)));
        }
        *before = after;
        let now_us = u64::try_from(self.now.as_micros()).unwrap_or(u64::MAX);
        self.client_window.feed(now_us, *sum, SECOND.as_micros() as u64);
    }

    /// Returns the bytes and times of the client's own stage over the last second, or since the start of its transfers
    /// where less is known; `None` while it moves no data.
    pub fn client_flow(&self) -> Option<Flow> {
        let (_, running) = &self.client_flow;
        let whole = running.values().fold(Flow::default(), |mut sum, flow| {
            sum.add(flow);
            sum
        });
        let recent = self.client_window.change().filter(|flow| flow.active_us >= MIN_ACTIVE_US);
        recent.or(Some(whole)).filter(|flow| !running.is_empty() && flow.active_us > 0)
    }

    /// Returns the time of the last snapshot, since the screen was opened.
    pub(crate) fn now(&self) -> Duration {
        self.now
    }

    /// Returns the receive rate of the client, all transfers together. A transfer counts for a second after its end, as
    /// it does at the hops, whose rates are those of the last second.
    pub fn client_rate(&self, chain: &ChainSnapshot) -> u64 {
        let rate = |t: &TransferSnapshot| match (t.phase, self.over.get(&t.number)) {
            // The rate of a transfer younger than a second is extrapolated: limit it to the bytes so far.
            (Phase::Streaming, _) => t.rate.min(t.flow.bytes_in),
            (phase, Some(at)) if phase.is_over() => brought(t, self.now.saturating_sub(*at)),
            _ => 0,
        };
        chain.transfers.iter().map(rate).sum()
    }

    /// Returns the time of the first snapshot in which a transfer had ended.
    pub fn ended_at(&self, number: u64) -> Option<Duration> {
        self.over.get(&number).copied()
    }

    /// Returns whether rates still change without a new snapshot, as a transfer has just ended.
    pub fn is_fading(&self) -> bool {
        self.over.values().any(|at| self.now.saturating_sub(*at) < SECOND)
    }

    /// Returns the number of samples that a chart of this span shows. In the first minute it is shorter, so that it is
    /// not almost empty: 10, 20, then 30 s.
    pub fn window(&self, chain: &ChainSnapshot, span: ChartSpan) -> usize {
        if span != ChartSpan::Minute {
            return span.samples();
        }
        let known = chain.hops.iter().map(|hop| hop.history.len()).chain([self.client.len()]).max().unwrap_or(0);
        let step = [40, 80, 120].into_iter().find(|samples| known <= *samples);
        step.unwrap_or(RATE_SAMPLES)
    }

    /// Returns the rates over a span, oldest first, of a hop by its number; 0 is the client.
    pub fn samples_of(&self, chain: &ChainSnapshot, hop: usize, span: ChartSpan) -> Vec<u64> {
        let newest = |samples: &mut dyn DoubleEndedIterator<Item = &u64>| -> Vec<u64> {
            let mut taken: Vec<u64> = samples.rev().take(span.samples()).copied().collect();
            taken.reverse();
            taken
        };
        if span == ChartSpan::TenMinutes {
            return self.slow.get(hop).map_or_else(Vec::new, |slow| newest(&mut slow.iter()));
        }
        match hop {
            0 => newest(&mut self.client.iter()),
            _ => chain.hops.get(hop - 1).map_or_else(Vec::new, |hop| newest(&mut hop.history.iter())),
        }
    }
}

/// Returns the bytes that an ended transfer received in the last second, this long after its end.
fn brought(transfer: &TransferSnapshot, since: Duration) -> u64 {
    let bytes = transfer.flow.bytes_in;
    let pace = bytes as f64 / transfer.elapsed.as_secs_f64().max(1e-6);
    bytes.min((pace * SECOND.saturating_sub(since).as_secs_f64()) as u64)
}

fn push(samples: &mut VecDeque<u64>, sample: u64) {
    samples.push_back(sample);
    if samples.len() > RATE_SAMPLES {
        samples.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::HopSnapshot;

    fn chain(rate: u64) -> ChainSnapshot {
        let flow = crate::snapshot::Flow { bytes_in: 1000, ..Default::default() };
        let transfer = TransferSnapshot { phase: Phase::Streaming, rate, flow, ..TransferSnapshot::default() };
        let hop = HopSnapshot { number: 1, history: vec![rate; 20], ..HopSnapshot::default() };
        ChainSnapshot { hops: vec![hop], transfers: vec![transfer], ..ChainSnapshot::default() }
    }

    #[test]
    fn gaps_are_filled_and_memory_is_bounded() {
        let mut history = History::default();
        history.observe(&chain(8), Duration::ZERO);
        history.observe(&chain(4), Duration::from_secs(1));
        assert_eq!(history.samples_of(&chain(4), 0, ChartSpan::Minute), [8, 4, 4, 4, 4]);
        assert_eq!(history.samples_of(&chain(4), 0, ChartSpan::Second), [4, 4, 4, 4]);
        history.observe(&chain(2), Duration::from_hours(1));
        assert_eq!(history.samples_of(&chain(2), 0, ChartSpan::Minute), [2; RATE_SAMPLES]);
        assert_eq!(history.samples_of(&chain(2), 1, ChartSpan::TenMinutes), [2; RATE_SAMPLES]);
    }

    #[test]
    fn ten_minutes_are_means_of_samples() {
        let mut history = History::default();
        for tenth in 0..=100 {
            history.observe(&chain(if tenth < 50 { 10 } else { 30 }), Duration::from_millis(tenth * 100));
        }
        assert_eq!(history.samples_of(&chain(30), 1, ChartSpan::TenMinutes), [10, 10, 30, 30, 30]);
        assert!(history.samples_of(&chain(30), 9, ChartSpan::TenMinutes).is_empty());
    }

    #[test]
    fn ended_transfers_count_for_a_second() {
        let flow = crate::snapshot::Flow { bytes_in: 372_000, ..Default::default() };
        let short = TransferSnapshot { number: 1, phase: Phase::Done, flow, ..TransferSnapshot::default() };
        let rates = |elapsed_ms| {
            let short =
                TransferSnapshot { elapsed: Duration::from_millis(elapsed_ms), rate: 82_500_000, ..short.clone() };
            let chain = ChainSnapshot { transfers: vec![short], ..ChainSnapshot::default() };
            let mut history = History::default();
            [0, 250, 750, 1000].map(|ms| {
                history.observe(&chain, Duration::from_millis(7000 + ms));
                assert_eq!(history.is_fading(), ms < 1000);
                history.client_rate(&chain)
            })
        };
        assert_eq!(rates(5), [372_000, 372_000, 372_000, 0], "as many as all its bytes in a second");
        assert_eq!(rates(2000), [186_000, 139_500, 46_500, 0], "a longer one fades");
    }

    #[test]
    fn spans_are_clamped() {
        assert_eq!(
            (ChartSpan::Second.by(-1), ChartSpan::Minute.by(1), ChartSpan::Minute.by(9)),
            (ChartSpan::Second, ChartSpan::TenMinutes, ChartSpan::TenMinutes)
        );
    }
}
