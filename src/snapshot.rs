//! What a screen, a JSON line and a metric may know: plain data, copied out, never shared.

mod body_error;
mod bounded;
mod listing;
mod log_events;
mod node;
mod protocol;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::text::SafeText;
use crate::verdict::Verdict;
use crate::waterfall::Row;
use crate::wire::{Leg, TransferId};

pub use body_error::Broke;
pub use listing::{Entry, Listing, MAX_ENTRIES};
pub use node::{
    ConnRole, ConnSnapshot, ConnState, Flow, Load, MAX_CONNECTIONS, Moments, NodeSnapshot, Part, TcpSnapshot, Totals,
    TransferAccount,
};

/// Samples of a hop's rate that are kept: one minute at four a second.
pub const RATE_SAMPLES: usize = 240;

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
    /// A person asked not to watch it any more; whoever started it, it lives on without us.
    Detached,
    /// It cannot be reached.
    Down {
        /// Why.
        reason: DownReason,
    },
}

/// Why a hop is down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DownReason {
    /// It was asked to stop, and its transfers may still finish.
    Stopping,
    /// It was stopped on request.
    Stopped,
    /// It was killed on request.
    Killed,
    /// It failed, or cannot be reached, as the text says.
    Failed(SafeText),
}

impl DownReason {
    /// True where somebody asked for it, so that it is no fault.
    pub fn is_requested(&self) -> bool {
        !matches!(self, Self::Failed(_))
    }

    /// The reason for display.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Stopping => "leaving: its transfers may finish",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
            Self::Failed(text) => text.as_str(),
        }
    }
}

impl fmt::Display for DownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl<T: Into<SafeText>> From<T> for DownReason {
    fn from(text: T) -> Self {
        Self::Failed(text.into())
    }
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
    /// No route of ours passes it: it is watched because a person asked for it.
    pub extra: bool,
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
    /// The share of the last second, 0 to 1, that its bodies spent waiting for input; `None` while none moves.
    pub read_share: Option<f64>,
    /// The same for waiting to send.
    pub write_share: Option<f64>,
    /// The same for being held back by its own cap.
    pub cap_share: Option<f64>,
    /// Its sending sockets together: the largest round trip and window, the sums of all else.
    pub tcp: Option<TcpSnapshot>,
    /// Bytes it holds: received and not yet sent, and those in its kernel queues.
    pub held: Option<u64>,
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
    pub protocol: Option<crate::route::Protocol>,
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
    pub waterfall: Vec<Row>,
    /// What each hop says that it did, hop 1 first, once it is over and the hop has answered.
    pub parts: Vec<Option<Part>>,
    /// How sure we are.
    pub integrity: Integrity,
    /// The origin's own digest, as `ALGO:HEX`, where it gave one.
    pub origin_digest: Option<String>,
    /// The same bytes were there already.
    pub was_there: bool,
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
    /// This run's transfers, oldest first; those that wait, in the order in which they will start.
    pub transfers: Vec<TransferSnapshot>,
    /// What limits the chain now.
    pub verdict: Verdict,
    /// What limits the transfers of other clients, while this program has none under way and they have.
    pub others: Option<Verdict>,
    /// The newest log lines, oldest first.
    pub log: Vec<LogLine>,
    /// What the origin last said it offers.
    pub listing: Option<Listing>,
    /// The program is leaving.
    pub leaving: bool,
}

impl ChainSnapshot {
    /// What limits whatever moves through the chain.
    pub fn judged(&self) -> &Verdict {
        self.others.as_ref().unwrap_or(&self.verdict)
    }

    /// Bodies are on their way through a hop of the route, whoever they are for.
    pub fn any_body(&self) -> bool {
        let nodes = self.hops.iter().filter(|hop| !hop.extra).filter_map(|hop| hop.node.as_ref());
        nodes.flat_map(|node| &node.connections).any(|conn| conn.state == ConnState::Streaming)
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
            Self::Detached => "detached",
            Self::Down { .. } => "down",
        }
    }

    /// The hop can take part in a transfer.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Spawned { .. } | Self::Attached | Self::Original | Self::Foreign)
    }
}

impl HopSnapshot {
    /// It reported, cannot be reached any more, and is tried again: its last report is all there is.
    pub fn is_lost(&self) -> bool {
        matches!(&self.link, HopLink::Down { reason } if !self.ours && self.node.is_some() && !reason.is_requested())
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
        matches!(self, Self::Dialing | Self::Waiting | Self::Streaming)
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
        self.was_there && self.flow.bytes_in == 0
    }
}
