//! Digests of served files: computed while the body is sent, once per file, cached while the file is unchanged; and of
//! the first bytes of files that grow.

mod hasher;
mod lanes;
mod task;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::root::ServedFile;
use crate::net::os::threads::Threads;
use crate::net::os::version::Version;
use crate::wire::{Algorithm, Digest, DigestProgress};
use lanes::{HashJobId, Lanes, SMALL_LANES};
use task::{DigestInterest, DigestKey, SliceResult, Task};

pub use hasher::Hasher;
pub use task::NoDigest;

/// Maximum cached digests; each takes about a hundred bytes.
const MAX_CACHED: usize = 4096;
/// Time for which a digest is still computed after its last requester disconnected: a client requests it again when it
/// has the file, but a client that has disconnected for good must not keep a core busy.
const GRACE: Duration = Duration::from_secs(10);

/// The result of a digest, pending or done.
type Slot = watch::Receiver<Option<Result<Digest, NoDigest>>>;

/// The digests of one node.
#[derive(Debug)]
pub struct Digests {
    threads: Threads,
    grace: Duration,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    slots: HashMap<DigestKey, (Slot, Weak<DigestInterest>)>,
    order: VecDeque<DigestKey>,
    lanes: Lanes<IpAddr>,
    /// Tasks that wait for a lane.
    waiting: HashMap<HashJobId, Task>,
}

/// A digest that may still be in computation; its existence keeps the digest requested.
#[derive(Clone, Debug)]
pub struct Pending {
    slot: Slot,
    wanted: Option<Arc<DigestInterest>>,
}

impl Default for Digests {
    /// One large file per core: hashing is all processor, and more in parallel would only be slower together.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(cores, GRACE)
    }
}

impl Digests {
    fn new(large: usize, grace: Duration) -> Self {
        let (slots, order, waiting) = Default::default();
        let known = Known { slots, order, lanes: Lanes::new(large), waiting };
        Self { threads: Threads::new("digest", large + SMALL_LANES), grace, known: Mutex::new(known) }
    }

    /// Returns the digest, if it is known already.
    pub fn ready(&self, version: Version, algorithm: Algorithm) -> Option<Digest> {
        let (slot, _) = self.lock().slots.get(&(version, algorithm)).cloned()?;
        slot.borrow().clone()?.ok()
    }

    /// Computes the digest of a file's first bytes immediately, if they are few and in the page cache: faster than
    /// handing it to a thread.
    pub fn compute_now(&self, served: &ServedFile, size: u64, algorithm: Algorithm) -> Option<Digest> {
        let (digest, settled) = task::compute_now(served, size, algorithm)?;
        if size == served.version.size {
            if !served.is_unchanged() {
                return None;
            }
            if settled {
                let (_, slot) = watch::channel(Some(Ok(digest)));
                self.lock().remember((served.version, algorithm), slot, Weak::new());
            }
        }
        Some(digest)
    }

    /// Starts computing the digest for `source`, unless it is in progress or done; wait for it with
    /// [`Pending::finished`].
    ///
    /// A digest without any [`Pending`] is not computed when its turn comes, and is abandoned if it stays so: it would
    /// keep a file open and a core busy, and delay others.
    pub fn start(self: &Arc<Self>, served: &ServedFile, algorithm: Algorithm, source: IpAddr) -> Pending {
        let key = (served.version, algorithm);
        let mut known = self.lock();
        if let Some((slot, wanted)) = known.slots.get(&key) {
            return Pending { slot: slot.clone(), wanted: wanted.upgrade() };
        }
        let Some((task, pending)) = known.task(served, served.version.size, algorithm, source) else {
            return Pending::busy();
        };
        known.remember(key, pending.slot.clone(), Arc::downgrade(task.wanted()));
        known.waiting.insert(task.wanted().id, task.known_by(key));
        drop(known);
        self.start_next();
        (served.machine.settle)(&|| pending.is_over());
        pending
    }

    /// Starts computing the digest of a file's first bytes as of now; an earlier result must not be reused.
    ///
    /// A client that received equal bytes before has what the file contained at a moment in between: a byte that was
    /// changed meanwhile would have been read differently.
    pub fn of_first(self: &Arc<Self>, served: &ServedFile, size: u64, algorithm: Algorithm, source: IpAddr) -> Pending {
        let mut known = self.lock();
        let Some((task, pending)) = known.task(served, size, algorithm, source) else { return Pending::busy() };
        known.waiting.insert(task.wanted().id, task);
        drop(known);
        self.start_next();
        (served.machine.settle)(&|| pending.is_over());
        pending
    }

    /// Returns the progress of a digest; `None` if it is not being computed.
    pub fn progress(&self, pending: &Pending) -> Option<DigestProgress> {
        let wanted = pending.wanted.as_ref()?;
        let ahead = self.lock().lanes.ahead(wanted.id);
        Some(DigestProgress { done: wanted.done.load(Relaxed), size: wanted.size, ahead: u32::try_from(ahead).ok()? })
    }

    /// Starts a thread for each digest whose turn it is.
    fn start_next(self: &Arc<Self>) {
        while let Some(task) = { self.next() } {
            let (digests, id, key) = (Arc::clone(self), task.wanted().id, task.key());
            if self.threads.run(move || digests.work(task)).is_err() {
                let mut known = self.lock();
                known.lanes.remove(id);
                known.forget(id, key);
            }
        }
    }

    fn next(&self) -> Option<Task> {
        self.lock().next(self.grace)
    }

    /// Computes slices of the scheduled digests until none is left.
    fn work(&self, mut task: Task) {
        loop {
            let slice = task.slice(self.grace);
            let mut known = self.lock();
            let id = task.wanted().id;
            match slice {
                SliceResult::Rest(rest) => {
                    known.lanes.paused(id, rest);
                    known.waiting.insert(id, task);
                }
                SliceResult::Unwanted if task.is_wanted() => {
                    // It was requested again meanwhile.
                    known.lanes.paused(id, task.rest());
                    known.waiting.insert(id, task);
                }
                SliceResult::Unwanted => {
                    known.lanes.remove(id);
                    known.forget(id, task.key());
                }
                SliceResult::Done(outcome, remembered) => {
                    known.lanes.remove(id);
                    if !remembered {
                        known.forget(id, task.key());
                    }
                    drop(known);
                    task.send(outcome);
                    known = self.lock();
                }
            }
            match known.next(self.grace) {
                Some(next) => task = next,
                None => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Creates a task and the handle to its result; `None` if too much waits already.
    fn task(
        &mut self,
        served: &ServedFile,
        size: u64,
        algorithm: Algorithm,
        source: IpAddr,
    ) -> Option<(Task, Pending)> {
        let id = self.lanes.add(source, size)?;
        let (done, slot) = watch::channel(None);
        let wanted = Arc::new(DigestInterest { id, size, done: AtomicU64::new(0) });
        let task = Task::new(served.clone(), size, algorithm, Arc::clone(&wanted), done);
        Some((task, Pending { slot, wanted: Some(wanted) }))
    }

    /// Returns the task whose turn it is; abandoned tasks are removed first, and their files closed.
    fn next(&mut self, grace: Duration) -> Option<Task> {
        let over: Vec<HashJobId> =
            self.waiting.iter_mut().filter_map(|(id, task)| task.is_over(grace).then_some(*id)).collect();
        for id in over {
            self.lanes.remove(id);
            let task = self.waiting.remove(&id);
            self.forget(id, task.and_then(|task| task.key()));
        }
        let id = self.lanes.next()?;
        self.waiting.remove(&id)
    }

    fn remember(&mut self, key: DigestKey, slot: Slot, wanted: Weak<DigestInterest>) {
        if self.slots.insert(key, (slot, wanted)).is_none() {
            self.order.push_back(key);
        }
        if self.order.len() > MAX_CACHED
            && let Some(oldest) = self.order.pop_front()
        {
            self.slots.remove(&oldest);
        }
    }

    /// Removes a digest, if it is still this task's: another may have been started since.
    fn forget(&mut self, id: HashJobId, key: Option<DigestKey>) {
        let Some(key) = key else { return };
        if self.slots.get(&key).is_some_and(|(_, wanted)| wanted.upgrade().is_none_or(|wanted| wanted.id == id)) {
            self.slots.remove(&key);
            self.order.retain(|other| *other != key);
        }
    }
}

impl Pending {
    /// Creates a handle whose result is `Busy`.
    fn busy() -> Self {
        let (_, slot) = watch::channel(Some(Err(NoDigest::Busy)));
        Self { slot, wanted: None }
    }

    /// Returns whether the result is final.
    fn is_over(&self) -> bool {
        self.slot.borrow().is_some() || self.slot.has_changed().is_err()
    }

    /// Waits for the digest. Cancel-safe.
    ///
    /// # Errors
    /// `Changed` if the file changed while it was read, `Unread` if the disk failed, `Busy` if too many digests are
    /// being computed.
    pub async fn finished(&mut self) -> Result<Digest, NoDigest> {
        match self.slot.wait_for(Option::is_some).await {
            Ok(done) => done.clone().unwrap_or(Err(NoDigest::Busy)),
            Err(_) => Err(NoDigest::Busy),
        }
    }
}

#[cfg(test)]
mod tests;
