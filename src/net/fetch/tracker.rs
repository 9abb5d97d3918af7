//! How a transfer goes, told as it goes: phases at once, figures ten times a second at most.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::job::{FetchJob, Fetched};
use super::rate_limit::RateLimit;
use crate::error::{Error, shown};
use crate::meter::{Meter, RateWindow, WaitKind};
use crate::net::os::clock::Clock;
use crate::route::Protocol;
use crate::snapshot::{Flow, Phase, TransferSnapshot};
use crate::text::SafeText;
use crate::waterfall;
use crate::wire::{Leg, TransferId};

/// Time between two figures; a person sees no more.
const PERIOD: Duration = Duration::from_millis(100);
/// Data needed before a remaining time is more than a guess.
const ETA_AFTER: Duration = Duration::from_secs(2);
/// How far back the average reaches that the remaining time is made from, in seconds.
const ETA_SPAN: f64 = 10.0;

/// The teller of one transfer.
#[derive(Debug)]
pub(super) struct Tracker<'a> {
    sender: &'a watch::Sender<TransferSnapshot>,
    snapshot: TransferSnapshot,
    /// When this try's question was asked, and when the first byte of its answer came.
    asked_us: u64,
    first_us: Option<u64>,
    cap: RateLimit,
    clock: Clock,
    meter: Arc<Meter>,
    window: RateWindow,
    average: Average,
    next: Instant,
    /// Bytes that had come in before this try began.
    before: u64,
    /// Bytes of the file that were here when it began.
    here: u64,
    /// Why what has arrived cannot be resumed, if the last answer said so.
    unresumable: &'static str,
}

/// A rate that forgets what is older than about ten seconds.
#[derive(Debug, Default)]
struct Average {
    last_us: u64,
    last_bytes: u64,
    bytes: f64,
    seconds: f64,
    fed: f64,
}

impl<'a> Tracker<'a> {
    pub(super) fn new(job: &FetchJob, sender: &'a watch::Sender<TransferSnapshot>) -> Self {
        let snapshot =
            TransferSnapshot { number: job.number, name: job.route.file.shown(), ..TransferSnapshot::default() };
        Self {
            sender,
            snapshot,
            cap: job.cap.clone(),
            clock: Clock::start(),
            asked_us: 0,
            first_us: None,
            meter: Arc::default(),
            window: RateWindow::default(),
            average: Average::default(),
            next: Instant::now(),
            before: 0,
            here: 0,
            unresumable: "",
        }
    }

    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    pub(super) fn path(&mut self, path: &Path) {
        self.snapshot.path = shown(path);
    }

    pub(super) fn shown_as(&mut self, path: SafeText) {
        self.snapshot.path = path;
    }

    pub(super) fn shown_path(&self) -> SafeText {
        self.snapshot.path.clone()
    }

    pub(super) fn phase(&mut self, phase: Phase) {
        if phase == Phase::Connecting {
            self.asked_us = self.clock.now_us();
            self.wait(WaitKind::Reply);
        } else if self.snapshot.phase == Phase::Connecting {
            self.resume();
        }
        self.snapshot.phase = phase;
        self.publish();
    }

    /// Another try begins; it has an id of its own.
    pub(super) fn attempt(&mut self, id: TransferId) {
        self.snapshot.attempt += 1;
        self.snapshot.id = id.short().into();
        self.snapshot.asks = Some(id);
    }

    /// The try failed, and there will be another.
    pub(super) fn retrying(&mut self, error: &Error) {
        self.snapshot.error = Some(error.to_string().into());
        self.phase(Phase::Retrying);
    }

    /// Somebody is to blame for no byte coming, or nobody any more.
    pub(super) fn suspects(&mut self, sentence: Option<String>) {
        self.snapshot.error = sentence.map(Into::into);
        self.publish();
    }

    /// Another fetch of the same name is under way, and this one waits for its end.
    pub(super) fn waits_for_another(&mut self) {
        self.snapshot.error = Some(format!("waits for another fetch of {}", self.snapshot.name).into());
        self.phase(Phase::Locked);
    }

    /// What arrives cannot be resumed after a break, and why.
    pub(super) fn cannot_resume(&mut self, why: &'static str) {
        self.unresumable = why;
    }

    /// Why what has arrived cannot be resumed.
    pub(super) fn unresumable(&self) -> &'static str {
        self.unresumable
    }

    /// What there was of the file is of no use.
    pub(super) fn started_over(&mut self, why: &'static str) {
        self.snapshot.started_over = Some(why.into());
        self.publish();
    }

    /// The head of the answer is there; the body goes on from an offset.
    pub(super) fn answered(&mut self, size: u64, protocol: Protocol, legs: &[Leg], from: u64) {
        self.snapshot.size = Some(size);
        self.snapshot.protocol = Some(protocol);
        self.snapshot.legs = legs.to_vec();
        self.snapshot.resumed_from = from;
        self.here = from;
        self.before = self.flow().bytes_in;
        self.snapshot.error = None;
        self.first_us = None;
        self.draw(None);
        self.phase(Phase::Waiting);
    }

    /// A file of the right size is there already, and is compared with the origin's digest.
    pub(super) fn verifying_existing(&mut self, size: u64, legs: &[Leg]) {
        self.snapshot.size = Some(size);
        self.snapshot.legs = legs.to_vec();
        self.here = size;
        self.draw(None);
        self.phase(Phase::Verifying);
    }

    /// The body begins.
    pub(super) fn begin(&mut self) {
        let now_us = self.clock.now_us();
        self.meter.begin(now_us);
        self.average = Average { last_us: now_us, last_bytes: self.before, ..Average::default() };
        self.window.feed(now_us, self.before);
        self.phase(Phase::Streaming);
    }

    /// The body is over.
    pub(super) fn end(&mut self) {
        let now_us = self.clock.now_us();
        self.meter.end(now_us);
        self.draw(Some(now_us));
    }

    pub(super) fn took(&mut self, bytes: u64) {
        self.meter.record_read(bytes);
        if self.first_us.is_none() {
            self.first_us = Some(self.clock.now_us());
            self.draw(None);
        }
        if Instant::now() >= self.next {
            self.publish();
        }
    }

    /// Draws the set-up, and the body as far as it is.
    fn draw(&mut self, last_us: Option<u64>) {
        // The legs were measured from the question on, and so are these.
        let ms = |us: u64| us.saturating_sub(self.asked_us) as f64 / 1000.0;
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
        self.meter.flow(self.clock.now_us())
    }

    /// Tells how it stands.
    pub(super) fn publish(&mut self) {
        let now_us = self.clock.now_us();
        let flow = self.meter.flow(now_us);
        let snapshot = &mut self.snapshot;
        snapshot.flow = flow;
        snapshot.cap = self.cap.get();
        snapshot.received = self.here + flow.bytes_in.saturating_sub(self.before);
        snapshot.elapsed = Duration::from_micros(now_us);
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

    pub(super) fn done(&mut self, fetched: &Fetched) {
        self.snapshot.integrity = fetched.integrity.clone();
        self.snapshot.already_present = fetched.already_present;
        self.snapshot.origin_digest = fetched.origin.map(|digest| digest.to_string());
        self.over(Phase::Done);
    }

    pub(super) fn failed(&mut self, error: &Error) {
        self.snapshot.error = Some(error.to_string().into());
        self.over(if matches!(error, Error::Interrupted { .. }) { Phase::Cancelled } else { Phase::Failed });
    }

    fn over(&mut self, phase: Phase) {
        self.snapshot.rate = whole_rate(self.flow().bytes_in, self.elapsed());
        self.phase(phase);
    }
}

/// Lets a pause pass; false where a person stopped it.
pub(super) async fn wait(pause: Duration, tracker: &mut Tracker<'_>, stop: &CancellationToken) -> bool {
    let until = Instant::now() + pause;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            () = sleep_until(until) => return true,
            () = tracker.due() => tracker.publish(),
        }
    }
}

/// The rate over the whole life of a transfer, set-up and proof included: what a person had of it.
fn whole_rate(bytes: u64, elapsed: Duration) -> u64 {
    if elapsed.is_zero() { 0 } else { (bytes as f64 / elapsed.as_secs_f64()) as u64 }
}

impl Average {
    fn feed(&mut self, now_us: u64, bytes: u64) {
        let seconds = now_us.saturating_sub(self.last_us) as f64 / 1e6;
        let fade = (-seconds / ETA_SPAN).exp();
        self.bytes = self.bytes * fade + bytes.saturating_sub(self.last_bytes) as f64;
        self.seconds = self.seconds * fade + seconds;
        self.fed += seconds;
        (self.last_us, self.last_bytes) = (now_us, bytes);
    }

    /// How long so many bytes will take; `None` until there is enough to judge by.
    fn time_for(&self, left: u64) -> Option<Duration> {
        if self.fed < ETA_AFTER.as_secs_f64() || self.bytes < 1.0 {
            return None;
        }
        let seconds = left as f64 * self.seconds / self.bytes;
        // A week is as good as never, and keeps the number within what a duration holds.
        Some(Duration::from_secs_f64(seconds.min(7.0 * 86_400.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_waits_for_two_seconds_and_follows_the_rate() {
        let mut average = Average::default();
        average.feed(1_000_000, 1000);
        assert_eq!(average.time_for(5000), None);
        average.feed(2_000_000, 2000);
        let left = average.time_for(5000).unwrap();
        assert!((left.as_secs_f64() - 5.0).abs() < 0.01, "{left:?}");
        // A minute at ten times the rate: what came before no longer counts.
        for second in 3..63 {
            average.feed(second * 1_000_000, 2000 + (second - 2) * 10_000);
        }
        let left = average.time_for(50_000).unwrap();
        assert!((left.as_secs_f64() - 5.0).abs() < 0.1, "{left:?}");
    }

    #[test]
    fn nothing_received_promises_nothing() {
        let mut average = Average::default();
        average.feed(9_000_000, 0);
        assert_eq!(average.time_for(1), None);
        assert_eq!(whole_rate(5, Duration::ZERO), 0);
    }
}
