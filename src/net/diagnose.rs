//! Queries the hops' records of one transfer after it ended, or while it is stalled: for reports, and to attribute a
//! failure.

mod blame;
mod keys;

use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use tokio::task::JoinSet;

use super::endpoint_client::EndpointClient;
use super::http_client::{Credentials, short_body};
use super::os::deadline::within;
use super::os::machine::Machine;
use super::supervisor::is_near;
use crate::keys::KeyPair;
use crate::limits::Limits;
use crate::route::{Hop, Protocol, Route};
use crate::snapshot::TransferRecord;
use crate::wire::{Problem, Reason, TransferId, TransferIds};

pub(crate) use blame::{Blame, blame, suspect};
pub(crate) use keys::reported_keys;

/// Time limit for all replies: a report must not wait for a hop without a record.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Largest record accepted; a normal one has about half a kilobyte.
const MAX_RECORD: usize = 64 * 1024;

/// Result of querying one hop.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum QueryResult {
    /// Its record of the transfer.
    Record(Box<TransferRecord>),
    /// It is a node without such a record: it was restarted since.
    NotFound,
    /// No process listens at its address.
    Refused,
    /// It did not reply in time.
    TimedOut,
    /// It returned no record, or could not be reached.
    Inconclusive,
}

/// Returns how many hops can be queried after a transfer with this many legs, and this protocol on the first link, if
/// known.
///
/// A single leg may be the client's own, to a hop that only supports the legacy protocol: an HTTP request would hang
/// there.
pub(crate) fn reach(legs: usize, protocol: Option<Protocol>) -> usize {
    match legs {
        1 if protocol == Some(Protocol::Http) => 1,
        0 | 1 => 0,
        legs => legs,
    }
}

/// Returns every hop's record of a transfer, hop 1 first, all queried concurrently.
///
/// Only the first `reach` hops are queried: the others are behind a link that carries no such request.
pub(crate) async fn transfer_records(
    route: &Route,
    reach: usize,
    ids: TransferIds,
    identity: Option<&Arc<KeyPair>>,
) -> Vec<Option<TransferRecord>> {
    let mut records = vec![None; route.hops().len()];
    let results = query_hops(Machine::default(), route, reach, ids, identity, TIMEOUT).await;
    for (record, result) in records.iter_mut().zip(results) {
        if let QueryResult::Record(found) = result {
            *record = Some(*found);
        }
    }
    records
}

/// Queries the first `reach` hops of a route concurrently within a time limit, hop 1 first: through the hops before it,
/// and directly if possible.
pub(crate) async fn query_hops(
    machine: Machine,
    route: &Route,
    reach: usize,
    ids: TransferIds,
    identity: Option<&Arc<KeyPair>>,
    limit: Duration,
) -> Vec<QueryResult> {
    let all = route.hops().len();
    // A tunnel shows that all links carry such requests.
    let count = if ids.tunnel.is_some() { all } else { reach.min(all) };
    let mut probing = JoinSet::new();
    for at in 0..count {
        let (route, identity) = (route.clone(), identity.cloned());
        probing.spawn(async move {
            let client = Client { machine, identity: identity.as_ref() };
            (at, client.probe_hop(route.hops(), at, ids.at(at + 1 == all), limit).await)
        });
    }
    let mut results = vec![QueryResult::Inconclusive; count];
    while let Some(joined) = probing.join_next().await {
        if let Ok((at, result)) = joined {
            results[at] = result;
        }
    }
    results
}

/// The client of such queries.
#[derive(Clone, Copy)]
struct Client<'a> {
    machine: Machine,
    identity: Option<&'a Arc<KeyPair>>,
}

impl Client<'_> {
    /// Queries one hop; returns its record from whichever way delivers it.
    async fn probe_hop(&self, hops: &[Hop], at: usize, id: TransferId, limit: Duration) -> QueryResult {
        // The id authorizes the read, so no token is sent.
        let path = format!("/v1/transfers/{id}");
        let through =
            async { within(limit, self.read(&hops[0], &hops[1..=at], &path)).await.unwrap_or(QueryResult::TimedOut) };
        let direct = async {
            if at == 0 || !is_near(hops, at) {
                return QueryResult::Inconclusive;
            }
            within(limit, self.read(&hops[at], &[], &path)).await.unwrap_or(QueryResult::TimedOut)
        };
        tokio::pin!(through, direct);
        let (mut one, mut other) = (None, None);
        loop {
            let found = tokio::select! {
                biased;
                found = &mut through, if one.is_none() => one.insert(found),
                found = &mut direct, if other.is_none() => other.insert(found),
            };
            if matches!(found, QueryResult::Record(_)) {
                return found.clone();
            }
            if let (Some(one), Some(other)) = (&one, &other) {
                // Both ways gave a result: the more conclusive one counts.
                return if one.weight() >= other.weight() { one.clone() } else { other.clone() };
            }
        }
    }

    /// Requests an endpoint of a hop behind others; the caller limits the time.
    async fn read(&self, first: &Hop, behind: &[Hop], path: &str) -> QueryResult {
        let (hop, time) = (behind.len() + 1, Limits::default().setup);
        let credentials = Credentials { token: None, identity: self.identity };
        let client = EndpointClient { machine: self.machine, credentials, connect: time, reply: time };
        let requested = match client.open(first, behind).await {
            Ok(conn) => client.request(conn, path).await,
            Err(problem) => Err(problem),
        };
        let reply = match requested {
            Ok(reply) => reply,
            Err(problem) => return QueryResult::of(&problem, hop),
        };
        let found = reply.pending.reply.status() == StatusCode::OK && reply.is_of_last();
        if !found && !reply.is_problem() {
            return QueryResult::Inconclusive;
        }
        let counted = reply.counting();
        let Some(body) = short_body(reply.pending.reply.into_body(), MAX_RECORD, time).await else {
            return QueryResult::Inconclusive;
        };
        if found {
            return serde_json::from_slice(&body)
                .map_or(QueryResult::Inconclusive, |record| QueryResult::Record(Box::new(record)));
        }
        // A node counts itself as 0.
        Problem::from_json(&body).map_or(QueryResult::Inconclusive, |problem| QueryResult::of(&counted(problem), hop))
    }
}

impl QueryResult {
    fn weight(&self) -> u8 {
        match self {
            Self::Record(_) => 4,
            Self::NotFound => 3,
            Self::Refused => 2,
            Self::TimedOut => 1,
            Self::Inconclusive => 0,
        }
    }

    /// Classifies a problem on the way to a hop; hops are counted from 1, as by the requester.
    fn of(problem: &Problem, hop: usize) -> Self {
        match problem.reason {
            _ if problem.hop as usize != hop => Self::Inconclusive,
            Reason::NotFound => Self::NotFound,
            Reason::Refused | Reason::Closed => Self::Refused,
            Reason::TimedOut | Reason::Unreachable => Self::TimedOut,
            _ => Self::Inconclusive,
        }
    }
}
