//! History of findings: what mattered, from when to when.

use std::collections::VecDeque;
use std::time::Duration;

use super::{Finding, Severity, sentences};
use crate::snapshot::ChainSnapshot;
use crate::snapshot::verdict::Limit;

/// Maximum number of periods: further ones replace the oldest.
const MAX_PERIODS: usize = 200;
/// Longest interruption of a period, such as the moment between two transfers.
const GAP: Duration = Duration::from_secs(2);

/// Time in which one finding mattered most.
#[derive(Clone, Debug)]
pub(crate) struct Period {
    /// Its start, since the screen was opened.
    pub from: Duration,
    /// The time when it was last seen.
    pub until: Duration,
    /// The finding, with its last figures.
    pub finding: Finding,
    /// Its shortest sentence.
    pub text: String,
}

/// The periods so far, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Periods {
    all: VecDeque<Period>,
}

impl Periods {
    /// Records the finding of this time. What is no problem, and no statement about the flow, leaves a gap.
    pub(crate) fn observe(&mut self, chain: &ChainSnapshot, now: Duration) {
        let finding = Finding::of(chain);
        let is_balanced = matches!(finding, Finding::Verdict { verdict, .. } if verdict.limit == Limit::Balanced);
        if finding.severity() == Severity::Calm && !is_balanced {
            return;
        }
        let same = |last: &&mut Period| last.finding.is_same(&finding) && now.saturating_sub(last.until) <= GAP;
        if let Some(last) = self.all.back_mut().filter(same) {
            (last.until, last.finding) = (now, finding);
            return;
        }
        // A failure lasts until the next transfer, and yet it is a moment.
        let is_repeated = self.all.back().is_some_and(|last| last.finding.is_same(&finding));
        if is_repeated && matches!(finding, Finding::Failed { .. }) {
            return;
        }
        let text = sentences(&finding, chain).pop().unwrap_or_default();
        self.all.push_back(Period { from: now, until: now, finding, text });
        if self.all.len() > MAX_PERIODS {
            self.all.pop_front();
        }
    }

    /// Returns the periods, oldest first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Period> {
        self.all.iter()
    }

    /// Returns the period at a time, if any.
    pub(crate) fn at(&self, time: Duration) -> Option<&Period> {
        self.all.iter().rev().find(|period| period.from <= time && time <= period.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::verdict::Verdict;
    use crate::snapshot::{Phase, TransferSnapshot};

    fn limited(hop: usize, rate: u64) -> ChainSnapshot {
        let transfer = TransferSnapshot { number: 1, phase: Phase::Streaming, ..TransferSnapshot::default() };
        let verdict = Verdict { limit: Limit::RateLimit { hop, rate }, ..Verdict::default() };
        ChainSnapshot { transfers: vec![transfer], verdict, ..ChainSnapshot::default() }
    }

    #[test]
    fn the_same_limit_is_one_period_and_another_starts_the_next() {
        let mut periods = Periods::default();
        let mut see = |chain: &ChainSnapshot, second| periods.observe(chain, Duration::from_secs(second));
        see(&limited(2, 5_000_000), 1);
        see(&limited(2, 9_000_000), 2);
        see(&ChainSnapshot::default(), 3);
        see(&limited(2, 9_000_000), 4);
        see(&limited(3, 9_000_000), 5);
        see(&limited(3, 9_000_000), 60);
        let seconds = |period: &Period| (period.from.as_secs(), period.until.as_secs(), period.text.clone());
        let all: Vec<_> = periods.iter().map(seconds).collect();
        let text = |hop, rate| format!("hop {hop}: rate limit {rate}.0 MB/s");
        assert_eq!(all, [(1, 4, text(2, 5)), (5, 5, text(3, 9)), (60, 60, text(3, 9))]);
        let hop = |second| periods.at(Duration::from_secs(second)).and_then(|period| period.finding.hop());
        assert_eq!([hop(0), hop(3), hop(5), hop(30)], [None, Some(2), Some(3), None]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut periods = Periods::default();
        for second in 0..3 * MAX_PERIODS as u64 {
            periods.observe(&limited(1 + second as usize % 2, 5), Duration::from_secs(second));
        }
        assert_eq!(periods.iter().count(), MAX_PERIODS);
    }
}
