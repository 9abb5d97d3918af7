//! Tunnels: relays one to the next hop, or ends it here.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::SystemTime;

use super::downstream::{AfterRequest, Downstream};
use super::relay::{allow_name, begin_setup, is_own, log_unreachable, relayed, track_stage};
use super::response::{
    BodyFailed, admit, closed, delay_reply, inject_rejection, log_refused, record_failure, record_faults, record_key,
    send_failure,
};
use crate::allow_list::Purpose;
use crate::net::access::{Caller, Denied, KeyUsage};
use crate::net::body::options::{CopyError, CopyOptions};
use crate::net::body::reader::STEP;
use crate::net::body::sockbuf::has_low_rtt;
use crate::net::body::tunnel::{self, Toward, TunnelEnd, TunnelError, TunnelLimits};
use crate::net::node::registry::{ConnGuard, FileRequestGuard};
use crate::net::node::{Node, VIA};
use crate::net::os::clock::http_date;
use crate::net::upstream::{OpenTunnel, Upstream};
use crate::route::{Hop, Role};
use crate::snapshot::ConnState;
use crate::wire::http::encode_working;
use crate::wire::{FailedAction, Method, Problem, Reason, Reply, TunnelRequest, add_to_list};

/// Serves a request for a tunnel to its end; if it ends at this node, what follows on the connection is inside.
pub(crate) async fn serve(
    node: &Arc<Node>,
    down: &mut Downstream,
    conn: &ConnGuard,
    mut request: Box<TunnelRequest>,
    caller: Result<Caller, Box<Denied>>,
    upstream: &mut Upstream,
) -> AfterRequest {
    // What follows the head is for the target, so that after a refusal the connection carries no other request.
    let keep = false;
    (down.http10, down.last_request) = (!request.interim, false);
    down.caller = caller.as_ref().ok().cloned().unwrap_or_default();
    let named = request.addressed().cloned();
    let problem =
        |reason, detail| Problem::here(reason, FailedAction::Request, node.address_or(named.as_ref()), detail);
    let refused = if node.draining() {
        Some((Reason::Draining, String::new()))
    } else {
        admit(node, down, conn).err().map(|why| (Reason::Policy, why))
    };
    let refused = match refused {
        Some((reason, detail)) => Some(problem(reason, detail)),
        None => caller.err().map(|denied| denied.problem(node.address_or(named.as_ref()))),
    };
    if let Some(refused) = refused {
        log_refused(conn, &refused);
        conn.audit_refused_tunnel(&request, down.caller.name(), &refused);
        return down.send_problem(&refused, Method::Get, keep).await;
    }
    let id = *request.transfer.get_or_insert_with(|| node.machine().transfer_id());
    // A file that comes no further for this long is given up on; a tunnel has nothing to carry.
    let job = conn.begin_tunnel(id, &request.target, node.config.limits.idle);
    record_key(down, &job);
    if request.ack && request.interim && down.write(&encode_working(None)).await.is_err() {
        return AfterRequest::Drop;
    }
    record_faults(node, &job);
    if let Err(problem) = inject_rejection(node, named.as_ref()) {
        return send_failure(down, &job, &problem, Method::Get, keep).await;
    }
    let local = node.local_addr_of(&down.stream);
    let proxied = request.proxied || down.proxied;
    match request.advance(|target| is_own(target, node.address, local)) {
        Role::Origin => {
            (down.relayed, down.proxied) = (down.relayed || request.via.is_some(), proxied);
            end_here(down, &job).await
        }
        Role::Relay { next, rest } => {
            // At the end of a tunnel nothing is done yet; what comes inside is checked by itself.
            let begun = match down.caller.may_tunnel() {
                Ok(()) => down.caller.begin_transfer().await,
                Err(denied) => Err(denied),
            };
            let _transfer = match begun {
                Ok(transfer) => transfer,
                Err(denied) => {
                    let denied = denied.problem(node.address_or(named.as_ref()));
                    return send_failure(down, &job, &denied, Method::Get, keep).await;
                }
            };
            let Some(_pending) = begin_setup(node, local, id, &next, &rest) else {
                return send_failure(down, &job, &problem(Reason::Loop, String::new()), Method::Get, keep).await;
            };
            request.signatures = request.signatures.and_then(|all| all.for_next(rest.len() + 1)).map(Box::new);
            request.route = Some(rest);
            upstream.set_caller(down.caller.clone());
            // As for a folder that is listed through this node; what is inside the tunnel is not seen here.
            request.proxied = !node.config.access.may_list(proxied);
            let caller = down.caller.clone();
            // A fault or a limit is to meet all bytes of the tunnel.
            let held = node.faults.disturb_bodies() || down.caller.usage().is_some_and(KeyUsage::limits_bodies);
            let following = if held { Vec::new() } else { down.inbox.clone() };
            let opened = tokio::select! {
                biased;
                opened = open(node, &job, (request, &following), &next, (upstream, &caller)) => opened,
                () = down.failed() => Err(problem(Reason::Closed, "the client disconnected".to_owned())),
            };
            match opened {
                Ok(opened) => {
                    if opened.followed {
                        down.inbox.drain(..following.len());
                        job.job().upstream_meter().into_iter().for_each(|meter| {
                            meter.record_read(following.len() as u64);
                            meter.record_write(following.len() as u64);
                        });
                    }
                    relay(node, down, &job, opened).await
                }
                Err(problem) => send_failure(down, &job, &problem, Method::Get, keep).await,
            }
        }
    }
}

/// Opens the end of a tunnel at this node.
async fn end_here(down: &mut Downstream, job: &FileRequestGuard<'_>) -> AfterRequest {
    let reply =
        Reply { date: http_date(SystemTime::now()), hops: Some(0), via: Some(VIA.to_owned()), ..Reply::default() };
    match send_opened(down, job, reply).await {
        Ok(()) => {
            job.ended_well();
            AfterRequest::Restart
        }
        Err(_) => AfterRequest::Drop,
    }
}

/// Requests the tunnel from the next hop, or connects to its target.
async fn open(
    node: &Arc<Node>,
    job: &FileRequestGuard<'_>,
    (mut request, following): (Box<TunnelRequest>, &[u8]),
    next: &Hop,
    (upstream, caller): (&Upstream, &Caller),
) -> Result<OpenTunnel, Problem> {
    job.set_state(ConnState::Connecting);
    job.set_upstream(&next.address);
    let is_target = request.route.as_ref().is_none_or(Vec::is_empty);
    allow_name(node, next, if is_target { Purpose::TunnelTarget } else { Purpose::files(None) })?;
    let setup = node.config.limits.setup;
    let limit = request.timeout.map_or(setup, |requested| requested.min(setup));
    add_to_list(&mut request.via, VIA);
    let on_stage = |stage| track_stage(job, stage);
    let is_plain = |address: SocketAddr| node.config.policy.is_target(address) && caller.connects(address);
    let opened = upstream.open_tunnel(next, (request, following), limit, &is_plain, &on_stage).await;
    let opened = opened.inspect_err(|problem| log_unreachable(next, job, problem))?;
    job.set_upstream_addr(opened.reply.address, opened.reply.protocol);
    job.update(|record| record.leg = Some(opened.reply.leg));
    Ok(opened)
}

/// Says that the tunnel is open, and moves both directions to their ends.
async fn relay(
    node: &Arc<Node>,
    down: &mut Downstream,
    job: &FileRequestGuard<'_>,
    opened: OpenTunnel,
) -> AfterRequest {
    let OpenTunnel { reply, socket, early, low_rtt, .. } = opened;
    // Where a tunnel ends, the replies inside are delayed.
    delay_reply(node, job).await;
    if let Err(error) = send_opened(down, job, *relayed(reply, true)).await {
        let problem = Problem::here(Reason::Closed, FailedAction::Request, job.peer(), error.to_string());
        job.failed(&problem);
        return AfterRequest::Drop;
    }
    let limits = node.config.limits;
    let meter = &job.job().meter;
    // A tunnel has counters for both directions.
    let Some(upstream_meter) = job.job().upstream_meter() else { return AfterRequest::Drop };
    job.set_state(ConnState::Streaming);
    let _watched = job.job().watch(down.stream.held(), Some(socket.held()), u64::MAX);
    let options = CopyOptions {
        meter,
        clock: node.registry.clock(),
        faults: &node.faults,
        key: down.caller.usage(),
        idle: limits.idle,
        stall: limits.stall,
        step: STEP,
        fixed: limits.sockbuf.is_some(),
        last: false,
    };
    let client = TunnelEnd {
        socket: down.stream.another(),
        early: std::mem::take(&mut down.inbox),
        // How long its connect took is known to the client only.
        low_rtt: has_low_rtt(job.peer().ip().to_canonical(), f64::INFINITY),
        meter: upstream_meter,
    };
    let next_hop = TunnelEnd { socket, early, low_rtt, meter };
    let silence = TunnelLimits { idle: limits.tunnel_idle, half_closed: limits.tunnel_half_closed };
    let mut moving = pin!(tunnel::run(client, next_hop, silence, options, &node.pipes));
    let ended = tokio::select! {
        biased;
        ended = &mut moving => Ok(ended),
        closing = job.closing() => Err(closed(node, closing)),
    };
    record_faults(node, job);
    match ended {
        Ok(ended) => {
            // Before the delivery of what was sent: a client that has failed asks for this record at once.
            match &ended.result {
                Ok(()) => job.ended_well(),
                Err(error) => drop(record_failure(node, job, failed(error))),
            }
            // The error is recorded.
            let _ = ended.close(limits.linger).await;
        }
        Err(failure) => drop(record_failure(node, job, failure)),
    }
    AfterRequest::Drop
}

/// Writes the reply that opens a tunnel.
async fn send_opened(down: &mut Downstream, job: &FileRequestGuard<'_>, reply: Reply) -> std::io::Result<()> {
    // The tunnel begins behind the head, so that this has neither length nor instructions for caches.
    let mut reply = Reply { status: 200, keep_alive: true, length: None, lines: "".into(), ..reply };
    job.update(|record| record.status = reply.status);
    job.record_head();
    down.announce(&mut reply);
    down.send_head().await?;
    job.served();
    Ok(())
}

/// Classifies the failure of a tunnel.
fn failed(error: &TunnelError) -> BodyFailed {
    let reason = match error {
        TunnelError::Direction(_, CopyError::Truncated(_) | CopyError::StalledByFault(_)) => Reason::Fault,
        TunnelError::Direction(_, CopyError::DailyLimit(_)) => Reason::DailyLimit,
        TunnelError::Direction(Toward::Client, CopyError::ReaderClosed | CopyError::ReaderReset)
        | TunnelError::Direction(Toward::NextHop, CopyError::Source(_)) => Reason::Closed,
        TunnelError::Direction(_, CopyError::Idle(_) | CopyError::Stalled(_))
        | TunnelError::Idle(_)
        | TunnelError::HalfClosed(_) => Reason::TimedOut,
        TunnelError::Direction(_, _) => Reason::Short,
    };
    (reason, error.body_error(), error.to_string())
}
