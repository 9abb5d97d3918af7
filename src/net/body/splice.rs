//! The fast ways of a body: from socket to socket through a pipe or a buffer, from file to socket at once.
//!
//! All do what the copying pump does, and count and time it the same way. A body that its reader holds up has neither
//! pipe nor buffer: its bytes wait in the socket they came by.

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

/// The buffer of a thread: past the point of gain, and small enough to stay in a core's own cache.
const BUFFER: usize = 256 * 1024;
/// The first bytes tried on a reader of which nothing is known; what it does not take was copied for nothing.
const FIRST_TRY: usize = 64 * 1024;
/// The least that is tried on a slow reader.
const LEAST_TRY: usize = 8 * 1024;

thread_local! {
    /// One for all bodies of this thread: none needs it while it waits.
    static SHARED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One body between two sockets.
struct SpliceCopy<'a, 'b> {
    source: &'a TcpStream,
    reader: &'a TcpStream,
    pace: CopyOptions<'a>,
    early: &'a mut EarlyInput<'b>,
    idle: Timer,
    stall: Timer,
    buffers: Buffers<'a>,
    /// Bytes to try on the reader at a time when copying.
    attempt: usize,
    /// Taken from the source, and stopped by a turn of the faults on their way to the reader.
    unsent: Vec<u8>,
}

/// How far a body went by a fast way.
pub(super) struct SpliceProgress {
    /// Bytes taken from the source: all, unless the faults began to disturb bodies.
    pub(super) bytes: u64,
    /// The last of them, which the reader has not got yet.
    pub(super) unsent: Vec<u8>,
}

/// What became of an attempt to copy.
enum SpliceStep {
    /// The source's end.
    End,
    /// So many bytes went to the reader.
    Sent(usize),
    /// There is nothing to read.
    SourceWaits,
    /// The reader takes nothing.
    ReaderWaits,
}

/// Moves `length` bytes from one socket to another, or as many as it can before the faults begin to disturb bodies.
pub(super) async fn from_socket(
    source: Incoming<'_>,
    reader: &TcpStream,
    length: u64,
    pace: CopyOptions<'_>,
    early: &mut EarlyInput<'_>,
    pipes: &Arc<Pipes>,
) -> Result<SpliceProgress, CopyError> {
    let (idle, stall) = (Timer::new(pace.idle), Timer::new(pace.stall));
    let buffers = Buffers::new(Some(source), reader, pace.fixed);
    let source = source.stream;
    let mut way =
        SpliceCopy { source, reader, pace, early, idle, stall, buffers, attempt: FIRST_TRY, unsent: Vec::new() };
    let mut left = length;
    while left > 0 {
        left -= way.copied(left).await?;
        if left == 0 || pace.faults.disturb_bodies() {
            break;
        }
        match pipes.take() {
            Some(pipe) => left -= way.spliced(pipe, left).await?,
            None => way.buffers.flow().ask_later(),
        }
    }
    Ok(SpliceProgress { bytes: length - left, unsent: way.unsent })
}

impl SpliceCopy<'_, '_> {
    /// Copies until the body has earned a pipe or is disturbed, or to the end; the answer is how many bytes that took.
    ///
    /// Bytes are looked at, offered to the reader, and taken from the source only as far as the reader took them.
    async fn copied(&mut self, left: u64) -> Result<u64, CopyError> {
        let mut moved = 0;
        while moved < left && !self.buffers.flow().wants_pipe() && !self.pace.faults.disturb_bodies() {
            let most = usize::try_from(left - moved).unwrap_or(usize::MAX).min(self.attempt);
            match self.copy(most)? {
                SpliceStep::End => return Err(CopyError::Short { missing: left - moved }),
                SpliceStep::Sent(sent) => {
                    self.pace.meter.resume(|| self.pace.clock.now_us());
                    self.pace.meter.record_read(sent as u64);
                    self.pace.meter.record_write(sent as u64);
                    self.buffers.moved(sent as u64);
                    moved += sent as u64;
                }
                SpliceStep::SourceWaits => self.source_ready().await?,
                SpliceStep::ReaderWaits => {
                    let waited = reader_ready(self.reader, self.pace, &mut self.stall).await?;
                    self.buffers.waited(waited);
                }
            }
            // Nothing above gives way while both sockets are ready; other connections want their turn.
            tokio::task::consume_budget().await;
        }
        Ok(moved)
    }

    fn copy(&mut self, most: usize) -> Result<SpliceStep, CopyError> {
        SHARED.with_borrow_mut(|buffer| {
            if buffer.is_empty() {
                buffer.resize(BUFFER, 0);
            }
            let peek = || receive(self.source, &mut buffer[..most], RecvFlags::PEEK);
            let seen = match self.source.try_io(Interest::READABLE, peek) {
                Ok(0) => return Ok(SpliceStep::End),
                Ok(seen) => seen,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(SpliceStep::SourceWaits),
                Err(error) => return Err(CopyError::Source(error)),
            };
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            let offer = || Ok(retry_on_intr(|| put(self.reader, &buffer[..seen], flags))?);
            let sent = match self.reader.try_io(Interest::WRITABLE, offer) {
                Ok(0) => return Err(CopyError::Gone),
                Ok(sent) => sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(self.pace.lost(&error)),
            };
            // What it takes at a time is what it will be offered.
            self.attempt = if sent < seen { sent.max(LEAST_TRY) } else { (self.attempt * 2).min(BUFFER) };
            if sent == 0 {
                return Ok(SpliceStep::ReaderWaits);
            }
            let mut gone = 0;
            while gone < sent {
                match receive(self.source, &mut buffer[..sent - gone], RecvFlags::TRUNC) {
                    Ok(0) => return Err(CopyError::Source(io::ErrorKind::UnexpectedEof.into())),
                    Ok(dropped) => gone += dropped,
                    Err(error) => return Err(CopyError::Source(error)),
                }
            }
            Ok(SpliceStep::Sent(sent))
        })
    }

    /// Moves bytes through a pipe until the reader holds it up or the body is disturbed, or to the end; the answer is
    /// how many bytes that took.
    ///
    /// The pipe is filled only when it is empty, so that "would block" can only mean that the source has nothing.
    async fn spliced(&mut self, mut taken: BorrowedPipe, left: u64) -> Result<u64, CopyError> {
        let mut moved = 0;
        while moved < left && self.buffers.flow().wants_pipe() && !self.pace.faults.disturb_bodies() {
            let Some(pipe) = &taken.pipe else { return Ok(moved) };
            let most = usize::try_from(left - moved).unwrap_or(usize::MAX).min(pipe.size);
            match self.fill(pipe, most).await? {
                Some(0) => return Err(CopyError::Short { missing: left - moved }),
                Some(read) => taken.held = read,
                None => {
                    self.buffers.flow().never_ask();
                    return Ok(moved);
                }
            }
            self.pace.meter.record_read(taken.held as u64);
            while taken.held > 0 {
                let Some(pipe) = &taken.pipe else { return Ok(moved) };
                let sent = send(self.reader, self.pace, &mut self.stall, || {
                    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
                    splice(&pipe.read, None, self.reader, None, taken.held, flags)
                })
                .await?;
                let Some((wrote, waited)) = sent else {
                    // What is in the pipe goes as the faults want it, too.
                    self.unsent = taken.empty().map_err(CopyError::Source)?;
                    return Ok(moved + self.unsent.len() as u64);
                };
                if wrote == 0 {
                    return Err(CopyError::Gone);
                }
                self.buffers.waited(waited);
                self.buffers.moved(wrote as u64);
                taken.held -= wrote;
                moved += wrote as u64;
            }
            tokio::task::consume_budget().await;
        }
        Ok(moved)
    }

    /// Fills the empty pipe; `None` where this socket cannot be spliced from.
    async fn fill(&mut self, pipe: &Pipe, most: usize) -> Result<Option<usize>, CopyError> {
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        loop {
            let read = || Ok(retry_on_intr(|| splice(self.source, None, &pipe.write, None, most, flags))?);
            match self.source.try_io(Interest::READABLE, read) {
                Ok(read) => {
                    self.pace.meter.resume(|| self.pace.clock.now_us());
                    return Ok(Some(read));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.source_ready().await?,
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(None),
                Err(error) => return Err(CopyError::Source(error)),
            }
        }
    }

    /// Waits until the source has something, and notices meanwhile if the reader leaves.
    async fn source_ready(&mut self) -> Result<(), CopyError> {
        self.pace.meter.wait(WaitKind::Read, self.pace.clock.now_us());
        let since = Instant::now();
        tokio::select! {
            biased;
            ready = self.source.readable() => ready.map_err(CopyError::Source),
            left = self.early.gone(self.reader, self.pace) => Err(left),
            () = self.idle.expired(since, || None) => Err(CopyError::Idle(self.pace.idle)),
        }
    }
}

/// Writes to the reader as soon as it takes something, and counts that; the answer is how much, and how long it waited;
/// `None` where the faults began to disturb bodies before anything was written.
async fn send(
    reader: &TcpStream,
    pace: CopyOptions<'_>,
    stall: &mut Timer,
    mut write: impl FnMut() -> rustix::io::Result<usize>,
) -> Result<Option<(usize, Duration)>, CopyError> {
    let mut waited = Duration::ZERO;
    while !pace.faults.disturb_bodies() {
        match reader.try_io(Interest::WRITABLE, || Ok(retry_on_intr(&mut write)?)) {
            Ok(wrote) => {
                pace.meter.resume(|| pace.clock.now_us());
                pace.meter.record_write(wrote as u64);
                return Ok(Some((wrote, waited)));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                waited = waited.max(reader_ready(reader, pace, stall).await?);
            }
            Err(error) => return Err(pace.lost(&error)),
        }
    }
    Ok(None)
}

/// Waits until the reader takes something; the answer is how long that took.
async fn reader_ready(reader: &TcpStream, pace: CopyOptions<'_>, stall: &mut Timer) -> Result<Duration, CopyError> {
    pace.meter.wait(WaitKind::Write, pace.clock.now_us());
    let since = Instant::now();
    let mut progress = ReadProgress::new((pace.stall, pace.step), since);
    tokio::select! {
        biased;
        ready = reader.writable() => ready.map_err(|error| pace.lost(&error))?,
        () = stall.expired(since, || progress.look(reader)) => return Err(CopyError::Stalled(since.elapsed())),
    }
    Ok(since.elapsed())
}

/// Reads from a socket in this way, or as far as it has something.
fn receive(source: &TcpStream, space: &mut [u8], how: RecvFlags) -> io::Result<usize> {
    Ok(retry_on_intr(|| recv(source, &mut *space, how | RecvFlags::DONTWAIT))?.1)
}
