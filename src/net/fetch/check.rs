//! The question alone: is the file there, how large is it, and what does each leg of the chain take to say so.

use tokio_util::sync::CancellationToken;

use super::job::FetchJob;
use super::request::{all_legs, ask, request};
use crate::error::Error;
use crate::net::upstream::Upstream;
use crate::route::Protocol;
use crate::wire::{Leg, Method};

/// What a chain says of a file without moving it.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The file's size.
    pub size: u64,
    /// The wire that the first hop speaks.
    pub protocol: Protocol,
    /// The validator, if the origin offers one.
    pub etag: Option<String>,
    /// When the file was last changed, as the origin says it.
    pub last_modified: Option<String>,
    /// What each leg's set-up took, the client's own first.
    pub legs: Vec<Leg>,
}

/// Walks the chain up to the size answer; no body is asked for.
///
/// # Errors
/// `Error::Hop` if a hop cannot be reached, rejects the request or does not have the file; `Error::Interrupted` if
/// `stop` was cancelled.
pub async fn check(upstream: &mut Upstream, job: &FetchJob, stop: &CancellationToken) -> Result<Checked, Error> {
    let result = ask(upstream, job, request(job, Method::Head, None), stop).await;
    // A seed hop waits for a go-ahead that will not come, so that link can only be closed.
    upstream.close();
    let answer = result?;
    Ok(Checked {
        size: answer.reply.size().unwrap_or_default(),
        protocol: answer.protocol,
        etag: answer.reply.etag.clone(),
        last_modified: answer.reply.last_modified.clone(),
        legs: all_legs(&answer),
    })
}
