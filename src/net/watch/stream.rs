//! Reader of a node's events: whole lines out of frames, with a limit on everything.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::net::os::deadline::within;

/// Maximum line length. A full report lists 4,096 connections of at most about 2 KiB each (a name and two addresses of
/// at most 258 characters, and numbers), most of them far shorter.
const MAX_LINE: usize = 8 << 20;
/// A stream without a line for this long is dead even if it was not closed: lines come four times a second.
const MAX_SILENCE: Duration = Duration::from_secs(10);

/// Reason why there is no next line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// The stream ended cleanly: its node has nothing more to send.
    Whole,
    /// The stream was cut off.
    Closed,
    /// No line arrived for too long.
    Quiet,
    /// The line is longer than any valid one.
    TooLong,
}

/// Lines of a body.
#[derive(Debug)]
pub(super) struct BodyLines {
    body: Incoming,
    unread: Vec<u8>,
    /// Length of the prefix without a line end.
    searched: usize,
}

impl BodyLines {
    /// Reads the lines of this body, from its start.
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, unread: Vec::new(), searched: 0 }
    }

    /// Returns the next whole line, without its end. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Vec<u8>, StreamEnd> {
        loop {
            if let Some(end) = self.unread[self.searched..].iter().position(|byte| *byte == b'\n') {
                let end = self.searched + end;
                let rest = self.unread.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.unread, rest);
                line.truncate(end);
                self.searched = 0;
                return Ok(line);
            }
            self.searched = self.unread.len();
            match within(MAX_SILENCE, self.body.frame()).await {
                Err(_) => return Err(StreamEnd::Quiet),
                Ok(None) => return Err(StreamEnd::Whole),
                Ok(Some(Err(_))) => return Err(StreamEnd::Closed),
                Ok(Some(Ok(frame))) => {
                    let data = frame.into_data().unwrap_or_default();
                    if self.unread.len() + data.len() > MAX_LINE {
                        return Err(StreamEnd::TooLong);
                    }
                    self.unread.extend_from_slice(&data);
                }
            }
        }
    }
}
