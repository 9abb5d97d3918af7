//! One accepted connection: tells the wire by the first line, then answers what is asked until one side closes.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::net::TcpStream;
use tokio::time::sleep;

use super::downstream::{AfterRequest, Downstream};
use super::response::{admit, record_faults, refuse_on_purpose};
use super::{latency, legacy, origin, relay};
use crate::net::access::{UNKNOWN_NAME, host_allowed};
use crate::net::admin;
use crate::net::node::Node;
use crate::net::node::registry::{ConnGuard, HeadGuard, Slots};
use crate::net::os::caught::{Panicked, caught};
use crate::net::os::clock::http_date;
use crate::net::os::deadline::{Deadline, within};
use crate::net::upstream::Upstream;
use crate::route::{Protocol, Role, advance};
use crate::snapshot::ConnState;
use crate::wire::http::{HeadError, MAX_HEAD, RequestKind, encode_working, is_http, parse_request};
use crate::wire::{FailedAction, Method, Problem, Reason, Request};

/// How a TLS client begins: a handshake record of any version.
const TLS_HANDSHAKE: &[u8] = b"\x16\x03";
/// A fatal alert of TLS 1.0, which every version reads: 70, protocol version. It is what clients show best.
const TLS_ALERT: &[u8] = b"\x15\x03\x01\x00\x02\x02\x46";
/// The first line of every HTTP/2 connection without TLS.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// Empty SETTINGS, then GOAWAY for `HTTP_1_1_REQUIRED`.
const HTTP2_GOAWAY: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0d";

/// Serves one connection to its end; its first request has to be there by the deadline.
pub(crate) async fn run(node: Arc<Node>, stream: TcpStream, conn: ConnGuard, head: HeadGuard, mut deadline: Deadline) {
    let mut down = Downstream::new(stream, node.config.limits);
    match deadline.bound(first_line(&mut down)).await {
        Ok(Some(FirstBytes::Http)) => http(&node, down, &conn, head, deadline).await,
        Ok(Some(FirstBytes::Legacy)) => Box::pin(legacy::run(&node, down, &conn, head, deadline)).await,
        Ok(Some(FirstBytes::Unserved { answer, protocol })) => {
            tracing::info!("{}: {protocol} is not served on this port", conn.peer());
            if down.write(answer).await.is_ok() {
                Box::pin(down.close()).await;
            }
        }
        Ok(None) | Err(_) if down.inbox.is_empty() => {}
        Ok(None) | Err(_) => tracing::info!("{}: what came is no request", conn.peer()),
    }
}

/// What the first bytes of a connection are.
enum FirstBytes {
    /// A request line of any version of HTTP/1, and the like.
    Http,
    /// Anything else that has lines.
    Legacy,
    /// Another protocol that is known, and what tells its clients that it is not spoken here.
    Unserved { answer: &'static [u8], protocol: &'static str },
}

impl FirstBytes {
    /// `None` while that is not known yet.
    fn of(bytes: &[u8]) -> Option<Self> {
        // A browser or a proxy may put one empty line before its request.
        let line = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        if bytes.starts_with(TLS_HANDSHAKE) {
            return Some(Self::Unserved { answer: TLS_ALERT, protocol: "TLS" });
        }
        if line.starts_with(HTTP2_PREFACE) {
            return Some(Self::Unserved { answer: HTTP2_GOAWAY, protocol: "HTTP/2" });
        }
        match line.iter().position(|byte| *byte == b'\n') {
            Some(end) if is_http(&line[..end]) => Some(Self::Http),
            // Neither protocol has a first line that long; the legacy protocol's reader says so.
            None if line.len() <= MAX_HEAD => None,
            _ => Some(Self::Legacy),
        }
    }
}

/// What a connection begins with, as soon as that is known; `None` at the end of the stream.
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

async fn http(node: &Arc<Node>, mut down: Downstream, conn: &ConnGuard, mut head: HeadGuard, mut deadline: Deadline) {
    let mut upstream = node.upstream();
    loop {
        conn.set_state(ConnState::Head);
        let asked = deadline.bound(read_head(&mut down)).await;
        drop(head);
        // A file that its asker wants to prove is not over with its last byte: the question after it belongs to it.
        let unproven = matches!(&asked, Ok(Ok(Some(RequestKind::File(request))))
            if request.method == Method::Get && request.want_digest.is_some());
        let next = match asked {
            // In a box, as are the others: what a request or an end needs is not held by a connection that waits for
            // one.
            Ok(Ok(Some(RequestKind::File(request)))) => {
                match caught(Box::pin(file(node, &mut down, conn, request, &mut upstream))).await {
                    Ok(next) => next,
                    Err(Panicked) => return Box::pin(failed_inside(node, down, conn)).await,
                }
            }
            // The HTTP library gives every reply a date, and panics where there is none.
            Ok(Ok(Some(RequestKind::Endpoint))) if http_date(SystemTime::now()).is_none() => {
                let detail = "the clock of this machine is before 1970".to_owned();
                Box::pin(refuse(node, &mut down, Reason::Internal, detail)).await
            }
            Ok(Ok(Some(RequestKind::Endpoint))) => {
                conn.set_state(ConnState::Admin);
                let stranger = admit(node, &mut down, conn).err();
                let Downstream { stream, inbox, .. } = down;
                let reader = admin::Requester { address: conn.peer(), stranger };
                return Box::pin(admin::serve(node, stream, inbox, reader)).await;
            }
            Ok(Ok(None)) => AfterRequest::Drop,
            Ok(Err(error)) => Box::pin(refuse(node, &mut down, error.reason, error.detail)).await,
            Err(_) => Box::pin(refuse(node, &mut down, Reason::HeadTimeout, String::new())).await,
        };
        match next {
            AfterRequest::Drop => return,
            AfterRequest::Close => {
                let sent = down.sent.take();
                if down.is_over() {
                    drop(down);
                } else {
                    Box::pin(down.close()).await;
                }
                if let Some(sent) = sent {
                    sent.look(node, conn.peer());
                }
                return leave(node, conn, upstream);
            }
            AfterRequest::Keep => {}
        }
        conn.set_state(ConnState::Idle);
        down.rest();
        if down.inbox.is_empty() {
            let idle = within(node.config.limits.idle, down.fill());
            let told_to_leave = async {
                node.drain().draining().await;
                if unproven {
                    sleep(node.config.limits.linger).await;
                }
            };
            let read = tokio::select! {
                biased;
                read = idle => Some(read),
                () = told_to_leave => None,
            };
            if let Some(sent) = down.sent.take() {
                sent.look(node, conn.peer());
            }
            let Some(read) = read else { return Box::pin(down.close()).await };
            match read {
                Ok(Ok(read)) if read > 0 => {}
                Ok(_) => return leave(node, conn, upstream),
                Err(_) => return Box::pin(down.close()).await,
            }
        }
        deadline = Deadline::after(node.config.limits.head);
        head = match conn.begin_head(Slots(node.config.max_connections)) {
            Some(head) => head,
            None => match Box::pin(refuse(node, &mut down, Reason::Busy, String::new())).await {
                AfterRequest::Drop => return,
                AfterRequest::Close | AfterRequest::Keep => return Box::pin(down.close()).await,
            },
        };
    }
}

/// Leaves the chain. A node that has others to serve has no time to connect ahead.
fn leave(node: &Node, conn: &ConnGuard, upstream: Upstream) {
    if latency::is_alone(conn, 0) && !node.draining() {
        upstream.leave();
    }
}

/// Reads the next request head; a page's head stays in the inbox for the HTTP library.
async fn read_head(down: &mut Downstream) -> Result<Option<RequestKind>, HeadError> {
    loop {
        match parse_request(&down.inbox)? {
            Some((RequestKind::Endpoint, _)) => return Ok(Some(RequestKind::Endpoint)),
            Some((asked, length)) => {
                down.inbox.drain(..length);
                return Ok(Some(asked));
            }
            None if !matches!(down.fill().await, Ok(read) if read > 0) => return Ok(None),
            None => {}
        }
    }
}

/// Answers a head that is none, then closes: where the next request would begin is not known.
async fn refuse(node: &Node, down: &mut Downstream, reason: Reason, detail: String) -> AfterRequest {
    let problem = Problem::here(reason, FailedAction::Request, node.address, detail);
    log_refused(down, &problem);
    down.send_problem(&problem, Method::Get, false).await
}

/// Logs a request that was refused before it could be counted as one.
fn log_refused(down: &Downstream, problem: &Problem) {
    if tracing::enabled!(tracing::Level::DEBUG) {
        let peer = down.stream.peer_addr().map_or_else(|_| "-".to_owned(), |peer| peer.to_string());
        tracing::debug!("refused peer={peer} status={} ended={:?}", problem.status(), problem.to_string());
    }
}

/// Ends a connection whose request panicked, with an answer where none has begun.
async fn failed_inside(node: &Node, mut down: Downstream, conn: &ConnGuard) {
    if conn.state() != ConnState::Streaming {
        refuse(node, &mut down, Reason::Internal, String::new()).await;
        down.close().await;
    }
}

/// Answers a request for a file, as its route says: by relaying it, or by serving it.
async fn file(
    node: &Arc<Node>,
    down: &mut Downstream,
    conn: &ConnGuard,
    mut request: Box<Request>,
    upstream: &mut Upstream,
) -> AfterRequest {
    down.asked_last = !request.keep_alive;
    down.old = !request.interim;
    let proof = request.method == Method::Head && request.if_match.is_some();
    let refused = if node.drain().is_draining() && !proof {
        Some((Reason::Draining, String::new()))
    } else if !host_allowed(&node.config.access, request.host.as_ref().map(|host| &host.host)) {
        Some((Reason::Policy, UNKNOWN_NAME.to_owned()))
    } else {
        admit(node, down, conn).err().map(|why| (Reason::Policy, why))
    };
    if let Some((reason, detail)) = refused {
        let problem = Problem::here(reason, FailedAction::Request, node.called(&request), detail);
        log_refused(down, &problem);
        return Box::pin(down.send_problem(&problem, request.method, false)).await;
    }
    let id = *request.transfer.get_or_insert_with(|| node.machine().transfer_id());
    let job = conn.begin_job(id, request.method, &request.name, Protocol::Http);
    if request.query.is_some() {
        // It may hold a secret, and names stand in logs and reports.
        job.update(|account| account.name = format!("{}?…", account.name).into());
    }
    if request.ack && request.interim && down.write(&encode_working(None)).await.is_err() {
        return AfterRequest::Drop;
    }
    record_faults(node, &job);
    if let Err(problem) = refuse_on_purpose(node, &request) {
        job.failed(&problem);
        job.update(|account| account.status = problem.status());
        return Box::pin(down.send_problem(&problem, request.method, request.keep_alive)).await;
    }
    match advance(std::mem::take(&mut request.route)) {
        // In a box: a relay need not have room for what only an origin does.
        Role::Origin => Box::pin(origin::answer(node, down, &job, &request)).await,
        Role::Relay { next, rest } => {
            request.route = rest;
            relay::answer(node, down, &job, request, next, upstream).await
        }
    }
}
