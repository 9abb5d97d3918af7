//! Token bucket of a rate limit, at explicit times.

use std::time::Duration;

/// Rate limit in bytes per second; bytes are sent one tick's worth at a time, so that the flow stays even.
#[derive(Debug)]
pub struct TokenBucket {
    rate: u64,
    /// Time, in µs, up to which the rate is used; `None` before the first use.
    spent_until_us: Option<f64>,
}

/// Tick, in µs: the size of a chunk, and of the initial burst, in time. Long enough for timers, too short to be
/// visible.
const TICK_US: f64 = 20_000.0;
/// Time in which each body that shares a rate gets a chunk, in µs. Bodies are at most two chunks apart: 5 % of what
/// each moves in two seconds.
const ROUND_US: f64 = 50_000.0;
/// Unused rate that can be caught up, in µs. A loaded machine repeatedly wakes a waiting task some ticks too late, and
/// the rate should be reached then too; after a pause, the rate over a second is at most a fifth too high.
const MAX_CATCH_UP_US: f64 = 200_000.0;

impl TokenBucket {
    /// Creates a bucket that fills at this rate, in bytes per second.
    pub fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), spent_until_us: None }
    }

    /// Returns the chunk size without a visible burst if `sharers` bodies share the rate.
    pub fn chunk(&self, sharers: usize) -> usize {
        let tick_us = TICK_US.min(ROUND_US / sharers.max(1) as f64);
        ((self.rate as f64 * tick_us / 1e6) as usize).clamp(1, 1 << 20)
    }

    /// Takes bytes; returns how long to wait before sending them.
    pub fn take(&mut self, bytes: u64, now_us: u64) -> Duration {
        let until = self.until(bytes, now_us);
        self.spent_until_us = Some(until);
        Duration::from_secs_f64((until - now_us as f64).max(0.0) / 1e6)
    }

    /// Returns how long to wait before taking bytes that can be sent immediately.
    pub fn due(&mut self, bytes: u64, now_us: u64) -> Duration {
        let left_us = self.until(bytes, now_us) - now_us as f64;
        // No clock here measures less than a microsecond.
        if left_us < 1.0 { Duration::ZERO } else { Duration::from_secs_f64(left_us / 1e6) }
    }

    /// Returns bytes that were taken and not sent.
    pub fn put_back(&mut self, bytes: u64) {
        if let Some(until) = &mut self.spent_until_us {
            *until -= bytes as f64 * 1e6 / self.rate as f64;
        }
    }

    /// Returns the time up to which the rate is used once these bytes are taken, too.
    fn until(&mut self, bytes: u64, now_us: u64) -> f64 {
        let now = now_us as f64;
        let cost_us = bytes as f64 * 1e6 / self.rate as f64;
        // At a few bytes per second, a single byte takes longer than the time that can be caught up.
        let earliest = now - MAX_CATCH_UP_US.max(cost_us);
        let spent = self.spent_until_us.get_or_insert(now - TICK_US);
        spent.max(earliest) + cost_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_keeps_its_rate() {
        let mut bucket = TokenBucket::new(1_000_000);
        let mut now = 1_000_000;
        for _ in 0..100 {
            now += bucket.take(10_000, now).as_micros() as u64;
        }
        // A megabyte at a megabyte per second, less the burst at the start.
        assert!((980_000..=1_000_000).contains(&(now - 1_000_000)), "{now}");
    }

    #[test]
    fn a_bucket_catches_up_after_late_timers_within_limits() {
        let mut bucket = TokenBucket::new(1_000_000);
        let (mut now, mut waited) = (1_000_000, 0);
        for late in [5_000, 150_000, 60_000, 0, 90_000].into_iter().cycle().take(100) {
            let pause = bucket.take(20_000, now).as_micros() as u64;
            now += if pause == 0 { 0 } else { pause + late };
            waited += pause;
        }
        // Two megabytes at a megabyte per second, and the last timer's lateness.
        assert!((1_980_000..=2_150_000).contains(&(now - 1_000_000)), "{now}");
        assert!(waited < 2_000_000, "{waited}");
        now += 60_000_000;
        let at_once = (0..1000).take_while(|_| bucket.take(1000, now).is_zero()).count();
        assert_eq!(at_once, 200);
    }

    #[test]
    fn the_lowest_rate_is_a_byte_a_second() {
        let mut bucket = TokenBucket::new(1);
        let sent = (0..10_000_000).step_by(10_000).filter(|now| {
            let due = bucket.due(1, *now).is_zero();
            if due {
                bucket.take(1, *now);
            }
            due
        });
        assert_eq!(sent.count(), 10);
    }

    #[test]
    fn bytes_that_were_put_back_can_be_taken_again() {
        let mut bucket = TokenBucket::new(1_000_000);
        assert!(bucket.take(20_000, 1_000_000).is_zero(), "the initial burst");
        assert_eq!(bucket.due(50_000, 1_000_000).as_millis(), 50);
        bucket.put_back(20_000);
        assert_eq!(bucket.due(50_000, 1_000_000).as_millis(), 30);
        assert_eq!(bucket.take(50_000, 1_000_000).as_millis(), 30);
    }
}
