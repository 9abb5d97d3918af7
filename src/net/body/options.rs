//! Parameters of a body that is moved, input from its reader meanwhile, and the errors that end it early.

use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::meter::Meter;
use crate::net::faults::LiveFaults;
use crate::net::os::clock::Clock;
use crate::snapshot::BodyError;
use crate::units::HumanDuration;

/// Most bytes read from downstream while its body is on the way; a client that sends more is not watched any more.
const MOST_EARLY: usize = 8 * 1024;

/// Why a body did not arrive whole.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source ended early.
    #[error("the source ended {missing} bytes early")]
    Short {
        /// Bytes that did not come.
        missing: u64,
    },
    /// The source failed.
    #[error("reading failed: {0}")]
    Source(io::Error),
    /// The source sent nothing for the idle limit.
    #[error("no byte came for {0:?}")]
    Idle(Duration),
    /// The reader took nothing for the stall limit.
    #[error("the reader took nothing for {}", HumanDuration(*.0))]
    Stalled(Duration),
    /// The reader went away.
    #[error("the reader went away")]
    Gone,
    /// The node was told to break it off there.
    #[error("this node was told to truncate bodies at byte {0}")]
    Truncated(u64),
    /// The node was told to send nothing, and nobody lifted that for the stall limit.
    #[error("this node was told to stall, for more than {0:?}")]
    Held(Duration),
}

impl CopyError {
    /// The reason, as a record has it.
    pub fn body_error(&self) -> BodyError {
        match self {
            Self::Short { .. } => BodyError::SourceEnded,
            // No socket says that, and no read of a file: only a file that changed.
            Self::Source(error) if error.kind() == io::ErrorKind::InvalidData => BodyError::SourceChanged,
            Self::Source(_) => BodyError::SourceFailed,
            Self::Idle(_) => BodyError::SourceSilent,
            Self::Stalled(_) => BodyError::ReaderStuck,
            Self::Gone => BodyError::ReaderLeft,
            Self::Truncated(_) | Self::Held(_) => BodyError::Stopped,
        }
    }
}

/// What to do with bytes that come from downstream while the body goes there.
#[derive(Debug)]
pub enum EarlyInput<'a> {
    /// The next request: keep it.
    Keep(&'a mut Vec<u8>),
    /// The rest of the dialogue: it means nothing.
    Discard,
}

impl EarlyInput<'_> {
    /// Waits until the reader has left, taking what it says meanwhile; the answer is how it left. Cancel-safe.
    pub(super) async fn gone(&mut self, reader: &TcpStream, pace: CopyOptions<'_>) -> CopyError {
        loop {
            if matches!(self, Self::Keep(kept) if kept.len() >= MOST_EARLY) {
                return std::future::pending().await;
            }
            if let Some(left) = self.hear(reader, pace) {
                return left;
            }
            if let Err(error) = reader.readable().await {
                return pace.lost(&error);
            }
        }
    }

    /// Takes what the reader has said; how it left, if it has. Not part of the wait: its buffer would be held there.
    fn hear(&mut self, reader: &TcpStream, pace: CopyOptions<'_>) -> Option<CopyError> {
        let mut said = [0; 512];
        loop {
            match reader.try_read(&mut said) {
                Ok(0) => return Some(CopyError::Gone),
                Ok(read) => {
                    if let Self::Keep(kept) = self {
                        kept.extend_from_slice(&said[..read]);
                        if kept.len() >= MOST_EARLY {
                            return None;
                        }
                    }
                }
                Err(error) => return (error.kind() != io::ErrorKind::WouldBlock).then(|| pace.lost(&error)),
            }
        }
    }
}

/// How one body is moved.
#[derive(Clone, Copy, Debug)]
pub struct CopyOptions<'a> {
    /// Where it is counted.
    pub meter: &'a Meter,
    /// By which clock.
    pub clock: Clock,
    /// What the node was told to do to it.
    pub faults: &'a LiveFaults,
    /// How long the source may be silent.
    pub idle: Duration,
    /// How long the reader may take nothing.
    pub stall: Duration,
    /// How long its window may stay closed, if that is longer: see `Reader`.
    pub step: Duration,
    /// The kernel's buffers have a size that a person chose.
    pub fixed: bool,
}

impl CopyOptions<'_> {
    /// What an error of the reader's socket says of the reader. One that times out has not left: its kernel
    /// acknowledged nothing until ours gave it up.
    pub(super) fn lost(&self, error: &io::Error) -> CopyError {
        match error.kind() {
            io::ErrorKind::TimedOut => CopyError::Stalled(self.stall.max(self.step)),
            _ => CopyError::Gone,
        }
    }
}

/// Takes what the reader says meanwhile; an end of stream means that nobody wants the body any more.
pub(super) fn poll_early<D: AsyncRead>(
    mut reader: Pin<&mut D>,
    cx: &mut std::task::Context<'_>,
    early: &mut EarlyInput<'_>,
    pace: CopyOptions<'_>,
) -> Poll<CopyError> {
    loop {
        if matches!(early, EarlyInput::Keep(kept) if kept.len() >= MOST_EARLY) {
            return Poll::Pending;
        }
        let mut space = [0; 512];
        let mut said = ReadBuf::new(&mut space);
        match reader.as_mut().poll_read(cx, &mut said) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return Poll::Ready(pace.lost(&error)),
            Poll::Ready(Ok(())) if said.filled().is_empty() => return Poll::Ready(CopyError::Gone),
            Poll::Ready(Ok(())) => {
                if let EarlyInput::Keep(kept) = early {
                    kept.extend_from_slice(said.filled());
                }
            }
        }
    }
}
