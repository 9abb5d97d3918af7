//! Graceful shutdown in steps: no new requests, then a deadline, then force.

use std::time::Duration;

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

use crate::net::os::deadline::within;

/// A signal in steps that any number of tasks can wait for; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    soft: CancellationToken,
    deadline: CancellationToken,
    force: CancellationToken,
}

impl Drain {
    /// Creates a signal that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the signal of one of several nodes: it follows this one, but not the other way around.
    #[must_use]
    pub fn child(&self) -> Self {
        let [soft, deadline, force] = [&self.soft, &self.deadline, &self.force].map(CancellationToken::child_token);
        Self { soft, deadline, force }
    }

    /// Stops new requests; those in flight may finish within their own limits.
    pub fn stop_accepting(&self) {
        self.soft.cancel();
    }

    /// Starts the shutdown: no new requests, and those in flight have a deadline from now on.
    pub fn begin(&self) {
        self.soft.cancel();
        self.deadline.cancel();
    }

    /// Ends everything immediately.
    pub fn force(&self) {
        self.begin();
        self.force.cancel();
    }

    /// Forces the shutdown this long after it has begun, unless forced before.
    pub async fn force_after(&self, limit: Duration) {
        self.deadline.cancelled().await;
        let _ = within(limit, self.forced()).await;
        self.force();
    }

    /// Returns whether draining has begun.
    pub fn is_draining(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Returns whether everything must end.
    pub fn is_forced(&self) -> bool {
        self.force.is_cancelled()
    }

    /// Waits until draining begins; may be polled again afterwards.
    pub fn draining(&self) -> WaitForCancellationFuture<'_> {
        self.soft.cancelled()
    }

    /// Waits until everything must end.
    pub async fn forced(&self) {
        self.force.cancelled().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn the_deadline_counts_from_the_start_of_the_shutdown() {
        let drain = Drain::new();
        drain.stop_accepting();
        let began = Instant::now();
        let deadline = async {
            sleep(Duration::from_hours(1)).await;
            assert!(drain.is_draining() && !drain.is_forced());
            drain.begin();
        };
        tokio::join!(drain.force_after(LIMIT), deadline);
        assert_eq!((began.elapsed().as_secs(), drain.is_forced()), (3630, true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_child_follows_its_parent_and_not_the_reverse() {
        let all = Drain::new();
        let (one, other) = (all.child(), all.child());
        one.force();
        assert!(one.is_draining() && !other.is_draining() && !all.is_draining());
        all.begin();
        assert!(other.is_draining() && !other.is_forced());
    }
}
