//! Whether another route leads to the same file: the same origin and strong validator, or equal size and BLAKE3.

use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::net::fetch::job::FetchJob;
use crate::net::fetch::request::{request, send_request};
use crate::net::fetch::resume_state::{ResumeSource, file_of};
use crate::net::upstream::{Upstream, UpstreamReply};
use crate::wire::{Algorithm, Digest, Method};

/// The file that another route has to lead to.
#[derive(Clone, Debug)]
pub(super) struct FirstRoute {
    pub(super) job: FetchJob,
    pub(super) source: ResumeSource,
    /// Its digest, if the first reply had it.
    pub(super) digest: Option<Digest>,
}

/// Result of the check of another route.
pub(super) enum Checked {
    /// It leads to the same file.
    Same(ResumeSource, Box<UpstreamReply>),
    /// It does not, or cannot be used for parts of it; the reason.
    Other(&'static str),
}

/// Checks another route; `upstream` keeps its connection.
///
/// # Errors
/// `Error::Hop` if a hop of it fails.
pub(super) async fn check(
    upstream: &mut Upstream,
    job: &FetchJob,
    first: &FirstRoute,
    stop: &CancellationToken,
) -> Result<Checked, Error> {
    let response = head(upstream, job, None, stop).await?;
    let source = match ResumeSource::of(&job.route, &response) {
        Ok(source) => source,
        Err(why) => return Ok(Checked::Other(why)),
    };
    if source.size != first.source.size {
        return Ok(Checked::Other("its file has another size"));
    }
    let is_same_origin = source.file == file_of(&first.job.route);
    if is_same_origin && source.validator == first.source.validator {
        return Ok(Checked::Same(source, Box::new(response)));
    }
    // Two digests of different moments still prove equal bytes: each belongs to the version that its validator names.
    let Some(theirs) = digest(upstream, job, &source, stop).await? else {
        return Ok(Checked::Other("its origin offers no digest to compare"));
    };
    let ours = if first.digest.is_some() {
        first.digest
    } else {
        digest(&mut upstream.another(), &first.job, &first.source, stop).await?
    };
    Ok(match ours {
        Some(ours) if ours == theirs => Checked::Same(source, Box::new(response)),
        Some(_) => Checked::Other("its file has other content"),
        None => Checked::Other("the first route's origin offers no digest to compare"),
    })
}

/// Requests the BLAKE3 of the version that a validator names; `None` if the origin offers none.
async fn digest(
    upstream: &mut Upstream,
    job: &FetchJob,
    source: &ResumeSource,
    stop: &CancellationToken,
) -> Result<Option<Digest>, Error> {
    let Some(etag) = source.validator.etag() else { return Ok(None) };
    let response = head(upstream, job, Some(etag), stop).await?;
    Ok(response.reply.digest(Algorithm::Blake3))
}

async fn head(
    upstream: &mut Upstream,
    job: &FetchJob,
    etag: Option<&str>,
    stop: &CancellationToken,
) -> Result<UpstreamReply, Error> {
    let mut head = request(job, Method::Head, etag.map(|_| Algorithm::Blake3));
    head.transfer = Some(job.machine.transfer_id());
    head.if_match = etag.map(str::to_owned);
    let response = send_request(upstream, job, head, &|_| {}, stop).await?;
    upstream.finish();
    Ok(response)
}
