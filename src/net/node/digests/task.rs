//! A digest in computation: its input, its progress, and where the result is sent.

use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use rustix::io::{ReadWriteFlags, preadv2};
use tokio::sync::watch;

use super::hasher::Hasher;
use super::lanes::HashJobId;
use crate::net::node::root::ServedFile;
use crate::net::os::version::Version;
use crate::wire::{Algorithm, Digest};

/// A file changed this recently may change again with the same time stamps, so its digest is not cached.
const SETTLED: Duration = Duration::from_secs(2);
/// How far ahead the clock of a file server may be; a change now would not get a time further ahead.
const SKEW: Duration = Duration::from_hours(1);
/// Bytes read and hashed at a time.
const CHUNK: usize = 1 << 20;
/// Bytes after which another digest may have its turn: 64 MiB are hashed in some 30 ms, against which the switch costs
/// nothing.
const SLICE: u64 = 64 << 20;
/// The same limit in time, for a slow disk.
const MAX_SLICE_TIME: Duration = Duration::from_millis(250);
/// Size up to which a file is hashed in less time than it takes to wake a thread for it.
const MAX_IMMEDIATE: u64 = 64 << 10;

/// Key of a cached digest.
pub(super) type DigestKey = (Version, Algorithm);
/// Why there is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDigest {
    /// The file changed since it was opened.
    #[error("the file changed while it was read")]
    Changed,
    /// The disk failed.
    #[error("{0}")]
    Unread(String),
    /// Too many are requested, or the system refuses a thread.
    #[error("too many digests are being computed")]
    Busy,
}

/// Shared by the requesters of a digest and its task; the digest is needed while a requester has a reference.
#[derive(Debug)]
pub(super) struct DigestInterest {
    pub(super) id: HashJobId,
    pub(super) size: u64,
    pub(super) done: AtomicU64,
}

/// A requested digest.
#[derive(Debug)]
pub(super) struct Task {
    served: ServedFile,
    wanted: Arc<DigestInterest>,
    hasher: Hasher,
    offset: u64,
    /// True if the file had been unchanged for some time before the first byte was read.
    settled: bool,
    /// Its cache key; `None` for the first bytes of a file, which are not cached.
    key: Option<DigestKey>,
    unwanted: Option<Instant>,
    done: watch::Sender<Option<Result<Digest, NoDigest>>>,
}

/// Outcome of a slice.
#[derive(Debug)]
pub(super) enum SliceResult {
    /// This many bytes remain.
    Rest(u64),
    /// The result, and whether it may be cached.
    Done(Result<Digest, NoDigest>, bool),
    /// No requester is left.
    Unwanted,
}

impl Task {
    pub(super) fn new(
        served: ServedFile,
        size: u64,
        algorithm: Algorithm,
        wanted: Arc<DigestInterest>,
        done: watch::Sender<Option<Result<Digest, NoDigest>>>,
    ) -> Self {
        debug_assert!(size <= served.version.size && wanted.size == size);
        let (hasher, offset, settled, key, unwanted) = (Hasher::new(algorithm), 0, false, None, None);
        Self { served, wanted, hasher, offset, settled, key, unwanted, done }
    }

    /// Sets the cache key, for a digest of the whole file.
    pub(super) fn known_by(self, key: DigestKey) -> Self {
        Self { key: Some(key), ..self }
    }

    pub(super) fn key(&self) -> Option<DigestKey> {
        self.key
    }

    pub(super) fn wanted(&self) -> &Arc<DigestInterest> {
        &self.wanted
    }

    pub(super) fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.wanted) > 1
    }

    pub(super) fn rest(&self) -> u64 {
        self.wanted.size - self.offset
    }

    /// True if no requester is left: immediately if nothing has been computed yet, otherwise after the grace period.
    pub(super) fn is_over(&mut self, grace: Duration) -> bool {
        if self.is_wanted() {
            self.unwanted = None;
            return false;
        }
        let since = *self.unwanted.get_or_insert_with(Instant::now);
        self.offset == 0 || since.elapsed() >= grace
    }

    pub(super) fn send(&self, outcome: Result<Digest, NoDigest>) {
        let _ = self.done.send(Some(outcome));
    }

    /// Computes for one slice. Blocks on the disk.
    pub(super) fn slice(&mut self, grace: Duration) -> SliceResult {
        let began = Instant::now();
        if self.offset == 0 {
            // Before the first byte is read: a change with equal time stamps may follow right after.
            self.settled = is_settled(self.served.version.modified.0);
        }
        let size = self.wanted.size;
        let end = size.min(self.offset + SLICE);
        let mut buffer = vec![0; CHUNK.min(usize::try_from(end - self.offset).unwrap_or(CHUNK).max(1))];
        while self.offset < end {
            if self.is_over(grace) && self.offset > 0 {
                return SliceResult::Unwanted;
            }
            let most = buffer.len().min(usize::try_from(end - self.offset).unwrap_or(CHUNK));
            match self.served.file.read_at(&mut buffer[..most], self.offset) {
                Ok(0) => return SliceResult::Done(Err(NoDigest::Changed), false),
                Ok(read) => {
                    self.hasher.update(&buffer[..read]);
                    self.offset += read as u64;
                    self.wanted.done.store(self.offset, Relaxed);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return SliceResult::Done(Err(NoDigest::Unread(error.to_string())), false),
            }
            if began.elapsed() >= MAX_SLICE_TIME {
                break;
            }
        }
        if self.offset < size {
            return SliceResult::Rest(self.rest());
        }
        if self.key.is_some() && !self.served.is_unchanged() {
            return SliceResult::Done(Err(NoDigest::Changed), false);
        }
        SliceResult::Done(Ok(self.hasher.so_far()), self.settled)
    }
}

/// Computes the digest of a file's first bytes if that needs no waiting; also returns whether the file had settled
/// before.
pub(super) fn compute_now(served: &ServedFile, size: u64, algorithm: Algorithm) -> Option<(Digest, bool)> {
    let mut buffer = vec![0; usize::try_from(size).ok().filter(|_| size <= MAX_IMMEDIATE)?];
    let settled = is_settled(served.version.modified.0);
    let read = preadv2(&*served.file, &mut [IoSliceMut::new(&mut buffer)], 0, ReadWriteFlags::NOWAIT).ok()?;
    let mut hasher = Hasher::new(algorithm);
    hasher.update(buffer.get(..read).filter(|read| read.len() as u64 == size)?);
    Some((hasher.finish(), settled))
}

/// True if any later change would show in the time of the last one.
///
/// A time far ahead is as safe as one long past, because a change would set it to now: otherwise a file from a machine
/// whose clock was wrong would be hashed for every request, for years.
fn is_settled(modified: i64) -> bool {
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(modified).unwrap_or_default());
    match modified.elapsed() {
        Ok(age) => age >= SETTLED,
        Err(ahead) => ahead.duration() >= SKEW,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_from_the_future_has_settled_and_one_of_now_has_not() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().cast_signed();
        for (from_now, settled) in [(-86_400, true), (-10, true), (0, false), (10, false), (86_400, true)] {
            assert_eq!(is_settled(now + from_now), settled, "{from_now} s");
        }
        assert!(is_settled(-1));
    }
}
