//! What each hop knows of one transfer, asked after it ended, or while it stands still: for reports, and for who broke
//! it.

mod blame;

use std::time::Duration;

use hyper::StatusCode;
use tokio::task::JoinSet;

use super::http_client::{ask, hops_of, is_problem, page_request, short_body};
use super::os::deadline::within;
use super::supervisor::is_near;
use super::upstream::connect::connect;
use crate::limits::Limits;
use crate::route::{Hop, Protocol, Route};
use crate::snapshot::TransferRecord;
use crate::wire::{Problem, Reason, TransferId};

pub(crate) use blame::{Blame, blame, suspect};

/// How long the answers may take in all: a report must not wait for a hop that has nothing to say.
const LIMIT: Duration = Duration::from_secs(1);
/// Largest account; an honest one has about half a kilobyte.
const LARGEST: usize = 64 * 1024;

/// What became of the question to one hop.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ProbeResult {
    /// What it knows.
    Account(Box<TransferRecord>),
    /// It is a node, and knows of no such transfer: it was started since.
    Forgot,
    /// Nobody listens at its address.
    Gone,
    /// It did not reply in time.
    Silent,
    /// It gives no account, or no way led to it.
    Unknown,
}

/// How many hops can be asked after a transfer that told so many legs, over this wire to the first hop if it is known.
///
/// A lone leg may be the client's own, to a hop that only speaks the legacy protocol: a question in HTTP would hang
/// there.
pub(crate) fn reach(legs: usize, protocol: Option<Protocol>) -> usize {
    match legs {
        1 if protocol == Some(Protocol::Http) => 1,
        0 | 1 => 0,
        legs => legs,
    }
}

/// What every hop of a route knows of a transfer, hop 1 first, all asked at once.
///
/// Only the first `reach` hops are asked: the others are behind a link that carries no such question.
pub(crate) async fn accounts(route: &Route, reach: usize, id: TransferId) -> Vec<Option<TransferRecord>> {
    let mut accounts = vec![None; route.hops().len()];
    for (account, finding) in accounts.iter_mut().zip(findings(route, reach, id, LIMIT).await) {
        if let ProbeResult::Account(found) = finding {
            *account = Some(*found);
        }
    }
    accounts
}

/// What the first `reach` hops of a route answer within a time limit, hop 1 first, all asked at once: through the hops
/// before it, and directly where that can be done.
pub(crate) async fn findings(route: &Route, reach: usize, id: TransferId, limit: Duration) -> Vec<ProbeResult> {
    let count = reach.min(route.hops().len());
    let mut asking = JoinSet::new();
    for at in 0..count {
        let route = route.clone();
        asking.spawn(async move { (at, finding(route.hops(), at, id, limit).await) });
    }
    let mut findings = vec![ProbeResult::Unknown; count];
    while let Some(answered) = asking.join_next().await {
        if let Ok((at, finding)) = answered {
            findings[at] = finding;
        }
    }
    findings
}

/// What one hop answers; whichever way leads to an account.
async fn finding(hops: &[Hop], at: usize, id: TransferId, limit: Duration) -> ProbeResult {
    // The id is the right to read, so no token goes anywhere.
    let path = format!("/v1/transfers/{id}");
    let through = async { within(limit, read(&hops[0], &hops[1..=at], &path)).await.unwrap_or(ProbeResult::Silent) };
    let direct = async {
        if at == 0 || !is_near(hops, at) {
            return ProbeResult::Unknown;
        }
        within(limit, read(&hops[at], &[], &path)).await.unwrap_or(ProbeResult::Silent)
    };
    tokio::pin!(through, direct);
    let (mut one, mut other) = (None, None);
    loop {
        let found = tokio::select! {
            biased;
            found = &mut through, if one.is_none() => one.insert(found),
            found = &mut direct, if other.is_none() => other.insert(found),
        };
        if matches!(found, ProbeResult::Account(_)) {
            return found.clone();
        }
        if let (Some(one), Some(other)) = (&one, &other) {
            // Two ways to one hop: what was answered goes before what was not.
            return if one.weight() >= other.weight() { one.clone() } else { other.clone() };
        }
    }
}

impl ProbeResult {
    fn weight(&self) -> u8 {
        match self {
            Self::Account(_) => 4,
            Self::Forgot => 3,
            Self::Gone => 2,
            Self::Silent => 1,
            Self::Unknown => 0,
        }
    }

    /// What a problem on the way to a hop says of it; hops are counted from 1, as by the asker.
    fn of(problem: &Problem, hop: usize) -> Self {
        match problem.reason {
            _ if problem.hop as usize != hop => Self::Unknown,
            Reason::NotFound => Self::Forgot,
            Reason::Refused | Reason::Closed => Self::Gone,
            Reason::TimedOut | Reason::Unreachable => Self::Silent,
            _ => Self::Unknown,
        }
    }
}

/// Asks a hop behind others for a page of its own; as long as whoever calls this waits.
async fn read(first: &Hop, behind: &[Hop], path: &str) -> ProbeResult {
    let (hop, time) = (behind.len() + 1, Limits::default().setup);
    let connected = match connect(&first.address, time, &|_| Ok(()), b"", None).await {
        Ok(connected) => connected,
        Err(problem) => return ProbeResult::of(&problem, hop),
    };
    let Ok(request) = page_request(&first.address, behind, path, None, time) else { return ProbeResult::Unknown };
    let asked = match ask(connected.stream, &first.address, request, time).await {
        Ok(asked) => asked,
        Err(problem) => return ProbeResult::of(&problem, hop),
    };
    let head = asked.reply.headers();
    let (whole, problem) = (hops_of(head) as usize == behind.len(), is_problem(head));
    let found = asked.reply.status() == StatusCode::OK && whole;
    if !found && !problem {
        return ProbeResult::Unknown;
    }
    let Some(body) = short_body(asked.reply.into_body(), LARGEST, time).await else { return ProbeResult::Unknown };
    if found {
        return serde_json::from_slice(&body)
            .map_or(ProbeResult::Unknown, |account| ProbeResult::Account(Box::new(account)));
    }
    // It counts itself as 0.
    Problem::from_json(&body).map_or(ProbeResult::Unknown, |problem| ProbeResult::of(&problem.relayed(), hop))
}
