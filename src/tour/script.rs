//! What the tour does, and for how long: its acts, figures and steps.

use std::time::Duration;

use crate::command::Command;

/// Rate of the rate limit, and of the transfer that is interrupted, in bytes per second: the file takes a little longer
/// than an act.
pub(super) const RATE: u64 = 4_000_000;
/// Rate of the slow link, in bytes per second.
pub const LINK_RATE: u64 = 3_000_000;
/// Delay of the slow link.
pub const LINK_DELAY: Duration = Duration::from_millis(40);
/// Parts of a period in which the slow process runs, and is stopped. Under load, a period of 250 ms makes it read too
/// rarely: its empty buffers then look like a slow link at every third evaluation, and those of 100 ms at none.
pub const DUTY: [Duration; 2] = [Duration::from_millis(3), Duration::from_millis(97)];
/// Size of the tour's file: longer than an act lasts at that rate.
pub const FILE_SIZE: usize = 64_000_000;
/// Retries in a row of the tour's transfers: their pauses together are longer than a hop stays down.
pub const RETRIES: u32 = 6;

pub(super) const LIMITED_HOP: usize = 2;
pub(super) const SLOW_HOP: usize = 1;
pub(super) const KILLED_HOP: usize = 2;
/// Sending and receiving hop of the slow link.
pub(super) const LINK: [usize; 2] = [3, 2];

/// Durations of the tour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Length of an act.
    pub act: Duration,
    /// Time at the start of an act in which the transfer of the one before it may end.
    pub settle: Duration,
    /// Time for which a transfer is seen to run before something happens to it.
    pub head_start: Duration,
    /// Time for which the killed hop stays down.
    pub down: Duration,
}

impl Default for Pace {
    /// About a minute in all: an act is long enough to read three lines, try a key and see what it does.
    fn default() -> Self {
        let [act, settle, head_start, down] = [15_000, 2000, 2500, 3000].map(Duration::from_millis);
        Self { act, settle, head_start, down }
    }
}

/// What an act does to the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// A rate limit at a hop.
    RateLimit,
    /// A hop's process gets little of a processor.
    Processor,
    /// A long and narrow link.
    Link,
    /// A hop is killed, and started again.
    Killed,
}

pub(super) const ACTS: [(Cause, &str); 4] = [
    (Cause::RateLimit, "Rate limit"),
    (Cause::Processor, "Slow processor"),
    (Cause::Link, "Long link"),
    (Cause::Killed, "Killed hop"),
];

/// What the dashboard has to do for the tour.
#[derive(Clone, Debug, PartialEq)]
pub enum TourStep {
    /// Execute this, as for the user.
    Command(Command),
    /// Fetch the tour's file; the number of the transfer goes to `Tour::fetching`.
    Fetch {
        /// Over the slow link.
        over_slow_link: bool,
        /// With this rate limit at the client.
        rate: Option<u64>,
    },
    /// Let the process of a hop run for a small part of the time, or for all of it.
    SlowProcess {
        /// The hop.
        hop: usize,
        /// For a part of the time.
        on: bool,
    },
    /// Let the slow link pass everything on immediately.
    RestoreLink,
}
