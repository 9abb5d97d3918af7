//! Verification of a received file: its digest against the expected one, or the one that the origin offers.

use tokio_util::sync::CancellationToken;

use super::job::FetchJob;
use super::request::{request, send_request_tracked};
use super::tracker::Tracker;
use crate::error::{Error, KeptBytes};
use crate::net::upstream::{Upstream, UpstreamReply};
use crate::options::VerifyMode;
use crate::route::Protocol;
use crate::snapshot::Integrity;
use crate::wire::{Digest, FailedAction, Method, Reason};

/// Compares the digest of the received bytes; requests the origin's digest if the reply did not include it. Returns the
/// origin's digest too, if there is one.
pub(super) async fn verify(
    upstream: &mut Upstream,
    job: &FetchJob,
    response: &UpstreamReply,
    arrived: Option<Digest>,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<(Integrity, Option<Digest>), Error> {
    let Some(arrived) = arrived else {
        return Ok((Integrity::SizeChecked { digest: String::new(), reason: "--no-verify was given".into() }, None));
    };
    let offered = response.reply.digest(arrived.algorithm);
    if let VerifyMode::Expect(expected) = job.verify {
        return Ok((compare(job, arrived, expected, "--expect")?, offered));
    }
    if let Some(offered) = offered {
        return Ok((compare(job, arrived, offered, "the origin")?, Some(offered)));
    }
    let size_checked =
        |reason: &str| Ok((Integrity::SizeChecked { digest: arrived.to_string(), reason: reason.into() }, None));
    // A weak validator does not guarantee the same bytes, so no digest can be tied to it.
    let etag = response.reply.etag.clone().filter(|etag| !etag.starts_with("W/"));
    let Some(etag) = etag.filter(|_| response.protocol == Protocol::Http) else {
        return size_checked("the origin offers no digest");
    };
    let mut head = request(job, Method::Head, Some(arrived.algorithm));
    head.if_match = Some(etag);
    let mut replied = send_request_tracked(upstream, job, head.clone(), tracker, stop).await;
    if matches!(&replied, Err(Error::Hop(fault)) if is_inconclusive(fault.problem.reason, fault.problem.action)) {
        // Bytes injected into the body push its own last bytes into this reply. Repeating the request over new
        // connections distinguishes that from a server that does not support it.
        upstream.close();
        head.transfer = Some(job.machine.transfer_id());
        replied = send_request_tracked(upstream, job, head, tracker, stop).await;
    }
    let integrity = match replied {
        Ok(response) => match response.reply.digest(arrived.algorithm) {
            // The file has grown and its first bytes differ: no hop altered it.
            Some(offered) if offered != arrived && response.reply.grown.is_some() => {
                Err(Error::Changed { file: job.route.file.shown(), kept: KeptBytes::default() })
            }
            Some(offered) => compare(job, arrived, offered, "the origin").map(|integrity| (integrity, Some(offered))),
            None => size_checked("the origin offers no digest"),
        },
        Err(Error::Hop(fault)) => match fault.problem.reason {
            // Our own origin detects changes itself, and its ETag is the file's. For any other origin only the status
            // is known.
            Reason::Changed if fault.problem.action == FailedAction::Reply => {
                let first = (response.reply.etag.as_deref(), response.reply.size());
                match verify_unstable_etag(upstream, job, first, arrived, tracker, stop).await? {
                    Some(integrity) => Ok((integrity, None)),
                    None => Err(changed(job)),
                }
            }
            Reason::Changed => Err(changed(job)),
            reason if is_inconclusive(reason, fault.problem.action) => {
                size_checked("the origin gave no usable reply about its digest")
            }
            _ => Err(Error::Hop(fault)),
        },
        Err(error) => Err(error),
    };
    upstream.finish();
    integrity
}

/// Limit on requests that test whether a validator is stable: with two servers behind one name that alternate, the
/// second request is enough; with two picked at random, one fetch in eight is still reported as changed.
const MAX_STABILITY_REQUESTS: usize = 3;

/// Handles a refused `If-Match` where the validator differs from one request to the next, as with several servers
/// behind one name: only the size is verified then. `None` if the file may have changed: the validator is another one,
/// and stable.
async fn verify_unstable_etag(
    upstream: &mut Upstream,
    job: &FetchJob,
    (etag, size): (Option<&str>, Option<u64>),
    arrived: Digest,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Option<Integrity>, Error> {
    let mut before = None;
    for _ in 0..MAX_STABILITY_REQUESTS {
        let head = request(job, Method::Head, Some(arrived.algorithm));
        let now = match send_request_tracked(upstream, job, head, tracker, stop).await {
            Ok(response) => response.reply,
            Err(error @ Error::Interrupted { .. }) => return Err(error),
            Err(_) => return Ok(None),
        };
        upstream.finish();
        if now.size() != size || now.etag.is_none() {
            return Ok(None);
        }
        if let Some(offered) = now.digest(arrived.algorithm) {
            let same = offered == arrived;
            return Ok(same.then(|| Integrity::Verified { digest: arrived.to_string() }));
        }
        if now.etag.as_deref() == etag || (before.is_some() && before != now.etag) {
            let reason = "the origin's ETag differs from one request to the next".into();
            return Ok(Some(Integrity::SizeChecked { digest: arrived.to_string(), reason }));
        }
        before = now.etag;
    }
    Ok(None)
}

fn changed(job: &FetchJob) -> Error {
    Error::Changed { file: job.route.file.shown(), kept: KeptBytes::default() }
}

/// Returns true for a failed digest request that proves nothing about the file.
pub(super) fn is_inconclusive(reason: Reason, action: FailedAction) -> bool {
    match reason {
        // The origin had the file a moment ago: it does not support the request, or hides the reply.
        Reason::NotFound | Reason::Malformed => true,
        // An uninformative reply of a plain server: some have no HEAD, or send no length with it.
        Reason::BadResponse | Reason::Internal | Reason::Policy | Reason::Unauthorized | Reason::Busy => {
            action == FailedAction::Reply
        }
        _ => false,
    }
}

fn compare(
    job: &FetchJob,
    arrived: Digest,
    expected: Digest,
    source_of_truth: &'static str,
) -> Result<Integrity, Error> {
    // No secret is compared, so constant time is not needed.
    if arrived == expected {
        return Ok(Integrity::Verified { digest: arrived.to_string() });
    }
    Err(Error::Altered {
        file: job.route.file.shown(),
        arrived: arrived.to_string(),
        expected: expected.to_string(),
        source_of_truth,
        kept: KeptBytes::default(),
    })
}
