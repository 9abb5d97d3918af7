//! The disk end of a transfer: one thread hashes and writes while the next bytes are being received.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::part::Part;
use crate::error::Error;
use crate::meter::Meter;
use crate::net::digests::Hasher;
use crate::wire::{Algorithm, Digest};

/// Size of one buffer: large enough that a system call costs nothing beside it, small enough to stay in the cache.
pub(super) const BUFFER: usize = 256 * 1024;
/// Buffers that go round: one being received, one being written, two to even out the difference.
const BUFFERS: usize = 4;

/// Takes full buffers, gives empty ones back.
#[derive(Debug)]
pub(super) struct Writer {
    full: mpsc::Sender<(Vec<u8>, usize)>,
    empty: mpsc::Receiver<Vec<u8>>,
    thread: JoinHandle<Written>,
}

/// What the thread leaves behind.
#[derive(Debug)]
pub(super) struct Written {
    /// The part file, open and locked.
    pub(super) part: Part,
    /// The digest of all that was written, if one was wanted.
    pub(super) digest: Option<Digest>,
    /// Whether all of it could be written.
    pub(super) result: Result<(), Error>,
}

impl Writer {
    /// Starts the thread; it ends when the writer does, or with the first error.
    pub(super) fn start(part: Part, algorithm: Option<Algorithm>, meter: Arc<Meter>) -> Self {
        let (full, mut incoming) = mpsc::channel::<(Vec<u8>, usize)>(BUFFERS);
        let (back, empty) = mpsc::channel(BUFFERS);
        for _ in 0..BUFFERS {
            // There is room: the channel is as long as there are buffers.
            let _ = back.try_send(vec![0; BUFFER]);
        }
        let thread = tokio::task::spawn_blocking(move || {
            let mut hasher = algorithm.map(Hasher::new);
            let mut offset = 0;
            while let Some((buffer, length)) = incoming.blocking_recv() {
                if let Some(hasher) = &mut hasher {
                    hasher.update(&buffer[..length]);
                }
                if let Err(error) = part.file().write_all_at(&buffer[..length], offset) {
                    let result = Err(part.error("write it", &error));
                    return Written { part, digest: None, result };
                }
                offset += length as u64;
                meter.gave(length as u64);
                // The receiving side may have given up; what it sent before is written all the same.
                let _ = back.try_send(buffer);
            }
            Written { part, digest: hasher.map(Hasher::finish), result: Ok(()) }
        });
        Self { full, empty, thread }
    }

    /// An empty buffer; `None` where the thread has ended with an error. Cancel-safe.
    pub(super) async fn buffer(&mut self) -> Option<Vec<u8>> {
        self.empty.recv().await
    }

    /// An empty buffer, if one is there at once.
    pub(super) fn try_buffer(&mut self) -> Option<Vec<u8>> {
        self.empty.try_recv().ok()
    }

    /// Hands the first `length` bytes over; false where the thread has ended with an error.
    pub(super) fn write(&mut self, buffer: Vec<u8>, length: usize) -> bool {
        // There is room: the channel is as long as there are buffers.
        self.full.try_send((buffer, length)).is_ok()
    }

    /// Waits until all is written.
    pub(super) async fn finish(self) -> Result<Written, Error> {
        drop(self.full);
        self.thread.await.map_err(|error| Error::Other(format!("the disk thread failed: {error}")))
    }
}
