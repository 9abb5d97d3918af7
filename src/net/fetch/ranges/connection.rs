//! One connection: receives piece after piece of the file, until there is nothing left that it could help with.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::written::PieceWriter;
use crate::error::{Error, KeptBytes};
use crate::net::fetch::attribution::attributed;
use crate::net::fetch::body::{self, Wanted};
use crate::net::fetch::disk::WriteQueue;
use crate::net::fetch::job::FetchJob;
use crate::net::fetch::pieces::{Asking, Piece, PieceMap};
use crate::net::fetch::request::{all_legs, request, send_request_tracked, wrong_range};
use crate::net::fetch::tracker::Tracker;
use crate::net::fetch::validator::Validator;
use crate::net::os::starvation::SchedDelayProbe;
use crate::net::upstream::{Upstream, UpstreamReply};
use crate::route::Protocol;
use crate::snapshot::{Phase, TransferSnapshot};
use crate::wire::{ByteRange, Method, Request};

/// What the connections of one transfer share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) map: Mutex<PieceMap>,
    pub(super) writer: PieceWriter,
    /// Size of the file.
    pub(super) size: u64,
}

/// A connection that is about to receive pieces.
pub(super) struct Connection {
    /// What it asks the map for; the limit of its bytes is that of the first piece.
    pub(super) asking: Asking,
    /// Its first piece, which is assigned before it runs: another connection must not take the gap of an open body.
    pub(super) piece: Range<u64>,
    /// The reply whose body is open already: its first byte is that of the piece, its last one that of the file.
    pub(super) open: Option<Box<UpstreamReply>>,
    pub(super) upstream: Upstream,
    /// A clone for this connection, with its route and an id of its own.
    pub(super) job: FetchJob,
    /// The version of the file at the origin of this route.
    pub(super) validator: Validator,
    /// Round trip through the whole route.
    pub(super) round_trip: Duration,
    /// The piece that it has received last.
    pub(super) last: Piece,
    /// Set when it shall take no further piece.
    pub(super) retired: CancellationToken,
}

/// What a connection leaves behind.
pub(super) struct Ended {
    pub(super) number: u32,
    /// Its last piece, as far as it came.
    pub(super) piece: Piece,
    pub(super) result: Result<(), Error>,
}

impl Shared {
    /// Runs a function on the map.
    pub(super) fn with_map<T>(&self, work: impl FnOnce(&mut PieceMap) -> T) -> T {
        work(&mut self.map.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Receives pieces until none is left, or one fails; what is missing of that one is given back.
pub(super) async fn run(
    mut connection: Connection,
    shared: Arc<Shared>,
    progress: watch::Sender<TransferSnapshot>,
    stop: CancellationToken,
) -> Ended {
    let mut tracker = Tracker::new(&connection.job, &progress);
    let meter = tracker.meter();
    let mut queue = shared.writer.queue(connection.asking.number, &meter);
    let delayed = Arc::clone(&meter);
    let probe = SchedDelayProbe::start(connection.job.machine, move |us| delayed.record_sched_delay(us));
    let received = receive_all(&mut connection, &shared, &mut queue, &mut tracker, &stop).await;
    drop(probe);
    let number = connection.asking.number;
    let last = std::mem::take(&mut connection.last);
    // What is left of a body goes with the connection.
    drop(connection);
    // Before others may write there.
    shared.writer.end(number, queue).await;
    let piece = shared.with_map(|map| map.give_back(number)).unwrap_or(last);
    tracker.end();
    // The last bytes count, too.
    tracker.publish();
    Ended { number, piece, result: received }
}

/// Receives piece after piece.
async fn receive_all(
    connection: &mut Connection,
    shared: &Shared,
    queue: &mut WriteQueue,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let number = connection.asking.number;
    loop {
        let range = connection.piece.clone();
        shared.writer.begin(queue, range.start);
        tracker.attempt(connection.job.id);
        let open = connection.open.take();
        let end = if open.is_some() { shared.size } else { range.end };
        let response = if let Some(response) = open {
            response
        } else {
            Box::new(request_range(connection, &range, shared.size, tracker, stop).await?)
        };
        tracker.through(response.tunnel);
        tracker.on_reply(shared.size, response.protocol, &all_legs(&response), range.start);
        tracker.begin();
        let began = Instant::now();
        let wanted = Wanted::Piece(&shared.map, number);
        let received =
            body::receive(&mut connection.upstream, &connection.job, (wanted, shared.size), queue, tracker, stop).await;
        tracker.end();
        let reached = shared.with_map(|map| map.piece(number).map_or(range.start, |piece| piece.at));
        if let Err(error) = received {
            return Err(attributed(&connection.job, (Protocol::Http, tracker), error, stop).await);
        }
        if reached == end {
            connection.upstream.finish();
            connection.asking.setup = connection.round_trip;
        } else {
            // The rest of this body is received by others.
            connection.upstream.close();
            connection.asking.setup = connection.round_trip * 2;
        }
        let seconds = began.elapsed().as_secs_f64().max(1e-3);
        connection.asking.rate = ((reached - range.start) as f64 / seconds) as u64;
        connection.asking.most = None;
        if connection.retired.is_cancelled() || shared.writer.has_failed() {
            return Ok(());
        }
        let asking = connection.asking;
        let (ended, next) = shared.with_map(|map| (map.give_back(number), map.assign(&asking)));
        connection.last = ended.unwrap_or_default();
        let Some(next) = next else { return Ok(()) };
        connection.piece = next;
        connection.job.id = connection.job.machine.transfer_id();
    }
}

/// Requests one range of the same version of the file.
async fn request_range(
    connection: &mut Connection,
    range: &Range<u64>,
    size: u64,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<UpstreamReply, Error> {
    let Connection { upstream, job, validator, .. } = connection;
    tracker.phase(Phase::Connecting);
    let if_match = validator.etag().map(str::to_owned);
    // A date is no entity tag: with a changed file, the whole would follow.
    let if_range = if if_match.is_none() { Some(validator.text().to_owned()) } else { None };
    let request = Request {
        range: Some(ByteRange::Between(range.start, range.end - 1)),
        if_match,
        if_range,
        ..request(job, Method::Get, None)
    };
    let response = send_request_tracked(upstream, job, request, tracker, stop).await?;
    let reply = &response.reply;
    if reply.size() != Some(size) || !validator.holds(reply) {
        return Err(Error::Changed { file: job.route.file.shown(), kept: KeptBytes::default() });
    }
    if reply.content_range != Some((range.start, range.end - 1, size)) {
        return Err(wrong_range(job));
    }
    Ok(response)
}
