//! The clock of a node: µs since it started, so that meters and reports need no other; and HTTP dates.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Where the year 9999 ends, the last that an HTTP date can name, in seconds of the system's clock.
const LAST_DATE: Duration = Duration::from_hours(70_389_528);

/// Counts from its own start; a copy counts from the same start.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Creates a clock that starts now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Returns the µs since the start.
    pub fn now_us(&self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }
}

/// Returns the milliseconds since an instant, with fractions, as used in reports.
pub fn ms_since(instant: Instant) -> f64 {
    instant.elapsed().as_secs_f64() * 1000.0
}

/// Returns the seconds since 1970; 0 before.
pub fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Formats an HTTP date (RFC 9110, 5.6.7); `None` if it has no representation, as before 1970: a server whose clock is
/// that wrong counts as one without a clock, and sends no date.
pub fn http_date(at: SystemTime) -> Option<String> {
    let since = at.duration_since(UNIX_EPOCH).ok().filter(|since| *since < LAST_DATE)?;
    Some(httpdate::fmt_http_date(UNIX_EPOCH + since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_http_has_no_date_for_costs_the_date_and_nothing_else() {
        let second = Duration::from_secs(1);
        assert_eq!(http_date(UNIX_EPOCH).as_deref(), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        let last = UNIX_EPOCH + LAST_DATE - second;
        assert_eq!(http_date(last).as_deref(), Some("Fri, 31 Dec 9999 23:59:59 GMT"));
        assert_eq!([UNIX_EPOCH - second, last + second].map(http_date), [None, None]);
    }
}
