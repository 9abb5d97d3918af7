//! What is asked of the chain: the whole file, what is missing of it, or whether it is still the same.

use std::pin::pin;

use tokio_util::sync::CancellationToken;

use super::job::{FetchJob, blocking};
use super::partial::ResumeCandidate;
use super::resume_state::ResumeSource;
use super::tracker::Tracker;
use super::validator::Validator;
use crate::error::{Error, KeptBytes};
use crate::net::os::deadline::Deadline;
use crate::net::upstream::{Upstream, UpstreamReply};
use crate::wire::{Algorithm, ByteRange, FailedAction, Leg, Method, Problem, Reason, Request};

/// What an answer to a question about the rest of a file means.
pub(super) enum RangeReply {
    /// It stands: the same file's rest, the word that nothing is missing, or why there is no answer.
    Stands,
    /// The whole file follows, and why it is not the rest.
    Anew(&'static str),
    /// The file has to be asked for anew, and why.
    Unusable(&'static str),
    /// It is no answer to the question.
    Wrong,
}

/// Asks for what is missing of a file. Where it is not the same file any more, or its origin sends no parts, what there
/// is of it is dropped, which is said aloud.
pub(super) async fn ask_for_rest(
    upstream: &mut Upstream,
    job: &FetchJob,
    begun: &mut Option<ResumeCandidate>,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<UpstreamReply, Error> {
    let algorithm = job.verify.algorithm();
    let whole = request(job, Method::Get, algorithm);
    let Some(part) = begun.as_ref().filter(|begun| begun.offset > 0) else {
        return ask_on(upstream, job, whole, tracker, stop).await;
    };
    let (answer, why) = match &part.source {
        None => (None, tracker.unresumable()),
        Some(source) => {
            let answer = ask_on(upstream, job, question(job, part.offset, source), tracker, stop).await;
            match judge(part.offset, source, &answer) {
                RangeReply::Stands => return answer,
                RangeReply::Wrong => return Err(wrong_part(job)),
                RangeReply::Anew(why) => (Some(answer?), why),
                RangeReply::Unusable(why) => {
                    upstream.close();
                    (None, why)
                }
            }
        }
    };
    tracker.started_over(why);
    if let Some(part) = begun.take() {
        *begun = Some(blocking(job.machine, move || part.start_over(algorithm)).await?);
    }
    match answer {
        Some(answer) => Ok(answer),
        None => ask_on(upstream, job, whole, tracker, stop).await,
    }
}

/// The rest of the file, if it is still the same; where nothing is missing, whether it is.
pub(super) fn question(job: &FetchJob, offset: u64, source: &ResumeSource) -> Request {
    let validator = Some(source.validator.text().to_owned());
    if offset == source.size {
        // A date is compared when the answer is there.
        let if_match = validator.filter(|_| matches!(source.validator, Validator::Etag(_)));
        return Request { if_match, ..request(job, Method::Head, job.verify.algorithm()) };
    }
    let range = Some(ByteRange::From(offset));
    Request { range, if_range: validator, ..request(job, Method::Get, job.verify.algorithm()) }
}

pub(super) fn judge(offset: u64, source: &ResumeSource, answer: &Result<UpstreamReply, Error>) -> RangeReply {
    const ANOTHER: &str = "the file at the origin is another by now";
    let nothing_missing = offset == source.size;
    let reply = match answer {
        Ok(answer) => &answer.reply,
        Err(Error::Hop(fault)) => {
            return match fault.problem.reason {
                Reason::Changed | Reason::Range => RangeReply::Unusable(ANOTHER),
                // A plain server that does not know this question may know the usual one.
                Reason::BadResponse | Reason::Malformed | Reason::Internal
                    if nothing_missing && fault.problem.action == FailedAction::Reply =>
                {
                    RangeReply::Unusable("its origin does not say whether it is the same still")
                }
                _ => RangeReply::Stands,
            };
        }
        Err(_) => return RangeReply::Stands,
    };
    let same_size = reply.size() == Some(source.size);
    let same = same_size && source.validator.holds(reply);
    let another = if same_size { source.validator.differs(reply) } else { ANOTHER };
    match (reply.status, reply.content_range) {
        (206, Some((first, last, size))) if first != offset || last + 1 != size => RangeReply::Wrong,
        (206, _) if same => RangeReply::Stands,
        (206, _) => RangeReply::Unusable(another),
        _ if nothing_missing && same => RangeReply::Stands,
        _ if nothing_missing => RangeReply::Unusable(another),
        _ if same => RangeReply::Anew("its origin sends no parts"),
        _ => RangeReply::Anew(another),
    }
}

/// The origin sent another part than the one that was asked for: put behind what is there, it would make a mixture.
pub(super) fn wrong_part(job: &FetchJob) -> Error {
    let hops = job.route.hops();
    let address = hops.last().map(|origin| origin.address.to_string()).unwrap_or_default();
    let away = u32::try_from(hops.len()).unwrap_or(u32::MAX);
    let detail = "another part came than the one that was asked for";
    let problem = Problem::here(Reason::BadResponse, FailedAction::Reply, address, detail);
    Error::at_hop(Problem { hop: away, ..problem }, &job.route)
}

/// A question about the job's file.
pub(super) fn request(job: &FetchJob, method: Method, want_digest: Option<Algorithm>) -> Request {
    let (_, rest) = job.route.split_first();
    Request {
        route: rest.to_vec(),
        transfer: Some(job.id),
        want_digest,
        interim: true,
        keep_alive: true,
        ..Request::new(method, job.route.file.clone())
    }
}

/// Asks the first hop; the answer is the whole file, or the part that was asked for.
pub(super) async fn ask(
    upstream: &mut Upstream,
    job: &FetchJob,
    request: Request,
    stop: &CancellationToken,
) -> Result<UpstreamReply, Error> {
    let (first, _) = job.route.split_first();
    let deadline = Deadline::after(job.limits.setup);
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(Error::Interrupted { kept: KeptBytes::default() }),
        answer = upstream.ask(first, Box::new(request), deadline, &|_| ()) => answer.map_err(|problem| Error::at_hop(problem, &job.route)),
    }
}

/// The same, and tells meanwhile how the transfer stands.
pub(super) async fn ask_on(
    upstream: &mut Upstream,
    job: &FetchJob,
    request: Request,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<UpstreamReply, Error> {
    // Pinned where it is made: moving it would double what a transfer needs.
    let mut asking = pin!(ask(upstream, job, request, stop));
    loop {
        tokio::select! {
            biased;
            answer = &mut asking => return answer,
            () = tracker.due() => tracker.publish(),
        }
    }
}

/// The client's own leg, then each relay's; a reply lists the one nearest to the origin first.
pub(super) fn all_legs(answer: &UpstreamReply) -> Vec<Leg> {
    std::iter::once(answer.leg).chain(answer.reply.legs().into_iter().rev()).collect()
}
