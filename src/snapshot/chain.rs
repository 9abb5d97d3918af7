//! Snapshot of the chain: hops, transfers, verdict and log lines.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::listing::Listing;
use super::node::{ConnSnapshot, ConnState, NodeSnapshot, TcpSnapshot};
use super::same_id::is_same_id;
use super::tour::TourSnapshot;
use super::transfer::TransferSnapshot;
use super::verdict::Verdict;
use crate::route::Route;
use crate::text::SafeText;

/// Number of samples kept of a hop's rate: one minute at four per second.
pub const RATE_SAMPLES: usize = 240;

/// Relation of this program to a hop.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "link")]
pub enum HopLink {
    /// Nothing is known yet.
    #[default]
    Unknown,
    /// It is being started.
    Starting,
    /// A child process of this program.
    Spawned {
        /// Its process id.
        pid: u32,
    },
    /// Found running; it reports, and keeps running after this program.
    Attached,
    /// It speaks only the legacy protocol: it relays, but does not report.
    Legacy,
    /// It speaks HTTP, but is not a chainview node, or denies read access.
    Foreign,
    /// No longer watched, at the user's request; it keeps running.
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
    /// It is shutting down, and its transfers may still finish.
    Stopping,
    /// It was stopped on request.
    Stopped,
    /// It was killed on request.
    Killed,
    /// It accepts connections and does not answer.
    Silent,
    /// It failed, or cannot be reached, for this reason.
    Failed(SafeText),
}

impl DownReason {
    /// Returns true if it was requested, and is no failure.
    pub fn is_requested(&self) -> bool {
        !matches!(self, Self::Failed(_) | Self::Silent)
    }

    /// Returns the reason for display.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Stopping => "shutting down: its transfers may finish",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
            Self::Silent => "accepts connections and does not answer",
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

/// Snapshot of one hop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HopSnapshot {
    /// Its number in the route, from 1.
    pub number: usize,
    /// Its address.
    pub address: SafeText,
    /// Its name, or its address if it has none.
    pub label: SafeText,
    /// It is the last: the origin.
    pub origin: bool,
    /// The key that it must have, shortened: what goes to it is encrypted; from the client on, if it is the last.
    #[serde(skip_serializing_if = "SafeText::is_empty")]
    pub key: SafeText,
    /// The relation of this program to it.
    pub link: HopLink,
    /// This program started it and can restart it, also after a crash.
    pub ours: bool,
    /// Not on the route: watched at the user's request.
    pub extra: bool,
    /// The newest report; empty before the first, and for hops that do not report.
    pub node: Option<NodeSnapshot>,
    /// Age of the report; displayed if more than a second.
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
    /// The same for waiting for its own rate limit.
    pub limited_share: Option<f64>,
    /// Its sending sockets together: the largest round trip and window, the sums of all else.
    pub tcp: Option<TcpSnapshot>,
    /// Bytes buffered: received and not yet sent, and those in its kernel queues.
    pub buffered: Option<u64>,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Information.
    #[default]
    Info,
    /// Warning.
    Warn,
    /// Error.
    Error,
}

/// One line of the log pane.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its number in this run; grows by one.
    pub number: u64,
    /// Seconds since midnight, local to the screen.
    pub second_of_day: u32,
    /// Its severity.
    pub level: Level,
    /// The hop that it is about or from; `None` is the client.
    pub hop: Option<usize>,
    /// The text.
    pub text: SafeText,
}

/// Everything that a frame is drawn from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChainSnapshot {
    /// Increases with every change; equal numbers mean equal snapshots.
    pub generation: u64,
    /// The input file, or `demo`.
    pub source: SafeText,
    /// The folder of fetched files.
    pub folder: SafeText,
    /// The route's own file.
    pub file: SafeText,
    /// The hops in chain order, never re-sorted.
    pub hops: Vec<HopSnapshot>,
    /// This run's transfers, oldest first; queued ones in the order in which they will start.
    pub transfers: Vec<TransferSnapshot>,
    /// What limits the chain now.
    pub verdict: Verdict,
    /// What limits the transfers of other clients, while only those are in progress.
    pub others: Option<Verdict>,
    /// The newest log lines, oldest first.
    pub log: Vec<LogLine>,
    /// The last listing of the origin.
    pub listing: Option<Listing>,
    /// The demo's tour; `None` without one. It is no part of the chain's state, and not exported.
    #[serde(skip)]
    pub tour: Option<TourSnapshot>,
    /// The program is exiting.
    pub exiting: bool,
    /// The route of this run, for commands that fetch the same elsewhere.
    #[serde(skip)]
    pub route: Option<Arc<Route>>,
    /// The absolute path of the input file, if there is one.
    #[serde(skip)]
    pub input: Option<Arc<Path>>,
}

impl ChainSnapshot {
    /// Returns the verdict on this program's transfers, or on those of other clients if only those are in progress.
    pub fn active_verdict(&self) -> &Verdict {
        self.others.as_ref().unwrap_or(&self.verdict)
    }

    /// Returns true if what passes between a hop of the route and the stage before it is encrypted.
    pub fn is_encrypted(&self, hop: usize) -> bool {
        let has_key = |hop: &HopSnapshot| !hop.key.is_empty();
        self.hop(hop).is_some_and(has_key) || self.route_hops().next_back().is_some_and(has_key)
    }

    /// Returns the hop with this number, from 1.
    pub fn hop(&self, number: usize) -> Option<&HopSnapshot> {
        self.hops.iter().find(|hop| hop.number == number)
    }

    /// Returns the hops of the route, without watched nodes.
    pub fn route_hops(&self) -> impl DoubleEndedIterator<Item = &HopSnapshot> {
        self.hops.iter().filter(|hop| !hop.extra)
    }

    /// Returns the transfer with this number, from 1.
    pub fn transfer(&self, number: u64) -> Option<&TransferSnapshot> {
        self.transfers.iter().find(|transfer| transfer.number == number)
    }

    /// Returns the transfer of this program that has this id, or one of whose connections has; the newest, because a
    /// tunnel is used by one after the other.
    pub fn transfer_of(&self, id: &str) -> Option<&TransferSnapshot> {
        self.transfers.iter().rev().find(|transfer| transfer.has_id(id))
    }

    /// Returns a check whether a hop's connection has the request with this id: relays report an encrypted one with the
    /// id of its tunnel.
    pub fn has_request<'a>(&'a self, id: &'a str) -> impl Fn(&&ConnSnapshot) -> bool + 'a {
        let transfer = self.transfer_of(id);
        move |conn| {
            let reported = conn.transfer.as_str();
            is_same_id(reported, id) || transfer.is_some_and(|transfer| transfer.is_same_request(reported, id))
        }
    }

    /// Returns true if a hop of the route transfers a body, for any client.
    pub fn any_body(&self) -> bool {
        let nodes = self.route_hops().filter_map(|hop| hop.node.as_ref());
        nodes.flat_map(|node| &node.connections).any(|conn| conn.state == ConnState::Streaming)
    }
}

impl HopLink {
    /// Returns the label for a table cell.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Unknown => "-",
            Self::Starting => "starting",
            Self::Spawned { .. } => "up",
            Self::Attached => "attached",
            Self::Legacy => "legacy",
            Self::Foreign => "foreign",
            Self::Detached => "detached",
            Self::Down { reason: DownReason::Silent } => "silent",
            Self::Down { .. } => "down",
        }
    }

    /// Returns true if the hop can take part in a transfer.
    pub fn is_up(&self) -> bool {
        matches!(self, Self::Spawned { .. } | Self::Attached | Self::Legacy | Self::Foreign)
    }
}

impl HopSnapshot {
    /// Returns true if it reported before, is unreachable now, and is retried: only its last report is known.
    pub fn is_lost(&self) -> bool {
        matches!(&self.link, HopLink::Down { reason } if !self.ours && self.node.is_some() && !reason.is_requested())
    }
}
