//! The faults of one node as they are now: turned while it runs, asked by every body without a lock.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::faults::{FaultChange, Faults};
use crate::meter::TokenBucket;

/// What is turned at this node, for all its connections.
#[derive(Debug, Default)]
pub struct LiveFaults {
    state: watch::Sender<FaultState>,
    /// Copies of two answers, for those who ask at every piece of a body and at every request.
    any: AtomicBool,
    disturb_bodies: AtomicBool,
}

/// The faults at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct FaultState {
    /// How they stand.
    pub(super) faults: Faults,
    /// What the cap lets through, to all bodies together; made anew when the cap is turned.
    pub(super) bucket: Option<Arc<Mutex<TokenBucket>>>,
}

impl LiveFaults {
    /// Faults that stand like this at first.
    pub fn new(faults: Faults) -> Self {
        let live = Self::default();
        live.set(faults);
        live
    }

    /// How they stand.
    pub fn now(&self) -> Faults {
        self.state.borrow().faults
    }

    /// Something is turned.
    pub fn any(&self) -> bool {
        self.any.load(Relaxed)
    }

    /// Bodies are disturbed.
    pub fn disturb_bodies(&self) -> bool {
        self.disturb_bodies.load(Relaxed)
    }

    /// Follows how they stand.
    pub(super) fn subscribe(&self) -> watch::Receiver<FaultState> {
        self.state.subscribe()
    }

    #[cfg(test)]
    pub(super) fn bucket(&self) -> Option<Arc<Mutex<TokenBucket>>> {
        self.state.borrow().bucket.clone()
    }

    /// Sets some of them, all at once; the answer is how they stand now.
    pub fn apply(&self, changes: &[FaultChange]) -> Faults {
        let mut faults = self.now();
        for change in changes {
            faults.set(*change);
        }
        self.set(faults);
        faults
    }

    fn set(&self, faults: Faults) {
        self.state.send_modify(|state| {
            if state.faults.limit != faults.limit {
                state.bucket = faults.limit.map(|rate| Arc::new(Mutex::new(TokenBucket::new(rate))));
            }
            state.faults = faults;
        });
        self.any.store(faults.any(), Relaxed);
        self.disturb_bodies.store(faults.disturb_bodies(), Relaxed);
    }

    /// Waits as long as a reply is to be held back: the delay, give or take the jitter. A turn counts for those who
    /// wait already.
    pub async fn hold_back(&self) {
        if !self.any() {
            return;
        }
        let (began, chance) = (Instant::now(), chance());
        let mut turned = self.state.subscribe();
        loop {
            let Faults { delay_ms, jitter_ms, .. } = turned.borrow_and_update().faults;
            let least = delay_ms.saturating_sub(jitter_ms);
            let span = delay_ms.saturating_add(jitter_ms) - least;
            let hold =
                Duration::from_micros(least.saturating_mul(1000).saturating_add((span as f64 * 1e3 * chance) as u64));
            tokio::select! {
                () = sleep_until(began + hold) => return,
                // The sender lives as long as this.
                _ = turned.changed() => {}
            }
        }
    }
}

/// A number from 0 to 1 that nobody can foresee; the middle where the system has none.
fn chance() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn held(live: &LiveFaults) -> u128 {
        let began = Instant::now();
        live.hold_back().await;
        began.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_is_held_back_by_the_delay_give_or_take_the_jitter() {
        let live = LiveFaults::new(Faults::default());
        assert_eq!(held(&live).await, 0);
        live.apply(&[FaultChange::Delay(500)]);
        assert!((500..=501).contains(&held(&live).await));
        live.apply(&[FaultChange::Jitter(100)]);
        let times = [held(&live).await, held(&live).await, held(&live).await, held(&live).await];
        assert!(times.iter().all(|time| (400..=601).contains(time)), "{times:?}");
        assert!(times.iter().any(|time| *time != times[0]), "{times:?}");
        live.apply(&[FaultChange::Delay(0)]);
        assert!(held(&live).await <= 101);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_counts_for_a_reply_that_is_held_back_already() {
        let live = LiveFaults::new(Faults { delay_ms: 3_600_000, ..Faults::default() });
        let release = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            live.apply(&[FaultChange::Delay(0)]);
        };
        let (held, ()) = tokio::join!(held(&live), release);
        assert!((5000..=5001).contains(&held), "{held}");
    }

    #[test]
    fn the_bucket_is_made_anew_only_when_the_cap_is_turned() {
        let live = LiveFaults::new(Faults { limit: Some(1000), ..Faults::default() });
        let before = live.bucket().unwrap();
        live.apply(&[FaultChange::Stall(true), FaultChange::Delay(1)]);
        assert!(Arc::ptr_eq(&before, &live.bucket().unwrap()));
        live.apply(&[FaultChange::Limit(Some(2000))]);
        assert!(!Arc::ptr_eq(&before, &live.bucket().unwrap()));
        assert!(live.any() && live.disturb_bodies());
        live.apply(&[FaultChange::Limit(None), FaultChange::Stall(false)]);
        assert!(live.bucket().is_none() && live.any() && !live.disturb_bodies());
    }
}
