//! A partial download that can be resumed: left by an earlier run and verified, or by the previous attempt.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::part::{Busy, ClaimResult, PartialFile};
use super::resume_state::{ResumePoint, ResumeSource};
use super::target::TargetPath;
use super::validator::Validator;
use crate::error::{Error, KeptBytes};
use crate::net::node::digests::Hasher;
use crate::net::upstream::UpstreamReply;
use crate::route::{Protocol, Route};
use crate::wire::{Algorithm, Digest};

/// Bytes read and hashed at a time.
const CHUNK: usize = 1 << 20;

/// A partial file that this transfer owns, and what is known about its bytes.
#[derive(Debug)]
pub(super) struct ResumeCandidate {
    /// The file.
    pub(super) part: PartialFile,
    /// Hasher over all its bytes; `None` if no digest is wanted.
    pub(super) hasher: Option<Hasher>,
    /// Number of bytes in it.
    pub(super) offset: u64,
    /// What it is a part of; `None` if it cannot be resumed.
    pub(super) source: Option<ResumeSource>,
    /// True if its content is useless; it is kept until the new body begins.
    pub(super) stale: bool,
}

/// What an earlier run left.
#[derive(Debug)]
pub(super) enum EarlierDownload {
    /// Nothing.
    Nothing,
    /// The beginning of this file, as far as that can be verified without its origin.
    Usable(ResumeCandidate),
    /// A file that has to be started over, and why, unless the user asked for that.
    Unusable(ResumeCandidate, Option<&'static str>),
    /// Another fetch holds it.
    Busy(Busy),
}

impl ResumeSource {
    /// Identifies the file that a reply's body is a part of, if the rest can be requested later: the validator is
    /// strong, and the origin does not refuse ranges. An origin that sends no `Accept-Ranges` may support them anyway
    /// (RFC 9110 14.3); if it does not, it sends the whole file. The error is the reason.
    pub(super) fn of(route: &Route, response: &UpstreamReply) -> Result<Self, &'static str> {
        let reply = &response.reply;
        if response.protocol != Protocol::Http || reply.accept_ranges == Some(false) {
            return Err("the origin does not support range requests");
        }
        let validator = Validator::of(reply).ok_or("the origin sends no strong validator")?;
        Ok(Self { file: super::resume_state::file_of(route), size: reply.size().unwrap_or_default(), validator })
    }
}

impl ResumeCandidate {
    /// Returns a candidate without bytes.
    pub(super) fn new(part: PartialFile, algorithm: Option<Algorithm>) -> Self {
        Self { part, hasher: algorithm.map(Hasher::new), offset: 0, source: None, stale: false }
    }

    /// Finds the partial file of an earlier run, truncates it to its last resume point, and reads the rest: its digest
    /// has to match the recorded one.
    pub(super) fn find(
        target: &Arc<TargetPath>,
        first: usize,
        file: Option<&str>,
        algorithm: Option<Algorithm>,
        cancelled: &dyn Fn() -> bool,
    ) -> Result<EarlierDownload, Error> {
        let part = match PartialFile::find(target, first) {
            None => return Ok(EarlierDownload::Nothing),
            Some(ClaimResult::Busy(busy)) => return Ok(EarlierDownload::Busy(busy)),
            Some(ClaimResult::Ours(part)) => part,
        };
        let useless =
            |part, why| Ok(EarlierDownload::Unusable(Self { stale: true, ..Self::new(part, algorithm) }, why));
        // The user may have disabled resuming.
        let Some(file) = file else { return useless(part, None) };
        let failed = |error: io::Error| part.error("read it", &error);
        let length = part.file().metadata().map_err(failed)?.len();
        let Some((source, resume_point)) = part.resume_point() else {
            return useless(part, (length > 0).then_some("no resume point was saved"));
        };
        if source.file != file {
            return useless(part, Some("the partial file belongs to another file"));
        }
        if resume_point.offset > length {
            return useless(part, Some("the partial file is shorter than its resume point"));
        }
        if resume_point.prefix.is_none() && algorithm.is_some() {
            return useless(part, Some("its bytes were never hashed (--no-verify)"));
        }
        part.file().set_len(resume_point.offset).map_err(failed)?;
        let mut hashers =
            [resume_point.prefix.map(|digest| digest.algorithm), algorithm].map(|wanted| wanted.map(Hasher::new));
        if !hash(part.file(), resume_point.offset, &mut hashers, cancelled).map_err(failed)? {
            return Err(Error::Interrupted { kept: KeptBytes { file: Some(part.shown()), resumable: true } });
        }
        let [found, hasher] = hashers;
        if found.map(Hasher::finish) != resume_point.prefix {
            return useless(part, Some("its bytes do not match the saved digest"));
        }
        Ok(EarlierDownload::Usable(Self {
            part,
            hasher,
            offset: resume_point.offset,
            source: Some(source),
            stale: false,
        }))
    }

    /// Discards the content: the whole file follows, which may be another version.
    pub(super) fn start_over(self, algorithm: Option<Algorithm>) -> Result<Self, Error> {
        self.part.empty()?;
        Ok(Self::new(self.part, algorithm))
    }

    /// Keeps it for a later fetch, with a resume point if the rest can be requested; returns where it is.
    pub(super) fn keep(mut self) -> KeptBytes {
        if self.stale {
            return KeptBytes::default();
        }
        // It needs a name before its state can be recorded.
        let kept = self.part.keep();
        if kept.file.is_none() || !self.save_resume_point() {
            return kept;
        }
        KeptBytes { resumable: true, ..kept }
    }

    /// Records a resume point at its end, if it can be resumed.
    fn save_resume_point(&self) -> bool {
        let Some(source) = self.source.as_ref().filter(|_| self.offset > 0) else { return false };
        let resume_point = ResumePoint { offset: self.offset, prefix: self.hasher.as_ref().map(Hasher::so_far) };
        self.part.file().sync_data().is_ok() && self.part.record(source, &resume_point).is_ok()
    }

    /// Restores its names after another program removed them; no content is lost.
    pub(super) fn restore(mut self) -> Result<Self, Error> {
        self.part.restore()?;
        self.save_resume_point();
        Ok(self)
    }

    /// Keeps the file without a resume point, so that it is never resumed.
    pub(super) fn abandon(mut self) -> KeptBytes {
        self.part.clear_resume_point();
        self.part.keep()
    }
}

/// Reads a file up to an offset into all hashers; false if cancelled.
fn hash(file: &File, end: u64, hashers: &mut [Option<Hasher>; 2], cancelled: &dyn Fn() -> bool) -> io::Result<bool> {
    if hashers.iter().all(Option::is_none) {
        return Ok(true);
    }
    let mut buffer = vec![0; CHUNK.min(usize::try_from(end).unwrap_or(CHUNK))];
    let mut offset = 0;
    while offset < end {
        if cancelled() {
            return Ok(false);
        }
        let chunk = buffer.len().min(usize::try_from(end - offset).unwrap_or(CHUNK));
        file.read_exact_at(&mut buffer[..chunk], offset)?;
        hashers.iter_mut().flatten().for_each(|hasher| hasher.update(&buffer[..chunk]));
        offset += chunk as u64;
    }
    Ok(true)
}

/// Returns whether a file has this size and this digest; `None` if cancelled.
pub(super) fn has_digest(
    file: &File,
    size: u64,
    digest: Digest,
    cancelled: &dyn Fn() -> bool,
) -> io::Result<Option<bool>> {
    let mut hashers = [Some(Hasher::new(digest.algorithm)), None];
    match hash(file, size, &mut hashers, cancelled) {
        Ok(true) => {}
        Ok(false) => return Ok(None),
        // It was truncated meanwhile.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(false)),
        Err(error) => return Err(error),
    }
    let [hasher, _] = hashers;
    Ok(Some(file.metadata()?.len() == size && hasher.map(Hasher::finish) == Some(digest)))
}
