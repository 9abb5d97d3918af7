//! Client for the control of nodes and for listings of origins, with typed replies and deadlines.
//!
//! Control requests go directly to the node, since no hop relays them; a listing goes through the chain like a file.
//! Both are encrypted for a hop with a key.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::header::{AUTHORIZATION, CONNECTION, HOST};

use super::endpoint_client::EndpointClient;
pub use super::http_client::Credentials;
use super::http_client::{CONTENT_DIGEST, signed};
use super::os::machine::Machine;
use crate::faults::{FaultChange, Faults};
use crate::keys::{KeyPair, content_digest};
use crate::route::{FileName, Hop, Route};
use crate::secret::Secret;
use crate::snapshot::Listing;
use crate::wire::http::encode_name;
use crate::wire::{FailedAction, Problem, Reason};

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
pub async fn set_fault(node: &Hop, access: &ControlAccess, change: FaultChange) -> Result<Faults, Problem> {
    let parse = |body: &[u8]| serde_json::from_slice(body).map_err(|_| "the reply does not contain its faults");
    post(node, access, "/v1/faults", change.to_json(), parse).await
}

/// Closes one connection of a node.
///
/// # Errors
/// A problem if the node cannot be reached, rejects the access, or has no such connection.
pub async fn close(node: &Hop, access: &ControlAccess, connection: u64) -> Result<(), Problem> {
    post(node, access, &format!("/v1/connections/{connection}/close"), Vec::new(), |_| Ok(())).await
}

/// Makes a node drain: it accepts no new requests, and exits when the current ones are finished.
///
/// # Errors
/// A problem if the node cannot be reached or rejects the access.
pub async fn drain(node: &Hop, access: &ControlAccess) -> Result<(), Problem> {
    post(node, access, "/v1/drain", Vec::new(), |_| Ok(())).await
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
    let (first, behind) = route.split_first();
    let client = client(credentials);
    let conn = client.open(first, behind).await?;
    let base = conn.base();
    let path = match folder {
        None => format!("{base}{query}"),
        Some(folder) => format!("{base}{}/{query}", encode_name(folder).to_string().trim_end_matches('/')),
    };
    let reply = client.request(conn, &path).await?;
    let parse = |body: &[u8]| serde_json::from_slice(body).map_err(|_| "the reply is not a listing");
    reply.read(MAX_LISTING, REPLY_TIMEOUT, parse).await
}

/// Sends a control request to a node itself, and parses the body of a success.
async fn post<T>(
    node: &Hop,
    access: &ControlAccess,
    path: &str,
    body: Vec<u8>,
    parse: impl FnOnce(&[u8]) -> Result<T, &'static str>,
) -> Result<T, Problem> {
    let conn = client(Credentials::default()).open(node, &[]).await?;
    let address = &node.address;
    let request = Request::post(path).header(HOST, address.to_string()).header(CONNECTION, "close");
    let request = match access {
        ControlAccess::Token(token) => request.header(AUTHORIZATION, format!("Bearer {}", token.reveal())),
        ControlAccess::Key(pair) => signed(request.header(CONTENT_DIGEST, content_digest(&body)), pair, address, &[]),
    };
    let request = request.body(Full::from(body));
    let request =
        request.map_err(|error| Problem::here(Reason::Malformed, FailedAction::Request, address, error.to_string()))?;
    conn.send(request, REPLY_TIMEOUT).await?.read(MAX_REPLY, REPLY_TIMEOUT, parse).await
}

fn client(credentials: Credentials<'_>) -> EndpointClient<'_> {
    let machine = Machine::default();
    EndpointClient { machine, credentials, connect: CONNECT_TIMEOUT, reply: REPLY_TIMEOUT }
}
