//! Pipes that bodies are spliced through: made when they are needed, bounded in number, used again only when empty.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::{read, retry_on_intr};
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{Resource, getrlimit};

/// The size a pipe is asked for: the most that a process without privileges gets, and past the point of gain.
const PIPE: usize = 1 << 20;
/// A pipe that was given less than this costs more than copying through a large buffer.
const WORTH: usize = 128 * 1024;
/// Most pipes of one node: far more than bodies flow at once on any machine.
const MOST_PIPES: usize = 512;
/// The part of the process's descriptors that pipes may take, each two of them: without a pipe a body is only slower,
/// without a descriptor a client is refused.
const SHARE: u64 = 4;

/// Empty pipes, made when they are needed and kept for the next body for as long as any body moves.
#[derive(Debug)]
pub struct Pipes {
    idle: Mutex<Vec<Pipe>>,
    used: AtomicUsize,
    most: usize,
}

#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) read: OwnedFd,
    pub(super) write: OwnedFd,
    pub(super) size: usize,
}

/// A pipe in use; it goes back to the others only when it is known to be empty.
pub(super) struct BorrowedPipe {
    pipes: Arc<Pipes>,
    pub(super) pipe: Option<Pipe>,
    /// Bytes in the pipe.
    pub(super) held: usize,
}

impl Default for Pipes {
    /// None is made yet.
    fn default() -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = usize::try_from(descriptors / SHARE / 2).unwrap_or(MOST_PIPES).min(MOST_PIPES);
        Self { idle: Mutex::default(), used: AtomicUsize::new(0), most }
    }
}

impl Pipes {
    /// An empty pipe of useful size; `None` where there is none to be had, which is no error.
    pub(super) fn take(self: &Arc<Self>) -> Option<BorrowedPipe> {
        let idle = self.lock().pop();
        let pipe = match idle {
            Some(pipe) => pipe,
            None if self.used.load(Relaxed) >= self.most => return None,
            None => Pipe::make()?,
        };
        self.used.fetch_add(1, Relaxed);
        Some(BorrowedPipe { pipes: Arc::clone(self), pipe: Some(pipe), held: 0 })
    }

    /// None may be made.
    #[cfg(test)]
    pub(in crate::net) fn exhausted() -> Self {
        Self { idle: Mutex::default(), used: AtomicUsize::new(0), most: 0 }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Pipe>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BorrowedPipe {
    /// What is in the pipe, which is empty then.
    pub(super) fn empty(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.held];
        while let (Some(pipe), 1..) = (&self.pipe, self.held) {
            let at = bytes.len() - self.held;
            match retry_on_intr(|| read(&pipe.read, &mut bytes[at..]))? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.held -= count,
            }
        }
        Ok(bytes)
    }
}

impl Pipe {
    fn make() -> Option<Self> {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok()?;
        let size = fcntl_setpipe_size(&write, PIPE).or_else(|_| fcntl_setpipe_size(&write, WORTH)).ok()?;
        (size >= WORTH).then_some(Self { read, write, size })
    }
}

impl Drop for BorrowedPipe {
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

#[cfg(test)]
mod tests {
    use rustix::io::write;

    use super::*;

    #[test]
    fn only_an_empty_pipe_is_used_again_and_none_outlives_the_last_body() {
        let pipes = Arc::new(Pipes { most: 2, ..Pipes::default() });
        let (Some(first), Some(mut second)) = (pipes.take(), pipes.take()) else {
            return eprintln!("SKIPPED: the user of this test has no pipes left");
        };
        assert!(pipes.take().is_none(), "there is a cap");
        write(&second.pipe.as_ref().unwrap().write, b"rest").unwrap();
        second.held = 4;
        drop(second);
        assert_eq!(pipes.lock().len(), 0, "the rest of one body would begin another");
        let Some(again) = pipes.take() else {
            return eprintln!("SKIPPED: the user of this test has no pipes left");
        };
        drop(again);
        assert_eq!(pipes.lock().len(), 1, "an empty one waits for the next body");
        drop(first);
        assert_eq!((pipes.lock().len(), pipes.used.load(Relaxed)), (0, 0));
    }
}
