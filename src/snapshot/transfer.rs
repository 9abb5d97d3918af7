//! One fetch by this client at one moment.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::node::{Flow, HopRecord};
use super::timing::WaterfallRow;
use super::verdict::Verdict;
use crate::route::Protocol;
use crate::text::SafeText;
use crate::wire::{Leg, TransferId};

/// What the client is doing about one transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Not started.
    #[default]
    Queued,
    /// Connecting to the first hop.
    Connecting,
    /// The request is sent, the reply awaited.
    Waiting,
    /// The body is arriving.
    Streaming,
    /// All is here; the digest is being compared.
    Verifying,
    /// It broke, and is tried again after a pause.
    Retrying,
    /// Another fetch of the same name is under way: this one waits for its end.
    Locked,
    /// A person stopped it for now.
    Paused,
    /// The file is in its place.
    Done,
    /// It failed.
    Failed,
    /// A person stopped it.
    Cancelled,
}

/// How sure the client is that the file is whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "integrity")]
pub enum Integrity {
    /// Nothing is known yet.
    #[default]
    Pending,
    /// Length and digest are those of the origin, or of `--expect`.
    Verified {
        /// The digest, as `ALGO:HEX`.
        digest: String,
    },
    /// Only the length could be compared, and why.
    SizeChecked {
        /// The digest of what arrived, as `ALGO:HEX`.
        digest: String,
        /// Why there was no digest to compare it with.
        reason: SafeText,
    },
}

/// One fetch by this client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransferSnapshot {
    /// Its number in this run, from 1.
    pub number: u64,
    /// The first digits of its id on the wire.
    pub id: SafeText,
    /// The whole id of its latest try, which is the right to ask the hops about it: not to be shown or sent to anybody.
    #[serde(skip)]
    pub asks: Option<TransferId>,
    /// The protocol that hop 1 answered in, which tells whether it can be asked.
    #[serde(skip)]
    pub protocol: Option<Protocol>,
    /// The file asked for.
    pub name: SafeText,
    /// Where it is being written, or was.
    pub path: SafeText,
    /// What is being done.
    pub phase: Phase,
    /// The whole size, once known.
    pub size: Option<u64>,
    /// Bytes received.
    pub received: u64,
    /// Bytes per second now; over its whole life once it is done.
    pub rate: u64,
    /// Time left.
    pub eta: Option<Duration>,
    /// Which try this is, from 1; 0 before the first.
    pub attempt: u32,
    /// Bytes that were there already when this try began.
    pub resumed_from: u64,
    /// Why what was there of the file had to be dropped, if it had.
    pub started_over: Option<SafeText>,
    /// Bytes per second it may take, if a person capped it.
    pub cap: Option<u64>,
    /// No byte has come for longer than the chain explains.
    pub stall: Option<Stall>,
    /// Since it was started.
    pub elapsed: Duration,
    /// What the client's own stage did: reading the last hop, writing the disk.
    pub flow: Flow,
    /// What each relay spent on set-up, hop 1 first; this client's own leg before them.
    pub legs: Vec<Leg>,
    /// The set-up and the body as bars, from the same legs: ready to draw.
    pub waterfall: Vec<WaterfallRow>,
    /// What each hop says that it did, hop 1 first, once it is over and the hop has answered.
    pub parts: Vec<Option<HopRecord>>,
    /// How sure we are.
    pub integrity: Integrity,
    /// The origin's own digest, as `ALGO:HEX`, where it gave one.
    pub origin_digest: Option<String>,
    /// The same bytes were there already.
    pub already_present: bool,
    /// How it failed, or why it is tried again: a whole sentence, hop named.
    pub error: Option<SafeText>,
    /// What limits it.
    pub verdict: Option<Verdict>,
}

/// A transfer that has stood still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// For how long.
    pub lasting: Duration,
    /// The hop, from 1, that last moved data; `None` where no hop reports.
    pub last_moved: Option<usize>,
}

impl Phase {
    /// One word for a table cell.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Connecting => "connecting",
            Self::Waiting => "waiting",
            Self::Streaming => "streaming",
            Self::Verifying => "verifying",
            Self::Retrying => "retrying",
            Self::Locked => "locked",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The hops have something to do with it: it is asked for, or its body arrives.
    pub fn is_under_way(self) -> bool {
        matches!(self, Self::Connecting | Self::Waiting | Self::Streaming)
    }

    /// Nothing more will happen.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

impl TransferSnapshot {
    /// The share that has arrived, 0 to 1; an empty file is whole from the start of its body.
    pub fn share(&self) -> f64 {
        match self.size {
            Some(0) => f64::from(u8::from(self.phase == Phase::Done)),
            Some(size) => (self.received as f64 / size as f64).clamp(0.0, 1.0),
            None => 0.0,
        }
    }

    /// The same file was there already, and no byte of it had to move.
    pub fn was_up_to_date(&self) -> bool {
        self.already_present && self.flow.bytes_in == 0
    }
}
