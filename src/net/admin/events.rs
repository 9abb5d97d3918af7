//! The stream of events: one snapshot per line, built when a reader needs it and shared by all that read at about that
//! time.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use super::reply::EndpointBodyError;
use crate::net::node::Node;
use crate::net::node::registry::ReaderGuard;
use crate::net::os::starvation::SchedDelayProbe;

/// Default interval.
const DEFAULT_INTERVAL: Duration = Duration::from_millis(250);
/// Minimum interval; a shorter one would cost more than it shows.
const MIN_INTERVAL: Duration = Duration::from_millis(50);
/// Maximum interval; a longer one would look like a dead connection.
const MAX_INTERVAL: Duration = Duration::from_mins(1);

/// An endless body, until the reader disconnects or the node ends; while draining it reports the node's last transfers.
///
/// Nothing is queued here: the library polls for the next line only when it has space for it.
pub(super) struct EventStream {
    node: Arc<Node>,
    every: Duration,
    timer: Pin<Box<Sleep>>,
    /// Completes when the node drains, which is reported immediately; `None` after that.
    draining: Option<DrainSignal>,
    shutdown: DrainSignal,
    ended: bool,
    /// Sequence number of the last line sent.
    sent: u64,
    _reader: ReaderGuard,
    /// Its reader sees the names of encrypted transfers.
    sees_names: bool,
    /// Referenced while a body is received over the legacy protocol: nothing else shows whether that hop or this node
    /// is not running. Otherwise the probe is off, so that watching a node causes no wakeups.
    sched_delay_probe: Option<Arc<SchedDelayProbe>>,
}

/// Completes at some point of a node's shutdown.
pub(super) type DrainSignal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Returns a signal for the end of the node: an endless body must not delay it.
pub(super) fn shutdown(node: &Node) -> DrainSignal {
    Box::pin(node.finished())
}

impl EventStream {
    /// Creates a stream of events of a node, the first sent immediately.
    pub(super) fn new(node: Arc<Node>, every: Duration, reader: ReaderGuard, sees_names: bool) -> Self {
        let (shutdown, timer) = (shutdown(&node), Box::pin(sleep_until(Instant::now())));
        let drain = node.drain().clone();
        let draining: Option<DrainSignal> = Some(Box::pin(async move { drain.draining().await }));
        Self {
            node,
            every,
            timer,
            draining,
            shutdown,
            ended: false,
            sent: 0,
            _reader: reader,
            sees_names,
            sched_delay_probe: None,
        }
    }
}

impl Body for EventStream {
    type Data = Bytes;
    type Error = EndpointBodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, EndpointBodyError>>> {
        let events = self.get_mut();
        if events.ended {
            return Poll::Ready(None);
        }
        loop {
            events.ended = events.shutdown.as_mut().poll(cx).is_ready();
            let drains = events.draining.as_mut().is_some_and(|draining| draining.as_mut().poll(cx).is_ready());
            if drains {
                events.draining = None;
            }
            if !events.ended && !drains {
                ready!(events.timer.as_mut().poll(cx));
            }
            events.timer.as_mut().reset(Instant::now() + events.every);
            let line = events.node.latest_line(events.sees_names)?;
            events.sched_delay_probe = line
                .from_legacy
                .then(|| events.sched_delay_probe.take().unwrap_or_else(|| events.node.sched_delay_probe()));
            if line.number > events.sent || events.ended {
                events.sent = line.number;
                return Poll::Ready(Some(Ok(Frame::data(line.text))));
            }
        }
    }
}

/// Returns the interval of a query, clamped to its bounds; `None` if it is not a duration.
pub(super) fn interval(query: Option<&str>) -> Option<Duration> {
    let value = query.unwrap_or_default().split('&').filter_map(|pair| pair.strip_prefix("interval=")).next_back();
    let Some(value) = value else { return Some(DEFAULT_INTERVAL) };
    let time = crate::units::parse_time(value).ok()?;
    Some(time.clamp(MIN_INTERVAL, MAX_INTERVAL))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::super::tests::site;
    use super::*;
    use crate::limits::{MAX_EVENT_STREAMS, MAX_EVENT_STREAMS_PER_SOURCE};
    use crate::net::node::latest_line::MAX_LINE_AGE;
    use crate::route::{FileName, Protocol};
    use crate::snapshot::ConnState;
    use crate::wire::{Method, TransferId};

    #[tokio::test]
    async fn the_delay_probe_runs_only_while_a_body_comes_from_a_legacy_hop() {
        let node = site(|_| {}).await.node;
        let conn = node.registry.open(([127, 0, 0, 1], 9).into());
        let reader = node.registry.begin_reader(conn.peer().ip()).unwrap();
        let mut events = EventStream::new(Arc::clone(&node), MIN_INTERVAL, reader, false);
        let job = conn.begin_job(TransferId(1), Method::Get, &FileName::new(b"f").unwrap(), Protocol::Http);
        for (state, protocol, beats) in [
            (ConnState::Streaming, Protocol::Http, false),
            (ConnState::Waiting, Protocol::Legacy, false),
            (ConnState::Streaming, Protocol::Legacy, true),
            (ConnState::Idle, Protocol::Legacy, false),
        ] {
            job.set_state(state);
            job.set_upstream_addr(([127, 0, 0, 1], 8).into(), protocol);
            assert!(poll_fn(|cx| Pin::new(&mut events).poll_frame(cx)).await.is_some_and(|line| line.is_ok()));
            assert_eq!(events.sched_delay_probe.is_some(), beats, "{state:?} {protocol:?}");
        }
    }

    #[tokio::test]
    async fn readers_share_a_line_and_get_none_twice() {
        let node = site(|_| {}).await.node;
        let reader = || {
            let guard = node.registry.begin_reader([127, 0, 0, 1].into()).unwrap();
            EventStream::new(Arc::clone(&node), MIN_INTERVAL, guard, false)
        };
        let mut readers: Vec<EventStream> = (0..20).map(|_| reader()).collect();
        let began = Instant::now();
        let mut lines: Vec<Vec<Bytes>> = Vec::new();
        for _ in 0..5 {
            let mut round = Vec::new();
            for events in &mut readers {
                let frame = poll_fn(|cx| Pin::new(&mut *events).poll_frame(cx)).await.unwrap().unwrap();
                round.push(frame.into_data().unwrap());
            }
            lines.push(round);
        }
        let made = node.latest_line(false).unwrap().number;
        let most = began.elapsed().as_millis() / MAX_LINE_AGE.as_millis() + 1;
        assert!(u128::from(made) <= most, "{made} lines in {:?}", began.elapsed());
        for reader in 0..20 {
            assert!(lines.windows(2).all(|pair| pair[0][reader] != pair[1][reader]));
        }
    }

    #[tokio::test]
    async fn readers_are_capped_for_one_address_and_for_all() {
        let registry = site(|_| {}).await.node.registry.clone();
        let begin = |last| registry.begin_reader([127, 0, 0, last].into());
        let mut readers: Vec<_> = (0..MAX_EVENT_STREAMS_PER_SOURCE).map(|_| begin(1).unwrap()).collect();
        assert!(begin(1).is_none());
        readers.extend((MAX_EVENT_STREAMS_PER_SOURCE..MAX_EVENT_STREAMS).map(|_| begin(2).unwrap()));
        assert!(begin(3).is_none());
        readers.pop();
        assert!(begin(3).is_some());
    }

    #[test]
    fn the_interval_has_bounds() {
        let ms = |query| interval(Some(query)).map(|time| time.as_millis());
        assert_eq!(interval(None), Some(DEFAULT_INTERVAL));
        assert_eq!([ms(""), ms("x=1"), ms("interval=1s")], [Some(250), Some(250), Some(1000)]);
        assert_eq!([ms("interval=1ms"), ms("a=b&interval=2h")], [Some(50), Some(60_000)]);
        assert_eq!([ms("interval="), ms("interval=fast"), ms("interval=-1s")], [None, None, None]);
    }
}
