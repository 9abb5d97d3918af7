//! Limit of lines per second.

use std::time::{Duration, Instant};

/// Number of lines of one kind since the start of the current second.
#[derive(Debug)]
pub(super) struct LineWindow {
    began: Instant,
    lines: u32,
}

impl LineWindow {
    /// Begins to count.
    pub(super) fn new(now: Instant) -> Self {
        Self { began: now, lines: 0 }
    }

    /// Counts a line, and returns whether it may be written.
    pub(super) fn admits(&mut self, now: Instant, most: u32) -> bool {
        if now.duration_since(self.began) >= Duration::from_secs(1) {
            *self = Self::new(now);
        }
        self.lines = self.lines.saturating_add(1);
        self.lines <= most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_second_are_limited() {
        let began = Instant::now();
        let mut window = LineWindow::new(began);
        let admitted = (0..100).filter(|_| window.admits(began, 50)).count();
        assert_eq!(admitted, 50);
        assert!(!window.admits(began + Duration::from_millis(999), 50));
        assert!(window.admits(began + Duration::from_secs(1), 50));
    }
}
