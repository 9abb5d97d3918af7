//! Limits of work on folders: a few listings and streams at a time, so that transfers of files do not suffer; streams
//! and large listings count until their readers have received them.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::net::os::deadline::within;
use crate::net::os::threads::{Threads, WorkHandle};

/// Requests of one source that wait for a slot at most, which costs little: usual clients and mirrors list 20 to 50
/// folders in parallel.
const MAX_WAITING_PER_SOURCE: usize = 48;
/// A listing of at most this many bytes frees its slot as soon as it is built: as many of them as there can be
/// connections take little memory.
const MAX_SMALL: u64 = 16 * 1024;

/// Work of one kind on the folders of one node.
#[derive(Debug)]
pub struct FolderWork {
    threads: Threads,
    slots: Arc<Mutex<Slots>>,
}

/// The slot of one listing or stream; freed when dropped.
#[derive(Debug)]
pub struct FolderSlot {
    source: IpAddr,
    slots: Arc<Mutex<Slots>>,
}

/// Owners of slots, and the queue of those waiting for one.
#[derive(Debug)]
struct Slots {
    max: usize,
    max_per_source: usize,
    taken: Vec<IpAddr>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    source: IpAddr,
    turn: oneshot::Sender<FolderSlot>,
}

impl FolderWork {
    /// Returns the limits of listings: at most 24 are being read, wait for a thread, or are large and being sent, and 8
    /// for one source. One may have 2 MiB, so all have 48.
    ///
    /// Two are read in parallel: reading names is all processor and disk, and more would only be slower together.
    pub fn listings() -> Self {
        Self::new("listing", 2, 24, 8)
    }

    /// Returns the limits of tar streams: at most 48, and 24 for one source, which may be a relay with many clients.
    /// One takes 1 MiB, and up to 8 in a folder of hundreds of thousands of names.
    ///
    /// Chunks of four are produced in parallel, which hides the latency of a disk.
    pub fn tar_streams() -> Self {
        Self::new("tar", 4, 48, 24)
    }

    fn new(name: &'static str, threads: usize, max: usize, max_per_source: usize) -> Self {
        let (taken, waiting) = Default::default();
        let slots = Arc::new(Mutex::new(Slots { max, max_per_source, taken, waiting }));
        Self { threads: Threads::new(name, threads), slots }
    }

    /// Takes a slot as soon as one is free; `None` if too many wait already, or none becomes free in time.
    pub async fn acquire(&self, source: IpAddr, limit: Duration) -> Option<FolderSlot> {
        let turn = {
            let mut slots = lock(&self.slots);
            if slots.has_room(source) {
                slots.taken.push(source);
                drop(slots);
                return Some(self.slot(source));
            }
            // Cancelled ones do not count.
            slots.waiting.retain(|waiting| !waiting.turn.is_closed());
            let own = slots.waiting.iter().filter(|waiting| waiting.source == source).count();
            if own >= MAX_WAITING_PER_SOURCE {
                return None;
            }
            let (turn, its_turn) = oneshot::channel();
            slots.waiting.push_back(Waiting { source, turn });
            its_turn
        };
        within(limit, turn).await.ok()?.ok()
    }

    /// Works on a folder as soon as a thread is free.
    ///
    /// # Errors
    /// The system's error if no thread can be started.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<WorkHandle<T>> {
        self.threads.run(work)
    }

    fn slot(&self, source: IpAddr) -> FolderSlot {
        FolderSlot { source, slots: Arc::clone(&self.slots) }
    }
}

impl FolderSlot {
    /// Keeps the slot for a large listing of this size; a small one frees it.
    pub fn keep_if_large(self, bytes: u64) -> Option<Self> {
        (bytes > MAX_SMALL).then_some(self)
    }
}

impl Drop for FolderSlot {
    fn drop(&mut self) {
        let mut slots = lock(&self.slots);
        if let Some(at) = slots.taken.iter().position(|other| *other == self.source) {
            slots.taken.swap_remove(at);
        }
        while let Some(next) = slots.next() {
            slots.taken.push(next.source);
            drop(slots);
            // A waiter cancelled at this moment drops the slot, which then passes to the next.
            let _ = next.turn.send(Self { source: next.source, slots: Arc::clone(&self.slots) });
            slots = lock(&self.slots);
        }
    }
}

impl Slots {
    fn has_room(&self, source: IpAddr) -> bool {
        let own = self.taken.iter().filter(|other| **other == source).count();
        self.taken.len() < self.max && own < self.max_per_source
    }

    /// Removes the first waiter that may have a slot now.
    fn next(&mut self) -> Option<Waiting> {
        self.waiting.retain(|waiting| !waiting.turn.is_closed());
        let at = self.waiting.iter().position(|waiting| self.has_room(waiting.source))?;
        self.waiting.remove(at)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    const MAX_LISTINGS: usize = 24;
    const MAX_PER_SOURCE: usize = 8;
    const LIMIT: Duration = Duration::from_secs(15);

    fn source(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    /// Takes all slots that a source can get right now, up to `most`.
    async fn take(listings: &FolderWork, from: u8, most: usize) -> Vec<FolderSlot> {
        let mut slots = Vec::new();
        while slots.len() < most && lock(&listings.slots).has_room(source(from)) {
            slots.push(listings.acquire(source(from), LIMIT).await.unwrap());
        }
        slots
    }

    fn waiting(listings: &FolderWork) -> usize {
        lock(&listings.slots).waiting.iter().filter(|waiting| !waiting.turn.is_closed()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn slots_are_limited_in_all_and_per_source() {
        let listings = Arc::new(FolderWork::listings());
        let mut slots = take(&listings, 1, 100).await;
        assert_eq!(slots.len(), MAX_PER_SOURCE);
        for from in 2..100 {
            slots.extend(take(&listings, from, 1).await);
        }
        assert_eq!(slots.len(), MAX_LISTINGS);
        assert!(listings.acquire(source(100), LIMIT).await.is_none(), "a slot beyond the limit");
        slots.remove(0);
        slots.push(listings.acquire(source(1), LIMIT).await.unwrap());
        drop(slots);
        assert!(lock(&listings.slots).taken.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_waits_for_slots_up_to_a_limit() {
        let listings = Arc::new(FolderWork::listings());
        let mut slots = take(&listings, 1, 100).await;
        let mut requests = JoinSet::new();
        for _ in 0..MAX_WAITING_PER_SOURCE {
            let listings = Arc::clone(&listings);
            requests.spawn(async move { listings.acquire(source(1), LIMIT).await });
        }
        while waiting(&listings) < MAX_WAITING_PER_SOURCE {
            tokio::task::yield_now().await;
        }
        let began = tokio::time::Instant::now();
        assert!(listings.acquire(source(1), LIMIT).await.is_none() && began.elapsed().is_zero());
        // Other sources do not wait behind it.
        assert!(listings.acquire(source(2), LIMIT).await.is_some() && began.elapsed().is_zero());
        // Each freed slot passes to a waiter, and small listings free theirs immediately.
        for size in [MAX_SMALL; MAX_WAITING_PER_SOURCE] {
            assert!(slots.pop().unwrap().keep_if_large(size).is_none());
            slots.push(requests.join_next().await.unwrap().unwrap().unwrap());
            assert_eq!(lock(&listings.slots).taken.len(), MAX_PER_SOURCE);
        }
        let kept: Vec<_> = slots.into_iter().map(|slot| slot.keep_if_large(MAX_SMALL + 1)).collect();
        assert_eq!((kept.len(), lock(&listings.slots).taken.len()), (MAX_PER_SOURCE, MAX_PER_SOURCE));
        drop(kept);
        assert!(lock(&listings.slots).taken.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn cancelled_waiters_free_everything() {
        let listings = Arc::new(FolderWork::listings());
        let slots = take(&listings, 1, 100).await;
        let mut requests = JoinSet::new();
        for _ in 0..3 * MAX_WAITING_PER_SOURCE {
            let listings = Arc::clone(&listings);
            requests.spawn(async move { listings.acquire(source(1), LIMIT).await });
        }
        while waiting(&listings) < MAX_WAITING_PER_SOURCE {
            tokio::task::yield_now().await;
        }
        requests.abort_all();
        while requests.join_next().await.is_some() {}
        assert_eq!(waiting(&listings), 0);
        drop(slots);
        assert!(lock(&listings.slots).taken.is_empty());
    }
}
