//! The newest line of a node's events, built when a reader needs it and shared by all that read at about that time.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use tokio::time::Instant;

use super::drain::Drain;
use crate::route::Protocol;
use crate::snapshot::{ConnSnapshot, ConnState, NodeSnapshot};

/// Time for which a line is reused: no reader may request intervals shorter than twice this.
pub(in crate::net) const MAX_LINE_AGE: Duration = Duration::from_millis(25);
/// A line that took long to build is reused for this multiple of that time, so that lines cost at most a tenth of the
/// processor, however large they are and however many readers there are.
const AGE_PER_COST: u32 = 9;

/// The newest line of a node's events.
#[derive(Debug, Default)]
pub(in crate::net) struct LatestLine(Mutex<Option<EventLine>>);

/// A snapshot, encoded for readers.
#[derive(Clone, Debug)]
pub(in crate::net) struct EventLine {
    pub(in crate::net) text: Bytes,
    /// Sequence number of the line.
    pub(in crate::net) number: u64,
    draining: bool,
    /// True if a body is received over the legacy protocol.
    pub(in crate::net) from_legacy: bool,
    valid_until: Instant,
}

impl LatestLine {
    /// Returns the newest line, or a new one if that is stale.
    pub(in crate::net) fn get(
        &self,
        drain: &Drain,
        snapshot: impl FnOnce() -> NodeSnapshot,
    ) -> Result<EventLine, serde_json::Error> {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        if let Some(line) = &*latest
            && began < line.valid_until
            && line.draining == drain.is_draining()
        {
            return Ok(line.clone());
        }
        let snapshot = snapshot();
        let from_legacy = |conn: &ConnSnapshot| {
            conn.state == ConnState::Streaming && conn.upstream_protocol == Some(Protocol::Legacy)
        };
        let from_legacy = snapshot.connections.iter().any(from_legacy);
        let mut text = serde_json::to_vec(&snapshot)?;
        text.push(b'\n');
        // Stalled readers keep it: excess capacity must not be kept with it.
        text.shrink_to_fit();
        let line = EventLine {
            text: text.into(),
            number: latest.as_ref().map_or(1, |line| line.number + 1),
            draining: snapshot.draining,
            from_legacy,
            valid_until: began + MAX_LINE_AGE.max(began.elapsed() * AGE_PER_COST),
        };
        Ok(latest.insert(line).clone())
    }
}
