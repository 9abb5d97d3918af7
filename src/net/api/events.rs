//! The stream of events: a snapshot a line, made when the reader takes it, so that a slow reader gets the newest.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use tokio::time::{Instant, Sleep, sleep_until};

use super::BodyError;
use crate::net::node::Node;

/// The interval where none is asked for.
const USUAL: Duration = Duration::from_millis(250);
/// A shorter one would cost more than it shows.
const SHORTEST: Duration = Duration::from_millis(50);
/// A longer one would look like a dead connection.
const LONGEST: Duration = Duration::from_secs(60);
/// How often to look whether the node drains; the stream must not hold it up.
const LOOK: Duration = Duration::from_millis(250);

/// An endless body, until the node drains or the reader leaves.
///
/// Nothing is queued here: the library asks for the next line only when there is room for it.
#[derive(Debug)]
pub(super) struct Events {
    node: Arc<Node>,
    every: Duration,
    due: Instant,
    timer: Pin<Box<Sleep>>,
    ended: bool,
}

impl Events {
    /// Events of a node, the first at once.
    pub(super) fn new(node: Arc<Node>, every: Duration) -> Self {
        let due = Instant::now();
        Self { node, every, due, timer: Box::pin(sleep_until(due)), ended: false }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let events = self.get_mut();
        while !events.ended {
            ready!(events.timer.as_mut().poll(cx));
            let now = Instant::now();
            // The last line says that the node drains; then the stream ends, or the drain would wait for its readers.
            events.ended = events.node.draining();
            let speak = events.ended || now >= events.due;
            if speak {
                events.due = now + events.every;
            }
            events.timer.as_mut().reset(events.due.min(now + LOOK));
            if speak {
                let mut line = serde_json::to_vec(&events.node.snapshot())?;
                line.push(b'\n');
                return Poll::Ready(Some(Ok(Frame::data(line.into()))));
            }
        }
        Poll::Ready(None)
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
    use super::*;

    #[test]
    fn the_interval_has_bounds() {
        let ms = |query| interval(Some(query)).map(|time| time.as_millis());
        assert_eq!(interval(None), Some(USUAL));
        assert_eq!([ms(""), ms("x=1"), ms("interval=1s")], [Some(250), Some(250), Some(1000)]);
        assert_eq!([ms("interval=1ms"), ms("a=b&interval=2h")], [Some(50), Some(60_000)]);
        assert_eq!([ms("interval="), ms("interval=fast"), ms("interval=-1s")], [None, None, None]);
    }
}
