//! Digests of served files: computed beside the sending, once per file, remembered while the file stays the same.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, watch};

use super::root::{Served, Version};
use crate::wire::{Algorithm, Digest};

/// Digests remembered; each takes about a hundred bytes.
const REMEMBERED: usize = 4096;
/// A file changed this recently may change again without its time stamps telling, so its digest is not remembered.
const SETTLED: Duration = Duration::from_secs(2);
/// Bytes read and hashed at a time.
const CHUNK: usize = 1 << 20;

/// A digest that is wanted, being computed or done.
type Slot = watch::Receiver<Option<Result<Digest, String>>>;

/// The digests of one node.
#[derive(Debug)]
pub struct Digests {
    workers: Arc<Semaphore>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    slots: HashMap<(Version, Algorithm), (Slot, Weak<()>)>,
    order: VecDeque<(Version, Algorithm)>,
}

impl Default for Digests {
    /// One job per core: hashing is all processor, and more at once would only be slower together.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { workers: Arc::new(Semaphore::new(cores)), known: Mutex::default() }
    }
}

impl Digests {
    /// The digest, if it is known already.
    pub fn ready(&self, served: &Served, algorithm: Algorithm) -> Option<Digest> {
        let (slot, _) = self.lock().slots.get(&(served.version, algorithm)).cloned()?;
        slot.borrow().clone()?.ok()
    }

    /// Starts computing the digest, unless that is being done or was done; wait for it with [`Pending::finished`].
    ///
    /// A digest that nobody holds a [`Pending`] of when its turn comes is not computed: it would keep a file open, and
    /// those who wait for theirs would wait for it too.
    pub fn start(self: &Arc<Self>, served: &Served, algorithm: Algorithm) -> Pending {
        let key = (served.version, algorithm);
        let mut known = self.lock();
        if let Some((slot, wanted)) = known.slots.get(&key) {
            return Pending { slot: slot.clone(), _wanted: wanted.upgrade() };
        }
        let (done, slot) = watch::channel(None);
        let wanted = Arc::new(());
        known.slots.insert(key, (slot.clone(), Arc::downgrade(&wanted)));
        known.order.push_back(key);
        if known.order.len() > REMEMBERED
            && let Some(oldest) = known.order.pop_front()
        {
            known.slots.remove(&oldest);
        }
        drop(known);
        let (digests, served, token) = (Arc::clone(self), served.clone(), Arc::clone(&wanted));
        tokio::spawn(async move {
            // The semaphore is never closed.
            let Ok(_worker) = digests.workers.acquire().await else { return };
            if digests.is_unwanted(key, &token) {
                return;
            }
            let computed = compute(served, algorithm).await;
            if !matches!(computed, Ok((_, true))) {
                digests.lock().forget(key);
            }
            let _ = done.send(Some(computed.map(|(digest, _)| digest)));
        });
        Pending { slot, _wanted: Some(wanted) }
    }

    /// True if nobody waits for a digest any more; it is forgotten then, before anybody can begin to.
    fn is_unwanted(&self, key: (Version, Algorithm), token: &Arc<()>) -> bool {
        let mut known = self.lock();
        let unwanted = Arc::strong_count(token) == 1;
        if unwanted {
            known.forget(key);
        }
        unwanted
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn forget(&mut self, key: (Version, Algorithm)) {
        self.slots.remove(&key);
        self.order.retain(|other| *other != key);
    }
}

/// The digest, and whether it may be remembered.
async fn compute(served: Served, algorithm: Algorithm) -> Result<(Digest, bool), String> {
    let hashing = tokio::task::spawn_blocking(move || {
        // Before the first byte is read: a change that no time stamp tells may come right after it.
        let settled = is_settled(&served.version);
        let digest = hash(&served, algorithm).map_err(|error| error.to_string())?;
        let unchanged = served.is_unchanged().then_some((digest, settled));
        unchanged.ok_or_else(|| "the file changed while it was read".to_owned())
    });
    hashing.await.map_err(|error| error.to_string())?
}

/// A digest that may still be being computed, and is wanted for as long as this lives.
#[derive(Clone, Debug)]
pub struct Pending {
    slot: Slot,
    _wanted: Option<Arc<()>>,
}

impl Pending {
    /// Waits for the digest; an error says why there is none. Cancel-safe.
    pub async fn finished(&mut self) -> Result<Digest, String> {
        match self.slot.wait_for(Option::is_some).await {
            Ok(done) => done.clone().unwrap_or_else(|| Err("nothing was computed".to_owned())),
            Err(_) => Err("the computation was given up".to_owned()),
        }
    }
}

fn hash(served: &Served, algorithm: Algorithm) -> io::Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; CHUNK.min(usize::try_from(served.version.size).unwrap_or(CHUNK).max(1))];
    let mut offset = 0;
    while offset < served.version.size {
        let read = served.file.read_at(&mut buffer, offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(&buffer[..read]);
        offset += read as u64;
    }
    Ok(hasher.finish())
}

fn is_settled(version: &Version) -> bool {
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(version.modified.0).unwrap_or_default());
    modified.elapsed().is_ok_and(|age| age >= SETTLED)
}

/// Computes a digest of either kind piece by piece.
#[derive(Debug)]
pub enum Hasher {
    /// BLAKE3; boxed, for its state is two kilobytes.
    Blake3(Box<blake3::Hasher>),
    /// SHA-256.
    Sha256(sha2::Sha256),
}

impl Hasher {
    /// Nothing hashed yet.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Blake3 => Self::Blake3(Box::default()),
            Algorithm::Sha256 => Self::Sha256(sha2::Digest::new()),
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
            Self::Sha256(hasher) => sha2::Digest::update(hasher, bytes),
        }
    }

    /// The digest of all that was taken.
    pub fn finish(self) -> Digest {
        match self {
            Self::Blake3(hasher) => Digest { algorithm: Algorithm::Blake3, value: hasher.finalize().into() },
            Self::Sha256(hasher) => {
                Digest { algorithm: Algorithm::Sha256, value: sha2::Digest::finalize(hasher).into() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::root::Root;
    use crate::route::FileName;

    #[tokio::test]
    async fn a_digest_is_computed_once_and_remembered_when_the_file_has_settled() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "abc").unwrap();
        let old = SystemTime::now() - Duration::from_hours(1);
        let file = std::fs::File::options().write(true).open(dir.path().join("f")).unwrap();
        file.set_modified(old).unwrap();
        let root = Root::open(dir.path()).unwrap();
        let served = root.serve(&FileName::new(b"f").unwrap()).unwrap();
        let digests = Arc::new(Digests::default());
        assert_eq!(digests.ready(&served, Algorithm::Sha256), None);
        let digest = digests.start(&served, Algorithm::Sha256).finished().await.unwrap();
        assert_eq!(digest.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(digests.ready(&served, Algorithm::Sha256), Some(digest));
        let blake3 = digests.start(&served, Algorithm::Blake3).finished().await.unwrap();
        assert_eq!(blake3.value, *blake3::hash(b"abc").as_bytes());
    }

    #[tokio::test]
    async fn a_file_that_just_changed_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "abc").unwrap();
        let root = Root::open(dir.path()).unwrap();
        let served = root.serve(&FileName::new(b"f").unwrap()).unwrap();
        let digests = Arc::new(Digests::default());
        digests.start(&served, Algorithm::Blake3).finished().await.unwrap();
        assert_eq!(digests.ready(&served, Algorithm::Blake3), None);
    }

    #[tokio::test]
    async fn a_digest_that_nobody_waits_for_is_not_computed_and_holds_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let digests = Arc::new(Digests { workers: Arc::new(Semaphore::new(1)), known: Mutex::default() });
        let busy = digests.workers.acquire().await.unwrap();
        let mut kept = None;
        for name in ["a", "b", "c"] {
            std::fs::write(dir.path().join(name), name).unwrap();
            let served = root.serve(&FileName::new(name.as_bytes()).unwrap()).unwrap();
            let pending = digests.start(&served, Algorithm::Blake3);
            kept = Some((served, pending));
        }
        assert_eq!(digests.lock().slots.len(), 3);
        drop(busy);
        let (served, mut pending) = kept.unwrap();
        assert_eq!(pending.finished().await.unwrap().value, *blake3::hash(b"c").as_bytes());
        // The queue is in order: whoever is done last has seen the others off.
        assert_eq!(Arc::strong_count(&served.file), 1);
        assert!(digests.lock().slots.is_empty() && digests.lock().order.is_empty());
    }

    #[tokio::test]
    async fn a_file_that_changes_meanwhile_has_no_digest() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("f"), "abc").unwrap();
        let root = Root::open(dir.path()).unwrap();
        let served = root.serve(&FileName::new(b"f").unwrap()).unwrap();
        std::fs::write(dir.path().join("f"), "abcdef").unwrap();
        assert!(Arc::new(Digests::default()).start(&served, Algorithm::Blake3).finished().await.is_err());
    }
}
