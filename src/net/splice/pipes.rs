//! Pipes that bodies are spliced through: made when they are needed, bounded in number, used again only when empty.

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// The size a pipe is asked for: the most that a process without privileges gets, and past the point of gain.
const PIPE: usize = 1 << 20;
/// A pipe that was given less than this costs more than copying through a large buffer.
const WORTH: usize = 128 * 1024;
/// Most pipes of one process: each is two descriptors, and all pipes of a user without privileges share 64 MiB.
const MOST_PIPES: usize = 512;

/// Empty pipes, made when they are needed and kept for the next body for as long as any body moves.
#[derive(Debug, Default)]
pub struct Pipes {
    idle: Mutex<Vec<Pipe>>,
    used: AtomicUsize,
}

#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) read: OwnedFd,
    pub(super) write: OwnedFd,
    pub(super) size: usize,
}

/// A pipe in use; it goes back to the others only when it is known to be empty.
pub(super) struct Taken {
    pipes: Arc<Pipes>,
    pub(super) pipe: Option<Pipe>,
    /// Bytes in the pipe.
    pub(super) held: usize,
}

impl Pipes {
    /// An empty pipe of useful size; `None` where there is none to be had, which is no error.
    pub(super) fn take(self: &Arc<Self>) -> Option<Taken> {
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
    pub(in crate::net) fn exhausted() -> Self {
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
