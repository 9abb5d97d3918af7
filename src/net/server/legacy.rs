//! A session in the legacy protocol, compatible with the legacy program.

use std::sync::Arc;
use std::time::Duration;

use super::downstream::Downstream;
use super::file_body::{FileBody, SentBytes};
use super::origin;
use super::relay;
use super::response::{
    admit, begin_transfer, delay_reply, inject_rejection, permits, record_faults, record_key, send_body,
};
use crate::net::node::Node;
use crate::net::node::registry::{ConnGuard, FileRequestGuard, HeadGuard};
use crate::net::os::deadline::{Deadline, within};
use crate::net::upstream::Upstream;
use crate::route::{Hop, Protocol, Role, advance};
use crate::snapshot::{ConnRole, ConnState};
use crate::wire::legacy::{
    LegacyRequest, PROBE_NAME, PROBE_REPLY, ParsedRequest, encode_problem, parse_request, to_request,
};
use crate::wire::{FailedAction, Method, Problem, Reason, Request};

/// Time for which a request that parses may still grow, if line 2 is this listener's port.
const GAP: Duration = Duration::from_millis(20);
/// The same if it is not: a mapped port looks just like a truncated number.
const MAPPED_GAP: Duration = Duration::from_millis(200);

/// Outcome of a request to the next hop.
enum LegacyReply {
    /// The size to announce.
    Size(u64),
    /// The problem to send.
    Problem(Problem),
    /// More of the request arrived: it was incomplete.
    Grew,
    /// The client disconnected.
    Disconnected,
}

/// Serves a connection whose first line is not HTTP.
pub(crate) async fn run(
    node: &Arc<Node>,
    mut down: Downstream,
    conn: &ConnGuard,
    head: HeadGuard,
    mut deadline: Deadline,
) {
    let mut head = Some(head);
    loop {
        conn.set_state(ConnState::Head);
        let Ok(Some(legacy)) = deadline.bound(read_request(node, &mut down, conn)).await else { return };
        head.take();
        // The protocol probe needs no permission, like the health check.
        if legacy.name.as_bytes() == PROBE_NAME && legacy.route.is_empty() {
            if down.write(PROBE_REPLY).await.is_ok() {
                down.close_after_peer().await;
            }
            return;
        }
        let mut request = to_request(legacy);
        let id = *request.transfer.get_or_insert_with(|| node.machine().transfer_id());
        let job = conn.begin_job(id, Method::Get, &request.name, Protocol::Legacy);
        record_faults(node, &job);
        if let Err(why) = admit(node, &mut down, conn) {
            return refuse(
                down,
                &job,
                &Problem::here(Reason::Policy, FailedAction::Request, node.address_for(&request), why),
            )
            .await;
        }
        if let Err(problem) = inject_rejection(node, request.host.as_ref()) {
            return refuse(down, &job, &problem).await;
        }
        // The protocol has no signatures.
        down.caller = node.unsigned_caller(down.tls_key);
        record_key(&down, &job);
        let begun = match permits(&down.caller, &request) {
            Ok(()) => begin_transfer(&down.caller, &request).await,
            Err(denied) => Err(denied),
        };
        let _transfer = match begun {
            Ok(transfer) => transfer,
            Err(denied) => return refuse(down, &job, &denied.problem(node.address_for(&request))).await,
        };
        match advance(std::mem::take(&mut request.route)) {
            Role::Origin => return serve(node, down, &job, &request).await,
            Role::Relay { next, rest } => {
                request.route = rest;
                let mut upstream = node.upstream();
                upstream.set_caller(down.caller.clone());
                match ask(node, &mut down, &job, Box::new(request), &next, &mut upstream).await {
                    LegacyReply::Grew => job.superseded(),
                    LegacyReply::Disconnected => return,
                    LegacyReply::Problem(problem) => return refuse(down, &job, &problem).await,
                    LegacyReply::Size(size) => return relay_body(node, down, &job, &mut upstream, size).await,
                }
            }
        }
    }
}

/// Reads until the request parses and nothing more arrives for a moment: the protocol has no end mark.
async fn read_request(node: &Node, down: &mut Downstream, conn: &ConnGuard) -> Option<LegacyRequest> {
    loop {
        let read = match parse_request(&down.inbox) {
            ParsedRequest::Invalid(why) => {
                tracing::info!("{}: not a valid request: {why}", conn.peer());
                conn.audit_unread(Reason::Malformed, None);
                return None;
            }
            ParsedRequest::Incomplete => down.fill().await,
            ParsedRequest::Complete(request) if request.name.as_bytes() == PROBE_NAME => return Some(request),
            ParsedRequest::Complete(request) => {
                let gap = if request.own.port == node.address.port() { GAP } else { MAPPED_GAP };
                match within(gap, down.fill()).await {
                    Err(_) => return Some(request),
                    Ok(read) => read,
                }
            }
        };
        if !matches!(read, Ok(read) if read > 0) {
            return None;
        }
    }
}

async fn serve(node: &Arc<Node>, mut down: Downstream, job: &FileRequestGuard<'_>, request: &Request) {
    job.update(|record| record.role = ConnRole::Origin);
    let opened = if node.drain().is_draining() {
        Err(Problem::here(Reason::Draining, FailedAction::Request, node.address_for(request), ""))
    } else {
        origin::open(node, request)
    };
    let served = match opened {
        Ok(served) => served,
        Err(problem) => return refuse(down, job, &problem).await,
    };
    let size = served.version.size;
    if !announce(node, &mut down, job, size).await {
        return;
    }
    let mut body = FileBody::new(served, 0, size);
    match send_body(node, &mut down, job, &mut body, size).await {
        Ok(()) => {
            linger(down, job).await;
            if let Some(sent) = SentBytes::of(body, &request.name, size) {
                sent.check(node, job.peer());
            }
        }
        // The legacy client spins forever on an early end of stream, and stops on a reset.
        Err(_) => down.abort(),
    }
}

async fn relay_body(
    node: &Arc<Node>,
    mut down: Downstream,
    job: &FileRequestGuard<'_>,
    upstream: &mut Upstream,
    size: u64,
) {
    if !announce(node, &mut down, job, size).await {
        return;
    }
    match relay::send_upstream_body(node, &mut down, job, upstream, size).await {
        Ok(()) => linger(down, job).await,
        Err(_) => down.abort(),
    }
}

/// Sends the size and waits for the go-ahead, of which the first byte is enough; false if it does not arrive.
async fn announce(node: &Node, down: &mut Downstream, job: &FileRequestGuard<'_>, size: u64) -> bool {
    job.update(|record| {
        record.status = 200;
        record.size = Some(size);
    });
    delay_reply(node, job).await;
    job.record_head();
    down.inbox.clear();
    if down.write(size.to_string().as_bytes()).await.is_err() {
        return false;
    }
    job.set_state(ConnState::Waiting);
    let go_ahead = within(node.config.limits.idle, down.fill()).await;
    if !matches!(go_ahead, Ok(Ok(read)) if read > 0) {
        let problem = Problem::here(Reason::Closed, FailedAction::Body, job.peer(), "no go-ahead was received");
        job.failed(&problem);
        return false;
    }
    true
}

async fn ask(
    node: &Arc<Node>,
    down: &mut Downstream,
    job: &FileRequestGuard<'_>,
    request: Box<Request>,
    next: &Hop,
    upstream: &mut Upstream,
) -> LegacyReply {
    if node.drain().is_draining() {
        return LegacyReply::Problem(Problem::here(
            Reason::Draining,
            FailedAction::Request,
            node.address_for(&request),
            "",
        ));
    }
    let on_stage = |stage| relay::track_stage(job, stage);
    tokio::select! {
        biased;
        result = relay::ask(node, node.local_addr_of(&down.stream), job, request, next, upstream, &on_stage) => {
            match result.map(|reply| reply.reply.length) {
                Ok(Some(size)) => LegacyReply::Size(size),
                Ok(None) => {
                    let (reason, action) = (Reason::BadResponse, FailedAction::Reply);
                    LegacyReply::Problem(Problem::next(reason, action, &next.address, "", 0.0))
                }
                Err(problem) => LegacyReply::Problem(problem),
            }
        }
        read = down.fill() => match read {
            Ok(read) if read > 0 => LegacyReply::Grew,
            _ => LegacyReply::Disconnected,
        },
    }
}

async fn refuse(mut down: Downstream, job: &FileRequestGuard<'_>, problem: &Problem) {
    job.failed(problem);
    job.update(|record| record.status = problem.status());
    if down.write(&encode_problem(problem)).await.is_ok() {
        down.close().await;
    }
}

async fn linger(down: Downstream, job: &FileRequestGuard<'_>) {
    job.set_state(ConnState::Lingering);
    down.close_after_peer().await;
}
