//! A file that goes to a pipe, a device or standard output: every byte once and in order, as it arrives.

use std::pin::pin;

use tokio_util::sync::CancellationToken;

use super::attempt::blamed;
use super::body;
use super::disk::DiskWriter;
use super::job::{FetchJob, Fetched};
use super::output::{Output, OutputSink};
use super::request::{RangeReply, all_legs, ask_on, judge, question, request};
use super::resume_state::ResumeSource;
use super::retry::RetryPolicy;
use super::tracker::{Tracker, wait};
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
    /// What it is the beginning of, where the rest can be asked for.
    source: Result<ResumeSource, &'static str>,
}

/// Fetches a file to an output, over as many tries as that takes: each goes on where the last one ended, or there is
/// none.
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
    let mut patience = RetryPolicy::new(job.retries);
    loop {
        tracker.attempt(job.id);
        let reached = written.as_ref().map_or(0, |written| written.offset);
        let error = match attempt(upstream, job, &mut written, tracker, stop).await {
            Ok(fetched) => return Ok(fetched),
            Err(error) => error,
        };
        upstream.close();
        let now = written.as_ref().map_or(0, |written| written.offset);
        let pause = patience.after(&error, now > reached).filter(|_| !stop.is_cancelled());
        let Some(pause) = pause else { return Err(error) };
        if let Some(Written { offset: 1.., source: Err(why), .. }) = &written {
            return Err(no_rest(job, now, why, Some(&error)));
        }
        tracker.retrying(&error);
        if !wait(pause, tracker, stop).await {
            return Err(Error::Interrupted { kept: KeptBytes::default() });
        }
        job.id = job.machine.transfer_id();
    }
}

/// One try; what was written is in `written` again afterwards, unless it could not be written.
async fn attempt(
    upstream: &mut Upstream,
    job: &FetchJob,
    written: &mut Option<Written>,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Fetched, Error> {
    let Some(so_far) = written else { return Err(Error::Other("the output is gone".to_owned())) };
    tracker.phase(Phase::Connecting);
    let answer = ask(upstream, job, so_far, tracker, stop).await?;
    let size = answer.reply.size().unwrap_or_default();
    if let Some(most) = job.max_size.filter(|most| size > *most) {
        return Err(Error::TooLarge { file: job.route.file.shown(), size, most });
    }
    let legs = all_legs(&answer);
    let offset = so_far.offset;
    tracker.answered(size, answer.protocol, &legs, offset);
    so_far.source = ResumeSource::of(&job.route, &answer);
    if offset < size || size == 0 {
        let Some(begun) = written.take() else { return Err(Error::Other("the output is gone".to_owned())) };
        tracker.begin();
        let meter = tracker.meter();
        let _pulse = SchedDelayProbe::start(job.machine, move |us| meter.record_sched_delay(us));
        let source = begun.source.clone();
        let mut writer = DiskWriter::to_output(job.machine, begun.sink, (begun.hasher, offset, size), tracker.meter());
        let received = body::receive(upstream, job, (offset, size), &mut writer, tracker, stop).await;
        if let Err(error @ Error::Disk { .. }) = received {
            // It takes nothing, so that there is no point in waiting for the rest.
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
            return Err(blamed(job, answer.protocol, error, stop).await);
        }
    }
    upstream.finish();
    tracker.phase(Phase::Verifying);
    let arrived = written.as_ref().and_then(|written| written.hasher.as_ref()).map(Hasher::so_far);
    let (integrity, origin) = verify::prove(upstream, job, &answer, arrived, stop).await?;
    Ok(Fetched {
        path: job.output.clone(),
        size,
        integrity,
        origin,
        already_present: false,
        protocol: answer.protocol,
        legs,
        elapsed: tracker.elapsed(),
        flow: tracker.flow(),
    })
}

/// Asks for the file, or for the rest of what was written: anything else than that cannot be used.
async fn ask(
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
            return ask_on(upstream, job, whole, tracker, stop).await;
        }
    };
    let answer = ask_on(upstream, job, question(job, written.offset, source), tracker, stop).await;
    match judge(written.offset, source, &answer) {
        RangeReply::Stands => answer,
        RangeReply::Wrong => Err(super::request::wrong_part(job)),
        RangeReply::Anew(why) | RangeReply::Unusable(why) => Err(no_rest(job, written.offset, why, None)),
    }
}

fn no_rest(job: &FetchJob, written: u64, why: &str, broke: Option<&Error>) -> Error {
    let broke = broke.map(|error| format!("{error}; ")).unwrap_or_default();
    Error::Unresumable { file: job.route.file.shown(), written, why: format!("{broke}{why}") }
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

    /// A scene whose output is a named pipe.
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
        Turn::SayAndClose(head[..head.len() - BODY.len() + 8].to_owned())
    }

    fn rest(lines: &str) -> String {
        let range = "HTTP/1.1 206 Partial Content\r\nContent-Length: 13\r\nContent-Range: bytes 8-20/21\r\n";
        format!("{range}{lines}\r\n{}", std::str::from_utf8(&BODY[8..]).unwrap())
    }

    #[tokio::test]
    async fn a_pipe_gets_the_bytes_and_nothing_is_made_beside_it() {
        let (mut scene, pipe) = scene(vec![Turn::Say(whole(&digest_line(BODY)))]).await;
        let reader = reader(pipe);
        let fetched = scene.fetch().await.unwrap();
        assert!(matches!(fetched.integrity, Integrity::Verified { .. }) && !fetched.already_present);
        assert_eq!((reader.join().unwrap(), scene.names()), (BODY.to_vec(), vec!["pipe".to_owned()]));
        let last = scene.progress.borrow().clone();
        assert_eq!((last.phase, last.received, last.flow.bytes_out), (Phase::Done, 21, 21));
    }

    #[tokio::test]
    async fn an_empty_file_ends_the_pipe() {
        let (mut scene, pipe) = scene(vec![Turn::Say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into())]).await;
        let reader = reader(pipe);
        scene.fetch().await.unwrap();
        assert_eq!(reader.join().unwrap(), b"");
    }

    #[tokio::test]
    async fn a_break_is_resumed_behind_what_was_written_and_the_digest_is_that_of_the_whole() {
        let rest = rest(&format!("{PARTS}{}", digest_line(BODY)));
        let (mut scene, pipe) = scene(vec![beginning(PARTS), Turn::Say(rest)]).await;
        scene.job.retries = 1;
        // The pipe stays open over both tries, or the reader would take the first for the end.
        let reader = reader(pipe);
        assert!(matches!(scene.fetch().await.unwrap().integrity, Integrity::Verified { .. }));
        assert_eq!(reader.join().unwrap(), BODY);
        let asked = scene.asked.lock().unwrap().last().unwrap().clone();
        assert!(asked.contains("Range: bytes=8-\r\nIf-Range: \"1\"\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn what_cannot_be_resumed_is_never_written_twice() {
        let other = || rest(&PARTS.replace('1', "2"));
        for (lines, second, why) in [
            ("", None, "no validator that can be trusted"),
            ("Accept-Ranges: none\r\nETag: \"1\"\r\n", None, "its origin sends no parts"),
            ("ETag: \"1\"\r\n", Some(whole("ETag: \"1\"\r\n")), "its origin sends no parts"),
            (PARTS, Some(whole(PARTS)), "its origin sends no parts"),
            (PARTS, Some(whole(&PARTS.replace('1', "2"))), "another ETag"),
            (PARTS, Some(other()), "another ETag"),
        ] {
            let turns = [beginning(lines)].into_iter().chain(second.map(Turn::Say)).collect();
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
    async fn other_bytes_than_the_origins_are_an_error_though_they_are_written() {
        let (mut scene, pipe) = scene(vec![Turn::Say(whole(&digest_line(b"another")))]).await;
        let reader = reader(pipe);
        let error = scene.fetch().await.unwrap_err();
        assert!(matches!(error, Error::Altered { .. }) && error.exit_code() == 6, "{error}");
        assert_eq!(reader.join().unwrap(), BODY);
    }

    #[tokio::test]
    async fn a_reader_that_leaves_ends_it_quietly_and_not_well() {
        let (mut scene, pipe) = scene(vec![beginning(PARTS), Turn::Say(rest(PARTS))]).await;
        scene.job.retries = 1;
        let reader = spawn(move || File::open(pipe).unwrap().read_exact(&mut [0; 8]).unwrap());
        let mut news = scene.progress.subscribe();
        let left = async {
            news.wait_for(|snapshot| snapshot.phase == Phase::Retrying).await.unwrap();
            reader.join().unwrap();
        };
        let fetching = super::super::fetch(&mut scene.upstream, &mut scene.job, &scene.progress, &scene.stop);
        let (result, ()) = tokio::join!(fetching, left);
        let error = result.unwrap_err();
        assert!(error.is_quiet() && error.exit_code() == 7, "{error}");
    }

    #[tokio::test]
    async fn a_pipe_that_nobody_reads_can_be_given_up() {
        let (mut scene, pipe) = scene(vec![Turn::Say(whole(""))]).await;
        let (mut news, stop) = (scene.progress.subscribe(), scene.stop.clone());
        let stopped = async {
            news.wait_for(|snapshot| snapshot.received == 21).await.unwrap();
            stop.cancel();
        };
        let fetching = super::super::fetch(&mut scene.upstream, &mut scene.job, &scene.progress, &scene.stop);
        let (result, ()) = tokio::join!(fetching, stopped);
        assert_eq!(result.unwrap_err().exit_code(), 130);
        // Lets the thread that waits for a reader end.
        let _ = File::open(pipe);
    }
}
