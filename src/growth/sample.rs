//! Figures of a route that the number of connections is decided by.

use crate::snapshot::verdict::Limit;

/// Figures of one route at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// The time, in µs.
    pub now_us: u64,
    /// Bytes received so far by all connections of the route, ended ones included.
    pub bytes: u64,
    /// Connections that have received a byte of their body and have more to receive.
    pub active: usize,
    /// Connections that are being set up, or wait for a retry.
    pub pending: usize,
    /// Round trip through the whole route, in µs; 0 if unknown.
    pub rtt_us: u64,
    /// The verdict's limit, not debounced, on a single connection; `None` if there is no new verdict.
    ///
    /// Connections of one file may have different limits: in the sum of their times no stage waits for another, so
    /// that a processor is named which is idle.
    pub limit: Option<Limit>,
    /// State of the limiting link, if the verdict names one and it is known.
    pub link: Option<LinkState>,
    /// The client's own rate limit is in force.
    pub own_limit: bool,
    /// Bytes of the file that are not yet received, by any route.
    pub left: u64,
}

/// State of one link, from the kernel's figures of the sending hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// The current round trip, in µs, smoothed.
    pub now_us: u64,
    /// The shortest recent one, in µs.
    pub least_us: u64,
    /// The sender's congestion control sends on at its rate if packets are lost, as BBR does: then loss is no limit.
    pub tolerates_loss: bool,
}
