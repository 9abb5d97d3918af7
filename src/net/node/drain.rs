//! Leaving in order: first no new work, then a deadline, then force.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::net::os::deadline::within;

/// A signal in steps that any number of tasks can wait for; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    soft: CancellationToken,
    leave: CancellationToken,
    force: CancellationToken,
}

impl Drain {
    /// Not draining yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same for one of several nodes: what is asked of all is asked of it, and what is asked of it only of it.
    #[must_use]
    pub fn child(&self) -> Self {
        let [soft, leave, force] = [&self.soft, &self.leave, &self.force].map(CancellationToken::child_token);
        Self { soft, leave, force }
    }

    /// Asks for no new work; what is in flight may finish, whatever time its own limits leave it.
    pub fn take_no_more(&self) {
        self.soft.cancel();
    }

    /// Asks to leave: no new work, and what is in flight has a deadline from now on.
    pub fn begin(&self) {
        self.soft.cancel();
        self.leave.cancel();
    }

    /// Asks everything to end at once.
    pub fn force(&self) {
        self.begin();
        self.force.cancel();
    }

    /// Forces this long after leaving has begun, unless somebody does before.
    pub async fn force_after(&self, limit: Duration) {
        self.leave.cancelled().await;
        let _ = within(limit, self.forced()).await;
        self.force();
    }

    /// Draining has begun.
    pub fn is_draining(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Everything has to end.
    pub fn is_forced(&self) -> bool {
        self.force.is_cancelled()
    }

    /// Waits until draining begins.
    pub async fn draining(&self) {
        self.soft.cancelled().await;
    }

    /// Waits until everything has to end.
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
    async fn the_deadline_runs_from_the_moment_of_leaving() {
        let drain = Drain::new();
        drain.take_no_more();
        let began = Instant::now();
        let leave = async {
            sleep(Duration::from_hours(1)).await;
            assert!(drain.is_draining() && !drain.is_forced());
            drain.begin();
        };
        tokio::join!(drain.force_after(LIMIT), leave);
        assert_eq!((began.elapsed().as_secs(), drain.is_forced()), (3630, true));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_of_all_nodes_is_asked_of_each_and_not_the_other_way() {
        let all = Drain::new();
        let (one, other) = (all.child(), all.child());
        one.force();
        assert!(one.is_draining() && !other.is_draining() && !all.is_draining());
        all.begin();
        assert!(other.is_draining() && !other.is_forced());
    }
}
