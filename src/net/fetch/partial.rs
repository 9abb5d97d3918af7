//! A partial download that can be resumed: left by an earlier run and verified, or by the previous attempt.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::blocks::{BlockHasher, HashTree, MIN_SIZE};
use super::part::{Busy, ClaimResult, PartialFile};
use super::read::read;
use super::resume_state::{RecordedRange, ResumePoint, ResumeSource, whole_blocks_before};
use super::target::TargetPath;
use super::validator::Validator;
use crate::error::{Error, KeptBytes};
use crate::net::node::digests::Hasher;
use crate::net::upstream::UpstreamReply;
use crate::route::{Protocol, Route};
use crate::wire::{Algorithm, Digest, Reply};

/// Why another version of a file cannot complete this one, if its size differs or nothing is known.
pub(super) const CHANGED: &str = "the file at the origin has changed";
/// Why bytes are not used: they cannot be compared with anything.
const NEVER_HASHED: &str = "its bytes were never hashed (--no-verify)";
/// Why recorded bytes are not used: they are not in the file.
const TOO_SHORT: &str = "the partial file is shorter than its resume point";
/// Why bytes are not used: they have changed, or were never written.
const NO_MATCH: &str = "its bytes do not match the saved digest";

/// A partial file that this transfer owns, and what is known about its bytes.
#[derive(Debug)]
pub(super) struct ResumeCandidate {
    /// The file.
    pub(super) part: PartialFile,
    /// Hasher over the bytes before `offset`; `None` if no digest is wanted, or they were received in ranges.
    pub(super) hasher: Option<Hasher>,
    /// Number of bytes from its beginning that are there. If there are ranges, it is the end of the first one if that
    /// begins the file, or else 0.
    pub(super) offset: u64,
    /// Ranges of the file that are there, with those of its beginning; `None` if they are not known as whole blocks.
    pub(super) received: Option<ReceivedRanges>,
    /// What it is a part of; `None` if it cannot be resumed.
    pub(super) source: Option<ResumeSource>,
    /// True if its content is useless; it is kept until the new body begins.
    pub(super) stale: bool,
}

/// The whole blocks of a partial file that are there.
#[derive(Debug, Default)]
pub(super) struct ReceivedRanges {
    /// Their chaining values; `None` if no digest is wanted.
    pub(super) tree: Option<HashTree>,
    /// In ascending order. They do not touch each other; with a tree, they are its ranges.
    pub(super) ranges: Vec<Range<u64>>,
}

/// What an earlier run left.
#[derive(Debug)]
pub(super) enum EarlierDownload {
    /// Nothing.
    Nothing,
    /// Parts of this file, as far as they can be verified without its origin; and why other parts are discarded, if
    /// any are.
    Usable(ResumeCandidate, Option<&'static str>),
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

    /// Returns why a reply is not of this version of the file; `None` if it is.
    pub(super) fn difference(&self, reply: &Reply) -> Option<&'static str> {
        if reply.size() != Some(self.size) {
            return Some(CHANGED);
        }
        (!self.validator.holds(reply)).then(|| self.validator.differs(reply))
    }
}

impl ResumeCandidate {
    /// Returns a candidate without bytes.
    pub(super) fn new(part: PartialFile, algorithm: Option<Algorithm>) -> Self {
        Self { part, hasher: algorithm.map(Hasher::new), offset: 0, received: None, source: None, stale: false }
    }

    /// Finds the partial file of an earlier run, and reads what its last resume point names: the digests have to match
    /// the recorded ones. What follows in the file is removed.
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
        let reading = Reading { file: part.file(), length, size: source.size, algorithm, cancelled };
        let verified = match resume_point {
            ResumePoint::Prefix { offset, digest } => reading.prefix(offset, digest),
            ResumePoint::Ranges(ranges) => reading.ranges(&ranges),
        };
        let Verified { hasher, offset, received, lost } = match verified {
            Ok(verified) => verified,
            Err(Unverified::Useless(why)) => return useless(part, Some(why)),
            Err(Unverified::Cancelled) => {
                return Err(Error::Interrupted { kept: KeptBytes { file: Some(part.shown()), resumable: true } });
            }
            Err(Unverified::Io(error)) => return Err(failed(error)),
        };
        let end = received.as_ref().and_then(|received| received.ranges.last()).map_or(offset, |last| last.end);
        part.file().set_len(end).map_err(failed)?;
        Ok(EarlierDownload::Usable(Self { part, hasher, offset, received, source: Some(source), stale: false }, lost))
    }

    /// Returns the number of bytes in it.
    pub(super) fn bytes(&self) -> u64 {
        let ranges = self.received.as_ref().map(|received| &received.ranges);
        ranges.map_or(self.offset, |ranges| ranges.iter().map(|range| range.end - range.start).sum())
    }

    /// Returns the digest of the whole file, once all of it is here. It is read again for SHA-256 if it was received in
    /// parts, as that has to see the bytes in order, and if the rest of those parts came in one piece.
    pub(super) fn digest(&self, algorithm: Algorithm, cancelled: &dyn Fn() -> bool) -> Result<Digest, Error> {
        let known = match &self.received {
            Some(received) => received.tree.as_ref().and_then(HashTree::root),
            None => self.hasher.as_ref().map(Hasher::so_far),
        };
        if let Some(digest) = known.filter(|digest| digest.algorithm == algorithm) {
            return Ok(digest);
        }
        let failed = |error: io::Error| self.part.error("read it", &error);
        let size = match &self.source {
            Some(source) => source.size,
            None => self.part.file().metadata().map_err(failed)?.len(),
        };
        let mut hasher = Hasher::new(algorithm);
        if !read(self.part.file(), 0..size, cancelled, &mut |bytes| hasher.update(bytes)).map_err(failed)? {
            return Err(Error::Interrupted { kept: KeptBytes::default() });
        }
        Ok(hasher.finish())
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

    /// Records a resume point of its bytes, if it can be resumed; false if there is nothing to resume.
    fn save_resume_point(&self) -> bool {
        let Some(source) = self.source.as_ref().filter(|_| self.bytes() > 0) else { return false };
        let resume_point = match &self.received {
            Some(ReceivedRanges { tree, ranges }) => resume_point(tree.as_ref(), ranges),
            None => ResumePoint::Prefix { offset: self.offset, digest: self.hasher.as_ref().map(Hasher::so_far) },
        };
        let recorded = self.part.file().sync_data().is_ok() && self.part.record(source, &resume_point).is_ok();
        recorded && self.part.resume_point().is_some()
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

impl ReceivedRanges {
    /// Returns the ranges of a tree.
    fn of_tree(tree: HashTree) -> Self {
        Self { ranges: tree.ranges(), tree: Some(tree) }
    }
}

/// Returns the resume point of ranges, or of those of a tree, with their digests.
pub(super) fn resume_point(tree: Option<&HashTree>, ranges: &[Range<u64>]) -> ResumePoint {
    let recorded = |range: &Range<u64>, digest| RecordedRange { from: range.start, to: range.end, digest };
    ResumePoint::Ranges(match tree {
        Some(tree) => tree.digests().iter().map(|(range, digest)| recorded(range, Some(*digest))).collect(),
        None => ranges.iter().map(|range| recorded(range, None)).collect(),
    })
}

/// A partial file that is compared with its resume point.
struct Reading<'a> {
    file: &'a File,
    /// Its length.
    length: u64,
    /// The size of the whole file.
    size: u64,
    /// Of the digest that is wanted of the whole file.
    algorithm: Option<Algorithm>,
    cancelled: &'a dyn Fn() -> bool,
}

/// What a partial file proved to hold.
struct Verified {
    hasher: Option<Hasher>,
    offset: u64,
    received: Option<ReceivedRanges>,
    /// Why some recorded ranges are not among them.
    lost: Option<&'static str>,
}

/// Why a partial file proved nothing.
#[derive(Debug)]
enum Unverified {
    Io(io::Error),
    Cancelled,
    Useless(&'static str),
}

impl Reading<'_> {
    /// Verifies the bytes up to an offset. The rest of a large file can be received in ranges: then whole blocks are
    /// kept. Not for SHA-256, which takes all bytes in order: ranges would be read again at the end.
    fn prefix(&self, recorded: u64, digest: Option<Digest>) -> Result<Verified, Unverified> {
        if recorded > self.length {
            return Err(Unverified::Useless(TOO_SHORT));
        }
        if digest.is_none() && self.algorithm.is_some() {
            return Err(Unverified::Useless(NEVER_HASHED));
        }
        let in_ranges = self.size >= MIN_SIZE && self.algorithm != Some(Algorithm::Sha256);
        let offset = if in_ranges { whole_blocks_before(recorded, self.size) } else { recorded };
        let mut blocks = if in_ranges && self.algorithm.is_some() { Blocks::new(self.size, 0) } else { None };
        let mut hasher = self.algorithm.map(Hasher::new);
        if let Some(digest) = digest {
            let mut other = (self.algorithm != Some(digest.algorithm)).then(|| Hasher::new(digest.algorithm));
            self.read(0..offset, |bytes| {
                [&mut hasher, &mut other].into_iter().flatten().for_each(|hasher| hasher.update(bytes));
                if let Some(blocks) = &mut blocks {
                    blocks.update(bytes);
                }
            })?;
            let mut found = other.or_else(|| hasher.clone());
            self.read(offset..recorded, |bytes| found.iter_mut().for_each(|hasher| hasher.update(bytes)))?;
            if found.map(Hasher::finish) != Some(digest) {
                return Err(Unverified::Useless(NO_MATCH));
            }
        }
        let unhashed = || {
            let ranges = std::iter::once(0..offset).filter(|range| !range.is_empty()).collect();
            ReceivedRanges { tree: None, ranges }
        };
        let received = in_ranges.then(|| blocks.map_or_else(unhashed, |blocks| ReceivedRanges::of_tree(blocks.tree)));
        Ok(Verified { hasher, offset, received, lost: None })
    }

    /// Verifies ranges, and keeps those that match.
    fn ranges(&self, recorded: &[RecordedRange]) -> Result<Verified, Unverified> {
        if self.algorithm.is_some() && recorded.iter().any(|range| range.digest.is_none()) {
            return Err(Unverified::Useless(NEVER_HASHED));
        }
        let Some(mut tree) = HashTree::new(self.size) else { return Err(Unverified::Useless(NO_MATCH)) };
        let (mut ranges, mut lost) = (Vec::new(), None);
        let mut beginning = self.algorithm.map(Hasher::new);
        for range in recorded {
            let Some(digest) = range.digest else {
                let end = range.to.min(whole_blocks_before(self.length, self.size));
                lost = lost.or((end < range.to).then_some(TOO_SHORT));
                ranges.extend(std::iter::once(range.from..end).filter(|range| !range.is_empty()));
                continue;
            };
            if range.to > self.length {
                lost = Some(TOO_SHORT);
                continue;
            }
            let mut hasher = beginning.clone().filter(|_| range.from == 0);
            let Some(mut blocks) = Blocks::new(self.size, range.from) else { continue };
            self.read(range.from..range.to, |bytes| {
                if let Some(hasher) = &mut hasher {
                    hasher.update(bytes);
                }
                blocks.update(bytes);
            })?;
            if blocks.tree.digests() == [(range.from..range.to, digest)] && tree.absorb(blocks.tree).is_ok() {
                ranges.push(range.from..range.to);
                beginning = hasher.or(beginning);
            } else {
                lost = Some(NO_MATCH);
            }
        }
        if let Some(why) = lost.filter(|_| ranges.is_empty()) {
            return Err(Unverified::Useless(why));
        }
        let offset = ranges.first().filter(|range| range.start == 0).map_or(0, |range| range.end);
        let received = Some(ReceivedRanges { tree: Some(tree).filter(|_| self.algorithm.is_some()), ranges });
        Ok(Verified { hasher: beginning, offset, received, lost })
    }

    fn read(&self, range: Range<u64>, mut each: impl FnMut(&[u8])) -> Result<(), Unverified> {
        match read(self.file, range, self.cancelled, &mut each) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Unverified::Cancelled),
            Err(error) => Err(Unverified::Io(error)),
        }
    }
}

/// The blocks of a range of a file that is read in order.
struct Blocks {
    hasher: BlockHasher,
    tree: HashTree,
}

impl Blocks {
    fn new(size: u64, offset: u64) -> Option<Self> {
        Some(Self { hasher: BlockHasher::new(size, offset)?, tree: HashTree::new(size)? })
    }

    fn update(&mut self, bytes: &[u8]) {
        let mut done = Vec::new();
        self.hasher.update(bytes, &mut done);
        for block in &done {
            // In order, no block comes twice.
            let _ = self.tree.add(block);
        }
    }
}

#[cfg(test)]
mod tests;
