//! The fast paths of a body: from socket to socket through a pipe, from file to socket at once; no byte is copied to us.
//!
//! Both do what the copying pump does, and count and time it the same way; where the kernel refuses, the pump goes on
//! with what is left.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::sendfile;
use rustix::io::{Errno, ReadWriteFlags, preadv2};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::pump::{Early, Pace, PumpError, Timer};
use crate::meter::Wait;

/// The size a pipe is asked for: the most that a process without privileges gets, and past the point of gain.
const PIPE: usize = 1 << 20;
/// A pipe that was given less than this costs more than copying through a large buffer.
const WORTH: usize = 128 * 1024;
/// Most pipes of one process: each is two descriptors, and all pipes of a user without privileges share 64 MiB.
const MOST_PIPES: usize = 512;
/// Bytes sent from a file at a time.
const CHUNK: usize = 1 << 20;

/// Empty pipes, made when they are needed and kept for the next body for as long as any body moves.
#[derive(Debug, Default)]
pub struct Pipes {
    idle: Mutex<Vec<Pipe>>,
    used: AtomicUsize,
}

#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    size: usize,
}

/// A pipe in use; it goes back to the others only when it is known to be empty.
struct Taken {
    pipes: Arc<Pipes>,
    pipe: Option<Pipe>,
    /// Bytes in the pipe.
    held: usize,
}

impl Pipes {
    /// An empty pipe of useful size; `None` where there is none to be had, which is no error.
    fn take(self: &Arc<Self>) -> Option<Taken> {
        let idle = self.lock().pop();
        let pipe = match idle {
            Some(pipe) => pipe,
            None if self.used.load(Relaxed) >= MOST_PIPES => return None,
            None => Pipe::make()?,
        };
        self.used.fetch_add(1, Relaxed);
        Some(Taken { pipes: Arc::clone(self), pipe: Some(pipe), held: 0 })
    }

    /// All that may be made are in use.
    #[cfg(test)]
    pub(super) fn exhausted() -> Self {
        Self { idle: Mutex::default(), used: AtomicUsize::new(MOST_PIPES) }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Pipe>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipe {
    fn make() -> Option<Self> {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok()?;
        let size = fcntl_setpipe_size(&write, PIPE).or_else(|_| fcntl_setpipe_size(&write, WORTH)).ok()?;
        (size >= WORTH).then_some(Self { read, write, size })
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut idle = self.pipes.lock();
        if self.pipes.used.fetch_sub(1, Relaxed) == 1 {
            // The last body is over: descriptors and pages go back to the system until the next one.
            idle.clear();
        } else if let Some(pipe) = self.pipe.take().filter(|_| self.held == 0) {
            idle.push(pipe);
        }
    }
}

/// Moves up to `length` bytes from one socket to another; the answer is how many were moved before the kernel refused,
/// which is all of them if it did not.
///
/// The pipe is filled only when it is empty, so that "would block" can only mean that the source has nothing.
pub(super) async fn from_socket(
    source: &TcpStream,
    reader: &TcpStream,
    length: u64,
    pace: Pace<'_>,
    early: &mut Early<'_>,
    pipes: &Arc<Pipes>,
) -> Result<u64, PumpError> {
    let Some(mut taken) = pipes.take() else { return Ok(0) };
    let (mut idle, mut stall) = (Timer::new(pace.idle), Timer::new(pace.stall));
    let mut moved = 0;
    while moved < length {
        let Some(pipe) = &taken.pipe else { return Ok(moved) };
        let most = usize::try_from(length - moved).unwrap_or(usize::MAX).min(pipe.size);
        let filled = fill(source, reader, pipe, most, pace, early, &mut idle).await?;
        match filled {
            Some(0) => return Err(PumpError::Short { missing: length - moved }),
            Some(read) => taken.held = read,
            None => return Ok(moved),
        }
        pace.meter.took(taken.held as u64);
        while taken.held > 0 {
            let Some(pipe) = &taken.pipe else { return Ok(moved) };
            let wrote = send(reader, pace, &mut stall, || {
                splice(&pipe.read, None, reader, None, taken.held, SpliceFlags::MOVE | SpliceFlags::NONBLOCK)
            });
            let wrote = wrote.await?;
            if wrote == 0 {
                return Err(PumpError::Gone);
            }
            taken.held -= wrote;
            moved += wrote as u64;
        }
        // Nothing above gives way while both sockets are ready; other connections want their turn.
        tokio::task::consume_budget().await;
    }
    Ok(moved)
}

/// Fills the empty pipe; `None` where this socket cannot be spliced from.
async fn fill(
    source: &TcpStream,
    reader: &TcpStream,
    pipe: &Pipe,
    most: usize,
    pace: Pace<'_>,
    early: &mut Early<'_>,
    idle: &mut Timer,
) -> Result<Option<usize>, PumpError> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    loop {
        let read = source.try_io(Interest::READABLE, || Ok(splice(source, None, &pipe.write, None, most, flags)?));
        match read {
            Ok(read) => {
                pace.meter.resume(pace.clock.now_us());
                return Ok(Some(read));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(None),
            Err(error) => return Err(PumpError::Source(error)),
        }
        pace.meter.wait(Wait::Read, pace.clock.now_us());
        let since = Instant::now();
        tokio::select! {
            ready = source.readable() => ready.map_err(PumpError::Source)?,
            () = early.gone(reader) => return Err(PumpError::Gone),
            () = idle.expired(since) => return Err(PumpError::Idle(pace.idle)),
        }
    }
}

/// Writes to the reader as soon as it takes something, and counts that.
async fn send(
    reader: &TcpStream,
    pace: Pace<'_>,
    stall: &mut Timer,
    mut write: impl FnMut() -> rustix::io::Result<usize>,
) -> Result<usize, PumpError> {
    loop {
        match reader.try_io(Interest::WRITABLE, || Ok(write()?)) {
            Ok(wrote) => {
                pace.meter.resume(pace.clock.now_us());
                pace.meter.gave(wrote as u64);
                return Ok(wrote);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Err(PumpError::Gone),
        }
        pace.meter.wait(Wait::Write, pace.clock.now_us());
        let since = Instant::now();
        tokio::select! {
            ready = reader.writable() => ready.map_err(|_| PumpError::Gone)?,
            () = stall.expired(since) => return Err(PumpError::Stalled(pace.stall)),
        }
    }
}

/// Sends part of a file, all but its last byte: that one goes only after a last look at whether the file changed.
///
/// The answer is how many bytes were sent before the kernel refused, or all that were asked for.
pub(super) async fn from_file(
    file: &Arc<File>,
    offset: u64,
    length: u64,
    reader: &TcpStream,
    pace: Pace<'_>,
) -> Result<u64, PumpError> {
    let mut stall = Timer::new(pace.stall);
    let mut sent = 0;
    while sent < length {
        let at = offset + sent;
        let chunk = usize::try_from(length - sent).unwrap_or(CHUNK).min(CHUNK);
        if !warm(file, at, chunk, pace).await? {
            return Ok(sent);
        }
        let mut left = chunk;
        while left > 0 {
            let mut from = offset + sent;
            let wrote =
                send(reader, pace, &mut stall, || sendfile(reader, file.as_fd(), Some(&mut from), left)).await?;
            if wrote == 0 {
                return Err(PumpError::Short { missing: length - sent });
            }
            pace.meter.took(wrote as u64);
            sent += wrote as u64;
            left -= wrote;
        }
        tokio::task::consume_budget().await;
    }
    Ok(sent)
}

/// Sees to it that a chunk is in the page cache, so that sending it does not wait for a disk; false where the file
/// system cannot say.
async fn warm(file: &Arc<File>, at: u64, chunk: usize, pace: Pace<'_>) -> Result<bool, PumpError> {
    let cached = |at: u64| {
        let mut byte = [0];
        match preadv2(&**file, &mut [io::IoSliceMut::new(&mut byte)], at, ReadWriteFlags::NOWAIT) {
            Ok(1) => Ok(Some(true)),
            Ok(_) => Err(PumpError::Short { missing: chunk as u64 }),
            Err(Errno::AGAIN) => Ok(Some(false)),
            Err(_) => Ok(None),
        }
    };
    match (cached(at)?, cached(at + chunk as u64 - 1)?) {
        (Some(true), Some(true)) => return Ok(true),
        (None, _) | (_, None) => return Ok(false),
        _ => {}
    }
    pace.meter.wait(Wait::Read, pace.clock.now_us());
    let file = Arc::clone(file);
    let read = tokio::task::spawn_blocking(move || {
        let mut page = vec![0; 64 * 1024];
        let mut offset = at;
        let end = at + chunk as u64;
        while offset < end {
            let most = page.len().min(usize::try_from(end - offset).unwrap_or(usize::MAX));
            match file.read_at(&mut page[..most], offset)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => offset += read as u64,
            }
        }
        io::Result::Ok(())
    });
    let read = read.await.map_err(|error| PumpError::Source(io::Error::other(error)))?;
    pace.meter.resume(pace.clock.now_us());
    read.map_err(PumpError::Source)?;
    Ok(true)
}
