//! What the requests of one key move together at this node, and the limits on it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};

use crate::keys::KeyLimits;
use crate::net::faults::SharedLimit;
use crate::net::os::clock::{Clock, seconds};
use crate::net::os::deadline::within;
use crate::units::{Bytes, HumanDuration};

/// Seconds of a day.
const DAY: u64 = 86_400;
/// Wait for the end of another transfer. A client requests its next file as soon as it has all of the one before, over
/// another connection perhaps, and this node may have to record the end of that one first.
const GRACE: Duration = Duration::from_millis(100);

/// What one key uses at this node, or requests without a key. It outlives a change of its limits.
#[derive(Debug)]
pub struct KeyUsage {
    state: Mutex<State>,
    /// A transfer has ended.
    ended: Notify,
    /// The limit on its bytes per second, shared by all its bodies; replaced when it changes.
    rate: watch::Sender<Option<Arc<SharedLimit>>>,
    /// Copies of what is read for every piece of a body.
    limits_rate: AtomicBool,
    limits_day: AtomicBool,
    /// Clock of the rate: nodes that share the keys have clocks of their own.
    clock: Clock,
}

#[derive(Debug)]
struct State {
    /// The key and its name, as errors show them.
    who: String,
    limits: KeyLimits,
    transfers: u32,
    /// The day, counted from 1970, and the bytes moved since it began.
    day: u64,
    bytes: u64,
}

/// A transfer of a key; it ends when this is dropped.
#[derive(Debug)]
pub struct KeyTransfer(Arc<KeyUsage>);

/// Why a key may not begin a transfer, or move more in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OverLimit {
    /// As many transfers as it may have at once are in progress.
    Transfers(String),
    /// It has moved its bytes of the day.
    Day(String),
}

impl KeyUsage {
    /// Creates the usage of a key that has moved nothing.
    pub(super) fn new(who: String, limits: KeyLimits) -> Self {
        let state = State { who: String::new(), limits: KeyLimits::default(), transfers: 0, day: 0, bytes: 0 };
        let usage = Self {
            state: Mutex::new(state),
            ended: Notify::new(),
            rate: watch::Sender::default(),
            limits_rate: AtomicBool::default(),
            limits_day: AtomicBool::default(),
            clock: Clock::start(),
        };
        usage.set(who, limits);
        usage
    }

    /// Changes the limits, of bodies that are being moved, too.
    pub(super) fn set(&self, who: String, limits: KeyLimits) {
        let mut state = self.state();
        if state.limits.rate != limits.rate {
            self.rate.send_replace(limits.rate.map(|rate| Arc::new(SharedLimit::new(rate))));
        }
        (state.who, state.limits) = (who, limits);
        self.limits_rate.store(limits.rate.is_some(), Relaxed);
        self.limits_day.store(limits.per_day.is_some(), Relaxed);
        self.ended.notify_waiters();
    }

    /// Returns whether bodies have to be counted or slowed.
    pub(in crate::net) fn limits_bodies(&self) -> bool {
        self.limits_rate() || self.limits_day.load(Relaxed)
    }

    /// Begins a transfer.
    ///
    /// # Errors
    /// [`OverLimit`] if the bytes of the day are used up, or no transfer ends within a moment where one has to.
    pub(super) async fn begin(self: &Arc<Self>) -> Result<KeyTransfer, OverLimit> {
        self.left_today().map_err(OverLimit::Day)?;
        if let Some(transfer) = self.try_begin() {
            return Ok(transfer);
        }
        let waiting = async {
            loop {
                let ended = self.ended.notified();
                if let Some(transfer) = self.try_begin() {
                    return transfer;
                }
                ended.await;
            }
        };
        // Boxed: few requests have to wait.
        Box::pin(within(GRACE, waiting)).await.map_err(|_| {
            let state = self.state();
            let most = state.limits.transfers.unwrap_or(u32::MAX);
            OverLimit::Transfers(format!("{} may have {most} at once", state.who))
        })
    }

    fn try_begin(self: &Arc<Self>) -> Option<KeyTransfer> {
        let mut state = self.state();
        let free = state.limits.transfers.is_none_or(|most| state.transfers < most);
        free.then(|| {
            state.transfers += 1;
            KeyTransfer(Arc::clone(self))
        })
    }

    /// Returns its limit on bytes per second.
    pub(in crate::net) fn rate(&self) -> Option<u64> {
        self.limits_rate().then(|| self.state().limits.rate).flatten()
    }

    /// Returns whether its bytes per second are limited.
    pub(in crate::net) fn limits_rate(&self) -> bool {
        self.limits_rate.load(Relaxed)
    }

    /// Subscribes to changes of the limit on bytes per second.
    pub(in crate::net) fn subscribe(&self) -> watch::Receiver<Option<Arc<SharedLimit>>> {
        self.rate.subscribe()
    }

    /// Returns the clock of the limit on bytes per second.
    pub(in crate::net) fn clock(&self) -> Clock {
        self.clock
    }

    /// Counts bytes that were moved.
    pub(in crate::net) fn moved(&self, bytes: u64) {
        self.moved_at(bytes, seconds(SystemTime::now()));
    }

    fn moved_at(&self, bytes: u64, now: u64) {
        let mut state = self.state();
        state.turn_to(now);
        state.bytes = state.bytes.saturating_add(bytes);
    }

    /// Returns how many bytes it may move until the day ends.
    ///
    /// # Errors
    /// A sentence if there are none, which names the key, the limit, and when the next day begins.
    pub(in crate::net) fn left_today(&self) -> Result<u64, String> {
        if !self.limits_day.load(Relaxed) {
            return Ok(u64::MAX);
        }
        self.left_at(seconds(SystemTime::now()))
    }

    fn left_at(&self, now: u64) -> Result<u64, String> {
        let mut state = self.state();
        state.turn_to(now);
        let most = state.limits.per_day.unwrap_or(u64::MAX);
        let left = most.saturating_sub(state.bytes);
        if left > 0 {
            return Ok(left);
        }
        let (who, wait) = (&state.who, HumanDuration(until_next_day(now)));
        Err(format!("{who} may have {} a day, and again from 00:00 UTC on, in {wait}", Bytes(most)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Begins a new day if one has begun. A clock that is set back begins none: the bytes were moved.
    fn turn_to(&mut self, now: u64) {
        if now / DAY > self.day {
            (self.day, self.bytes) = (now / DAY, 0);
        }
    }
}

/// Returns the time to the next day in UTC, from seconds since 1970.
pub fn until_next_day(now: u64) -> Duration {
    Duration::from_secs(DAY - now % DAY)
}

impl Drop for KeyTransfer {
    fn drop(&mut self) {
        self.0.state().transfers -= 1;
        self.0.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// A day begins at this time.
    const MIDNIGHT: u64 = 20_000 * DAY;

    fn usage(limits: KeyLimits) -> Arc<KeyUsage> {
        Arc::new(KeyUsage::new("sha256:x (alice)".to_owned(), limits))
    }

    #[tokio::test(start_paused = true)]
    async fn transfers_at_once_are_limited_and_another_begins_when_one_ends() {
        let alice = usage(KeyLimits { transfers: Some(2), ..KeyLimits::default() });
        let (first, _second) = (alice.begin().await.unwrap(), alice.begin().await.unwrap());
        let before = Instant::now();
        let refused = alice.begin().await.unwrap_err();
        assert_eq!(refused, OverLimit::Transfers("sha256:x (alice) may have 2 at once".to_owned()));
        assert!((GRACE..GRACE * 2).contains(&before.elapsed()));
        let (third, ()) = tokio::join!(alice.begin(), async { drop(first) });
        let third = third.unwrap();
        assert!(alice.begin().await.is_err());
        alice.set("sha256:x (alice)".to_owned(), KeyLimits::default());
        let _more = [alice.begin().await.unwrap(), alice.begin().await.unwrap()];
        alice.set("sha256:x (alice)".to_owned(), KeyLimits { transfers: Some(3), ..KeyLimits::default() });
        assert!(alice.begin().await.is_err(), "those that began without a limit count");
        drop(third);
        assert!(alice.begin().await.is_err(), "three are in progress");
    }

    #[test]
    fn the_bytes_of_a_day_are_free_again_after_midnight() {
        let alice = usage(KeyLimits { per_day: Some(5_000), ..KeyLimits::default() });
        assert_eq!(alice.left_at(MIDNIGHT + 60), Ok(5_000));
        alice.moved_at(2_000, MIDNIGHT + 60);
        assert_eq!(alice.left_at(MIDNIGHT + 61), Ok(3_000));
        alice.moved_at(3_001, MIDNIGHT + 61);
        let over = alice.left_at(MIDNIGHT + DAY - 7_200).unwrap_err();
        assert_eq!(over, "sha256:x (alice) may have 5.0 KB a day, and again from 00:00 UTC on, in 2 h 0 min");
        assert_eq!(alice.left_at(MIDNIGHT + DAY), Ok(5_000));
        alice.moved_at(1, MIDNIGHT + DAY);
        assert_eq!(alice.left_at(MIDNIGHT + DAY - 1), Ok(4_999), "the clock was set back");
        alice.set("sha256:x (alice)".to_owned(), KeyLimits { per_day: Some(6_000), ..KeyLimits::default() });
        assert_eq!(alice.left_at(MIDNIGHT + DAY), Ok(5_999), "a reload keeps the count");
    }

    #[test]
    fn a_changed_rate_is_another_limit() {
        let alice = usage(KeyLimits::default());
        let changes = alice.subscribe();
        assert!(!alice.limits_rate() && changes.borrow().is_none() && alice.rate().is_none());
        alice.set("a".to_owned(), KeyLimits { rate: Some(9), ..KeyLimits::default() });
        assert!(alice.limits_rate() && changes.has_changed().unwrap() && alice.rate() == Some(9));
    }
}
