//! The verdict on a transfer: the stage that limits it, how sure that is, for how long it has been so. Plain data,
//! computed by `crate::verdict`.

use serde::{Deserialize, Serialize};

/// The stage that limits a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "limit")]
pub enum Limit {
    /// Nothing is moving, or it has not moved for long enough.
    #[default]
    Measuring,
    /// The origin: every stage waits for input, the origin for nothing but itself.
    Origin {
        /// Its number: that of the last hop.
        hop: usize,
        /// Which part of it.
        resource: Resource,
    },
    /// This hop's processor: there is input, and room for output, and it does not get round to moving it.
    Relay {
        /// Its number, from 1.
        hop: usize,
    },
    /// This stage's own cap.
    RateLimit {
        /// Its number, from 1; 0 for the client.
        hop: usize,
        /// Bytes per second.
        rate: u64,
    },
    /// Something else that a person turned on this hop.
    Fault {
        /// Its number, from 1.
        hop: usize,
        /// What was turned.
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
    /// The stage that receives here does not read what has arrived.
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
        /// The hop that was reached, or that held its reply back, from 1.
        hop: usize,
        /// On what.
        step: SetupStep,
    },
    /// A hop that sends no reports stands where the cause would be.
    Unobserved {
        /// The stage before the silent hops, nearer to the client; 0 is the client.
        after: usize,
        /// The stage behind them, nearer to the origin; the origin itself where that is silent too.
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
    /// The delay that a person turned on it.
    Delay,
}

/// The part of an end of the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// Its disk or its processor: the evidence does not tell.
    #[default]
    Either,
    /// Its disk.
    Disk,
    /// Its processor.
    Processor,
}

/// What of a network limits a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkCause {
    /// The evidence does not tell.
    #[default]
    Unknown,
    /// What was sent waits in the network: no more goes through.
    Congestion,
    /// Segments are lost and sent again.
    Loss,
    /// The round trip is long for what may be on its way at once.
    RoundTrip,
}

/// What a person turned on a hop, caps apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// It holds replies back.
    Delay,
    /// It sends nothing.
    Stall,
    /// It sends in small pieces.
    Fragment,
}

/// How far to believe a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// It is the best guess.
    #[default]
    Low,
    /// The stages' own clocks say so.
    Fair,
    /// The stages on both sides and the kernel say the same.
    High,
}

/// What limits a transfer, and what there is to say for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// The stage.
    #[serde(flatten)]
    pub limit: Limit,
    /// The share of time, 0 to 1, that the evidence covers.
    #[serde(serialize_with = "crate::units::share")]
    pub share: f64,
    /// How far to believe it.
    pub confidence: Confidence,
    /// For how long it has been so, in ms; 0 where a whole life is judged at once.
    pub since_ms: u64,
}

impl Limit {
    /// The stage that is to blame, if it is one: a hop from 1, or 0 for the client.
    pub fn stage(&self) -> Option<usize> {
        match *self {
            Self::Origin { hop, .. }
            | Self::Relay { hop }
            | Self::RateLimit { hop, .. }
            | Self::Fault { hop, .. }
            | Self::Setup { hop, step: SetupStep::Delay } => Some(hop),
            Self::Receiver { to, .. } => Some(to),
            Self::Client { .. } => Some(0),
            Self::Measuring | Self::Link { .. } | Self::Balanced | Self::Setup { .. } | Self::Unobserved { .. } => None,
        }
    }

    /// The sending hop of the link that is to blame, if it is one.
    pub fn link(&self) -> Option<usize> {
        match *self {
            Self::Link { from, .. } => Some(from),
            _ => None,
        }
    }
}
