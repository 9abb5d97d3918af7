//! The one clock of a node: µs since it started, so that meters and reports need no other.

use tokio::time::Instant;

/// Counts from its own start; a copy counts from the same start.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// µs since the start.
    pub fn now_us(&self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }
}

/// Milliseconds since an instant, with fractions, as reports carry them.
pub fn ms_since(instant: Instant) -> f64 {
    instant.elapsed().as_secs_f64() * 1000.0
}
