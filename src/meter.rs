//! Byte counters and blocked times of a body, rate limits and rates.

mod bucket;
mod fair;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::snapshot::Flow;
pub use bucket::TokenBucket;
pub use fair::{FairQueue, Place, Turn};

/// Counters of one body: written by its copy loop without locks, read by any thread.
///
/// The times come in from outside, in µs since the node started, so that tests need no clock. All writes are relaxed:
/// a reader may see one counter a moment before another, never a wrong one.
#[derive(Debug, Default)]
pub struct Meter {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    read_blocked: AtomicU64,
    write_blocked: AtomicU64,
    limited: AtomicU64,
    reply: AtomicU64,
    active: AtomicU64,
    hashing: AtomicU64,
    late: AtomicU64,
    /// Time of the first byte out, and of the end of the body, each plus 1; 0 before.
    first: AtomicU64,
    ended: AtomicU64,
    /// Start of the body plus 1; 0 while none is in progress.
    began: AtomicU64,
    waiting: AtomicU8,
    waiting_since: AtomicU64,
    /// Length from which on a wait for input is silence; `None` for a body, which always has input to come.
    silent_after_us: Option<u64>,
    /// Silence since the start.
    silent: AtomicU64,
}

/// What a copy loop waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WaitKind {
    /// Input: upstream or the disk.
    Read = 1,
    /// Output: downstream or the disk.
    Write = 2,
    /// The node's own rate limit.
    RateLimit = 3,
    /// The reply before the body: a client for its arrival, a node for its injected delay.
    Reply = 4,
}

impl Meter {
    /// Creates the counters of one direction of a tunnel, whose ends may have nothing to send: beyond this length, a
    /// wait for input counts neither as a wait nor as active time.
    pub fn of_tunnel(silent_after: Duration) -> Self {
        Self { silent_after_us: Some(silent_after.as_micros() as u64), ..Self::default() }
    }

    /// Records the start of a body.
    pub fn begin(&self, now_us: u64) {
        self.began.store(now_us + 1, Relaxed);
    }

    /// Records the end of the body, complete or not.
    pub fn end(&self, now_us: u64) {
        self.resume(|| now_us);
        let began = self.began.swap(0, Relaxed);
        if began != 0 {
            let silent = self.silent.swap(0, Relaxed);
            self.active.fetch_add((now_us + 1).saturating_sub(began).saturating_sub(silent), Relaxed);
            self.ended.store(now_us + 1, Relaxed);
        }
    }

    /// Records the first byte out; later calls do nothing, and do not read the clock.
    pub fn record_first_byte(&self, now_us: impl FnOnce() -> u64) {
        if self.first.load(Relaxed) == 0 {
            self.first.store(now_us() + 1, Relaxed);
        }
    }

    /// Returns the times of the first byte out and of the end of the body.
    pub fn first_and_last_us(&self) -> (Option<u64>, Option<u64>) {
        let of = |time: &AtomicU64| time.load(Relaxed).checked_sub(1);
        (of(&self.first), of(&self.ended))
    }

    /// Returns for how long the body has moved no byte, in µs.
    pub fn idle_us(&self, now_us: u64) -> u64 {
        match self.waiting.load(Relaxed) {
            0 => 0,
            _ => now_us.saturating_sub(self.waiting_since.load(Relaxed)),
        }
    }

    /// Counts bytes in.
    pub fn record_read(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Relaxed);
    }

    /// Counts bytes out.
    pub fn record_write(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Relaxed);
    }

    /// Adds time spent on a digest.
    pub fn record_hashing(&self, us: u64) {
        self.hashing.fetch_add(us, Relaxed);
    }

    /// Adds the delay of a timer, for which this stage was not scheduled.
    pub fn record_sched_delay(&self, us: u64) {
        self.late.fetch_add(us, Relaxed);
    }

    /// Returns the bytes out so far.
    pub fn sent(&self) -> u64 {
        self.bytes_out.load(Relaxed)
    }

    /// Starts a wait; the same wait again changes nothing.
    pub fn wait(&self, what: WaitKind, now_us: u64) {
        if self.waiting.load(Relaxed) == what as u8 {
            return;
        }
        self.resume(|| now_us);
        self.waiting_since.store(now_us, Relaxed);
        self.waiting.store(what as u8, Relaxed);
    }

    /// Ends a wait. The clock is read only if there was one, so that an unblocked body does not read it.
    pub fn resume(&self, now_us: impl FnOnce() -> u64) {
        let what = self.waiting.load(Relaxed);
        if what != 0 {
            self.waiting.store(0, Relaxed);
            let waited = now_us().saturating_sub(self.waiting_since.load(Relaxed));
            let silent = self.silence(what, waited);
            if silent > 0 {
                self.silent.fetch_add(silent, Relaxed);
            }
            self.blocked(what).fetch_add(waited - silent, Relaxed);
        }
    }

    /// Returns the part of a wait that is silence.
    fn silence(&self, what: u8, waited: u64) -> u64 {
        let after = self.silent_after_us.filter(|_| what == WaitKind::Read as u8);
        after.map_or(0, |after| waited.saturating_sub(after))
    }

    /// Returns all counters, including the current wait.
    pub fn flow(&self, now_us: u64) -> Flow {
        let began = self.began.load(Relaxed);
        let what = self.waiting.load(Relaxed);
        let waited = now_us.saturating_sub(self.waiting_since.load(Relaxed));
        let silent = self.silence(what, waited);
        let since_began = (now_us + 1).saturating_sub(began).saturating_sub(self.silent.load(Relaxed) + silent);
        let mut flow = Flow {
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            starved_us: self.read_blocked.load(Relaxed),
            blocked_us: self.write_blocked.load(Relaxed),
            limited_us: self.limited.load(Relaxed),
            active_us: self.active.load(Relaxed) + if began == 0 { 0 } else { since_began },
            hash_us: self.hashing.load(Relaxed),
            sched_delay_us: self.late.load(Relaxed),
            reply_us: self.reply.load(Relaxed),
        };
        match what {
            1 => flow.starved_us += waited - silent,
            2 => flow.blocked_us += waited,
            3 => flow.limited_us += waited,
            4 => flow.reply_us += waited,
            _ => {}
        }
        flow
    }

    fn blocked(&self, what: u8) -> &AtomicU64 {
        match what {
            1 => &self.read_blocked,
            2 => &self.write_blocked,
            3 => &self.limited,
            _ => &self.reply,
        }
    }
}

/// Rate over a sliding second, computed from totals at explicit times.
#[derive(Clone, Debug, Default)]
pub struct RateWindow {
    samples: VecDeque<(u64, u64)>,
}

/// The usual length of a window, in µs.
pub const WINDOW_US: u64 = 1_000_000;

impl RateWindow {
    /// Adds a total at a time, both increasing; returns the rate over the last second.
    pub fn feed(&mut self, now_us: u64, total: u64) -> u64 {
        if self.samples.back().is_some_and(|(time, before)| *time > now_us || *before > total) {
            // A restarted node counts from the start again.
            self.samples.clear();
        }
        self.samples.push_back((now_us, total));
        while self.samples.get(1).is_some_and(|(time, _)| now_us - time >= WINDOW_US) {
            self.samples.pop_front();
        }
        let (time, before) = self.samples[0];
        match now_us - time {
            0 => 0,
            span => ((total - before) as f64 * 1e6 / span as f64) as u64,
        }
    }
}

/// Counters that can be subtracted and added.
pub trait Difference {
    /// Returns the difference from an earlier sample.
    #[must_use]
    fn since(&self, earlier: &Self) -> Self;

    /// Adds other counters.
    fn grow(&mut self, by: &Self);
}

impl Difference for Flow {
    fn since(&self, earlier: &Self) -> Self {
        Self::since(self, earlier)
    }

    fn grow(&mut self, by: &Self) {
        self.add(by);
    }
}

/// Difference of counters over a sliding window, computed from totals at explicit times.
#[derive(Clone, Debug, Default)]
pub struct SlidingWindow<T> {
    samples: VecDeque<(u64, T)>,
}

/// Smallest distance of two samples, in µs: bounds the list, whatever times a stage reports.
const STEP_US: u64 = 10_000;

impl<T: Copy + Difference> SlidingWindow<T> {
    /// Adds a total at a time, to a window of `span_us`; returns false if it was too close to the previous one, and
    /// dropped.
    pub fn feed(&mut self, now_us: u64, total: T, span_us: u64) -> bool {
        if self.samples.back().is_some_and(|(time, _)| *time > now_us) {
            // A restarted stage counts from the start again.
            self.samples.clear();
        }
        if self.samples.back().is_some_and(|(time, _)| now_us - time < STEP_US) {
            return false;
        }
        self.samples.push_back((now_us, total));
        // One sample from before the window is kept, so that the samples cover all of it.
        while self.samples.get(1).is_some_and(|(time, _)| now_us - time >= span_us) {
            self.samples.pop_front();
        }
        true
    }

    /// Returns the difference over the window; `None` before there are two samples.
    pub fn change(&self) -> Option<T> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        (self.samples.len() > 1).then(|| last.1.since(&first.1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_add_up_by_kind_and_include_the_current_one() {
        let meter = Meter::default();
        meter.wait(WaitKind::Reply, 60);
        assert_eq!((meter.flow(80).reply_us, meter.flow(80).active_us), (20, 0));
        meter.resume(|| 90);
        meter.begin(100);
        meter.wait(WaitKind::Read, 150);
        meter.wait(WaitKind::Read, 170);
        assert_eq!((meter.flow(200).starved_us, meter.idle_us(200), meter.idle_us(140)), (50, 50, 0));
        meter.record_first_byte(|| 250);
        meter.record_first_byte(|| 260);
        meter.wait(WaitKind::Write, 250);
        meter.resume(|| 300);
        meter.resume(|| panic!("it does not wait"));
        meter.record_first_byte(|| panic!("it was not the first"));
        meter.wait(WaitKind::RateLimit, 300);
        meter.record_read(7);
        meter.record_write(5);
        meter.record_hashing(9);
        meter.record_sched_delay(3);
        meter.end(400);
        let expected = Flow {
            bytes_in: 7,
            bytes_out: 5,
            starved_us: 100,
            blocked_us: 50,
            limited_us: 100,
            active_us: 300,
            hash_us: 9,
            sched_delay_us: 3,
            reply_us: 30,
        };
        assert_eq!(meter.flow(900), expected);
        assert_eq!((meter.first_and_last_us(), meter.idle_us(900)), ((Some(250), Some(400)), 0));
    }

    #[test]
    fn a_tunnel_that_is_silent_for_long_is_neither_starved_nor_active() {
        let (meter, body) = (Meter::of_tunnel(Duration::from_micros(100)), Meter::default());
        let times = |meter: &Meter, now| (meter.flow(now).starved_us, meter.flow(now).active_us);
        for meter in [&meter, &body] {
            meter.begin(0);
            meter.wait(WaitKind::Read, 50);
        }
        assert_eq!((times(&meter, 100), times(&meter, 150)), ((50, 100), (100, 150)));
        assert_eq!((times(&meter, 151), times(&meter, 9_000)), ((100, 150), (100, 150)));
        assert_eq!(times(&body, 9_000), (8_950, 9_000));
        assert_eq!(meter.idle_us(9_000), 8_950, "it is still known for how long");
        meter.resume(|| 9_000);
        assert_eq!(times(&meter, 9_040), (100, 190));
        // Only input may be missing by intent.
        meter.wait(WaitKind::Write, 9_040);
        assert_eq!((meter.flow(10_040).blocked_us, meter.flow(10_040).active_us), (1_000, 1_190));
        meter.end(10_040);
        assert_eq!(times(&meter, 99_999), (100, 1_190));
    }

    #[test]
    fn a_rate_covers_the_last_second_and_restarts() {
        let mut rate = RateWindow::default();
        let rates: Vec<u64> = (0..9).map(|i| rate.feed(i * 250_000, i * 1000)).collect();
        assert_eq!((rates[0], rates[8]), (0, 4000));
        assert_eq!(rate.feed(2_250_000, 8000), 3000);
        assert_eq!(rate.feed(2_500_000, 5), 0);
    }

    #[test]
    fn a_window_covers_the_last_second_in_bounded_memory() {
        let mut window = SlidingWindow::default();
        let total = |bytes| Flow { bytes_in: bytes, ..Flow::default() };
        assert!(window.feed(0, total(0), WINDOW_US) && window.change().is_none());
        for step in 1..=100_000 {
            assert_eq!(window.feed(step * 1000, total(step), WINDOW_US), step % 10 == 0);
        }
        assert_eq!(window.change(), Some(total(1000)));
        assert_eq!(window.samples.len(), 101);
        assert!(window.feed(5, total(1), WINDOW_US) && window.change().is_none());
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_body(steps in proptest::collection::vec((0u8..4, 0u64..1000), 1..50)) {
            let meter = Meter::default();
            let mut now = 0;
            meter.begin(now);
            for (what, step) in steps {
                match what {
                    0 => meter.resume(|| now),
                    1 => meter.wait(WaitKind::Read, now),
                    2 => meter.wait(WaitKind::Write, now),
                    _ => meter.wait(WaitKind::RateLimit, now),
                }
                now += step;
            }
            let flow = meter.flow(now);
            prop_assert!(flow.starved_us + flow.blocked_us + flow.limited_us <= flow.active_us);
        }
    }
}
