//! One digest on its way: the bytes that it is computed over, how far it is, and who is told.

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

/// A file changed this recently may change again without its time stamps telling, so its digest is not remembered.
const SETTLED: Duration = Duration::from_secs(2);
/// How far ahead the clock of a file server may be; a time further ahead is none that a change of now would have.
const SKEW: Duration = Duration::from_hours(1);
/// Bytes read and hashed at a time.
const CHUNK: usize = 1 << 20;
/// After so much another digest may have its turn: 64 MiB are hashed in some 30 ms, beside which the change costs
/// nothing.
const SLICE: u64 = 64 << 20;
/// The same for a disk that is slow.
const LONGEST_SLICE: Duration = Duration::from_millis(250);
/// A file up to this size is hashed in less time than it takes to wake a thread for it.
const AT_ONCE: u64 = 64 << 10;

/// What a digest is known by.
pub(super) type DigestKey = (Version, Algorithm);
/// Why there is no digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoDigest {
    /// The file is not what it was when it was opened.
    #[error("the file changed while it was read")]
    Changed,
    /// The disk failed.
    #[error("{0}")]
    Unread(String),
    /// Too many are wanted, or the system gives no thread to compute one.
    #[error("too many digests are being computed")]
    Busy,
}

/// Shared by all who want a digest; it is wanted for as long as somebody besides its task has this.
#[derive(Debug)]
pub(super) struct DigestInterest {
    pub(super) id: HashJobId,
    pub(super) size: u64,
    pub(super) done: AtomicU64,
}

/// A digest that is wanted.
#[derive(Debug)]
pub(super) struct Task {
    served: ServedFile,
    wanted: Arc<DigestInterest>,
    hasher: Hasher,
    offset: u64,
    /// Before the first byte was read, the file had been as it is for some time.
    settled: bool,
    /// What it is known by; `None` for the first bytes of a file, which are known by nothing.
    key: Option<DigestKey>,
    unwanted: Option<Instant>,
    done: watch::Sender<Option<Result<Digest, NoDigest>>>,
}

/// What came of a slice.
#[derive(Debug)]
pub(super) enum SliceResult {
    /// So many bytes are left.
    Rest(u64),
    /// The digest or why there is none, and whether that may be remembered.
    Done(Result<Digest, NoDigest>, bool),
    /// Nobody waits for it any more.
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

    /// The same, of the whole file.
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

    /// True if nobody waits for it: at once where nothing has been computed yet, else after some patience.
    pub(super) fn is_over(&mut self, patience: Duration) -> bool {
        if self.is_wanted() {
            self.unwanted = None;
            return false;
        }
        let since = *self.unwanted.get_or_insert_with(Instant::now);
        self.offset == 0 || since.elapsed() >= patience
    }

    pub(super) fn tell(&self, outcome: Result<Digest, NoDigest>) {
        let _ = self.done.send(Some(outcome));
    }

    /// Computes on for a while. Blocks on the disk.
    pub(super) fn slice(&mut self, patience: Duration) -> SliceResult {
        let began = Instant::now();
        if self.offset == 0 {
            // Before the first byte is read: a change that no time stamp tells may come right after it.
            self.settled = is_settled(self.served.version.modified.0);
        }
        let size = self.wanted.size;
        let end = size.min(self.offset + SLICE);
        let mut buffer = vec![0; CHUNK.min(usize::try_from(end - self.offset).unwrap_or(CHUNK).max(1))];
        while self.offset < end {
            if self.is_over(patience) && self.offset > 0 {
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
            if began.elapsed() >= LONGEST_SLICE {
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

/// The digest of a file's first bytes, where that takes no waiting, and whether the file had settled before.
pub(super) fn at_once(served: &ServedFile, size: u64, algorithm: Algorithm) -> Option<(Digest, bool)> {
    let mut buffer = vec![0; usize::try_from(size).ok().filter(|_| size <= AT_ONCE)?];
    let settled = is_settled(served.version.modified.0);
    let read = preadv2(&*served.file, &mut [IoSliceMut::new(&mut buffer)], 0, ReadWriteFlags::NOWAIT).ok()?;
    let mut hasher = Hasher::new(algorithm);
    hasher.update(buffer.get(..read).filter(|read| read.len() as u64 == size)?);
    Some((hasher.finish(), settled))
}

/// True if any later change would show in the time of the last one.
///
/// A time that is far ahead tells as well as one that is long past, for a change would set it to now: else a file from
/// a machine whose clock was wrong would be hashed for everyone who asks, for years.
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
