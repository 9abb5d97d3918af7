//! Writing to disk: bytes are hashed as they are received, written by a second thread, synced by a third.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::output::OutputSink;
use super::part::{Lost, PartialFile};
use super::partial::ResumeCandidate;
use super::resume_state::{ResumePoint, ResumeSource};
use super::tracker::Tracker;
use crate::error::{Error, KeptBytes};
use crate::meter::Meter;
use crate::net::node::digests::Hasher;
use crate::net::os::kernel::begin_writing;
use crate::net::os::machine::Machine;

/// Size of one buffer. Half of it costs 10 % more CPU time, because the page cache then uses smaller folios; twice of
/// it costs no less, and makes the kernel search for contiguous memory that it may not have.
const BUFFER: usize = 512 * 1024;
/// Number of buffers in circulation: one being received, one being written, two to even out the difference.
const BUFFERS: usize = 4;
/// Bytes between two resume points: the written bytes are synced there, concurrently with further writes, and then
/// recorded in the state file. It also keeps the disk busy from the start, so that little is left to sync at the end.
const RESUME_STEP: u64 = 7 << 20;
/// Resume points that may be queued for the sync thread: none. Writing continues up to the next point during a sync,
/// and waits there. So a killed transfer re-sends at most two steps and its buffers, 16 MiB in all; and a slow disk
/// slows the transfer down visibly, instead of in one long wait after the last byte.
const RESUME_QUEUE: usize = 0;

/// A buffer to write: its length in use, and the resume point at its end, if any.
pub(super) type FilledBuffer = (Vec<u8>, usize, Option<ResumePoint>);

/// Why writing stopped.
#[derive(Debug)]
enum WriteError {
    Io(io::Error),
    /// The partial file's names were removed. Buffers already handed over are written anyway.
    Lost,
}

/// Receives full buffers, and returns empty ones.
#[derive(Debug)]
pub(super) struct DiskWriter<S> {
    full: mpsc::Sender<FilledBuffer>,
    empty: mpsc::Receiver<Vec<u8>>,
    /// Number and size of the buffers not allocated yet.
    unallocated: usize,
    buffer: usize,
    /// Updated by the thread that received the bytes: they are in its CPU cache.
    hasher: Option<Hasher>,
    source: Option<ResumeSource>,
    /// Offset behind the last byte handed over, or present before.
    offset: u64,
    last_resume_point: u64,
    meter: Arc<Meter>,
    machine: Machine,
    thread: JoinHandle<(S, Result<(), Error>)>,
}

impl DiskWriter<PartialFile> {
    /// Starts the thread that continues a partial file of this final size; it ends with the writer, or at the first
    /// error.
    pub(super) fn start(machine: Machine, candidate: ResumeCandidate, size: u64, meter: Arc<Meter>) -> Self {
        let ResumeCandidate { part, hasher, offset, source, .. } = candidate;
        let (counted, noted) = (Arc::clone(&meter), source.clone());
        Self::spawn(machine, (hasher, offset, size), source, meter, move |incoming, back| {
            let note =
                |resume_point: &ResumePoint| noted.as_ref().map_or(Ok(()), |source| part.record(source, resume_point));
            let result = write_all(part.file(), offset, incoming, &back, &counted, &note);
            let result = result.map_err(|failed| match failed {
                WriteError::Io(error) => part.error("write it", &error),
                WriteError::Lost => part.lost(),
            });
            (part, result)
        })
    }

    /// Waits until everything is written; returns the partial file, and whether all of it could be written.
    pub(super) async fn finish(self) -> Result<(ResumeCandidate, Result<(), Error>), Error> {
        drop(self.full);
        (self.machine.settle)(&|| self.thread.is_finished());
        let ended = self.thread.await.map_err(|error| Error::Other(format!("the disk thread failed: {error}")));
        let (hasher, offset) = (self.hasher, self.offset);
        ended.map(|(part, result)| {
            // Bytes handed over but not written are hashed already: then only the last recorded resume point is valid.
            let written = matches!(result, Ok(()) | Err(Error::Lost { .. }));
            let source = self.source.filter(|_| written);
            (ResumeCandidate { part, hasher, offset, source, stale: false, received: None }, result)
        })
    }
}

impl DiskWriter<OutputSink> {
    /// Starts the thread that writes the bytes from an offset up to the whole size to an output.
    pub(super) fn to_output(
        machine: Machine,
        mut sink: OutputSink,
        progress: (Option<Hasher>, u64, u64),
        meter: Arc<Meter>,
    ) -> Self {
        let counted = Arc::clone(&meter);
        Self::spawn(machine, progress, None, meter, move |mut incoming, back| {
            // Opened even for an empty file: the reader of a named pipe waits for a writer.
            let mut result = sink.write(b"");
            while result.is_ok()
                && let Some((buffer, length, _)) = incoming.blocking_recv()
            {
                result = sink.write(&buffer[..length]);
                counted.record_write(length as u64);
                let _ = back.try_send(buffer);
            }
            (sink, result)
        })
    }

    /// Waits until everything is written, however slow the reader, unless cancelled; returns the output, the hasher and
    /// the offset.
    pub(super) async fn flushed(self, stop: &CancellationToken) -> Result<(OutputSink, Option<Hasher>, u64), Error> {
        drop(self.full);
        let mut thread = self.thread;
        let ended = tokio::select! {
            biased;
            ended = &mut thread => ended.map_err(|error| Error::Other(format!("the output thread failed: {error}")))?,
            () = stop.cancelled() => return Err(Error::Interrupted { kept: KeptBytes::default() }),
        };
        let (sink, result) = ended;
        result.map(|()| (sink, self.hasher, self.offset))
    }
}

impl<S: Send + 'static> DiskWriter<S> {
    /// Starts a thread that works on the bytes of a whole body in its own way.
    pub(super) fn start_with<W>(machine: Machine, size: u64, meter: Arc<Meter>, work: W) -> Self
    where
        W: FnOnce(mpsc::Receiver<FilledBuffer>, mpsc::Sender<Vec<u8>>) -> (S, Result<(), Error>) + Send + 'static,
    {
        Self::spawn(machine, (None, 0, size), None, meter, work)
    }

    /// Waits for that thread to end, and publishes progress meanwhile.
    pub(super) async fn ended(self, tracker: &mut Tracker<'_>) -> Result<(S, Result<(), Error>), Error> {
        drop(self.full);
        let mut thread = self.thread;
        (self.machine.settle)(&|| thread.is_finished());
        loop {
            tokio::select! {
                biased;
                ended = &mut thread => {
                    return ended.map_err(|error| Error::Other(format!("the disk thread failed: {error}")));
                }
                () = tracker.due() => tracker.publish(),
            }
        }
    }
}

impl<S> DiskWriter<S> {
    /// Starts the thread that takes filled buffers and gives them back empty, from an offset up to the whole size.
    fn spawn<W>(
        machine: Machine,
        (hasher, offset, size): (Option<Hasher>, u64, u64),
        source: Option<ResumeSource>,
        meter: Arc<Meter>,
        work: W,
    ) -> Self
    where
        S: Send + 'static,
        W: FnOnce(mpsc::Receiver<FilledBuffer>, mpsc::Sender<Vec<u8>>) -> (S, Result<(), Error>) + Send + 'static,
    {
        let (full, incoming) = mpsc::channel(BUFFERS);
        let (back, empty) = mpsc::channel(BUFFERS);
        let thread = machine.spawn_blocking(move || work(incoming, back));
        let buffer = usize::try_from(size - offset).map_or(BUFFER, |left| left.min(BUFFER));
        Self {
            full,
            empty,
            unallocated: BUFFERS,
            buffer,
            hasher,
            source,
            offset,
            last_resume_point: offset,
            meter,
            machine,
            thread,
        }
    }

    /// Returns an empty buffer; `None` if the thread ended with an error. Cancel-safe.
    pub(super) async fn buffer(&mut self) -> Option<Vec<u8>> {
        self.empty.recv().await
    }

    /// Returns an empty buffer if one is available immediately.
    pub(super) fn try_buffer(&mut self) -> Option<Vec<u8>> {
        let used = self.empty.try_recv().ok();
        if used.is_some() || self.unallocated == 0 {
            return used;
        }
        self.unallocated -= 1;
        Some(vec![0; self.buffer])
    }

    /// Hands the first `length` bytes over; false if the thread ended with an error.
    pub(super) fn write(&mut self, buffer: Vec<u8>, length: usize) -> bool {
        // The channel has as many slots as there are buffers, so this fails only when closed. Bytes not accepted must
        // not be hashed.
        let Ok(slot) = self.full.try_reserve() else { return false };
        if let Some(hasher) = &mut self.hasher {
            let began = Instant::now();
            hasher.update(&buffer[..length]);
            self.meter.record_hashing(began.elapsed().as_micros() as u64);
        }
        self.offset += length as u64;
        let resume_point = (self.offset - self.last_resume_point >= RESUME_STEP).then(|| {
            self.last_resume_point = self.offset;
            ResumePoint::Prefix { offset: self.offset, digest: self.hasher.as_ref().map(Hasher::so_far) }
        });
        slot.send((buffer, length, resume_point));
        (self.machine.settle)(&|| self.empty.len() == BUFFERS - self.unallocated || self.full.is_closed());
        true
    }
}

/// Writes buffers in order, and has them synced and recorded at every resume point.
fn write_all(
    file: &File,
    mut offset: u64,
    mut incoming: mpsc::Receiver<FilledBuffer>,
    back: &mpsc::Sender<Vec<u8>>,
    meter: &Meter,
    note: &(dyn Fn(&ResumePoint) -> Result<(), Lost> + Sync),
) -> Result<(), WriteError> {
    thread::scope(|scope| {
        let mut syncer = None;
        let mut written = Ok(());
        while let Some((buffer, length, resume_point)) = incoming.blocking_recv() {
            written = file.write_all_at(&buffer[..length], offset);
            if written.is_err() {
                break;
            }
            // Starts write-back now, so that the disk is not idle between two syncs.
            let _ = begin_writing(file, offset, length);
            offset += length as u64;
            meter.record_write(length as u64);
            // The receiver may be dropped; buffers already sent are written anyway.
            let _ = back.try_send(buffer);
            if let Some(resume_point) = resume_point
                && !syncer.get_or_insert_with(|| Syncer::start(scope, file, note)).reached(resume_point)
            {
                // Accept nothing more; what was accepted is still written.
                incoming.close();
            }
        }
        // The kernel reports a sync error once: after a failure at a resume point, the last sync may succeed.
        written.map_err(WriteError::Io).and(syncer.map_or(Ok(()), Syncer::finish))
    })
}

/// Syncs a file concurrently with its writer; without a thread for that, the file is only synced at the end.
#[derive(Debug)]
struct Syncer<'scope> {
    reached: SyncSender<ResumePoint>,
    thread: io::Result<ScopedJoinHandle<'scope, Result<(), WriteError>>>,
}

impl<'scope> Syncer<'scope> {
    fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        file: &'scope File,
        note: &'scope (dyn Fn(&ResumePoint) -> Result<(), Lost> + Sync),
    ) -> Self {
        let (reached, points) = sync_channel(RESUME_QUEUE);
        let thread = thread::Builder::new().name("sync".to_owned());
        Self { reached, thread: thread.spawn_scoped(scope, move || sync_at(&points, file, note)) }
    }

    /// Queues a resume point whose bytes are written; false if a sync has failed.
    fn reached(&self, resume_point: ResumePoint) -> bool {
        self.thread.is_err() || self.reached.send(resume_point).is_ok()
    }

    fn finish(self) -> Result<(), WriteError> {
        drop(self.reached);
        let ended = self.thread.ok().map(ScopedJoinHandle::join);
        let failed = || Err(WriteError::Io(io::Error::other("the sync thread failed")));
        ended.map_or(Ok(()), |ended| ended.unwrap_or_else(|_| failed()))
    }
}

/// Runs one sync for all resume points reached since the last one, and records the last of them.
fn sync_at(
    points: &Receiver<ResumePoint>,
    file: &File,
    note: &(dyn Fn(&ResumePoint) -> Result<(), Lost> + Sync),
) -> Result<(), WriteError> {
    while let Ok(first) = points.recv() {
        let last = points.try_iter().last().unwrap_or(first);
        file.sync_data().map_err(WriteError::Io)?;
        note(&last).map_err(|Lost| WriteError::Lost)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;
    use crate::net::fetch::part::ClaimResult;
    use crate::net::fetch::target::TargetPath;
    use crate::route::FileName;
    use crate::wire::Algorithm;

    fn candidate(folder: &Path, algorithm: Option<Algorithm>) -> ResumeCandidate {
        let target = Arc::new(TargetPath::of(folder, &FileName::new(b"f").unwrap()).unwrap());
        let ClaimResult::Ours(part) = PartialFile::open(&target, 100 << 20, false, 0).unwrap() else {
            panic!("partial file is busy")
        };
        ResumeCandidate::new(part, algorithm)
    }

    /// Hands over `count` buffers, each filled with its number.
    async fn fill(writer: &mut DiskWriter<PartialFile>, count: u64) {
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
    async fn many_resume_points_are_written_in_order_and_hashed() {
        let folder = tempfile::tempdir().unwrap();
        // More points than may wait for the disk at a time.
        let size = RESUME_STEP * (RESUME_QUEUE as u64 + 2) + 1;
        let (meter, count) = (Arc::new(Meter::default()), size.div_ceil(BUFFER as u64));
        let mut writer = DiskWriter::start(
            Machine::default(),
            candidate(folder.path(), Some(Algorithm::Blake3)),
            size,
            Arc::clone(&meter),
        );
        fill(&mut writer, count).await;
        let (ResumeCandidate { part, hasher, offset, .. }, result) = writer.finish().await.unwrap();
        result.unwrap();
        assert_eq!(offset, count * BUFFER as u64);
        assert_eq!(meter.flow(0).bytes_out, count * BUFFER as u64);
        let mut expected = Hasher::new(Algorithm::Blake3);
        let mut found = vec![0; BUFFER];
        for number in 0..count {
            part.file().read_exact_at(&mut found, number * BUFFER as u64).unwrap();
            assert!(found.iter().all(|byte| *byte == number as u8), "buffer {number}");
            expected.update(&found);
        }
        assert_eq!(hasher.map(Hasher::finish), Some(expected.finish()));
    }

    #[tokio::test]
    async fn a_small_file_uses_one_buffer_of_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = DiskWriter::start(Machine::default(), candidate(folder.path(), None), 5, Arc::default());
        let buffer = writer.try_buffer().unwrap();
        assert_eq!((buffer.len(), writer.unallocated), (5, BUFFERS - 1));
        assert!(writer.write(buffer, 5));
        let (candidate, result) = writer.finish().await.unwrap();
        assert_eq!((candidate.hasher.is_none(), candidate.offset, result), (true, 5, Ok(())));
    }

    #[tokio::test]
    async fn a_sync_error_at_a_resume_point_is_reported() {
        // /dev/null accepts every byte and cannot be synced.
        let file = File::options().write(true).open("/dev/null").unwrap();
        let (full, incoming) = mpsc::channel(BUFFERS);
        let (back, mut empty) = mpsc::channel(BUFFERS);
        let noted = Arc::new(AtomicBool::new(false));
        let note = Arc::clone(&noted);
        let writing = tokio::task::spawn_blocking(move || {
            write_all(&file, 0, incoming, &back, &Meter::default(), &|_| {
                note.store(true, Relaxed);
                Ok(())
            })
        });
        full.send((vec![0; 1], 1, Some(ResumePoint::Prefix { offset: 1, digest: None }))).await.unwrap();
        empty.recv().await.unwrap();
        drop(full);
        let failed = writing.await.unwrap();
        assert!(
            matches!(&failed, Err(WriteError::Io(error)) if error.kind() == io::ErrorKind::InvalidInput),
            "{failed:?}"
        );
        assert!(!noted.load(Relaxed), "unsynced bytes were recorded");
    }

    #[tokio::test]
    async fn a_write_error_ends_the_writer() {
        let file = File::open("/dev/null").unwrap();
        let (full, incoming) = mpsc::channel(BUFFERS);
        let (back, mut empty) = mpsc::channel(BUFFERS);
        full.send((vec![0; 1], 1, None)).await.unwrap();
        let writing =
            tokio::task::spawn_blocking(move || write_all(&file, 0, incoming, &back, &Meter::default(), &|_| Ok(())));
        assert!(writing.await.unwrap().is_err());
        assert!(empty.recv().await.is_none() && full.send((vec![0; 1], 1, None)).await.is_err());
    }

    #[tokio::test]
    async fn only_synced_bytes_are_recorded_with_their_digest() {
        let folder = tempfile::tempdir().unwrap();
        let validator = super::super::validator::Validator::Etag("\"e\"".to_owned());
        let source = ResumeSource { file: "o/f".to_owned(), size: RESUME_STEP * 2 + 5, validator };
        let candidate = candidate(folder.path(), Some(Algorithm::Blake3));
        let candidate = ResumeCandidate { source: Some(source.clone()), ..candidate };
        let mut writer = DiskWriter::start(Machine::default(), candidate, source.size, Arc::default());
        fill(&mut writer, RESUME_STEP * 2 / BUFFER as u64 + 1).await;
        let (ResumeCandidate { part, .. }, result) = writer.finish().await.unwrap();
        result.unwrap();
        drop(part);
        let target = Arc::new(TargetPath::of(folder.path(), &FileName::new(b"f").unwrap()).unwrap());
        let Some(ClaimResult::Ours(part)) = PartialFile::find(&target, 0) else { panic!("partial file not found") };
        let mut prefix = vec![0; RESUME_STEP as usize * 2];
        part.file().read_exact_at(&mut prefix, 0).unwrap();
        let mut hasher = Hasher::new(Algorithm::Blake3);
        hasher.update(&prefix);
        let resume_point = ResumePoint::Prefix { offset: RESUME_STEP * 2, digest: Some(hasher.finish()) };
        assert_eq!(part.resume_point(), Some((source, resume_point)));
    }
}
