//! Client for the control of nodes and for listings of origins, with typed replies and deadlines.
//!
//! Control requests go directly to the node, since no hop relays them; a listing goes through the chain like a file.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST};

pub use super::http_client::Credentials;
use super::http_client::{
    CONTENT_DIGEST, PendingReply, endpoint_request, is_problem, relay_count, send_request, short_body, signed,
};
use super::upstream::connect::connect;
use crate::faults::{FaultChange, Faults};
use crate::keys::{KeyPair, content_digest};
use crate::route::{FileName, HostPort, Route};
use crate::secret::Secret;
use crate::snapshot::Listing;
use crate::wire::http::encode_name;
use crate::wire::{FailedAction, Problem, Reason, problem};

/// Time limit for connecting, and for each half of the reply: head and body.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest reply to a control request; a normal one has a few hundred bytes.
const MAX_REPLY: usize = 16 * 1024;
/// Largest listing accepted; our origins stop at about half of it.
const MAX_LISTING: usize = 4 << 20;

/// What permits control of a node.
#[derive(Clone, Debug)]
pub enum ControlAccess {
    /// Its control token.
    Token(Secret),
    /// A key with the right `control`, which signs the requests.
    Key(Arc<KeyPair>),
}

/// Changes one fault or limit of a node; returns all of them as they are then.
///
/// Problems count the node as hop 1, the next from here; so do those of the other requests.
///
/// # Errors
/// A problem if the node cannot be reached, rejects the access or the change, or replies with anything but its faults.
pub async fn set_fault(node: &HostPort, access: &ControlAccess, change: FaultChange) -> Result<Faults, Problem> {
    let reply = post(node, access, "/v1/faults", change.to_json()).await?;
    serde_json::from_slice(&reply).map_err(|_| {
        Problem::next(Reason::BadResponse, FailedAction::Reply, node, "the reply does not contain its faults", 0.0)
    })
}

/// Closes one connection of a node.
///
/// # Errors
/// A problem if the node cannot be reached, rejects the access, or has no such connection.
pub async fn close(node: &HostPort, access: &ControlAccess, connection: u64) -> Result<(), Problem> {
    post(node, access, &format!("/v1/connections/{connection}/close"), Vec::new()).await.map(drop)
}

/// Makes a node drain: it accepts no new requests, and exits when the current ones are finished.
///
/// # Errors
/// A problem if the node cannot be reached or rejects the access.
pub async fn drain(node: &HostPort, access: &ControlAccess) -> Result<(), Problem> {
    post(node, access, "/v1/drain", Vec::new()).await.map(drop)
}

/// Requests a page of the listing of a folder and of its subfolders, in the order of a walk, from a route's origin. The
/// page begins after the path `after`, relative to the folder; its entries are as the origin sent them, see
/// [`Listing::checked_walk`].
///
/// # Errors
/// As for [`list`].
pub async fn walk(
    route: &Route,
    folder: Option<&FileName>,
    after: Option<&FileName>,
    credentials: Credentials<'_>,
) -> Result<Listing, Problem> {
    let after = after.map(|after| encode_name(after).to_string()).unwrap_or_default();
    request_listing(route, folder, &format!("?after={after}"), credentials).await
}

/// Requests a page of the listing of a folder from a route's origin, through the chain; `None` is its root. The page
/// begins after the name `next`. The token is the origin's, and is visible to every hop on the way.
///
/// # Errors
/// A problem, with hops counted from this client, if a hop cannot be reached, the origin rejects the access or has no
/// such folder, or the reply is no listing; `Reason::RouteIgnored` if fewer hops relayed the request than the route
/// has.
pub async fn list(
    route: &Route,
    folder: Option<&FileName>,
    next: Option<&FileName>,
    credentials: Credentials<'_>,
) -> Result<Listing, Problem> {
    let query = next.map_or_else(String::new, |next| format!("?next={}", encode_name(next)));
    request_listing(route, folder, &query, credentials).await.map(|listing| listing.checked(folder))
}

async fn request_listing(
    route: &Route,
    folder: Option<&FileName>,
    query: &str,
    credentials: Credentials<'_>,
) -> Result<Listing, Problem> {
    let hops = route.hops();
    let (first, behind) = (&hops[0].address, &hops[1..]);
    let fail = |reason, detail: &str| Problem::next(reason, FailedAction::Reply, first, detail, 0.0);
    let path = match folder {
        None => format!("/files/{query}"),
        Some(folder) => format!("/files/{}/{query}", encode_name(folder).to_string().trim_end_matches('/')),
    };
    let connected = connect(first, CONNECT_TIMEOUT).await?;
    let request = endpoint_request(first, behind, &path, credentials, REPLY_TIMEOUT);
    let request = request.map_err(|error| fail(Reason::Malformed, &error.to_string()))?;
    let pending = send_request(connected.stream, first, request, REPLY_TIMEOUT).await?;
    let relays = relay_count(pending.reply.headers()) as usize;
    let body = body_of(pending, first, MAX_LISTING).await?;
    if relays != behind.len() {
        return Err(fail(Reason::RouteIgnored, ""));
    }
    serde_json::from_slice(&body).map_err(|_| fail(Reason::BadResponse, "the reply is not a listing"))
}

async fn post(node: &HostPort, access: &ControlAccess, path: &str, body: Vec<u8>) -> Result<Bytes, Problem> {
    let connected = connect(node, CONNECT_TIMEOUT).await?;
    let request = Request::post(path).header(HOST, node.to_string()).header(CONNECTION, "close");
    let request = match access {
        ControlAccess::Token(token) => request.header(AUTHORIZATION, format!("Bearer {}", token.reveal())),
        ControlAccess::Key(pair) => signed(request.header(CONTENT_DIGEST, content_digest(&body)), pair, node, &[]),
    };
    let request = request.body(Full::from(body));
    let request =
        request.map_err(|error| Problem::here(Reason::Malformed, FailedAction::Request, node, error.to_string()))?;
    body_of(send_request(connected.stream, node, request, REPLY_TIMEOUT).await?, node, MAX_REPLY).await
}

/// Returns the body of a success; anything else is a problem, with hops counted from here.
async fn body_of(pending: PendingReply, from: &HostPort, max: usize) -> Result<Bytes, Problem> {
    let PendingReply { reply, driver: _driver } = pending;
    let (status, problem) = (reply.status(), is_problem(reply.headers()));
    let max = if status.is_success() { max } else { problem::MAX_BODY };
    let fail = |reason, detail: &str| Problem::next(reason, FailedAction::Reply, from, detail, 0.0);
    let body = short_body(reply.into_body(), max, REPLY_TIMEOUT).await;
    let body = body.ok_or_else(|| fail(Reason::Closed, "its reply was late, too long or incomplete"))?;
    if status.is_success() {
        return Ok(body);
    }
    let problem = if problem { Problem::from_json(&body) } else { None };
    Err(problem.map_or_else(|| fail(Reason::of_status(status.as_u16()), &format!("status {status}")), Problem::relayed))
}
