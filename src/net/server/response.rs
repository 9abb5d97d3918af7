//! The parts of a response that relay and origin share, over either protocol: admission, faults, sending a body.

use super::downstream::Downstream;
use super::latency;
use crate::limits::MINIMUM_RATE;
use crate::meter::WaitKind;
use crate::net::body::options::{CopyError, CopyOptions, EarlyInput};
use crate::net::body::reader::STEP;
use crate::net::body::{self, Source};
use crate::net::node::Node;
use crate::net::node::registry::{Closing, ConnGuard, FileRequestGuard};
use crate::route::Protocol;
use crate::snapshot::{BodyError, ConnState};
use crate::units::HumanDuration;
use crate::wire::{FailedAction, Problem, Reason, Request};

/// Whether the user at the other end may be served: the kernel is asked once for each connection.
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

/// Writes down what is turned, so that the account of a request says it too.
pub fn record_faults(node: &Node, job: &FileRequestGuard<'_>) {
    if node.faults.any() {
        job.update(|account| account.faults = node.faults.now());
    }
}

/// Refuses a file where a person wants it so.
///
/// # Errors
/// `Reason::Fault` if the fault `reject` is on.
pub fn refuse_on_purpose(node: &Node, request: &Request) -> Result<(), Problem> {
    if !node.faults.any() || !node.faults.now().reject {
        return Ok(());
    }
    let detail = "a person turned the fault \"reject\" on at this node";
    Err(Problem::here(Reason::Fault, FailedAction::Request, node.called(request), detail))
}

/// Holds a reply back for as long as the node is told to; that time is evidence.
pub async fn hold_back(node: &Node, job: &FileRequestGuard<'_>) {
    if !node.faults.any() {
        return;
    }
    let (meter, clock) = (&job.job().meter, node.registry.clock());
    job.set_state(ConnState::Delayed);
    meter.wait(WaitKind::Reply, clock.now_us());
    node.faults.hold_back().await;
    meter.resume(|| clock.now_us());
}

/// Sends a body, behind the head that announces it if that is still to go, and books how that ended.
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
    down.rest();
    let meter = &job.job().meter;
    let _watched = job.job().watch(down.stream.held(), source.socket(), length);
    meter.begin(clock.now_us());
    let fixed = limits.sockbuf.is_some();
    let pace =
        CopyOptions { meter, clock, faults: &node.faults, idle: limits.idle, stall: limits.stall, step: STEP, fixed };
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
                CopyError::Gone => Reason::Closed,
                CopyError::Truncated(_) | CopyError::Held(_) => Reason::Fault,
            };
            (reason, error.body_error(), error.to_string())
        }),
        closing = job.closing() => Err(match closing {
            Closing::TooSlow => (
                Reason::TooSlow,
                BodyError::TooSlow,
                format!(
                    "less than {MINIMUM_RATE} bytes/s over {} while connections were short",
                    HumanDuration(node.config.limits.minimum_rate_over)
                ),
            ),
            Closing::Told | Closing::MakesWay if node.drain().is_forced() => {
                (Reason::Draining, BodyError::Stopped, "the body was cut off".to_owned())
            }
            Closing::Told | Closing::MakesWay => (Reason::Closed, BodyError::Stopped, "closed here by control".to_owned()),
        }),
    };
    meter.end(clock.now_us());
    if sent.is_ok() {
        latency::after_body(&limits, job, down.asked_last);
    }
    record_faults(node, job);
    match sent {
        Ok(()) => {
            job.served();
            Ok(())
        }
        Err((reason, body_error, detail)) => {
            let problem = Problem::here(reason, FailedAction::Body, node.address, detail);
            job.failed(&problem);
            job.update(|account| account.body_error = Some(body_error));
            if body_error == BodyError::ReaderLeft {
                // Somebody's right, such as a person who cancels a transfer, and no fault.
                tracing::info!("{} for {}: {problem}", job.name(), job.peer());
            } else {
                tracing::warn!("{} for {}: {problem}", job.name(), job.peer());
            }
            Err(problem)
        }
    }
}
