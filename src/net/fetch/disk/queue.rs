//! The buffers between the receiver of a body and the thread that writes them.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;

use crate::meter::Meter;
use crate::net::fetch::blocks::{BlockHasher, HashedBlock};
use crate::net::fetch::resume_state::ResumePoint;
use crate::net::node::digests::Hasher;
use crate::net::os::machine::Machine;
use crate::wire::Digest;

/// Size of one buffer. Half of it costs 10 % more CPU time, because the page cache then uses smaller folios; twice of
/// it costs no less, and makes the kernel search for contiguous memory that it may not have.
pub(super) const BUFFER: usize = 512 * 1024;
/// Number of buffers in circulation: one being received, one being written, two to even out the difference.
pub(in crate::net::fetch) const BUFFERS: usize = 4;
/// Bytes between two resume points: the written bytes are synced there, concurrently with further writes, and then
/// recorded in the state file. It also keeps the disk busy from the start, so that little is left to sync at the end.
pub(in crate::net::fetch) const RESUME_STEP: u64 = 7 << 20;
/// A buffer to write.
#[derive(Debug)]
pub(in crate::net::fetch) struct FilledBuffer {
    pub(in crate::net::fetch) bytes: Vec<u8>,
    /// Its length in use.
    pub(in crate::net::fetch) length: usize,
    /// Offset of its first byte in the file.
    pub(in crate::net::fetch) offset: u64,
    pub(in crate::net::fetch) mark: Mark,
    /// The queue that it comes from, where a thread serves several.
    pub(in crate::net::fetch) owner: u32,
}

/// What is known once a buffer is written.
#[derive(Debug)]
pub(in crate::net::fetch) enum Mark {
    /// Nothing more.
    None,
    /// A resume point at its end.
    Resume(ResumePoint),
    /// The blocks that end in it are whole.
    Blocks(Vec<HashedBlock>),
}

/// How received bytes are hashed, by the thread that received them: they are in its CPU cache.
#[derive(Debug)]
pub(super) enum Digesting {
    /// Not at all.
    None,
    /// All, in order.
    Whole(Hasher),
    /// Those of one piece, block by block.
    Blocks(BlockHasher),
}

/// Hands full buffers over, and takes empty ones back.
#[derive(Debug)]
pub(in crate::net::fetch) struct WriteQueue {
    full: mpsc::Sender<FilledBuffer>,
    empty: mpsc::Receiver<Vec<u8>>,
    /// Number and size of the buffers not allocated yet.
    pub(super) unallocated: usize,
    buffer: usize,
    /// Buffers that were handed over and are not back.
    pending: usize,
    digesting: Digesting,
    /// Offset behind the last byte handed over, or present before.
    offset: u64,
    last_resume_point: u64,
    owner: u32,
    meter: Arc<Meter>,
    machine: Machine,
}

impl WriteQueue {
    /// Creates a queue for the bytes from an offset up to the whole size; the thread gives buffers back through the
    /// other value.
    pub(super) fn new(
        machine: Machine,
        full: mpsc::Sender<FilledBuffer>,
        digesting: Digesting,
        (offset, size): (u64, u64),
        meter: Arc<Meter>,
    ) -> (Self, mpsc::Sender<Vec<u8>>) {
        let (back, empty) = mpsc::channel(BUFFERS);
        let buffer = usize::try_from(size - offset).map_or(BUFFER, |left| left.min(BUFFER));
        let queue = Self {
            full,
            empty,
            unallocated: BUFFERS,
            buffer,
            pending: 0,
            digesting,
            offset,
            last_resume_point: offset,
            owner: 0,
            meter,
            machine,
        };
        (queue, back)
    }

    /// Creates the queue of one of several connections, whose pieces one thread writes.
    pub(in crate::net::fetch) fn of_connection(
        machine: Machine,
        full: mpsc::Sender<FilledBuffer>,
        (owner, size): (u32, u64),
        meter: Arc<Meter>,
    ) -> (Self, mpsc::Sender<Vec<u8>>) {
        let (queue, back) = Self::new(machine, full, Digesting::None, (0, size), meter);
        (Self { owner, ..queue }, back)
    }

    /// Returns an empty buffer; `None` if the thread ended with an error. Cancel-safe.
    pub(in crate::net::fetch) async fn buffer(&mut self) -> Option<Vec<u8>> {
        let buffer = self.empty.recv().await?;
        self.pending -= 1;
        Some(buffer)
    }

    /// Returns an empty buffer if one is available immediately.
    pub(in crate::net::fetch) fn try_buffer(&mut self) -> Option<Vec<u8>> {
        if let Ok(used) = self.empty.try_recv() {
            self.pending -= 1;
            return Some(used);
        }
        self.unallocated = self.unallocated.checked_sub(1)?;
        Some(vec![0; self.buffer])
    }

    /// Continues at the beginning of a piece of a file of this size.
    pub(in crate::net::fetch) fn begin_piece(&mut self, offset: u64, size: u64, hashes: bool) {
        self.offset = offset;
        let hasher = if hashes { BlockHasher::new(size, offset) } else { None };
        self.digesting = hasher.map_or(Digesting::None, Digesting::Blocks);
    }

    /// Hands the first `length` bytes over; false if the thread ended with an error.
    pub(in crate::net::fetch) fn write(&mut self, bytes: Vec<u8>, length: usize) -> bool {
        // The channel has as many slots as there are buffers, so this fails only when closed. Bytes not accepted must
        // not be hashed.
        let Ok(slot) = self.full.try_reserve() else { return false };
        let (began, offset, owner) = (Instant::now(), self.offset, self.owner);
        self.offset += length as u64;
        let mut mark = self.digesting.update(&bytes[..length]);
        if !matches!(self.digesting, Digesting::None) {
            self.meter.record_hashing(began.elapsed().as_micros() as u64);
        }
        if matches!(mark, Mark::None) && self.offset - self.last_resume_point >= RESUME_STEP {
            self.last_resume_point = self.offset;
            mark = Mark::Resume(ResumePoint::Prefix { offset: self.offset, digest: self.digesting.so_far() });
        }
        self.pending += 1;
        slot.send(FilledBuffer { bytes, length, offset, mark, owner });
        (self.machine.settle)(&|| self.empty.len() == self.pending || self.full.is_closed());
        true
    }

    /// Waits until all buffers that were handed over are written; false if the thread ended with an error.
    pub(in crate::net::fetch) async fn drained(&mut self) -> bool {
        while self.pending > 0 {
            if self.buffer().await.is_none() {
                return false;
            }
        }
        true
    }

    /// Ends it; returns the hasher, and the offset behind the last byte.
    pub(super) fn close(self) -> (Option<Hasher>, u64) {
        let hasher = if let Digesting::Whole(hasher) = self.digesting { Some(hasher) } else { None };
        (hasher, self.offset)
    }
}

impl Digesting {
    /// Hashes the next bytes.
    fn update(&mut self, bytes: &[u8]) -> Mark {
        match self {
            Self::None => Mark::None,
            Self::Whole(hasher) => {
                hasher.update(bytes);
                Mark::None
            }
            Self::Blocks(hasher) => {
                let mut blocks = Vec::new();
                hasher.update(bytes, &mut blocks);
                Mark::Blocks(blocks)
            }
        }
    }

    /// Returns the digest of all bytes so far, if they are hashed in order.
    fn so_far(&self) -> Option<Digest> {
        if let Self::Whole(hasher) = self { Some(hasher.so_far()) } else { None }
    }

    /// Returns how the bytes of a whole body are hashed.
    pub(super) fn whole(hasher: Option<Hasher>) -> Self {
        hasher.map_or(Self::None, Self::Whole)
    }
}
