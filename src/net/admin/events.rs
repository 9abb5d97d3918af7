//! The stream of events: a snapshot a line, made when a reader takes it and shared by all who do at about that time.

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

/// The interval where none is asked for.
const USUAL: Duration = Duration::from_millis(250);
/// A shorter one would cost more than it shows.
const SHORTEST: Duration = Duration::from_millis(50);
/// A longer one would look like a dead connection.
const LONGEST: Duration = Duration::from_mins(1);

/// An endless body, until the reader leaves or the node ends; one that drains tells how its last transfers go.
///
/// Nothing is queued here: the library asks for the next line only when there is room for it.
pub(super) struct EventStream {
    node: Arc<Node>,
    every: Duration,
    timer: Pin<Box<Sleep>>,
    /// Says once that the node drains, which is told at once.
    draining: Option<DrainSignal>,
    leaving: DrainSignal,
    ended: bool,
    /// The number of the line that was sent last.
    sent: u64,
    _reader: ReaderGuard,
    /// Held while a body comes from a hop of the original kind: nothing else tells whether it is that one or this node
    /// that does not run, and where something does, nobody is woken up for those who look on.
    pulse: Option<Arc<SchedDelayProbe>>,
}

/// Becomes ready at some point of a node's leaving.
pub(super) type DrainSignal = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The end of a node, as a body can wait for it: an endless one would hold the node up.
pub(super) fn leaving(node: &Node) -> DrainSignal {
    Box::pin(node.finished())
}

impl EventStream {
    /// Events of a node, the first at once.
    pub(super) fn new(node: Arc<Node>, every: Duration, reader: ReaderGuard) -> Self {
        let (leaving, timer) = (leaving(&node), Box::pin(sleep_until(Instant::now())));
        let drain = node.drain().clone();
        let draining: Option<DrainSignal> = Some(Box::pin(async move { drain.draining().await }));
        Self { node, every, timer, draining, leaving, ended: false, sent: 0, _reader: reader, pulse: None }
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
            events.ended = events.leaving.as_mut().poll(cx).is_ready();
            let drains = events.draining.as_mut().is_some_and(|draining| draining.as_mut().poll(cx).is_ready());
            if drains {
                events.draining = None;
            }
            if !events.ended && !drains {
                ready!(events.timer.as_mut().poll(cx));
            }
            events.timer.as_mut().reset(Instant::now() + events.every);
            let line = events.node.latest_line()?;
            events.pulse = line.from_original.then(|| events.pulse.take().unwrap_or_else(|| events.node.pulse()));
            if line.number > events.sent || events.ended {
                events.sent = line.number;
                return Poll::Ready(Some(Ok(Frame::data(line.text))));
            }
        }
    }
}

/// The interval a query asks for, kept within its bounds; `None` where it is no time.
pub(super) fn interval(query: Option<&str>) -> Option<Duration> {
    let asked = query.unwrap_or_default().split('&').filter_map(|pair| pair.strip_prefix("interval=")).next_back();
    let Some(asked) = asked else { return Some(USUAL) };
    let time = crate::units::parse_time(asked).ok()?;
    Some(time.clamp(SHORTEST, LONGEST))
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::super::tests::site;
    use super::*;
    use crate::limits::{MAX_EVENT_STREAMS, MAX_EVENT_STREAMS_PER_SOURCE};
    use crate::net::node::latest_line::GOOD_FOR;
    use crate::route::{FileName, Protocol};
    use crate::snapshot::ConnState;
    use crate::wire::{Method, TransferId};

    #[tokio::test]
    async fn a_node_beats_only_while_a_body_comes_from_a_hop_that_tells_nothing() {
        let node = site(|_| {}).await.node;
        let conn = node.registry.open(([127, 0, 0, 1], 9).into());
        let reader = node.registry.begin_reader(conn.peer().ip()).unwrap();
        let mut events = EventStream::new(Arc::clone(&node), SHORTEST, reader);
        let job = conn.begin_job(TransferId(1), Method::Get, &FileName::new(b"f").unwrap(), Protocol::Http);
        for (state, protocol, beats) in [
            (ConnState::Streaming, Protocol::Http, false),
            (ConnState::Waiting, Protocol::Legacy, false),
            (ConnState::Streaming, Protocol::Legacy, true),
            (ConnState::Idle, Protocol::Legacy, false),
        ] {
            job.set_state(state);
            job.met(([127, 0, 0, 1], 8).into(), protocol);
            assert!(poll_fn(|cx| Pin::new(&mut events).poll_frame(cx)).await.is_some_and(|line| line.is_ok()));
            assert_eq!(events.pulse.is_some(), beats, "{state:?} {protocol:?}");
        }
    }

    #[tokio::test]
    async fn readers_share_a_line_and_get_none_twice() {
        let node = site(|_| {}).await.node;
        let reader = || {
            let guard = node.registry.begin_reader([127, 0, 0, 1].into()).unwrap();
            EventStream::new(Arc::clone(&node), SHORTEST, guard)
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
        let made = node.latest_line().unwrap().number;
        let most = began.elapsed().as_millis() / GOOD_FOR.as_millis() + 1;
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
        assert_eq!(interval(None), Some(USUAL));
        assert_eq!([ms(""), ms("x=1"), ms("interval=1s")], [Some(250), Some(250), Some(1000)]);
        assert_eq!([ms("interval=1ms"), ms("a=b&interval=2h")], [Some(50), Some(60_000)]);
        assert_eq!([ms("interval="), ms("interval=fast"), ms("interval=-1s")], [None, None, None]);
    }
}
