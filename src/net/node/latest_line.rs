//! The newest line of a node's events, made when a reader takes it and shared by all who do at about that time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::time::Instant;

use super::drain::Drain;
use crate::route::Protocol;
use crate::snapshot::{ConnSnapshot, ConnState, NodeSnapshot};

/// How long a line is good for readers: nobody may ask for the next one sooner than twice this.
pub(in crate::net) const GOOD_FOR: Duration = Duration::from_millis(25);
/// A line that took long to make is good for so many times as long: whatever there is to tell, and however many
/// readers, the lines cost a tenth of the processor at most.
const GOOD_FOR_TIMES: u32 = 9;

/// The newest line of a node's events.
#[derive(Debug, Default)]
pub(in crate::net) struct LatestLine(Mutex<Option<Line>>);

/// A snapshot as its readers get it.
#[derive(Clone, Debug)]
pub(in crate::net) struct Line {
    pub(in crate::net) text: Bytes,
    /// Counts the lines of this node.
    pub(in crate::net) number: u64,
    draining: bool,
    /// A body comes from a hop of the original kind.
    pub(in crate::net) from_original: bool,
    good_until: Instant,
}

impl LatestLine {
    /// The newest line, or a new one where that is old.
    pub(in crate::net) fn get(
        &self,
        drain: &Drain,
        snapshot: impl FnOnce() -> NodeSnapshot,
    ) -> Result<Line, serde_json::Error> {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        if let Some(line) = &*latest
            && began < line.good_until
            && line.draining == drain.is_draining()
        {
            return Ok(line.clone());
        }
        let snapshot = snapshot();
        let from_original = |conn: &ConnSnapshot| {
            conn.state == ConnState::Streaming && conn.upstream_protocol == Some(Protocol::Legacy)
        };
        let from_original = snapshot.connections.iter().any(from_original);
        let mut text = serde_json::to_vec(&snapshot)?;
        text.push(b'\n');
        // Readers that stand still hold it: nothing that was only reserved may stay with it.
        text.shrink_to_fit();
        let line = Line {
            text: text.into(),
            number: latest.as_ref().map_or(1, |line| line.number + 1),
            draining: snapshot.draining,
            from_original,
            good_until: began + GOOD_FOR.max(began.elapsed() * GOOD_FOR_TIMES),
        };
        Ok(latest.insert(line).clone())
    }
}
