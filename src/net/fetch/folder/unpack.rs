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
use super::large::{KEPT, LargeFile, Resuming};
use super::publish::{Item, MAX_BYTES, MAX_FILES, PERIOD, Publisher, Results, StagedFile, Summary};
use super::staging::Staging;
use super::tree::Tree;
use crate::error::{Error, KeptBytes, shown};
use crate::meter::Meter;
use crate::net::fetch::disk::FilledBuffer;
use crate::net::node::digests::Hasher;
use crate::net::os::kernel::begin_writing;
use crate::route::FileName;
use crate::snapshot::FileOutcome;
use crate::text::SafeText;
use crate::wire::{Algorithm, Digest};

/// Groups that may wait while one is published.
const QUEUE: usize = 1;

/// What is unpacked, and how.
pub(super) struct Unpacking {
    pub(super) tree: Arc<Tree>,
    pub(super) resuming: Resuming,
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

/// A file whose content is arriving, or has arrived and is not proven.
struct OpenFile {
    entry: FileEntry,
    content: Content,
    written: u64,
}

/// Where the content of a file is written to.
enum Content {
    Staged {
        number: u64,
        file: File,
        hasher: Option<Hasher>,
        digest: Option<[u8; 32]>,
    },
    Large(Box<LargeFile>),
    /// Nowhere: its name cannot be used here.
    Unusable,
}

/// State of the unpacking thread.
struct Unpacker<'a> {
    job: &'a Unpacking,
    staging: &'a Staging<'a>,
    hashing: Duration,
    next_number: u64,
    open: Option<OpenFile>,
    unproven: Vec<OpenFile>,
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
            unpacker.keep_unproven();
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
            job,
            staging,
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
        self.job.meter.record_hashing(std::mem::take(&mut self.hashing).as_micros() as u64);
        Ok(())
    }

    fn begin(&mut self, entry: FileEntry) -> Result<(), Error> {
        // The decoder accepts no hidden names: these would control a terminal that lists them.
        let content = if !entry.path.is_visible() {
            Content::Unusable
        } else if let Some(large) = LargeFile::create(&self.job.tree, &entry, &self.job.resuming, self.job.times)? {
            Content::Large(Box::new(large))
        } else {
            let number = self.next_number;
            self.next_number += 1;
            let created = self.staging.create(number, entry.executable);
            let file = created.map_err(|error| self.failed("create it", &entry.path, &error))?;
            Content::Staged { number, file, hasher: None, digest: None }
        };
        self.open = Some(OpenFile { entry, content, written: 0 });
        Ok(())
    }

    fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        let Some(OpenFile { entry, content, written }) = &mut self.open else { return Ok(()) };
        let offset = *written;
        *written += data.len() as u64;
        match content {
            Content::Unusable => Ok(()),
            Content::Large(large) => large.write(data),
            Content::Staged { file, hasher, digest, .. } => {
                if let Err(error) = file.write_all(data) {
                    return Err(Error::disk("write it", &self.job.tree.join(entry.path.as_bytes()), &error));
                }
                if entry.size >= KEPT {
                    // The sync that follows has less to do.
                    let _ = begin_writing(file, offset, data.len());
                }
                if !self.job.verify {
                    return Ok(());
                }
                let began = Instant::now();
                if data.len() as u64 == entry.size {
                    // A whole file at once costs less than one in parts.
                    *digest = Some(*blake3::hash(data).as_bytes());
                } else {
                    hasher.get_or_insert_with(|| Hasher::new(Algorithm::Blake3)).update(data);
                }
                self.hashing += began.elapsed();
                Ok(())
            }
        }
    }

    fn end(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        if let Content::Staged { file, hasher, digest, .. } = &mut open.content {
            if self.job.times {
                // Some file systems do not store this time.
                let _ = rustix::fs::futimens(&*file, &modified(open.entry.modified));
            }
            if self.job.verify && digest.is_none() {
                let hasher = hasher.clone().unwrap_or_else(|| Hasher::new(Algorithm::Blake3));
                *digest = Some(hasher.finish().value);
            }
        }
        self.unproven.push(open);
    }

    /// Compares the digests of the files since the last ones with those of the origin.
    fn prove(&mut self, digests: &[[u8; 32]]) -> Result<(), Failure> {
        for (OpenFile { entry, content, .. }, expected) in std::mem::take(&mut self.unproven).into_iter().zip(digests) {
            let size = entry.size;
            let arrived = match &content {
                Content::Unusable => None,
                Content::Large(large) => large.digest().map(|digest| digest.value),
                Content::Staged { digest, .. } => *digest,
            };
            let outcome = match arrived {
                _ if !self.job.verify => Ok(FileOutcome::SizeChecked),
                Some(arrived) if arrived == *expected => Ok(FileOutcome::Verified),
                arrived => Err(altered(&entry.path, arrived, *expected)),
            };
            let item = match (content, outcome) {
                (Content::Unusable, _) => {
                    let path = shown(&self.job.tree.join(entry.path.as_bytes()));
                    let reason = "its name contains control characters".to_owned();
                    let error = Error::Disk { action: "create it", path, reason };
                    Item::Failed { path: entry.path, size, error }
                }
                (Content::Large(large), Ok(outcome)) => Item::Large(large, outcome),
                (Content::Staged { number, .. }, Ok(outcome)) => {
                    Item::Proven(StagedFile { path: entry.path, size, number }, outcome)
                }
                (Content::Large(large), Err(error)) => {
                    large.discard();
                    Item::Failed { path: entry.path, size, error }
                }
                (Content::Staged { number, .. }, Err(error)) => {
                    self.staging.remove(number);
                    Item::Failed { path: entry.path, size, error }
                }
            };
            self.add(item, size)?;
        }
        Ok(())
    }

    /// Keeps large files without a digest for a later fetch: one at most, since its digest follows it.
    fn keep_unproven(&mut self) {
        for OpenFile { entry, content, written } in
            std::mem::take(&mut self.unproven).into_iter().chain(self.open.take())
        {
            match content {
                Content::Large(large) => large.keep(),
                Content::Staged { number, hasher, .. } if entry.size >= KEPT && written > 0 => {
                    let kept = self.staging.read(number).and_then(|staged| {
                        LargeFile::keep_staged(&self.job.tree, &entry, &self.job.resuming, (staged, written, hasher))
                    });
                    if let Err(error) = kept {
                        tracing::debug!("{}: not kept for a later fetch: {error}", entry.path.shown());
                    }
                }
                _ => {}
            }
        }
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

    fn failed(&self, action: &'static str, path: &FileName, error: &io::Error) -> Error {
        Error::disk(action, &self.job.tree.join(path.as_bytes()), error)
    }
}

fn altered(path: &FileName, arrived: Option<[u8; 32]>, expected: [u8; 32]) -> Error {
    let text = |value| Digest { algorithm: Algorithm::Blake3, value }.to_string();
    Error::Altered {
        file: path.shown(),
        arrived: arrived.map(text).unwrap_or_default(),
        expected: text(expected),
        source_of_truth: "the origin",
        kept: KeptBytes::default(),
    }
}

/// Returns times that set the modification only.
fn modified(seconds: u64) -> Timestamps {
    let omitted = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let last_modification = Timespec { tv_sec: i64::try_from(seconds).unwrap_or_default(), tv_nsec: 0 };
    Timestamps { last_access: omitted, last_modification }
}
