//! Whether a transfer that broke is tried again, and how soon: never for what another try cannot help.

use std::time::Duration;

use crate::error::Error;
use crate::wire::Reason;

/// The pause before the first further try; each that brings nothing doubles it,
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// up to this: a hop that comes back is to be noticed while somebody still waits.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Tries in all, as a multiple of those that may fail in a row: a hop that breaks off again and again is not one to
/// keep asking for ever, however little by little it brings.
const IN_ALL: u32 = 10;

/// How much longer one transfer is tried.
#[derive(Debug)]
pub(super) struct Patience {
    /// Tries that may bring nothing, in a row.
    retries: u32,
    in_vain: u32,
    spent: u32,
    begun: bool,
}

impl Patience {
    /// So many further tries in a row may bring nothing.
    pub(super) fn new(retries: u32) -> Self {
        Self { retries, in_vain: 0, spent: 0, begun: false }
    }

    /// A try failed, after it brought something or not: the pause before the next, or `None` where there is none.
    ///
    /// A transfer that never began is not tried again: a person who named a wrong hop wants to know at once.
    pub(super) fn after(&mut self, error: &Error, brought: bool) -> Option<Duration> {
        self.begun |= brought;
        if brought {
            self.in_vain = 0;
        }
        let most = self.retries.saturating_mul(IN_ALL);
        if !self.begun || !may_pass(error) || self.in_vain >= self.retries || self.spent >= most {
            return None;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.in_vain.min(16)).min(LONGEST_PAUSE);
        self.in_vain += 1;
        self.spent += 1;
        Some(pause)
    }
}

/// True for what may be gone when it is tried again: a hop that broke, does not answer, or has no room.
fn may_pass(error: &Error) -> bool {
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
    use crate::wire::{Action, Problem};

    fn hop(reason: Reason) -> Error {
        let route = Route::parse(b"f\nh 1\n").unwrap();
        Error::at_hop(Problem::next(reason, Action::Reply, "h:1", "", 0.0), &route)
    }

    fn pauses(patience: &mut Patience, error: &Error, brought: &[bool]) -> Vec<Option<u128>> {
        brought.iter().map(|brought| patience.after(error, *brought).map(|pause| pause.as_millis())).collect()
    }

    #[test]
    fn a_transfer_that_never_began_fails_at_once() {
        assert_eq!(Patience::new(3).after(&hop(Reason::Refused), false), None);
    }

    #[test]
    fn pauses_double_and_end_and_begin_anew_where_a_try_brought_something() {
        let mut patience = Patience::new(3);
        let brought = [true, false, false, false];
        assert_eq!(pauses(&mut patience, &hop(Reason::Closed), &brought), [Some(500), Some(1000), Some(2000), None]);
        let brought = [true, false, true, false, false, false];
        let expected = [Some(500), Some(1000), Some(500), Some(1000), Some(2000), None];
        assert_eq!(pauses(&mut Patience::new(3), &hop(Reason::Closed), &brought), expected);
        assert_eq!(Patience::new(0).after(&hop(Reason::Closed), true), None);
    }

    #[test]
    fn a_hop_that_brings_a_little_each_time_does_not_hold_a_person_for_ever() {
        let mut patience = Patience::new(2);
        let tries = (0..1000).take_while(|_| patience.after(&hop(Reason::Closed), true).is_some()).count();
        assert_eq!(tries, 20);
        let longest = pauses(&mut Patience::new(100), &hop(Reason::Busy), &[vec![true], vec![false; 99]].concat());
        assert!(longest[99] == Some(10_000) && longest.iter().all(|pause| pause.is_some_and(|ms| ms <= 10_000)));
    }

    #[test]
    fn what_another_try_cannot_help_is_not_tried_again() {
        for reason in [Reason::NotFound, Reason::Policy, Reason::Loop, Reason::RouteIgnored, Reason::Malformed] {
            assert_eq!(Patience::new(3).after(&hop(reason), true), None, "{reason:?}");
        }
        let disk = Error::Disk { action: "write it", path: "p".into(), reason: "full".to_owned() };
        let stopped = Error::Interrupted { kept: crate::error::Kept::default() };
        for error in [disk, stopped, Error::Usage("no".to_owned())] {
            assert_eq!(Patience::new(3).after(&error, true), None, "{error}");
        }
    }
}
