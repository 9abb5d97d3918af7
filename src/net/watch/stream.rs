//! Reading a node's events: whole lines out of frames, with a cap on everything.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::net::os::deadline::within;

/// Longest line read. A full report lists 4,096 connections of at most about 2 KiB each (a name and two addresses of
/// at most 258 characters, and numbers), most of them far shorter.
const LONGEST: usize = 8 << 20;
/// A stream without a line for so long is dead, though nobody closed it: lines come four times a second.
const QUIET: Duration = Duration::from_secs(10);

/// Why there is no next line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// The stream ended in order: its node has no more to say.
    Whole,
    /// The stream broke.
    Closed,
    /// Nothing came for too long.
    Quiet,
    /// The line is longer than any honest one.
    TooLong,
}

/// The lines of a body.
#[derive(Debug)]
pub(super) struct BodyLines {
    body: Incoming,
    unread: Vec<u8>,
    /// So much of it holds no line end.
    searched: usize,
}

impl BodyLines {
    /// The lines of this body, from its start.
    pub(super) fn new(body: Incoming) -> Self {
        Self { body, unread: Vec::new(), searched: 0 }
    }

    /// The next whole line, without its end. Cancel safe.
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
            match within(QUIET, self.body.frame()).await {
                Err(_) => return Err(StreamEnd::Quiet),
                Ok(None) => return Err(StreamEnd::Whole),
                Ok(Some(Err(_))) => return Err(StreamEnd::Closed),
                Ok(Some(Ok(frame))) => {
                    let data = frame.into_data().unwrap_or_default();
                    if self.unread.len() + data.len() > LONGEST {
                        return Err(StreamEnd::TooLong);
                    }
                    self.unread.extend_from_slice(&data);
                }
            }
        }
    }
}
