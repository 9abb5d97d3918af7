//! The node's endpoints: one request per connection, through an HTTP library, served here or relayed up the chain.

mod audited;
mod control;
mod endpoints;
mod events;
mod html;
pub(crate) mod metrics;
mod relay;
mod reply;
mod stream;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Incoming;
use hyper::header::{FORWARDED, HOST, HeaderMap, HeaderValue, VIA};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::access::{Caller, Denied, UNKNOWN_NAME, host_allowed, is_proxied};
use super::http_client::{BUFFER, CHAIN_ROUTE, CHAIN_TRANSFER};
use super::node::Node;
use super::node::folder_work::FolderSlot;
use super::os::caught::{Panicked, caught};
use super::os::socket::drain;
use crate::route::{Hop, HostPort};
use crate::text::SafeText;
use crate::wire::http::{HeadError, parse_host, parse_route, plain_text};
use crate::wire::{Reason, TransferId};
use audited::Audited;
use endpoints::HEALTH;
use reply::{EndpointBody, from_problem, here, reads, wrong_method};
use stream::EndpointStream;

/// The client of an endpoint, as known from its connection.
#[derive(Clone, Debug)]
pub(crate) struct Requester {
    /// The peer's address.
    pub address: SocketAddr,
    /// Why its user may read nothing but the health check.
    pub denied: Option<String>,
    /// Whose request it is.
    pub caller: Result<Caller, Box<Denied>>,
    /// The connection is encrypted.
    pub encrypted: bool,
    /// The connection is inside a tunnel that came through a relay.
    pub relayed: bool,
    /// That tunnel passed a foreign proxy, or a relay that lists no folders for its client.
    pub proxied: bool,
}

impl Requester {
    /// Adds to a request what its way through a tunnel would have added to it outside.
    fn mark(&self, headers: &mut HeaderMap) {
        if self.relayed {
            headers.append(VIA, HeaderValue::from_static(super::node::VIA));
        }
        if self.proxied {
            headers.append(FORWARDED, HeaderValue::from_static("for=unknown"));
        }
    }
}

/// Serves one request for an endpoint and closes the connection; `head` contains the bytes already read from it.
///
/// A client may close its sending half after its request. Only a stream of events ends there: between two events
/// nothing else shows that its client has disconnected.
pub(crate) async fn serve<S>(node: &Arc<Node>, stream: S, head: Vec<u8>, reader: Requester)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = node.config.limits;
    // The library drops a body once it is in its own buffer, before the client has received it; so the slot is kept
    // here.
    let slot = Arc::new(Mutex::new(None));
    let service = service_fn(|mut request: Request<Incoming>| {
        // A relay that requests this inside TLS may pass the reply on in clear text.
        if reader.encrypted && !is_proxied(request.headers()) {
            request.extensions_mut().insert(endpoints::SeesNames);
        }
        reader.mark(request.headers_mut());
        let (node, reader, kept) = (Arc::clone(node), reader.clone(), Arc::clone(&slot));
        async move {
            let result = caught(Box::pin(recorded(&node, request, &reader))).await;
            let mut reply = result.unwrap_or_else(|Panicked| here(&node, Reason::Internal, ""));
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = reply.extensions_mut().remove::<Arc<FolderSlot>>();
            Ok::<_, Infallible>(reply)
        }
    });
    let mut server = http1::Builder::new();
    // A signed head may be larger than what is buffered of a reply.
    server.keep_alive(false).max_buf_size(BUFFER.max(head.len())).max_headers(64);
    server.timer(TokioTimer::new()).header_read_timeout(limits.head);
    server.half_close(!requests_events(&head));
    let stream = TokioIo::new(EndpointStream::new(stream, head, limits.stall));
    if let Ok(parts) = server.serve_connection(stream, service).without_shutdown().await {
        let mut stream = parts.io.into_inner();
        if matches!(timeout(limits.linger, stream.shutdown()).await, Ok(Ok(()))) {
            drain(&mut stream, limits.linger).await;
        }
    }
}

/// True if a request head is for the stream of events, in any form of the target.
fn requests_events(head: &[u8]) -> bool {
    let target = head.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    target
        .split(|byte| matches!(byte, b'?' | b'#'))
        .next()
        .is_some_and(|path| path.ends_with(endpoints::EVENTS.as_bytes()))
}

/// Serves a request, and writes its audit line, if it has one. Logs it at trace level: the path without its query,
/// which may contain a secret.
async fn recorded(node: &Arc<Node>, request: Request<Incoming>, reader: &Requester) -> Response<EndpointBody> {
    let fields = tracing::enabled!(tracing::Level::TRACE)
        .then(|| format!("method={} path={:?}", request.method(), SafeText::new(request.uri().path()).as_str()));
    let audited = Audited::of(node, &request);
    let reply = answer(node, request, reader).await;
    if let Ok(caller) = &reader.caller {
        caller.spend();
    }
    if let Some(audited) = audited {
        let key = reader.caller.as_ref().ok().and_then(Caller::name);
        audited.write(node, (reader.address, key), &reply);
    }
    if let Some(fields) = fields {
        tracing::trace!("endpoint peer={} {fields} status={}", reader.address, reply.status().as_u16());
    }
    reply
}

async fn answer(node: &Arc<Node>, request: Request<Incoming>, reader: &Requester) -> Response<EndpointBody> {
    let headers = request.headers();
    let host = match requested_host(&request) {
        Ok(host) => host,
        Err(detail) => return here(node, Reason::Malformed, &detail),
    };
    if !host_allowed(&node.config.access, host.as_ref().map(|address| &address.host)) {
        return here(node, Reason::Policy, UNKNOWN_NAME);
    }
    let remaining_route = remaining_route(headers);
    let of_health = request.uri().path() == HEALTH && matches!(&remaining_route, Ok(route) if route.is_empty());
    if let Some(reason) = reader.denied.as_ref().filter(|_| !of_health) {
        return here(node, Reason::Policy, reason);
    }
    let caller = match &reader.caller {
        Ok(caller) => caller.clone(),
        // The health check is open to all.
        Err(_) if of_health => node.unsigned_caller(None),
        Err(denied) => return from_problem(&Denied::clone(denied).problem(node.address)),
    };
    let id = match relayed_id(headers) {
        Ok(id) => id,
        Err(detail) => return here(node, Reason::Malformed, &detail),
    };
    match remaining_route {
        Err(error) => here(node, error.reason, &error.detail),
        Ok(route) if id.is_some_and(|id| node.registry.has_come_back(id, route.len())) => {
            here(node, Reason::Loop, "this request is already passing through this node")
        }
        Ok(route) if route.is_empty() => match control::ControlRequest::find(request.uri().path()) {
            Some(control) => control::serve(node, &control, request, &caller).await,
            None => endpoints::serve(node, &request, reader.address, &caller).await,
        },
        Ok(_) if !reads(request.method()) && control::ControlRequest::find(request.uri().path()).is_some() => {
            here(node, Reason::Policy, "control is never relayed")
        }
        Ok(_) if !reads(request.method()) => wrong_method("GET, HEAD", "endpoints are read with GET or HEAD"),
        Ok(route) => match relay::relay(node, &request, (reader.address, &caller), host.as_ref(), id, route).await {
            Ok(reply) => reply,
            Err(problem) => from_problem(&problem),
        },
    }
}

/// Returns the address by which the client names this node; without a port it means port 80.
fn requested_host(request: &Request<Incoming>) -> Result<Option<HostPort>, String> {
    if let Some(authority) = request.uri().authority() {
        // A client that uses this node as a proxy names the host twice; the one in the target counts.
        return parse_host(authority.as_str()).map(Some);
    }
    let headers = request.headers();
    let mut lines = headers.get_all(HOST).iter();
    let (line, more) = (lines.next(), lines.next());
    let Some(line) = line else { return Ok(None) };
    let text = plain_text(line.as_bytes()).filter(|_| more.is_none()).ok_or("Host is not one plain address")?;
    parse_host(text).map(Some).map_err(|error| format!("Host: {error}"))
}

/// Returns the id of a relayed request, the same on every node; the first relay sets it.
fn relayed_id(headers: &HeaderMap) -> Result<Option<TransferId>, String> {
    let Some(line) = headers.get(CHAIN_TRANSFER) else { return Ok(None) };
    let id = plain_text(line.as_bytes()).ok_or("it is not plain text".to_owned()).and_then(str::parse);
    id.map(Some).map_err(|reason| format!("Chain-Transfer: {reason}"))
}

/// Returns the hops after this node; empty if the endpoint is its own.
fn remaining_route(headers: &HeaderMap) -> Result<Vec<Hop>, HeadError> {
    let malformed = || HeadError { reason: Reason::Malformed, detail: "Chain-Route is not plain text".to_owned() };
    let lines = headers.get_all(CHAIN_ROUTE).iter().map(|line| plain_text(line.as_bytes()).ok_or_else(malformed));
    parse_route(&lines.collect::<Result<Vec<_>, _>>()?.join(","))
}
