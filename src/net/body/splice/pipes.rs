//! Pipes that bodies are spliced through: created on demand, limited in number, reused only when empty.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::{read, retry_on_intr};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{Resource, getrlimit};

/// Requested size of a pipe: the most that an unprivileged process gets, and a larger one gains nothing.
const PIPE: usize = 1 << 20;
/// Smallest useful pipe: a smaller one costs more than copying through a large buffer.
const MIN_PIPE: usize = 128 * 1024;
/// Limit on pipes of one node: far more than bodies flow concurrently on any host.
const MAX_PIPES: usize = 512;
/// Share of the process's descriptors that pipes may use, two each, as a divisor: without a pipe a body is only
/// slower, without a descriptor a client is refused.
const DESCRIPTOR_SHARE: u64 = 4;

/// A pool of empty pipes, created on demand and kept while any body moves.
#[derive(Debug)]
pub struct Pipes {
    idle: Mutex<Vec<Pipe>>,
    used: AtomicUsize,
    max: usize,
}

#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) read: OwnedFd,
    pub(super) write: OwnedFd,
    pub(super) size: usize,
}

/// A pipe in use; it returns to the pool only when it is known to be empty.
pub(super) struct BorrowedPipe {
    pipes: Arc<Pipes>,
    pub(super) pipe: Option<Pipe>,
    /// Bytes in the pipe.
    pub(super) buffered: usize,
}

impl Default for Pipes {
    /// Returns an empty pool.
    fn default() -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let max = usize::try_from(descriptors / DESCRIPTOR_SHARE / 2).unwrap_or(MAX_PIPES).min(MAX_PIPES);
        Self { idle: Mutex::default(), used: AtomicUsize::new(0), max }
    }
}

impl Pipes {
    /// Takes an empty pipe of useful size; `None` if none is available, which is no error.
    pub(super) fn take(self: &Arc<Self>) -> Option<BorrowedPipe> {
        let idle = self.lock().pop();
        let pipe = match idle {
            Some(pipe) => pipe,
            None if self.used.load(Relaxed) >= self.max => return None,
            None => Pipe::make()?,
        };
        self.used.fetch_add(1, Relaxed);
        Some(BorrowedPipe { pipes: Arc::clone(self), pipe: Some(pipe), buffered: 0 })
    }

    /// Returns a pool that creates no pipes.
    #[cfg(test)]
    pub(in crate::net) fn exhausted() -> Self {
        Self { idle: Mutex::default(), used: AtomicUsize::new(0), max: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Pipe>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BorrowedPipe {
    /// Drains the pipe and returns its bytes.
    pub(super) fn empty(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.buffered];
        while let (Some(pipe), 1..) = (&self.pipe, self.buffered) {
            let at = bytes.len() - self.buffered;
            match retry_on_intr(|| read(&pipe.read, &mut bytes[at..]))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.buffered -= count,
            }
        }
        Ok(bytes)
    }
}

impl Pipe {
    fn make() -> Option<Self> {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok()?;
        let size = fcntl_setpipe_size(&write, PIPE).or_else(|_| fcntl_setpipe_size(&write, MIN_PIPE)).ok()?;
        (size >= MIN_PIPE).then_some(Self { read, write, size })
    }
}

impl Drop for BorrowedPipe {
    fn drop(&mut self) {
        let mut idle = self.pipes.lock();
        if self.pipes.used.fetch_sub(1, Relaxed) == 1 {
            // The last body ended: descriptors and pages are returned to the system until the next one.
            idle.clear();
        } else if let Some(pipe) = self.pipe.take().filter(|_| self.buffered == 0) {
            idle.push(pipe);
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::write;

    use super::*;

    #[test]
    fn only_empty_pipes_are_reused_and_none_outlives_the_last_body() {
        let pipes = Arc::new(Pipes { max: 2, ..Pipes::default() });
        let (Some(first), Some(mut second)) = (pipes.take(), pipes.take()) else {
            return eprintln!("SKIPPED: the user of this test has no pipes left");
        };
        assert!(pipes.take().is_none(), "the number is limited");
        write(&second.pipe.as_ref().unwrap().write, b"rest").unwrap();
        second.buffered = 4;
        drop(second);
        assert_eq!(pipes.lock().len(), 0, "bytes of one body would begin another");
        let Some(again) = pipes.take() else {
            return eprintln!("SKIPPED: the user of this test has no pipes left");
        };
        drop(again);
        assert_eq!(pipes.lock().len(), 1, "an empty one is kept for the next body");
        drop(first);
        assert_eq!((pipes.lock().len(), pipes.used.load(Relaxed)), (0, 0));
    }
}
