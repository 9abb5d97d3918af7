//! What the hops themselves say of one transfer: `/v1/transfers/ID` of each, asked through the hops before it.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Request, StatusCode};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::access::Secret;
use super::ask::{CHAIN_ROUTE, CHAIN_TIMEOUT, ask};
use super::dial::dial;
use crate::route::{Hop, Route, Wire};
use crate::snapshot::TransferAccount;
use crate::wire::TransferId;

/// How long a hop may take to answer; the file is there already, so nobody should wait long for figures.
const LIMIT: Duration = Duration::from_secs(2);
/// Largest account read; an honest one has less than a kilobyte.
const MAX_ACCOUNT: usize = 16 * 1024;

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

/// Asks every hop for its account of a transfer, all at once; `None` for those that give none.
///
/// The id in the path is the right to read the account, and a token, where there is one, opens the page to those who
/// need one. Only the first `reach` hops are asked: the others are behind a link that carries no such question.
pub async fn accounts(
    route: &Route,
    reach: usize,
    id: TransferId,
    token: Option<&Secret>,
) -> Vec<Option<TransferAccount>> {
    let hops: Arc<[Hop]> = route.hops().into();
    let reachable = hops.iter().take(reach).take_while(|hop| hop.wire != Some(Wire::Seed)).count();
    let mut asking = JoinSet::new();
    for index in 0..reachable {
        let (hops, token) = (Arc::clone(&hops), token.cloned());
        asking.spawn(async move {
            let account = timeout(LIMIT, account(&hops[..=index], id, token.as_ref())).await;
            (index, account.ok().flatten())
        });
    }
    let mut accounts = vec![None; hops.len()];
    while let Some(asked) = asking.join_next().await {
        if let Ok((index, account)) = asked {
            accounts[index] = account;
        }
    }
    accounts
}

/// The account of the last of these hops, asked through those before it.
async fn account(hops: &[Hop], id: TransferId, token: Option<&Secret>) -> Option<TransferAccount> {
    let (first, rest) = hops.split_first()?;
    let dialed = dial(&first.address, LIMIT, &|_| Ok(())).await.ok()?;
    let mut request = Request::get(format!("/v1/transfers/{id}"))
        .header(HOST, first.address.to_string())
        .header(CHAIN_TIMEOUT, LIMIT.as_millis().to_string());
    if !rest.is_empty() {
        let route: Vec<String> = rest.iter().map(Hop::element).collect();
        request = request.header(CHAIN_ROUTE, route.join(", "));
    }
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
    }
    let request = request.body(Empty::<Bytes>::new()).ok()?;
    let asked = ask(dialed.stream, &first.address, request, LIMIT).await.ok()?;
    if asked.reply.status() != StatusCode::OK {
        return None;
    }
    let body = Limited::new(asked.reply.into_body(), MAX_ACCOUNT).collect().await.ok()?;
    serde_json::from_slice(&body.to_bytes()).ok()
}
