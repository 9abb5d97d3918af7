//! How each stage spent the last minute: its waits, four times a second.

use std::collections::VecDeque;
use std::time::Duration;

use crate::snapshot::{ChainSnapshot, Flow, RATE_SAMPLES};

/// Time between two samples.
const INTERVAL: Duration = Duration::from_millis(250);
/// Samples that are filled in at most after a gap, such as a suspension: more would only push out older ones.
const MAX_FILLED: u32 = RATE_SAMPLES as u32;

/// Shares of the time of one sample, in percent: starved, blocked, limited. `None` while nothing moved.
type WaitSample = Option<[u8; 3]>;

/// Samples of all stages: the client first, then each hop.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    stages: Vec<VecDeque<WaitSample>>,
    next: Duration,
}

impl Waits {
    /// Records a snapshot at a time; `client` is what the client's own stage did in the last second.
    pub fn observe(&mut self, chain: &ChainSnapshot, client: Option<Flow>, now: Duration) {
        let Some(late) = now.checked_sub(self.next) else { return };
        let due = late.as_millis() / INTERVAL.as_millis();
        let due = u32::try_from(due).unwrap_or(MAX_FILLED).min(MAX_FILLED - 1) + 1;
        let into = Duration::from_millis((now.as_millis() % INTERVAL.as_millis()) as u64);
        self.next = now.saturating_sub(into) + INTERVAL;
        self.stages.resize_with(chain.hops.len() + 1, VecDeque::new);
        let client = client.filter(|flow| flow.active_us > 0).map(|flow| {
            let share = |us: u64| percent(us as f64 / flow.active_us as f64);
            [share(flow.starved_us), share(flow.blocked_us), share(flow.limited_us)]
        });
        let hops = chain.hops.iter().map(|hop| {
            Some([percent(hop.starved_share?), percent(hop.blocked_share?), percent(hop.limited_share.unwrap_or(0.0))])
        });
        for (samples, sample) in self.stages.iter_mut().zip([client].into_iter().chain(hops)) {
            for _ in 0..due {
                samples.push_back(sample);
            }
            samples.drain(..samples.len().saturating_sub(RATE_SAMPLES));
        }
    }

    /// Returns the mean shares of a stage in each of these columns over a number of samples, the newest at the right;
    /// `None` where nothing moved.
    pub fn columns(&self, stage: usize, columns: usize, window: usize) -> Vec<Option<[f64; 3]>> {
        let empty = VecDeque::new();
        let samples = self.stages.get(stage).unwrap_or(&empty);
        let (missing, older) = (window.saturating_sub(samples.len()), samples.len().saturating_sub(window));
        let index = |at: usize| (at.saturating_sub(missing) + older).min(samples.len());
        let mean = |column: usize| {
            let from = column * window / columns;
            let to = ((column + 1) * window / columns).max(from + 1);
            let part = samples.range(index(from)..index(to));
            let (mut sum, mut count) = ([0u32; 3], 0u32);
            for shares in part.flatten() {
                count += 1;
                for (sum, share) in sum.iter_mut().zip(shares) {
                    *sum += u32::from(*share);
                }
            }
            (count > 0).then(|| sum.map(|sum| f64::from(sum) / f64::from(count * 100)))
        };
        (0..columns).map(mean).collect()
    }
}

fn percent(share: f64) -> u8 {
    (share.clamp(0.0, 1.0) * 100.0).round() as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::HopSnapshot;

    fn chain(starved: Option<f64>) -> ChainSnapshot {
        let hop = HopSnapshot { starved_share: starved, blocked_share: Some(0.1), ..HopSnapshot::default() };
        ChainSnapshot { hops: vec![hop], ..ChainSnapshot::default() }
    }

    #[test]
    fn samples_are_placed_by_their_time() {
        let mut waits = Waits::default();
        for tenth in 0..300 {
            let starved = if tenth < 150 { None } else { Some(0.8) };
            waits.observe(&chain(starved), None, Duration::from_millis(tenth * 100));
        }
        let columns = waits.columns(1, 4, RATE_SAMPLES);
        assert_eq!(columns[..3], [None, None, None], "the first half is unknown, then nothing moved");
        assert_eq!(columns[3], Some([0.8, 0.1, 0.0]));
        assert_eq!(waits.columns(0, 2, RATE_SAMPLES), [None, None]);
        assert_eq!(waits.columns(1, 2, 40), [Some([0.8, 0.1, 0.0]); 2], "the newest ten seconds");
        assert_eq!(waits.columns(9, 3, RATE_SAMPLES), [None; 3]);
        assert!(waits.columns(1, 0, RATE_SAMPLES).is_empty());
    }

    #[test]
    fn memory_is_bounded_and_gaps_are_filled() {
        let mut waits = Waits::default();
        waits.observe(&chain(Some(0.2)), None, Duration::ZERO);
        waits.observe(&chain(Some(0.4)), None, Duration::from_hours(9));
        let newest = waits.columns(1, RATE_SAMPLES, RATE_SAMPLES);
        assert!(newest.iter().all(|column| *column == Some([0.4, 0.1, 0.0])), "a gap has the values after it");
        assert!(waits.stages.iter().all(|samples| samples.len() == RATE_SAMPLES));
        let times: Vec<Duration> = (0..10).map(|n| Duration::from_hours(9) + INTERVAL * n).collect();
        for at in times {
            waits.observe(&chain(None), None, at);
        }
        let newest = waits.columns(1, RATE_SAMPLES, RATE_SAMPLES);
        assert_eq!(newest.iter().rev().take_while(|column| column.is_none()).count(), 9);
    }
}
