//! Publishes a transfer's progress: phases immediately, figures at most ten times a second.

mod average;
mod connections;
mod errors;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::job::{FetchJob, Fetched};
use super::rate_limit::RateLimit;
use super::retry::PlannedRetry;
use crate::error::{Error, shown};
use crate::fingerprint::Fingerprint;
use crate::meter::{Meter, RateWindow, WaitKind};
use crate::net::os::clock::Clock;
use crate::route::Protocol;
use crate::snapshot::{Awaited, Flow, FolderProgress, Phase, Retry, TransferSnapshot, Wait};
use crate::text::SafeText;
use crate::waterfall;
use crate::wire::{Leg, TransferId, TransferIds};
use average::{Average, whole_rate};

/// Interval of published figures; a user would not notice a shorter one.
const PERIOD: Duration = Duration::from_millis(100);
/// Time after which a wait for a hop is published: the setup of a long chain takes most of a second.
const WAIT_SHOWN_AFTER: Duration = Duration::from_secs(1);

/// Progress of one transfer.
#[derive(Debug)]
pub(super) struct Tracker<'a> {
    sender: &'a watch::Sender<TransferSnapshot>,
    snapshot: TransferSnapshot,
    /// When this attempt's request was sent, and when the first byte of the body arrived.
    requested_us: u64,
    first_us: Option<u64>,
    rate_limit: RateLimit,
    clock: Clock,
    meter: Arc<Meter>,
    /// Sum over the parts of a folder, or the connections of a file, which have meters of their own.
    parts: Flow,
    /// Bytes of the file that are here, where connections may have received some twice.
    here: Option<u64>,
    furthest: u64,
    window: RateWindow,
    average: Average,
    next: Instant,
    /// Bytes received before this attempt.
    received_before: u64,
    /// Bytes of the file that existed when this attempt began.
    initial_bytes: u64,
    /// Why the received bytes cannot be resumed, if the last reply implies that.
    unresumable: &'static str,
    retry: Option<(PlannedRetry, Instant)>,
    awaited: Option<AwaitedSince>,
    /// What all connections of a file wait for.
    connections_wait: Option<Wait>,
    /// The files, if it is the transfer of a folder; their results come from other threads.
    folder: Option<Arc<Mutex<FolderProgress>>>,
}

/// What the transfer waits for, since when, and for how long at most.
#[derive(Clone, Copy, Debug)]
struct AwaitedSince {
    awaited: Awaited,
    since: Instant,
    limit: Duration,
    hop: Option<usize>,
}

impl<'a> Tracker<'a> {
    pub(super) fn new(job: &FetchJob, sender: &'a watch::Sender<TransferSnapshot>) -> Self {
        let key = job.route.hops().last().and_then(|origin| origin.key);
        let snapshot = TransferSnapshot {
            number: job.number,
            name: job.route.file.shown(),
            file: Some(Arc::new(job.route.file.clone())),
            key: key.map(|key| key.short().into()).unwrap_or_default(),
            ..TransferSnapshot::default()
        };
        Self {
            sender,
            snapshot,
            rate_limit: job.rate_limit.clone(),
            clock: Clock::start(),
            requested_us: 0,
            first_us: None,
            meter: Arc::default(),
            parts: Flow::default(),
            here: None,
            furthest: 0,
            window: RateWindow::default(),
            average: Average::default(),
            next: Instant::now(),
            received_before: 0,
            initial_bytes: 0,
            unresumable: "",
            retry: None,
            awaited: None,
            connections_wait: None,
            folder: None,
        }
    }

    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    pub(super) fn path(&mut self, path: &Path) {
        self.snapshot.path = shown(path);
    }

    /// Records the chain that the first part of a folder came through.
    pub(super) fn chain(&mut self, protocol: Protocol, legs: &[Leg]) {
        (self.snapshot.protocol, self.snapshot.legs) = (Some(protocol), legs.to_vec());
        self.update_waterfall(None);
    }

    /// Records the id of the latest request, such as one for a part of a folder.
    pub(super) fn follow(&mut self, ids: TransferIds) {
        self.snapshot.id = ids.file.short().into();
        self.snapshot.tunnel = ids.tunnel.map(|id| id.short().into()).unwrap_or_default();
        self.snapshot.ids = Some(ids);
    }

    /// Records the tunnel of the latest request, if it runs through one.
    pub(super) fn through(&mut self, tunnel: Option<TransferId>) {
        if let Some(ids) = self.snapshot.ids.filter(|ids| ids.tunnel != tunnel) {
            self.follow(TransferIds { tunnel, ..ids });
        }
    }

    /// Returns the ids of the latest request.
    pub(super) fn ids(&self) -> Option<TransferIds> {
        self.snapshot.ids
    }

    /// Sets the whole size, as far as it is known.
    pub(super) fn size(&mut self, size: Option<u64>) {
        self.snapshot.size = size;
    }

    /// Returns true if the body has begun.
    pub(super) fn has_begun(&self) -> bool {
        self.snapshot.phase == Phase::Streaming
    }

    /// Publishes the progress of a folder's files, too.
    pub(super) fn folder(&mut self, folder: Arc<Mutex<FolderProgress>>) {
        self.folder = Some(folder);
    }

    pub(super) fn shown_as(&mut self, path: SafeText) {
        self.snapshot.path = path;
    }

    pub(super) fn shown_path(&self) -> SafeText {
        self.snapshot.path.clone()
    }

    pub(super) fn phase(&mut self, phase: Phase) {
        if phase == Phase::Connecting {
            self.requested_us = self.clock.now_us();
            self.wait(WaitKind::Reply);
        } else if self.snapshot.phase == Phase::Connecting {
            self.resume();
        }
        self.snapshot.phase = phase;
        self.awaited = None;
        self.retry.take_if(|_| phase != Phase::Retrying);
        self.publish();
    }

    /// Starts another attempt, which has an id of its own.
    pub(super) fn attempt(&mut self, id: TransferId) {
        self.snapshot.attempt += 1;
        self.follow(TransferIds::of(id));
    }

    /// Records that the attempt failed and will be retried.
    pub(super) fn retrying(&mut self, error: &Error, retry: PlannedRetry) {
        self.set_error(Some(error));
        self.retry = Some((retry, Instant::now()));
        self.phase(Phase::Retrying);
    }

    /// Records what the transfer waits for; it is published if that takes longer than a moment.
    pub(super) fn wait_for(&mut self, awaited: Awaited, since: Instant, limit: Duration, hop: Option<usize>) {
        self.awaited = Some(AwaitedSince { awaited, since, limit, hop });
    }

    /// Records that the transfer no longer waits for a hop.
    pub(super) fn wait_is_over(&mut self) {
        self.awaited = None;
    }

    /// Sets or clears the message about a silent hop.
    pub(super) fn set_suspect(&mut self, sentence: Option<String>) {
        self.snapshot.error = sentence.map(Into::into);
        self.publish();
    }

    /// Records that this transfer waits for another fetch of the same name.
    pub(super) fn waiting_for_other_fetch(&mut self) {
        self.snapshot.error = Some(format!("waiting for another fetch of {}", self.snapshot.name).into());
        self.phase(Phase::Locked);
    }

    /// Sets why the received bytes cannot be resumed after a failure.
    pub(super) fn cannot_resume(&mut self, why: &'static str) {
        self.unresumable = why;
    }

    /// Records how many bytes a later attempt can resume from, after a failure.
    pub(super) fn resumable(&mut self, bytes: u64) {
        self.snapshot.resumable = Some(bytes);
    }

    /// Returns why the received bytes cannot be resumed.
    pub(super) fn unresumable(&self) -> &'static str {
        self.unresumable
    }

    /// Records that an earlier partial download is discarded.
    pub(super) fn started_over(&mut self, why: &'static str) {
        self.snapshot.started_over = Some(why.into());
        self.publish();
    }

    /// Records the head of the reply; the body starts at an offset.
    pub(super) fn on_reply(&mut self, size: u64, protocol: Protocol, legs: &[Leg], from: u64) {
        self.snapshot.size = Some(size);
        self.snapshot.protocol = Some(protocol);
        self.snapshot.legs = legs.to_vec();
        self.snapshot.resumed_from = from;
        self.initial_bytes = from;
        self.received_before = self.flow().bytes_in;
        self.here = None;
        self.set_error(None);
        self.first_us = None;
        self.update_waterfall(None);
        self.phase(Phase::Waiting);
    }

    /// Records that an existing file of the right size is compared with the origin's digest.
    pub(super) fn verifying_existing(&mut self, size: u64, legs: &[Leg]) {
        self.snapshot.size = Some(size);
        self.snapshot.legs = legs.to_vec();
        self.initial_bytes = size;
        self.update_waterfall(None);
        self.phase(Phase::Verifying);
    }

    /// Records that the body begins.
    pub(super) fn begin(&mut self) {
        self.meter.begin(self.clock.now_us());
        self.stream();
    }

    /// Begins to publish the figures of a body.
    fn stream(&mut self) {
        let now_us = self.clock.now_us();
        self.average = Average::since(now_us, self.received_before);
        self.window.feed(now_us, self.received_before);
        self.phase(Phase::Streaming);
    }

    /// Records that the body ended.
    pub(super) fn end(&mut self) {
        let now_us = self.clock.now_us();
        self.meter.end(now_us);
        self.update_waterfall(Some(now_us));
    }

    pub(super) fn record_read(&mut self, bytes: u64) {
        self.meter.record_read(bytes);
        self.has_read();
        if Instant::now() >= self.next {
            self.publish();
        }
    }

    /// Records what the parts of a folder have counted so far.
    pub(super) fn record_parts(&mut self, flow: Flow) {
        let has_read = flow.bytes_in > self.parts.bytes_in;
        if has_read && !self.has_begun() {
            self.stream();
        }
        self.parts = flow;
        if has_read {
            self.has_read();
        }
    }

    fn has_read(&mut self) {
        if self.first_us.is_none() {
            self.first_us = Some(self.clock.now_us());
            self.update_waterfall(None);
        }
    }

    /// Updates the bars of the set-up and of the body so far.
    fn update_waterfall(&mut self, last_us: Option<u64>) {
        // Legs are measured from the request on, and so are these.
        let ms = |us: u64| us.saturating_sub(self.requested_us) as f64 / 1000.0;
        let body = (self.first_us.map(ms), last_us.map(ms));
        self.snapshot.waterfall = waterfall::rows(&self.snapshot.legs, &[], body);
    }

    pub(super) fn wait(&self, what: WaitKind) {
        self.meter.wait(what, self.clock.now_us());
    }

    pub(super) fn resume(&self) {
        self.meter.resume(|| self.clock.now_us());
    }

    /// Waits until the next figures are due.
    pub(super) async fn due(&self) {
        sleep_until(self.next).await;
    }

    pub(super) fn now_us(&self) -> u64 {
        self.clock.now_us()
    }

    pub(super) fn elapsed(&self) -> Duration {
        Duration::from_micros(self.clock.now_us())
    }

    pub(super) fn flow(&self) -> Flow {
        let mut flow = self.meter.flow(self.clock.now_us());
        flow.add(&self.parts);
        flow
    }

    /// Publishes the current figures.
    pub(super) fn publish(&mut self) {
        let (now_us, flow) = (self.clock.now_us(), self.flow());
        let snapshot = &mut self.snapshot;
        snapshot.flow = flow;
        snapshot.rate_limit = self.rate_limit.get();
        let arrived = self.initial_bytes + flow.bytes_in.saturating_sub(self.received_before);
        snapshot.received = self.here.unwrap_or(arrived);
        snapshot.elapsed = Duration::from_micros(now_us);
        snapshot.folder =
            self.folder.as_ref().map(|folder| folder.lock().unwrap_or_else(PoisonError::into_inner).clone());
        snapshot.retry = self.retry.map(|(retry, since)| Retry {
            left: retry.pause.saturating_sub(since.elapsed()),
            number: retry.number,
            of: retry.of,
        });
        let wait = self.awaited.map(AwaitedSince::wait).or(self.connections_wait);
        snapshot.wait = wait.filter(|wait| wait.lasting >= WAIT_SHOWN_AFTER);
        if snapshot.phase == Phase::Streaming {
            snapshot.rate = self.window.feed(now_us, flow.bytes_in);
            self.average.feed(now_us, flow.bytes_in);
            let left = snapshot.size.unwrap_or_default().saturating_sub(snapshot.received);
            snapshot.eta = self.average.time_for(left);
        } else {
            snapshot.eta = None;
        }
        self.sender.send_replace(self.snapshot.clone());
        self.next = Instant::now() + PERIOD;
    }

    /// Publishes the result; `key` is that of the origin, if everything was encrypted.
    pub(super) fn done(&mut self, fetched: &Fetched, key: Option<Fingerprint>) {
        self.snapshot.origin_key = key;
        self.snapshot.integrity = fetched.integrity.clone();
        self.snapshot.already_present = fetched.already_present;
        self.snapshot.origin_digest = fetched.origin.map(|digest| digest.to_string());
        self.finish(Phase::Done);
    }

    pub(super) fn failed(&mut self, error: &Error) {
        self.set_error(Some(error));
        self.finish(if matches!(error, Error::Interrupted { .. }) { Phase::Cancelled } else { Phase::Failed });
    }

    fn finish(&mut self, phase: Phase) {
        self.snapshot.rate = whole_rate(self.flow().bytes_in, self.elapsed());
        self.phase(phase);
    }
}

impl AwaitedSince {
    fn wait(self) -> Wait {
        Wait { awaited: self.awaited, hop: self.hop, lasting: self.since.elapsed(), limit: self.limit }
    }
}
