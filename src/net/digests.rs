//! Digests of served files: computed beside the sending, once per file, remembered while the file stays the same.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Semaphore, watch};

use super::root::{Served, Version};
use crate::wire::{Algorithm, Digest};

/// Digests remembered; each takes about a hundred bytes.
const REMEMBERED: usize = 4096;
/// A file changed this recently may change again without its time stamps telling, so its digest is not remembered.
const SETTLED: Duration = Duration::from_secs(2);
/// Bytes read and hashed at a time.
const CHUNK: usize = 1 << 20;

/// How long a digest is computed on after the last who wanted it left: a client asks for it once more when it has the
/// file, and one that has gone must not keep a core busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a digest is known by.
type Key = (Version, Algorithm);
/// A digest that is wanted, being computed or done.
type Slot = watch::Receiver<Option<Result<Digest, String>>>;

/// The digests of one node.
#[derive(Debug)]
pub struct Digests {
    workers: Arc<Semaphore>,
    patience: Duration,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    slots: HashMap<Key, (Slot, Weak<()>)>,
    order: VecDeque<Key>,
}

impl Default for Digests {
    /// One job per core: hashing is all processor, and more at once would only be slower together.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self { workers: Arc::new(Semaphore::new(cores)), patience: PATIENCE, known: Mutex::default() }
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
    /// A digest that nobody holds a [`Pending`] of when its turn comes is not computed, and is given up where that stays
    /// so: it would keep a file open and a core busy, and those who wait for theirs would wait for it too.
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
            let own = Arc::downgrade(&token);
            let demand = Demand { digests: Arc::clone(&digests), key, token, ended: None };
            let computed = compute(served, algorithm, demand).await;
            if !matches!(computed, Ok((_, true))) {
                digests.lock().forget(key, &own);
            }
            let _ = done.send(Some(computed.map(|(digest, _)| digest)));
        });
        Pending { slot, _wanted: Some(wanted) }
    }

    /// True if nobody waits for a digest any more; it is forgotten then, before anybody can begin to.
    fn is_unwanted(&self, key: Key, token: &Arc<()>) -> bool {
        let mut known = self.lock();
        let unwanted = Arc::strong_count(token) == 1;
        if unwanted {
            known.forget(key, &Arc::downgrade(token));
        }
        unwanted
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Forgets a digest, if it is still this job's: another may have been started since.
    fn forget(&mut self, key: Key, own: &Weak<()>) {
        if self.slots.get(&key).is_some_and(|(_, wanted)| wanted.ptr_eq(own)) {
            self.slots.remove(&key);
            self.order.retain(|other| *other != key);
        }
    }
}

/// Whether a digest is still wanted while it is computed.
#[derive(Debug)]
struct Demand {
    digests: Arc<Digests>,
    key: Key,
    token: Arc<()>,
    ended: Option<Instant>,
}

impl Demand {
    /// True if nobody has wanted it for some time; it is forgotten then.
    fn is_over(&mut self) -> bool {
        if Arc::strong_count(&self.token) > 1 {
            self.ended = None;
            return false;
        }
        let ended = *self.ended.get_or_insert_with(Instant::now);
        ended.elapsed() >= self.digests.patience && self.digests.is_unwanted(self.key, &self.token)
    }
}

/// The digest, and whether it may be remembered.
async fn compute(served: Served, algorithm: Algorithm, demand: Demand) -> Result<(Digest, bool), String> {
    let hashing = tokio::task::spawn_blocking(move || {
        // Before the first byte is read: a change that no time stamp tells may come right after it.
        let settled = is_settled(&served.version);
        let digest = hash(&served, algorithm, demand).map_err(|error| error.to_string())?;
        let unchanged = served.is_unchanged().then_some((digest, settled));
        unchanged.ok_or_else(|| "the file changed while it was read".to_owned())
    });
    #[cfg(test)]
    super::sim::wait(|| hashing.is_finished());
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

fn hash(served: &Served, algorithm: Algorithm, mut demand: Demand) -> io::Result<Digest> {
    let mut hasher = Hasher::new(algorithm);
    let mut buffer = vec![0; CHUNK.min(usize::try_from(served.version.size).unwrap_or(CHUNK).max(1))];
    let mut offset = 0;
    while offset < served.version.size {
        let read = served.file.read_at(&mut buffer, offset)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if demand.is_over() {
            return Err(io::Error::other("nobody waits for it any more"));
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
#[derive(Clone, Debug)]
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

    /// The digest of all that was taken so far; more can follow.
    pub fn so_far(&self) -> Digest {
        self.clone().finish()
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
mod tests;
