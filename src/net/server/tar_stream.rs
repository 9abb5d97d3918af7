//! The origin of a folder: adds up the length of its tar stream, announces it, and sends the stream.

mod body;
mod packer;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::{Instant, interval_at, timeout};

use super::downstream::{AfterRequest, Downstream};
use super::origin::{FILE_LINES, check_loop};
use super::response::{delay_reply, send_body, send_failure, send_head};
use crate::net::access::NO_LISTING_TOKEN;
use crate::net::node::Node;
use crate::net::node::folder_work::FolderSlot;
use crate::net::node::registry::FileRequestGuard;
use crate::net::node::root::{OpenError, WalkError};
use crate::net::os::clock::http_date;
use crate::net::upstream::connect::is_shortage;
use crate::route::{FileName, WalkRange};
use crate::secret::Secret;
use crate::snapshot::{ConnRole, ConnState};
use crate::wire::http::{HeadError, encode_working};
use crate::wire::tar::{MEDIA_TYPE, walk_range};
use crate::wire::{ConditionResult, FailedAction, FileValidators, Method, Problem, Reason, Reply, Request};
use body::{Chunk, TarBody};
use packer::{Measuring, Packer};

/// Time after which an interim response says that the walk continues; most folders take less.
const FIRST_WORKING: Duration = Duration::from_secs(1);
/// Interval of further ones.
const WORKING_INTERVAL: Duration = Duration::from_secs(5);
/// Timeout of the walk that adds up the length: some hundred million files.
const WALK_TIMEOUT: Duration = Duration::from_mins(10);
/// Wait for a slot; the streams that hold them may take hours.
const SLOT_TIMEOUT: Duration = Duration::from_secs(5);

/// A stream of known length.
struct Prepared {
    length: u64,
    omitted: u64,
    /// The rest of it, and its first chunk; `None` for HEAD.
    body: Option<TarBody>,
    _slot: FolderSlot,
}

/// Serves a request for a folder as a tar stream.
pub(crate) async fn serve(
    node: &Arc<Node>,
    down: &mut Downstream,
    job: &FileRequestGuard<'_>,
    request: &Request,
) -> AfterRequest {
    job.update(|record| record.role = ConnRole::Origin);
    let keep = request.keep_alive && !node.drain().is_draining();
    let mut prepared = match prepare(node, down, job, request).await {
        Ok(prepared) => prepared,
        Err(problem) => return send_failure(down, job, &problem, request.method, keep).await,
    };
    let mut reply = Reply {
        status: 200,
        length: Some(prepared.length),
        date: http_date(SystemTime::now()),
        // The same bytes may never be produced again.
        accept_ranges: Some(false),
        content_type: Some(MEDIA_TYPE.into()),
        vary: Some("Accept".to_owned()),
        lines: FILE_LINES.into(),
        hops: Some(0),
        omitted: Some(prepared.omitted),
        keep_alive: keep,
        ..Reply::default()
    };
    job.update(|record| {
        record.status = reply.status;
        record.size = reply.length;
    });
    delay_reply(node, job).await;
    job.record_head();
    down.announce(&mut reply);
    let Some(body) = &mut prepared.body else { return send_head(down, job, keep).await };
    let sent = send_body(node, down, job, body, prepared.length).await;
    AfterRequest::kept_if(keep && sent.is_ok())
}

/// Adds up the length of a stream, and starts to produce it, unless the client closes the connection meanwhile.
async fn prepare(
    node: &Arc<Node>,
    down: &mut Downstream,
    job: &FileRequestGuard<'_>,
    request: &Request,
) -> Result<Prepared, Problem> {
    let problem = |reason, detail: String| Problem::here(reason, FailedAction::Open, node.address_for(request), detail);
    check_loop(node, request)?;
    if !node.config.access.may_list_own(request.authorization.as_ref().map(Secret::reveal)) {
        return Err(problem(Reason::Unauthorized, NO_LISTING_TOKEN.to_owned()));
    }
    if request.evaluate_conditions(&FileValidators::default()) == ConditionResult::Failed {
        return Err(problem(Reason::Changed, "a tar stream has no validators".to_owned()));
    }
    let malformed =
        |error: HeadError| Problem::here(error.reason, FailedAction::Request, node.address_for(request), error.detail);
    let range = walk_range(request.query.as_deref()).map_err(malformed)?;
    let wanted = Wanted { folder: request.name.as_folder(), range, body: request.method == Method::Get };
    job.set_state(ConnState::Waiting);
    let mut working = interval_at(Instant::now() + FIRST_WORKING, WORKING_INTERVAL);
    let preparing = async {
        let mut measured = std::pin::pin!(measure(node, job, wanted));
        loop {
            tokio::select! {
                biased;
                prepared = &mut measured => return prepared.map_err(|(reason, detail)| problem(reason, detail)),
                _ = working.tick(), if request.interim => {
                    let written = down.write(&encode_working(None)).await;
                    written.map_err(|error| problem(Reason::Closed, error.to_string()))?;
                }
                () = down.disconnected() => return Err(problem(Reason::Closed, "the client disconnected".to_owned())),
            }
        }
    };
    let late = |_| problem(Reason::TimedOut, "adding up the sizes of the folder's files".to_owned());
    timeout(WALK_TIMEOUT, preparing).await.map_err(late)?
}

/// What a request is for.
#[derive(Clone, Debug)]
struct Wanted {
    folder: Option<FileName>,
    range: WalkRange,
    body: bool,
}

/// State of a preparation between two pieces of work.
enum Preparation {
    Measuring(Box<Measuring>),
    Done { length: u64, omitted: u64, packed: Option<(Box<Packer>, Chunk)> },
}

/// Walks through the folder piece by piece; a walk that is not wanted any more ends with its current piece.
async fn measure(node: &Arc<Node>, job: &FileRequestGuard<'_>, wanted: Wanted) -> Result<Prepared, (Reason, String)> {
    let busy = |error: io::Error| (Reason::Busy, error.to_string());
    let slot = node.tar_streams.acquire(job.peer().ip(), SLOT_TIMEOUT).await;
    let slot = slot.ok_or_else(|| (Reason::Busy, "too many folders are being sent".to_owned()))?;
    let mut measuring: Option<Box<Measuring>> = None;
    loop {
        let (walker, wanted) = (Arc::clone(node), wanted.clone());
        let piece = move || proceed(&walker, measuring, wanted);
        let working = node.tar_streams.run(piece).map_err(busy)?;
        (node.machine().settle)(&|| working.is_there());
        let piece = working.await.map_err(|error| (Reason::Internal, error.to_string()))?;
        match piece.map_err(|error| describe(node, error))? {
            Preparation::Measuring(walk) => measuring = Some(walk),
            Preparation::Done { length, omitted, packed } => {
                let body = packed.map(|(packer, first)| TarBody::new(node, packer, first));
                return Ok(Prepared { length, omitted, body, _slot: slot });
            }
        }
    }
}

/// Why there is no stream.
enum NoStream {
    Open(OpenError),
    Walk(WalkError),
}

/// Does a piece of the first walk, and begins the second one after its end. Blocks on the disk.
fn proceed(node: &Node, measuring: Option<Box<Measuring>>, wanted: Wanted) -> Result<Preparation, NoStream> {
    let Wanted { folder, range, body } = wanted;
    let root = &node.config.root;
    let mut measuring = if let Some(measuring) = measuring {
        measuring
    } else {
        let walk = root.walk(folder.as_ref(), range.clone()).map_err(NoStream::Open)?;
        Box::new(Measuring::new(walk, folder.as_ref(), &range))
    };
    if !measuring.proceed().map_err(NoStream::Walk)? {
        return Ok(Preparation::Measuring(measuring));
    }
    let (length, omitted) = (measuring.length(), measuring.omitted());
    if !body {
        return Ok(Preparation::Done { length, omitted, packed: None });
    }
    let mut packer = Box::new(measuring.pack(root, folder.as_ref(), range).map_err(NoStream::Walk)?);
    let mut first = Vec::new();
    let result = packer.fill(&mut first);
    Ok(Preparation::Done { length, omitted, packed: Some((packer, (first, result))) })
}

fn describe(node: &Node, error: NoStream) -> (Reason, String) {
    match error {
        NoStream::Open(OpenError::NotFound | OpenError::Folder) => {
            let missing = node.config.root.missing().map(|missing| missing.to_string());
            (Reason::NotFound, missing.unwrap_or_else(|| "there is no such folder".to_owned()))
        }
        NoStream::Open(OpenError::Failed(error)) | NoStream::Walk(WalkError::Failed { error, .. })
            if is_shortage(&error) =>
        {
            (Reason::Busy, error.to_string())
        }
        NoStream::Open(OpenError::Failed(error)) => (Reason::Internal, error.to_string()),
        NoStream::Walk(error @ WalkError::Changed(_)) => (Reason::Changed, error.to_string()),
        NoStream::Walk(error @ WalkError::Failed { .. }) => (Reason::Internal, error.to_string()),
    }
}
