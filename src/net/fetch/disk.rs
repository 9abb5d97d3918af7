//! The disk end of a transfer: hashed as it is received, written by a second thread, synced by a third.

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
use crate::error::{Error, KeptBytes};
use crate::meter::Meter;
use crate::net::node::digests::Hasher;
use crate::net::os::kernel::begin_writing;
use crate::net::os::machine::Machine;

/// Size of one buffer. Half of it costs a tenth more processor time, for the page cache takes it in smaller pieces;
/// twice of it costs no less, and makes the kernel look for contiguous memory that it may not have.
const BUFFER: usize = 512 * 1024;
/// Buffers that go round: one being received, one being written, two to even out the difference.
const BUFFERS: usize = 4;
/// Bytes between two resume points: what is written is synced there, beside the writing, and then noted in the part's
/// state. It lets the disk work from the start, too, so that little is left to sync at the end.
const RESUME_STEP: u64 = 7 << 20;
/// Resume points that may wait for the disk: none. The writing goes on to the next one while a sync is under way, and
/// waits there. So a transfer that was killed sends at most two steps and what was in its buffers again, 16 MiB in all;
/// and a slow disk holds it up while that shows, and not in one long wait behind the last byte.
const RESUME_QUEUE: usize = 0;

/// A buffer on its way to the disk: the bytes in it that count, and the resume point behind them, if there is one.
type FilledBuffer = (Vec<u8>, usize, Option<ResumePoint>);

/// Why nothing more is written.
#[derive(Debug)]
enum WriteError {
    Io(io::Error),
    /// The file's names are gone. What was handed over is written all the same.
    Lost,
}

/// Takes full buffers, gives empty ones back.
#[derive(Debug)]
pub(super) struct DiskWriter<S> {
    full: mpsc::Sender<FilledBuffer>,
    empty: mpsc::Receiver<Vec<u8>>,
    /// Buffers that were not needed yet, and their size.
    unmade: usize,
    buffer: usize,
    /// The bytes are hashed by the thread that received them: they are in its processor's cache.
    hasher: Option<Hasher>,
    source: Option<ResumeSource>,
    /// Bytes of the file that were handed over, or were there before.
    offset: u64,
    last_mark: u64,
    meter: Arc<Meter>,
    machine: Machine,
    thread: JoinHandle<(S, Result<(), Error>)>,
}

impl DiskWriter<PartialFile> {
    /// Starts the thread that goes on with a part, for a file of this size; it ends when the writer does, or with the
    /// first error.
    pub(super) fn start(machine: Machine, begun: ResumeCandidate, size: u64, meter: Arc<Meter>) -> Self {
        let ResumeCandidate { part, hasher, offset, source, .. } = begun;
        let (full, incoming) = mpsc::channel(BUFFERS);
        let (back, empty) = mpsc::channel(BUFFERS);
        let counted = Arc::clone(&meter);
        let noted = source.clone();
        let thread = machine.spawn_blocking(move || {
            let note = |mark: &ResumePoint| noted.as_ref().map_or(Ok(()), |source| part.record(source, mark));
            let result = write_all(part.file(), offset, incoming, &back, &counted, &note);
            let result = result.map_err(|failed| match failed {
                WriteError::Io(error) => part.error("write it", &error),
                WriteError::Lost => part.lost(),
            });
            (part, result)
        });
        let buffer = usize::try_from(size - offset).map_or(BUFFER, |left| left.min(BUFFER));
        Self { full, empty, unmade: BUFFERS, buffer, hasher, source, offset, last_mark: offset, meter, machine, thread }
    }

    /// Waits until all is written; the answer is the part as far as it is now, and whether all of it could be written.
    pub(super) async fn finish(self) -> Result<(ResumeCandidate, Result<(), Error>), Error> {
        drop(self.full);
        (self.machine.settle)(&|| self.thread.is_finished());
        let ended = self.thread.await.map_err(|error| Error::Other(format!("the disk thread failed: {error}")));
        let (hasher, offset) = (self.hasher, self.offset);
        ended.map(|(part, result)| {
            // What was handed over and not written is hashed already: then only the last note says how far it got.
            let written = matches!(result, Ok(()) | Err(Error::Lost { .. }));
            let source = self.source.filter(|_| written);
            (ResumeCandidate { part, hasher, offset, source, stale: false }, result)
        })
    }
}

impl DiskWriter<OutputSink> {
    /// Starts the thread that writes to an output, for the bytes from an offset to the whole size.
    pub(super) fn to_output(
        machine: Machine,
        mut sink: OutputSink,
        (hasher, offset, size): (Option<Hasher>, u64, u64),
        meter: Arc<Meter>,
    ) -> Self {
        let (full, mut incoming) = mpsc::channel::<FilledBuffer>(BUFFERS);
        let (back, empty) = mpsc::channel(BUFFERS);
        let counted = Arc::clone(&meter);
        let thread = machine.spawn_blocking(move || {
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
        });
        let buffer = usize::try_from(size - offset).map_or(BUFFER, |left| left.min(BUFFER));
        Self {
            full,
            empty,
            unmade: BUFFERS,
            buffer,
            hasher,
            source: None,
            offset,
            last_mark: offset,
            meter,
            machine,
            thread,
        }
    }

    /// Waits until all is written, for as long as the reader takes and nobody stops it; the answer is the output, the
    /// digest so far, and how far it is.
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

impl<S> DiskWriter<S> {
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
        // There is room: the channel is as long as there are buffers. What is not taken must not be hashed either.
        let Ok(room) = self.full.try_reserve() else { return false };
        if let Some(hasher) = &mut self.hasher {
            let began = Instant::now();
            hasher.update(&buffer[..length]);
            self.meter.record_hashing(began.elapsed().as_micros() as u64);
        }
        self.offset += length as u64;
        let mark = (self.offset - self.last_mark >= RESUME_STEP).then(|| {
            self.last_mark = self.offset;
            ResumePoint { offset: self.offset, prefix: self.hasher.as_ref().map(Hasher::so_far) }
        });
        room.send((buffer, length, mark));
        (self.machine.settle)(&|| self.empty.len() == BUFFERS - self.unmade || self.full.is_closed());
        true
    }
}

/// Writes what comes in, one buffer behind the other, and has it synced and noted at every resume point.
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
        while let Some((buffer, length, mark)) = incoming.blocking_recv() {
            written = file.write_all_at(&buffer[..length], offset);
            if written.is_err() {
                break;
            }
            // The disk works while the next step fills up, or it would rest between the syncs.
            let _ = begin_writing(file, offset, length);
            offset += length as u64;
            meter.record_write(length as u64);
            // The receiving side may have given up; what it sent before is written all the same.
            let _ = back.try_send(buffer);
            if let Some(mark) = mark
                && !syncer.get_or_insert_with(|| Syncer::start(scope, file, note)).reached(mark)
            {
                // Nothing more is taken; what was, is still written.
                incoming.close();
            }
        }
        // An error of a sync is told once: what fails at a resume point may seem to go well at the end.
        written.map_err(WriteError::Io).and(syncer.map_or(Ok(()), Syncer::finish))
    })
}

/// Syncs a file beside those who write to it; without a thread for that, it is left for the end.
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

    /// A resume point is written; false where a sync has failed.
    fn reached(&self, mark: ResumePoint) -> bool {
        self.thread.is_err() || self.reached.send(mark).is_ok()
    }

    fn finish(self) -> Result<(), WriteError> {
        drop(self.reached);
        let ended = self.thread.ok().map(ScopedJoinHandle::join);
        let failed = || Err(WriteError::Io(io::Error::other("the sync thread failed")));
        ended.map_or(Ok(()), |ended| ended.unwrap_or_else(|_| failed()))
    }
}

/// One sync for all resume points that were reached since the last; the last of them is what is noted.
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

    fn begun(folder: &Path, algorithm: Option<Algorithm>) -> ResumeCandidate {
        let place = Arc::new(TargetPath::of(folder, &FileName::new(b"f").unwrap()).unwrap());
        let ClaimResult::Ours(part) = PartialFile::open(&place, 100 << 20, false, 0).unwrap() else {
            panic!("it is busy")
        };
        ResumeCandidate::new(part, algorithm)
    }

    /// Hands over `count` buffers, each filled with its own number.
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
    async fn a_file_of_many_resume_points_is_written_in_order_and_hashed() {
        let folder = tempfile::tempdir().unwrap();
        // More points than may wait for the disk at once.
        let size = RESUME_STEP * (RESUME_QUEUE as u64 + 2) + 1;
        let (meter, count) = (Arc::new(Meter::default()), size.div_ceil(BUFFER as u64));
        let mut writer = DiskWriter::start(
            Machine::default(),
            begun(folder.path(), Some(Algorithm::Blake3)),
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
    async fn a_small_file_takes_one_buffer_of_its_own_size() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = DiskWriter::start(Machine::default(), begun(folder.path(), None), 5, Arc::default());
        let buffer = writer.try_buffer().unwrap();
        assert_eq!((buffer.len(), writer.unmade), (5, BUFFERS - 1));
        assert!(writer.write(buffer, 5));
        let (begun, result) = writer.finish().await.unwrap();
        assert_eq!((begun.hasher.is_none(), begun.offset, result), (true, 5, Ok(())));
    }

    #[tokio::test]
    async fn what_fails_at_a_resume_point_is_not_forgotten_at_the_end() {
        // It takes every byte and cannot be synced.
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
        full.send((vec![0; 1], 1, Some(ResumePoint { offset: 1, prefix: None }))).await.unwrap();
        empty.recv().await.unwrap();
        drop(full);
        let failed = writing.await.unwrap();
        assert!(
            matches!(&failed, Err(WriteError::Io(error)) if error.kind() == io::ErrorKind::InvalidInput),
            "{failed:?}"
        );
        assert!(!noted.load(Relaxed), "what is not on the disk was noted as if it were");
    }

    #[tokio::test]
    async fn a_write_that_fails_ends_the_writing() {
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
    async fn only_what_is_on_the_disk_is_noted_with_the_digest_of_all_that_is_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let validator = super::super::validator::Validator::Etag("\"e\"".to_owned());
        let source = ResumeSource { file: "o/f".to_owned(), size: RESUME_STEP * 2 + 5, validator };
        let begun = begun(folder.path(), Some(Algorithm::Blake3));
        let begun = ResumeCandidate { source: Some(source.clone()), ..begun };
        let mut writer = DiskWriter::start(Machine::default(), begun, source.size, Arc::default());
        fill(&mut writer, RESUME_STEP * 2 / BUFFER as u64 + 1).await;
        let (ResumeCandidate { part, .. }, result) = writer.finish().await.unwrap();
        result.unwrap();
        drop(part);
        let place = Arc::new(TargetPath::of(folder.path(), &FileName::new(b"f").unwrap()).unwrap());
        let Some(ClaimResult::Ours(part)) = PartialFile::left_over(&place, 0) else { panic!("it is not ours") };
        let mut prefix = vec![0; RESUME_STEP as usize * 2];
        part.file().read_exact_at(&mut prefix, 0).unwrap();
        let mut hasher = Hasher::new(Algorithm::Blake3);
        hasher.update(&prefix);
        let mark = ResumePoint { offset: RESUME_STEP * 2, prefix: Some(hasher.finish()) };
        assert_eq!(part.mark(), Some((source, mark)));
    }
}
