//! Received bytes over the last seconds, and rates over parts of them.

use std::collections::VecDeque;

/// Age from which on samples are dropped, in µs: the longest trial, and what it is compared with.
const KEPT_US: u64 = 30_000_000;
/// Smallest distance of two samples, in µs: bounds the list.
const STEP_US: u64 = 40_000;

/// Total of received bytes at the times of the samples.
#[derive(Clone, Debug, Default)]
pub(super) struct Series {
    samples: VecDeque<(u64, u64)>,
}

impl Series {
    /// Adds the total at a time.
    pub(super) fn add(&mut self, now_us: u64, bytes: u64) {
        if self.samples.back().is_some_and(|(time, total)| *time > now_us || *total > bytes) {
            // The counters were reset: earlier rates mean nothing.
            self.samples.clear();
        }
        if self.samples.back().is_some_and(|(time, _)| now_us - time < STEP_US) {
            return;
        }
        self.samples.push_back((now_us, bytes));
        while self.samples.get(1).is_some_and(|(time, _)| now_us - time >= KEPT_US) {
            self.samples.pop_front();
        }
    }

    /// Returns the rate between two times, in bytes per second; `None` if they are not in the series in this order.
    pub(super) fn rate(&self, from_us: u64, to_us: u64) -> Option<f64> {
        let span_us = to_us.checked_sub(from_us).filter(|span_us| *span_us >= STEP_US)?;
        Some((self.total(to_us)? - self.total(from_us)?) * 1e6 / span_us as f64)
    }

    /// Returns the total at a time, interpolated between two samples.
    fn total(&self, at_us: u64) -> Option<f64> {
        let next = self.samples.partition_point(|(time, _)| *time < at_us);
        let (time, total) = *self.samples.get(next)?;
        if time == at_us {
            return Some(total as f64);
        }
        let (before, base) = *self.samples.get(next.checked_sub(1)?)?;
        let share = (at_us - before) as f64 / (time - before) as f64;
        Some((total - base) as f64 * share + base as f64)
    }

    /// Returns the standard deviation of the rates of consecutive parts of this length, as a share of their mean;
    /// `None` for fewer than three parts.
    pub(super) fn variation(&self, from_us: u64, to_us: u64, part_us: u64) -> Option<f64> {
        let count = to_us.checked_sub(from_us)? / part_us.max(STEP_US);
        let begin = |part: u64| to_us - (count - part) * part_us;
        let rates: Option<Vec<f64>> = (0..count).map(|part| self.rate(begin(part), begin(part + 1))).collect();
        let rates = rates.filter(|rates| rates.len() >= 3)?;
        let mean = rates.iter().sum::<f64>() / rates.len() as f64;
        let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / rates.len() as f64;
        (mean > 0.0).then(|| variance.sqrt() / mean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(totals: &[u64]) -> Series {
        let mut series = Series::default();
        (0..).zip(totals).for_each(|(at, total)| series.add(at * 100_000, *total));
        series
    }

    #[test]
    fn rates_are_interpolated_between_samples() {
        let series = series(&[0, 100, 300, 300]);
        assert_eq!(series.rate(0, 300_000), Some(1000.0));
        assert_eq!(series.rate(50_000, 150_000), Some(1500.0));
        assert_eq!((series.rate(200_000, 300_000), series.rate(200_000, 300_001)), (Some(0.0), None));
        assert_eq!((series.rate(300_000, 200_000), series.rate(100_000, 110_000)), (None, None));
    }

    #[test]
    fn the_list_is_bounded_and_restarts_with_the_counters() {
        let mut series = Series::default();
        for at in 0..100_000 {
            series.add(at * 10_000, at);
        }
        assert_eq!(series.samples.len() as u64, KEPT_US / STEP_US + 1);
        series.add(2_000_000_000, 5);
        assert_eq!(series.samples.len(), 1);
    }

    #[test]
    fn variation_is_relative_to_the_mean() {
        let flat = series(&[0, 100, 200, 300, 400]);
        assert_eq!(flat.variation(0, 400_000, 100_000), Some(0.0));
        assert_eq!(flat.variation(0, 200_000, 100_000), None);
        let uneven = series(&[0, 50, 200, 250, 400]);
        assert_eq!(uneven.variation(0, 400_000, 100_000), Some(0.5));
        assert_eq!(series(&[7; 9]).variation(0, 800_000, 100_000), None);
    }
}
