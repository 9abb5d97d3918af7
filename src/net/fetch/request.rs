//! Requests of the client: for the whole file, for the missing rest, or whether the file is unchanged.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::job::{FetchJob, blocking};
use super::partial::{CHANGED, ResumeCandidate};
use super::resume_state::ResumeSource;
use super::tracker::Tracker;
use crate::error::{Error, KeptBytes};
use crate::limits::Limits;
use crate::net::upstream::{ExchangeStage, MAX_DIGEST_TIME, OnStage, Upstream, UpstreamReply};
use crate::snapshot::Awaited;
use crate::wire::{Algorithm, ByteRange, DigestProgress, FailedAction, Leg, Method, Reason, Request};

/// Meaning of the reply to a request for the rest of a file.
pub(super) enum RangeReply {
    /// The reply can be used as it is: the rest of the same file, a confirmation that nothing is missing, or an error.
    Usable,
    /// The whole file follows; the reason why it is not the rest.
    Whole(&'static str),
    /// The whole file has to be requested again; the reason why.
    Unusable(&'static str),
    /// The reply is not for the requested range.
    WrongRange,
}

/// Requests what is missing of a file. If the file has changed, or its origin does not support ranges, the partial
/// content is discarded, and the reason is shown to the user.
pub(super) async fn request_rest(
    upstream: &mut Upstream,
    job: &FetchJob,
    candidate: &mut Option<ResumeCandidate>,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<UpstreamReply, Error> {
    let whole = request(job, Method::Get, job.verify.algorithm());
    let Some(part) = candidate.as_ref().filter(|candidate| candidate.offset > 0) else {
        let response = send_request_tracked(upstream, job, whole, tracker, stop).await?;
        // The file's beginning is missing, so the request was not conditional.
        let ranges = candidate.as_ref().filter(|candidate| candidate.received.is_some());
        if let Some(why) = ranges.and_then(|part| part.source.as_ref()?.difference(&response.reply)) {
            start_over(job, candidate, why, tracker).await?;
        }
        return Ok(response);
    };
    let (response, why) = match &part.source {
        None => (None, tracker.unresumable()),
        Some(source) => {
            let response =
                send_request_tracked(upstream, job, rest_request(job, part.offset, source), tracker, stop).await;
            match classify(part.offset, source, &response) {
                RangeReply::Usable => return response,
                RangeReply::WrongRange => return Err(wrong_range(job)),
                RangeReply::Whole(why) => (Some(response?), why),
                RangeReply::Unusable(why) => {
                    upstream.close();
                    (None, why)
                }
            }
        }
    };
    start_over(job, candidate, why, tracker).await?;
    match response {
        Some(response) => Ok(response),
        None => send_request_tracked(upstream, job, whole, tracker, stop).await,
    }
}

/// Discards what has been received.
async fn start_over(
    job: &FetchJob,
    candidate: &mut Option<ResumeCandidate>,
    why: &'static str,
    tracker: &mut Tracker<'_>,
) -> Result<(), Error> {
    tracker.started_over(why);
    let algorithm = job.verify.algorithm();
    if let Some(part) = candidate.take() {
        *candidate = Some(blocking(job.machine, move || part.start_over(algorithm)).await?);
    }
    Ok(())
}

/// Returns a request for the rest of the file if it is unchanged; if nothing is missing, a request for the head.
pub(super) fn rest_request(job: &FetchJob, offset: u64, source: &ResumeSource) -> Request {
    if offset == source.size {
        // A date is compared when the reply arrives.
        let if_match = source.validator.etag().map(str::to_owned);
        return Request { if_match, ..request(job, Method::Head, job.verify.algorithm()) };
    }
    let (range, if_range) = (Some(ByteRange::From(offset)), Some(source.validator.text().to_owned()));
    Request { range, if_range, ..request(job, Method::Get, job.verify.algorithm()) }
}

pub(super) fn classify(offset: u64, source: &ResumeSource, response: &Result<UpstreamReply, Error>) -> RangeReply {
    let nothing_missing = offset == source.size;
    let reply = match response {
        Ok(response) => &response.reply,
        Err(Error::Hop(fault)) => {
            return match fault.problem.reason {
                Reason::Changed | Reason::Range => RangeReply::Unusable(CHANGED),
                // A plain server that does not support this request may support a usual one.
                Reason::BadResponse | Reason::Malformed | Reason::Internal
                    if nothing_missing && fault.problem.action == FailedAction::Reply =>
                {
                    RangeReply::Unusable("the origin does not confirm that the file is unchanged")
                }
                _ => RangeReply::Usable,
            };
        }
        Err(_) => return RangeReply::Usable,
    };
    match (reply.status, reply.content_range, source.difference(reply)) {
        (206, Some((first, last, size)), _) if first != offset || last + 1 != size => RangeReply::WrongRange,
        (206, _, None) => RangeReply::Usable,
        (206, _, Some(why)) => RangeReply::Unusable(why),
        (_, _, None) if nothing_missing => RangeReply::Usable,
        (_, _, Some(why)) if nothing_missing => RangeReply::Unusable(why),
        (_, _, None) => RangeReply::Whole("the origin does not support range requests"),
        (_, _, Some(why)) => RangeReply::Whole(why),
    }
}

/// Returns the error of a reply for another range: appending it would corrupt the file.
pub(super) fn wrong_range(job: &FetchJob) -> Error {
    let detail = "the reply is not for the requested range";
    Error::at_origin(Reason::BadResponse, FailedAction::Reply, detail, &job.route)
}

/// Returns a request for the job's file, or for all of a folder.
pub(super) fn request(job: &FetchJob, method: Method, want_digest: Option<Algorithm>) -> Request {
    let (_, rest) = job.route.split_first();
    Request {
        route: rest.to_vec(),
        transfer: Some(job.id),
        want_digest,
        interim: true,
        keep_alive: true,
        tar: job.route.file.names_folder(),
        authorization: job.token.clone().filter(|_| job.route.file.names_folder()),
        ..Request::new(method, job.route.file.clone())
    }
}

/// Sends a request to the first hop; the reply is for the whole file, or for the requested range.
pub(super) async fn send_request(
    upstream: &mut Upstream,
    job: &FetchJob,
    request: Request,
    on_stage: OnStage<'_>,
    stop: &CancellationToken,
) -> Result<UpstreamReply, Error> {
    let (first, _) = job.route.split_first();
    tokio::select! {
        biased;
        () = stop.cancelled() => Err(Error::Interrupted { kept: KeptBytes::default() }),
        response = upstream.request(first, Box::new(request), job.limits.setup, on_stage) => {
            response.map_err(|problem| Error::at_hop(problem, &job.route))
        }
    }
}

/// Does the same, and publishes progress meanwhile.
pub(super) async fn send_request_tracked(
    upstream: &mut Upstream,
    job: &FetchJob,
    request: Request,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<UpstreamReply, Error> {
    let (stage, since) = (watch::Sender::new((ExchangeStage::Connecting, None)), Instant::now());
    let on_stage = |now| {
        stage.send_modify(|(stage, tunnel)| match now {
            ExchangeStage::Tunnel(id) => *tunnel = Some(id),
            now => *stage = now,
        });
    };
    // Pinned in place: moving the future would double the size of a transfer's future.
    let mut sending = pin!(send_request(upstream, job, request, &on_stage, stop));
    let response = loop {
        tokio::select! {
            biased;
            response = &mut sending => break response,
            () = tracker.due() => {
                let (stage, tunnel) = *stage.borrow();
                let (awaited, limit) = awaited(stage, &job.limits);
                tracker.through(tunnel);
                let hop = if matches!(awaited, Awaited::Digest { .. }) { job.route.hops().len() } else { 1 };
                tracker.wait_for(awaited, since, limit, Some(hop));
                tracker.publish();
            }
        }
    };
    if let Ok(response) = &response {
        tracker.through(response.tunnel);
    }
    tracker.wait_is_over();
    response
}

/// Returns what an exchange waits for at this stage, and for how long at most.
fn awaited(stage: ExchangeStage, limits: &Limits) -> (Awaited, Duration) {
    match stage {
        ExchangeStage::Connecting | ExchangeStage::Tunnel(_) => (Awaited::Connection, limits.connect.min(limits.setup)),
        ExchangeStage::Waiting => (Awaited::Reply, limits.setup),
        ExchangeStage::Working(progress) => {
            let DigestProgress { done, size, .. } = progress.unwrap_or_default();
            (Awaited::Digest { done, size }, MAX_DIGEST_TIME)
        }
    }
}

/// Returns the client's own leg, then each relay's; a reply lists the leg nearest to the origin first.
pub(super) fn all_legs(response: &UpstreamReply) -> Vec<Leg> {
    std::iter::once(response.leg).chain(response.reply.legs().into_iter().rev()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Scene, Turn, ok};
    use crate::snapshot::{Awaited, Phase, Wait};

    #[tokio::test]
    async fn a_wait_for_a_reply_or_for_data_is_published_with_its_limit() {
        for (reply, awaited, hop, phase) in [
            (String::new(), Awaited::Reply, Some(1), Phase::Connecting),
            (ok(""), Awaited::Data, None, Phase::Streaming),
        ] {
            let mut scene = Scene::http(vec![Turn::SendAndHang(reply)]).await;
            let (mut updates, stop) = (scene.progress.subscribe(), scene.stop.clone());
            let waiting = async {
                let seen = updates.wait_for(|snapshot| snapshot.wait.is_some()).await.unwrap().clone();
                stop.cancel();
                seen
            };
            let (limits, fetching) = (scene.job.limits, scene.fetch());
            let (ended, seen) = tokio::join!(fetching, waiting);
            assert_eq!((ended.unwrap_err().exit_code(), seen.phase), (130, phase));
            let limit = if awaited == Awaited::Data { limits.idle } else { limits.setup };
            let wait = seen.wait.unwrap();
            assert_eq!(wait, Wait { awaited, hop, limit, lasting: wait.lasting });
            assert!(wait.lasting.as_secs() == 1, "{wait:?}");
            assert_eq!(scene.progress.borrow().wait, None, "the transfer has ended");
        }
    }
}
