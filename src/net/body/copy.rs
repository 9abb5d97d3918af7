//! The chunk loop: moves one body downstream, counts it, and knows at every moment what it is waiting for.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::reader::{Reader, write_some};
use crate::meter::{Meter, WaitKind};
use crate::net::faults::LiveFaults;
use crate::net::os::clock::Clock;
use crate::net::os::deadline::within;
use crate::snapshot::Broke;
use crate::units::HumanDuration;

/// Bytes moved at a time: large enough that system calls do not matter, small enough for a thousand at once.
pub const CHUNK: usize = 128 * 1024;
/// The first buffer of a body: a small file never needs the large one.
const FIRST_CHUNK: usize = 16 * 1024;
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
    /// What broke, in the words of an account.
    pub fn broke(&self) -> Broke {
        match self {
            Self::Short { .. } => Broke::SourceEnded,
            // No socket says that, and no read of a file: only a file that changed.
            Self::Source(error) if error.kind() == io::ErrorKind::InvalidData => Broke::SourceChanged,
            Self::Source(_) => Broke::SourceFailed,
            Self::Idle(_) => Broke::SourceSilent,
            Self::Stalled(_) => Broke::ReaderStuck,
            Self::Gone => Broke::ReaderLeft,
            Self::Truncated(_) | Self::Held(_) => Broke::Stopped,
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

/// Moves exactly `length` bytes from `source` to `reader`, and notices when the reader leaves while the source is
/// silent.
///
/// The answer is how many it moved: fewer only where the faults begin or cease to disturb bodies meanwhile, for there
/// may be a better way from then on. Not cancel-safe: bytes in the buffer are lost, so a cancelled body's connections
/// must be closed.
///
/// # Errors
/// `Short`, `Source` or `Idle` if the source ends early, fails or sends nothing; `Stalled` or `Gone` if the reader
/// takes nothing or has left; `Truncated` and the like if a fault ends the body.
pub async fn pump<S, D>(
    source: &mut S,
    reader: &mut D,
    length: u64,
    pace: CopyOptions<'_>,
    early: &mut EarlyInput<'_>,
) -> Result<u64, CopyError>
where
    S: AsyncRead + Unpin,
    D: Reader,
{
    if length == 0 {
        return Ok(0);
    }
    let disturbed = pace.faults.disturb_bodies();
    let mut buffer = vec![0; FIRST_CHUNK.min(usize::try_from(length).unwrap_or(CHUNK).max(1))];
    let mut left = length;
    while left > 0 && pace.faults.disturb_bodies() == disturbed {
        let mut most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if disturbed {
            most = pace.wanted(most, reader, early).await?;
        }
        let read = pace.read(source, reader, &mut buffer[..most], early).await?;
        if read == 0 {
            return Err(CopyError::Short { missing: left });
        }
        pace.meter.took(read as u64);
        pace.send(reader, &buffer[..read], early).await?;
        left -= read as u64;
        if read == buffer.len() && buffer.len() < CHUNK && left > buffer.len() as u64 {
            buffer.resize(CHUNK.min(usize::try_from(left).unwrap_or(CHUNK)), 0);
        }
    }
    Ok(length - left)
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

    /// Gives a chunk to the reader, in the pieces and at the times that the faults want.
    ///
    /// # Errors
    /// `Stalled` if the reader takes nothing for the stall limit, `Gone` if it has left, or the variant of the fault
    /// that ends the body here.
    pub async fn send<D>(&self, reader: &mut D, chunk: &[u8], early: &mut EarlyInput<'_>) -> Result<(), CopyError>
    where
        D: Reader,
    {
        let mut left = chunk;
        while !left.is_empty() {
            let piece =
                if self.faults.disturb_bodies() { self.let_go(left.len(), reader, early).await? } else { left.len() };
            self.write(reader, &[], &left[..piece]).await?;
            left = &left[piece..];
        }
        Ok(())
    }

    /// Writes a head, which may be empty, and a piece of the body, as one where it can be.
    ///
    /// # Errors
    /// `Stalled` if the reader takes nothing for the stall limit, `Gone` if it has left.
    pub async fn write<D: Reader>(&self, reader: &mut D, mut head: &[u8], mut piece: &[u8]) -> Result<(), CopyError> {
        while !(head.is_empty() && piece.is_empty()) {
            let writing = write_some(reader, (self.stall, self.step), |reader, cx| {
                let written = match (head, piece) {
                    ([], one) | (one, []) => reader.poll_write(cx, one),
                    _ => reader.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(piece)]),
                };
                if written.is_pending() {
                    self.meter.wait(WaitKind::Write, self.clock.now_us());
                }
                written
            });
            let count = match writing.await {
                Err(waited) => return Err(CopyError::Stalled(waited)),
                Ok(Err(error)) => return Err(self.lost(&error)),
                Ok(Ok(0)) => return Err(CopyError::Gone),
                Ok(Ok(count)) => count,
            };
            self.meter.resume(|| self.clock.now_us());
            self.meter.first(|| self.clock.now_us());
            // Counted as they leave: what is still in this buffer has not been delivered.
            let of_head = count.min(head.len());
            head = &head[of_head..];
            piece = &piece[count - of_head..];
            self.meter.gave((count - of_head) as u64);
        }
        Ok(())
    }

    async fn read<S, D>(
        &self,
        source: &mut S,
        reader: &mut D,
        buffer: &mut [u8],
        early: &mut EarlyInput<'_>,
    ) -> Result<usize, CopyError>
    where
        S: AsyncRead + Unpin,
        D: AsyncRead + Unpin,
    {
        let reading = poll_fn(|cx| {
            let mut chunk = ReadBuf::new(buffer);
            match Pin::new(&mut *source).poll_read(cx, &mut chunk) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(chunk.filled().len())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(CopyError::Source(error))),
                Poll::Pending => self.meter.wait(WaitKind::Read, self.clock.now_us()),
            }
            poll_early(Pin::new(&mut *reader), cx, early, *self).map(Err)
        });
        let read = within(self.idle, reading).await.map_err(|_| CopyError::Idle(self.idle))?;
        self.meter.resume(|| self.clock.now_us());
        read
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

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const IDLE: Duration = Duration::from_secs(30);
    const STALL: Duration = Duration::from_mins(1);

    fn pace(meter: &Meter, clock: Clock) -> CopyOptions<'_> {
        static NO_FAULTS: LazyLock<LiveFaults> = LazyLock::new(LiveFaults::default);
        CopyOptions { meter, clock, faults: &NO_FAULTS, idle: IDLE, stall: STALL, step: STALL, fixed: false }
    }

    #[tokio::test(start_paused = true)]
    async fn moves_exactly_the_length_and_leaves_the_rest() {
        let (meter, clock) = (Meter::default(), Clock::start());
        let body: Vec<u8> = (0..300_000u32).map(|i| i as u8).collect();
        let mut source = &[&body[..], b"next"].concat()[..];
        let (mut reader, mut client) = duplex(1000);
        let moved = tokio::spawn(async move {
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            got
        });
        pump(&mut source, &mut reader, 300_000, pace(&meter, clock), &mut EarlyInput::Discard).await.unwrap();
        drop(reader);
        assert_eq!((moved.await.unwrap() == body, source), (true, &b"next"[..]));
        assert_eq!((meter.flow(0).bytes_in, meter.flow(0).bytes_out), (300_000, 300_000));
    }

    #[tokio::test(start_paused = true)]
    async fn an_early_end_is_short_never_a_success() {
        let (meter, clock) = (Meter::default(), Clock::start());
        let mut source = &b"abc"[..];
        let (mut reader, _client) = duplex(1000);
        let ended = pump(&mut source, &mut reader, 5, pace(&meter, clock), &mut EarlyInput::Discard).await;
        assert!(matches!(ended, Err(CopyError::Short { missing: 2 })), "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_source_and_a_deaf_reader_have_their_limits_and_their_clocks() {
        let (meter, clock) = (Meter::default(), Clock::start());
        meter.begin(0);
        let (mut source, _origin) = duplex(10);
        let (mut reader, _client) = duplex(10);
        let ended = pump(&mut source, &mut reader, 5, pace(&meter, clock), &mut EarlyInput::Discard).await;
        assert!(matches!(ended, Err(CopyError::Idle(_))), "{ended:?}");
        assert_eq!(meter.flow(clock.now_us()).starved_us, IDLE.as_micros() as u64);
        let mut source = &[0; 100][..];
        let ended = pump(&mut source, &mut reader, 100, pace(&meter, clock), &mut EarlyInput::Discard).await;
        assert!(matches!(ended, Err(CopyError::Stalled(_))), "{ended:?}");
        assert!(meter.flow(clock.now_us()).blocked_us >= STALL.as_micros() as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_leaves_is_noticed_while_the_source_is_silent() {
        let (meter, clock) = (Meter::default(), Clock::start());
        let (mut source, _origin) = duplex(10);
        let (mut reader, mut client) = duplex(10);
        client.write_all(b"next").await.unwrap();
        drop(client);
        let mut kept = Vec::new();
        let ended = pump(&mut source, &mut reader, 5, pace(&meter, clock), &mut EarlyInput::Keep(&mut kept)).await;
        assert!(matches!(ended, Err(CopyError::Gone)), "{ended:?}");
        assert_eq!((kept.as_slice(), clock.now_us() < 1000), (&b"next"[..], true));
    }
}
