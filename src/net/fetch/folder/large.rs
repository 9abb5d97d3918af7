//! Large files: written to a partial file like a single one, so that a fetch of this file alone resumes them.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::decode::FileEntry;
use super::select::whole_name;
use super::tree::Tree;
use crate::error::Error;
use crate::net::fetch::job::FetchJob;
use crate::net::fetch::part::{ClaimResult, PartialFile, Published};
use crate::net::fetch::partial::ResumeCandidate;
use crate::net::fetch::resume_state::{ResumePoint, ResumeSource, file_of};
use crate::net::fetch::validator::Validator;
use crate::net::node::digests::Hasher;
use crate::net::os::kernel::begin_writing;
use crate::route::{FileName, Route};
use crate::wire::{Algorithm, Digest, Reply};

/// Size from which a file is written to a partial file: a killed run would lose more than the two syncs of each file
/// cost.
pub(super) const LARGE: u64 = 16 << 20;
/// Size from which a smaller file is kept where a stream breaks off in it.
pub(super) const KEPT: u64 = 1 << 20;
/// Bytes between two resume points: what a killed run receives again.
const RESUME_STEP: u64 = 16 << 20;

/// What identifies the origin's files to a later fetch.
#[derive(Clone, Debug)]
pub(super) struct Resuming {
    route: Route,
    algorithm: Option<Algorithm>,
    /// The origin's clock when it sent the archive.
    date: Option<SystemTime>,
}

/// A large file whose content is arriving, or has arrived.
#[derive(Debug)]
pub(super) struct LargeFile {
    entry: FileEntry,
    candidate: ResumeCandidate,
    resume_point: u64,
    /// Set the modification time.
    times: bool,
}

impl Resuming {
    pub(super) fn new(job: &FetchJob, reply: &Reply) -> Self {
        let date = reply.date.as_deref().and_then(|date| httpdate::parse_http_date(date).ok());
        Self { route: job.route.clone(), algorithm: job.verify.algorithm(), date }
    }

    /// Identifies a file, if its modification time distinguishes it from all later versions.
    fn source(&self, entry: &FileEntry) -> Option<ResumeSource> {
        let modified = UNIX_EPOCH.checked_add(Duration::from_secs(entry.modified))?;
        let validator = Validator::of(&Reply {
            last_modified: Some(httpdate::fmt_http_date(modified)),
            date: self.date.map(httpdate::fmt_http_date),
            ..Reply::default()
        })?;
        let file = file_of(&self.route.with_file(whole_name(&self.route, &entry.path).ok()?));
        Some(ResumeSource { file, size: entry.size, validator })
    }
}

impl LargeFile {
    /// Creates the partial file of a large file; `None` if the file is treated like a small one: nothing would be
    /// gained, or something is in its place.
    pub(super) fn create(
        tree: &Tree,
        entry: &FileEntry,
        resuming: &Resuming,
        times: bool,
    ) -> Result<Option<Self>, Error> {
        if entry.size < LARGE {
            return Ok(None);
        }
        let Some(file) = Self::open(tree, entry, resuming, times) else { return Ok(None) };
        file.candidate.part.reserve(entry.size).inspect_err(|_| drop(file.candidate.part.empty()))?;
        Ok(Some(file))
    }

    fn open(tree: &Tree, entry: &FileEntry, resuming: &Resuming, times: bool) -> Option<Self> {
        let source = resuming.source(entry)?;
        let target = Arc::new(tree.target(&entry.path).ok()?);
        if target.existing().ok()?.is_some() {
            return None;
        }
        // One that is left over belongs to another version, or it would have been resumed.
        let ClaimResult::Ours(part) = PartialFile::open(&target, entry.size, false, 0).ok()? else { return None };
        let candidate = ResumeCandidate { source: Some(source), ..ResumeCandidate::new(part, resuming.algorithm) };
        Some(Self { entry: entry.clone(), candidate, resume_point: 0, times })
    }

    /// Keeps the beginning of a file from the staging folder for a later fetch.
    pub(super) fn keep_staged(
        tree: &Tree,
        entry: &FileEntry,
        resuming: &Resuming,
        (mut staged, written, hasher): (File, u64, Option<Hasher>),
    ) -> io::Result<()> {
        let Some(mut file) = Self::open(tree, entry, resuming, false) else { return Ok(()) };
        staged.seek(SeekFrom::Start(0))?;
        let mut to = file.candidate.part.file();
        let copied = io::copy(&mut io::Read::take(&mut staged, written), &mut to)?;
        if copied == written && (hasher.is_some() || resuming.algorithm.is_none()) {
            (file.candidate.offset, file.candidate.hasher) = (written, hasher);
        }
        file.keep();
        Ok(())
    }

    pub(super) fn path(&self) -> &FileName {
        &self.entry.path
    }

    pub(super) fn size(&self) -> u64 {
        self.entry.size
    }

    /// Adds content.
    pub(super) fn write(&mut self, data: &[u8]) -> Result<(), Error> {
        let Self { candidate, .. } = self;
        let written = candidate.part.file().write_all_at(data, candidate.offset);
        written.map_err(|error| candidate.part.error("write it", &error))?;
        let _ = begin_writing(candidate.part.file(), candidate.offset, data.len());
        if let Some(hasher) = &mut candidate.hasher {
            hasher.update(data);
        }
        candidate.offset += data.len() as u64;
        if candidate.offset - self.resume_point >= RESUME_STEP {
            self.resume_point = candidate.offset;
            candidate.part.file().sync_data().map_err(|error| candidate.part.error("write it to the disk", &error))?;
            if let Some(source) = &candidate.source {
                let digest = candidate.hasher.as_ref().map(Hasher::so_far);
                // Without a resume point, no more is lost than the time for these bytes.
                let _ = candidate.part.record(source, &ResumePoint::Prefix { offset: candidate.offset, digest });
            }
        }
        Ok(())
    }

    /// Returns the digest of the content so far.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.candidate.hasher.as_ref().map(Hasher::so_far)
    }

    /// Gives the file its name, synced; false if the same file was there already.
    pub(super) fn publish(self, force: bool, cancelled: &dyn Fn() -> bool) -> Result<bool, Error> {
        let part = self.candidate.part;
        if self.times {
            // Some file systems do not store this time.
            let _ = part.file().set_modified(UNIX_EPOCH + Duration::from_secs(self.entry.modified));
        }
        let published = part.executable(self.entry.executable).publish(force, cancelled)?;
        Ok(published == Published::New)
    }

    /// Keeps what has arrived for a later fetch of this file.
    pub(super) fn keep(self) {
        let _ = self.candidate.keep();
    }

    /// Removes the content: it is not what the origin sent.
    pub(super) fn discard(self) {
        let _ = self.candidate.part.empty();
        let _ = ResumeCandidate::new(self.candidate.part, None).keep();
    }
}
