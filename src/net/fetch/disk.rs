//! Writing to disk: bytes are hashed as they are received, written by a second thread, synced by a third.

mod queue;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Scope, ScopedJoinHandle};

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
use queue::Digesting;

pub(super) use queue::{BUFFERS, FilledBuffer, Mark, RESUME_STEP, WriteQueue};

/// Resume points that may be queued for the sync thread: none. Writing continues up to the next point during a sync,
/// and waits there. So a killed transfer re-sends at most two steps and its buffers, 16 MiB in all; and a slow disk
/// slows the transfer down visibly, instead of in one long wait after the last byte.
const RESUME_QUEUE: usize = 0;

/// Why writing stopped.
#[derive(Debug)]
pub(super) enum WriteError {
    Io(io::Error),
    /// The partial file's names were removed. Buffers already handed over are written anyway.
    Lost,
}

/// A thread that writes the buffers of one body.
#[derive(Debug)]
pub(super) struct DiskWriter<S> {
    /// What the body is handed over through.
    pub(super) queue: WriteQueue,
    source: Option<ResumeSource>,
    machine: Machine,
    thread: JoinHandle<(S, Result<(), Error>)>,
}

impl DiskWriter<PartialFile> {
    /// Starts the thread that continues a partial file of this final size; it ends with the writer, or at the first
    /// error.
    pub(super) fn start(machine: Machine, candidate: ResumeCandidate, size: u64, meter: Arc<Meter>) -> Self {
        let ResumeCandidate { part, hasher, offset, source, .. } = candidate;
        let (counted, noted) = (Arc::clone(&meter), source.clone());
        let digesting = Digesting::whole(hasher);
        Self::spawn(machine, digesting, (offset, size), source, meter, move |incoming, back| {
            let note =
                |resume_point: &ResumePoint| noted.as_ref().map_or(Ok(()), |source| part.record(source, resume_point));
            let result = write_all(part.file(), incoming, &back, &counted, &note);
            let result = result.map_err(|failed| match failed {
                WriteError::Io(error) => part.error("write it", &error),
                WriteError::Lost => part.lost(),
            });
            (part, result)
        })
    }

    /// Waits until everything is written; returns the partial file, and whether all of it could be written.
    pub(super) async fn finish(self) -> Result<(ResumeCandidate, Result<(), Error>), Error> {
        let (hasher, offset) = self.queue.close();
        (self.machine.settle)(&|| self.thread.is_finished());
        let ended = self.thread.await.map_err(|error| Error::Other(format!("the disk thread failed: {error}")));
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
        (hasher, offset, size): (Option<Hasher>, u64, u64),
        meter: Arc<Meter>,
    ) -> Self {
        let counted = Arc::clone(&meter);
        let digesting = Digesting::whole(hasher);
        Self::spawn(machine, digesting, (offset, size), None, meter, move |mut incoming, back| {
            // Opened even for an empty file: the reader of a named pipe waits for a writer.
            let mut result = sink.write(b"");
            while result.is_ok()
                && let Some(FilledBuffer { bytes, length, .. }) = incoming.blocking_recv()
            {
                result = sink.write(&bytes[..length]);
                counted.record_write(length as u64);
                let _ = back.try_send(bytes);
            }
            (sink, result)
        })
    }

    /// Waits until everything is written, however slow the reader, unless cancelled; returns the output, the hasher and
    /// the offset.
    pub(super) async fn flushed(self, stop: &CancellationToken) -> Result<(OutputSink, Option<Hasher>, u64), Error> {
        let (hasher, offset) = self.queue.close();
        let mut thread = self.thread;
        let ended = tokio::select! {
            biased;
            ended = &mut thread => ended.map_err(|error| Error::Other(format!("the output thread failed: {error}")))?,
            () = stop.cancelled() => return Err(Error::Interrupted { kept: KeptBytes::default() }),
        };
        let (sink, result) = ended;
        result.map(|()| (sink, hasher, offset))
    }
}

impl<S: Send + 'static> DiskWriter<S> {
    /// Starts a thread that works on the bytes of a whole body in its own way.
    pub(super) fn start_with<W>(machine: Machine, size: u64, meter: Arc<Meter>, work: W) -> Self
    where
        W: FnOnce(mpsc::Receiver<FilledBuffer>, mpsc::Sender<Vec<u8>>) -> (S, Result<(), Error>) + Send + 'static,
    {
        Self::spawn(machine, Digesting::None, (0, size), None, meter, work)
    }

    /// Waits for that thread to end, and publishes progress meanwhile.
    pub(super) async fn ended(self, tracker: &mut Tracker<'_>) -> Result<(S, Result<(), Error>), Error> {
        drop(self.queue);
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
        digesting: Digesting,
        (offset, size): (u64, u64),
        source: Option<ResumeSource>,
        meter: Arc<Meter>,
        work: W,
    ) -> Self
    where
        S: Send + 'static,
        W: FnOnce(mpsc::Receiver<FilledBuffer>, mpsc::Sender<Vec<u8>>) -> (S, Result<(), Error>) + Send + 'static,
    {
        let (full, incoming) = mpsc::channel(BUFFERS);
        let (queue, back) = WriteQueue::new(machine, full, digesting, (offset, size), meter);
        let thread = machine.spawn_blocking(move || work(incoming, back));
        Self { queue, source, machine, thread }
    }
}

/// Writes buffers in order, and has them synced and recorded at every resume point.
fn write_all(
    file: &File,
    mut incoming: mpsc::Receiver<FilledBuffer>,
    back: &mpsc::Sender<Vec<u8>>,
    meter: &Meter,
    note: &(dyn Fn(&ResumePoint) -> Result<(), Lost> + Sync),
) -> Result<(), WriteError> {
    thread::scope(|scope| {
        let mut syncer = None;
        let mut written = Ok(());
        while let Some(buffer) = incoming.blocking_recv() {
            written = write_one(file, &buffer);
            if written.is_err() {
                break;
            }
            meter.record_write(buffer.length as u64);
            // The receiver may be dropped; buffers already sent are written anyway.
            let _ = back.try_send(buffer.bytes);
            if let Mark::Resume(resume_point) = buffer.mark
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

/// Writes a buffer.
pub(super) fn write_one(file: &File, buffer: &FilledBuffer) -> io::Result<()> {
    let FilledBuffer { bytes, length, offset, .. } = buffer;
    file.write_all_at(&bytes[..*length], *offset)?;
    // Starts write-back now, so that the disk is not idle between two syncs.
    let _ = begin_writing(file, *offset, *length);
    Ok(())
}

/// Syncs a file concurrently with its writer; without a thread for that, the file is only synced at the end.
#[derive(Debug)]
pub(super) struct Syncer<'scope> {
    reached: SyncSender<ResumePoint>,
    thread: io::Result<ScopedJoinHandle<'scope, Result<(), WriteError>>>,
}

impl<'scope> Syncer<'scope> {
    pub(super) fn start<'env>(
        scope: &'scope Scope<'scope, 'env>,
        file: &'scope File,
        note: &'scope (dyn Fn(&ResumePoint) -> Result<(), Lost> + Sync),
    ) -> Self {
        let (reached, points) = sync_channel(RESUME_QUEUE);
        let thread = thread::Builder::new().name("sync".to_owned());
        Self { reached, thread: thread.spawn_scoped(scope, move || sync_at(&points, file, note)) }
    }

    /// Queues a resume point whose bytes are written; false if a sync has failed.
    pub(super) fn reached(&self, resume_point: ResumePoint) -> bool {
        self.thread.is_err() || self.reached.send(resume_point).is_ok()
    }

    pub(super) fn finish(self) -> Result<(), WriteError> {
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

    use super::queue::BUFFER;
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
            let mut buffer = match writer.queue.try_buffer() {
                Some(buffer) => buffer,
                None => writer.queue.buffer().await.unwrap(),
            };
            buffer.fill(number as u8);
            let length = buffer.len();
            assert!(writer.queue.write(buffer, length));
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
        let buffer = writer.queue.try_buffer().unwrap();
        assert_eq!((buffer.len(), writer.queue.unallocated), (5, BUFFERS - 1));
        assert!(writer.queue.write(buffer, 5));
        let (candidate, result) = writer.finish().await.unwrap();
        assert_eq!((candidate.hasher.is_none(), candidate.offset, result), (true, 5, Ok(())));
    }

    fn byte(mark: Mark) -> FilledBuffer {
        FilledBuffer { bytes: vec![0], length: 1, offset: 0, mark, owner: 0 }
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
            write_all(&file, incoming, &back, &Meter::default(), &|_| {
                note.store(true, Relaxed);
                Ok(())
            })
        });
        full.send(byte(Mark::Resume(ResumePoint::Prefix { offset: 1, digest: None }))).await.unwrap();
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
        full.send(byte(Mark::None)).await.unwrap();
        let writing =
            tokio::task::spawn_blocking(move || write_all(&file, incoming, &back, &Meter::default(), &|_| Ok(())));
        assert!(writing.await.unwrap().is_err());
        assert!(empty.recv().await.is_none() && full.send(byte(Mark::None)).await.is_err());
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
