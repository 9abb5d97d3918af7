//! A file over several connections: starts them, divides the work, adds and removes them, and handles their failures.

mod adjust;
mod progress;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::connection::{self, Connection, Ended, Shared};
use super::observe::Observer;
use super::same_file::{self, Checked, FirstRoute};
use super::transfer_route::{TransferRoute, Version};
use super::written::PieceWriter;
use crate::connections::{Connections, MAX_CONNECTIONS};
use crate::error::{Error, KeptBytes};
use crate::net::fetch::job::FetchJob;
use crate::net::fetch::partial::ResumeCandidate;
use crate::net::fetch::pieces::{Asking, Piece, PieceMap};
use crate::net::fetch::rate_limit::RateLimit;
use crate::net::fetch::request::all_legs;
use crate::net::fetch::tracker::Tracker;
use crate::net::upstream::origin_slots::OriginSlot;
use crate::net::upstream::{Upstream, UpstreamReply};
use crate::snapshot::{ConnectionProgress, ConnectionsProgress, Flow, RouteState, TransferSnapshot};
use crate::wire::{Algorithm, TransferIds};

/// A running connection.
struct Active {
    route: usize,
    news: watch::Receiver<TransferSnapshot>,
    stop: CancellationToken,
    retired: CancellationToken,
    rate_limit: RateLimit,
    /// Bytes at the last look, and when they last changed.
    bytes: u64,
    moved: Instant,
    /// It was stopped because its piece did not move.
    stalled: bool,
    _slot: OriginSlot,
}

/// Result of the check of a further route, with its position.
type RouteCheck = (usize, Result<Checked, Error>);

/// What a transfer over several connections leaves behind.
pub(in crate::net::fetch) struct Received {
    pub(in crate::net::fetch) candidate: ResumeCandidate,
    pub(in crate::net::fetch) result: Result<(), Error>,
    /// The route to verify the whole through, if it is not the first one, and a reply of its origin.
    pub(in crate::net::fetch) via: Option<(FetchJob, Box<UpstreamReply>)>,
}

/// A transfer over several connections.
struct Run<'a, 'b> {
    shared: Arc<Shared>,
    routes: Vec<TransferRoute>,
    tracker: &'a mut Tracker<'b>,
    stop: CancellationToken,
    running: JoinSet<Ended>,
    active: BTreeMap<u32, Active>,
    checks: JoinSet<RouteCheck>,
    observer: Observer,
    next_number: u32,
    /// The last ended connections.
    ended_connections: VecDeque<ConnectionProgress>,
    /// Sum over the ended connections, those of earlier attempts included.
    ended: Flow,
    rate_limit: RateLimit,
    /// What was asked for, and the steps so far.
    steps: ConnectionsProgress,
    /// The last failure.
    failure: Option<Error>,
}

/// Receives what is missing of a file, beginning with the reply that is open.
pub(in crate::net::fetch) async fn receive(
    upstream: &mut Upstream,
    job: &FetchJob,
    candidate: ResumeCandidate,
    response: &UpstreamReply,
    size: u64,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Received, Error> {
    let Some(source) = candidate.source.clone() else {
        return Err(Error::Other("a file without a validator cannot be requested in parts".to_owned()));
    };
    let here = candidate.received.as_ref().map(|received| received.ranges.clone()).unwrap_or_default();
    let hashes = job.verify.algorithm().is_some();
    let (writer, thread) = PieceWriter::start(job.machine, candidate, (size, hashes), 1 + job.routes.len());
    let shared = Arc::new(Shared { map: Mutex::new(PieceMap::new(size, &here)), writer, size });
    let another = upstream.another();
    let open = std::mem::replace(upstream, another);
    let first =
        FirstRoute { job: job.clone(), source: source.clone(), digest: response.reply.digest(Algorithm::Blake3) };
    let legs = all_legs(response);
    let mut run = Run {
        routes: routes(job, upstream),
        shared,
        ended_connections: VecDeque::new(),
        ended: tracker.parts(),
        rate_limit: job.rate_limit.clone(),
        tracker,
        stop: stop.child_token(),
        running: JoinSet::new(),
        active: BTreeMap::new(),
        checks: JoinSet::new(),
        observer: Observer::new(1 + job.routes.len(), job.identity.clone()),
        next_number: 1,
        steps: ConnectionsProgress { most: job.connections, ..ConnectionsProgress::default() },
        failure: None,
    };
    run.routes[0].is_same(source, Box::new(response.clone()), &legs);
    // Else nothing was missing, and no body was requested.
    let result = if run.left() == 0 {
        *upstream = open;
        Ok(())
    } else {
        run.start(0, Some(open));
        run.check_others(&first);
        run.run().await
    };
    // Each connection that is cancelled ends its writes first.
    run.stop.cancel();
    while let Some(ended) = run.running.join_next().await {
        if let Ok(ended) = ended {
            run.settle(&ended);
        }
    }
    // The hops' records of the whole are those of the first connection.
    run.tracker.follow(TransferIds { file: job.id, tunnel: response.tunnel });
    run.publish();
    if run.tracker.has_begun() {
        run.tracker.end();
    }
    let via = run.via();
    drop(run);
    let (candidate, written) = thread.finish(job.machine).await?;
    Ok(Received { candidate, result: written.and(result), via })
}

/// Returns the routes of a job: its own route first.
fn routes(job: &FetchJob, upstream: &Upstream) -> Vec<TransferRoute> {
    let count = 1 + job.routes.len();
    let share = |at: usize| match job.connections {
        Connections::Auto => MAX_CONNECTIONS,
        Connections::Fixed(all) => (all.get() / count + usize::from(at < all.get() % count)).max(1),
    };
    std::iter::once(&job.route)
        .chain(&job.routes)
        .enumerate()
        .map(|(at, route)| {
            let number = u8::try_from(1 + (at + job.passed) % count).unwrap_or(u8::MAX);
            let job = FetchJob { route: route.clone(), ..job.clone() };
            let connections = job.connections;
            TransferRoute::new(number, job, upstream.another(), connections, share(at))
        })
        .collect()
}

impl Run<'_, '_> {
    /// Runs until all bytes have arrived, or no connection can bring more.
    async fn run(&mut self) -> Result<(), Error> {
        loop {
            if self.shared.writer.has_failed() {
                // The disk's own error takes the place of this one.
                return Err(Error::Interrupted { kept: KeptBytes::default() });
            }
            self.start_all();
            if self.running.is_empty() && self.checks.is_empty() {
                if self.left() == 0 {
                    return Ok(());
                }
                // The next attempt begins after a backoff, with the routes that lead there.
                let lost = || Error::Other("no connection is left for the rest of the file".to_owned());
                return Err(self.failure.take().unwrap_or_else(lost));
            }
            if self.left() == 0 {
                // The file is complete: nothing depends on further routes.
                self.checks.abort_all();
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(Error::Interrupted { kept: KeptBytes::default() }),
                Some(ended) = self.running.join_next() => {
                    let panicked = |error| Error::Other(format!("internal error in a connection: {error}"));
                    self.end(ended.map_err(panicked)?)?;
                }
                Some(checked) = self.checks.join_next() => {
                    if let Ok(checked) = checked {
                        self.checked(checked);
                    }
                }
                Some((at, connection, records)) = self.observer.answered() => {
                    let Some(active) = self.active.get(&connection) else { continue };
                    let transfer = active.news.borrow().clone();
                    let now_us = self.tracker.now_us();
                    let finding = self.observer.evaluate(now_us, (at, connection), &records, &transfer);
                    self.grow(at, finding);
                }
                // Often enough to start what is due after a backoff, too.
                () = self.tracker.due() => self.look(),
            }
        }
    }

    fn left(&self) -> u64 {
        self.shared.with_map(|map| map.left())
    }

    /// Checks whether the other routes lead to the same file.
    fn check_others(&mut self, first: &FirstRoute) {
        for (at, route) in self.routes.iter().enumerate().skip(1) {
            let mut chain = route.upstream.another();
            let (job, first, stop) = (route.job.clone(), first.clone(), self.stop.clone());
            self.checks.spawn(async move { (at, same_file::check(&mut chain, &job, &first, &stop).await) });
        }
    }

    fn checked(&mut self, (at, checked): RouteCheck) {
        let route = &mut self.routes[at];
        match checked {
            Ok(Checked::Same(source, response)) => {
                let legs = all_legs(&response);
                route.is_same(source, response, &legs);
            }
            Ok(Checked::Other(why)) => route.refuse(why),
            Err(error) => route.give_up(&error),
        }
        self.publish();
    }

    /// Starts connections while routes have fewer than they should, and there is work for more.
    fn start_all(&mut self) {
        for at in 0..self.routes.len() {
            while self.count(at) < self.routes[at].target && self.routes[at].is_usable() && self.start(at, None) {}
        }
    }

    /// Returns the number of connections of a route.
    fn count(&self, at: usize) -> usize {
        self.active.values().filter(|active| active.route == at && !active.stalled).count()
    }

    /// Starts a connection, with the body that is open already if there is one; false if there is no work for it.
    fn start(&mut self, at: usize, open: Option<Upstream>) -> bool {
        let route = &self.routes[at];
        let Some(Version { source, response }) = &route.version else { return false };
        let Some(slot) = route.upstream.shared().origins.take(&route.job.route, self.count(at) == 0) else {
            return false;
        };
        let (number, is_open) = (self.next_number, open.is_some());
        let most = self.first_piece(at);
        let asking = Asking { number, route: route.number, rate: 0, setup: route.round_trip * 2, most };
        let size = self.shared.size;
        let piece = self.shared.with_map(|map| {
            let piece = map.assign(&asking)?;
            if is_open {
                map.reaches(number, size);
            }
            Some(piece)
        });
        let Some(piece) = piece else { return false };
        let id = if is_open { route.job.id } else { route.job.machine.transfer_id() };
        let rate_limit = RateLimit::new(route.job.rate_limit.get());
        let (stop, retired) = (self.stop.child_token(), CancellationToken::new());
        let connection = Connection {
            asking,
            piece,
            open: is_open.then(|| response.clone()),
            upstream: open.unwrap_or_else(|| route.upstream.another()),
            job: FetchJob { id, number: u64::from(number), rate_limit: rate_limit.clone(), ..route.job.clone() },
            validator: source.validator.clone(),
            round_trip: route.round_trip,
            last: Piece::default(),
            retired: retired.clone(),
        };
        let (progress, news) = watch::channel(TransferSnapshot::default());
        self.running.spawn(connection::run(connection, Arc::clone(&self.shared), progress, stop.clone()));
        let moved = Instant::now();
        let active =
            Active { route: at, news, stop, retired, rate_limit, bytes: 0, moved, stalled: false, _slot: slot };
        self.active.insert(number, active);
        self.next_number += 1;
        self.share_rate_limit();
        true
    }

    /// Returns the current rate of a route.
    fn rate(&self, at: usize) -> u64 {
        self.active.values().filter(|active| active.route == at).map(|active| active.news.borrow().rate).sum()
    }

    /// Counts what an ended connection has moved.
    fn settle(&mut self, ended: &Ended) -> Option<Active> {
        let active = self.active.remove(&ended.number)?;
        let flow = active.news.borrow().flow;
        self.keep_ended(ended, &active);
        self.ended.add(&flow);
        self.routes[active.route].ended += flow.bytes_in;
        Some(active)
    }

    /// Handles the end of a connection.
    fn end(&mut self, ended: Ended) -> Result<(), Error> {
        let Some(active) = self.settle(&ended) else { return Ok(()) };
        let at = active.route;
        let others = self.count(at);
        self.share_rate_limit();
        let error = match ended.result {
            Ok(()) => {
                if active.bytes > 0 {
                    self.routes[at].works();
                }
                return Ok(());
            }
            // It was stopped so that others receive its piece.
            Err(Error::Interrupted { .. }) if active.stalled => return Ok(()),
            Err(error) => error,
        };
        if is_of_transfer(&error) {
            return Err(error);
        }
        let bytes = self.received(at);
        self.routes[at].fail(&error, others, bytes);
        self.failure = Some(error);
        self.publish();
        Ok(())
    }

    /// Returns the bytes that a route has brought.
    fn received(&self, at: usize) -> u64 {
        let running = self.active.values().filter(|active| active.route == at);
        self.routes[at].ended + running.map(|active| active.news.borrow().flow.bytes_in).sum::<u64>()
    }

    /// Returns the route to verify the whole through, if the first one does not work any more.
    fn via(&self) -> Option<(FetchJob, Box<UpstreamReply>)> {
        let first = self.routes.iter().position(|route| route.state == RouteState::Active);
        // The numbers are those of the user, who may have named the first route later.
        let route = &self.routes[first.filter(|at| *at > 0)?];
        Some((route.job.clone(), route.version.as_ref()?.response.clone()))
    }
}

/// Returns true for an error that no other connection can make up for.
fn is_of_transfer(error: &Error) -> bool {
    matches!(
        error,
        Error::Disk { .. } | Error::Lost { .. } | Error::Interrupted { .. } | Error::Exists { .. } | Error::Other(_)
    )
}
