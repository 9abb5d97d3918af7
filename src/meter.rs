//! Counters and blocked-time clocks of one body: written by the pump without locks, copied out by anyone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::snapshot::Flow;

/// What the pump of one body has done and is waiting for.
///
/// The times come in from outside, in µs since the node started, so that tests need no clock. All writes are relaxed:
/// a reader may see one counter a moment before another, never a wrong one.
#[derive(Debug, Default)]
pub struct Meter {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    read_blocked: AtomicU64,
    write_blocked: AtomicU64,
    capped: AtomicU64,
    reply: AtomicU64,
    active: AtomicU64,
    hashing: AtomicU64,
    late: AtomicU64,
    /// The first byte went out at this time plus 1, the body ended at that one; 0 before.
    first: AtomicU64,
    ended: AtomicU64,
    /// The body began at this time plus 1; 0 while none is moving.
    began: AtomicU64,
    waiting: AtomicU8,
    waiting_since: AtomicU64,
}

/// What a pump can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WaitKind {
    /// Input: upstream or the disk.
    Read = 1,
    /// Output: downstream or the disk.
    Write = 2,
    /// The node's own cap.
    RateLimit = 3,
    /// The reply before the body: a client for its coming, a node until its delay lets it go.
    Reply = 4,
}

impl Meter {
    /// A body begins.
    pub fn begin(&self, now_us: u64) {
        self.began.store(now_us + 1, Relaxed);
    }

    /// The body has ended, well or not.
    pub fn end(&self, now_us: u64) {
        self.resume(|| now_us);
        let began = self.began.swap(0, Relaxed);
        if began != 0 {
            self.active.fetch_add((now_us + 1).saturating_sub(began), Relaxed);
            self.ended.store(now_us + 1, Relaxed);
        }
    }

    /// A byte may have gone out; only the first time counts. The clock is asked only then: most calls are for nothing.
    pub fn record_first_byte(&self, now_us: impl FnOnce() -> u64) {
        if self.first.load(Relaxed) == 0 {
            self.first.store(now_us() + 1, Relaxed);
        }
    }

    /// When the first byte went out, and when the body ended, where they have.
    pub fn moments(&self) -> (Option<u64>, Option<u64>) {
        let of = |time: &AtomicU64| time.load(Relaxed).checked_sub(1);
        (of(&self.first), of(&self.ended))
    }

    /// How long the body has waited without moving a byte, in µs.
    pub fn idle_us(&self, now_us: u64) -> u64 {
        match self.waiting.load(Relaxed) {
            0 => 0,
            _ => now_us.saturating_sub(self.waiting_since.load(Relaxed)),
        }
    }

    /// Bytes came in.
    pub fn record_read(&self, bytes: u64) {
        self.bytes_in.fetch_add(bytes, Relaxed);
    }

    /// Bytes went out.
    pub fn record_write(&self, bytes: u64) {
        self.bytes_out.fetch_add(bytes, Relaxed);
    }

    /// Time was spent on a digest.
    pub fn record_hashing(&self, us: u64) {
        self.hashing.fetch_add(us, Relaxed);
    }

    /// A timer of this stage was so late: it was not running.
    pub fn record_sched_delay(&self, us: u64) {
        self.late.fetch_add(us, Relaxed);
    }

    /// Bytes that went out so far.
    pub fn sent(&self) -> u64 {
        self.bytes_out.load(Relaxed)
    }

    /// The pump cannot go on for this reason; the same reason again changes nothing.
    pub fn wait(&self, what: WaitKind, now_us: u64) {
        if self.waiting.load(Relaxed) == what as u8 {
            return;
        }
        self.resume(|| now_us);
        self.waiting_since.store(now_us, Relaxed);
        self.waiting.store(what as u8, Relaxed);
    }

    /// The pump goes on. The clock is asked only if it had to wait: a body that flows costs no look at it.
    pub fn resume(&self, now_us: impl FnOnce() -> u64) {
        let what = self.waiting.load(Relaxed);
        if what != 0 {
            self.waiting.store(0, Relaxed);
            let waited = now_us().saturating_sub(self.waiting_since.load(Relaxed));
            self.blocked(what).fetch_add(waited, Relaxed);
        }
    }

    /// Everything up to this moment, the wait that is still going on included.
    pub fn flow(&self, now_us: u64) -> Flow {
        let began = self.began.load(Relaxed);
        let mut flow = Flow {
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            starved_us: self.read_blocked.load(Relaxed),
            blocked_us: self.write_blocked.load(Relaxed),
            limited_us: self.capped.load(Relaxed),
            active_us: self.active.load(Relaxed) + if began == 0 { 0 } else { (now_us + 1).saturating_sub(began) },
            hash_us: self.hashing.load(Relaxed),
            sched_delay_us: self.late.load(Relaxed),
            reply_us: self.reply.load(Relaxed),
        };
        let waited = now_us.saturating_sub(self.waiting_since.load(Relaxed));
        match self.waiting.load(Relaxed) {
            1 => flow.starved_us += waited,
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
            3 => &self.capped,
            _ => &self.reply,
        }
    }
}

/// A cap on bytes per second: bytes go a tick's worth at a time, so that a capped flow stays even.
#[derive(Debug)]
pub struct TokenBucket {
    rate: u64,
    /// The time, in µs, up to which the rate is spent; `None` before anything was taken.
    spent_until_us: Option<f64>,
}

/// A tick, in µs: what goes at once, and how far ahead of its rate a flow starts. Long enough for timers, too short to
/// see.
const TICK_US: f64 = 20_000.0;
/// In which all who share a rate have had a turn, in µs: an eighth of the time over which rates are shown.
const ROUND_US: f64 = 125_000.0;
/// How much of the rate that was not used in time can be made up for, in µs. A loaded machine wakes whoever waits some
/// ticks too late, again and again, and a cap is to be reached then too; after a pause, a rate over a second is at most
/// a fifth too high.
const MADE_UP_US: f64 = 200_000.0;

impl TokenBucket {
    /// A bucket that fills at this rate, in bytes per second.
    pub fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), spent_until_us: None }
    }

    /// Bytes that may be taken at once without a visible burst, where `sharers` bodies share the rate: each gets its
    /// turn before it could be taken for a stalled one.
    pub fn chunk(&self, sharers: usize) -> usize {
        let tick_us = TICK_US.min(ROUND_US / sharers.max(1) as f64);
        ((self.rate as f64 * tick_us / 1e6) as usize).clamp(1, 1 << 20)
    }

    /// Takes bytes; the answer is how long to wait before they may go.
    pub fn take(&mut self, bytes: u64, now_us: u64) -> Duration {
        let now = now_us as f64;
        let spent = self.spent_until_us.map_or(now - TICK_US, |spent| spent.max(now - MADE_UP_US));
        let until = spent + bytes as f64 * 1e6 / self.rate as f64;
        self.spent_until_us = Some(until);
        Duration::from_secs_f64((until - now).max(0.0) / 1e6)
    }
}

/// Bytes per second over a sliding second, fed with totals at explicit times.
#[derive(Clone, Debug, Default)]
pub struct RateWindow {
    samples: VecDeque<(u64, u64)>,
}

/// The usual length of a window, in µs.
pub const WINDOW_US: u64 = 1_000_000;

impl RateWindow {
    /// A total at a time, both growing; the answer is the rate over the last second.
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

/// What can be counted from an earlier look.
pub trait Difference {
    /// What was added since then.
    #[must_use]
    fn since(&self, earlier: &Self) -> Self;

    /// Adds what was added elsewhere.
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

/// What was counted during a sliding time, fed with totals at explicit times.
#[derive(Clone, Debug, Default)]
pub struct SlidingWindow<T> {
    samples: VecDeque<(u64, T)>,
}

/// Totals that are closer to each other than this, in µs, count as one: whatever times a stage claims, a second of them
/// stays a short list.
const STEP_US: u64 = 10_000;

impl<T: Copy + Difference> SlidingWindow<T> {
    /// A total at a time, in a window so long, in µs; false if it came so close to the one before that it was left out.
    pub fn feed(&mut self, now_us: u64, total: T, span_us: u64) -> bool {
        if self.samples.back().is_some_and(|(time, _)| *time > now_us) {
            // A restarted stage counts from the start again.
            self.samples.clear();
        }
        if self.samples.back().is_some_and(|(time, _)| now_us - time < STEP_US) {
            return false;
        }
        self.samples.push_back((now_us, total));
        // One sample from before the window stays, so that the rest covers all of it.
        while self.samples.get(1).is_some_and(|(time, _)| now_us - time >= span_us) {
            self.samples.pop_front();
        }
        true
    }

    /// What happened within the window; `None` before there are two totals.
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
    fn waits_add_up_by_kind_and_show_while_they_last() {
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
        assert_eq!((meter.moments(), meter.idle_us(900)), ((Some(250), Some(400)), 0));
    }

    #[test]
    fn a_bucket_holds_its_rate() {
        let mut bucket = TokenBucket::new(1_000_000);
        let mut now = 1_000_000;
        for _ in 0..100 {
            now += bucket.take(10_000, now).as_micros() as u64;
        }
        // A megabyte at a megabyte per second, less the burst at the start.
        assert!((980_000..=1_000_000).contains(&(now - 1_000_000)), "{now}");
    }

    #[test]
    fn a_bucket_makes_up_for_late_timers_and_only_so_much_for_a_pause() {
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
    fn a_rate_covers_the_last_second_and_survives_a_restart() {
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
