//! A cap on what one transfer takes, which can be turned while it runs: bytes that are not read stay in the chain.

use std::time::Duration;

use tokio::sync::watch;

use crate::meter::TokenBucket;

/// The cap of one transfer, in bytes per second; clones share it.
#[derive(Clone, Debug, Default)]
pub struct RateLimit(watch::Sender<Option<u64>>);

/// What one body needs to keep to a cap.
#[derive(Debug)]
pub(super) struct Throttle {
    rate: watch::Receiver<Option<u64>>,
    bucket: Option<TokenBucket>,
}

impl RateLimit {
    /// A cap of so many bytes per second; `None` is none.
    pub fn new(rate: Option<u64>) -> Self {
        Self(watch::Sender::new(rate))
    }

    /// Sets it, at once, for a transfer that runs too.
    pub fn set(&self, rate: Option<u64>) {
        self.0.send_replace(rate);
    }

    /// What it is.
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
    /// The most to read next, of what a buffer holds; costs no lock while nobody turns the cap.
    pub(super) fn most(&mut self, buffer: usize) -> usize {
        if self.rate.has_changed().unwrap_or(false) {
            self.bucket = self.rate.borrow_and_update().map(TokenBucket::new);
        }
        self.bucket.as_ref().map_or(buffer, |bucket| buffer.min(bucket.chunk(1)))
    }

    /// Bytes were read; the answer is how long to wait before the next.
    pub(super) fn took(&mut self, bytes: usize, now_us: u64) -> Duration {
        self.bucket.as_mut().map_or(Duration::ZERO, |bucket| bucket.take(bytes as u64, now_us))
    }

    /// Ends when somebody turns the cap. Cancel-safe.
    pub(super) async fn turned(&mut self) {
        // The job holds the other end for as long as its body runs.
        let _ = self.rate.changed().await;
        self.rate.mark_changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cap_is_shared_and_can_be_turned_while_it_holds() {
        let cap = RateLimit::default();
        let mut throttle = cap.throttle();
        assert_eq!((cap.get(), throttle.most(1 << 20), throttle.took(1 << 20, 0)), (None, 1 << 20, Duration::ZERO));
        cap.clone().set(Some(100_000));
        throttle.turned().await;
        assert_eq!((cap.get(), throttle.most(1 << 20)), (Some(100_000), 2000));
        let pause = throttle.took(100_000, 1_000_000);
        assert!((0.9..=1.0).contains(&pause.as_secs_f64()), "{pause:?}");
        cap.set(None);
        assert_eq!((throttle.most(1 << 20), throttle.took(1 << 20, 1_000_000)), (1 << 20, Duration::ZERO));
    }
}
