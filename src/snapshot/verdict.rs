//! Verdict on a transfer: the stage that limits it, with what confidence and since when. Plain data, computed by
//! `crate::verdict`.

use serde::{Deserialize, Serialize};

/// The stage that limits a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "limit")]
pub enum Limit {
    /// Nothing is in progress, or not for long enough.
    #[default]
    Measuring,
    /// The origin: every other stage waits for input, the origin for its own resources.
    Origin {
        /// Its number: that of the last hop.
        hop: usize,
        /// Which part of it.
        resource: Resource,
    },
    /// This hop's CPU: it has input and room for output, and is not fast enough.
    Relay {
        /// Its number, from 1.
        hop: usize,
    },
    /// This stage's own rate limit.
    RateLimit {
        /// Its number, from 1; 0 for the client.
        hop: usize,
        /// Bytes per second.
        rate: u64,
    },
    /// The rate limit of the client's key at this hop.
    KeyRate {
        /// Its number, from 1.
        hop: usize,
        /// Bytes per second.
        rate: u64,
    },
    /// A fault injected at this hop.
    Fault {
        /// Its number, from 1.
        hop: usize,
        /// The fault.
        fault: FaultKind,
    },
    /// The network between one hop and the stage before it.
    Link {
        /// The sending hop, from 1.
        from: usize,
        /// The receiving stage: a hop, or 0 for the client.
        to: usize,
        /// What of the network.
        cause: LinkCause,
    },
    /// The receiving stage does not read what has arrived.
    Receiver {
        /// The sending hop, from 1.
        from: usize,
        /// The receiving stage: a hop, or 0 for the client.
        to: usize,
    },
    /// The client.
    Client {
        /// Which part of it.
        resource: Resource,
    },
    /// No stage waits much more than the others.
    Balanced,
    /// Most of the time of a transfer whose body was short went by before it.
    Setup {
        /// The hop that was connected to, or that delayed its reply, from 1.
        hop: usize,
        /// On what.
        step: SetupStep,
    },
    /// The cause is at a hop that sends no reports.
    Unobserved {
        /// The stage on the client's side of the unobserved hops; 0 is the client.
        after: usize,
        /// The stage on the origin's side; the origin itself if that is unobserved, too.
        before: usize,
    },
}

/// A step of a transfer's set-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetupStep {
    /// Looking up a hop's name.
    Resolve,
    /// Connecting to it.
    Connect,
    /// Its injected delay.
    Delay,
}

/// Resource of an end of the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// Its disk or its CPU: the evidence does not distinguish them.
    #[default]
    Either,
    /// Its disk.
    Disk,
    /// Its CPU.
    Processor,
}

/// Reason for which the network limits a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkCause {
    /// Unknown.
    #[default]
    Unknown,
    /// Sent data queues in the network, which is at capacity.
    Congestion,
    /// Segments are lost and retransmitted.
    Loss,
    /// The round trip is long for the window.
    RoundTrip,
}

/// Kind of an injected fault, other than a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// It delays replies.
    Delay,
    /// It sends nothing.
    Stall,
    /// It sends in small pieces.
    Fragment,
}

/// Confidence of a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Best guess.
    #[default]
    Low,
    /// Supported by the stages' own clocks.
    Fair,
    /// Supported by the stages on both sides and the kernel.
    High,
}

/// What limits a transfer, and the evidence for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// The stage.
    #[serde(flatten)]
    pub limit: Limit,
    /// The share of time, 0 to 1, that the evidence covers.
    #[serde(serialize_with = "crate::units::share")]
    pub share: f64,
    /// The confidence.
    pub confidence: Confidence,
    /// Time since the limit last changed, in ms; 0 for a verdict on a whole transfer.
    pub since_ms: u64,
}

impl Limit {
    /// Returns the limiting stage, if it is one: a hop from 1, or 0 for the client.
    pub fn stage(&self) -> Option<usize> {
        match *self {
            Self::Origin { hop, .. }
            | Self::Relay { hop }
            | Self::RateLimit { hop, .. }
            | Self::KeyRate { hop, .. }
            | Self::Fault { hop, .. }
            | Self::Setup { hop, step: SetupStep::Delay } => Some(hop),
            Self::Receiver { to, .. } => Some(to),
            Self::Client { .. } => Some(0),
            Self::Measuring | Self::Link { .. } | Self::Balanced | Self::Setup { .. } | Self::Unobserved { .. } => None,
        }
    }

    /// Returns true for the same kind of limit at the same stage: independent of the rate of a rate limit, of a
    /// client's resource and of a link's cause.
    pub fn is_same(&self, other: &Self) -> bool {
        let kind = |limit: &Self| match *limit {
            Self::RateLimit { hop, .. } => Self::RateLimit { hop, rate: 0 },
            Self::KeyRate { hop, .. } => Self::KeyRate { hop, rate: 0 },
            Self::Client { .. } => Self::Client { resource: Resource::Either },
            Self::Link { from, to, .. } => Self::Link { from, to, cause: LinkCause::Unknown },
            other => other,
        };
        kind(self) == kind(other)
    }

    /// Returns the sending hop of the limiting link, if it is one.
    pub fn link(&self) -> Option<usize> {
        match *self {
            Self::Link { from, .. } => Some(from),
            _ => None,
        }
    }
}
