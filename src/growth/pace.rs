//! Times of trials, in round trips of the route.

/// Shortest trial, in µs.
const MIN_PERIOD_US: u64 = 1_000_000;
/// Longest trial period, in µs, whatever round trip is reported.
const MAX_PERIOD_US: u64 = 10_000_000;
/// Round trips in a trial period: several windows of each connection.
const PERIOD_RTTS: u64 = 5;
/// Shortest part of a trial that can show its gain, in µs: two samples. It is at least a round trip, too: bytes behind
/// a lost segment arrive together after one.
const MIN_PART_US: u64 = 200_000;
/// Wait for new connections, in µs and in round trips: their set-up through all hops, with queues in between.
const MIN_SETUP_US: u64 = 3_000_000;
const SETUP_RTTS: u64 = 15;

/// Round trip of a route, and what it makes of these times.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// The round trip, in µs; 0 if unknown.
    pub(super) rtt_us: u64,
}

impl Pace {
    /// Returns the length of a trial, in µs.
    pub(super) fn period_us(self) -> u64 {
        self.rtt_us.saturating_mul(PERIOD_RTTS).clamp(MIN_PERIOD_US, MAX_PERIOD_US)
    }

    /// Returns the length of a part of a trial, in µs.
    pub(super) fn part_us(self) -> u64 {
        self.rtt_us.clamp(MIN_PART_US, self.period_us())
    }

    /// Returns the longest wait for new connections, in µs.
    pub(super) fn setup_us(self) -> u64 {
        self.rtt_us.saturating_mul(SETUP_RTTS).clamp(MIN_SETUP_US, 3 * MAX_PERIOD_US)
    }
}
