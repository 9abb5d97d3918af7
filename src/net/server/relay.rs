//! The relay: asks the next hop on a client's behalf and sends the answer down.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use tokio::sync::Notify;

use super::downstream::{AfterRequest, Downstream};
use super::response::{hold_back, send_body};
use crate::net::node::registry::FileRequestGuard;
use crate::net::node::{Node, VIA};
use crate::net::os::clock::http_date;
use crate::net::os::deadline::Deadline;
use crate::net::upstream::policy::Refused;
use crate::net::upstream::{ExchangeStage, OnStage, Upstream, UpstreamReply};
use crate::route::{Hop, Host, HostPort};
use crate::snapshot::{BodyError, ConnRole, ConnState};
use crate::wire::http::encode_working;
use crate::wire::{FailedAction, Method, Problem, Reason, Reply, Request, TransferId, add_to_list};

/// Answers a request that goes on to `next`, over HTTP.
pub(crate) async fn answer(
    node: &Arc<Node>,
    down: &mut Downstream,
    job: &FileRequestGuard<'_>,
    request: Box<Request>,
    next: Hop,
    upstream: &mut Upstream,
) -> AfterRequest {
    // In a box: what the head needs is not held while the body is on its way.
    let (keep, length) = match Box::pin(answer_head(node, down, job, request, next, upstream)).await {
        Ok(begun) => begun,
        Err(next) => return next,
    };
    if let Some(length) = length
        && send_upstream_body(node, down, job, upstream, length).await.is_err()
    {
        return AfterRequest::Close;
    }
    if keep { AfterRequest::Keep } else { AfterRequest::Close }
}

/// Asks the next hop and sends its head down: whether the connection stays, and the length of the body to come.
async fn answer_head(
    node: &Arc<Node>,
    down: &mut Downstream,
    job: &FileRequestGuard<'_>,
    request: Box<Request>,
    next: Hop,
    upstream: &mut Upstream,
) -> Result<(bool, Option<u64>), AfterRequest> {
    let (method, interim) = (request.method, request.interim);
    let keep = request.keep_alive && !node.drain().is_draining();
    let asked = {
        let (working, latest) = (Notify::new(), Mutex::new(None));
        let told = |stage| {
            follow(job, stage);
            if let ExchangeStage::Working(progress) = stage {
                *latest.lock().unwrap_or_else(PoisonError::into_inner) = progress;
                working.notify_one();
            }
        };
        // Pinned where it is made: moving it would double what the session needs.
        let mut asking = pin!(ask(node, node.met_at(&down.stream), job, request, &next, upstream, &told));
        loop {
            tokio::select! {
                biased;
                asked = &mut asking => break asked,
                () = working.notified() => {
                    let progress = latest.lock().unwrap_or_else(PoisonError::into_inner).take();
                    if interim && down.write(&encode_working(progress)).await.is_err() {
                        return Err(AfterRequest::Drop);
                    }
                }
                () = down.gone() => {
                    job.failed(&Problem::here(Reason::Closed, FailedAction::Request, down_peer(down), "the client left"));
                    return Err(AfterRequest::Drop);
                }
            }
        }
    };
    let answer = match asked {
        Ok(answer) => answer,
        Err(problem) => {
            job.failed(&problem);
            job.update(|account| account.status = problem.status());
            return Err(down.send_problem(&problem, method, keep).await);
        }
    };
    let mut reply = passed_on(answer, keep);
    job.update(|account| account.status = reply.status);
    hold_back(node, job).await;
    job.answers();
    down.announce(&mut reply);
    if method == Method::Head || reply.status == 304 {
        upstream.finish();
        job.served();
        return match down.send_head().await {
            Ok(()) => Ok((keep, None)),
            Err(_) => Err(AfterRequest::Drop),
        };
    }
    Ok((keep, Some(reply.length.unwrap_or_default())))
}

/// Sends the body that `upstream` has been asked for, the go-ahead first.
pub(crate) async fn send_upstream_body(
    node: &Node,
    down: &mut Downstream,
    job: &FileRequestGuard<'_>,
    upstream: &mut Upstream,
    length: u64,
) -> Result<(), Problem> {
    let told = upstream.go_ahead().await;
    let Some(mut body) = upstream.body().filter(|_| told.is_ok()) else {
        let problem = Problem::next(Reason::Closed, FailedAction::Body, node.address, "before the body", 0.0);
        job.failed(&problem);
        job.update(|account| account.body_error = Some(BodyError::SourceEnded));
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

/// Asks the next hop, unless the route is a loop.
pub(crate) async fn ask(
    node: &Arc<Node>,
    local: Option<SocketAddr>,
    job: &FileRequestGuard<'_>,
    mut request: Box<Request>,
    next: &Hop,
    upstream: &mut Upstream,
    told: OnStage<'_>,
) -> Result<UpstreamReply, Problem> {
    job.set_state(ConnState::Connecting);
    job.update(|account| account.role = ConnRole::Relay);
    job.goes_on(&next.address);
    if request.name.has_parent_segment() {
        // A server that is no node may look for it above the folder that `base=` names.
        let detail = "the name holds a `..` segment";
        return Err(Problem::here(Reason::Malformed, FailedAction::Request, node.called(&request), detail));
    }
    let comes_back = std::iter::once(next).chain(&request.route).any(|hop| is_own(&hop.address, node.address, local));
    let id = request.transfer.unwrap_or(TransferId(0));
    let pending = node.registry.begin_setup(id);
    if comes_back || pending.is_none() {
        return Err(Problem::here(Reason::Loop, FailedAction::Request, node.called(&request), ""));
    }
    node.config.policy.allows_name(&next.address).map_err(|Refused { refusal, why }| {
        // No address that a lookup could find would be connected to.
        Problem::refused_by_policy(refusal, &next.address, why, 0.0)
    })?;
    let limit = request.timeout.map_or(node.config.limits.setup, |given| given.min(node.config.limits.setup));
    add_to_list(&mut request.via, VIA);
    let asked = upstream.ask(next, request, Deadline::after(limit), told).await;
    let answer = asked.inspect_err(|problem| {
        if problem.hop == 1 && matches!(problem.action, FailedAction::Resolve | FailedAction::Connect) {
            tracing::warn!("cannot connect to {} for {}: {problem}", next.address, job.peer());
        }
    })?;
    job.met(answer.address, answer.protocol);
    job.update(|account| {
        account.leg = Some(answer.leg);
        account.size = answer.reply.length;
    });
    Ok(answer)
}

/// Shows how far the question is.
pub(crate) fn follow(job: &FileRequestGuard<'_>, stage: ExchangeStage) {
    job.set_state(if stage == ExchangeStage::Connecting { ConnState::Connecting } else { ConnState::Waiting });
}

/// The next hop's reply as this node sends it down: itself added to the path, the times and the count.
fn passed_on(answer: UpstreamReply, keep_alive: bool) -> Box<Reply> {
    let mut reply = answer.reply;
    reply.add_leg(&answer.leg);
    reply.hops = Some(reply.hops.unwrap_or(0) + 1);
    add_to_list(&mut reply.via, VIA);
    // Whoever passes on a reply without a date adds it (RFC 9110, 6.6.1).
    reply.date = reply.date.take().or_else(|| http_date(SystemTime::now()));
    reply.keep_alive = keep_alive;
    reply
}

/// True if an address to come is this very listener.
fn is_own(hop: &HostPort, listener: SocketAddr, local: Option<SocketAddr>) -> bool {
    let Host::Ip(ip) = hop.host else { return false };
    let same = |own: SocketAddr| own.ip().to_canonical() == ip.to_canonical() && own.port() == hop.port;
    same(listener) || local.is_some_and(same)
}

fn down_peer(down: &Downstream) -> String {
    down.stream.peer_addr().map_or_else(|_| "client".to_owned(), |peer| peer.to_string())
}
