//! A part as far as it has come: left by an earlier run and proven, or by a try before this one.

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
use crate::wire::Algorithm;

/// Bytes read and hashed at a time.
const PIECE: usize = 1 << 20;

/// A part that belongs to this transfer, and what is known of the bytes in it.
#[derive(Debug)]
pub(super) struct ResumeCandidate {
    /// The file.
    pub(super) part: PartialFile,
    /// All of it hashed, as far as it goes; none where a person wants no digest.
    pub(super) hasher: Option<Hasher>,
    /// How far it goes.
    pub(super) offset: u64,
    /// What it is a part of; `None` where that cannot be gone on with.
    pub(super) source: Option<ResumeSource>,
    /// What is in the file is of no use; it stays until something better comes.
    pub(super) stale: bool,
}

/// What an earlier run left.
#[derive(Debug)]
pub(super) enum EarlierDownload {
    /// Nothing.
    Nothing,
    /// The beginning of this very file, as far as can be told without its origin.
    Usable(ResumeCandidate),
    /// Something that has to be started over, and why, unless that is what a person wants.
    Unusable(ResumeCandidate, Option<&'static str>),
    /// Another fetch is at it.
    Busy(Busy),
}

impl ResumeSource {
    /// What an answer's body is a part of, where the rest of it can be asked for later: the same bytes for sure, and
    /// not of an origin that says that it sends no parts. One that says nothing may send them all the same (RFC 9110
    /// 14.3), and where it does not, its answer is the whole file. Else the answer is why it cannot.
    pub(super) fn of(route: &Route, answer: &UpstreamReply) -> Result<Self, &'static str> {
        let reply = &answer.reply;
        if answer.protocol != Protocol::Http || reply.accept_ranges == Some(false) {
            return Err("its origin sends no parts");
        }
        let validator = Validator::of(reply).ok_or("its origin gives no validator that can be trusted")?;
        Ok(Self { file: super::resume_state::file_of(route), size: reply.size().unwrap_or_default(), validator })
    }
}

impl ResumeCandidate {
    /// An empty part of nothing yet.
    pub(super) fn new(part: PartialFile, algorithm: Option<Algorithm>) -> Self {
        Self { part, hasher: algorithm.map(Hasher::new), offset: 0, source: None, stale: false }
    }

    /// Looks for what an earlier run left of a file, cuts off what was not on the disk for sure, and reads the rest
    /// once more: the digest has to be the one that was noted.
    pub(super) fn left_over(
        place: &Arc<TargetPath>,
        first: usize,
        file: Option<&str>,
        algorithm: Option<Algorithm>,
        stopped: &dyn Fn() -> bool,
    ) -> Result<EarlierDownload, Error> {
        let part = match PartialFile::left_over(place, first) {
            None => return Ok(EarlierDownload::Nothing),
            Some(ClaimResult::Busy(busy)) => return Ok(EarlierDownload::Busy(busy)),
            Some(ClaimResult::Ours(part)) => part,
        };
        let useless =
            |part, why| Ok(EarlierDownload::Unusable(Self { stale: true, ..Self::new(part, algorithm) }, why));
        // A person may want to start over, whatever is there.
        let Some(file) = file else { return useless(part, None) };
        let failed = |error: io::Error| part.error("read it", &error);
        let length = part.file().metadata().map_err(failed)?.len();
        let Some((source, mark)) = part.mark() else {
            return useless(part, (length > 0).then_some("nothing says how far it got"));
        };
        if source.file != file {
            return useless(part, Some("what is there is of another file"));
        }
        if mark.offset > length {
            return useless(part, Some("it is shorter than its state says"));
        }
        if mark.prefix.is_none() && algorithm.is_some() {
            return useless(part, Some("its bytes were never verified (--no-verify)"));
        }
        part.file().set_len(mark.offset).map_err(failed)?;
        let mut hashers = [mark.prefix.map(|noted| noted.algorithm), algorithm].map(|wanted| wanted.map(Hasher::new));
        if !hash(part.file(), mark.offset, &mut hashers, stopped).map_err(failed)? {
            return Err(Error::Interrupted { kept: KeptBytes { file: Some(part.shown()), resumable: true } });
        }
        let [found, hasher] = hashers;
        if found.map(Hasher::finish) != mark.prefix {
            return useless(part, Some("its bytes are not those that were noted"));
        }
        Ok(EarlierDownload::Usable(Self { part, hasher, offset: mark.offset, source: Some(source), stale: false }))
    }

    /// Drops what is there: the file comes anew, and may be another by now.
    pub(super) fn start_over(self, algorithm: Option<Algorithm>) -> Result<Self, Error> {
        self.part.empty()?;
        Ok(Self::new(self.part, algorithm))
    }

    /// Leaves it for a later fetch, with a note of how far it got where the rest can be asked for; the answer is where.
    pub(super) fn leave(mut self) -> KeptBytes {
        if self.stale {
            return KeptBytes::default();
        }
        // It has to have a name before there is a place for the note.
        let kept = self.part.keep();
        if kept.file.is_none() || !self.note() {
            return kept;
        }
        KeptBytes { resumable: true, ..kept }
    }

    /// Writes down how far it got, where that can be gone on with.
    fn note(&self) -> bool {
        let Some(source) = self.source.as_ref().filter(|_| self.offset > 0) else { return false };
        let mark = ResumePoint { offset: self.offset, prefix: self.hasher.as_ref().map(Hasher::so_far) };
        self.part.file().sync_data().is_ok() && self.part.record(source, &mark).is_ok()
    }

    /// Gives it names again after somebody took them away; what it holds is not lost.
    pub(super) fn restore(mut self) -> Result<Self, Error> {
        self.part.restore()?;
        self.note();
        Ok(self)
    }

    /// Leaves it as what it is, whatever that may be: nobody is to go on from there.
    pub(super) fn give_up(mut self) -> KeptBytes {
        self.part.forget();
        self.part.keep()
    }
}

/// Reads a file up to an offset for everyone who wants to hash it; false where it was stopped.
pub(super) fn hash(
    file: &File,
    end: u64,
    hashers: &mut [Option<Hasher>; 2],
    stopped: &dyn Fn() -> bool,
) -> io::Result<bool> {
    if hashers.iter().all(Option::is_none) {
        return Ok(true);
    }
    let mut buffer = vec![0; PIECE.min(usize::try_from(end).unwrap_or(PIECE))];
    let mut offset = 0;
    while offset < end {
        if stopped() {
            return Ok(false);
        }
        let piece = buffer.len().min(usize::try_from(end - offset).unwrap_or(PIECE));
        file.read_exact_at(&mut buffer[..piece], offset)?;
        hashers.iter_mut().flatten().for_each(|hasher| hasher.update(&buffer[..piece]));
        offset += piece as u64;
    }
    Ok(true)
}
