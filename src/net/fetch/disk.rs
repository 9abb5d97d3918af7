//! The disk end of a transfer: hashed as it is received, written by a second thread, synced by a third.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::part::Part;
use crate::error::Error;
use crate::meter::Meter;
use crate::net::digests::Hasher;
use crate::wire::{Algorithm, Digest};

/// Size of one buffer. Half of it costs a tenth more processor time, for the page cache takes it in smaller pieces;
/// twice of it costs no less, and makes the kernel look for contiguous memory that it may not have.
const BUFFER: usize = 512 * 1024;
/// Buffers that go round: one being received, one being written, two to even out the difference.
const BUFFERS: usize = 4;
/// Bytes between two resume points: what is written is synced there, beside the writing. It is as much as a broken
/// transfer may have to send again, and it lets the disk work from the start, so that little is left to sync at the end.
const RESUME_STEP: u64 = 16 << 20;
/// Resume points that may wait for the disk; then the writing waits too. A transfer is not done before its bytes are on
/// the disk, so a slow disk is to hold it up while that shows, and not in one long wait behind the last byte.
const RESUME_QUEUE: usize = 8;

/// Takes full buffers, gives empty ones back.
#[derive(Debug)]
pub(super) struct Writer {
    full: mpsc::Sender<(Vec<u8>, usize)>,
    empty: mpsc::Receiver<Vec<u8>>,
    /// Buffers that were not needed yet, and their size.
    unmade: usize,
    buffer: usize,
    /// The bytes are hashed by the thread that received them: they are in its processor's cache.
    hasher: Option<Hasher>,
    thread: JoinHandle<(Part, Result<(), Error>)>,
}

/// What the thread leaves behind.
#[derive(Debug)]
pub(super) struct Written {
    /// The part file, open and locked.
    pub(super) part: Part,
    /// The digest of all that was handed over, if one was wanted.
    pub(super) digest: Option<Digest>,
    /// Whether all of it could be written.
    pub(super) result: Result<(), Error>,
}

impl Writer {
    /// Starts the thread for a file of this size; it ends when the writer does, or with the first error.
    pub(super) fn start(part: Part, size: u64, algorithm: Option<Algorithm>, meter: Arc<Meter>) -> Self {
        let (full, incoming) = mpsc::channel(BUFFERS);
        let (back, empty) = mpsc::channel(BUFFERS);
        let thread = tokio::task::spawn_blocking(move || {
            let result = write_all(part.file(), incoming, &back, &meter);
            let result = result.map_err(|error| part.error("write it", &error));
            (part, result)
        });
        let buffer = usize::try_from(size).map_or(BUFFER, |size| size.min(BUFFER));
        Self { full, empty, unmade: BUFFERS, buffer, hasher: algorithm.map(Hasher::new), thread }
    }

    /// An empty buffer; `None` where the thread has ended with an error. Cancel-safe.
    pub(super) async fn buffer(&mut self) -> Option<Vec<u8>> {
        self.empty.recv().await
    }

    /// An empty buffer, if one is there at once.
    pub(super) fn try_buffer(&mut self) -> Option<Vec<u8>> {
        let used = self.empty.try_recv().ok();
        if used.is_some() || self.unmade == 0 {
            return used;
        }
        self.unmade -= 1;
        Some(vec![0; self.buffer])
    }

    /// Hands the first `length` bytes over; false where the thread has ended with an error.
    pub(super) fn write(&mut self, buffer: Vec<u8>, length: usize) -> bool {
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&buffer[..length]);
        }
        // There is room: the channel is as long as there are buffers.
        self.full.try_send((buffer, length)).is_ok()
    }

    /// Waits until all is written.
    pub(super) async fn finish(self) -> Result<Written, Error> {
        drop(self.full);
        let ended = self.thread.await.map_err(|error| Error::Other(format!("the disk thread failed: {error}")));
        ended.map(|(part, result)| Written { part, digest: self.hasher.map(Hasher::finish), result })
    }
}

/// Writes what comes in, one buffer behind the other, and has it synced at every resume point.
fn write_all(
    file: &File,
    mut incoming: mpsc::Receiver<(Vec<u8>, usize)>,
    back: &mpsc::Sender<Vec<u8>>,
    meter: &Meter,
) -> io::Result<()> {
    thread::scope(|scope| {
        let mut syncer = None;
        let (mut offset, mut resume_point) = (0, 0);
        let mut written = Ok(());
        while let Some((buffer, length)) = incoming.blocking_recv() {
            written = file.write_all_at(&buffer[..length], offset);
            if written.is_err() {
                break;
            }
            offset += length as u64;
            meter.gave(length as u64);
            // The receiving side may have given up; what it sent before is written all the same.
            let _ = back.try_send(buffer);
            if offset - resume_point >= RESUME_STEP {
                resume_point = offset;
                if !syncer.get_or_insert_with(|| Syncer::start(scope, file)).reached() {
                    break;
                }
            }
        }
        // An error of a sync is told once: what fails at a resume point may seem to go well at the end.
        written.and(syncer.map_or(Ok(()), Syncer::finish))
    })
}

/// Syncs a file beside those who write to it; without a thread for that, it is left for the end.
#[derive(Debug)]
struct Syncer<'scope> {
    reached: SyncSender<()>,
    thread: io::Result<ScopedJoinHandle<'scope, io::Result<()>>>,
}

impl<'scope> Syncer<'scope> {
    fn start<'env>(scope: &'scope Scope<'scope, 'env>, file: &'scope File) -> Self {
        let (reached, points) = sync_channel(RESUME_QUEUE);
        let thread = thread::Builder::new().name("sync".to_owned());
        Self { reached, thread: thread.spawn_scoped(scope, move || sync_at(&points, file)) }
    }

    /// A resume point is written; false where a sync has failed.
    fn reached(&self) -> bool {
        self.thread.is_err() || self.reached.send(()).is_ok()
    }

    fn finish(self) -> io::Result<()> {
        drop(self.reached);
        let ended = self.thread.ok().map(ScopedJoinHandle::join);
        ended.map_or(Ok(()), |ended| ended.unwrap_or_else(|_| Err(io::Error::other("the sync thread failed"))))
    }
}

/// One sync for all resume points that were reached since the last.
fn sync_at(points: &Receiver<()>, file: &File) -> io::Result<()> {
    while points.recv().is_ok() {
        while points.try_recv().is_ok() {}
        file.sync_data()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::net::fetch::place::Place;
    use crate::route::FileName;

    fn part(folder: &Path) -> Part {
        Part::open(Arc::new(Place::of(folder, &FileName::new(b"f").unwrap()).unwrap())).unwrap()
    }

    /// Hands over `count` buffers, each filled with its own number.
    async fn fill(writer: &mut Writer, count: u64) {
        for number in 0..count {
            let mut buffer = match writer.try_buffer() {
                Some(buffer) => buffer,
                None => writer.buffer().await.unwrap(),
            };
            buffer.fill(number as u8);
            let length = buffer.len();
            assert!(writer.write(buffer, length));
        }
    }

    #[tokio::test]
    async fn a_file_of_many_resume_points_is_written_in_order_and_hashed() {
        let folder = tempfile::tempdir().unwrap();
        // More points than may wait for the disk at once.
        let size = RESUME_STEP * (RESUME_QUEUE as u64 + 2) + 1;
        let (meter, count) = (Arc::new(Meter::default()), size.div_ceil(BUFFER as u64));
        let mut writer = Writer::start(part(folder.path()), size, Some(Algorithm::Blake3), Arc::clone(&meter));
        fill(&mut writer, count).await;
        let Written { part, digest, result } = writer.finish().await.unwrap();
        result.unwrap();
        assert_eq!(meter.flow(0).bytes_out, count * BUFFER as u64);
        let mut expected = Hasher::new(Algorithm::Blake3);
        let mut found = vec![0; BUFFER];
        for number in 0..count {
            part.file().read_exact_at(&mut found, number * BUFFER as u64).unwrap();
            assert!(found.iter().all(|byte| *byte == number as u8), "buffer {number}");
            expected.update(&found);
        }
        assert_eq!(digest, Some(expected.finish()));
    }

    #[tokio::test]
    async fn a_small_file_takes_one_buffer_of_its_own_size() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::start(part(folder.path()), 5, None, Arc::default());
        let buffer = writer.try_buffer().unwrap();
        assert_eq!((buffer.len(), writer.unmade), (5, BUFFERS - 1));
        assert!(writer.write(buffer, 5));
        assert_eq!(writer.finish().await.unwrap().digest, None);
    }

    #[tokio::test]
    async fn what_fails_at_a_resume_point_is_not_forgotten_at_the_end() {
        // It takes every byte and cannot be synced.
        let file = File::options().write(true).open("/dev/null").unwrap();
        let (full, incoming) = mpsc::channel(BUFFERS);
        let (back, mut empty) = mpsc::channel(BUFFERS);
        let writing = tokio::task::spawn_blocking(move || write_all(&file, incoming, &back, &Meter::default()));
        for _ in 0..RESUME_STEP / BUFFER as u64 {
            full.send((vec![0; BUFFER], BUFFER)).await.unwrap();
            empty.recv().await.unwrap();
        }
        drop(full);
        assert_eq!(writing.await.unwrap().unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[tokio::test]
    async fn a_write_that_fails_ends_the_writing() {
        let file = File::open("/dev/null").unwrap();
        let (full, incoming) = mpsc::channel(BUFFERS);
        let (back, mut empty) = mpsc::channel(BUFFERS);
        full.send((vec![0; 1], 1)).await.unwrap();
        let writing = tokio::task::spawn_blocking(move || write_all(&file, incoming, &back, &Meter::default()));
        assert!(writing.await.unwrap().is_err());
        assert!(empty.recv().await.is_none() && full.send((vec![0; 1], 1)).await.is_err());
    }
}
