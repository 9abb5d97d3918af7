//! Snapshot of one fetch by this client.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::connections::{ConnectionProgress, ConnectionsProgress};
use super::folder::FolderProgress;
use super::node::HopRecord;
use super::refused::Refused;
use super::same_id::is_same_id;
use super::timing::WaterfallRow;
use super::totals::Flow;
use super::verdict::Verdict;
use crate::fingerprint::Fingerprint;
use crate::route::{FileName, Protocol};
use crate::text::SafeText;
use crate::wire::{Leg, TransferIds};

/// Phase of a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Not started.
    #[default]
    Queued,
    /// Connecting to the first hop.
    Connecting,
    /// Waiting for the reply.
    Waiting,
    /// The body is arriving.
    Streaming,
    /// All bytes arrived; the digest is being compared.
    Verifying,
    /// It failed, and is retried after a backoff.
    Retrying,
    /// Waiting for the end of another fetch of the same name.
    Locked,
    /// Paused by the user.
    Paused,
    /// The file is complete.
    Done,
    /// It failed.
    Failed,
    /// Cancelled by the user.
    Cancelled,
}

/// Result of the integrity check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "integrity")]
pub enum Integrity {
    /// Nothing is known yet.
    #[default]
    Pending,
    /// Size and digest match those of the origin, or of `--expect`.
    Verified {
        /// The digest, as `ALGO:HEX`.
        digest: String,
    },
    /// Only the size could be compared.
    SizeChecked {
        /// The digest of the received bytes, as `ALGO:HEX`.
        digest: String,
        /// Why there was no digest to compare it with.
        reason: SafeText,
    },
}

/// Snapshot of one fetch by this client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransferSnapshot {
    /// Its number in this run, from 1.
    pub number: u64,
    /// The first digits of its transfer id.
    pub id: SafeText,
    /// The key of the origin that it is encrypted for, shortened.
    #[serde(skip_serializing_if = "SafeText::is_empty")]
    pub key: SafeText,
    /// The first digits of the id of the tunnel that it runs through, if it is encrypted: the relays report that one.
    #[serde(skip_serializing_if = "SafeText::is_empty")]
    pub tunnel: SafeText,
    /// The whole ids of its latest attempt, which grant access to the hops' records: never displayed or exported.
    #[serde(skip)]
    pub ids: Option<TransferIds>,
    /// The protocol of hop 1, which determines whether it can be queried.
    #[serde(skip)]
    pub protocol: Option<Protocol>,
    /// The requested file.
    pub name: SafeText,
    /// The same, as it is.
    #[serde(skip)]
    pub file: Option<Arc<FileName>>,
    /// The path that it is written to.
    pub path: SafeText,
    /// The phase.
    pub phase: Phase,
    /// The whole size, once known.
    pub size: Option<u64>,
    /// Bytes received.
    pub received: u64,
    /// Current rate in bytes per second; the average once it is done.
    pub rate: u64,
    /// Time left.
    pub eta: Option<Duration>,
    /// Number of the attempt, from 1; 0 before the first.
    pub attempt: u32,
    /// Bytes present at the start of this attempt.
    pub resumed_from: u64,
    /// Why an earlier partial file was discarded, if it was.
    pub started_over: Option<SafeText>,
    /// Rate limit set by the user, in bytes per second.
    pub rate_limit: Option<u64>,
    /// Stall, if no byte has arrived for longer than the chain explains.
    pub stall: Option<Stall>,
    /// The next retry, during the pause before it.
    pub retry: Option<Retry>,
    /// What it waits for, if for longer than a moment.
    pub wait: Option<Wait>,
    /// Bytes kept in the partial file after a failure, from which a retry resumes; `None` if none are.
    pub resumable: Option<u64>,
    /// Time since the start.
    pub elapsed: Duration,
    /// Bytes and times of the client's own stage: reading from the first hop, writing to the disk.
    pub flow: Flow,
    /// Set-up times of this client's own leg, then of each relay's, hop 1 first.
    pub legs: Vec<Leg>,
    /// The waterfall of set-up and body, from the same legs.
    pub waterfall: Vec<WaterfallRow>,
    /// Each hop's own record, hop 1 first, once the transfer has ended and the hop has replied.
    pub hop_records: Vec<Option<HopRecord>>,
    /// Result of the integrity check.
    pub integrity: Integrity,
    /// The origin's own digest, as `ALGO:HEX`, if it sent one.
    pub origin_digest: Option<String>,
    /// The key that the origin has proven to have, if the chain was encrypted; once it is done.
    pub origin_key: Option<Fingerprint>,
    /// The same file existed already.
    pub already_present: bool,
    /// The files, if it is the transfer of a folder.
    pub folder: Option<FolderProgress>,
    /// Its connections and routes, if it is a file that can be received by several.
    pub connections: Option<ConnectionsProgress>,
    /// Why it failed or is retried: a whole sentence that names the hop.
    pub error: Option<SafeText>,
    /// The hop, from 1, at which its last attempt failed.
    pub failed_hop: Option<usize>,
    /// Why the last attempt was refused, if it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
    /// What limits it.
    pub verdict: Option<Verdict>,
}

/// Stall of a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stall {
    /// Duration.
    pub lasting: Duration,
    /// The hop, from 1, that last moved data; `None` where no hop reports.
    pub last_moved: Option<usize>,
}

/// Retry of a failed attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Time until it starts.
    pub left: Duration,
    /// Its number, from 1, among the retries since the last progress.
    pub number: u32,
    /// Number of retries without progress after which the transfer fails.
    pub of: u32,
}

/// Wait of a transfer for a hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    /// What it waits for.
    pub awaited: Awaited,
    /// The hop that it waits for, from 1; `None` where that is unknown.
    pub hop: Option<usize>,
    /// Duration.
    pub lasting: Duration,
    /// Duration at which it gives up.
    pub limit: Duration,
}

/// What a transfer waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Awaited {
    /// A connection to the hop.
    Connection,
    /// A reply of the hop.
    #[default]
    Reply,
    /// The end of a delay that is injected at the hop.
    Delay,
    /// A digest that the origin computes.
    Digest {
        /// Bytes hashed.
        done: u64,
        /// Bytes to be hashed in total; 0 while unknown.
        size: u64,
    },
    /// The next bytes of the body.
    Data,
}

impl Phase {
    /// Returns the label for a table cell.
    pub fn label(self) -> &'static str {
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

    /// Returns true if the hops are involved: it is requested, or its body arrives.
    pub fn is_under_way(self) -> bool {
        matches!(self, Self::Connecting | Self::Waiting | Self::Streaming)
    }

    /// Returns true if it has ended.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}

impl TransferSnapshot {
    /// Formats, behind `verified`, the key of the origin; empty if none was proven.
    pub fn of_origin(&self) -> String {
        self.origin_key.map(|key| format!(" from the origin {key}")).unwrap_or_default()
    }

    /// Returns the share that has arrived, 0 to 1; 0 for an empty file until it is done.
    pub fn share(&self) -> f64 {
        match self.size {
            Some(0) => f64::from(u8::from(self.phase == Phase::Done)),
            Some(size) => (self.received as f64 / size as f64).clamp(0.0, 1.0),
            None => 0.0,
        }
    }

    /// Returns the share in whole percent: rounded down, and 100 only once the file is complete.
    pub fn percent(&self) -> u8 {
        match self.phase {
            Phase::Done => 100,
            _ => ((self.share() * 100.0) as u8).min(99),
        }
    }

    /// Returns true if this is the id of the transfer, of one of its connections, or of the tunnel of either.
    pub fn has_id(&self, id: &str) -> bool {
        self.is_same_request(id, id)
    }

    /// Returns true if both are ids of one of its requests: its own, or that of the tunnel that it runs through.
    pub fn is_same_request(&self, a: &str, b: &str) -> bool {
        self.is_of_latest(a) && self.is_of_latest(b)
            || self.connections().any(|connection| connection.has_id(a) && connection.has_id(b))
    }

    /// Returns true if this is the id of its latest request, or of the tunnel of that.
    pub fn is_of_latest(&self, id: &str) -> bool {
        is_same_id(self.id.as_str(), id) || is_same_id(self.tunnel.as_str(), id)
    }

    /// Returns the first digits of the ids under which the hops report its latest request.
    pub fn reported_ids(&self) -> impl Iterator<Item = &SafeText> {
        [&self.id, &self.tunnel].into_iter().filter(|id| !id.is_empty())
    }

    /// Returns the number of the connection with this id, if the transfer has several.
    pub fn connection_number(&self, id: &str) -> Option<usize> {
        let several = self.connections.as_ref().is_some_and(|progress| progress.connections.len() > 1);
        self.connection(id).filter(|_| several).map(|connection| connection.number)
    }

    fn connection(&self, id: &str) -> Option<&ConnectionProgress> {
        self.connections().find(|connection| connection.has_id(id))
    }

    fn connections(&self) -> impl Iterator<Item = &ConnectionProgress> {
        self.connections.iter().flat_map(|progress| &progress.connections)
    }

    /// Returns true if the same file existed already, and no byte was transferred.
    pub fn was_up_to_date(&self) -> bool {
        self.already_present && self.flow.bytes_in == 0
    }
}
