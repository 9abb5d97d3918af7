//! A client for one HTTP request to a node's endpoint; shared by endpoint relays and the watcher.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName};
use hyper::http::request::Builder;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::os::clock::{ms_since, seconds};
use super::os::deadline::within;
use super::os::random;
use super::os::socket::Socket;
use crate::keys::{Covered, KeyPair, Signatures};
use crate::route::{Hop, HostPort};
use crate::secret::Secret;
use crate::wire::http::{MAX_HEAD, encode_route, parse_number, sign_for_hops};
use crate::wire::{FailedAction, Problem, Reason, problem};

/// The rest of the route.
pub(super) const CHAIN_ROUTE: HeaderName = HeaderName::from_static("chain-route");
/// The id of a relayed request, the same on every hop.
pub(super) const CHAIN_TRANSFER: HeaderName = HeaderName::from_static("chain-transfer");
/// Time left for set-up, in ms.
pub(super) const CHAIN_TIMEOUT: HeaderName = HeaderName::from_static("chain-timeout");
/// Number of relays between the replying node and the one whose endpoint it is.
pub(super) const CHAIN_HOPS: HeaderName = HeaderName::from_static("chain-hops");
/// The signatures of a request, and the key that verifies them.
pub(super) const SIGNATURE_FIELDS: [HeaderName; 3] = [
    HeaderName::from_static("signature-input"),
    HeaderName::from_static("signature"),
    HeaderName::from_static("chain-key"),
];
/// The digest of a request's body.
pub(super) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
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
    stream: Socket,
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

/// What a client presents to the hops that it reads.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credentials<'a> {
    /// A token; every hop on the way sees it.
    pub token: Option<&'a Secret>,
    /// The key that signs requests.
    pub identity: Option<&'a Arc<KeyPair>>,
}

/// Returns a request for an endpoint of the last of these hops, to be sent to the first.
pub(super) fn endpoint_request(
    to: &HostPort,
    behind: &[Hop],
    path: &str,
    Credentials { token, identity }: Credentials<'_>,
    time: Duration,
) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
    let mut request = Request::builder().uri(path).header(HOST, to.to_string()).header(CONNECTION, "close");
    if !behind.is_empty() {
        request = request.header(CHAIN_ROUTE, encode_route(behind));
        request = request.header(CHAIN_TIMEOUT, time.as_millis().to_string());
    }
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, format!("Bearer {}", token.reveal()));
    }
    if let Some(pair) = identity {
        request = signed(request, pair, to, behind);
    }
    request.body(Empty::new())
}

/// Signs a request to a node itself, with all that is in it so far, for a hop and those behind it, under an id of its
/// own. Without random numbers it gets no signature, and the hops refuse it.
pub(super) fn signed(request: Builder, pair: &KeyPair, to: &HostPort, behind: &[Hop]) -> Builder {
    let id = random::transfer_id().to_string();
    let signatures = signatures(&request, &id, pair, to, behind);
    signatures.iter().fold(request.header(CHAIN_TRANSFER, id), add_signatures)
}

fn signatures(request: &Builder, id: &str, pair: &KeyPair, to: &HostPort, behind: &[Hop]) -> Option<Signatures> {
    let (method, target, fields) =
        (request.method_ref()?, request.uri_ref()?.path_and_query()?, request.headers_ref()?);
    let field = |name| fields.get(name)?.to_str().ok().map(Into::into);
    let covered = Covered {
        authorization: field(AUTHORIZATION),
        content_digest: field(CONTENT_DIGEST),
        ..Covered::new(method.as_str(), target.as_str(), id)
    };
    let (now, nonce) = (seconds(SystemTime::now()), random::transfer_id().0);
    sign_for_hops(pair, &Hop::new(to.clone()), behind, &covered, now, nonce).ok().flatten()
}

/// Adds the fields of signatures to a request.
pub(super) fn add_signatures(request: Builder, signatures: &Signatures) -> Builder {
    let values = [&signatures.input, &signatures.signature, &signatures.key];
    SIGNATURE_FIELDS.into_iter().zip(values).fold(request, |request, (name, value)| request.header(name, value))
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
