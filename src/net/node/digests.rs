//! Digests of served files: computed beside the sending, once per file, remembered while the file stays the same; and
//! of the first bytes of files that grow.

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
use crate::wire::{Algorithm, Digest, DigestProgress};
use lanes::{HashJobId, Lanes, SMALL_LANES};
use task::{DigestInterest, DigestKey, SliceResult, Task};

pub use hasher::Hasher;
pub use task::NoDigest;

/// Digests remembered; each takes about a hundred bytes.
const REMEMBERED: usize = 4096;
/// How long a digest is computed on after the last who wanted it left: a client asks for it once more when it has the
/// file, and one that has gone must not keep a core busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// A digest that is wanted, being computed or done.
type Slot = watch::Receiver<Option<Result<Digest, NoDigest>>>;

/// The digests of one node.
#[derive(Debug)]
pub struct Digests {
    threads: Threads,
    patience: Duration,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    slots: HashMap<DigestKey, (Slot, Weak<DigestInterest>)>,
    order: VecDeque<DigestKey>,
    lanes: Lanes<IpAddr>,
    /// Those that wait for a lane.
    waiting: HashMap<HashJobId, Task>,
}

/// A digest that may still be being computed, and is wanted for as long as this lives.
#[derive(Clone, Debug)]
pub struct Pending {
    slot: Slot,
    wanted: Option<Arc<DigestInterest>>,
}

impl Default for Digests {
    /// One large file per core: hashing is all processor, and more at once would only be slower together.
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::new(cores, PATIENCE)
    }
}

impl Digests {
    fn new(large: usize, patience: Duration) -> Self {
        let (slots, order, waiting) = Default::default();
        let known = Known { slots, order, lanes: Lanes::new(large), waiting };
        Self { threads: Threads::new("digest", large + SMALL_LANES), patience, known: Mutex::new(known) }
    }

    /// The digest, if it is known already.
    pub fn ready(&self, served: &ServedFile, algorithm: Algorithm) -> Option<Digest> {
        let (slot, _) = self.lock().slots.get(&(served.version, algorithm)).cloned()?;
        slot.borrow().clone()?.ok()
    }

    /// The digest of a file's first bytes, if they are few and in the page cache: sooner computed than handed to a
    /// thread.
    pub fn at_once(&self, served: &ServedFile, size: u64, algorithm: Algorithm) -> Option<Digest> {
        let (digest, settled) = task::at_once(served, size, algorithm)?;
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

    /// Starts computing the digest for `source`, unless that is being done or was done; wait for it with
    /// [`Pending::finished`].
    ///
    /// A digest that nobody holds a [`Pending`] of when its turn comes is not computed, and is given up where that
    /// stays so: it would keep a file open and a core busy, and those who wait for theirs would wait for it too.
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
        self.go_on();
        (served.machine.settle)(&|| pending.is_over());
        pending
    }

    /// Starts computing the digest of a file's first bytes as they are from now on; nobody else's answer would do.
    ///
    /// Whoever received the same bytes before has what the file held at a moment between: a byte that was changed
    /// meanwhile would have been read differently.
    pub fn of_first(self: &Arc<Self>, served: &ServedFile, size: u64, algorithm: Algorithm, source: IpAddr) -> Pending {
        let mut known = self.lock();
        let Some((task, pending)) = known.task(served, size, algorithm, source) else { return Pending::busy() };
        known.waiting.insert(task.wanted().id, task);
        drop(known);
        self.go_on();
        (served.machine.settle)(&|| pending.is_over());
        pending
    }

    /// How far a digest is; `None` where nobody computes it any more.
    pub fn progress(&self, pending: &Pending) -> Option<DigestProgress> {
        let wanted = pending.wanted.as_ref()?;
        let ahead = self.lock().lanes.ahead(wanted.id);
        Some(DigestProgress { done: wanted.done.load(Relaxed), size: wanted.size, ahead: u32::try_from(ahead).ok()? })
    }

    /// Gives a thread to each digest whose turn it is.
    fn go_on(self: &Arc<Self>) {
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
        self.lock().next(self.patience)
    }

    /// Computes slices of whatever comes next, until nothing does.
    fn work(&self, mut task: Task) {
        loop {
            let slice = task.slice(self.patience);
            let mut known = self.lock();
            let id = task.wanted().id;
            match slice {
                SliceResult::Rest(rest) => {
                    known.lanes.paused(id, rest);
                    known.waiting.insert(id, task);
                }
                SliceResult::Unwanted if task.is_wanted() => {
                    // Somebody came after all.
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
                    task.tell(outcome);
                    known = self.lock();
                }
            }
            match known.next(self.patience) {
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
    /// Something to compute, and the promise of it; `None` where too much waits already.
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

    /// The task whose turn it is; those that nobody waits for any more are forgotten first, and their files closed.
    fn next(&mut self, patience: Duration) -> Option<Task> {
        let over: Vec<HashJobId> =
            self.waiting.iter_mut().filter_map(|(id, task)| task.is_over(patience).then_some(*id)).collect();
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
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.slots.remove(&oldest);
        }
    }

    /// Forgets a digest, if it is still this task's: another may have been started since.
    fn forget(&mut self, id: HashJobId, key: Option<DigestKey>) {
        let Some(key) = key else { return };
        if self.slots.get(&key).is_some_and(|(_, wanted)| wanted.upgrade().is_none_or(|wanted| wanted.id == id)) {
            self.slots.remove(&key);
            self.order.retain(|other| *other != key);
        }
    }
}

impl Pending {
    /// One that will never be there.
    fn busy() -> Self {
        let (_, slot) = watch::channel(Some(Err(NoDigest::Busy)));
        Self { slot, wanted: None }
    }

    /// Nothing more comes of it.
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
