//! The relay: sends a client's request to the next hop and the reply back.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::SystemTime;

use super::downstream::{AfterRequest, Downstream};
use super::response::{delay_reply, send_body, send_failure, send_head};
use crate::allow_list::Purpose;
use crate::net::node::registry::{FileRequestGuard, PendingGuard};
use crate::net::node::{Node, VIA};
use crate::net::os::clock::http_date;
use crate::net::os::in_place::boxed;
use crate::net::upstream::{ExchangeStage, OnStage, Upstream, UpstreamReply};
use crate::route::{Hop, Host, HostPort};
use crate::snapshot::{BodyError, ConnRole, ConnState};
use crate::wire::http::encode_working;
use crate::wire::{FailedAction, Method, Problem, Reason, Reply, Request, TransferId, add_to_list};

/// Serves an HTTP request by relaying it to `next`.
pub(crate) async fn serve(
    node: &Arc<Node>,
    down: &mut Downstream,
    job: &FileRequestGuard<'_>,
    request: Box<Request>,
    next: Hop,
    upstream: &mut Upstream,
) -> AfterRequest {
    // Boxed: the state for the head is freed before the body is sent.
    let (keep, length) = match boxed(|| request_head(node, down, job, request, next, upstream)).await {
        Ok(head) => head,
        Err(next) => return next,
    };
    let sent = send_upstream_body(node, down, job, upstream, length).await;
    AfterRequest::kept_if(keep && sent.is_ok())
}

/// Requests from the next hop and prepares its reply head; returns whether the connection stays open, and the length of
/// the body to come. Without one, all was sent, and the error is what follows.
async fn request_head(
    node: &Arc<Node>,
    down: &mut Downstream,
    job: &FileRequestGuard<'_>,
    request: Box<Request>,
    next: Hop,
    upstream: &mut Upstream,
) -> Result<(bool, u64), AfterRequest> {
    let (method, interim) = (request.method, request.interim);
    let keep = request.keep_alive && !node.drain().is_draining();
    let result = {
        // Set only while the request is polled, in the same turn that reads it: no wakeup is needed.
        let working = Mutex::new(None);
        let on_stage = |stage| {
            track_stage(job, stage);
            if let ExchangeStage::Working(progress) = stage {
                *working.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
            }
        };
        let next_working = || working.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Pinned in place: moving it would double the size of the session.
        let mut requesting =
            pin!(ask(node, node.local_addr_of(&down.stream), job, request, &next, upstream, &on_stage));
        loop {
            tokio::select! {
                biased;
                result = &mut requesting => break result,
                progress = poll_fn(|_| next_working().map_or(Poll::Pending, Poll::Ready)) => {
                    if interim && down.write(&encode_working(progress)).await.is_err() {
                        return Err(AfterRequest::Drop);
                    }
                }
                () = down.disconnected() => {
                    let detail = "the client disconnected";
                    job.failed(&Problem::here(Reason::Closed, FailedAction::Request, down_peer(down), detail));
                    return Err(AfterRequest::Drop);
                }
            }
        }
    };
    let reply = match result {
        Ok(reply) => reply,
        Err(problem) => return Err(send_failure(down, job, &problem, method, keep).await),
    };
    let mut reply = relayed(reply, keep);
    job.update(|record| record.status = reply.status);
    delay_reply(node, job).await;
    job.record_head();
    down.announce(&mut reply);
    if method == Method::Head || reply.status == 304 {
        upstream.finish();
        return Err(send_head(down, job, keep).await);
    }
    Ok((keep, reply.length.unwrap_or_default()))
}

/// Sends the requested body of `upstream`, after the go-ahead.
pub(crate) async fn send_upstream_body(
    node: &Node,
    down: &mut Downstream,
    job: &FileRequestGuard<'_>,
    upstream: &mut Upstream,
    length: u64,
) -> Result<(), Problem> {
    let on_stage = upstream.go_ahead().await;
    let Some(mut body) = upstream.body().filter(|_| on_stage.is_ok()) else {
        let problem = Problem::next(Reason::Closed, FailedAction::Body, node.address, "before the body", 0.0);
        job.failed(&problem);
        job.update(|record| record.body_error = Some(BodyError::SourceEnded));
        upstream.close();
        return Err(problem);
    };
    if let Err(problem) = send_body(node, down, job, &mut body, length).await {
        upstream.close();
        return Err(problem);
    }
    upstream.finish();
    Ok(())
}

/// Sends the request to the next hop, unless the route is a loop.
pub(crate) async fn ask(
    node: &Arc<Node>,
    local: Option<SocketAddr>,
    job: &FileRequestGuard<'_>,
    mut request: Box<Request>,
    next: &Hop,
    upstream: &mut Upstream,
    on_stage: OnStage<'_>,
) -> Result<UpstreamReply, Problem> {
    job.set_state(ConnState::Connecting);
    job.update(|record| record.role = ConnRole::Relay);
    job.set_upstream(&next.address);
    if request.name.has_parent_segment() {
        // A foreign server might resolve it above the folder that `base=` names.
        let detail = "the name contains a `..` segment";
        return Err(Problem::here(Reason::Malformed, FailedAction::Request, node.address_for(&request), detail));
    }
    let id = request.transfer.unwrap_or(TransferId(0));
    let Some(_pending) = begin_setup(node, local, id, next, &request.route) else {
        return Err(Problem::here(Reason::Loop, FailedAction::Request, node.address_for(&request), ""));
    };
    allow_name(node, next, Purpose::files(next.base.as_deref()))?;
    let limit = request.timeout.map_or(node.config.limits.setup, |requested| requested.min(node.config.limits.setup));
    add_to_list(&mut request.via, VIA);
    let result = upstream.request(next, request, limit, on_stage).await;
    let reply = result.inspect_err(|problem| log_unreachable(next, job, problem))?;
    job.set_upstream_addr(reply.address, reply.protocol);
    job.update(|record| {
        record.leg = Some(reply.leg);
        record.size = reply.reply.length;
    });
    Ok(reply)
}

/// Registers a request with this route as pending; `None` if the route leads back to this node.
pub(super) fn begin_setup(
    node: &Node,
    local: Option<SocketAddr>,
    id: TransferId,
    next: &Hop,
    rest: &[Hop],
) -> Option<PendingGuard> {
    let is_loop = std::iter::once(next).chain(rest).any(|hop| is_own(&hop.address, node.address, local));
    node.registry.begin_setup(id, 1 + rest.len()).filter(|_| !is_loop)
}

/// Refuses a hop whose name needs no lookup: no resolved address would be allowed.
pub(super) fn allow_name(node: &Node, next: &Hop, purpose: Purpose<'_>) -> Result<(), Problem> {
    node.config.policy.allows_name(&next.address, purpose).map_err(|refused| refused.problem(&next.address, 0.0))
}

/// Logs a next hop that could not be connected to.
pub(super) fn log_unreachable(next: &Hop, job: &FileRequestGuard<'_>, problem: &Problem) {
    if problem.hop == 1 && matches!(problem.action, FailedAction::Resolve | FailedAction::Connect) {
        tracing::warn!("cannot connect to {} for {}: {problem}", next.address, job.peer());
    }
}

/// Updates the connection state as the exchange progresses.
pub(crate) fn track_stage(job: &FileRequestGuard<'_>, stage: ExchangeStage) {
    match stage {
        ExchangeStage::Connecting => job.set_state(ConnState::Connecting),
        ExchangeStage::Waiting | ExchangeStage::Working(_) => job.set_state(ConnState::Waiting),
        // Relays open no tunnels of their own.
        ExchangeStage::Tunnel(_) => {}
    }
}

/// Returns the next hop's reply as sent downstream, with this node added to `Via`, the times and the hop count.
pub(super) fn relayed(upstream: UpstreamReply, keep_alive: bool) -> Box<Reply> {
    let mut reply = upstream.reply;
    reply.add_leg(&upstream.leg);
    reply.hops = Some(reply.hops.unwrap_or(0) + 1);
    add_to_list(&mut reply.via, VIA);
    // A relay adds a missing date (RFC 9110, 6.6.1).
    reply.date = reply.date.take().or_else(|| http_date(SystemTime::now()));
    reply.keep_alive = keep_alive;
    reply
}

/// True if an address of the route is this listener's own.
pub(super) fn is_own(hop: &HostPort, listener: SocketAddr, local: Option<SocketAddr>) -> bool {
    let Host::Ip(ip) = hop.host else { return false };
    let same = |address: SocketAddr| address.ip().to_canonical() == ip.to_canonical() && address.port() == hop.port;
    same(listener) || local.is_some_and(same)
}

fn down_peer(down: &Downstream) -> String {
    down.stream.peer_addr().map_or_else(|_| "client".to_owned(), |peer| peer.to_string())
}
