//! A client for one HTTP request to a node's endpoint; shared by endpoint relays and the watcher.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::os::clock::ms_since;
use super::os::deadline::within;
use crate::route::{Hop, HostPort};
use crate::secret::Secret;
use crate::wire::http::{MAX_HEAD, parse_number};
use crate::wire::{FailedAction, Problem, Reason, problem};

/// The rest of the route.
pub(super) const CHAIN_ROUTE: HeaderName = HeaderName::from_static("chain-route");
/// The id of a relayed request, the same on every hop.
pub(super) const CHAIN_TRANSFER: HeaderName = HeaderName::from_static("chain-transfer");
/// Time left for set-up, in ms.
pub(super) const CHAIN_TIMEOUT: HeaderName = HeaderName::from_static("chain-timeout");
/// Number of relays between the replying node and the one whose endpoint it is.
pub(super) const CHAIN_HOPS: HeaderName = HeaderName::from_static("chain-hops");
/// Limit on buffered bytes of a reply, apart from one line; small, so that a slow client's next line is recent.
pub(super) const BUFFER: usize = 16 * 1024;

/// A reply whose body is not read yet, and the task that reads it; dropping it closes the connection.
#[derive(Debug)]
pub(super) struct PendingReply {
    /// The reply.
    pub(super) reply: Response<Incoming>,
    /// Drives the connection while it is kept.
    pub(super) driver: AbortOnDropHandle<()>,
}

/// Sends one request over a new connection and waits for the head of the reply.
pub(super) async fn send_request<B>(
    stream: TcpStream,
    to: &HostPort,
    request: Request<B>,
    limit: Duration,
) -> Result<PendingReply, Problem>
where
    B: Body<Data = Bytes, Error = std::convert::Infallible> + Send + 'static,
{
    let began = Instant::now();
    let fail = |reason, detail: String| Problem::next(reason, FailedAction::Reply, to, detail, ms_since(began));
    let pending = async {
        let mut client = http1::Builder::new();
        client.max_buf_size(BUFFER).max_headers(64).max_header_size(MAX_HEAD);
        let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            // An error also ends the body, and is reported there.
            let _ = connection.await;
        }));
        sender.send_request(request).await.map(|reply| PendingReply { reply, driver })
    };
    match within(limit, pending).await {
        Err(_) => Err(fail(Reason::TimedOut, String::new())),
        Ok(Err(error)) => Err(fail(reason_of(&error), String::new())),
        Ok(Ok(pending)) if pending.reply.status().is_informational() => {
            Err(fail(Reason::BadResponse, "it tried to switch to another protocol".to_owned()))
        }
        Ok(Ok(pending)) => Ok(pending),
    }
}

/// Returns a request for an endpoint of the last of these hops, to be sent to the first.
pub(super) fn endpoint_request(
    to: &HostPort,
    behind: &[Hop],
    path: &str,
    token: Option<&Secret>,
    time: Duration,
) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
    let mut request = Request::builder().uri(path).header(HOST, to.to_string()).header(CONNECTION, "close");
    if !behind.is_empty() {
        let elements: Vec<String> = behind.iter().map(Hop::element).collect();
        request = request.header(CHAIN_ROUTE, elements.join(", "));
        request = request.header(CHAIN_TIMEOUT, time.as_millis().to_string());
    }
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
    }
    request.body(Empty::new())
}

/// Reads a whole short body within a time limit; `None` if it is too long, late or incomplete.
pub(super) async fn short_body(body: Incoming, max: usize, limit: Duration) -> Option<Bytes> {
    let collected = within(limit, Limited::new(body, max).collect()).await.ok()?;
    collected.ok().map(http_body_util::Collected::to_bytes)
}

/// Returns the number of relays that a reply came through; 0 for a server that is not a chainview node.
pub(super) fn relay_count(headers: &HeaderMap) -> u32 {
    let number = headers.get(CHAIN_HOPS).and_then(|value| value.to_str().ok()).and_then(parse_number);
    number.and_then(|hops| u32::try_from(hops).ok()).unwrap_or(0)
}

/// Returns true if the body of a reply is a problem document.
pub(super) fn is_problem(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(problem::MEDIA_TYPE.as_bytes()))
}

/// Classifies the error of an exchange.
fn reason_of(error: &hyper::Error) -> Reason {
    let system = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    match system.map(io::Error::kind) {
        Some(io::ErrorKind::TimedOut) => Reason::TimedOut,
        None if error.is_parse() => Reason::BadResponse,
        _ => Reason::Closed,
    }
}
