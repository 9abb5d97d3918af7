//! A check without a body: whether the file exists, its size, and the set-up time of each leg of the chain.

use tokio_util::sync::CancellationToken;

use super::job::FetchJob;
use super::request::{all_legs, request, send_request};
use crate::error::Error;
use crate::net::upstream::Upstream;
use crate::route::Protocol;
use crate::wire::{Leg, Method};

/// What a chain reports about a file without moving it.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The file's size.
    pub size: u64,
    /// The protocol of the first hop.
    pub protocol: Protocol,
    /// The validator, if the origin offers one.
    pub etag: Option<String>,
    /// The file's modification time, as the origin reports it.
    pub last_modified: Option<String>,
    /// Set-up time of each leg, the client's own first.
    pub legs: Vec<Leg>,
}

/// Sends a request through the chain and stops after the head; no body is requested.
///
/// # Errors
/// `Error::Hop` if a hop cannot be reached, rejects the request or does not have the file; `Error::Interrupted` if
/// `stop` was cancelled.
pub async fn check(upstream: &mut Upstream, job: &FetchJob, stop: &CancellationToken) -> Result<Checked, Error> {
    let result = send_request(upstream, job, request(job, Method::Head, None), &|_| (), stop).await;
    // A legacy hop waits for a go-ahead that will not come, so the connection can only be closed.
    upstream.close();
    let response = result?;
    Ok(Checked {
        size: response.reply.size().unwrap_or_default(),
        protocol: response.protocol,
        etag: response.reply.etag.clone(),
        last_modified: response.reply.last_modified.clone(),
        legs: all_legs(&response),
    })
}
