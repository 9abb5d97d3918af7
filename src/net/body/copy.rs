//! The copy loop: moves one body downstream, counts its bytes, and records what it waits for.

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::{AsyncRead, ReadBuf};

use super::options::{CopyError, CopyOptions, EarlyInput, poll_early};
use super::reader::{Reader, write_some};
use super::shaping::Shaper;
use crate::meter::WaitKind;
use crate::net::os::deadline::within;

/// Bytes moved at a time: large enough that system calls do not matter, small enough for a thousand concurrent bodies.
pub const CHUNK: usize = 128 * 1024;
/// The first buffer of a body: a small file never needs the large one.
const FIRST_CHUNK: usize = 16 * 1024;
/// Moves exactly `length` bytes from `source` to `reader`, and detects while the source is silent that the reader has
/// disconnected.
///
/// Returns how many bytes it moved: fewer only if faults begin or cease to disturb bodies meanwhile, because there may
/// be a faster way from then on. Not cancel-safe: bytes in the buffer are lost, so the connections of a cancelled body
/// must be closed.
///
/// # Errors
/// `Short`, `Source` or `Idle` if the source ends early, fails or sends nothing; `Stalled` or `ReaderClosed` if the
/// reader accepts nothing or has disconnected; `Truncated` and the like if a fault ends the body.
pub async fn copy_body<S, D>(
    source: &mut S,
    reader: &mut D,
    length: u64,
    options: CopyOptions<'_>,
    early: &mut EarlyInput<'_>,
) -> Result<u64, CopyError>
where
    S: AsyncRead + Unpin,
    D: Reader,
{
    if length == 0 {
        return Ok(0);
    }
    let disturbed = options.disturbed();
    // Boxed to keep this future small for all other bodies.
    let mut shaper = disturbed.then(|| Box::new(Shaper::new(options)));
    let mut buffer = vec![0; FIRST_CHUNK.min(usize::try_from(length).unwrap_or(CHUNK).max(1))];
    let mut left = length;
    while left > 0 && options.disturbed() == disturbed {
        let mut max = options.allowed(buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX)))?;
        if let Some(shaper) = &mut shaper {
            max = shaper.readable_len(max, options, reader, early).await?;
        }
        let read = options.read(source, reader, &mut buffer[..max], early).await?;
        if read == 0 {
            return Err(CopyError::Short { missing: left });
        }
        options.meter.record_read(read as u64);
        match &mut shaper {
            Some(shaper) => options.send_shaped(reader, &buffer[..read], early, shaper).await?,
            None => options.send(reader, &buffer[..read], early).await?,
        }
        left -= read as u64;
        if read == buffer.len() && buffer.len() < CHUNK && left > buffer.len() as u64 {
            buffer.resize(CHUNK.min(usize::try_from(left).unwrap_or(CHUNK)), 0);
        }
    }
    Ok(length - left)
}

impl CopyOptions<'_> {
    /// Sends a chunk to the reader, fragmented and delayed by the faults.
    ///
    /// # Errors
    /// `Stalled` if the reader accepts nothing for the stall limit, `ReaderClosed` if it has disconnected, or the
    /// variant of the fault that ends the body here.
    pub async fn send<D>(&self, reader: &mut D, chunk: &[u8], early: &mut EarlyInput<'_>) -> Result<(), CopyError>
    where
        D: Reader,
    {
        if self.disturbed() {
            // A fault was set meanwhile.
            let mut shaper = Shaper::new(*self);
            return Box::pin(self.send_shaped(reader, chunk, early, &mut shaper)).await;
        }
        self.write(reader, &[], chunk).await
    }

    /// Does the same for a body that faults or limits apply to.
    async fn send_shaped<D: Reader>(
        &self,
        reader: &mut D,
        chunk: &[u8],
        early: &mut EarlyInput<'_>,
        shaper: &mut Shaper,
    ) -> Result<(), CopyError> {
        let mut left = chunk;
        while !left.is_empty() {
            let piece = shaper.admit(left.len(), *self, reader, early).await?;
            self.write(reader, &[], &left[..piece]).await?;
            left = &left[piece..];
        }
        Ok(())
    }

    /// Writes a head, which may be empty, and a piece of the body, in one call if possible.
    ///
    /// # Errors
    /// `Stalled` if the reader accepts nothing for the stall limit, `ReaderClosed` if it has disconnected.
    pub async fn write<D: Reader>(&self, reader: &mut D, head: &[u8], piece: &[u8]) -> Result<(), CopyError> {
        self.write_pieces(reader, head, piece, false).await
    }

    /// Writes a head and a whole body, and ends the connection's direction: the end is sent in the last packet with
    /// bytes. A packet of its own would cost both ends as much as a small body does, and the reader another wakeup.
    ///
    /// # Errors
    /// Those of [`Self::write`].
    pub async fn write_last<D: Reader>(&self, reader: &mut D, head: &[u8], body: &[u8]) -> Result<(), CopyError> {
        self.write_pieces(reader, head, body, true).await?;
        reader.end();
        Ok(())
    }

    async fn write_pieces<D: Reader>(
        &self,
        reader: &mut D,
        mut head: &[u8],
        mut piece: &[u8],
        more: bool,
    ) -> Result<(), CopyError> {
        while !(head.is_empty() && piece.is_empty()) {
            let writing = write_some(reader, (self.stall, self.step), |reader, cx| {
                let both = [IoSlice::new(head), IoSlice::new(piece)];
                let written = match (head, piece) {
                    _ if more => reader.poll_write_more(cx, &both),
                    ([], one) | (one, []) => reader.poll_write(cx, one),
                    _ => reader.poll_write_vectored(cx, &both),
                };
                if written.is_pending() {
                    self.meter.wait(WaitKind::Write, self.clock.now_us());
                }
                written
            });
            let count = match writing.await {
                Err(waited) => return Err(CopyError::Stalled(waited)),
                Ok(Err(error)) => return Err(self.lost(&error)),
                Ok(Ok(0)) => return Err(CopyError::ReaderClosed),
                Ok(Ok(count)) => count,
            };
            self.meter.resume(|| self.clock.now_us());
            self.meter.record_first_byte(|| self.clock.now_us());
            // Counted as they are written: bytes still in this buffer have not been delivered.
            let of_head = count.min(head.len());
            head = &head[of_head..];
            piece = &piece[count - of_head..];
            self.record_write((count - of_head) as u64);
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

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::meter::Meter;
    use crate::net::faults::LiveFaults;
    use crate::net::os::clock::Clock;

    const IDLE: Duration = Duration::from_secs(30);
    const STALL: Duration = Duration::from_mins(1);

    fn options(meter: &Meter, clock: Clock) -> CopyOptions<'_> {
        static NO_FAULTS: LazyLock<LiveFaults> = LazyLock::new(LiveFaults::default);
        CopyOptions { idle: IDLE, ..CopyOptions::of_test(meter, clock, &NO_FAULTS, STALL) }
    }

    #[tokio::test(start_paused = true)]
    async fn copies_exactly_the_length() {
        let (meter, clock) = (Meter::default(), Clock::start());
        let body: Vec<u8> = (0..300_000u32).map(|i| i as u8).collect();
        let mut source = &[&body[..], b"next"].concat()[..];
        let (mut reader, mut client) = duplex(1000);
        let moved = tokio::spawn(async move {
            let mut got = Vec::new();
            client.read_to_end(&mut got).await.unwrap();
            got
        });
        copy_body(&mut source, &mut reader, 300_000, options(&meter, clock), &mut EarlyInput::Discard).await.unwrap();
        drop(reader);
        assert_eq!((moved.await.unwrap() == body, source), (true, &b"next"[..]));
        assert_eq!((meter.flow(0).bytes_in, meter.flow(0).bytes_out), (300_000, 300_000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_premature_end_is_short() {
        let (meter, clock) = (Meter::default(), Clock::start());
        let mut source = &b"abc"[..];
        let (mut reader, _client) = duplex(1000);
        let ended = copy_body(&mut source, &mut reader, 5, options(&meter, clock), &mut EarlyInput::Discard).await;
        assert!(matches!(ended, Err(CopyError::Short { missing: 2 })), "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_source_and_a_stalled_reader_time_out_and_are_counted() {
        let (meter, clock) = (Meter::default(), Clock::start());
        meter.begin(0);
        let (mut source, _origin) = duplex(10);
        let (mut reader, _client) = duplex(10);
        let ended = copy_body(&mut source, &mut reader, 5, options(&meter, clock), &mut EarlyInput::Discard).await;
        assert!(matches!(ended, Err(CopyError::Idle(_))), "{ended:?}");
        assert_eq!(meter.flow(clock.now_us()).starved_us, IDLE.as_micros() as u64);
        let mut source = &[0; 100][..];
        let ended = copy_body(&mut source, &mut reader, 100, options(&meter, clock), &mut EarlyInput::Discard).await;
        assert!(matches!(ended, Err(CopyError::Stalled(_))), "{ended:?}");
        assert!(meter.flow(clock.now_us()).blocked_us >= STALL.as_micros() as u64);
    }

    #[tokio::test(start_paused = true)]
    async fn detects_a_disconnect_while_the_source_is_silent() {
        let (meter, clock) = (Meter::default(), Clock::start());
        let (mut source, _origin) = duplex(10);
        let (mut reader, mut client) = duplex(10);
        client.write_all(b"next").await.unwrap();
        drop(client);
        let mut kept = Vec::new();
        let ended =
            copy_body(&mut source, &mut reader, 5, options(&meter, clock), &mut EarlyInput::Keep(&mut kept)).await;
        assert!(matches!(ended, Err(CopyError::ReaderClosed)), "{ended:?}");
        assert_eq!((kept.as_slice(), clock.now_us() < 1000), (&b"next"[..], true));
    }
}
