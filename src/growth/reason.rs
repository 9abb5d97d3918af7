//! Reasons of steps, as sentences.

use std::fmt;

use super::evidence::{Evidence, Finding};
use crate::snapshot::verdict::{Limit, LinkCause, Resource};
use crate::units::short_rate;

/// Measured effect of a number of connections.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gain {
    /// The connections.
    pub connections: usize,
    /// Their rate, as a multiple of that before.
    pub factor: f64,
}

/// Reason for a step, with the number of connections after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// The verdict names this limit.
    Limit {
        /// The limit.
        limit: Limit,
        /// The connections from now on.
        connections: usize,
    },
    /// Data queues at the limiting link.
    Full {
        /// The limit: this link.
        limit: Limit,
        /// The connections from now on.
        connections: usize,
    },
    /// The client's own rate limit is in force.
    OwnLimit {
        /// The connections from now on.
        connections: usize,
    },
    /// The step brought enough.
    Gained(Gain),
    /// The gain of the first step is not clear, and the verdict is unchanged.
    Inconclusive(Gain),
    /// The step brought too little.
    LittleGain {
        /// Its effect.
        gain: Gain,
        /// The connections from now on.
        back: usize,
    },
    /// Not all of the new connections delivered.
    NotDelivering {
        /// The connections that were tried.
        tried: usize,
        /// The connections from now on.
        back: usize,
    },
    /// The rate fell when connections were given back.
    Needed {
        /// The effect of fewer connections.
        gain: Gain,
        /// The connections from now on.
        back: usize,
    },
}

impl Reason {
    /// Returns the reason that a verdict gives for a number of connections.
    pub(super) fn limit(found: &Evidence, connections: usize) -> Self {
        match found.finding {
            Finding::Full => Self::Full { limit: found.limit, connections },
            Finding::Helps | Finding::Open | Finding::Elsewhere => Self::Limit { limit: found.limit, connections },
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Limit { limit, connections } => write!(f, "{}: {}", cause(limit), count(connections)),
            Self::Full { limit, connections } => write!(f, "{} is full: {}", place(limit), count(connections)),
            Self::OwnLimit { connections } => write!(f, "the client's rate limit: {}", count(connections)),
            Self::Gained(gain) => write!(f, "{gain}"),
            Self::Inconclusive(gain) => write!(f, "{gain} so far, and the link is not full"),
            Self::LittleGain { gain, back } | Self::Needed { gain, back } => write!(f, "back to {back}: {gain}"),
            Self::NotDelivering { tried, back } => write!(f, "back to {back}: not all of {tried} delivered"),
        }
    }
}

impl fmt::Display for Gain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} brought {:.1} x", count(self.connections), self.factor)
    }
}

fn count(connections: usize) -> String {
    if connections == 1 { "1 connection".to_owned() } else { format!("{connections} connections") }
}

/// Returns what a limit says of its place.
fn cause(limit: Limit) -> String {
    let place = place(limit);
    match limit {
        Limit::Link { cause: LinkCause::Loss, .. } => format!("{place} loses packets"),
        Limit::Link { cause: LinkCause::RoundTrip, .. } => format!("{place} has a long round trip"),
        Limit::Link { .. } => format!("{place} limits, and is not full"),
        Limit::RateLimit { rate, .. } => format!("{place} is rate-limited to {}", short_rate(rate)),
        Limit::KeyRate { rate, .. } => format!("{place} limits the key's rate to {}", short_rate(rate)),
        Limit::Fault { .. } => format!("{place} injects a fault"),
        Limit::Receiver { .. } => format!("{place} does not read"),
        Limit::Origin { resource, .. } | Limit::Client { resource } => match resource {
            Resource::Disk => format!("{place} waits for its disk"),
            Resource::Processor => format!("{place} is limited by its processor"),
            Resource::Either => format!("{place} is limited by its disk or processor"),
        },
        Limit::Relay { .. } => format!("{place} is limited by its processor"),
        Limit::Setup { .. } => format!("the setup at {place} took most of the time"),
        Limit::Unobserved { .. } => format!("not every hop {place} sends reports"),
        Limit::Measuring | Limit::Balanced => "no stage limits".to_owned(),
    }
}

fn place(limit: Limit) -> String {
    let stage = |number: usize| if number == 0 { "the client".to_owned() } else { format!("hop {number}") };
    match limit {
        Limit::Link { from, to: 0, .. } => format!("link {from}>client"),
        Limit::Link { from, to, .. } => format!("link {from}>{to}"),
        Limit::Origin { .. } => "the origin".to_owned(),
        Limit::Relay { hop }
        | Limit::RateLimit { hop, .. }
        | Limit::KeyRate { hop, .. }
        | Limit::Fault { hop, .. }
        | Limit::Setup { hop, .. } => stage(hop),
        Limit::Receiver { to, .. } => stage(to),
        Limit::Client { .. } => stage(0),
        Limit::Unobserved { after, before } => format!("between {} and {}", stage(after), stage(before)),
        Limit::Measuring | Limit::Balanced => String::new(),
    }
}
