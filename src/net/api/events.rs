//! The stream of events: a snapshot a line, made when the reader takes it, so that a slow reader gets the newest.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use super::BodyError;
use crate::net::node::Node;
use crate::net::pulse::Pulse;
use crate::route::Wire;
use crate::snapshot::{ConnSnapshot, ConnState};

/// The interval where none is asked for.
const USUAL: Duration = Duration::from_millis(250);
/// A shorter one would cost more than it shows.
const SHORTEST: Duration = Duration::from_millis(50);
/// A longer one would look like a dead connection.
const LONGEST: Duration = Duration::from_mins(1);
/// An endless body, until the node drains or the reader leaves.
///
/// Nothing is queued here: the library asks for the next line only when there is room for it.
pub(super) struct Events {
    node: Arc<Node>,
    every: Duration,
    timer: Pin<Box<Sleep>>,
    leaving: Leaving,
    ended: bool,
    /// Held while a body comes from a hop of the original kind: nothing else tells whether it is that one or this node that
    /// does not run, and where something does, nobody is woken up for those who look on.
    pulse: Option<Arc<Pulse>>,
}

/// Becomes ready when a node begins to drain.
pub(super) type Leaving = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The node's wish to leave, as a body can wait for it: an endless one would hold the node up.
pub(super) fn leaving(node: &Node) -> Leaving {
    let drain = node.drain().clone();
    Box::pin(async move { drain.draining().await })
}

impl Events {
    /// Events of a node, the first at once.
    pub(super) fn new(node: Arc<Node>, every: Duration) -> Self {
        let (leaving, timer) = (leaving(&node), Box::pin(sleep_until(Instant::now())));
        Self { node, every, timer, leaving, ended: false, pulse: None }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let events = self.get_mut();
        if events.ended {
            return Poll::Ready(None);
        }
        // The last line says that the node drains.
        events.ended = events.leaving.as_mut().poll(cx).is_ready();
        if !events.ended {
            ready!(events.timer.as_mut().poll(cx));
            events.timer.as_mut().reset(Instant::now() + events.every);
        }
        let snapshot = events.node.snapshot();
        let from_original =
            |conn: &ConnSnapshot| conn.state == ConnState::Streaming && conn.upstream_wire == Some(Wire::Seed);
        events.pulse = snapshot
            .connections
            .iter()
            .any(from_original)
            .then(|| events.pulse.take().unwrap_or_else(|| events.node.pulse()));
        let mut line = serde_json::to_vec(&snapshot)?;
        line.push(b'\n');
        Poll::Ready(Some(Ok(Frame::data(line.into()))))
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
    use crate::route::{FileName, Wire};
    use crate::wire::{Method, TransferId};

    #[tokio::test]
    async fn a_node_beats_only_while_a_body_comes_from_a_hop_that_tells_nothing() {
        let node = site(|_| {}).await.node;
        let mut events = Events::new(Arc::clone(&node), SHORTEST);
        let conn = node.registry.open(([127, 0, 0, 1], 9).into());
        let job = conn.begin_job(TransferId(1), Method::Get, &FileName::new(b"f").unwrap(), Wire::Http);
        for (state, wire, beats) in [
            (ConnState::Streaming, Wire::Http, false),
            (ConnState::Waiting, Wire::Seed, false),
            (ConnState::Streaming, Wire::Seed, true),
            (ConnState::Idle, Wire::Seed, false),
        ] {
            job.set_state(state);
            job.met(([127, 0, 0, 1], 8).into(), wire);
            assert!(poll_fn(|cx| Pin::new(&mut events).poll_frame(cx)).await.is_some_and(|line| line.is_ok()));
            assert_eq!(events.pulse.is_some(), beats, "{state:?} {wire:?}");
        }
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
