//! The node's own pages: one request on a connection, through a real HTTP library, here or further up the chain.

mod control;
mod events;
mod html;
pub(crate) mod metrics;
mod negotiate;
mod pages;
mod relay;
mod reply;
mod stream;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::header::{HOST, HeaderMap};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::access::{UNKNOWN_NAME, host_allowed};
use super::http_client::{BUFFER, CHAIN_ROUTE, CHAIN_TRANSFER};
use super::node::Node;
use super::node::listings::ListingSlot;
use super::os::caught::{Panicked, caught};
use super::os::socket::drain;
use crate::route::{Hop, HostPort};
use crate::text::SafeText;
use crate::wire::http::{HeadError, parse_host, parse_route, plain_text};
use crate::wire::{Reason, TransferId};
use pages::HEALTH;
use reply::{EndpointBody, from_problem, here, reads, wrong_method};
use stream::EndpointStream;

/// Who asks for a page, as far as the connection says.
#[derive(Clone, Debug)]
pub(crate) struct Requester {
    /// Where from.
    pub address: SocketAddr,
    /// Why its user may read nothing but that this node lives.
    pub stranger: Option<String>,
}

/// Answers one request for a page and closes the connection; `head` is what was already read from it.
///
/// A reader may close its sending half once it has asked. Only a stream of events ends there: between two events
/// nothing else shows that its reader has left.
pub(crate) async fn serve<S>(node: &Arc<Node>, stream: S, head: Vec<u8>, reader: Requester)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = node.config.limits;
    // The library is done with a body when it has put it into its own buffer, which is not when the reader has it.
    let place = Arc::new(Mutex::new(None));
    let service = service_fn(|request| {
        let (node, reader, held) = (Arc::clone(node), reader.clone(), Arc::clone(&place));
        async move {
            let answered = caught(Box::pin(logged(&node, request, &reader))).await;
            let mut reply = answered.unwrap_or_else(|Panicked| here(&node, Reason::Internal, ""));
            *held.lock().unwrap_or_else(PoisonError::into_inner) = reply.extensions_mut().remove::<Arc<ListingSlot>>();
            Ok::<_, Infallible>(reply)
        }
    });
    let mut server = http1::Builder::new();
    server.keep_alive(false).max_buf_size(BUFFER).max_headers(64);
    server.timer(TokioTimer::new()).header_read_timeout(limits.head);
    server.half_close(!asks_for_events(&head));
    let stream = TokioIo::new(EndpointStream::new(stream, head, limits.stall));
    if let Ok(parts) = server.serve_connection(stream, service).without_shutdown().await {
        let mut stream = parts.io.into_inner();
        if matches!(timeout(limits.linger, stream.shutdown()).await, Ok(Ok(()))) {
            drain(&mut stream, limits.linger).await;
        }
    }
}

/// True if a request head asks for the stream of events, in whichever form the target is written.
fn asks_for_events(head: &[u8]) -> bool {
    let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    target.split(|byte| matches!(byte, b'?' | b'#')).next().is_some_and(|path| path.ends_with(pages::EVENTS.as_bytes()))
}

/// Answers, and logs what was asked where everything is: the path without its query, which may hold a secret.
async fn logged(node: &Arc<Node>, request: Request<Incoming>, reader: &Requester) -> Response<EndpointBody> {
    let asked = tracing::enabled!(tracing::Level::TRACE)
        .then(|| format!("method={} path={:?}", request.method(), SafeText::new(request.uri().path()).as_str()));
    let reply = answer(node, request, reader).await;
    if let Some(asked) = asked {
        tracing::trace!("endpoint peer={} {asked} status={}", reader.address, reply.status().as_u16());
    }
    reply
}

async fn answer(node: &Arc<Node>, request: Request<Incoming>, reader: &Requester) -> Response<EndpointBody> {
    let headers = request.headers();
    let host = match called(&request) {
        Ok(host) => host,
        Err(detail) => return here(node, Reason::Malformed, &detail),
    };
    if !host_allowed(&node.config.access, host.as_ref().map(|address| &address.host)) {
        return here(node, Reason::Policy, UNKNOWN_NAME);
    }
    let to_come = to_come(headers);
    if let Some(why) = &reader.stranger
        && !(request.uri().path() == HEALTH && matches!(&to_come, Ok(route) if route.is_empty()))
    {
        return here(node, Reason::Policy, why);
    }
    let id = match passing_id(headers) {
        Ok(id) => id,
        Err(detail) => return here(node, Reason::Malformed, &detail),
    };
    match to_come {
        Err(error) => here(node, error.reason, &error.detail),
        Ok(_) if id.is_some_and(|id| node.registry.is_pending(id)) => {
            here(node, Reason::Loop, "this request is on its way through this node already")
        }
        Ok(route) if route.is_empty() => match control::ControlRequest::find(request.uri().path()) {
            Some(verb) => control::answer(node, &verb, request).await,
            None => pages::answer(node, &request, reader.address).await,
        },
        Ok(_) if !reads(request.method()) && control::ControlRequest::find(request.uri().path()).is_some() => {
            here(node, Reason::Policy, "control is never relayed")
        }
        Ok(_) if !reads(request.method()) => wrong_method("GET, HEAD", "pages are read with GET or HEAD"),
        Ok(route) => match relay::relay(node, &request, reader.address, host.as_ref(), id, route).await {
            Ok(reply) => reply,
            Err(problem) => from_problem(&problem),
        },
    }
}

/// The address by which the reader calls this node; without a port it means port 80.
fn called(request: &Request<Incoming>) -> Result<Option<HostPort>, String> {
    if let Some(authority) = request.uri().authority() {
        // A client that takes this node for a proxy names the host twice; the one in the target counts.
        return parse_host(authority.as_str()).map(Some);
    }
    let headers = request.headers();
    let mut lines = headers.get_all(HOST).iter();
    let (line, more) = (lines.next(), lines.next());
    let Some(line) = line else { return Ok(None) };
    let text = plain_text(line.as_bytes()).filter(|_| more.is_none()).ok_or("Host is not one plain address")?;
    parse_host(text).map(Some).map_err(|error| format!("Host: {error}"))
}

/// What a relayed request is known by on every node; the first relay gives it.
fn passing_id(headers: &HeaderMap) -> Result<Option<TransferId>, String> {
    let Some(line) = headers.get(CHAIN_TRANSFER) else { return Ok(None) };
    let id = plain_text(line.as_bytes()).ok_or("it is not plain text".to_owned()).and_then(str::parse);
    id.map(Some).map_err(|why| format!("Chain-Transfer: {why}"))
}

/// The hops behind this node; none where the page is its own.
fn to_come(headers: &HeaderMap) -> Result<Vec<Hop>, HeadError> {
    let malformed = || HeadError { reason: Reason::Malformed, detail: "Chain-Route is not plain text".to_owned() };
    let lines = headers.get_all(CHAIN_ROUTE).iter().map(|line| plain_text(line.as_bytes()).ok_or_else(malformed));
    parse_route(&lines.collect::<Result<Vec<_>, _>>()?.join(","))
}
