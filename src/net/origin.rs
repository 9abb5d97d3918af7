//! The origin: finds the file, says how long it is, proves what it is, and sends it.

use std::io::{self, IoSliceMut};
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime};

use rustix::io::{Errno, ReadWriteFlags, preadv2};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval_at, timeout};

use super::body::{Direct, Source};
use super::dial::{is_shortage, shortage};
use super::digests::Pending;
use super::downstream::{Downstream, Next};
use super::node::Node;
use super::pump::CHUNK;
use super::registry::JobGuard;
use super::root::{OpenError, Served};
use super::session::{INTERIM, hold_back, send_body};
use crate::snapshot::{ConnRole, ConnState};
use crate::wire::media::Media;
use crate::wire::{Action, Digest, Method, Outcome, Problem, Reason, Reply, Request, State};

/// How long a file has to stand before its date in whole seconds names one state: two, because a file system's clock may lag.
const SETTLED: Duration = Duration::from_secs(2);
/// The lines of every reply with a file, or about one. A cache asks again each time, which costs a 304; a web page of
/// another site may not load files of a node on loopback, and no browser guesses that one is a program.
const FILE_LINES: &str = concat!(
    "Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n",
    "Cross-Origin-Resource-Policy: same-origin\r\n"
);
/// The same for a document that may hold scripts: run here, one could write `Chain-Route` and read whatever this node
/// reaches.
const SCRIPT_LINES: &str = concat!(
    "Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n",
    "Cross-Origin-Resource-Policy: same-origin\r\nContent-Security-Policy: script-src 'none'\r\n"
);
/// How often a node says that it is still computing a digest.
const WORKING: Duration = Duration::from_secs(5);
/// How long a digest may take.
const LONGEST_DIGEST: Duration = Duration::from_mins(10);

/// Finds the file a request names; a problem says why there is none.
pub fn open(node: &Node, request: &Request) -> Result<Served, Problem> {
    let address = || node.called(request);
    if request.transfer.is_some_and(|id| node.registry.is_pending(id)) {
        // The node dialled itself by a name: it is both the relay that waits and the origin it waits for.
        return Err(Problem::here(Reason::Loop, Action::Request, address(), ""));
    }
    node.config.root.serve(&request.name.without_dots()).map_err(|error| match error {
        OpenError::NotFound => Problem::here(Reason::NotFound, Action::Open, address(), ""),
        OpenError::Folder => Problem::here(Reason::NotFound, Action::Open, address(), "a folder of that name is there"),
        OpenError::Failed(error) if is_shortage(&error) => shortage(Action::Open, &error),
        OpenError::Failed(error) => Problem::here(Reason::Internal, Action::Open, address(), error.to_string()),
    })
}

/// Answers a request for a file of this node over HTTP.
pub async fn answer(node: &Node, down: &mut Downstream, job: &JobGuard<'_>, request: &Request) -> Next {
    job.update(|account| account.role = ConnRole::Origin);
    let keep = request.keep_alive && !node.drain().is_draining();
    match reply(node, down, job, request).await {
        Ok((served, mut reply, first, _hashing)) => {
            reply.keep_alive = keep;
            let length = reply.length.unwrap_or_default();
            job.update(|account| {
                account.status = reply.status;
                account.size = Some(length);
            });
            hold_back(node, job).await;
            job.answers();
            down.announce(&mut reply);
            if request.method == Method::Head || reply.status == 304 {
                job.served();
                return match down.send_head().await {
                    Ok(()) if keep => Next::Keep,
                    Ok(()) => Next::Close,
                    Err(_) => Next::Drop,
                };
            }
            let mut body = FileBody::new(served, first, length);
            match send_body(node, down, job, &mut body, length).await {
                Ok(()) if keep => Next::Keep,
                Ok(()) | Err(_) => Next::Close,
            }
        }
        Err(problem) => {
            job.failed(&problem);
            job.update(|account| account.status = problem.status());
            down.send_problem(&problem, request.method, keep).await
        }
    }
}

/// The file, the reply head, the offset to send from, and the digest that is computed meanwhile.
async fn reply(
    node: &Node,
    down: &mut Downstream,
    job: &JobGuard<'_>,
    request: &Request,
) -> Result<(Served, Reply, u64, Option<Pending>), Problem> {
    let address = || node.called(request);
    let served = open(node, request)?;
    let etag = served.version.etag();
    let size = served.version.size;
    let now = SystemTime::now();
    let modified = date_of(served.version.modified.0);
    let settled = modified.is_some_and(|date| now.duration_since(date).is_ok_and(|age| age >= SETTLED));
    let outcome = request.outcome(&State { etag: Some(&etag), modified, settled });
    let range = match outcome {
        Outcome::Failed => return Err(Problem::here(Reason::Changed, Action::Open, address(), "")),
        Outcome::NotModified => {
            let reply = Reply {
                status: 304,
                etag: Some(etag),
                date: Some(httpdate::fmt_http_date(now)),
                lines: FILE_LINES.into(),
                hops: Some(0),
                ..Reply::default()
            };
            return Ok((served, reply, 0, None));
        }
        Outcome::Whole => None,
        Outcome::Part => request.range,
    };
    let part = match range {
        Some(range) => Some(range.within(size).ok_or_else(|| {
            let detail = format!("the file has {size} bytes");
            Problem { size: Some(size), ..Problem::here(Reason::Range, Action::Open, address(), detail) }
        })?),
        // An empty file has no range to be a part of.
        None => None,
    };
    let (digest, hashing) = match wanted_digest(node, down, job, request, &served).await? {
        Wanted::Known(digest) => (Some(digest), None),
        Wanted::Later(pending) => (None, Some(pending)),
        Wanted::Nothing => (None, None),
    };
    let media = Media::of(request.name.as_bytes());
    let (first, length) = part.map_or((0, size), |(first, last)| (first, last - first + 1));
    let reply = Reply {
        status: if part.is_some() { 206 } else { 200 },
        length: Some(length),
        content_range: part.map(|(first, last)| (first, last, size)),
        etag: Some(etag),
        // A file may come from the future, a reply may not say so (RFC 9110, 8.8.2.1).
        last_modified: modified.map(|date| httpdate::fmt_http_date(date.min(now))),
        date: Some(httpdate::fmt_http_date(now)),
        accept_ranges: Some(true),
        content_type: Some(media.kind.into()),
        lines: if media.scripts { SCRIPT_LINES } else { FILE_LINES }.into(),
        hops: Some(0),
        digests: digest.into_iter().collect(),
        ..Reply::default()
    };
    Ok((served, reply, first, hashing))
}

/// What becomes of a wish for a digest.
enum Wanted {
    /// There was none.
    Nothing,
    /// It is there.
    Known(Digest),
    /// It is being computed, for as long as this is held.
    Later(Pending),
}

/// The digest a request asks for: at once if it is known. HEAD waits for it; GET only has it computed beside the sending.
async fn wanted_digest(
    node: &Node,
    down: &mut Downstream,
    job: &JobGuard<'_>,
    request: &Request,
    served: &Served,
) -> Result<Wanted, Problem> {
    let Some(algorithm) = request.want_digest else { return Ok(Wanted::Nothing) };
    if let Some(digest) = node.digests.ready(served, algorithm) {
        return Ok(Wanted::Known(digest));
    }
    let mut pending = node.digests.start(served, algorithm);
    if request.method == Method::Get {
        return Ok(Wanted::Later(pending));
    }
    job.set_state(ConnState::Waiting);
    let problem = |reason, detail: String| Problem::here(reason, Action::Verify, node.called(request), detail);
    let mut working = interval_at(Instant::now() + WORKING, WORKING);
    let waiting = async {
        loop {
            tokio::select! {
                biased;
                digest = pending.finished() => return digest.map_err(|why| problem(Reason::Changed, why)),
                _ = working.tick(), if request.interim => {
                    down.write(INTERIM).await.map_err(|error| problem(Reason::Closed, error.to_string()))?;
                }
                () = down.gone() => return Err(problem(Reason::Closed, "the client left".to_owned())),
            }
        }
    };
    match timeout(LONGEST_DIGEST, waiting).await {
        Ok(digest) => digest.map(Wanted::Known),
        Err(_) => Err(problem(Reason::TimedOut, "computing the digest".to_owned())),
    }
}

/// Seconds as a date that HTTP can write; the year 9999 is the last.
fn date_of(seconds: i64) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds < 253_402_300_800)?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// A part of a file as a stream: from the page cache at once, from the disk by a thread that may wait.
///
/// A file that changes on the way ends in an error before its last bytes are given out, so that a mixture never has the
/// announced length.
#[derive(Debug)]
pub struct FileBody {
    served: Served,
    offset: u64,
    left: u64,
    reading: Option<JoinHandle<(Vec<u8>, io::Result<usize>)>>,
    buffer: Vec<u8>,
    ready: std::ops::Range<usize>,
}

impl FileBody {
    /// `length` bytes of a file, from an offset.
    pub fn new(served: Served, offset: u64, length: u64) -> Self {
        Self { served, offset, left: length, reading: None, buffer: Vec::new(), ready: 0..0 }
    }

    /// Looks at the file once more before its last bytes are given out.
    fn check_before(&self, bytes: usize) -> io::Result<()> {
        if bytes > 0 && self.left == bytes as u64 && !self.served.is_unchanged() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the file changed while it was sent"));
        }
        Ok(())
    }

    /// Counts bytes that are about to be given out.
    fn give(&mut self, bytes: usize) -> io::Result<()> {
        self.check_before(bytes)?;
        self.offset += bytes as u64;
        self.left -= bytes as u64;
        Ok(())
    }

    /// Reads from the page cache, without waiting for a disk; `None` where that cannot be done.
    fn read_cached(&self, space: &mut [u8]) -> Option<io::Result<usize>> {
        match preadv2(&*self.served.file, &mut [IoSliceMut::new(space)], self.offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => Some(Ok(read)),
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => None,
            Err(error) => Some(Err(error.into())),
        }
    }
}

impl Source for FileBody {
    fn ahead(&mut self, most: usize) -> io::Result<&[u8]> {
        let most = most.min(usize::try_from(self.left).unwrap_or(most));
        // Where it is not in the page cache, or a thread is reading it already, the pump waits for it.
        if most > 0 && self.direct().is_some() {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.resize(most, 0);
            let read = self.read_cached(&mut buffer).transpose()?.unwrap_or_default();
            self.check_before(read)?;
            self.buffer = buffer;
            self.ready = 0..read;
        }
        Ok(&self.buffer[self.ready.clone()])
    }

    fn direct(&self) -> Option<Direct<'_>> {
        let read_ahead = self.reading.is_some() || !self.ready.is_empty();
        (!read_ahead).then(|| Direct::File(Arc::clone(&self.served.file), self.offset))
    }

    fn socket(&self) -> Option<RawFd> {
        None
    }

    fn skip(&mut self, bytes: u64) {
        self.offset += bytes;
        self.left = self.left.saturating_sub(bytes);
        self.ready.start = self.ready.end.min(self.ready.start + bytes as usize);
        if self.ready.is_empty() {
            // A body may stand still for long, and what goes out directly needs no space.
            self.buffer = Vec::new();
        }
    }
}

impl AsyncRead for FileBody {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let body = &mut *self;
        let most = usize::try_from(body.left).unwrap_or(usize::MAX).min(buf.remaining());
        if most == 0 {
            return Poll::Ready(Ok(()));
        }
        if body.ready.is_empty() && body.reading.is_none() {
            let space = buf.initialize_unfilled_to(most);
            if let Some(read) = body.read_cached(space) {
                let read = read?;
                body.give(read)?;
                buf.advance(read);
                return Poll::Ready(Ok(()));
            }
            let (file, offset) = (Arc::clone(&body.served.file), body.offset);
            let mut buffer = std::mem::take(&mut body.buffer);
            buffer.resize(CHUNK.min(usize::try_from(body.left).unwrap_or(CHUNK)), 0);
            let reading = tokio::task::spawn_blocking(move || {
                let read = file.read_at(&mut buffer, offset);
                (buffer, read)
            });
            #[cfg(test)]
            super::sim::wait(|| reading.is_finished());
            body.reading = Some(reading);
        }
        if let Some(reading) = &mut body.reading {
            let done = ready!(Pin::new(reading).poll(cx));
            body.reading = None;
            let (buffer, read) = done.map_err(io::Error::other)?;
            body.buffer = buffer;
            body.ready = 0..read?;
        }
        let given = most.min(body.ready.len());
        body.give(given)?;
        let from = body.ready.start;
        buf.put_slice(&body.buffer[from..from + given]);
        body.ready.start += given;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::net::root::Root;
    use crate::route::FileName;
    use crate::wire::ByteRange;

    fn served(content: &[u8]) -> (tempfile::TempDir, Served) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), content).unwrap();
        let served = Root::open(dir.path()).unwrap().serve(&FileName::new(b"f").unwrap()).unwrap();
        (dir, served)
    }

    #[tokio::test]
    async fn a_body_is_the_part_that_was_asked_for() {
        let content: Vec<u8> = (0..400_000u32).map(|i| (i % 251) as u8).collect();
        let (_dir, served) = served(&content);
        let (first, last) = ByteRange::Between(1000, 350_000).within(400_000).unwrap();
        let mut got = Vec::new();
        FileBody::new(served, first, last - first + 1).read_to_end(&mut got).await.unwrap();
        assert_eq!(got, &content[1000..=350_000]);
    }

    #[tokio::test]
    async fn a_file_that_changes_never_ends_as_a_whole() {
        let (dir, served) = served(&[1; 1000]);
        let mut body = FileBody::new(served, 0, 1000);
        let mut got = vec![0; 500];
        body.read_exact(&mut got).await.unwrap();
        std::fs::write(dir.path().join("f"), [2; 1000]).unwrap();
        assert!(body.read_to_end(&mut got).await.is_err());
        assert!(got.len() < 1000, "a mixture has the announced length");
    }
}
