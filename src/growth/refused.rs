//! Pauses after steps that were reversed.

use super::evidence::Evidence;
use crate::snapshot::verdict::Limit;

/// Pause after the first reversed step, in µs; it doubles each time, up to the longest.
const FIRST_PAUSE_US: u64 = 5_000_000;
const LAST_PAUSE_US: u64 = 80_000_000;
/// Pauses after a flat rate: noise did not hide the gain.
const FLAT_PAUSES: u64 = 4;
/// Verdicts that have to agree that the limit has changed.
const AGREEING: u32 = 2;

/// The last step that was reversed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refused {
    /// Its time, in µs.
    pub(super) at_us: u64,
    pause_us: u64,
    /// Bytes per second without the step from which on it did not bring enough.
    enough: f64,
    limit: Limit,
}

impl Refused {
    /// Returns a step after another that was reversed.
    pub(super) fn new(before: Option<Self>, at_us: u64, evidence: Option<Evidence>, enough: f64) -> Self {
        let pause_us = before.map_or(FIRST_PAUSE_US, |before| (2 * before.pause_us).min(LAST_PAUSE_US));
        Self { at_us, pause_us, enough, limit: evidence.map(|evidence| evidence.limit).unwrap_or_default() }
    }

    /// Returns the step with the pause after a flat rate.
    pub(super) fn after_a_flat_rate(self) -> Self {
        Self { pause_us: (FLAT_PAUSES * self.pause_us).min(LAST_PAUSE_US), ..self }
    }

    /// Returns true until the pause is over, the limit has changed, or the rate without the step shows that it had
    /// brought enough.
    pub(super) fn pauses(&self, now_us: u64, evidence: Option<Evidence>, rate: Option<f64>) -> bool {
        let other = evidence.is_some_and(|found| found.count >= AGREEING && !found.limit.is_same(&self.limit));
        now_us < self.at_us + self.pause_us && !other && !rate.is_some_and(|rate| rate <= self.enough)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_early_when_the_rate_shows_the_gain() {
        let first = Refused::new(None, 1_000_000, None, 5e6);
        assert!(first.pauses(5_999_999, None, Some(6e6)) && !first.pauses(6_000_000, None, Some(6e6)));
        assert!(!first.pauses(2_000_000, None, Some(5e6)), "with the step, it was 1.5 times as much");
        let second = Refused::new(Some(first), 0, None, 0.0);
        assert!(second.pauses(9_999_999, None, None) && !second.pauses(10_000_000, None, None));
        let flat = (0..9).fold(first, |before, _| Refused::new(Some(before), 0, None, 0.0).after_a_flat_rate());
        assert!(flat.pauses(79_999_999, None, None) && !flat.pauses(80_000_000, None, None));
    }
}
