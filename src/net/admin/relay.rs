//! Endpoints of hops further up: relays the request with one hop less, and the reply as it arrives.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, RETRY_AFTER, VARY,
    VIA, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::endpoints::{ANY_FORM, EVENTS, TOO_MANY_READERS};
use super::events::{DrainSignal, interval, shutdown};
use super::reply::{EndpointBody, EndpointBodyError, from_problem, set_common_headers};
use crate::allow_list::Purpose;
use crate::keys::Signatures;
use crate::limits::{HOP_GRACE, HOP_SHARE};
use crate::net::access::{Caller, NO_LISTING, is_foreign_proxied};
use crate::net::http_client::{
    CHAIN_HOPS, CHAIN_ROUTE, CHAIN_TIMEOUT, CHAIN_TRANSFER, PendingReply, SIGNATURE_FIELDS, add_signatures, is_problem,
    relay_count, send_request,
};
use crate::net::node::registry::ReaderGuard;
use crate::net::node::{self, Node};
use crate::net::os::clock::ms_since;
use crate::net::os::deadline::{Deadline, Passing, passing, within};
use crate::net::os::socket::Socket;
use crate::net::upstream::connect::connect_with;
use crate::net::upstream::connect_tls;
use crate::net::upstream::policy::NotPermitted;
use crate::route::{DEFAULT_BASE, Hop, Host, HostPort, MAX_HOPS, Protocol};
use crate::wire::http::{decode_name, encode_route, parse_number, plain_text};
use crate::wire::{FailedAction, Problem, Reason, TransferId, problem};

/// Relays a request for an endpoint to the next hop and its reply back; `called` is the address by which the client
/// names this node, `id` the request's id if a relay has set one already.
pub(super) async fn relay(
    node: &Node,
    request: &Request<Incoming>,
    (peer, caller): (SocketAddr, &Caller),
    requested_host: Option<&HostPort>,
    id: Option<TransferId>,
    route: Vec<Hop>,
) -> Result<Response<EndpointBody>, Problem> {
    let began = Instant::now();
    let refuse = |reason, detail: &str| Problem::here(reason, FailedAction::Request, node.address, detail);
    caller.may_relay().map_err(|denied| denied.problem(node.address))?;
    let path = request.uri().path();
    let folder = path.starts_with(DEFAULT_BASE);
    if !(folder || path.starts_with("/v1/") || matches!(path, "/metrics" | "/healthz")) {
        return Err(refuse(Reason::NotFound, &format!("there is no endpoint {path}")));
    }
    if folder && !node.config.access.may_list(is_foreign_proxied(request.headers())) {
        return Err(refuse(Reason::Policy, NO_LISTING));
    }
    if let Some(name) = path.strip_prefix(DEFAULT_BASE).filter(|name| !name.is_empty()) {
        let name = decode_name(name).map_err(|error| refuse(error.reason, &error.detail))?;
        if name.has_parent_segment() {
            return Err(refuse(Reason::Malformed, "the name contains a `..` segment"));
        }
    }
    let own = HostPort::from(node.address);
    let loop_detail = "this node's own address is in the remaining route";
    if route.iter().any(|hop| {
        hop.address == own || requested_host.is_some_and(|requested_host| same(&hop.address, requested_host))
    }) {
        return Err(refuse(Reason::Loop, loop_detail));
    }
    let id = id.unwrap_or_else(|| node.machine().transfer_id());
    // Until the reply arrives: a second pass of the same request comes before that, by any address of this node.
    let _pending = node.registry.begin_setup(id, route.len()).ok_or_else(|| refuse(Reason::Loop, loop_detail))?;
    let reader = if path == EVENTS {
        let reader = node.registry.begin_reader(peer.ip());
        Some(reader.ok_or_else(|| refuse(Reason::Busy, TOO_MANY_READERS))?)
    } else {
        None
    };
    let via =
        via(request.headers()).ok_or_else(|| refuse(Reason::Loop, "the request passed through too many relays"))?;
    let mut hops = route.into_iter();
    let Hop { address: next, base, protocol, key, .. } =
        hops.next().ok_or_else(|| refuse(Reason::Internal, "the route is empty"))?;
    if protocol == Some(Protocol::Legacy) {
        let detail = "the legacy protocol, which this hop speaks, has no endpoints or folders";
        return Err(Problem::next(Reason::Unsupported, FailedAction::Request, &next, detail, 0.0));
    }
    let rest: Vec<Hop> = hops.collect();

    let budget = budget(node, request.headers());
    node.config.policy.allows_name(&next, Purpose::Endpoints).map_err(|refused| refused.problem(&next, 0.0))?;
    let base = base.as_deref().filter(|_| rest.is_empty());
    let purpose = if folder { Purpose::files(base) } else { Purpose::Endpoints };
    let connect_filter = |address| {
        node.config.policy.allows(address, purpose)?;
        caller.may_connect(address, purpose).map_err(|denied| NotPermitted::of_caller(*denied))
    };
    let (resolver, connect) = (&node.config.resolver, budget.min(node.config.limits.connect));
    let connected = connect_with(resolver, &next, connect, &connect_filter, b"", None).await?;
    if connected.address == node.address {
        return Err(refuse(Reason::Loop, loop_detail));
    }
    let mut stream = Socket::new(connected.stream);
    if let Some(key) = key {
        let mut left = Deadline::since(began, budget);
        // Boxed to keep the parent future small, because few hops have a key.
        let encrypted = Box::pin(connect_tls(stream, &next, key, None, &mut left)).await;
        stream = encrypted.map_err(|problem| since(problem, began))?;
    }
    // The next hop gets less time than is left, so that the hop closest to a fault reports it first.
    let remaining = budget.saturating_sub(began.elapsed()).saturating_sub(HOP_SHARE);
    let path = path_at(request, base);
    let relayed_request = relayed_request(request, &path, &next, &rest, &via, id, remaining)
        .map_err(|error| refuse(Reason::Malformed, &error.to_string()))?;
    let pending = send_request(stream, &next, relayed_request, remaining + HOP_GRACE)
        .await
        .map_err(|problem| since(problem, began))?;
    relay_reply(node, request, &next, rest.len(), pending, began, reader).await
}

/// True if both are the same address; host names are case-insensitive.
fn same(one: &HostPort, other: &HostPort) -> bool {
    match (&one.host, &other.host) {
        (Host::Name(name), Host::Name(other_name)) => name.eq_ignore_ascii_case(other_name) && one.port == other.port,
        _ => one == other,
    }
}

/// Returns the time for setup: the client's limit, at most this node's.
fn budget(node: &Node, headers: &HeaderMap) -> Duration {
    let pending = headers.get(CHAIN_TIMEOUT).and_then(|value| plain_text(value.as_bytes())).and_then(parse_number);
    pending.map_or(node.config.limits.setup, |ms| node.config.limits.setup.min(Duration::from_millis(ms)))
}

/// Returns the relays so far and this one; `None` if there are too many already.
fn via(headers: &HeaderMap) -> Option<String> {
    let mut via: Vec<&str> = headers.get_all(VIA).iter().filter_map(|line| plain_text(line.as_bytes())).collect();
    if via.iter().flat_map(|line| line.split(',')).count() >= MAX_HOPS {
        return None;
    }
    via.push(node::VIA);
    Some(via.join(", "))
}

/// Returns the path and query for the next hop, which may have its folders under another base.
fn path_at<'a>(request: &'a Request<Incoming>, base: Option<&str>) -> Cow<'a, str> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    match (base, path.strip_prefix(DEFAULT_BASE)) {
        (Some(base), Some(name)) => Cow::Owned(format!("{base}{name}")),
        _ => Cow::Borrowed(path),
    }
}

/// Builds the request to the next hop: a fixed list of header lines, nothing else.
fn relayed_request(
    request: &Request<Incoming>,
    path: &str,
    next: &HostPort,
    rest: &[Hop],
    via: &str,
    id: TransferId,
    time: Duration,
) -> Result<Request<Empty<Bytes>>, hyper::http::Error> {
    let mut relayed_request = Request::builder().method(request.method()).uri(path).header(HOST, next.to_string());
    if !rest.is_empty() {
        relayed_request = relayed_request.header(CHAIN_ROUTE, encode_route(rest));
    }
    relayed_request = relayed_request.header(CHAIN_TIMEOUT, time.as_millis().to_string()).header(VIA, via);
    relayed_request = relayed_request.header(CHAIN_TRANSFER, id.to_string());
    for name in [AUTHORIZATION, ACCEPT] {
        for value in request.headers().get_all(&name) {
            relayed_request = relayed_request.header(&name, value);
        }
    }
    if let Some(signatures) = signatures_of(request.headers()).and_then(|all| all.for_next(rest.len() + 1)) {
        relayed_request = add_signatures(relayed_request, &signatures);
    }
    relayed_request.header(CONNECTION, "close").body(Empty::new())
}

/// Returns the signatures of a request.
fn signatures_of(headers: &HeaderMap) -> Option<Signatures> {
    let joined = |name| {
        let lines = headers.get_all(name).iter().map(|line| plain_text(line.as_bytes()));
        lines.collect::<Option<Vec<_>>>().map(|lines| lines.join(", "))
    };
    let [input, signature, key] = SIGNATURE_FIELDS.map(joined);
    Some(Signatures { input: input?, signature: signature?, key: key? })
}

/// Returns the reply to the client.
async fn relay_reply(
    node: &Node,
    request: &Request<Incoming>,
    next: &HostPort,
    remaining_hops: usize,
    pending: PendingReply,
    began: Instant,
    reader: Option<ReaderGuard>,
) -> Result<Response<EndpointBody>, Problem> {
    let (head, body) = pending.reply.into_parts();
    let hops = relay_count(&head.headers);
    if head.status.is_success() && hops as usize != remaining_hops {
        return Err(Problem::next(Reason::RouteIgnored, FailedAction::Reply, next, "", ms_since(began)));
    }
    // Between two events the requested interval may pass.
    let pause = if request.uri().path() == EVENTS { interval(request.uri().query()) } else { None };
    let idle = node.config.limits.idle + pause.unwrap_or_default();
    let failed = head.status.is_client_error() || head.status.is_server_error();
    let mut reply = if failed && is_problem(&head.headers) {
        let body = Limited::new(body, problem::MAX_BODY).collect();
        let late = |reason| {
            Problem::next(reason, FailedAction::Reply, next, "the body of its error did not arrive", ms_since(began))
        };
        let body = within(idle, body).await.map_err(|_| late(Reason::TimedOut))?;
        let body = body.map_err(|_| late(Reason::Closed))?.to_bytes();
        match Problem::from_json(&body) {
            Some(problem) => from_problem(&problem.relayed()),
            None => plain(head.status, Full::new(body).map_err(|never| match never {}).boxed_unsync()),
        }
    } else {
        let driver = pending.driver;
        plain(
            head.status,
            IdleBody { body, idle, waiting: None, shutdown: shutdown(node), _driver: driver, _reader: reader }
                .boxed_unsync(),
        )
    };
    copy_lines(&head.headers, reply.headers_mut(), request.method());
    // `Accept` is relayed with every request, and a foreign server may not report what it depends on.
    reply.headers_mut().insert(VARY, ANY_FORM);
    reply.headers_mut().insert(CHAIN_HOPS, HeaderValue::from(hops.saturating_add(1)));
    reply.headers_mut().append(VIA, HeaderValue::from_static(node::VIA));
    Ok(reply)
}

fn plain(status: StatusCode, body: EndpointBody) -> Response<EndpointBody> {
    let mut reply = Response::new(body);
    *reply.status_mut() = status;
    set_common_headers(reply.headers_mut());
    reply
}

/// Copies header lines about the body and about retrying.
fn copy_lines(from: &HeaderMap, to: &mut HeaderMap, method: &Method) {
    for name in [CONTENT_TYPE, WWW_AUTHENTICATE, RETRY_AFTER, VIA] {
        for value in from.get_all(&name) {
            if !to.contains_key(&name) {
                to.insert(&name, value.clone());
            }
        }
    }
    // The length in a reply to HEAD belongs to a body that is not sent.
    if let (true, Some(length)) = (method == Method::HEAD, from.get(CONTENT_LENGTH)) {
        to.insert(CONTENT_LENGTH, length.clone());
    }
}

fn since(problem: Problem, began: Instant) -> Problem {
    Problem { ms: ms_since(began), ..problem }
}

/// A body from the next hop that fails when nothing arrives for too long.
struct IdleBody {
    body: Incoming,
    idle: Duration,
    /// Runs only while waiting for data: a slow client is not the next hop's fault.
    waiting: Option<Passing>,
    shutdown: DrainSignal,
    _driver: AbortOnDropHandle<()>,
    /// Counts it if it is a stream of events.
    _reader: Option<ReaderGuard>,
}

impl Body for IdleBody {
    type Data = Bytes;
    type Error = EndpointBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EndpointBodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.waiting = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        if self.shutdown.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err("this node is shutting down".into())));
        }
        let idle = self.idle;
        let timer = self.waiting.get_or_insert_with(|| passing(idle));
        timer.as_mut().poll(cx).map(|()| Some(Err("the next hop has sent nothing for too long".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
