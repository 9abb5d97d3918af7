//! Parameters of a body that is moved, input from its reader meanwhile, and the errors that end it early.

use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, Interest, ReadBuf};
use tokio::net::TcpStream;

use crate::meter::Meter;
use crate::net::access::KeyUsage;
use crate::net::faults::LiveFaults;
use crate::net::os::clock::Clock;
use crate::snapshot::BodyError;
use crate::units::HumanDuration;

/// Limit on bytes read from downstream during a body; beyond it, a closed connection is no longer detected.
const MAX_EARLY: usize = 8 * 1024;

/// Why a body is incomplete.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source ended early.
    #[error("the source ended {missing} bytes early")]
    Short {
        /// Number of missing bytes.
        missing: u64,
    },
    /// The source failed.
    #[error("reading failed: {0}")]
    Source(io::Error),
    /// The source sent nothing for the idle limit.
    #[error("no data for {0:?}")]
    Idle(Duration),
    /// The reader accepted nothing for the stall limit.
    #[error("the client accepted no data for {}", HumanDuration(*.0))]
    Stalled(Duration),
    /// The reader closed the connection.
    #[error("the client disconnected")]
    ReaderClosed,
    /// The reader reset the connection, which the kernel reports once: the end of its stream that shows from then on is
    /// none.
    #[error("the client reset the connection")]
    ReaderReset,
    /// The truncate fault ended the body.
    #[error("an injected fault truncates bodies at byte {0}")]
    Truncated(u64),
    /// The stall fault was not lifted for the stall limit.
    #[error("an injected fault stalled the body for more than {0:?}")]
    StalledByFault(Duration),
    /// The key of the request has moved as many bytes as it may in a day.
    #[error("{0}")]
    DailyLimit(String),
}

impl CopyError {
    /// Classifies the error for the transfer record.
    pub fn body_error(&self) -> BodyError {
        match self {
            Self::Short { .. } => BodyError::SourceEnded,
            // Sockets and file reads never return this kind: it means a file that changed.
            Self::Source(error) if error.kind() == io::ErrorKind::InvalidData => BodyError::SourceChanged,
            Self::Source(_) => BodyError::SourceFailed,
            Self::Idle(_) => BodyError::SourceSilent,
            Self::Stalled(_) => BodyError::ReaderStuck,
            Self::ReaderClosed | Self::ReaderReset => BodyError::ReaderLeft,
            Self::DailyLimit(_) => BodyError::DailyLimit,
            Self::Truncated(_) | Self::StalledByFault(_) => BodyError::Stopped,
        }
    }
}

/// What to do with bytes that arrive from downstream during the body.
#[derive(Debug)]
pub enum EarlyInput<'a> {
    /// Keep them: they belong to the next request.
    Keep(&'a mut Vec<u8>),
    /// Discard them: they are the rest of the legacy protocol's dialog.
    Discard,
    /// Leave them: the other direction of a tunnel reads them, also their end.
    OtherDirection,
}

impl EarlyInput<'_> {
    /// Waits until the reader closes the connection, reading its input meanwhile; returns how it closed. Cancel-safe.
    pub(super) async fn reader_closed(&mut self, reader: &TcpStream, options: CopyOptions<'_>) -> CopyError {
        if matches!(self, Self::OtherDirection) {
            // The error itself is left to the other direction, or to the next write.
            return match reader.ready(Interest::ERROR).await {
                Ok(_) => CopyError::ReaderClosed,
                Err(error) => options.lost(&error),
            };
        }
        loop {
            if matches!(self, Self::Keep(kept) if kept.len() >= MAX_EARLY) {
                return std::future::pending().await;
            }
            if let Some(left) = self.read_input(reader, options) {
                return left;
            }
            if let Err(error) = reader.readable().await {
                return options.lost(&error);
            }
        }
    }

    /// Reads the reader's input; returns how it closed the connection, if it did. Not inlined into the wait, so that
    /// its buffer is not part of that future.
    fn read_input(&mut self, reader: &TcpStream, options: CopyOptions<'_>) -> Option<CopyError> {
        let mut input = [0; 512];
        loop {
            match reader.try_read(&mut input) {
                Ok(0) => return Some(CopyError::ReaderClosed),
                Ok(read) => {
                    if let Self::Keep(kept) = self {
                        kept.extend_from_slice(&input[..read]);
                        if kept.len() >= MAX_EARLY {
                            return None;
                        }
                    }
                }
                Err(error) => return (error.kind() != io::ErrorKind::WouldBlock).then(|| options.lost(&error)),
            }
        }
    }
}

/// Options for moving one body.
#[derive(Clone, Copy, Debug)]
pub struct CopyOptions<'a> {
    /// Counters of the body.
    pub meter: &'a Meter,
    /// Clock of the counters.
    pub clock: Clock,
    /// Faults and limits of the node.
    pub faults: &'a LiveFaults,
    /// What the key of the request uses of its limits.
    pub key: Option<&'a KeyUsage>,
    /// Limit on the silence of the source.
    pub idle: Duration,
    /// Limit on the time in which the reader accepts nothing.
    pub stall: Duration,
    /// Limit on the time that its window may stay closed, if longer: see `Reader`.
    pub step: Duration,
    /// The user fixed the size of the kernel's buffers.
    pub fixed: bool,
    /// The connection ends with this body.
    pub last: bool,
}

#[cfg(test)]
impl<'a> CopyOptions<'a> {
    /// Options of a body that is not the last one of its connection, with one limit for all waits.
    pub(crate) fn of_test(meter: &'a Meter, clock: Clock, faults: &'a LiveFaults, limit: Duration) -> Self {
        Self { meter, clock, faults, key: None, idle: limit, stall: limit, step: limit, fixed: false, last: false }
    }
}

impl CopyOptions<'_> {
    /// Returns whether faults or limits apply to the body.
    pub(super) fn disturbed(&self) -> bool {
        self.faults.disturb_bodies() || self.key.is_some_and(KeyUsage::limits_rate)
    }

    /// Returns how many of these bytes may be moved today.
    ///
    /// # Errors
    /// `DailyLimit` if none may.
    pub(super) fn allowed(&self, bytes: usize) -> Result<usize, CopyError> {
        let Some(key) = self.key else { return Ok(bytes) };
        let left = key.left_today().map_err(CopyError::DailyLimit)?;
        Ok(usize::try_from(left).map_or(bytes, |left| bytes.min(left)))
    }

    /// Counts bytes that were written to the reader.
    pub(super) fn record_write(&self, bytes: u64) {
        self.meter.record_write(bytes);
        if let Some(key) = self.key {
            key.moved(bytes);
        }
    }

    /// Classifies an error of the reader's socket. On a timeout the reader has not disconnected: its kernel
    /// acknowledged nothing until ours gave up.
    pub(super) fn lost(&self, error: &io::Error) -> CopyError {
        match error.kind() {
            io::ErrorKind::TimedOut => CopyError::Stalled(self.stall.max(self.step)),
            io::ErrorKind::ConnectionReset => CopyError::ReaderReset,
            _ => CopyError::ReaderClosed,
        }
    }
}

/// Reads the reader's input meanwhile; an end of stream means that it does not want the body any more.
pub(super) fn poll_early<D: AsyncRead>(
    mut reader: Pin<&mut D>,
    cx: &mut std::task::Context<'_>,
    early: &mut EarlyInput<'_>,
    options: CopyOptions<'_>,
) -> Poll<CopyError> {
    loop {
        let is_full = matches!(early, EarlyInput::Keep(kept) if kept.len() >= MAX_EARLY);
        if is_full || matches!(early, EarlyInput::OtherDirection) {
            return Poll::Pending;
        }
        let mut space = [0; 512];
        let mut input = ReadBuf::new(&mut space);
        match reader.as_mut().poll_read(cx, &mut input) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(options.lost(&error)),
            Poll::Ready(Ok(())) if input.filled().is_empty() => return Poll::Ready(CopyError::ReaderClosed),
            Poll::Ready(Ok(())) => {
                if let EarlyInput::Keep(kept) = early {
                    kept.extend_from_slice(input.filled());
                }
            }
        }
    }
}
