//! Retry policy: which errors are retried, and with what backoff.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::error::Error;
use crate::wire::Reason;

/// Pauses before retries. The longest is short enough that a user who waits sees a hop come back.
const BACKOFF: ExponentialBuilder =
    ExponentialBuilder::new().with_min_delay(Duration::from_millis(500)).with_max_delay(Duration::from_secs(10));
/// Retries in total, as a multiple of those in a row: limits a transfer whose attempts each make a little progress.
const TOTAL_FACTOR: u32 = 10;

/// How much longer one transfer is tried.
#[derive(Debug)]
pub(super) struct RetryPolicy {
    /// Retries in a row that may make no progress.
    retries: u32,
    /// The pauses before those that are left.
    pauses: ExponentialBackoff,
    spent: u32,
    begun: bool,
}

impl RetryPolicy {
    /// A policy of so many retries in a row without progress.
    pub(super) fn new(retries: u32) -> Self {
        Self { retries, pauses: pauses(retries), spent: 0, begun: false }
    }

    /// A try failed, after it brought something or not: the pause before the next, or `None` where there is none.
    ///
    /// A transfer that never began is not tried again: a person who named a wrong hop wants to know at once.
    pub(super) fn after(&mut self, error: &Error, brought: bool) -> Option<Duration> {
        self.begun |= brought;
        if brought {
            self.pauses = pauses(self.retries);
        }
        let most = self.retries.saturating_mul(TOTAL_FACTOR);
        if !self.begun || !is_transient(error) || self.spent >= most {
            return None;
        }
        self.spent += 1;
        self.pauses.next()
    }
}

fn pauses(retries: u32) -> ExponentialBackoff {
    BACKOFF.with_max_times(usize::try_from(retries).unwrap_or(usize::MAX)).build()
}

/// True for what may be gone when it is tried again: a hop that broke, does not answer, or has no room.
fn is_transient(error: &Error) -> bool {
    match error {
        // What arrived before a partial file was taken away is saved, so a further try goes on.
        Error::Short { .. } | Error::Stalled { .. } | Error::Lost { .. } => true,
        Error::Hop(fault) => matches!(
            fault.problem.reason,
            Reason::Refused
                | Reason::Unreachable
                | Reason::Unresolved
                | Reason::Closed
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

    fn pauses_of(patience: &mut RetryPolicy, error: &Error, brought: &[bool]) -> Vec<Option<u128>> {
        brought.iter().map(|brought| patience.after(error, *brought).map(|pause| pause.as_millis())).collect()
    }

    #[test]
    fn a_transfer_that_never_began_fails_at_once() {
        assert_eq!(RetryPolicy::new(3).after(&hop(Reason::Refused), false), None);
    }

    #[test]
    fn pauses_double_and_end_and_begin_anew_where_a_try_brought_something() {
        let mut patience = RetryPolicy::new(3);
        let brought = [true, false, false, false];
        assert_eq!(pauses_of(&mut patience, &hop(Reason::Closed), &brought), [Some(500), Some(1000), Some(2000), None]);
        let brought = [true, false, true, false, false, false];
        let expected = [Some(500), Some(1000), Some(500), Some(1000), Some(2000), None];
        assert_eq!(pauses_of(&mut RetryPolicy::new(3), &hop(Reason::Closed), &brought), expected);
        assert_eq!(RetryPolicy::new(0).after(&hop(Reason::Closed), true), None);
    }

    #[test]
    fn a_hop_that_brings_a_little_each_time_does_not_hold_a_person_for_ever() {
        let mut patience = RetryPolicy::new(2);
        let tries = (0..1000).take_while(|_| patience.after(&hop(Reason::Closed), true).is_some()).count();
        assert_eq!(tries, 20);
        let longest =
            pauses_of(&mut RetryPolicy::new(100), &hop(Reason::Busy), &[vec![true], vec![false; 99]].concat());
        assert!(longest[99] == Some(10_000) && longest.iter().all(|pause| pause.is_some_and(|ms| ms <= 10_000)));
    }

    #[test]
    fn what_another_try_cannot_help_is_not_tried_again() {
        for reason in [Reason::NotFound, Reason::Policy, Reason::Loop, Reason::RouteIgnored, Reason::Malformed] {
            assert_eq!(RetryPolicy::new(3).after(&hop(reason), true), None, "{reason:?}");
        }
        let disk = Error::Disk { action: "write it", path: "p".into(), reason: "full".to_owned() };
        let stopped = Error::Interrupted { kept: crate::error::KeptBytes::default() };
        for error in [disk, stopped, Error::Usage("no".to_owned())] {
            assert_eq!(RetryPolicy::new(3).after(&error, true), None, "{error}");
        }
    }
}
