//! Connections and routes of one fetch: what each of them receives, which parts of the file came by which route, and
//! how their number changed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bounded::bounded;
use super::same_id::is_same_id;
use super::verdict::Verdict;
use crate::connections::{Connections, MAX_CONNECTIONS};
use crate::text::SafeText;

/// Most connections in a snapshot: as many as can be open on every route, and some that have ended.
pub const MAX_LISTED: usize = 64;
/// Most ranges of the map in a snapshot: more than a screen has columns.
pub const MAX_RANGES: usize = 256;
/// Most steps in a snapshot; a transfer that changes its number of connections more often keeps the last ones.
pub const MAX_STEPS: usize = 64;

/// Several connections of one fetch, and the routes that they use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionsProgress {
    /// How many the user asked for.
    pub most: Connections,
    /// The routes, in the order of their numbers.
    #[serde(deserialize_with = "bounded::<MAX_CONNECTIONS, _, _>")]
    pub routes: Vec<RouteProgress>,
    /// The connections, in the order of their numbers; of those that have ended, the last ones.
    #[serde(deserialize_with = "bounded::<MAX_LISTED, _, _>")]
    pub connections: Vec<ConnectionProgress>,
    /// The parts of the file that are here: merged, ascending.
    #[serde(deserialize_with = "bounded::<MAX_RANGES, _, _>")]
    pub map: Vec<ReceivedRange>,
    /// Changes of the number of connections, the newest at the end.
    #[serde(deserialize_with = "bounded::<MAX_STEPS, _, _>")]
    pub steps: Vec<ConnectionsStep>,
    /// Why there is one connection only, where that is not what was asked for.
    pub note: Option<SafeText>,
}

/// One way to the file, and what came by it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteProgress {
    /// Its number, from 1: the input file first, then each `--route`.
    pub number: usize,
    /// Its hops, as addresses.
    pub chain: SafeText,
    /// Bytes received by it.
    pub received: u64,
    /// Current rate of its connections together, in bytes per second.
    pub rate: u64,
    /// The state.
    pub state: RouteState,
    /// What limits it.
    pub verdict: Option<Verdict>,
    /// Why it waits, failed, or was refused: a sentence that names the hop.
    pub error: Option<SafeText>,
    /// The hop, from 1, at which it failed.
    pub failed_hop: Option<usize>,
}

/// State of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteState {
    /// Its first reply is awaited, which shows whether it leads to the same file.
    #[default]
    Checking,
    /// It is used.
    Active,
    /// It failed, and is tried again after a backoff.
    Waiting,
    /// It failed, and is not tried again.
    Failed,
    /// It leads to another file, or cannot send a part of one.
    Refused,
}

/// One connection and the range that it receives.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionProgress {
    /// Its number in this fetch, from 1.
    pub number: usize,
    /// The number of its route.
    pub route: usize,
    /// The first digits of its transfer id.
    pub id: SafeText,
    /// The first digits of the id of its tunnel, if it is encrypted.
    #[serde(skip_serializing_if = "SafeText::is_empty")]
    pub tunnel: SafeText,
    /// The state.
    pub state: ConnectionState,
    /// The first byte of its range.
    pub from: u64,
    /// The next byte that it receives.
    pub at: u64,
    /// The end of its range; the rest beyond it is received by others.
    pub end: u64,
    /// Bytes that it has received in all, ranges before this one included.
    pub received: u64,
    /// Current rate in bytes per second.
    pub rate: u64,
    /// Why it waits, or has ended early: a sentence that names the hop.
    pub error: Option<SafeText>,
}

impl ConnectionProgress {
    /// Returns true if this is its id, or that of its tunnel.
    pub(super) fn has_id(&self, id: &str) -> bool {
        is_same_id(self.id.as_str(), id) || is_same_id(self.tunnel.as_str(), id)
    }
}

/// State of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionState {
    /// It is being opened, or its reply is awaited.
    #[default]
    Connecting,
    /// It receives its range.
    Receiving,
    /// A hop is silent: `error` names it.
    Waiting,
    /// It has ended.
    Ended,
}

/// A part of the file that is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedRange {
    /// Its first byte.
    pub from: u64,
    /// Its end.
    pub to: u64,
    /// The number of the route that it came by; 0 for what was here before this run.
    pub route: u8,
}

/// A change of the number of connections of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConnectionsStep {
    /// The time since the start of the fetch.
    pub at: Duration,
    /// The number of the route.
    pub route: usize,
    /// The number of connections before.
    pub from: usize,
    /// The number of connections after.
    pub to: usize,
    /// Why: a sentence that also states the number after it.
    pub reason: SafeText,
}

impl RouteState {
    /// Returns its word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Active => "active",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

impl ConnectionState {
    /// Returns its word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Receiving => "receiving",
            Self::Waiting => "waiting",
            Self::Ended => "ended",
        }
    }
}

impl ConnectionsProgress {
    /// Returns the connections that have not ended.
    pub fn open(&self) -> impl Iterator<Item = &ConnectionProgress> {
        self.connections.iter().filter(|connection| connection.state != ConnectionState::Ended)
    }

    /// Returns `2 routes` or `8 connections`, in at most 14 columns; `None` for one of both.
    pub fn count(&self) -> Option<String> {
        let mut routes: Vec<usize> = self.open().map(|connection| connection.route).collect();
        let connections = routes.len();
        routes.sort_unstable();
        routes.dedup();
        match (routes.len(), connections) {
            (2.., _) => Some(format!("{} routes", routes.len())),
            (_, 2..) => Some(format!("{connections} connections")),
            _ => None,
        }
    }

    /// Returns a step as a sentence, which names the route where there are several.
    pub fn sentence(&self, step: &ConnectionsStep) -> String {
        if self.routes.len() > 1 { format!("route {}: {}", step.route, step.reason) } else { step.reason.to_string() }
    }

    /// Adds a change of the number of connections; the oldest is dropped beyond `MAX_STEPS`.
    pub fn record(&mut self, step: ConnectionsStep) {
        if self.steps.len() == MAX_STEPS {
            self.steps.remove(0);
        }
        self.steps.push(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_steps_are_kept() {
        let mut progress = ConnectionsProgress::default();
        for number in 0..=MAX_STEPS {
            progress.record(ConnectionsStep { from: number, ..ConnectionsStep::default() });
        }
        let kept = |at: usize| progress.steps[at].from;
        assert_eq!((progress.steps.len(), kept(0), kept(MAX_STEPS - 1)), (MAX_STEPS, 1, MAX_STEPS));
    }

    #[test]
    fn several_routes_or_connections_are_counted() {
        let connection = |(route, state)| ConnectionProgress { route, state, ..ConnectionProgress::default() };
        let count = |connections: &[(usize, ConnectionState)]| {
            let connections = connections.iter().copied().map(connection).collect();
            ConnectionsProgress { connections, ..ConnectionsProgress::default() }.count()
        };
        let (open, ended) = (ConnectionState::Receiving, ConnectionState::Ended);
        assert_eq!(count(&[]), None);
        assert_eq!(count(&[(1, open), (1, ended), (2, ended)]), None);
        assert_eq!(count(&[(1, open), (1, ConnectionState::Waiting)]).as_deref(), Some("2 connections"));
        assert_eq!(count(&[(1, open), (2, open), (1, open)]).as_deref(), Some("2 routes"));
    }

    #[test]
    fn a_snapshot_of_an_older_program_has_no_connections() {
        let older: crate::snapshot::TransferSnapshot = serde_json::from_str("{\"number\":3}").unwrap();
        assert_eq!((older.number, older.connections), (3, None));
    }
}
