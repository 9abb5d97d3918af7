//! The disk end of a transfer: one thread hashes and writes while the next bytes are being received.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use sha2::Digest as _;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::part::Part;
use crate::error::Error;
use crate::meter::Meter;
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

enum Hasher {
    Blake3(Box<blake3::Hasher>),
    Sha256(Box<sha2::Sha256>),
    None,
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
            let mut hasher = Hasher::new(algorithm);
            let mut offset = 0;
            while let Some((buffer, length)) = incoming.blocking_recv() {
                hasher.update(&buffer[..length]);
                if let Err(error) = part.file().write_all_at(&buffer[..length], offset) {
                    let result = Err(part.error("write it", &error));
                    return Written { part, digest: None, result };
                }
                offset += length as u64;
                meter.gave(length as u64);
                // The receiving side may have given up; what it sent before is written all the same.
                let _ = back.try_send(buffer);
            }
            Written { part, digest: hasher.finish(), result: Ok(()) }
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

impl Hasher {
    fn new(algorithm: Option<Algorithm>) -> Self {
        match algorithm {
            Some(Algorithm::Blake3) => Self::Blake3(Box::default()),
            Some(Algorithm::Sha256) => Self::Sha256(Box::default()),
            None => Self::None,
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::None => {}
        }
    }

    fn finish(self) -> Option<Digest> {
        match self {
            Self::Blake3(hasher) => {
                Some(Digest { algorithm: Algorithm::Blake3, value: *hasher.finalize().as_bytes() })
            }
            Self::Sha256(hasher) => Some(Digest { algorithm: Algorithm::Sha256, value: hasher.finalize().into() }),
            Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_digests_are_those_of_their_standards() {
        let digest = |algorithm| {
            let mut hasher = Hasher::new(Some(algorithm));
            hasher.update(b"ab");
            hasher.update(b"c");
            hasher.finish().unwrap().to_string()
        };
        assert_eq!(
            digest(Algorithm::Sha256),
            "sha-256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            digest(Algorithm::Blake3),
            "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85"
        );
        assert!(Hasher::new(None).finish().is_none());
    }
}
