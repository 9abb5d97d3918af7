//! The client end: one transfer from the first question to the file in its place, or the question alone.

mod body;
mod cap;
mod check;
mod disk;
mod part;
mod place;
mod proof;
mod tracker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ids;
use super::limits::Limits;
use super::link::Links;
use super::upstream::{Answer, Upstream};
use crate::error::{Error, Kept};
use crate::route::{Route, Wire};
use crate::snapshot::{Flow, Phase, Proof, TransferSnapshot};
use crate::wire::{Action, Algorithm, Digest, Leg, Method, Problem, Reason, Request, TransferId};

use disk::{Writer, Written};
use part::{Part, Published};
use place::Place;
use tracker::Tracker;

pub use cap::Cap;
pub use check::{Checked, check};
pub use proof::ProofWish;

/// One file to fetch: what, from where, to where.
#[derive(Clone, Debug)]
pub struct FetchJob {
    /// Its number in this run, from 1.
    pub number: u64,
    /// Its id on the wire: never used twice, and the right to ask the hops about it. Each try has its own; this is the
    /// latest.
    pub id: TransferId,
    /// The file and the hops.
    pub route: Route,
    /// The file or folder to write to.
    pub output: PathBuf,
    /// Replace a file that is there already.
    pub force: bool,
    /// What to compare the bytes with.
    pub proof: ProofWish,
    /// The most it takes; whoever has a clone can turn it while the transfer runs.
    pub cap: Cap,
    /// The waits.
    pub limits: Limits,
}

/// A file that is in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub size: u64,
    /// How sure we are of its content.
    pub proof: Proof,
    /// The same bytes were there already.
    pub was_there: bool,
    /// The wire that the first hop speaks.
    pub wire: Wire,
    /// What each leg's set-up took, the client's own first.
    pub legs: Vec<Leg>,
    /// From the question to the file in its place.
    pub elapsed: Duration,
    /// What the client's own stage did.
    pub flow: Flow,
}

impl FetchJob {
    /// A job with a new id, and nothing out of the ordinary about it.
    pub fn new(number: u64, route: Route, output: PathBuf, limits: Limits) -> Self {
        Self {
            number,
            id: ids::transfer_id(),
            route,
            output,
            force: false,
            proof: ProofWish::default(),
            cap: Cap::default(),
            limits,
        }
    }
}

/// A client's way to the first hop: it may dial whatever a person names. `wire` is for hops that are not marked.
pub fn client(links: Arc<Links>, limits: Limits, wire: Option<Wire>) -> Upstream {
    Upstream::new(links, limits, Arc::new(|_| Ok(())), wire)
}

/// Fetches one file and says how it goes through `progress`; the last value there is the outcome.
///
/// `upstream` can be used for the next file afterwards, whatever the outcome, and `job` for the next try: its id is then
/// that of the last. Cancel through `stop`: a transfer that is dropped instead leaves its part file without a word.
pub async fn fetch(
    upstream: &mut Upstream,
    job: &mut FetchJob,
    progress: &watch::Sender<TransferSnapshot>,
    stop: &CancellationToken,
) -> Result<Fetched, Error> {
    let mut tracker = Tracker::new(job, progress);
    let result = run(upstream, job, &mut tracker, stop).await;
    match &result {
        Ok(fetched) => tracker.done(fetched),
        Err(error) => {
            // What is left on the connection belongs to a transfer that is over.
            upstream.close();
            tracker.failed(error);
        }
    }
    result
}

async fn run(
    upstream: &mut Upstream,
    job: &FetchJob,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Fetched, Error> {
    let place = Arc::new(Place::of(&job.output, &job.route.file)?);
    tracker.path(&place.path());
    tracker.phase(Phase::Dialing);
    let request = request(job, Method::Get, job.proof.algorithm());
    let answer = ask(upstream, job, request, stop).await?;
    let size = answer.reply.size().unwrap_or_default();
    let legs = all_legs(&answer);
    tracker.answered(size, &legs);
    let part = open_part(&place, job, size).await?;
    let (part, digest) = receive(upstream, job, part, size, tracker, stop).await?;
    upstream.finish();
    tracker.phase(Phase::Verifying);
    let proof =
        proof::prove(upstream, job, &answer, digest, stop).await.map_err(|error| error.keeping(Kept(part.keep())))?;
    let published = publish(part, job.force, stop).await?;
    Ok(Fetched {
        path: place.path(),
        size,
        proof,
        was_there: published == Published::WasThere,
        wire: answer.wire,
        legs,
        elapsed: tracker.elapsed(),
        flow: tracker.flow(),
    })
}

/// The body, from the go-ahead to the last byte written; where it fails, the part is kept.
async fn receive(
    upstream: &mut Upstream,
    job: &FetchJob,
    part: Part,
    size: u64,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<(Part, Option<Digest>), Error> {
    tracker.begin();
    let mut writer = Writer::start(part, size, job.proof.algorithm(), tracker.meter());
    let received = body::receive(upstream, job, size, &mut writer, tracker, stop).await;
    let Written { part, digest, result } = writer.finish().await?;
    tracker.end();
    match received.and(result) {
        Ok(()) => Ok((part, digest)),
        Err(error) => Err(error.keeping(Kept(part.keep()))),
    }
}

/// Opens the part and reserves the disk, both before the first byte is asked for.
async fn open_part(place: &Arc<Place>, job: &FetchJob, size: u64) -> Result<Part, Error> {
    let (place, force) = (Arc::clone(place), job.force);
    blocking(move || {
        place.check_existing(size, force)?;
        let part = Part::open(place)?;
        part.reserve(size).inspect_err(|_| drop(part.keep()))?;
        Ok(part)
    })
    .await
}

async fn publish(part: Part, force: bool, stop: &CancellationToken) -> Result<Published, Error> {
    let stop = stop.clone();
    blocking(move || part.publish(force, &|| stop.is_cancelled())).await
}

/// Disk work that may take long has a thread of its own, so that it holds up no socket.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(Error::Other(format!("the disk thread failed: {error}"))),
    }
}

fn request(job: &FetchJob, method: Method, want_digest: Option<Algorithm>) -> Request {
    let (_, rest) = job.route.split_first();
    Request {
        method,
        name: job.route.file.clone(),
        host: None,
        route: rest.to_vec(),
        transfer: Some(job.id),
        timeout: None,
        range: None,
        if_range: None,
        if_match: None,
        want_digest,
        ack: false,
        via: None,
        interim: true,
        keep_alive: true,
    }
}

async fn ask(
    upstream: &mut Upstream,
    job: &FetchJob,
    request: Request,
    stop: &CancellationToken,
) -> Result<Answer, Error> {
    let (first, _) = job.route.split_first();
    let deadline = Instant::now() + job.limits.setup;
    let answer = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(Error::Interrupted { kept: Kept::default() }),
        answer = upstream.ask(first, Box::new(request), deadline, &|_| ()) => answer.map_err(|problem| Error::at_hop(problem, &job.route))?,
    };
    if answer.reply.status == 200 {
        return Ok(answer);
    }
    let status = format!("status {}", answer.reply.status);
    let problem = Problem::next(Reason::Nonsense, Action::Reply, &first.address, status, answer.leg.wait_ms);
    Err(Error::at_hop(problem, &job.route))
}

/// The client's own leg, then each relay's; a reply lists the one nearest to the origin first.
fn all_legs(answer: &Answer) -> Vec<Leg> {
    std::iter::once(answer.leg).chain(answer.reply.legs.iter().rev().copied()).collect()
}

#[cfg(test)]
mod tests;
