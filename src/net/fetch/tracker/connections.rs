//! Progress of a file that is received over several connections.

use super::Tracker;
use crate::net::fetch::job::FetchJob;
use crate::snapshot::{ConnectionsProgress, Flow, Wait};
use crate::text::SafeText;

impl Tracker<'_> {
    /// Records why there is only one connection, if more might have been used.
    pub(in crate::net::fetch) fn one_connection(&mut self, job: &FetchJob, why: &'static str) {
        let note = job.may_have_several().then(|| why.into());
        self.snapshot.connections = note.map(|note| ConnectionsProgress {
            most: job.connections,
            note: Some(note),
            ..ConnectionsProgress::default()
        });
    }

    /// Returns the sum over parts or connections so far.
    pub(in crate::net::fetch) fn parts(&self) -> Flow {
        self.parts
    }

    /// Sets or clears what all connections of a file wait for, and the message about it.
    pub(in crate::net::fetch) fn set_waiting(&mut self, waiting: Option<(Wait, Option<SafeText>)>) {
        let (wait, error) = waiting.map_or((None, None), |(wait, error)| (Some(wait), error));
        (self.connections_wait, self.snapshot.error) = (wait, error);
    }

    /// Returns the most bytes of the file that its connections have had, those of blocks included that were not whole
    /// when a connection failed.
    pub(in crate::net::fetch) fn furthest(&self) -> u64 {
        self.furthest
    }

    /// Publishes what the connections of a file have counted so far, and how much of it is here.
    pub(in crate::net::fetch) fn record_connections(
        &mut self,
        mut flow: Flow,
        here: u64,
        connections: ConnectionsProgress,
    ) {
        self.furthest = self.furthest.max(here);
        (self.here, self.snapshot.connections) = (Some(here), Some(connections));
        // The counters are a moment older, and phase and rate have to be those of the bytes that are shown.
        let shown = self.received_before + here.saturating_sub(self.initial_bytes);
        let counted_here = self.flow().bytes_in - self.parts.bytes_in;
        flow.bytes_in = flow.bytes_in.max(shown.saturating_sub(counted_here));
        self.record_parts(flow);
        self.publish();
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;
    use crate::limits::Limits;
    use crate::route::{Protocol, Route};
    use crate::snapshot::{Phase, TransferSnapshot};

    #[test]
    fn a_body_has_begun_with_the_first_byte_that_is_here() {
        let route = Route::parse(b"f\n127.0.0.1 9101\n").unwrap();
        let job = FetchJob::new(1, route, "out".into(), Limits::default());
        let (sender, progress) = watch::channel(TransferSnapshot::default());
        let mut tracker = Tracker::new(&job, &sender);
        tracker.on_reply(1000, Protocol::Http, &[], 300);
        let mut after = |here: u64| {
            tracker.record_connections(Flow::default(), here, ConnectionsProgress::default());
            tracker.publish();
            let shown = progress.borrow();
            (shown.phase, shown.received)
        };
        assert_eq!(after(300), (Phase::Waiting, 300), "what an earlier run received is no news");
        assert_eq!(after(400), (Phase::Streaming, 400), "no connection has reported it yet");
    }
}
