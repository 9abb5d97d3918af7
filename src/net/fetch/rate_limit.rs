//! Rate limit of one transfer, which can be changed while it runs: unread bytes stay in the chain (backpressure).

use std::time::Duration;

use tokio::sync::watch;

use crate::meter::TokenBucket;

/// Rate limit of one transfer, in bytes per second; shared by its clones.
#[derive(Clone, Debug, Default)]
pub struct RateLimit(watch::Sender<Option<u64>>);

/// Enforces the rate limit on one body.
#[derive(Debug)]
pub(super) struct Throttle {
    rate: watch::Receiver<Option<u64>>,
    bucket: Option<TokenBucket>,
}

impl RateLimit {
    /// Returns a limit in bytes per second; `None` is unlimited.
    pub fn new(rate: Option<u64>) -> Self {
        Self(watch::Sender::new(rate))
    }

    /// Sets the limit, with immediate effect on a running transfer.
    pub fn set(&self, rate: Option<u64>) {
        self.0.send_replace(rate);
    }

    /// Returns the limit.
    pub fn get(&self) -> Option<u64> {
        *self.0.borrow()
    }

    pub(super) fn throttle(&self) -> Throttle {
        let mut rate = self.0.subscribe();
        let bucket = rate.borrow_and_update().map(TokenBucket::new);
        Throttle { rate, bucket }
    }
}

impl Throttle {
    /// Returns the largest next read into a buffer of this size; takes no lock while the limit is unchanged.
    pub(super) fn max_read(&mut self, buffer: usize) -> usize {
        if self.rate.has_changed().unwrap_or(false) {
            self.bucket = self.rate.borrow_and_update().map(TokenBucket::new);
        }
        self.bucket.as_ref().map_or(buffer, |bucket| buffer.min(bucket.chunk(1)))
    }

    /// Records a read; returns how long to wait before the next.
    pub(super) fn record_read(&mut self, bytes: usize, now_us: u64) -> Duration {
        self.bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.take(bytes as u64, now_us))
    }

    /// Waits until the limit is changed. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        // The job owns the sender for as long as its body runs.
        let _ = self.rate.changed().await;
        self.rate.mark_changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_limit_is_shared_and_changes_while_in_force() {
        let cap = RateLimit::default();
        let mut throttle = cap.throttle();
        assert_eq!(
            (cap.get(), throttle.max_read(1 << 20), throttle.record_read(1 << 20, 0)),
            (None, 1 << 20, Duration::ZERO)
        );
        cap.clone().set(Some(100_000));
        throttle.changed().await;
        assert_eq!((cap.get(), throttle.max_read(1 << 20)), (Some(100_000), 2000));
        let pause = throttle.record_read(100_000, 1_000_000);
        assert!((0.9..=1.0).contains(&pause.as_secs_f64()), "{pause:?}");
        cap.set(None);
        assert_eq!((throttle.max_read(1 << 20), throttle.record_read(1 << 20, 1_000_000)), (1 << 20, Duration::ZERO));
    }
}
