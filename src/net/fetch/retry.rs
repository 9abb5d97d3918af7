//! Retry policy: which errors are retried, and with what backoff.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::error::Error;
use crate::wire::Reason;

/// Pauses before retries. The longest is short enough that a waiting user notices when a hop is back.
const BACKOFF: ExponentialBuilder =
    ExponentialBuilder::new().with_min_delay(Duration::from_millis(500)).with_max_delay(Duration::from_secs(10));
/// Retries in total, as a multiple of those in a row: limits a transfer whose attempts each make a little progress.
const TOTAL_FACTOR: u32 = 10;

/// A retry that is due after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlannedRetry {
    pub(super) pause: Duration,
    /// Its number, from 1, among the retries since the last progress.
    pub(super) number: u32,
    /// Number of retries in a row without progress.
    pub(super) of: u32,
}

/// Remaining retries of one transfer.
#[derive(Debug)]
pub(super) struct RetryPolicy {
    /// Retries in a row that may make no progress.
    retries: u32,
    /// Pauses before the remaining retries in a row.
    pauses: ExponentialBackoff,
    /// Retries since the last progress.
    in_a_row: u32,
    spent: u32,
    progressed_once: bool,
}

impl RetryPolicy {
    /// Returns a policy of `retries` in a row without progress.
    pub(super) fn new(retries: u32) -> Self {
        Self { retries, pauses: pauses(retries), in_a_row: 0, spent: 0, progressed_once: false }
    }

    /// Returns the policy of a part of a transfer that has begun.
    pub(super) fn of_part(retries: u32) -> Self {
        Self { progressed_once: true, ..Self::new(retries) }
    }

    /// Records a failed attempt, with or without progress; returns the next, or `None` to give up.
    ///
    /// A transfer that never began is not retried: a user who named a wrong hop wants to know immediately.
    pub(super) fn after(&mut self, error: &Error, progressed: bool) -> Option<PlannedRetry> {
        self.progressed_once |= progressed;
        if progressed {
            self.pauses = pauses(self.retries);
            self.in_a_row = 0;
        }
        let max = self.retries.saturating_mul(TOTAL_FACTOR);
        if !self.progressed_once || !is_transient(error) || self.spent >= max {
            return None;
        }
        self.spent += 1;
        self.in_a_row += 1;
        let pause = self.pauses.next()?;
        Some(PlannedRetry { pause, number: self.in_a_row, of: self.retries })
    }
}

fn pauses(retries: u32) -> ExponentialBackoff {
    BACKOFF.with_max_times(usize::try_from(retries).unwrap_or(usize::MAX)).build()
}

/// Returns true for errors that may not recur: a hop that failed, does not reply, or is full.
pub(super) fn is_transient(error: &Error) -> bool {
    match error {
        // `Lost`: the bytes received before the partial file was removed are saved, so another attempt resumes them.
        Error::Short { .. } | Error::Stalled { .. } | Error::Lost { .. } => true,
        Error::Hop(fault) => matches!(
            fault.problem.reason,
            Reason::Refused
                | Reason::Unreachable
                | Reason::Unresolved
                | Reason::Closed
                | Reason::TooManyTransfers
                | Reason::Busy
                | Reason::Draining
                | Reason::TimedOut
                | Reason::HeadTimeout
                | Reason::Short
                | Reason::TooSlow
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Route;
    use crate::wire::{FailedAction, Problem};

    fn hop(reason: Reason) -> Error {
        let route = Route::parse(b"f\nh 1\n").unwrap();
        Error::at_hop(Problem::next(reason, FailedAction::Reply, "h:1", "", 0.0), &route)
    }

    fn pauses_of(policy: &mut RetryPolicy, error: &Error, progressed: &[bool]) -> Vec<Option<u128>> {
        progressed
            .iter()
            .map(|progressed| policy.after(error, *progressed).map(|next| next.pause.as_millis()))
            .collect()
    }

    #[test]
    fn a_transfer_that_never_began_is_not_retried() {
        assert_eq!(RetryPolicy::new(3).after(&hop(Reason::Refused), false), None);
    }

    #[test]
    fn pauses_double_and_restart_after_progress() {
        let mut policy = RetryPolicy::new(3);
        let progressed = [true, false, false, false];
        assert_eq!(
            pauses_of(&mut policy, &hop(Reason::Closed), &progressed),
            [Some(500), Some(1000), Some(2000), None]
        );
        let progressed = [true, false, true, false, false, false];
        let expected = [Some(500), Some(1000), Some(500), Some(1000), Some(2000), None];
        assert_eq!(pauses_of(&mut RetryPolicy::new(3), &hop(Reason::Closed), &progressed), expected);
        assert_eq!(RetryPolicy::new(0).after(&hop(Reason::Closed), true), None);
    }

    #[test]
    fn retries_are_counted_since_the_last_progress() {
        let mut policy = RetryPolicy::new(3);
        let numbers = [true, false, true, false].map(|progressed| {
            let next = policy.after(&hop(Reason::Closed), progressed).unwrap();
            (next.number, next.of)
        });
        assert_eq!(numbers, [(1, 3), (2, 3), (1, 3), (2, 3)]);
    }

    #[test]
    fn retries_with_little_progress_are_limited() {
        let mut policy = RetryPolicy::new(2);
        let tries = (0..1000).take_while(|_| policy.after(&hop(Reason::Closed), true).is_some()).count();
        assert_eq!(tries, 20);
        let longest =
            pauses_of(&mut RetryPolicy::new(100), &hop(Reason::Busy), &[vec![true], vec![false; 99]].concat());
        assert!(longest[99] == Some(10_000) && longest.iter().all(|pause| pause.is_some_and(|ms| ms <= 10_000)));
    }

    #[test]
    fn permanent_errors_are_not_retried() {
        for reason in [Reason::NotFound, Reason::Policy, Reason::Loop, Reason::RouteIgnored, Reason::Malformed] {
            assert_eq!(RetryPolicy::new(3).after(&hop(reason), true), None, "{reason:?}");
        }
        let disk = Error::Disk { action: "write it", path: "p".into(), reason: "full".to_owned() };
        let cancelled = Error::Interrupted { kept: crate::error::KeptBytes::default() };
        for error in [disk, cancelled, Error::Usage("no".to_owned())] {
            assert_eq!(RetryPolicy::new(3).after(&error, true), None, "{error}");
        }
    }
}
