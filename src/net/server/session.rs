//! One accepted connection: detects the protocol by the first line, then serves requests until one side closes.

use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::net::TcpStream;

use super::downstream::{AfterRequest, Downstream};
use super::response::{
    admit, begin_transfer, inject_rejection, log_refused, permits, record_faults, record_key, send_failure,
};
use super::{legacy, origin, relay, tar_stream, tunnel};
use crate::net::access::{Caller, Denied, NO_LISTING, UNKNOWN_NAME, host_allowed};
use crate::net::admin;
use crate::net::node::Node;
use crate::net::node::registry::{ConnGuard, HeadGuard, Slots};
use crate::net::os::caught::caught;
use crate::net::os::clock::http_date;
use crate::net::os::deadline::{Deadline, Elapsed, ReusedTimer, within};
use crate::net::os::in_place::boxed;
use crate::net::upstream::Upstream;
use crate::route::{Protocol, Role, advance};
use crate::snapshot::ConnState;
use crate::wire::http::{HeadError, MAX_HEAD, RequestKind, encode_working, is_http, parse_request};
use crate::wire::{FailedAction, Method, Problem, Reason, Request};

/// First bytes of a TLS client: a handshake record of any version.
const TLS_HANDSHAKE: &[u8] = b"\x16\x03";
/// A fatal alert of TLS 1.0, which every version reads: 70, protocol version. Clients show this one most clearly.
const TLS_ALERT: &[u8] = b"\x15\x03\x01\x00\x02\x02\x46";
/// The first line of every HTTP/2 connection without TLS.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// Empty SETTINGS, then GOAWAY for `HTTP_1_1_REQUIRED`.
const HTTP2_GOAWAY: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0d";

/// Serves one connection to its end; its first request must arrive by the deadline.
pub(crate) async fn run(node: Arc<Node>, stream: TcpStream, conn: ConnGuard, head: HeadGuard, deadline: Deadline) {
    let down = Downstream::new(stream, node.config.limits);
    let mut begun = Some(Begun { down, head, deadline });
    while let Some(Begun { mut down, head, mut deadline }) = begun.take() {
        match deadline.bound(first_line(&mut down)).await {
            Ok(Some(FirstBytes::Http)) => begun = http(&node, down, &conn, head, deadline).await,
            Ok(Some(FirstBytes::Legacy)) => Box::pin(legacy::run(&node, down, &conn, head, deadline)).await,
            Ok(Some(FirstBytes::Tls)) => begun = Box::pin(tls(&node, down, &conn, head, deadline)).await,
            Ok(Some(FirstBytes::Http2)) => refuse_protocol(down, &conn, "HTTP/2", HTTP2_GOAWAY).await,
            Ok(None) | Err(_) if down.inbox.is_empty() => {}
            Ok(None) | Err(_) => tracing::info!("{}: not a valid request", conn.peer()),
        }
    }
}

/// A connection whose protocol is not known yet: a new one, or one on which TLS or a tunnel to this node has begun.
struct Begun {
    down: Downstream,
    head: HeadGuard,
    /// For its first request.
    deadline: Deadline,
}

/// Runs the TLS handshake of a client; its first request follows inside. Without a key, it is refused.
async fn tls(
    node: &Arc<Node>,
    down: Downstream,
    conn: &ConnGuard,
    head: HeadGuard,
    mut deadline: Deadline,
) -> Option<Begun> {
    let Some(config) = node.config.tls.as_ref().filter(|_| down.stream.is_plain()) else {
        refuse_protocol(down, conn, "TLS", TLS_ALERT).await;
        return None;
    };
    match deadline.bound(down.accept_tls(config, node.config.access.keys.is_some())).await {
        Ok(Ok(down)) => return Some(Begun { down, head, deadline }),
        Ok(Err(error)) => tracing::info!("{}: the TLS handshake failed: {error}", conn.peer()),
        Err(Elapsed) => tracing::info!("{}: the TLS handshake took too long", conn.peer()),
    }
    conn.audit_unread(Reason::Malformed, None);
    None
}

/// Refuses a known protocol that is not served here, as its clients understand it.
async fn refuse_protocol(mut down: Downstream, conn: &ConnGuard, protocol: &str, refusal: &[u8]) {
    tracing::info!("{}: {protocol} is not served on this port", conn.peer());
    conn.audit_unread(Reason::Unsupported, None);
    if down.write(refusal).await.is_ok() {
        Box::pin(down.close()).await;
    }
}

/// Protocol detected by the first bytes of a connection.
enum FirstBytes {
    /// A request line of any HTTP/1 version, or similar.
    Http,
    /// Anything else with lines.
    Legacy,
    /// A TLS handshake.
    Tls,
    /// HTTP/2 without TLS, which is not served.
    Http2,
}

impl FirstBytes {
    /// Detects the protocol; `None` while undecided.
    fn of(bytes: &[u8]) -> Option<Self> {
        // A browser or a proxy may put one empty line before its request.
        let line = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        if bytes.starts_with(TLS_HANDSHAKE) {
            return Some(Self::Tls);
        }
        if line.starts_with(HTTP2_PREFACE) {
            return Some(Self::Http2);
        }
        match line.iter().position(|byte| *byte == b'\n') {
            Some(end) if is_http(&line[..end]) => Some(Self::Http),
            // Neither protocol has a first line that long; the legacy parser reports the error.
            None if line.len() <= MAX_HEAD => None,
            _ => Some(Self::Legacy),
        }
    }
}

/// Reads until the protocol is detected; `None` at the end of the stream.
async fn first_line(down: &mut Downstream) -> Option<FirstBytes> {
    loop {
        if let Some(first) = FirstBytes::of(&down.inbox) {
            return Some(first);
        }
        if !matches!(down.fill().await, Ok(read) if read > 0) {
            return None;
        }
    }
}

/// Serves requests until the connection ends, or returns it where a tunnel to this node begins.
async fn http(
    node: &Arc<Node>,
    mut down: Downstream,
    conn: &ConnGuard,
    mut head: HeadGuard,
    mut deadline: Deadline,
) -> Option<Begun> {
    let mut upstream = node.upstream();
    // Replies without the digest that was requested, after which no request came that verifies the file. It may come
    // over any connection of a relay, which shares them between its clients; as many as are missing stay open.
    let mut verifications_pending = 0_usize;
    // A request on a kept connection had arrived before the node began to drain.
    let mut arrived_in_time = false;
    // Both serve all waits of the connection: made for each request, they would be the larger part of its waiting.
    let (mut timer, mut draining) = (ReusedTimer::default(), pin!(node.drain().draining()));
    loop {
        conn.set_state(ConnState::Head);
        let received = timer.bound(&mut deadline, read_head(node, &mut down)).await;
        drop(head);
        let mut awaits_verification = false;
        if let Ok(Ok(Some(Received { kind: RequestKind::File(request), .. }))) = &received {
            awaits_verification = request.awaits_verification();
            if is_verification(request) {
                verifications_pending = verifications_pending.saturating_sub(1);
            }
        }
        down.lacks_digest = false;
        let next = match received {
            // Boxed, as are the others: a connection waiting for a request must not hold the state of one.
            Ok(Ok(Some(received @ Received { kind: RequestKind::File(_) | RequestKind::Tunnel(_), .. }))) => {
                let serving = boxed(|| serve(node, &mut down, conn, received, arrived_in_time, &mut upstream));
                let Ok(next) = caught(serving).await else {
                    Box::pin(internal_error(node, down, conn)).await;
                    return None;
                };
                next
            }
            // The HTTP library adds a date to every reply, and panics if there is none.
            Ok(Ok(Some(_))) if http_date(SystemTime::now()).is_none() => {
                let detail = "the clock of this machine is before 1970".to_owned();
                Box::pin(refuse(node, &mut down, conn, Reason::Internal, detail)).await
            }
            Ok(Ok(Some(Received { kind: RequestKind::Endpoint, caller }))) => {
                conn.set_state(ConnState::Admin);
                let denied = admit(node, &mut down, conn).err();
                let Downstream { stream, inbox, relayed, proxied, .. } = down;
                let encrypted = !stream.is_plain();
                let reader = admin::Requester { address: conn.peer(), denied, caller, encrypted, relayed, proxied };
                Box::pin(admin::serve(node, stream, inbox, reader)).await;
                return None;
            }
            Ok(Ok(None)) => AfterRequest::Drop,
            Ok(Err(error)) => Box::pin(refuse(node, &mut down, conn, error.reason, error.detail)).await,
            Err(_) => Box::pin(refuse(node, &mut down, conn, Reason::HeadTimeout, String::new())).await,
        };
        verifications_pending += usize::from(awaits_verification && down.lacks_digest);
        match next {
            AfterRequest::Drop => return None,
            AfterRequest::Close => {
                close(node, down, conn).await;
                return None;
            }
            AfterRequest::Keep | AfterRequest::Restart => {}
        }
        conn.set_state(ConnState::Idle);
        down.release_buffer();
        arrived_in_time = true;
        if down.inbox.is_empty() {
            deadline = Deadline::after(node.config.limits.idle);
            let read = tokio::select! {
                biased;
                read = timer.bound(&mut deadline, down.fill()) => Some(read),
                () = &mut draining => None,
            };
            if let Some(sent) = down.sent.take() {
                sent.check(node, conn.peer());
            }
            let read = match read {
                Some(read) => read,
                // A relay may have sent a request at the moment at which the node began to drain.
                None => match down.fill_now() {
                    Ok(read) if read > 0 => Ok(Ok(read)),
                    _ if verifications_pending > 0 => {
                        arrived_in_time = false;
                        within(node.config.limits.linger, down.fill()).await
                    }
                    _ => Err(Elapsed),
                },
            };
            match read {
                Ok(Ok(read)) if read > 0 => {}
                Ok(_) => return None,
                Err(Elapsed) => {
                    Box::pin(down.close()).await;
                    return None;
                }
            }
        }
        deadline = Deadline::after(node.config.limits.head);
        let Some(begun) = conn.begin_head(Slots(node.config.max_connections)) else {
            if Box::pin(refuse(node, &mut down, conn, Reason::Busy, String::new())).await != AfterRequest::Drop {
                Box::pin(down.close()).await;
            }
            return None;
        };
        head = begun;
        if next == AfterRequest::Restart {
            return Some(Begun { down, head, deadline });
        }
    }
}

/// Closes a connection after its last reply.
async fn close(node: &Node, mut down: Downstream, conn: &ConnGuard) {
    let sent = down.sent.take();
    if down.is_over() {
        drop(down);
    } else {
        Box::pin(down.close()).await;
    }
    if let Some(sent) = sent {
        sent.check(node, conn.peer());
    }
}

/// Serves a request for a file or a tunnel.
async fn serve(
    node: &Arc<Node>,
    down: &mut Downstream,
    conn: &ConnGuard,
    Received { kind, caller }: Received,
    arrived_in_time: bool,
    upstream: &mut Upstream,
) -> AfterRequest {
    match kind {
        RequestKind::File(request) => file(node, down, conn, request, caller, arrived_in_time, upstream).await,
        // Boxed: a file must not pay for the size of a tunnel's future.
        RequestKind::Tunnel(request) => Box::pin(tunnel::serve(node, down, conn, request, caller, upstream)).await,
        // The HTTP library replies to these.
        RequestKind::Endpoint => AfterRequest::Drop,
    }
}

/// Returns whether a request verifies a file that was received before.
fn is_verification(request: &Request) -> bool {
    request.method == Method::Head && request.if_match.is_some()
}

/// A request, and who sent it.
struct Received {
    kind: RequestKind,
    caller: Result<Caller, Box<Denied>>,
}

/// Reads the next request head; the head of an endpoint request stays in the inbox for the HTTP library.
async fn read_head(node: &Node, down: &mut Downstream) -> Result<Option<Received>, HeadError> {
    loop {
        match parse_request(&down.inbox)? {
            Some((kind, length)) => {
                let caller = node.caller_of(&down.inbox[..length], &down.stream, down.tls_key);
                if !matches!(kind, RequestKind::Endpoint) {
                    down.inbox.drain(..length);
                }
                return Ok(Some(Received { kind, caller }));
            }
            None if !matches!(down.fill().await, Ok(read) if read > 0) => return Ok(None),
            None => {}
        }
    }
}

/// Refuses an invalid head, then closes: the start of the next request is unknown.
async fn refuse(node: &Node, down: &mut Downstream, conn: &ConnGuard, reason: Reason, detail: String) -> AfterRequest {
    let problem = Problem::here(reason, FailedAction::Request, node.address, detail);
    log_refused(conn, &problem);
    conn.audit_unread(reason, Some(problem.status()));
    down.send_problem(&problem, Method::Get, false).await
}

/// Closes a connection whose request panicked, with an error reply unless one has begun.
async fn internal_error(node: &Node, mut down: Downstream, conn: &ConnGuard) {
    if conn.state() != ConnState::Streaming {
        // Its audit line was written when it was dropped.
        let problem = Problem::here(Reason::Internal, FailedAction::Request, node.address, "");
        log_refused(conn, &problem);
        down.send_problem(&problem, Method::Get, false).await;
        down.close().await;
    }
}

/// Serves a request for a file: relays it, or sends the file if the route is empty.
async fn file(
    node: &Arc<Node>,
    down: &mut Downstream,
    conn: &ConnGuard,
    mut request: Box<Request>,
    caller: Result<Caller, Box<Denied>>,
    arrived_in_time: bool,
    upstream: &mut Upstream,
) -> AfterRequest {
    down.last_request = !request.keep_alive;
    down.http10 = !request.interim;
    down.caller = caller.as_ref().ok().cloned().unwrap_or_default();
    request.proxied |= down.proxied;
    let refused = if node.drain().is_draining() && !arrived_in_time && !is_verification(&request) {
        Some((Reason::Draining, String::new()))
    } else if !host_allowed(&node.config.access, request.host.as_ref().map(|host| &host.host)) {
        Some((Reason::Policy, UNKNOWN_NAME.to_owned()))
    } else if request.tar && !node.config.access.may_list(request.proxied) {
        Some((Reason::Policy, NO_LISTING.to_owned()))
    } else {
        admit(node, down, conn).err().map(|why| (Reason::Policy, why))
    };
    let begun = if let Some((reason, detail)) = refused {
        Err(Problem::here(reason, FailedAction::Request, node.address_for(&request), detail))
    } else {
        let begun = match caller.and_then(|caller| permits(&caller, &request)) {
            Ok(()) => begin_transfer(&down.caller, &request).await,
            Err(denied) => Err(denied),
        };
        begun.map_err(|denied| denied.problem(node.address_for(&request)))
    };
    let _transfer = match begun {
        Ok(transfer) => transfer,
        Err(problem) => {
            log_refused(conn, &problem);
            conn.audit_refused(&request, down.caller.name(), &problem);
            return Box::pin(down.send_problem(&problem, request.method, false)).await;
        }
    };
    let id = *request.transfer.get_or_insert_with(|| node.machine().transfer_id());
    let job = conn.begin_job(id, request.method, &request.name, Protocol::Http);
    if request.query.is_some() {
        job.hide_query();
    }
    if !down.stream.is_plain() {
        job.hide_name();
    }
    record_key(down, &job);
    if request.ack && request.interim && down.write(&encode_working(None)).await.is_err() {
        return AfterRequest::Drop;
    }
    record_faults(node, &job);
    if let Err(problem) = inject_rejection(node, request.host.as_ref()) {
        return Box::pin(send_failure(down, &job, &problem, request.method, request.keep_alive)).await;
    }
    match advance(std::mem::take(&mut request.route)) {
        // Boxed: a relay must not pay for the size of the origin's future.
        Role::Origin if request.tar => Box::pin(tar_stream::serve(node, down, &job, &request)).await,
        Role::Origin => boxed(|| origin::serve(node, down, &job, &request)).await,
        Role::Relay { next, rest } => {
            let hops_after = rest.len() + 1;
            request.signatures = request.signatures.and_then(|all| all.for_next(hops_after)).map(Box::new);
            request.route = rest;
            upstream.set_caller(down.caller.clone());
            relay::serve(node, down, &job, request, next, upstream).await
        }
    }
}
