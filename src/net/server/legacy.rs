//! A session in the legacy protocol: the original's dialogue, made to work beside it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::downstream::Downstream;
use super::file_body::{FileBody, SentBytes};
use super::origin;
use super::relay;
use super::response::{admit, hold_back, record_faults, refuse_on_purpose, send_body};
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

/// How long a request that parses may still grow, where line 2 is this listener.
const GAP: Duration = Duration::from_millis(20);
/// The same where it is not: a mapped port looks just like a number that was cut.
const MAPPED_GAP: Duration = Duration::from_millis(200);

/// How a question to the next hop ended.
enum LegacyReply {
    /// The size to announce.
    Size(u64),
    /// What to say instead.
    Problem(Problem),
    /// More of the request came: it was not whole.
    Grew,
    /// The client left.
    Gone,
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
        let Ok(Some(legacy)) = deadline.bound(read_request(node, &mut down, conn.peer())).await else { return };
        head.take();
        // Which protocol this is, whoever asks may know, as that this node lives.
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
                &Problem::here(Reason::Policy, FailedAction::Request, node.called(&request), why),
            )
            .await;
        }
        if let Err(problem) = refuse_on_purpose(node, &request) {
            return refuse(down, &job, &problem).await;
        }
        match advance(std::mem::take(&mut request.route)) {
            Role::Origin => return serve(node, down, &job, &request).await,
            Role::Relay { next, rest } => {
                request.route = rest;
                let mut upstream = node.upstream();
                match ask(node, &mut down, &job, Box::new(request), &next, &mut upstream).await {
                    LegacyReply::Grew => {}
                    LegacyReply::Gone => return,
                    LegacyReply::Problem(problem) => return refuse(down, &job, &problem).await,
                    LegacyReply::Size(size) => return pass_on(node, down, &job, &mut upstream, size).await,
                }
            }
        }
    }
}

/// Reads until the request parses and nothing more comes for a moment: the wire has no end mark.
async fn read_request(node: &Node, down: &mut Downstream, peer: SocketAddr) -> Option<LegacyRequest> {
    loop {
        let read = match parse_request(&down.inbox) {
            ParsedRequest::Invalid(why) => {
                tracing::info!("{peer}: what came is no request: {why}");
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
    job.update(|account| account.role = ConnRole::Origin);
    let opened = if node.drain().is_draining() {
        Err(Problem::here(Reason::Draining, FailedAction::Request, node.called(request), ""))
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
                sent.look(node, job.peer());
            }
        }
        // The original client spins for ever on an early end of stream, and stops on a reset.
        Err(_) => down.abort(),
    }
}

async fn pass_on(
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

/// Sends the size and waits for the go-ahead, of which the first byte is enough; false if it does not come.
async fn announce(node: &Node, down: &mut Downstream, job: &FileRequestGuard<'_>, size: u64) -> bool {
    job.update(|account| {
        account.status = 200;
        account.size = Some(size);
    });
    hold_back(node, job).await;
    job.answers();
    down.inbox.clear();
    if down.write(size.to_string().as_bytes()).await.is_err() {
        return false;
    }
    job.set_state(ConnState::Waiting);
    let told = within(node.config.limits.idle, down.fill()).await;
    if !matches!(told, Ok(Ok(read)) if read > 0) {
        let problem = Problem::here(Reason::Closed, FailedAction::Body, job.peer(), "no go-ahead came");
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
        return LegacyReply::Problem(Problem::here(Reason::Draining, FailedAction::Request, node.called(&request), ""));
    }
    let told = |stage| relay::follow(job, stage);
    tokio::select! {
        biased;
        asked = relay::ask(node, node.met_at(&down.stream), job, request, next, upstream, &told) => {
            match asked.map(|answer| answer.reply.length) {
                Ok(Some(size)) => LegacyReply::Size(size),
                Ok(None) => LegacyReply::Problem(Problem::next(Reason::BadResponse, FailedAction::Reply, &next.address, "", 0.0)),
                Err(problem) => LegacyReply::Problem(problem),
            }
        }
        read = down.fill() => match read {
            Ok(read) if read > 0 => LegacyReply::Grew,
            _ => LegacyReply::Gone,
        },
    }
}

async fn refuse(mut down: Downstream, job: &FileRequestGuard<'_>, problem: &Problem) {
    job.failed(problem);
    job.update(|account| account.status = problem.status());
    if down.write(&encode_problem(problem)).await.is_ok() {
        down.close().await;
    }
}

async fn linger(down: Downstream, job: &FileRequestGuard<'_>) {
    job.set_state(ConnState::Lingering);
    down.close_after_peer().await;
}
