//! Parts of a response that relay and origin share, over either protocol: admission, faults, sending a body.

use super::downstream::{AfterRequest, Downstream};
use super::latency;
use crate::limits::MINIMUM_RATE;
use crate::meter::WaitKind;
use crate::net::access::{Caller, Denied, KeyTransfer, KeyUsage};
use crate::net::body::options::{CopyError, CopyOptions, EarlyInput};
use crate::net::body::reader::STEP;
use crate::net::body::{self, Source};
use crate::net::node::Node;
use crate::net::node::registry::{Closing, ConnGuard, FileRequestGuard};
use crate::route::{HostPort, Protocol};
use crate::snapshot::{BodyError, ConnState};
use crate::units::HumanDuration;
use crate::wire::{FailedAction, Method, Problem, Reason, Request};

/// Checks once for each connection that the user at the other end may be served.
///
/// # Errors
/// A sentence for the client if another user owns the connection, see [`Node::admits`].
pub fn admit(node: &Node, down: &mut Downstream, conn: &ConnGuard) -> Result<(), String> {
    if !down.admitted {
        node.admits(&down.stream, conn.peer())?;
        down.admitted = true;
    }
    Ok(())
}

/// Checks whether a caller may have a file of this node, or be relayed to another.
///
/// # Errors
/// [`Denied`] without the right.
pub fn permits(caller: &Caller, request: &Request) -> Result<(), Box<Denied>> {
    if request.route.is_empty() { caller.may_fetch(&request.name) } else { caller.may_relay() }
}

/// Begins a transfer of the caller's key, unless the request is for a head, which moves nothing.
///
/// # Errors
/// [`Denied`] beyond a limit of the key.
pub async fn begin_transfer(caller: &Caller, request: &Request) -> Result<Option<KeyTransfer>, Box<Denied>> {
    if request.method == Method::Head { Ok(None) } else { caller.begin_transfer().await }
}

/// Records the key of the caller and the rate that limits it.
pub fn record_key(down: &Downstream, job: &FileRequestGuard<'_>) {
    if let Some(key) = down.caller.name() {
        job.signed_by(key);
    }
    if let Some(rate) = down.caller.usage().and_then(KeyUsage::rate) {
        job.update(|record| record.key_rate = Some(rate));
    }
}

/// Logs a request that was refused before it was counted.
pub fn log_refused(conn: &ConnGuard, problem: &Problem) {
    if tracing::enabled!(tracing::Level::DEBUG) {
        let (peer, status) = (conn.peer(), problem.status());
        tracing::debug!("refused peer={peer} status={status} ended={:?}", problem.to_string());
    }
}

/// Records the active faults, so that the record of a request shows them too.
pub fn record_faults(node: &Node, job: &FileRequestGuard<'_>) {
    if node.faults.any() {
        job.update(|record| record.faults = Some(Box::new(node.faults.now())));
    }
}

/// Rejects a request if the fault `reject` is on; the client addressed this node by a name, or did not.
///
/// # Errors
/// `Reason::Fault` if the fault `reject` is on.
pub fn inject_rejection(node: &Node, named: Option<&HostPort>) -> Result<(), Problem> {
    if !node.faults.any() || !node.faults.now().reject {
        return Ok(());
    }
    let detail = "the fault \"reject\" is on at this node";
    Err(Problem::here(Reason::Fault, FailedAction::Request, node.address_or(named), detail))
}

/// Delays a reply by the injected delay; that time is evidence.
pub async fn delay_reply(node: &Node, job: &FileRequestGuard<'_>) {
    if !node.faults.any() {
        return;
    }
    let (meter, clock) = (&job.job().meter, node.registry.clock());
    job.set_state(ConnState::Delayed);
    meter.wait(WaitKind::Reply, clock.now_us());
    node.faults.delay_reply().await;
    meter.resume(|| clock.now_us());
}

/// Records why a request failed, and sends that instead of a reply.
pub async fn send_failure(
    down: &mut Downstream,
    job: &FileRequestGuard<'_>,
    failed: &Problem,
    method: Method,
    keep: bool,
) -> AfterRequest {
    job.failed(failed);
    job.update(|record| record.status = failed.status());
    down.send_problem(failed, method, keep).await
}

/// Sends the announced head of a reply without a body.
pub async fn send_head(down: &mut Downstream, job: &FileRequestGuard<'_>, keep: bool) -> AfterRequest {
    match down.send_head().await {
        Ok(()) => {
            job.served();
            AfterRequest::kept_if(keep)
        }
        Err(_) => AfterRequest::Drop,
    }
}

/// Sends a body, after its head if that is still to be sent, and records how it ended.
///
/// # Errors
/// The problem that ended the body, of the hop upstream or of the client downstream; it is recorded in the job.
pub async fn send_body<S: Source>(
    node: &Node,
    down: &mut Downstream,
    job: &FileRequestGuard<'_>,
    source: &mut S,
    length: u64,
) -> Result<(), Problem> {
    let limits = node.config.limits;
    let clock = node.registry.clock();
    job.set_state(ConnState::Streaming);
    down.release_buffer();
    let meter = &job.job().meter;
    let _watched = job.job().watch(down.stream.held(), source.socket(), length);
    meter.begin(clock.now_us());
    let pace = CopyOptions {
        meter,
        clock,
        faults: &node.faults,
        key: down.caller.usage(),
        idle: limits.idle,
        stall: limits.stall,
        step: STEP,
        fixed: limits.sockbuf.is_some(),
        // In the legacy protocol the peer closes first.
        last: down.last_request && job.job().protocol() == Protocol::Http,
    };
    let early = match job.job().protocol() {
        Protocol::Http => EarlyInput::Keep(&mut down.inbox),
        Protocol::Legacy => EarlyInput::Discard,
    };
    let head = std::mem::take(&mut down.head);
    let sent = tokio::select! {
        biased;
        sent = body::send(head, source, &mut down.stream, length, pace, early, &node.pipes) => sent.map_err(|error| {
            let reason = match &error {
                CopyError::Short { .. } | CopyError::Source(_) => Reason::Short,
                CopyError::Idle(_) | CopyError::Stalled(_) => Reason::TimedOut,
                CopyError::ReaderClosed | CopyError::ReaderReset => Reason::Closed,
                CopyError::DailyLimit(_) => Reason::DailyLimit,
                CopyError::Truncated(_) | CopyError::StalledByFault(_) => Reason::Fault,
            };
            (reason, error.body_error(), error.to_string())
        }),
        closing = job.closing() => Err(closed(node, closing)),
    };
    meter.end(clock.now_us());
    if sent.is_ok() {
        latency::after_body(&limits, job, down.last_request);
    }
    record_faults(node, job);
    match sent {
        Ok(()) => {
            job.served();
            Ok(())
        }
        Err(failure) => Err(record_failure(node, job, failure)),
    }
}

/// How a body or a tunnel failed: the reason for the client, the one for the record, and the details.
pub type BodyFailed = (Reason, BodyError, String);

/// Returns why a body or a tunnel was ended by another task.
pub fn closed(node: &Node, closing: Closing) -> BodyFailed {
    match closing {
        Closing::TooSlow => (
            Reason::TooSlow,
            BodyError::TooSlow,
            format!(
                "less than {MINIMUM_RATE} bytes/s over {} while connections were short",
                HumanDuration(node.config.limits.minimum_rate_over)
            ),
        ),
        Closing::Requested | Closing::Displaced if node.drain().is_forced() => {
            (Reason::Draining, BodyError::Stopped, "the body was cut off".to_owned())
        }
        Closing::Requested | Closing::Displaced => {
            (Reason::Closed, BodyError::Stopped, "closed by a control request".to_owned())
        }
    }
}

/// Records and logs how a body or a tunnel failed.
pub fn record_failure(node: &Node, job: &FileRequestGuard<'_>, failed: BodyFailed) -> Problem {
    let (reason, body_error, detail) = failed;
    let problem = Problem::here(reason, FailedAction::Body, node.address, detail);
    job.failed(&problem);
    job.update(|record| record.body_error = Some(body_error));
    if reason == Reason::Closed {
        // The client or an operator ended the transfer; this is not a failure.
        tracing::info!("{} for {}: {problem}", job.name(), job.peer());
    } else {
        tracing::warn!("{} for {}: {problem}", job.name(), job.peer());
    }
    problem
}
