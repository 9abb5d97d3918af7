//! One HTTP request for a page to the next hop; what relays of pages and the watcher have in common.

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

/// The route still to come.
pub(super) const CHAIN_ROUTE: HeaderName = HeaderName::from_static("chain-route");
/// What a relayed request is known by on every hop.
pub(super) const CHAIN_TRANSFER: HeaderName = HeaderName::from_static("chain-transfer");
/// The ms left for set-up.
pub(super) const CHAIN_TIMEOUT: HeaderName = HeaderName::from_static("chain-timeout");
/// How many relays stand between the answering node and the one whose page it is.
pub(super) const CHAIN_HOPS: HeaderName = HeaderName::from_static("chain-hops");
/// Most that is buffered of a page on its way, one line apart; little, so that a slow reader's next line is a fresh
/// one.
pub(super) const BUFFER: usize = 16 * 1024;

/// A reply whose body is still to be read, and the task that reads it; dropping it closes the connection.
#[derive(Debug)]
pub(super) struct PendingReply {
    /// The reply.
    pub(super) reply: Response<Incoming>,
    /// Drives the connection for as long as it is kept.
    pub(super) driver: AbortOnDropHandle<()>,
}

/// Sends one request over a fresh connection and waits for the head of the reply.
pub(super) async fn ask<B>(
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
    let asked = async {
        let mut client = http1::Builder::new();
        client.max_buf_size(BUFFER).max_headers(64).max_header_size(MAX_HEAD);
        let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await?;
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            // An error ends the body too, and there it is reported.
            let _ = connection.await;
        }));
        sender.send_request(request).await.map(|reply| PendingReply { reply, driver })
    };
    match within(limit, asked).await {
        Err(_) => Err(fail(Reason::TimedOut, String::new())),
        Ok(Err(error)) => Err(fail(reason_of(&error), String::new())),
        Ok(Ok(asked)) if asked.reply.status().is_informational() => {
            Err(fail(Reason::BadResponse, "it wants to switch to another protocol".to_owned()))
        }
        Ok(Ok(asked)) => Ok(asked),
    }
}

/// A request for a page of the last of these hops, sent to the first.
pub(super) fn page_request(
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

/// A whole short body within a time limit; `None` if it is longer, late or broken.
pub(super) async fn short_body(body: Incoming, most: usize, limit: Duration) -> Option<Bytes> {
    let collected = within(limit, Limited::new(body, most).collect()).await.ok()?;
    collected.ok().map(http_body_util::Collected::to_bytes)
}

/// The relays that a reply says it came through; a server that is none of ours says nothing, which counts as none.
pub(super) fn hops_of(headers: &HeaderMap) -> u32 {
    let number = headers.get(CHAIN_HOPS).and_then(|value| value.to_str().ok()).and_then(parse_number);
    number.and_then(|hops| u32::try_from(hops).ok()).unwrap_or(0)
}

/// True if the body of a reply is a problem.
pub(super) fn is_problem(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(problem::MEDIA_TYPE.as_bytes()))
}

/// What a failed exchange says about the peer.
fn reason_of(error: &hyper::Error) -> Reason {
    let system = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    match system.map(io::Error::kind) {
        Some(io::ErrorKind::TimedOut) => Reason::TimedOut,
        None if error.is_parse() => Reason::BadResponse,
        _ => Reason::Closed,
    }
}
