//! Current faults and limits of one node: set while it runs, read by every body without a lock.

mod share;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::faults::{FaultChange, Faults};
pub(super) use share::{Share, SharedLimit};

/// Faults and limits of this node, for all its connections.
#[derive(Debug, Default)]
pub struct LiveFaults {
    state: watch::Sender<FaultState>,
    /// Copies of two flags that are read for every piece of a body and every request.
    any: AtomicBool,
    disturb_bodies: AtomicBool,
}

/// The faults at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct FaultState {
    /// All faults and limits.
    pub(super) faults: Faults,
    /// The rate limit, shared by all bodies; replaced when it changes.
    pub(super) limit: Option<Arc<SharedLimit>>,
}

impl LiveFaults {
    /// Returns live faults with initial values.
    pub fn new(faults: Faults) -> Self {
        let live = Self::default();
        live.set(faults);
        live
    }

    /// Returns the current faults.
    pub fn now(&self) -> Faults {
        self.state.borrow().faults
    }

    /// Returns true if any fault or limit is set.
    pub fn any(&self) -> bool {
        self.any.load(Relaxed)
    }

    /// Returns true if bodies are affected.
    pub fn disturb_bodies(&self) -> bool {
        self.disturb_bodies.load(Relaxed)
    }

    /// Subscribes to changes.
    pub(super) fn subscribe(&self) -> watch::Receiver<FaultState> {
        self.state.subscribe()
    }

    #[cfg(test)]
    pub(super) fn limit(&self) -> Option<Arc<SharedLimit>> {
        self.state.borrow().limit.clone()
    }

    /// Applies several changes atomically; returns the resulting faults.
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
                state.limit = faults.limit.map(|rate| Arc::new(SharedLimit::new(rate)));
            }
            state.faults = faults;
        });
        self.any.store(faults.any(), Relaxed);
        self.disturb_bodies.store(faults.disturb_bodies(), Relaxed);
    }

    /// Delays a reply by the delay, plus or minus the jitter. A change applies to replies that already wait.
    pub async fn delay_reply(&self) {
        if !self.any() {
            return;
        }
        let (began, random_fraction) = (Instant::now(), random_fraction());
        let mut changes = self.state.subscribe();
        loop {
            let Faults { delay_ms, jitter_ms, .. } = changes.borrow_and_update().faults;
            let least = delay_ms.saturating_sub(jitter_ms);
            let span = delay_ms.saturating_add(jitter_ms) - least;
            let pause = Duration::from_micros(
                least.saturating_mul(1000).saturating_add((span as f64 * 1e3 * random_fraction) as u64),
            );
            tokio::select! {
                () = sleep_until(began + pause) => return,
                // The sender is owned by `self`.
                _ = changes.changed() => {}
            }
        }
    }
}

/// Returns an unpredictable number from 0 to 1; the middle if the system has none.
fn random_fraction() -> f64 {
    getrandom::u32().map_or(0.5, |number| f64::from(number) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn measured_delay(live: &LiveFaults) -> u128 {
        let began = Instant::now();
        live.delay_reply().await;
        began.elapsed().as_millis()
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_is_delayed_within_the_jitter() {
        let live = LiveFaults::new(Faults::default());
        assert_eq!(measured_delay(&live).await, 0);
        live.apply(&[FaultChange::Delay(500)]);
        assert!((500..=501).contains(&measured_delay(&live).await));
        live.apply(&[FaultChange::Jitter(100)]);
        let times = [
            measured_delay(&live).await,
            measured_delay(&live).await,
            measured_delay(&live).await,
            measured_delay(&live).await,
        ];
        assert!(times.iter().all(|time| (400..=601).contains(time)), "{times:?}");
        assert!(times.iter().any(|time| *time != times[0]), "{times:?}");
        live.apply(&[FaultChange::Delay(0)]);
        assert!(measured_delay(&live).await <= 101);
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_applies_to_a_reply_that_is_already_delayed() {
        let live = LiveFaults::new(Faults { delay_ms: 3_600_000, ..Faults::default() });
        let release = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            live.apply(&[FaultChange::Delay(0)]);
        };
        let (measured, ()) = tokio::join!(measured_delay(&live), release);
        assert!((5000..=5001).contains(&measured), "{measured}");
    }

    #[test]
    fn the_queue_is_replaced_only_when_the_limit_changes() {
        let live = LiveFaults::new(Faults { limit: Some(1000), ..Faults::default() });
        let before = live.limit().unwrap();
        live.apply(&[FaultChange::Stall(true), FaultChange::Delay(1)]);
        assert!(Arc::ptr_eq(&before, &live.limit().unwrap()));
        live.apply(&[FaultChange::Limit(Some(2000))]);
        assert!(!Arc::ptr_eq(&before, &live.limit().unwrap()));
        assert!(live.any() && live.disturb_bodies());
        live.apply(&[FaultChange::Limit(None), FaultChange::Stall(false)]);
        assert!(live.limit().is_none() && live.any() && !live.disturb_bodies());
    }
}
