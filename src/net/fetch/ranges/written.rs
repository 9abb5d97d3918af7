//! Writing a file that several connections receive: one thread writes the pieces of all of them, merges the chaining
//! values of their blocks, and has the file synced at resume points.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::connections::MAX_CONNECTIONS;
use crate::error::Error;
use crate::meter::Meter;
use crate::net::fetch::blocks::{BlockRefused, HashTree};
use crate::net::fetch::disk::{BUFFERS, FilledBuffer, Mark, RESUME_STEP, Syncer, WriteError, WriteQueue, write_one};
use crate::net::fetch::partial::{ReceivedRanges, ResumeCandidate, resume_point};
use crate::net::fetch::pieces::Spans;
use crate::net::fetch::resume_state::ResumePoint;
use crate::net::os::machine::Machine;

/// Hands the pieces of the connections to the thread that writes them.
#[derive(Debug)]
pub(super) struct PieceWriter {
    full: mpsc::Sender<FilledBuffer>,
    owners: Owners,
    /// Blocks are hashed as they arrive.
    hashes: bool,
    size: u64,
    machine: Machine,
}

/// The thread that writes.
#[derive(Debug)]
pub(super) struct PieceThread(JoinHandle<(ResumeCandidate, Result<(), Error>)>);

/// Where the buffers of each connection go back to, and its counters.
type Owners = Arc<Mutex<BTreeMap<u32, (mpsc::Sender<Vec<u8>>, Arc<Meter>)>>>;

/// What is on the disk.
#[derive(Debug)]
struct Written {
    tree: Option<HashTree>,
    /// Written bytes; with a tree, its blocks count instead.
    spans: Spans,
    /// Bytes since the last resume point.
    unsynced: u64,
}

impl PieceWriter {
    /// Starts the thread that continues a partial file of this final size, or begins one whose blocks are hashed if a
    /// digest is wanted. It ends with the writer, or at the first error.
    pub(super) fn start(
        machine: Machine,
        candidate: ResumeCandidate,
        (size, hashes): (u64, bool),
        routes: usize,
    ) -> (Self, PieceThread) {
        let (full, incoming) = mpsc::channel(BUFFERS * MAX_CONNECTIONS * routes);
        let owners = Owners::default();
        let begin = || ReceivedRanges { tree: HashTree::new(size).filter(|_| hashes), ranges: Vec::new() };
        let mut candidate = candidate;
        let ReceivedRanges { tree, ranges } = candidate.received.take().unwrap_or_else(begin);
        let (hashes, back) = (tree.is_some(), Arc::clone(&owners));
        let written = Written { tree, spans: ranges.into_iter().collect(), unsynced: 0 };
        let thread = machine.spawn_blocking(move || written.write_all(candidate, incoming, &back));
        (Self { full, owners, hashes, size, machine }, PieceThread(thread))
    }

    /// Returns the queue of a connection.
    pub(super) fn queue(&self, number: u32, meter: &Arc<Meter>) -> WriteQueue {
        let full = self.full.clone();
        let (queue, back) = WriteQueue::of_connection(self.machine, full, (number, self.size), Arc::clone(meter));
        self.with_owners(|owners| {
            // The thread has removed all for good.
            if !self.has_failed() {
                owners.insert(number, (back, Arc::clone(meter)));
            }
        });
        queue
    }

    /// Begins a piece.
    pub(super) fn begin(&self, queue: &mut WriteQueue, offset: u64) {
        queue.begin_piece(offset, self.size, self.hashes);
    }

    /// Ends the queue of a connection, once its buffers are written.
    pub(super) async fn end(&self, number: u32, mut queue: WriteQueue) {
        // If the thread has failed, that is the error of the transfer.
        let _ = queue.drained().await;
        self.with_owners(|owners| owners.remove(&number));
    }

    /// Returns true if the thread has failed, so that no more has to be received.
    pub(super) fn has_failed(&self) -> bool {
        self.full.is_closed()
    }

    fn with_owners<T>(&self, work: impl FnOnce(&mut BTreeMap<u32, (mpsc::Sender<Vec<u8>>, Arc<Meter>)>) -> T) -> T {
        work(&mut self.owners.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl PieceThread {
    /// Waits until everything is written; returns the partial file, and whether all of it could be written.
    pub(super) async fn finish(self, machine: Machine) -> Result<(ResumeCandidate, Result<(), Error>), Error> {
        (machine.settle)(&|| self.0.is_finished());
        self.0.await.map_err(|error| Error::Other(format!("the disk thread failed: {error}")))
    }
}

impl Written {
    /// Writes buffers, and has them synced and recorded at every resume point.
    fn write_all(
        mut self,
        candidate: ResumeCandidate,
        mut incoming: mpsc::Receiver<FilledBuffer>,
        owners: &Owners,
    ) -> (ResumeCandidate, Result<(), Error>) {
        let ResumeCandidate { part, source, .. } = candidate;
        let note = |point: &ResumePoint| source.as_ref().map_or(Ok(()), |source| part.record(source, point));
        let result = thread::scope(|scope| {
            let mut syncer = None;
            let mut result = Ok(());
            while let Some(buffer) = incoming.blocking_recv() {
                result = write_one(part.file(), &buffer);
                if result.is_err() {
                    break;
                }
                let FilledBuffer { bytes, length, offset, mark, owner } = buffer;
                if self.record(offset..offset + length as u64, mark).is_err() {
                    // What was written before may have been overwritten, so its digest proves nothing.
                    result = Err(io::Error::other("a part of the file was received twice"));
                    break;
                }
                let owned = owners.lock().unwrap_or_else(PoisonError::into_inner).get(&owner).cloned();
                if let Some((back, meter)) = owned {
                    meter.record_write(length as u64);
                    let _ = back.try_send(bytes);
                }
                if self.unsynced >= RESUME_STEP {
                    self.unsynced = 0;
                    let syncer = syncer.get_or_insert_with(|| Syncer::start(scope, part.file(), &note));
                    if !syncer.reached(self.resume_point()) {
                        // Accept nothing more; what was accepted is still written.
                        incoming.close();
                    }
                }
            }
            drop(incoming);
            // Nothing comes back any more: a connection that waits for a buffer ends.
            owners.lock().unwrap_or_else(PoisonError::into_inner).clear();
            result.map_err(WriteError::Io).and(syncer.map_or(Ok(()), Syncer::finish))
        });
        let result = result.map_err(|failed| match failed {
            WriteError::Io(error) => part.error("write it", &error),
            WriteError::Lost => part.lost(),
        });
        // Blocks count once they are written, so they are valid after an error, too.
        let ranges = self.ranges();
        let offset = ranges.first().filter(|range| range.start == 0).map_or(0, |range| range.end);
        let received = Some(ReceivedRanges { tree: self.tree, ranges });
        (ResumeCandidate { part, hasher: None, offset, source, stale: false, received }, result)
    }

    /// Records written bytes; an error if a block was there already.
    fn record(&mut self, range: Range<u64>, mark: Mark) -> Result<(), BlockRefused> {
        self.unsynced += range.end - range.start;
        match (&mut self.tree, mark) {
            (Some(tree), Mark::Blocks(blocks)) => blocks.iter().try_for_each(|block| tree.add(block)),
            (Some(_), _) => Ok(()),
            (None, _) => {
                self.spans.insert(range);
                Ok(())
            }
        }
    }

    fn ranges(&self) -> Vec<Range<u64>> {
        self.tree.as_ref().map_or_else(|| self.spans.ranges().to_vec(), HashTree::ranges)
    }

    /// Returns the resume point of what is written.
    fn resume_point(&self) -> ResumePoint {
        resume_point(self.tree.as_ref(), self.spans.ranges())
    }
}
