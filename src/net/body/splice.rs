//! Fast paths of a body: from socket to socket through a pipe or a buffer, and from file to socket.
//!
//! All behave like the copy loop, with the same counters and times. A body stalled by its reader has neither pipe nor
//! buffer: its bytes remain in the socket that they arrived on.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SendFlags, recv, send as put};
use rustix::pipe::{SpliceFlags, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::options::{CopyError, CopyOptions, EarlyInput};
use super::reader::ReadProgress;
use super::sockbuf::{Buffers, Incoming};
use crate::meter::WaitKind;
use crate::net::os::deadline::Timer;

mod file;
mod pipes;

pub(super) use file::from_file;
pub use pipes::Pipes;
use pipes::{BorrowedPipe, Pipe};

/// Size of a thread's buffer: a larger one gains nothing, and this fits a core's own cache.
const BUFFER: usize = 256 * 1024;
/// First write to a reader about which nothing is known; bytes that it does not accept were copied for nothing.
const INITIAL_WRITE: usize = 64 * 1024;
/// Smallest write to a slow reader.
const MIN_WRITE: usize = 8 * 1024;

thread_local! {
    /// Shared by all bodies of this thread: none needs it while it waits.
    static SHARED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One body between two sockets.
struct SpliceCopy<'a, 'b> {
    source: &'a TcpStream,
    reader: &'a TcpStream,
    options: CopyOptions<'a>,
    early: &'a mut EarlyInput<'b>,
    idle: Timer,
    stall: Timer,
    buffers: Buffers<'a>,
    /// Bytes to offer to the reader at a time when copying.
    offer_len: usize,
    /// Bytes read from the source, and not sent yet when a fault was set.
    unsent: Vec<u8>,
}

/// Progress of a body on a fast path.
pub(super) struct SpliceProgress {
    /// Bytes read from the source: all, unless faults began to disturb bodies.
    pub(super) bytes: u64,
    /// The last of them, not sent to the reader yet.
    pub(super) unsent: Vec<u8>,
}

/// Outcome of one copy step.
enum SpliceStep {
    /// The source ended.
    End,
    /// Bytes sent to the reader.
    Sent(usize),
    /// The source has no data.
    SourceWaits,
    /// The reader accepts no data.
    ReaderWaits,
}

/// Moves `length` bytes from one socket to another, or fewer if faults begin to disturb bodies.
pub(super) async fn from_socket(
    source: Incoming<'_>,
    reader: &TcpStream,
    length: u64,
    options: CopyOptions<'_>,
    early: &mut EarlyInput<'_>,
    pipes: &Arc<Pipes>,
) -> Result<SpliceProgress, CopyError> {
    let (idle, stall) = (Timer::new(options.idle), Timer::new(options.stall));
    let buffers = Buffers::new(Some(source), reader, options.fixed);
    let source = source.stream;
    let mut way = SpliceCopy {
        source,
        reader,
        options,
        early,
        idle,
        stall,
        buffers,
        offer_len: INITIAL_WRITE,
        unsent: Vec::new(),
    };
    let mut left = length;
    while left > 0 {
        left -= way.copy_phase(left).await?;
        if left == 0 || options.disturbed() {
            break;
        }
        match pipes.take() {
            Some(pipe) => left -= way.splice_phase(pipe, left).await?,
            None => way.buffers.flow().retry_pipe_later(),
        }
    }
    Ok(SpliceProgress { bytes: length - left, unsent: way.unsent })
}

impl SpliceCopy<'_, '_> {
    /// Copies until the body qualifies for a pipe, is disturbed, or ends; returns the number of bytes.
    ///
    /// Bytes are peeked, offered to the reader, and removed from the source only as far as the reader accepted them.
    async fn copy_phase(&mut self, left: u64) -> Result<u64, CopyError> {
        let mut moved = 0;
        while moved < left && !self.buffers.flow().wants_pipe() && !self.options.disturbed() {
            let max = usize::try_from(left - moved).unwrap_or(usize::MAX).min(self.offer_len);
            let max = self.options.allowed(max)?;
            match self.copy(max)? {
                SpliceStep::End => return Err(CopyError::Short { missing: left - moved }),
                SpliceStep::Sent(sent) => {
                    self.options.meter.resume(|| self.options.clock.now_us());
                    self.options.meter.record_read(sent as u64);
                    self.options.record_write(sent as u64);
                    self.buffers.moved(sent as u64);
                    moved += sent as u64;
                }
                SpliceStep::SourceWaits => self.source_ready().await?,
                SpliceStep::ReaderWaits => {
                    let waited = reader_ready(self.reader, self.options, &mut self.stall).await?;
                    self.buffers.waited(waited);
                }
            }
            // Nothing above yields while both sockets are ready; other connections need their turn.
            tokio::task::consume_budget().await;
        }
        Ok(moved)
    }

    fn copy(&mut self, max: usize) -> Result<SpliceStep, CopyError> {
        SHARED.with_borrow_mut(|buffer| {
            if buffer.is_empty() {
                buffer.resize(BUFFER, 0);
            }
            let peek = || receive(self.source, &mut buffer[..max], RecvFlags::PEEK);
            let seen = match self.source.try_io(Interest::READABLE, peek) {
                Ok(0) => return Ok(SpliceStep::End),
                Ok(seen) => seen,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(SpliceStep::SourceWaits),
                Err(error) => return Err(CopyError::Source(error)),
            };
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let offer = || Ok(retry_on_intr(|| put(self.reader, &buffer[..seen], flags))?);
            let sent = match self.reader.try_io(Interest::WRITABLE, offer) {
                Ok(0) => return Err(CopyError::ReaderClosed),
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(self.options.lost(&error)),
            };
            // The next offer is as large as what it accepts at a time.
            self.offer_len = if sent < seen { sent.max(MIN_WRITE) } else { (self.offer_len * 2).min(BUFFER) };
            if sent == 0 {
                return Ok(SpliceStep::ReaderWaits);
            }
            let mut consumed = 0;
            while consumed < sent {
                match receive(self.source, &mut buffer[..sent - consumed], RecvFlags::TRUNC) {
                    Ok(0) => return Err(CopyError::Source(io::ErrorKind::UnexpectedEof.into())),
                    Ok(dropped) => consumed += dropped,
                    Err(error) => return Err(CopyError::Source(error)),
                }
            }
            Ok(SpliceStep::Sent(sent))
        })
    }

    /// Moves bytes through a pipe until the reader stalls it, the body is disturbed, or ends; returns the number of
    /// bytes.
    ///
    /// The pipe is filled only when it is empty, so "would block" can only mean that the source has no data.
    async fn splice_phase(&mut self, mut taken: BorrowedPipe, left: u64) -> Result<u64, CopyError> {
        let mut moved = 0;
        while moved < left && self.buffers.flow().wants_pipe() && !self.options.disturbed() {
            let Some(pipe) = &taken.pipe else { return Ok(moved) };
            let max = usize::try_from(left - moved).unwrap_or(usize::MAX).min(pipe.size);
            let max = self.options.allowed(max)?;
            match self.fill(pipe, max).await? {
                Some(0) => return Err(CopyError::Short { missing: left - moved }),
                Some(read) => taken.buffered = read,
                None => {
                    self.buffers.flow().disable_pipe();
                    return Ok(moved);
                }
            }
            self.options.meter.record_read(taken.buffered as u64);
            while taken.buffered > 0 {
                let Some(pipe) = &taken.pipe else { return Ok(moved) };
                let sent = send(self.reader, self.options, &mut self.stall, || {
                    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
                    splice(&pipe.read, None, self.reader, None, taken.buffered, flags)
                })
                .await?;
                let Some((wrote, waited)) = sent else {
                    // The faults also apply to what is in the pipe.
                    self.unsent = taken.empty().map_err(CopyError::Source)?;
                    return Ok(moved + self.unsent.len() as u64);
                };
                if wrote == 0 {
                    return Err(CopyError::ReaderClosed);
                }
                self.buffers.waited(waited);
                self.buffers.moved(wrote as u64);
                taken.buffered -= wrote;
                moved += wrote as u64;
            }
            tokio::task::consume_budget().await;
        }
        Ok(moved)
    }

    /// Fills the empty pipe; `None` if this socket cannot be spliced from.
    async fn fill(&mut self, pipe: &Pipe, max: usize) -> Result<Option<usize>, CopyError> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        loop {
            let read = || Ok(retry_on_intr(|| splice(self.source, None, &pipe.write, None, max, flags))?);
            match self.source.try_io(Interest::READABLE, read) {
                Ok(read) => {
                    self.options.meter.resume(|| self.options.clock.now_us());
                    return Ok(Some(read));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.source_ready().await?,
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(None),
                Err(error) => return Err(CopyError::Source(error)),
            }
        }
    }

    /// Waits until the source has data, and detects meanwhile that the reader disconnects.
    async fn source_ready(&mut self) -> Result<(), CopyError> {
        self.options.meter.wait(WaitKind::Read, self.options.clock.now_us());
        let since = Instant::now();
        tokio::select! {
            biased;
            ready = self.source.readable() => ready.map_err(CopyError::Source),
            left = self.early.reader_closed(self.reader, self.options) => Err(left),
            () = self.idle.expired(since, || None) => Err(CopyError::Idle(self.options.idle)),
        }
    }
}

/// Writes and counts bytes as soon as the reader accepts them; returns their number and the time waited, or `None` if
/// faults began to disturb bodies before anything was written.
async fn send(
    reader: &TcpStream,
    options: CopyOptions<'_>,
    stall: &mut Timer,
    mut write: impl FnMut() -> rustix::io::Result<usize>,
) -> Result<Option<(usize, Duration)>, CopyError> {
    let mut waited = Duration::ZERO;
    while !options.disturbed() {
        match reader.try_io(Interest::WRITABLE, || Ok(retry_on_intr(&mut write)?)) {
            Ok(wrote) => {
                options.meter.resume(|| options.clock.now_us());
                options.record_write(wrote as u64);
                return Ok(Some((wrote, waited)));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                waited = waited.max(reader_ready(reader, options, stall).await?);
            }
            Err(error) => return Err(options.lost(&error)),
        }
    }
    Ok(None)
}

/// Waits until the reader accepts data; returns the time waited.
async fn reader_ready(reader: &TcpStream, options: CopyOptions<'_>, stall: &mut Timer) -> Result<Duration, CopyError> {
    options.meter.wait(WaitKind::Write, options.clock.now_us());
    let since = Instant::now();
    let mut progress = ReadProgress::new((options.stall, options.step), since);
    tokio::select! {
        biased;
        ready = reader.writable() => ready.map_err(|error| options.lost(&error))?,
        () = stall.expired(since, || progress.sample(reader)) => return Err(CopyError::Stalled(since.elapsed())),
    }
    Ok(since.elapsed())
}

/// Reads what a socket has available, with these flags.
fn receive(source: &TcpStream, space: &mut [u8], how: RecvFlags) -> io::Result<usize> {
    Ok(retry_on_intr(|| recv(source, &mut *space, how | RecvFlags::DONTWAIT))?.1)
}
