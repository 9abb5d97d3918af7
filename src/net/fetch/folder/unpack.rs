//! Unpacking of a tar stream, on the thread that takes its bytes: files are written to the staging folder and hashed,
//! and handed over to be published once their digests have come.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{Timespec, Timestamps, UTIME_OMIT};
use tokio::sync::{mpsc, oneshot};

use super::decode::{Decoder, Event, FileEntry};
use super::large::{KEPT, LargeFile, Resuming};
use super::publishing::Stream;
use super::results::{Item, Results, StagedFile, Summary};
use crate::error::{Error, KeptBytes, shown};
use crate::meter::Meter;
use crate::net::fetch::disk::FilledBuffer;
use crate::net::node::digests::Hasher;
use crate::net::os::kernel::begin_writing;
use crate::route::FileName;
use crate::snapshot::FileOutcome;
use crate::text::SafeText;
use crate::wire::{Algorithm, Digest};

/// What is unpacked, and how.
pub(super) struct Unpacking {
    pub(super) stream: Arc<Stream>,
    pub(super) resuming: Resuming,
    /// The requested folder, and the hop that made the archive, with its address.
    pub(super) folder: SafeText,
    pub(super) origin: (usize, SafeText),
    /// Keep modification times.
    pub(super) times: bool,
    /// Compare digests.
    pub(super) verify: bool,
    pub(super) results: Results,
    pub(super) meter: Arc<Meter>,
}

/// What became of a stream.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// Gets what became of its entries once they are on the disk.
    pub(super) ended: oneshot::Receiver<Summary>,
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
    hashing: Duration,
    open: Option<OpenFile>,
    unproven: Vec<OpenFile>,
    complete: bool,
}

impl Unpacking {
    /// Unpacks buffers until no more come; what is proven by then is handed over to be published.
    pub(super) fn run(
        self,
        mut decoder: Decoder,
        mut incoming: mpsc::Receiver<FilledBuffer>,
        back: &mpsc::Sender<Vec<u8>>,
    ) -> (Unpacked, Result<(), Error>) {
        let mut unpacker = Unpacker::new(&self);
        let mut unpacked = Ok(());
        while unpacked.is_ok()
            && let Some(FilledBuffer { bytes, length, .. }) = incoming.blocking_recv()
        {
            unpacked = unpacker.feed(&mut decoder, &bytes[..length]);
            self.meter.record_write(length as u64);
            self.results.current(unpacker.open.as_ref().map(|open| &open.entry.path));
            let _ = back.try_send(bytes);
        }
        // Nothing more is accepted: the receiver of the stream stops.
        drop(incoming);
        unpacker.keep_unproven();
        let complete = unpacker.complete;
        self.results.current(None);
        let result = match unpacked {
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
        (Unpacked { ended: self.stream.end(), complete }, result)
    }
}

/// Why unpacking ended early.
enum Failure {
    Archive(super::decode::ArchiveError),
    Disk(Error),
    PublisherEnded,
}

impl<'a> Unpacker<'a> {
    fn new(job: &'a Unpacking) -> Self {
        Self { job, hashing: Duration::ZERO, open: None, unproven: Vec::new(), complete: false }
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
        } else if let Some(large) =
            LargeFile::create(&self.job.stream.tree, &entry, &self.job.resuming, self.job.times)?
        {
            Content::Large(Box::new(large))
        } else {
            let created = self.job.stream.staging.create(entry.executable);
            let (number, file) = created.map_err(|error| self.failed("create it", &entry.path, &error))?;
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
                    return Err(Error::disk("write it", &self.job.stream.tree.join(entry.path.as_bytes()), &error));
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
                    let path = shown(&self.job.stream.tree.join(entry.path.as_bytes()));
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
                    self.job.stream.staging.remove(number);
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
                    let kept = self.job.stream.staging.read(number).and_then(|staged| {
                        LargeFile::keep_staged(
                            &self.job.stream.tree,
                            &entry,
                            &self.job.resuming,
                            (staged, written, hasher),
                        )
                    });
                    if let Err(error) = kept {
                        tracing::debug!("{}: not kept for a later fetch: {error}", entry.path.shown());
                    }
                }
                _ => {}
            }
        }
    }

    /// Hands an entry over to be published.
    fn add(&self, item: Item, bytes: u64) -> Result<(), Failure> {
        if self.job.stream.add(item, bytes) { Ok(()) } else { Err(Failure::PublisherEnded) }
    }

    fn failed(&self, action: &'static str, path: &FileName, error: &io::Error) -> Error {
        Error::disk(action, &self.job.stream.tree.join(path.as_bytes()), error)
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
