//! Whether what arrived is the file: its digest beside the one that was demanded, or the one that the origin offers.

use tokio_util::sync::CancellationToken;

use super::job::FetchJob;
use super::request::{ask, request};
use crate::error::{Error, KeptBytes};
use crate::net::upstream::{Upstream, UpstreamReply};
use crate::options::VerifyMode;
use crate::route::Protocol;
use crate::snapshot::Integrity;
use crate::wire::{Digest, FailedAction, Method, Reason};

/// Compares the digest of what arrived; asks the origin for its own where the reply did not bring it. The origin's
/// digest comes with the proof, where it gave one.
pub(super) async fn prove(
    upstream: &mut Upstream,
    job: &FetchJob,
    answer: &UpstreamReply,
    arrived: Option<Digest>,
    stop: &CancellationToken,
) -> Result<(Integrity, Option<Digest>), Error> {
    let Some(arrived) = arrived else {
        return Ok((Integrity::SizeChecked { digest: String::new(), reason: "--no-verify was given".into() }, None));
    };
    let told = answer.reply.digest(arrived.algorithm);
    if let VerifyMode::Expect(expected) = job.verify {
        return Ok((compare(job, arrived, expected, "--expect")?, told));
    }
    if let Some(told) = told {
        return Ok((compare(job, arrived, told, "the origin")?, Some(told)));
    }
    let size_checked =
        |reason: &str| Ok((Integrity::SizeChecked { digest: arrived.to_string(), reason: reason.into() }, None));
    // A weak validator does not promise the same bytes, so no digest can be tied to it.
    let etag = answer.reply.etag.clone().filter(|etag| !etag.starts_with("W/"));
    let Some(etag) = etag.filter(|_| answer.protocol == Protocol::Http) else {
        return size_checked("the origin offers no digest");
    };
    let mut question = request(job, Method::Head, Some(arrived.algorithm));
    question.if_match = Some(etag);
    let mut answered = ask(upstream, job, question.clone(), stop).await;
    if matches!(&answered, Err(Error::Hop(fault)) if says_nothing(fault.problem.reason, fault.problem.action)) {
        // Bytes that got into the body push its own last ones into this answer. Over connections of its own, the same
        // question tells that from a server which does not know it.
        upstream.close();
        question.transfer = Some(job.machine.transfer_id());
        answered = ask(upstream, job, question, stop).await;
    }
    let integrity = match answered {
        Ok(answer) => match answer.reply.digest(arrived.algorithm) {
            // It is longer now, and its first bytes are others: nobody on the way has to be suspected.
            Some(told) if told != arrived && answer.reply.grown.is_some() => {
                Err(Error::Changed { file: job.route.file.shown(), kept: KeptBytes::default() })
            }
            Some(told) => compare(job, arrived, told, "the origin").map(|integrity| (integrity, Some(told))),
            None => size_checked("the origin offers no digest"),
        },
        Err(Error::Hop(fault)) => match fault.problem.reason {
            // An origin of ours says so itself, and its ETag is the file's. Of any other only the status is known.
            Reason::Changed if fault.problem.action == FailedAction::Reply => {
                let first = (answer.reply.etag.as_deref(), answer.reply.size());
                match unsteady(upstream, job, first, arrived, stop).await? {
                    Some(integrity) => Ok((integrity, None)),
                    None => Err(changed(job)),
                }
            }
            Reason::Changed => Err(changed(job)),
            reason if says_nothing(reason, fault.problem.action) => {
                size_checked("the origin does not answer for its digest")
            }
            _ => Err(Error::Hop(fault)),
        },
        Err(error) => Err(error),
    };
    upstream.finish();
    integrity
}

/// Most questions that find out whether a validator means anything: of two servers behind one name that take turns, the
/// second is enough, and of two that are drawn by lot, one in eight fetches is still taken for a change.
const LOOKS: usize = 3;

/// What a refused `If-Match` proves where the validator differs from one request to the next, as it does for several
/// servers behind one name: no more than the length. `None` where the file may have changed: the validator is another
/// one, and stays.
async fn unsteady(
    upstream: &mut Upstream,
    job: &FetchJob,
    (etag, size): (Option<&str>, Option<u64>),
    arrived: Digest,
    stop: &CancellationToken,
) -> Result<Option<Integrity>, Error> {
    let mut before = None;
    for _ in 0..LOOKS {
        let now = match ask(upstream, job, request(job, Method::Head, Some(arrived.algorithm)), stop).await {
            Ok(answer) => answer.reply,
            Err(error @ Error::Interrupted { .. }) => return Err(error),
            Err(_) => return Ok(None),
        };
        upstream.finish();
        if now.size() != size || now.etag.is_none() {
            return Ok(None);
        }
        if let Some(told) = now.digest(arrived.algorithm) {
            let same = told == arrived;
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

/// True for an answer to the question for proof that tells nothing of the file.
pub(super) fn says_nothing(reason: Reason, action: FailedAction) -> bool {
    match reason {
        // It had the file a moment ago: it does not know the question, or hides the answer.
        Reason::NotFound | Reason::Malformed => true,
        // A plain server's answer that says nothing: some have no HEAD, or give no length with it.
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
    // No secret is compared here, so time does not matter.
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
