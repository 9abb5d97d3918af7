//! Asking a node to do something, and an origin what it offers; each question with its deadline and its typed answer.
//!
//! Control goes straight to the node, for no hop passes it on; a listing goes through the chain like a file.

use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST};

use super::http_client::{PendingReply, ask, hops_of, is_problem, page_request, short_body};
use super::upstream::connect::connect;
use crate::faults::{FaultChange, Faults};
use crate::route::{FileName, HostPort, Route};
use crate::secret::Secret;
use crate::snapshot::Listing;
use crate::wire::http::encode_name;
use crate::wire::{FailedAction, Problem, Reason, problem};

/// How long connecting may take, and then each of the answer's two halves: head and body.
const CONNECT: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(5);
/// Largest answer to a verb; an honest one has a few hundred bytes.
const SHORT: usize = 16 * 1024;
/// Largest listing read; an origin of ours stops at about half of it.
const LONG: usize = 4 << 20;

/// Sets a change of a node; the answer is how all its faults stand then.
///
/// A problem counts the node as hop 1, the next from here; so do those of the other verbs.
///
/// # Errors
/// A problem if the node cannot be reached, rejects the token or the change, or answers with something else than its
/// faults.
pub async fn set_fault(node: &HostPort, token: &Secret, change: FaultChange) -> Result<Faults, Problem> {
    let answer = tell(node, token, "/v1/faults", change.to_json()).await?;
    serde_json::from_slice(&answer).map_err(|_| {
        Problem::next(Reason::BadResponse, FailedAction::Reply, node, "it does not say how its faults stand", 0.0)
    })
}

/// Closes one connection of a node.
///
/// # Errors
/// A problem if the node cannot be reached, rejects the token, or has no such connection.
pub async fn close(node: &HostPort, token: &Secret, connection: u64) -> Result<(), Problem> {
    tell(node, token, &format!("/v1/connections/{connection}/close"), Vec::new()).await.map(drop)
}

/// Has a node take no new work; it ends once what it is doing is over.
///
/// # Errors
/// A problem if the node cannot be reached or rejects the token.
pub async fn drain(node: &HostPort, token: &Secret) -> Result<(), Problem> {
    tell(node, token, "/v1/drain", Vec::new()).await.map(drop)
}

/// Asks a route's origin, through the chain, what it offers in a folder; `None` is its root. The token is the origin's,
/// and every hop on the way sees it.
///
/// # Errors
/// A problem, with hops counted from this client, if a hop cannot be reached, the origin rejects the token or has no
/// such folder, or what came is no listing; `Reason::RouteIgnored` if fewer hops passed the request on than the route
/// has.
pub async fn list(route: &Route, folder: Option<&FileName>, token: Option<&Secret>) -> Result<Listing, Problem> {
    let hops = route.hops();
    let (first, behind) = (&hops[0].address, &hops[1..]);
    let fail = |reason, detail: &str| Problem::next(reason, FailedAction::Reply, first, detail, 0.0);
    let path = match folder {
        None => "/files/".to_owned(),
        Some(folder) => format!("/files/{}/", encode_name(folder).to_string().trim_end_matches('/')),
    };
    let connected = connect(first, CONNECT, &|_| Ok(()), b"", None).await?;
    let request = page_request(first, behind, &path, token, ANSWER);
    let request = request.map_err(|error| fail(Reason::Malformed, &error.to_string()))?;
    let asked = ask(connected.stream, first, request, ANSWER).await?;
    let relays = hops_of(asked.reply.headers()) as usize;
    let body = body_of(asked, first, LONG).await?;
    if relays != behind.len() {
        return Err(fail(Reason::RouteIgnored, ""));
    }
    let listing: Listing =
        serde_json::from_slice(&body).map_err(|_| fail(Reason::BadResponse, "what came is no listing"))?;
    Ok(listing.checked(folder))
}

async fn tell(node: &HostPort, token: &Secret, path: &str, body: Vec<u8>) -> Result<Bytes, Problem> {
    let connected = connect(node, CONNECT, &|_| Ok(()), b"", None).await?;
    let request = Request::post(path).header(HOST, node.to_string()).header(CONNECTION, "close");
    let request = request.header(AUTHORIZATION, format!("Bearer {}", token.reveal())).body(Full::from(body));
    let request =
        request.map_err(|error| Problem::here(Reason::Malformed, FailedAction::Request, node, error.to_string()))?;
    body_of(ask(connected.stream, node, request, ANSWER).await?, node, SHORT).await
}

/// The body of a success; anything else is a problem, with the hops counted from here.
async fn body_of(asked: PendingReply, from: &HostPort, most: usize) -> Result<Bytes, Problem> {
    let PendingReply { reply, driver: _driver } = asked;
    let (status, problem) = (reply.status(), is_problem(reply.headers()));
    let most = if status.is_success() { most } else { problem::MAX_BODY };
    let fail = |reason, detail: &str| Problem::next(reason, FailedAction::Reply, from, detail, 0.0);
    let body = short_body(reply.into_body(), most, ANSWER).await;
    let body = body.ok_or_else(|| fail(Reason::Closed, "its answer was late, too long or cut off"))?;
    if status.is_success() {
        return Ok(body);
    }
    let told = if problem { Problem::from_json(&body) } else { None };
    Err(told.map_or_else(|| fail(Reason::of_status(status.as_u16()), &format!("status {status}")), Problem::relayed))
}
