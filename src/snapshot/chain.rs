//! The whole chain at one moment: its hops, transfers, verdict and log lines.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::listing::Listing;
use super::node::{ConnState, NodeSnapshot, TcpSnapshot};
use super::transfer::TransferSnapshot;
use super::verdict::Verdict;
use crate::text::SafeText;

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
    pub starved_share: Option<f64>,
    /// The same for waiting to send.
    pub blocked_share: Option<f64>,
    /// The same for being held back by its own cap.
    pub limited_share: Option<f64>,
    /// Its sending sockets together: the largest round trip and window, the sums of all else.
    pub tcp: Option<TcpSnapshot>,
    /// Bytes it holds: received and not yet sent, and those in its kernel queues.
    pub buffered: Option<u64>,
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
    pub fn active_verdict(&self) -> &Verdict {
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
