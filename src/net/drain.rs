//! Leaving in order: first no new work, then a deadline, then force.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// A signal in two steps that any number of tasks can wait for; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    soft: CancellationToken,
    force: CancellationToken,
}

impl Drain {
    /// Not draining yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for no new work; what is in flight may finish.
    pub fn begin(&self) {
        self.soft.cancel();
    }

    /// Asks everything to end at once.
    pub fn force(&self) {
        self.soft.cancel();
        self.force.cancel();
    }

    /// Forces after this time, unless somebody does before.
    pub async fn force_after(&self, limit: Duration) {
        let _ = tokio::time::timeout(limit, self.forced()).await;
        self.force();
    }

    /// Draining has begun.
    pub fn is_draining(&self) -> bool {
        self.soft.is_cancelled()
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
