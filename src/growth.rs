//! Number of connections that `--connections auto` uses, from the verdict and the measured gain of each step.

use std::fmt;

use crate::connections::ConnectionCount;
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
    /// The verdict's limit; `None` if there is no new verdict.
    pub limit: Option<Limit>,
    /// Round trips of the limiting link, if the verdict names one and they are known.
    pub link: Option<RoundTrips>,
    /// The client's own rate limit is in force.
    pub own_limit: bool,
    /// Bytes of the file that are not yet received, by any route.
    pub left: u64,
}

/// Round trips of one link, from the kernel's figures of the sending hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundTrips {
    /// The current one, in µs, smoothed.
    pub now_us: u64,
    /// The shortest recent one, in µs.
    pub least_us: u64,
}

/// A change of the number of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// How many connections the route uses from now on.
    pub connections: usize,
    /// Why.
    pub reason: Reason,
}

/// Reason for a step, or against one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The verdict names this limit, which further connections help against.
    Cause(Limit),
}

/// Number of connections of one route.
#[derive(Clone, Debug)]
pub struct Growth {
    cap: usize,
    connections: usize,
}

impl Growth {
    /// Begins with one connection, and uses at most this many.
    pub fn new(cap: ConnectionCount) -> Self {
        Self { cap: cap.get(), connections: 1 }
    }

    /// Returns the number of connections that the route should use now.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Adds a sample, about ten a second; returns a step, if one is due.
    pub fn feed(&mut self, sample: &Sample) -> Option<Step> {
        let _ = (sample, self.cap);
        None
    }

    /// Returns true while a decision depends on the verdict: otherwise the hops need not be asked for their figures.
    pub fn wants_verdict(&self) -> bool {
        self.cap > 1
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cause(limit) => write!(f, "{limit:?}"),
        }
    }
}
