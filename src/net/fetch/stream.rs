//! Fetches a file to a pipe, a device or standard output: every byte once and in order, as it arrives.

use std::pin::pin;

use tokio_util::sync::CancellationToken;

use super::attribution::attributed;
use super::body::{self, Wanted};
use super::disk::DiskWriter;
use super::job::{FetchJob, Fetched};
use super::output::{Output, OutputSink};
use super::pause::wait_to_retry;
use super::request::{RangeReply, all_legs, classify, request, rest_request, send_request_tracked};
use super::resume_state::ResumeSource;
use super::retry::RetryPolicy;
use super::tracker::Tracker;
use super::verify;
use crate::error::{Error, KeptBytes};
use crate::net::node::digests::Hasher;
use crate::net::os::starvation::SchedDelayProbe;
use crate::net::upstream::{Upstream, UpstreamReply};
use crate::snapshot::Phase;
use crate::wire::Method;

/// What was written so far.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) sink: OutputSink,
    pub(super) hasher: Option<Hasher>,
    pub(super) offset: u64,
    /// The file it is the beginning of, or why the rest cannot be requested.
    source: Result<ResumeSource, &'static str>,
}

/// Fetches a file to an output, over as many attempts as that takes: each resumes where the last one ended; if that is
/// impossible there is no further attempt.
pub(super) async fn run(
    upstream: &mut Upstream,
    job: &mut FetchJob,
    output: Output,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Fetched, Error> {
    tracker.shown_as(output.shown());
    let mut written = Some(Written {
        sink: OutputSink::new(output),
        hasher: job.verify.algorithm().map(Hasher::new),
        offset: 0,
        source: Err(""),
    });
    let mut policy = RetryPolicy::new(job.retries);
    loop {
        tracker.attempt(job.id);
        let reached = written.as_ref().map_or(0, |written| written.offset);
        let error = match attempt(upstream, job, &mut written, tracker, stop).await {
            Ok(fetched) => return Ok(fetched),
            Err(error) => error,
        };
        upstream.close();
        let now = written.as_ref().map_or(0, |written| written.offset);
        let retry = policy.after(&error, now > reached).filter(|_| !stop.is_cancelled());
        let Some(retry) = retry else { return Err(error) };
        if let Some(Written { offset: 1.., source: Err(why), .. }) = &written {
            return Err(no_rest(job, now, why, Some(&error)));
        }
        if !wait_to_retry(&error, retry, tracker, stop).await {
            return Err(Error::Interrupted { kept: KeptBytes::default() });
        }
        job.id = job.machine.transfer_id();
    }
}

/// Runs one attempt; `written` is set again afterwards, unless the output failed.
async fn attempt(
    upstream: &mut Upstream,
    job: &FetchJob,
    written: &mut Option<Written>,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Fetched, Error> {
    let Some(so_far) = written else { return Err(Error::Other("the output is closed".to_owned())) };
    tracker.phase(Phase::Connecting);
    let response = request_body(upstream, job, so_far, tracker, stop).await?;
    let size = response.reply.size().unwrap_or_default();
    if let Some(max) = job.max_size.filter(|max| size > *max) {
        return Err(Error::TooLarge { file: job.route.file.shown(), size, most: max });
    }
    let legs = all_legs(&response);
    let offset = so_far.offset;
    tracker.on_reply(size, response.protocol, &legs, offset);
    so_far.source = ResumeSource::of(&job.route, &response);
    if offset < size || size == 0 {
        let Some(candidate) = written.take() else { return Err(Error::Other("the output is closed".to_owned())) };
        tracker.begin();
        let meter = tracker.meter();
        let _probe = SchedDelayProbe::start(job.machine, move |us| meter.record_sched_delay(us));
        let source = candidate.source.clone();
        let mut writer =
            DiskWriter::to_output(job.machine, candidate.sink, (candidate.hasher, offset, size), tracker.meter());
        let received =
            body::receive(upstream, job, (Wanted::Rest { at: offset }, size), &mut writer.queue, tracker, stop).await;
        if let Err(error @ Error::Disk { .. }) = received {
            // The output accepts nothing, so waiting for the rest is pointless.
            return Err(error);
        }
        let mut flushing = pin!(writer.flushed(stop));
        let (sink, hasher, offset) = loop {
            tokio::select! {
                biased;
                flushed = &mut flushing => break flushed?,
                () = tracker.due() => tracker.publish(),
            }
        };
        tracker.end();
        *written = Some(Written { sink, hasher, offset, source });
        if let Err(error) = received {
            return Err(attributed(job, (response.protocol, tracker), error, stop).await);
        }
    }
    upstream.finish();
    tracker.phase(Phase::Verifying);
    let arrived = written.as_ref().and_then(|written| written.hasher.as_ref()).map(Hasher::so_far);
    let (integrity, origin) = verify::verify(upstream, job, &response, arrived, tracker, stop).await?;
    Ok(Fetched {
        path: job.output.clone(),
        size,
        integrity,
        origin,
        already_present: false,
        protocol: response.protocol,
        legs,
        elapsed: tracker.elapsed(),
        flow: tracker.flow(),
    })
}

/// Requests the file, or the rest of what was written: any other reply is an error.
async fn request_body(
    upstream: &mut Upstream,
    job: &FetchJob,
    written: &Written,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<UpstreamReply, Error> {
    let source = match &written.source {
        Ok(source) if written.offset > 0 => source,
        _ => {
            let whole = request(job, Method::Get, job.verify.algorithm());
            return send_request_tracked(upstream, job, whole, tracker, stop).await;
        }
    };
    let response = send_request_tracked(upstream, job, rest_request(job, written.offset, source), tracker, stop).await;
    match classify(written.offset, source, &response) {
        RangeReply::Usable => response,
        RangeReply::WrongRange => Err(super::request::wrong_range(job)),
        RangeReply::Whole(why) | RangeReply::Unusable(why) => Err(no_rest(job, written.offset, why, None)),
    }
}

fn no_rest(job: &FetchJob, written: u64, why: &str, cause: Option<&Error>) -> Error {
    let cause = cause.map(|error| format!("{error}; ")).unwrap_or_default();
    Error::Unresumable { file: job.route.file.shown(), written, why: format!("{cause}{why}") }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::path::PathBuf;
    use std::thread::{JoinHandle, spawn};

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::super::tests::{BODY, Scene, Turn, digest_line, whole};
    use super::*;
    use crate::snapshot::Integrity;

    const PARTS: &str = "ETag: \"1\"\r\nAccept-Ranges: bytes\r\n";

    /// Returns a scene whose output is a named pipe.
    async fn scene(turns: Vec<Turn>) -> (Scene, PathBuf) {
        let mut scene = Scene::http(turns).await;
        let pipe = scene.folder.path().join("pipe");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        scene.job.output.clone_from(&pipe);
        (scene, pipe)
    }

    /// Reads a pipe to its end.
    fn reader(pipe: PathBuf) -> JoinHandle<Vec<u8>> {
        spawn(move || std::fs::read(pipe).unwrap())
    }

    fn beginning(lines: &str) -> Turn {
        let head = whole(lines);
        Turn::SendAndClose(head[..head.len() - BODY.len() + 8].to_owned())
    }

    fn rest(lines: &str) -> String {
        let range = "HTTP/1.1 206 Partial Content\r\nContent-Length: 13\r\nContent-Range: bytes 8-20/21\r\n";
        format!("{range}{lines}\r\n{}", std::str::from_utf8(&BODY[8..]).unwrap())
    }

    #[tokio::test]
    async fn a_pipe_receives_the_bytes_and_no_file_is_created() {
        let (mut scene, pipe) = scene(vec![Turn::Send(whole(&digest_line(BODY)))]).await;
        let reader = reader(pipe);
        let fetched = scene.fetch().await.unwrap();
        assert!(matches!(fetched.integrity, Integrity::Verified { .. }) && !fetched.already_present);
        assert_eq!((reader.join().unwrap(), scene.names()), (BODY.to_vec(), vec!["pipe".to_owned()]));
        let last = scene.progress.borrow().clone();
        assert_eq!((last.phase, last.received, last.flow.bytes_out), (Phase::Done, 21, 21));
    }

    #[tokio::test]
    async fn an_empty_file_ends_the_pipe() {
        let (mut scene, pipe) = scene(vec![Turn::Send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into())]).await;
        let reader = reader(pipe);
        scene.fetch().await.unwrap();
        assert_eq!(reader.join().unwrap(), b"");
    }

    #[tokio::test]
    async fn resumes_after_the_written_bytes_and_verifies_the_whole() {
        let rest = rest(&format!("{PARTS}{}", digest_line(BODY)));
        let (mut scene, pipe) = scene(vec![beginning(PARTS), Turn::Send(rest)]).await;
        scene.job.retries = 1;
        // The pipe stays open over both attempts, or its reader would take the first for the end.
        let reader = reader(pipe);
        assert!(matches!(scene.fetch().await.unwrap().integrity, Integrity::Verified { .. }));
        assert_eq!(reader.join().unwrap(), BODY);
        let requests = scene.requests.lock().unwrap().last().unwrap().clone();
        assert!(requests.contains("Range: bytes=8-\r\nIf-Range: \"1\"\r\n"), "{requests}");
    }

    #[tokio::test]
    async fn bytes_are_never_written_twice_if_resuming_fails() {
        let other = || rest(&PARTS.replace('1', "2"));
        for (lines, second, why) in [
            ("", None, "no strong validator"),
            ("Accept-Ranges: none\r\nETag: \"1\"\r\n", None, "the origin does not support range requests"),
            ("ETag: \"1\"\r\n", Some(whole("ETag: \"1\"\r\n")), "the origin does not support range requests"),
            (PARTS, Some(whole(PARTS)), "the origin does not support range requests"),
            (PARTS, Some(whole(&PARTS.replace('1', "2"))), "ETag at the origin has changed"),
            (PARTS, Some(other()), "ETag at the origin has changed"),
        ] {
            let turns = [beginning(lines)].into_iter().chain(second.map(Turn::Send)).collect();
            let (mut scene, pipe) = scene(turns).await;
            scene.job.retries = 1;
            let reader = reader(pipe);
            let error = scene.fetch().await.unwrap_err();
            assert!(matches!(error, Error::Unresumable { written: 8, .. }) && error.exit_code() == 6, "{error}");
            assert!(error.to_string().contains(why), "{error}");
            assert_eq!(reader.join().unwrap(), &BODY[..8]);
        }
    }

    #[tokio::test]
    async fn altered_bytes_are_an_error_although_written() {
        let (mut scene, pipe) = scene(vec![Turn::Send(whole(&digest_line(b"another")))]).await;
        let reader = reader(pipe);
        let error = scene.fetch().await.unwrap_err();
        assert!(matches!(error, Error::Altered { .. }) && error.exit_code() == 6, "{error}");
        assert_eq!(reader.join().unwrap(), BODY);
    }

    #[tokio::test]
    async fn a_closed_pipe_ends_the_fetch_quietly_with_an_error() {
        let (mut scene, pipe) = scene(vec![beginning(PARTS), Turn::Send(rest(PARTS))]).await;
        scene.job.retries = 1;
        let reader = spawn(move || File::open(pipe).unwrap().read_exact(&mut [0; 8]).unwrap());
        let mut updates = scene.progress.subscribe();
        let left = async {
            updates.wait_for(|snapshot| snapshot.phase == Phase::Retrying).await.unwrap();
            reader.join().unwrap();
        };
        let fetching = super::super::fetch(&mut scene.upstream, &mut scene.job, &scene.progress, &scene.stop);
        let (result, ()) = tokio::join!(fetching, left);
        let error = result.unwrap_err();
        assert!(error.is_quiet() && error.exit_code() == 7, "{error}");
    }

    #[tokio::test]
    async fn writing_to_an_unread_pipe_can_be_cancelled() {
        let (mut scene, pipe) = scene(vec![Turn::Send(whole(""))]).await;
        let (mut updates, stop) = (scene.progress.subscribe(), scene.stop.clone());
        let cancelled = async {
            updates.wait_for(|snapshot| snapshot.received == 21).await.unwrap();
            stop.cancel();
        };
        let fetching = super::super::fetch(&mut scene.upstream, &mut scene.job, &scene.progress, &scene.stop);
        let (result, ()) = tokio::join!(fetching, cancelled);
        assert_eq!(result.unwrap_err().exit_code(), 130);
        // Unblocks the thread that waits for a reader.
        let _ = File::open(pipe);
    }
}
