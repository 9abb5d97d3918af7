//! What a screen, a JSON line and a metric may know: plain data, copied out, never shared.

mod at_most;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::text::SafeText;
use crate::verdict::Verdict;
use crate::wire::Leg;
use at_most::at_most;

/// Most connections one snapshot lists; a node with more says how many it left out.
pub const MAX_CONNECTIONS: usize = 4096;
/// Most wires one node is believed to speak; there are two.
const MAX_WIRES: usize = 16;
/// Samples of a hop's rate that are kept: one minute at four a second.
pub const RATE_SAMPLES: usize = 240;

/// One node at one moment: a line of `/v1/events`, and the whole of `/v1/node`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeSnapshot {
    /// The program's version.
    pub version: SafeText,
    /// A random name of this run of the node; a new one means that it was restarted.
    pub node: SafeText,
    /// The process.
    pub pid: u32,
    /// The listener's own address.
    pub address: SafeText,
    /// Since the node started, in µs by its own clock; all differences are taken on this.
    pub uptime_us: u64,
    /// Whom it relays to, in words.
    pub policy: SafeText,
    /// The wires it speaks.
    #[serde(deserialize_with = "at_most::<MAX_WIRES, _, _>")]
    pub wires: Vec<SafeText>,
    /// It takes no new work.
    pub draining: bool,
    /// Bytes per second it may send downstream, if it is capped.
    pub limit: Option<u64>,
    /// The time it holds each reply back, in ms.
    pub delay_ms: u64,
    /// Counters since the start.
    pub totals: Totals,
    /// The connections open now, oldest first.
    #[serde(deserialize_with = "at_most::<MAX_CONNECTIONS, _, _>")]
    pub connections: Vec<ConnSnapshot>,
    /// Connections left out of the list.
    pub more: u64,
}

/// A node's counters since it started; they only grow, `open` apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// Connections open now.
    pub open: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections answered `503` or dropped for want of room.
    pub refused: u64,
    /// File requests answered with a file.
    pub served: u64,
    /// File requests that failed.
    pub failed: u64,
    /// What the bodies did.
    pub flow: Flow,
}

/// Bytes moved and time spent waiting; of one connection, or of a whole node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Flow {
    /// Body bytes taken from upstream (a relay), the disk (an origin) or the last hop (a client).
    pub bytes_in: u64,
    /// Body bytes given downstream (a client: written to the disk).
    pub bytes_out: u64,
    /// Time blocked reading from upstream or the disk, in µs.
    pub read_blocked_us: u64,
    /// Time blocked writing downstream or to the disk, in µs.
    pub write_blocked_us: u64,
    /// Time held back by the node's own cap, in µs.
    pub capped_us: u64,
    /// Time with a body on its way, in µs; the three above are parts of it.
    pub active_us: u64,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnState {
    /// Its request head is being read.
    #[default]
    Head,
    /// The next hop is being resolved or dialled.
    Dialing,
    /// The next hop's reply, the digest or the go-ahead is awaited.
    Waiting,
    /// The body is moving.
    Streaming,
    /// The last byte is out; the peer is expected to close.
    Lingering,
    /// Kept alive between two requests.
    Idle,
    /// Reading one of the node's own pages.
    Page,
}

/// What the node is for this connection's request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnRole {
    /// Not known yet.
    #[default]
    Unknown,
    /// It relays.
    Relay,
    /// It serves.
    Origin,
}

/// One accepted connection and, for a relay, its upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnSnapshot {
    /// Its number on this node, never used twice.
    pub id: u64,
    /// What it is doing.
    pub state: ConnState,
    /// What the node is for it.
    pub role: ConnRole,
    /// Who connected.
    pub peer: SafeText,
    /// Whom the node connected to for it.
    pub upstream: SafeText,
    /// `http` or `seed`, toward the client.
    pub wire: SafeText,
    /// `http` or `seed`, toward the origin.
    pub upstream_wire: SafeText,
    /// The first digits of the transfer's id.
    pub transfer: SafeText,
    /// The file asked for.
    pub name: SafeText,
    /// Bytes that this body has in all.
    pub size: Option<u64>,
    /// Since it was accepted, in ms.
    pub age_ms: u64,
    /// What its body did.
    pub flow: Flow,
}

/// What a node knows of one transfer, also after it ended: `/v1/transfers/ID`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TransferAccount {
    /// The file asked for.
    pub name: SafeText,
    /// What the node was for it.
    pub role: ConnRole,
    /// What it is doing, or did last.
    pub state: ConnState,
    /// It is over.
    pub ended: bool,
    /// The status sent downstream; 0 before there was one.
    pub status: u16,
    /// How it failed, if it did.
    pub error: Option<SafeText>,
    /// The next hop.
    pub upstream: SafeText,
    /// `http` or `seed`, toward the origin.
    pub upstream_wire: SafeText,
    /// What setting up the leg to the next hop took.
    pub leg: Option<Leg>,
    /// Bytes that the body has in all.
    pub size: Option<u64>,
    /// What its body did.
    pub flow: Flow,
    /// The cap on what this node sends, in bytes per second, if there is one.
    pub limit: Option<u64>,
}

/// How the program stands to a hop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "link")]
pub enum HopLink {
    /// Nothing is known yet.
    #[default]
    Unknown,
    /// It is being started.
    Starting,
    /// Started by us, a child process.
    Spawned {
        /// Its process.
        pid: u32,
    },
    /// Found running; it reports to us and lives on after us.
    Attached,
    /// It speaks only the original program's dialogue: it can relay, not report.
    Original,
    /// It speaks HTTP but is no node of ours, or does not let us read.
    Foreign,
    /// It cannot be reached.
    Down {
        /// Why, in words.
        reason: SafeText,
    },
}

/// One hop of the chain as the screen shows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HopSnapshot {
    /// Its place in the route, from 1.
    pub number: usize,
    /// Its address.
    pub address: SafeText,
    /// What people call it; the address where it has no name.
    pub label: SafeText,
    /// It is the last: the origin.
    pub origin: bool,
    /// How we stand to it.
    pub link: HopLink,
    /// This program started it and can start it anew, also after it died.
    pub ours: bool,
    /// The newest report; empty before the first, and for hops that do not report.
    pub node: Option<NodeSnapshot>,
    /// The report is this old; more than a second is worth showing.
    pub age: Duration,
    /// Bytes per second in, over the last second.
    pub rate_in: u64,
    /// Bytes per second out, over the last second.
    pub rate_out: u64,
    /// Bytes per second out, oldest first, four a second, at most `RATE_SAMPLES`.
    pub history: Vec<u64>,
}

/// What the client is doing about one transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Not started.
    #[default]
    Queued,
    /// Connecting to the first hop.
    Dialing,
    /// The request is sent, the reply awaited.
    Waiting,
    /// The body is arriving.
    Streaming,
    /// All is here; the digest is being compared.
    Verifying,
    /// The file is in its place.
    Done,
    /// It failed.
    Failed,
    /// A person stopped it.
    Cancelled,
}

/// How sure the client is that the file is whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "proof")]
pub enum Proof {
    /// Nothing is known yet.
    #[default]
    Pending,
    /// Length and digest are those of the origin, or of `--expect`.
    Intact {
        /// The digest, as `ALGO:HEX`.
        digest: String,
    },
    /// Only the length could be compared, and why.
    LengthOnly {
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
    /// Since it was started.
    pub elapsed: Duration,
    /// What the client's own stage did: reading the last hop, writing the disk.
    pub flow: Flow,
    /// What each relay spent on set-up, hop 1 first; this client's own leg before them.
    pub legs: Vec<Leg>,
    /// How sure we are.
    pub proof: Proof,
    /// The same bytes were there already.
    pub was_there: bool,
    /// How it failed: a whole sentence, hop named.
    pub error: Option<SafeText>,
    /// What limits it.
    pub verdict: Option<Verdict>,
}

/// How serious a log line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Worth knowing.
    #[default]
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
}

/// One line of the log pane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its number in this run; grows by one.
    pub number: u64,
    /// Seconds since midnight, local to the screen.
    pub second_of_day: u32,
    /// How serious it is.
    pub level: Level,
    /// The hop it speaks of or came from; `None` is the client.
    pub hop: Option<usize>,
    /// The text.
    pub text: SafeText,
}

/// Everything a frame is drawn from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainSnapshot {
    /// Grows with every change; the same number means the same picture.
    pub generation: u64,
    /// The input file, or `demo`.
    pub source: SafeText,
    /// Where fetched files go.
    pub folder: SafeText,
    /// The route's own file.
    pub file: SafeText,
    /// The hops in chain order, never re-sorted.
    pub hops: Vec<HopSnapshot>,
    /// This run's transfers, oldest first.
    pub transfers: Vec<TransferSnapshot>,
    /// What limits the chain now.
    pub verdict: Verdict,
    /// The newest log lines, oldest first.
    pub log: Vec<LogLine>,
    /// The program is leaving.
    pub leaving: bool,
}

impl Flow {
    /// What happened between an earlier moment and this one.
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            bytes_in: self.bytes_in.saturating_sub(earlier.bytes_in),
            bytes_out: self.bytes_out.saturating_sub(earlier.bytes_out),
            read_blocked_us: self.read_blocked_us.saturating_sub(earlier.read_blocked_us),
            write_blocked_us: self.write_blocked_us.saturating_sub(earlier.write_blocked_us),
            capped_us: self.capped_us.saturating_sub(earlier.capped_us),
            active_us: self.active_us.saturating_sub(earlier.active_us),
        }
    }
}

impl ConnState {
    /// One word for a table cell.
    pub fn word(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Dialing => "dial",
            Self::Waiting => "wait",
            Self::Streaming => "stream",
            Self::Lingering => "linger",
            Self::Idle => "idle",
            Self::Page => "page",
        }
    }
}

impl HopLink {
    /// One word for a table cell.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unknown => "-",
            Self::Starting => "starting",
            Self::Spawned { .. } => "up",
            Self::Attached => "attached",
            Self::Original => "original",
            Self::Foreign => "foreign",
            Self::Down { .. } => "down",
        }
    }

    /// The hop can take part in a transfer.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Spawned { .. } | Self::Attached | Self::Original | Self::Foreign)
    }
}

impl Phase {
    /// One word for a table cell.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Dialing => "dialing",
            Self::Waiting => "waiting",
            Self::Streaming => "streaming",
            Self::Verifying => "verifying",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
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
}
