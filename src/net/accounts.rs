//! What each hop knows of one transfer, asked after it ended: for reports.

use std::time::Duration;

use hyper::StatusCode;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::ask::{ask, hops_of, page_request, short_body};
use super::dial::dial;
use super::supervisor::is_near;
use crate::route::{Hop, Route, Wire};
use crate::snapshot::TransferAccount;
use crate::wire::TransferId;

/// How long the answers may take in all: a report must not wait for a hop that has nothing to say.
const LIMIT: Duration = Duration::from_secs(1);
/// Largest account; an honest one has about half a kilobyte.
const LARGEST: usize = 64 * 1024;

/// How many hops can be asked after a transfer that told so many legs, over this wire to the first hop if it is known.
///
/// A lone leg may be the client's own, to a hop that only speaks the seed wire: a question in HTTP would hang there.
pub fn reach(legs: usize, wire: Option<Wire>) -> usize {
    match legs {
        1 if wire == Some(Wire::Http) => 1,
        0 | 1 => 0,
        legs => legs,
    }
}

/// What a hop, counted from 1, knows of a transfer; asked through the hops before it and directly, whichever answers.
pub async fn account(route: &Route, hop: usize, id: TransferId) -> Option<TransferAccount> {
    let (hops, at) = (route.hops(), hop.checked_sub(1)?);
    let last = hops.get(at)?;
    // The id is the right to read, so no token goes anywhere.
    let path = format!("/v1/transfers/{id}");
    let through = read(&hops[0], &hops[1..=at], &path);
    let direct = async { if at > 0 && is_near(hops, at) { read(last, &[], &path).await } else { None } };
    let either = async {
        tokio::select! {
            Some(account) = through => Some(account),
            Some(account) = direct => Some(account),
            else => None,
        }
    };
    timeout(LIMIT, either).await.ok().flatten()
}

/// What every hop of a route knows of a transfer, hop 1 first, all asked at once.
///
/// Only the first `reach` hops are asked: the others are behind a link that carries no such question.
pub async fn accounts(route: &Route, reach: usize, id: TransferId) -> Vec<Option<TransferAccount>> {
    let mut asking = JoinSet::new();
    for hop in 1..=reach.min(route.hops().len()) {
        let route = route.clone();
        asking.spawn(async move { (hop, account(&route, hop, id).await) });
    }
    let mut accounts = vec![None; route.hops().len()];
    while let Some(answered) = asking.join_next().await {
        if let Ok((hop, account)) = answered {
            accounts[hop - 1] = account;
        }
    }
    accounts
}

async fn read(first: &Hop, behind: &[Hop], path: &str) -> Option<TransferAccount> {
    let dialed = dial(&first.address, LIMIT, &|_| Ok(()), b"").await.ok()?;
    let request = page_request(&first.address, behind, path, None, LIMIT).ok()?;
    let asked = ask(dialed.stream, &first.address, request, LIMIT).await.ok()?;
    let whole = asked.reply.status() == StatusCode::OK && hops_of(asked.reply.headers()) as usize == behind.len();
    let body = asked.reply.into_body();
    let body = if whole { short_body(body, LARGEST, LIMIT).await? } else { return None };
    serde_json::from_slice(&body).ok()
}
