//! Log line of a finished request: client, file, next hop and outcome.

use std::net::SocketAddr;

use tracing::Level;

use super::conn::{FileRequest, lock};
use crate::snapshot::{ConnRole, Flow};
use crate::wire::Method;

/// Logs the end of the request at debug level; disabled, it costs a comparison.
pub(super) fn log(job: &FileRequest, peer: SocketAddr, flow: &Flow, now_us: u64) {
    if !tracing::enabled!(Level::DEBUG) {
        return;
    }
    let record = lock(&job.record);
    let method = match job.method {
        Method::Get => "GET",
        Method::Head => "HEAD",
    };
    let next = match record.role {
        ConnRole::Relay => lock(&job.next).shown().0.to_string(),
        ConnRole::Origin => "origin".to_owned(),
        ConnRole::Unknown => "-".to_owned(),
    };
    let ended = match (record.body_error, &record.error) {
        (Some(body_error), Some(error)) => format!("{}: {error}", body_error.words()),
        (Some(body_error), None) => body_error.words().to_owned(),
        (None, Some(error)) => error.to_string(),
        (None, None) => "complete".to_owned(),
    };
    // The name without its query, which may contain a secret, and in quotes, so that a name cannot pretend to be a
    // field.
    tracing::debug!(
        "request peer={} protocol={} method={} name={:?} next={next} status={} bytes={} seconds={:.3} \
         transfer={} ended={ended:?}",
        peer,
        job.protocol.as_str(),
        method,
        record.name.as_str(),
        record.status,
        flow.bytes_out,
        job.since_ms(now_us) / 1000.0,
        job.id,
    );
}
