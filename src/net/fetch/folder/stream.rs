//! One request for a folder, or for a part of it, as a tar stream: requested, received, and unpacked meanwhile.

use std::sync::Arc;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::decode::Decoder;
use super::large::Resuming;
use super::publishing::Publishing;
use super::results::Summary;
use super::unpack::Unpacking;
use crate::error::Error;
use crate::net::fetch::attribution::attributed;
use crate::net::fetch::body::{self, Wanted};
use crate::net::fetch::disk::DiskWriter;
use crate::net::fetch::job::{FetchJob, blocking};
use crate::net::fetch::request::{all_legs, request, send_request_tracked};
use crate::net::fetch::tracker::Tracker;
use crate::net::os::starvation::SchedDelayProbe;
use crate::net::upstream::{Upstream, UpstreamReply};
use crate::options::VerifyMode;
use crate::route::{Protocol, WalkRange};
use crate::snapshot::Phase;
use crate::wire::tar::{MEDIA_TYPE, walk_query};
use crate::wire::{FailedAction, Leg, Method, Reason, Request};

/// What became of one stream.
#[derive(Debug)]
pub(super) struct StreamEnd {
    /// The entries that have a result.
    pub(super) summary: Summary,
    /// The stream was complete; failed files are in the summary.
    pub(super) result: Result<(), Error>,
    pub(super) protocol: Protocol,
    pub(super) legs: Vec<Leg>,
}

/// Requests the files of a folder that are in a range, and unpacks them into the output folder.
///
/// # Errors
/// The error of a request that was not answered with a tar stream: nothing has been received then.
pub(super) async fn receive(
    upstream: &mut Upstream,
    job: &FetchJob,
    publishing: &Publishing,
    range: &WalkRange,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<StreamEnd, Error> {
    tracker.phase(Phase::Connecting);
    let request = Request { query: walk_query(range), ..request(job, Method::Get, None) };
    let response = send_request_tracked(upstream, job, request, tracker, stop).await?;
    let length = check(job, &response)?;
    let legs = all_legs(&response);
    // Of a part, the listing has counted them.
    if *range == WalkRange::default() {
        publishing.results().omitted(response.reply.omitted.unwrap_or_default());
    }
    tracker.on_reply(length, response.protocol, &legs, 0);
    let origin = (job.route.hops().len(), body::address_of(job, job.route.hops().len()));
    let folder = job.route.file.shown();
    let decoder = Decoder::new(&job.route.file, range.clone(), length).map_err(|error| {
        let (hop, address) = origin.clone();
        Error::Archive { hop, address, folder: folder.clone(), reason: error.to_string() }
    })?;
    let (shared, results) = (publishing.clone(), publishing.results().clone());
    let stream = Arc::new(blocking(job.machine, move || shared.stream()).await?);
    tracker.begin();
    let meter = tracker.meter();
    let counted = Arc::clone(&meter);
    let _probe = SchedDelayProbe::start(job.machine, move |us| counted.record_sched_delay(us));
    let resuming = Resuming::new(job, &response.reply);
    let unpacking = Unpacking {
        resuming,
        stream: Arc::clone(&stream),
        folder,
        origin,
        times: job.times,
        verify: job.verify != VerifyMode::Skip,
        results,
        meter: Arc::clone(&meter),
    };
    let mut writer = DiskWriter::start_with(job.machine, length, meter, move |incoming, back| {
        unpacking.run(decoder, incoming, &back)
    });
    let received =
        body::receive(upstream, job, (Wanted::Rest { at: 0 }, length), &mut writer.queue, tracker, stop).await;
    let (unpacked, written) = writer.ended(tracker).await?;
    tracker.end();
    // The disk is waited for beside other transfers.
    job.slot.release();
    let (summary, published) = match published(unpacked.ended, tracker).await {
        Some(summary) => (summary, Ok(())),
        None => (Summary::default(), Err(stream.error())),
    };
    let result = match received.and(published).and(written) {
        Ok(()) if unpacked.complete => {
            upstream.finish();
            Ok(())
        }
        Ok(()) => Err(Error::Other("the archive was not unpacked to its end".to_owned())),
        Err(error) => Err(attributed(job, (response.protocol, tracker), error, stop).await),
    };
    Ok(StreamEnd { summary, result, protocol: response.protocol, legs })
}

/// Waits until all of a stream is on the disk, and publishes progress meanwhile; `None` if that failed.
async fn published(mut ended: oneshot::Receiver<Summary>, tracker: &mut Tracker<'_>) -> Option<Summary> {
    loop {
        tokio::select! {
            biased;
            summary = &mut ended => return summary.ok(),
            () = tracker.due() => tracker.publish(),
        }
    }
}

/// Returns the announced length of a tar stream; any other reply is an error of the last hop.
fn check(job: &FetchJob, response: &UpstreamReply) -> Result<u64, Error> {
    let kind = response.reply.content_type.as_deref().unwrap_or_default();
    let is_tar = kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(MEDIA_TYPE));
    let detail = match response.reply.size() {
        _ if response.protocol == Protocol::Legacy => "the legacy protocol has no form for folders",
        Some(length) if is_tar && response.reply.status == 200 => return Ok(length),
        Some(_) => "it does not send folders as one stream",
        None => "it does not announce the length of the folder",
    };
    Err(Error::at_origin(Reason::Unsupported, FailedAction::Reply, detail, &job.route))
}
