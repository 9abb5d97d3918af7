//! Average rates of a transfer, and the time left at one.

use std::time::Duration;

/// Time of data needed before the remaining time is estimated.
const ETA_AFTER: Duration = Duration::from_secs(2);
/// Time constant of the average that the estimate is based on, in seconds.
const ETA_SPAN: f64 = 10.0;

/// A moving average of the rate over about ten seconds.
#[derive(Debug, Default)]
pub(super) struct Average {
    last_us: u64,
    last_bytes: u64,
    bytes: f64,
    seconds: f64,
    fed: f64,
}

/// Average rate over the whole transfer, set-up and verification included, as the user experienced it.
pub(super) fn whole_rate(bytes: u64, elapsed: Duration) -> u64 {
    if elapsed.is_zero() { 0 } else { (bytes as f64 / elapsed.as_secs_f64()) as u64 }
}

impl Average {
    /// Creates an average that begins with this time and number of bytes.
    pub(super) fn since(now_us: u64, bytes: u64) -> Self {
        Self { last_us: now_us, last_bytes: bytes, ..Self::default() }
    }

    /// Adds a sample.
    pub(super) fn feed(&mut self, now_us: u64, bytes: u64) {
        let seconds = now_us.saturating_sub(self.last_us) as f64 / 1e6;
        let fade = (-seconds / ETA_SPAN).exp();
        self.bytes = self.bytes * fade + bytes.saturating_sub(self.last_bytes) as f64;
        self.seconds = self.seconds * fade + seconds;
        self.fed += seconds;
        (self.last_us, self.last_bytes) = (now_us, bytes);
    }

    /// Returns how long `left` bytes will take; `None` until there is enough data.
    pub(super) fn time_for(&self, left: u64) -> Option<Duration> {
        if self.fed < ETA_AFTER.as_secs_f64() || self.bytes < 1.0 {
            return None;
        }
        let seconds = left as f64 * self.seconds / self.bytes;
        // A week is as good as never, and keeps the value within the range of a duration.
        Some(Duration::from_secs_f64(seconds.min(7.0 * 86_400.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remaining_time_needs_two_seconds_and_follows_the_rate() {
        let mut average = Average::default();
        average.feed(1_000_000, 1000);
        assert_eq!(average.time_for(5000), None);
        average.feed(2_000_000, 2000);
        let left = average.time_for(5000).unwrap();
        assert!((left.as_secs_f64() - 5.0).abs() < 0.01, "{left:?}");
        // After a minute at ten times the rate, older figures no longer count.
        for second in 3..63 {
            average.feed(second * 1_000_000, 2000 + (second - 2) * 10_000);
        }
        let left = average.time_for(50_000).unwrap();
        assert!((left.as_secs_f64() - 5.0).abs() < 0.1, "{left:?}");
    }

    #[test]
    fn no_data_gives_no_remaining_time() {
        let mut average = Average::default();
        average.feed(9_000_000, 0);
        assert_eq!(average.time_for(1), None);
        assert_eq!(whole_rate(5, Duration::ZERO), 0);
    }
}
