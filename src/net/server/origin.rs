//! The origin: opens the file, announces its length, computes its digest, and sends it.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, interval_at, timeout};

use super::downstream::{AfterRequest, Downstream};
use super::file_body::{FileBody, SentBytes};
use super::response::{delay_reply, send_body, send_failure, send_head};
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

/// Minimum age of a file before its date in whole seconds identifies its content: two, because a file system's clock
/// may lag.
const SETTLED: Duration = Duration::from_secs(2);
/// Header lines of every reply with a file, or about one. A cache revalidates each time, which costs a 304; a page of
/// another site may not load files of a loopback node, and no browser guesses that one is a program.
pub(super) const FILE_LINES: &str = concat!(
    "Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n",
    "Cross-Origin-Resource-Policy: same-origin\r\n"
);
/// The same for a document that may contain scripts: run from here, one could send `Chain-Route` and read anything this
/// node can reach.
const SCRIPT_LINES: &str = concat!(
    "Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n",
    "Cross-Origin-Resource-Policy: same-origin\r\nContent-Security-Policy: script-src 'none'\r\n"
);
/// Interval of interim responses while a digest is computed.
const WORKING_INTERVAL: Duration = Duration::from_secs(5);
/// Timeout of computing a digest.
const DIGEST_TIMEOUT: Duration = Duration::from_mins(10);

/// Fails if the node connected to itself by a name: it is both the waiting relay and its origin.
pub(super) fn check_loop(node: &Node, request: &Request) -> Result<(), Problem> {
    match request.transfer {
        Some(id) if node.registry.has_come_back(id, request.route.len()) => {
            Err(Problem::here(Reason::Loop, FailedAction::Request, node.address_for(request), ""))
        }
        _ => Ok(()),
    }
}

/// Opens the file a request names.
pub(crate) fn open(node: &Node, request: &Request) -> Result<ServedFile, Problem> {
    let address = || node.address_for(request);
    check_loop(node, request)?;
    node.config.root.serve(&request.name.without_dots()).map_err(|error| match error {
        OpenError::NotFound => {
            let missing = node.config.root.missing().map(|missing| missing.to_string()).unwrap_or_default();
            Problem::here(Reason::NotFound, FailedAction::Open, address(), missing)
        }
        OpenError::Folder => {
            Problem::here(Reason::NotFound, FailedAction::Open, address(), "a folder has that name: add a slash to it")
        }
        OpenError::Failed(error) if is_shortage(&error) => shortage(FailedAction::Open, &error),
        OpenError::Failed(error) => Problem::here(Reason::Internal, FailedAction::Open, address(), error.to_string()),
    })
}

/// Serves an HTTP request for a file of this node.
pub(crate) async fn serve(
    node: &Node,
    down: &mut Downstream,
    job: &FileRequestGuard<'_>,
    request: &Request,
) -> AfterRequest {
    job.update(|record| record.role = ConnRole::Origin);
    let keep = request.keep_alive && !node.drain().is_draining();
    match reply(node, down, job, request).await {
        Ok((served, mut reply, first, _hashing)) => {
            reply.keep_alive = keep;
            let length = reply.length.unwrap_or_default();
            job.update(|record| {
                record.status = reply.status;
                record.size = Some(length);
            });
            delay_reply(node, job).await;
            job.record_head();
            down.announce(&mut reply);
            if request.method == Method::Head || reply.status == 304 {
                return send_head(down, job, keep).await;
            }
            let mut body = FileBody::new(served, first, length);
            let sent = send_body(node, down, job, &mut body, length).await;
            if sent.is_ok() && request.want_digest.is_none() {
                down.sent = SentBytes::of(body, &request.name, length);
            }
            AfterRequest::kept_if(keep && sent.is_ok())
        }
        Err(problem) => send_failure(down, job, &problem, request.method, keep).await,
    }
}

/// Returns the file, the reply head, the offset to send from, and the digest that is computed meanwhile.
async fn reply(
    node: &Node,
    down: &mut Downstream,
    job: &FileRequestGuard<'_>,
    request: &Request,
) -> Result<(ServedFile, Reply, u64, Option<Pending>), Problem> {
    let address = || node.address_for(request);
    let served = open(node, request)?;
    let mut etag = served.etag();
    let mut size = served.version.size;
    let mut grown = None;
    let now = SystemTime::now();
    let modified = date_of(served.version.modified.0);
    let settled = modified.is_some_and(|date| now.duration_since(date).is_ok_and(|age| age >= SETTLED));
    let outcome = request.evaluate_conditions(&FileValidators { etag: Some(&etag), modified, settled });
    let range = match outcome {
        // A client that received the file before it grew requests the digest it had then. That is the digest of its
        // first bytes now if they are unchanged; otherwise it does not match what the client received.
        ConditionResult::Failed => match prefix_version(request, &served) {
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
        // An empty file has no ranges.
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
        // A file may be dated in the future, a reply must not state that (RFC 9110, 8.8.2.1).
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

/// State of a requested digest.
enum DigestRequest {
    /// Not requested.
    Nothing,
    /// Already known.
    Known(Digest),
    /// Being computed, for as long as this value exists.
    Later(Pending),
}

/// Returns the requested digest, of the whole file or of its first bytes, immediately if it is known. HEAD waits for
/// it; GET only has it computed while the body is sent.
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
    if let Some(digest) = digests.ready(served.version, algorithm).filter(|_| whole) {
        return Ok(DigestRequest::Known(digest));
    }
    if request.method == Method::Get {
        return Ok(DigestRequest::Later(digests.start(served, algorithm, source)));
    }
    if let Some(digest) = digests.compute_now(served, size, algorithm) {
        return Ok(DigestRequest::Known(digest));
    }
    let mut pending = if whole {
        digests.start(served, algorithm, source)
    } else {
        digests.of_first(served, size, algorithm, source)
    };
    job.set_state(ConnState::Waiting);
    let problem =
        |reason, detail: String| Problem::here(reason, FailedAction::Verify, node.address_for(request), detail);
    let mut working = interval_at(Instant::now() + WORKING_INTERVAL, WORKING_INTERVAL);
    let waiting = async {
        let mut retried = false;
        loop {
            tokio::select! {
                biased;
                digest = pending.finished() => match digest {
                    // It grew while it was hashed, by a job that may have begun before the client had all of it.
                    Err(NoDigest::Changed) if whole && !retried && served.change() == FileChange::Grown => {
                        retried = true;
                        pending = digests.of_first(served, size, algorithm, source);
                    }
                    Err(NoDigest::Changed) => return Err(problem(Reason::Changed, String::new())),
                    Err(why @ NoDigest::Unread(_)) => return Err(problem(Reason::Internal, why.to_string())),
                    Err(why @ NoDigest::Busy) => return Err(problem(Reason::Busy, why.to_string())),
                    Ok(digest) => return Ok(digest),
                },
                _ = working.tick(), if request.interim => {
                    let message = encode_working(digests.progress(&pending));
                    down.write(&message).await.map_err(|error| problem(Reason::Closed, error.to_string()))?;
                }
                () = down.disconnected() => return Err(problem(Reason::Closed, "the client disconnected".to_owned())),
            }
        }
    };
    match timeout(DIGEST_TIMEOUT, waiting).await {
        Ok(digest) => digest.map(DigestRequest::Known),
        Err(_) => Err(problem(Reason::TimedOut, "computing the digest".to_owned())),
    }
}

/// Converts seconds to a date that HTTP can represent; the year 9999 is the last.
fn date_of(seconds: i64) -> Option<SystemTime> {
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds < 253_402_300_800)?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Returns the validator and size that the file had before it grew, if the client requests a digest of that version.
fn prefix_version(request: &Request, served: &ServedFile) -> Option<(String, u64)> {
    let wanted =
        request.if_match.as_deref().filter(|_| request.method == Method::Head && request.want_digest.is_some());
    let wanted = wanted.filter(|_| request.if_unmodified_since.is_none())?;
    Some((wanted.to_owned(), served.version.grown_from(wanted)?))
}
