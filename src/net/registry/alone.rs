//! Who has the node to itself: what would cost others time is done for those alone.

use std::sync::atomic::Ordering::Relaxed;

use super::{ConnGuard, JobGuard};

impl ConnGuard {
    /// Nobody is being served, and nobody has come since.
    pub fn is_alone(&self) -> bool {
        self.is_alone_with(0)
    }

    fn is_alone_with(&self, jobs: u64) -> bool {
        self.registry.jobs.load(Relaxed) == jobs && self.registry.next_id.load(Relaxed) == self.conn.id + 1
    }
}

impl JobGuard<'_> {
    /// Nobody else is being served, and nobody has come since.
    pub fn is_alone(&self) -> bool {
        self.conn.is_alone_with(1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Registry;
    use crate::net::clock::Clock;
    use crate::route::{FileName, Wire};
    use crate::wire::{Method, TransferId};

    #[tokio::test]
    async fn whoever_came_last_is_alone_while_nobody_else_is_served() {
        let registry = Registry::new(Clock::start());
        let name = FileName::new(b"f").unwrap();
        let open = || registry.open(([127, 0, 0, 1], 9).into());
        let first = open();
        assert!(first.is_alone());
        let job = first.begin_job(TransferId(1), Method::Get, &name, Wire::Http);
        assert!(job.is_alone() && !first.is_alone());
        let second = open();
        assert!(!job.is_alone() && !second.is_alone());
        let other = second.begin_job(TransferId(2), Method::Get, &name, Wire::Http);
        assert!(!other.is_alone());
        drop(job);
        assert!(other.is_alone() && !first.is_alone());
    }
}
