//! The origin: finds the file, says how long it is, proves what it is, and sends it.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, interval_at, timeout};

use super::downstream::{AfterRequest, Downstream};
use super::file_body::{FileBody, SentBytes};
use super::response::{hold_back, send_body};
use crate::net::node::Node;
use crate::net::node::digests::{NoDigest, Pending};
use crate::net::node::registry::FileRequestGuard;
use crate::net::node::root::{FileChange, OpenError, ServedFile};
use crate::net::os::clock::http_date;
use crate::net::upstream::connect::{is_shortage, shortage};
use crate::snapshot::{ConnRole, ConnState};
use crate::wire::http::encode_working;
use crate::wire::media::Media;
use crate::wire::{ConditionResult, Digest, FailedAction, FileValidators, Method, Problem, Reason, Reply, Request};

/// How long a file has to stand before its date in whole seconds names one state: two, because a file system's clock
/// may lag.
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
pub(crate) fn open(node: &Node, request: &Request) -> Result<ServedFile, Problem> {
    let address = || node.called(request);
    if request.transfer.is_some_and(|id| node.registry.is_pending(id)) {
        // The node connected to itself by a name: it is both the relay that waits and the origin it waits for.
        return Err(Problem::here(Reason::Loop, FailedAction::Request, address(), ""));
    }
    node.config.root.serve(&request.name.without_dots()).map_err(|error| match error {
        OpenError::NotFound => {
            let gone = node.config.root.gone().map(|gone| gone.to_string()).unwrap_or_default();
            Problem::here(Reason::NotFound, FailedAction::Open, address(), gone)
        }
        OpenError::Folder => {
            Problem::here(Reason::NotFound, FailedAction::Open, address(), "a folder of that name is there")
        }
        OpenError::Failed(error) if is_shortage(&error) => shortage(FailedAction::Open, &error),
        OpenError::Failed(error) => Problem::here(Reason::Internal, FailedAction::Open, address(), error.to_string()),
    })
}

/// Answers a request for a file of this node over HTTP.
pub(crate) async fn answer(
    node: &Node,
    down: &mut Downstream,
    job: &FileRequestGuard<'_>,
    request: &Request,
) -> AfterRequest {
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
                    Ok(()) if keep => AfterRequest::Keep,
                    Ok(()) => AfterRequest::Close,
                    Err(_) => AfterRequest::Drop,
                };
            }
            let mut body = FileBody::new(served, first, length);
            let sent = send_body(node, down, job, &mut body, length).await;
            if sent.is_ok() && request.want_digest.is_none() {
                down.sent = SentBytes::of(body, &request.name, length);
            }
            match sent {
                Ok(()) if keep => AfterRequest::Keep,
                Ok(()) | Err(_) => AfterRequest::Close,
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
    job: &FileRequestGuard<'_>,
    request: &Request,
) -> Result<(ServedFile, Reply, u64, Option<Pending>), Problem> {
    let address = || node.called(request);
    let served = open(node, request)?;
    let mut etag = served.etag();
    let mut size = served.version.size;
    let mut grown = None;
    let now = SystemTime::now();
    let modified = date_of(served.version.modified.0);
    let settled = modified.is_some_and(|date| now.duration_since(date).is_ok_and(|age| age >= SETTLED));
    let outcome = request.evaluate_conditions(&FileValidators { etag: Some(&etag), modified, settled });
    let range = match outcome {
        // Whoever received the file before it grew asks what its digest was; that is the digest of its first bytes now,
        // if they are still the same, and if not, then it is none of what was received.
        ConditionResult::Failed => match proof_of_first(request, &served) {
            Some((wanted, before)) => {
                (etag, grown, size) = (wanted, Some(size), before);
                None
            }
            None => return Err(Problem::here(Reason::Changed, FailedAction::Open, address(), "")),
        },
        ConditionResult::NotModified => {
            let reply = Reply {
                status: 304,
                etag: Some(etag),
                date: http_date(now),
                lines: FILE_LINES.into(),
                hops: Some(0),
                ..Reply::default()
            };
            return Ok((served, reply, 0, None));
        }
        ConditionResult::Whole => None,
        ConditionResult::Part => request.range,
    };
    let part = match range {
        Some(range) => Some(range.within(size).ok_or_else(|| {
            let detail = format!("the file has {size} bytes");
            Problem { size: Some(size), ..Problem::here(Reason::Range, FailedAction::Open, address(), detail) }
        })?),
        // An empty file has no range to be a part of.
        None => None,
    };
    let (digest, hashing) = match wanted_digest(node, down, job, request, &served, size).await? {
        DigestRequest::Known(digest) => (Some(digest), None),
        DigestRequest::Later(pending) => (None, Some(pending)),
        DigestRequest::Nothing => (None, None),
    };
    let media = Media::of(request.name.as_bytes());
    let (first, length) = part.map_or((0, size), |(first, last)| (first, last - first + 1));
    let reply = Reply {
        status: if part.is_some() { 206 } else { 200 },
        length: Some(length),
        content_range: part.map(|(first, last)| (first, last, size)),
        etag: Some(etag),
        // A file may come from the future, a reply may not say so (RFC 9110, 8.8.2.1).
        last_modified: modified.and_then(|date| http_date(date.min(now))),
        date: http_date(now),
        accept_ranges: Some(true),
        content_type: Some(media.kind.into()),
        lines: if media.scripts { SCRIPT_LINES } else { FILE_LINES }.into(),
        hops: Some(0),
        digests: digest.into_iter().collect(),
        grown,
        ..Reply::default()
    };
    Ok((served, reply, first, hashing))
}

/// What becomes of a wish for a digest.
enum DigestRequest {
    /// There was none.
    Nothing,
    /// It is there.
    Known(Digest),
    /// It is being computed, for as long as this is held.
    Later(Pending),
}

/// The digest a request asks for, of the whole file or of its first bytes: at once if it is known. HEAD waits for it;
/// GET only has it computed beside the sending.
async fn wanted_digest(
    node: &Node,
    down: &mut Downstream,
    job: &FileRequestGuard<'_>,
    request: &Request,
    served: &ServedFile,
    size: u64,
) -> Result<DigestRequest, Problem> {
    let Some(algorithm) = request.want_digest else { return Ok(DigestRequest::Nothing) };
    let (digests, source) = (&node.digests, job.peer().ip());
    let whole = size == served.version.size;
    if let Some(digest) = digests.ready(served, algorithm).filter(|_| whole) {
        return Ok(DigestRequest::Known(digest));
    }
    if request.method == Method::Get {
        return Ok(DigestRequest::Later(digests.start(served, algorithm, source)));
    }
    if let Some(digest) = digests.at_once(served, size, algorithm) {
        return Ok(DigestRequest::Known(digest));
    }
    let mut pending = if whole {
        digests.start(served, algorithm, source)
    } else {
        digests.of_first(served, size, algorithm, source)
    };
    job.set_state(ConnState::Waiting);
    let problem = |reason, detail: String| Problem::here(reason, FailedAction::Verify, node.called(request), detail);
    let mut working = interval_at(Instant::now() + WORKING, WORKING);
    let waiting = async {
        let mut again = false;
        loop {
            tokio::select! {
                biased;
                digest = pending.finished() => match digest {
                    // It grew while it was read, by a job that may have begun before the client had all of it.
                    Err(NoDigest::Changed) if whole && !again && served.since() == FileChange::Grown => {
                        again = true;
                        pending = digests.of_first(served, size, algorithm, source);
                    }
                    Err(NoDigest::Changed) => return Err(problem(Reason::Changed, String::new())),
                    Err(why @ NoDigest::Unread(_)) => return Err(problem(Reason::Internal, why.to_string())),
                    Err(why @ NoDigest::Busy) => return Err(problem(Reason::Busy, why.to_string())),
                    Ok(digest) => return Ok(digest),
                },
                _ = working.tick(), if request.interim => {
                    let told = encode_working(digests.progress(&pending));
                    down.write(&told).await.map_err(|error| problem(Reason::Closed, error.to_string()))?;
                }
                () = down.gone() => return Err(problem(Reason::Closed, "the client left".to_owned())),
            }
        }
    };
    match timeout(LONGEST_DIGEST, waiting).await {
        Ok(digest) => digest.map(DigestRequest::Known),
        Err(_) => Err(problem(Reason::TimedOut, "computing the digest".to_owned())),
    }
}

/// Seconds as a date that HTTP can write; the year 9999 is the last.
fn date_of(seconds: i64) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds < 253_402_300_800)?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// The validator and the size of a file as it was before it grew, where a client asks for the proof of that.
fn proof_of_first(request: &Request, served: &ServedFile) -> Option<(String, u64)> {
    let wanted =
        request.if_match.as_deref().filter(|_| request.method == Method::Head && request.want_digest.is_some());
    let wanted = wanted.filter(|_| request.if_unmodified_since.is_none())?;
    Some((wanted.to_owned(), served.version.grown_from(wanted)?))
}
