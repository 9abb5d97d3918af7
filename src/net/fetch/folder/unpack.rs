//! Unpacking of a tar stream, on the thread that takes its bytes: files are written to the staging folder and hashed,
//! and handed over to be published once their digests have come.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Timespec, Timestamps, UTIME_OMIT};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::decode::{Decoder, Event, FileEntry};
use super::publish::{Item, MAX_BYTES, MAX_FILES, PERIOD, Publisher, Results, StagedFile, Summary};
use super::staging::Staging;
use super::tree::Tree;
use crate::error::{Error, KeptBytes, shown};
use crate::meter::Meter;
use crate::net::fetch::disk::FilledBuffer;
use crate::net::os::kernel::begin_writing;
use crate::route::FileName;
use crate::snapshot::FileOutcome;
use crate::text::SafeText;
use crate::wire::{Algorithm, Digest};

/// Size from which write-back begins as a file is written: the sync that follows has less to do.
const LARGE: u64 = 1 << 20;
/// Groups that may wait while one is published.
const QUEUE: usize = 1;

/// What is unpacked, and how.
pub(super) struct Unpacking {
    pub(super) tree: Arc<Tree>,
    /// The requested folder, and the hop that made the archive, with its address.
    pub(super) folder: SafeText,
    pub(super) origin: (usize, SafeText),
    /// Replace existing files.
    pub(super) force: bool,
    /// Keep modification times.
    pub(super) times: bool,
    /// Compare digests.
    pub(super) verify: bool,
    pub(super) results: Results,
    pub(super) meter: Arc<Meter>,
    pub(super) stop: CancellationToken,
}

/// What became of a stream.
#[derive(Debug, Default)]
pub(super) struct Unpacked {
    pub(super) summary: Summary,
    /// The archive was complete.
    pub(super) complete: bool,
}

/// A file whose content is arriving.
struct OpenFile {
    entry: FileEntry,
    number: u64,
    /// `None` if its name cannot be used here.
    file: Option<File>,
    written: u64,
    hasher: Option<blake3::Hasher>,
    digest: Option<[u8; 32]>,
}

/// A complete file without a digest of the origin yet.
struct Unproven {
    staged: StagedFile,
    digest: Option<[u8; 32]>,
    is_usable: bool,
}

/// State of the unpacking thread.
struct Unpacker<'a> {
    tree: &'a Tree,
    staging: &'a Staging<'a>,
    times: bool,
    verify: bool,
    meter: &'a Meter,
    hashing: Duration,
    next_number: u64,
    open: Option<OpenFile>,
    unproven: Vec<Unproven>,
    /// The group that is being filled, its bytes, and the time of its first entry.
    group: Vec<Item>,
    group_bytes: u64,
    since: Option<Instant>,
    publisher: SyncSender<Vec<Item>>,
    complete: bool,
}

impl Unpacking {
    /// Unpacks buffers until no more come; what is proven by then is published.
    pub(super) fn run(
        self,
        mut decoder: Decoder,
        mut incoming: mpsc::Receiver<FilledBuffer>,
        back: &mpsc::Sender<Vec<u8>>,
    ) -> (Unpacked, Result<(), Error>) {
        let staging = match Staging::open(&self.tree) {
            Ok(staging) => staging,
            Err(error) => return (Unpacked::default(), Err(error)),
        };
        let publisher = Publisher::new((&self.tree, &staging), self.force, &self.results, &self.stop);
        thread::scope(|scope| {
            let (groups, queue) = sync_channel(QUEUE);
            let publishing = thread::Builder::new().name("publish".to_owned());
            let publishing = match publishing.spawn_scoped(scope, move || publisher.run(&queue)) {
                Ok(publishing) => publishing,
                Err(error) => return (Unpacked::default(), Err(Error::disk("write to it", self.tree.path(), &error))),
            };
            let mut unpacker = Unpacker::new(&self, &staging, groups);
            let mut unpacked = Ok(());
            loop {
                unpacked = match unpacker.receive(&mut incoming) {
                    Received::Buffer((buffer, length, _)) => {
                        let fed = unpacker.feed(&mut decoder, &buffer[..length]);
                        self.meter.record_write(length as u64);
                        self.results.current(unpacker.open.as_ref().map(|open| &open.entry.path));
                        let _ = back.try_send(buffer);
                        fed
                    }
                    Received::Due => unpacker.hand_over(),
                    Received::End => break,
                };
                if unpacked.is_err() {
                    break;
                }
            }
            // Nothing more is accepted: the receiver of the stream stops.
            drop(incoming);
            let handed_over = unpacker.hand_over();
            let complete = unpacker.complete;
            drop(unpacker);
            let ended = publishing.join().map_err(|_| Error::Other("the publishing thread failed".to_owned()));
            self.results.current(None);
            let (summary, published) = ended.unwrap_or_else(|error| (Summary::default(), Err(error)));
            let result = match unpacked.and(handed_over) {
                Err(Failure::Archive(error)) => Err(Error::Archive {
                    hop: self.origin.0,
                    address: self.origin.1.clone(),
                    folder: self.folder.clone(),
                    reason: error.to_string(),
                }),
                Err(Failure::Disk(error)) => Err(error),
                // The error of the publisher is the cause.
                Err(Failure::PublisherEnded) | Ok(()) => Ok(()),
            };
            (Unpacked { summary, complete }, published.and(result))
        })
    }
}

/// What the thread waited for.
enum Received {
    Buffer(FilledBuffer),
    /// The group has to be published before more bytes come.
    Due,
    End,
}

/// Why unpacking ended early.
enum Failure {
    Archive(super::decode::ArchiveError),
    Disk(Error),
    PublisherEnded,
}

impl<'a> Unpacker<'a> {
    fn new(job: &'a Unpacking, staging: &'a Staging<'a>, publisher: SyncSender<Vec<Item>>) -> Self {
        Self {
            tree: &job.tree,
            staging,
            times: job.times,
            verify: job.verify,
            meter: &job.meter,
            hashing: Duration::ZERO,
            next_number: 0,
            open: None,
            unproven: Vec::new(),
            group: Vec::new(),
            group_bytes: 0,
            since: None,
            publisher,
            complete: false,
        }
    }

    /// Waits for the next buffer, as long as the group may wait.
    fn receive(&self, incoming: &mut mpsc::Receiver<FilledBuffer>) -> Received {
        let Some(since) = self.since else {
            return incoming.blocking_recv().map_or(Received::End, Received::Buffer);
        };
        let left = PERIOD.saturating_sub(since.elapsed());
        if left.is_zero() {
            return Received::Due;
        }
        match Handle::current().block_on(async { timeout(left, incoming.recv()).await }) {
            Ok(received) => received.map_or(Received::End, Received::Buffer),
            Err(_) => Received::Due,
        }
    }

    fn feed(&mut self, decoder: &mut Decoder, mut bytes: &[u8]) -> Result<(), Failure> {
        while let Some(event) = decoder.next(&mut bytes).map_err(Failure::Archive)? {
            match event {
                Event::Folder(path) => self.add(Item::Folder(path), 0)?,
                Event::File(entry) => self.begin(entry).map_err(Failure::Disk)?,
                Event::Data(data) => self.write(data).map_err(Failure::Disk)?,
                Event::FileEnd => self.end(),
                Event::Digests(digests) => self.prove(&digests)?,
                Event::End => self.complete = true,
            }
        }
        self.meter.record_hashing(std::mem::take(&mut self.hashing).as_micros() as u64);
        Ok(())
    }

    fn begin(&mut self, entry: FileEntry) -> Result<(), Error> {
        let number = self.next_number;
        self.next_number += 1;
        let file = if is_usable(&entry.path) {
            let created = self.staging.create(number, entry.executable);
            Some(created.map_err(|error| self.failed(&entry.path, &error))?)
        } else {
            None
        };
        self.open = Some(OpenFile { entry, number, file, written: 0, hasher: None, digest: None });
        Ok(())
    }

    fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        let Some(OpenFile { entry, file: Some(file), written, hasher, digest, .. }) = &mut self.open else {
            return Ok(());
        };
        if let Err(error) = file.write_all(data) {
            return Err(Error::disk("write it", &self.tree.join(entry.path.as_bytes()), &error));
        }
        if entry.size >= LARGE {
            let _ = begin_writing(file, *written, data.len());
        }
        *written += data.len() as u64;
        if !self.verify {
            return Ok(());
        }
        let began = Instant::now();
        if data.len() as u64 == entry.size {
            // A whole file at once costs less than one in parts.
            *digest = Some(*blake3::hash(data).as_bytes());
        } else {
            let hasher = hasher.get_or_insert_default();
            hasher.update(data);
            if *written == entry.size {
                *digest = Some(*hasher.finalize().as_bytes());
            }
        }
        self.hashing += began.elapsed();
        Ok(())
    }

    fn end(&mut self) {
        let Some(OpenFile { entry, number, file, digest, .. }) = self.open.take() else { return };
        if self.times
            && let Some(file) = &file
        {
            // Some file systems do not store this time.
            let _ = rustix::fs::futimens(file, &modified(entry.modified));
        }
        let digest = digest.or_else(|| (entry.size == 0).then(|| *blake3::hash(b"").as_bytes()));
        let staged = StagedFile { path: entry.path, size: entry.size, number };
        self.unproven.push(Unproven { staged, digest, is_usable: file.is_some() });
    }

    /// Compares the digests of the files since the last ones with those of the origin.
    fn prove(&mut self, digests: &[[u8; 32]]) -> Result<(), Failure> {
        for (file, expected) in std::mem::take(&mut self.unproven).into_iter().zip(digests) {
            let Unproven { staged, digest, is_usable } = file;
            let size = staged.size;
            let item = if !is_usable {
                let path = shown(&self.tree.join(staged.path.as_bytes()));
                let reason = "its name contains control characters".to_owned();
                Item::Failed { path: staged.path, size, error: Error::Disk { action: "create it", path, reason } }
            } else if !self.verify {
                Item::Proven(staged, FileOutcome::SizeChecked)
            } else if digest == Some(*expected) {
                Item::Proven(staged, FileOutcome::Verified)
            } else {
                self.staging.remove(staged.number);
                let text = |value| Digest { algorithm: Algorithm::Blake3, value }.to_string();
                let error = Error::Altered {
                    file: staged.path.shown(),
                    arrived: digest.map(text).unwrap_or_default(),
                    expected: text(*expected),
                    source_of_truth: "the origin",
                    kept: KeptBytes::default(),
                };
                Item::Failed { path: staged.path, size, error }
            };
            self.add(item, size)?;
        }
        Ok(())
    }

    /// Adds an entry to the group, and hands the group over when it is full.
    fn add(&mut self, item: Item, bytes: u64) -> Result<(), Failure> {
        self.group.push(item);
        self.group_bytes += bytes;
        let since = *self.since.get_or_insert_with(Instant::now);
        let full = self.group.len() >= MAX_FILES || self.group_bytes >= MAX_BYTES;
        if full || since.elapsed() >= PERIOD { self.hand_over() } else { Ok(()) }
    }

    fn hand_over(&mut self) -> Result<(), Failure> {
        if self.group.is_empty() {
            return Ok(());
        }
        (self.group_bytes, self.since) = (0, None);
        self.publisher.send(std::mem::take(&mut self.group)).map_err(|_| Failure::PublisherEnded)
    }

    fn failed(&self, path: &FileName, error: &io::Error) -> Error {
        Error::disk("create it", &self.tree.join(path.as_bytes()), error)
    }
}

/// Returns false for names that would control a terminal which lists them.
fn is_usable(path: &FileName) -> bool {
    let bytes = path.as_bytes();
    let is_plain = bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    is_plain || !bytes.utf8_chunks().any(|chunk| chunk.valid().contains(char::is_control))
}

/// Returns times that set the modification only.
fn modified(seconds: u64) -> Timestamps {
    let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let last_modification = Timespec { tv_sec: i64::try_from(seconds).unwrap_or_default(), tv_nsec: 0 };
    Timestamps { last_access: omitted, last_modification }
}
