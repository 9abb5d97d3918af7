//! Verdict that held longest while a transfer ran: it rests on the kernel's figures of every moment, of which the
//! records of an ended transfer have only the last.

use std::collections::BTreeMap;

use crate::snapshot::verdict::{Limit, Verdict};
use crate::snapshot::{Phase, TransferSnapshot};

/// Fewest samples with one limit, ten a second: less is left to the records of the whole transfer.
const MIN_SAMPLES: u32 = 20;

/// Samples of the verdict during each transfer.
#[derive(Debug, Default)]
pub struct Observed {
    transfers: BTreeMap<u64, Vec<(Verdict, u32)>>,
}

impl Observed {
    /// Adds a sample for every transfer that receives its body, and drops those that are not in the list any more.
    pub fn feed(&mut self, transfers: &[TransferSnapshot], verdict: Verdict) {
        self.transfers.retain(|number, _| transfers.iter().any(|t| t.number == *number));
        for transfer in transfers.iter().filter(|t| t.phase == Phase::Streaming) {
            let samples = self.transfers.entry(transfer.number).or_default();
            match samples.iter_mut().find(|(known, _)| known.limit.is_same(&verdict.limit)) {
                Some((known, count)) => (*known, *count) = (verdict, *count + 1),
                None => samples.push((verdict, 1)),
            }
        }
    }

    /// Returns the verdict that held for at least half of the samples of a transfer, if it names a limit.
    pub fn of(&self, number: u64) -> Option<Verdict> {
        let samples = self.transfers.get(&number)?;
        let (verdict, count) = samples.iter().max_by_key(|(_, count)| *count)?;
        let all: u32 = samples.iter().map(|(_, count)| count).sum();
        let names_limit = !matches!(verdict.limit, Limit::Measuring | Limit::Balanced);
        (names_limit && *count >= MIN_SAMPLES && count * 2 >= all).then_some(Verdict { since_ms: 0, ..*verdict })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::verdict::LinkCause;

    #[test]
    fn the_longest_verdict_counts_if_it_held_for_half_of_the_time() {
        let running = TransferSnapshot { number: 3, phase: Phase::Streaming, ..TransferSnapshot::default() };
        let queued = TransferSnapshot { number: 4, ..TransferSnapshot::default() };
        let link = |cause| Verdict { limit: Limit::Link { from: 3, to: 2, cause }, since_ms: 9, ..Verdict::default() };
        let mut observed = Observed::default();
        let mut feed = |verdict, times| {
            for _ in 0..times {
                observed.feed(&[running.clone(), queued.clone()], verdict);
            }
            (observed.of(3), observed.of(4))
        };
        assert_eq!(feed(Verdict::default(), 8), (None, None), "too short to measure");
        assert_eq!(feed(link(LinkCause::Unknown), 19), (None, None), "too few samples");
        let expected = Verdict { since_ms: 0, ..link(LinkCause::RoundTrip) };
        assert_eq!(feed(link(LinkCause::RoundTrip), 1), (Some(expected), None), "the same link, with its last cause");
        let other = Verdict { limit: Limit::Relay { hop: 2 }, ..Verdict::default() };
        assert_eq!(feed(other, 13), (None, None), "less than half");
        observed.feed(&[queued], other);
        assert!(observed.transfers.is_empty(), "memory is bounded by the list");
    }
}
