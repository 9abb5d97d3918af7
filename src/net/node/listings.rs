//! Listing folders without anybody else noticing: a few at a time, the large ones until their readers have all of them.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::net::os::deadline::within;
use crate::net::os::threads::{Threads, WorkHandle};

/// Folders read at once: reading names is all processor and disk, and more at once would only be slower together.
const AT_ONCE: usize = 2;
/// Most listings that are read, wait for a thread, or are large and on their way to a reader. One may have 2 MiB, so
/// all have 48.
const MOST: usize = 24;
/// The same for one source.
const MOST_PER_SOURCE: usize = 8;
/// Most requests of one source that wait for a place, which costs little: usual clients and mirrors ask for 20 to 50
/// folders at once.
const MOST_WAITING_PER_SOURCE: usize = 48;
/// A listing of at most this many bytes gives its place back as soon as it is made: as many of them as there can be
/// connections take little memory.
const SMALL: u64 = 16 * 1024;

/// The listings of one node.
#[derive(Debug)]
pub struct Listings {
    threads: Threads,
    places: Arc<Mutex<ListingSlots>>,
}

/// One listing's place, for as long as this lives.
#[derive(Debug)]
pub struct ListingSlot {
    source: IpAddr,
    places: Arc<Mutex<ListingSlots>>,
}

/// Who has a place, and who waits for one, in order.
#[derive(Debug, Default)]
struct ListingSlots {
    taken: Vec<IpAddr>,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    source: IpAddr,
    turn: oneshot::Sender<ListingSlot>,
}

impl Default for Listings {
    fn default() -> Self {
        Self { threads: Threads::new("listing", AT_ONCE), places: Arc::default() }
    }
}

impl Listings {
    /// Takes a place for one more, as soon as there is one within a limit; `None` where too many wait already, or none
    /// becomes free in time.
    pub async fn enter(&self, source: IpAddr, limit: Duration) -> Option<ListingSlot> {
        let turn = {
            let mut places = lock(&self.places);
            if places.has_room(source) {
                places.taken.push(source);
                drop(places);
                return Some(self.place(source));
            }
            // Those that have left do not count.
            places.waiting.retain(|waiting| !waiting.turn.is_closed());
            let own = places.waiting.iter().filter(|waiting| waiting.source == source).count();
            if own >= MOST_WAITING_PER_SOURCE {
                return None;
            }
            let (turn, its_turn) = oneshot::channel();
            places.waiting.push_back(Waiting { source, turn });
            its_turn
        };
        within(limit, turn).await.ok()?.ok()
    }

    /// Reads a folder as soon as a thread is free; an error where none can be had.
    ///
    /// # Errors
    /// The system's error if it gives no thread to read on.
    pub fn read<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<WorkHandle<T>> {
        self.threads.run(work)
    }

    fn place(&self, source: IpAddr) -> ListingSlot {
        ListingSlot { source, places: Arc::clone(&self.places) }
    }
}

impl ListingSlot {
    /// Keeps the place for a listing of so many bytes, if it is a large one; a small one needs it no longer.
    pub fn kept_for(self, bytes: u64) -> Option<Self> {
        (bytes > SMALL).then_some(self)
    }
}

impl Drop for ListingSlot {
    fn drop(&mut self) {
        let mut places = lock(&self.places);
        if let Some(at) = places.taken.iter().position(|other| *other == self.source) {
            places.taken.swap_remove(at);
        }
        while let Some(next) = places.next() {
            places.taken.push(next.source);
            drop(places);
            // Whoever left in this moment drops the place, which then goes on to another.
            let _ = next.turn.send(Self { source: next.source, places: Arc::clone(&self.places) });
            places = lock(&self.places);
        }
    }
}

impl ListingSlots {
    fn has_room(&self, source: IpAddr) -> bool {
        let own = self.taken.iter().filter(|other| **other == source).count();
        self.taken.len() < MOST && own < MOST_PER_SOURCE
    }

    /// Takes out the first that waits and can have a place now.
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

    const LIMIT: Duration = Duration::from_secs(15);

    fn source(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    /// As many places for a source as there are right now.
    async fn take(listings: &Listings, from: u8, most: usize) -> Vec<ListingSlot> {
        let mut places = Vec::new();
        while places.len() < most && lock(&listings.places).has_room(source(from)) {
            places.push(listings.enter(source(from), LIMIT).await.unwrap());
        }
        places
    }

    fn waiting(listings: &Listings) -> usize {
        lock(&listings.places).waiting.iter().filter(|waiting| !waiting.turn.is_closed()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn places_are_few_and_one_source_cannot_have_them_all() {
        let listings = Arc::new(Listings::default());
        let mut places = take(&listings, 1, 100).await;
        assert_eq!(places.len(), MOST_PER_SOURCE);
        for from in 2..100 {
            places.extend(take(&listings, from, 1).await);
        }
        assert_eq!(places.len(), MOST);
        assert!(listings.enter(source(100), LIMIT).await.is_none(), "a place came from nowhere");
        places.remove(0);
        places.push(listings.enter(source(1), LIMIT).await.unwrap());
        drop(places);
        assert!(lock(&listings.places).taken.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_waits_for_its_places_and_one_too_many_is_refused_at_once() {
        let listings = Arc::new(Listings::default());
        let mut places = take(&listings, 1, 100).await;
        let mut asking = JoinSet::new();
        for _ in 0..MOST_WAITING_PER_SOURCE {
            let listings = Arc::clone(&listings);
            asking.spawn(async move { listings.enter(source(1), LIMIT).await });
        }
        while waiting(&listings) < MOST_WAITING_PER_SOURCE {
            tokio::task::yield_now().await;
        }
        let began = tokio::time::Instant::now();
        assert!(listings.enter(source(1), LIMIT).await.is_none() && began.elapsed().is_zero());
        // Others do not wait behind them.
        assert!(listings.enter(source(2), LIMIT).await.is_some() && began.elapsed().is_zero());
        // Each that is given back goes to one that waits, and what is small is given back at once.
        for size in [SMALL; MOST_WAITING_PER_SOURCE] {
            assert!(places.pop().unwrap().kept_for(size).is_none());
            places.push(asking.join_next().await.unwrap().unwrap().unwrap());
            assert_eq!(lock(&listings.places).taken.len(), MOST_PER_SOURCE);
        }
        let kept: Vec<_> = places.into_iter().map(|place| place.kept_for(SMALL + 1)).collect();
        assert_eq!((kept.len(), lock(&listings.places).taken.len()), (MOST_PER_SOURCE, MOST_PER_SOURCE));
        drop(kept);
        assert!(lock(&listings.places).taken.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_leave_while_they_wait_leave_nothing() {
        let listings = Arc::new(Listings::default());
        let places = take(&listings, 1, 100).await;
        let mut asking = JoinSet::new();
        for _ in 0..3 * MOST_WAITING_PER_SOURCE {
            let listings = Arc::clone(&listings);
            asking.spawn(async move { listings.enter(source(1), LIMIT).await });
        }
        while waiting(&listings) < MOST_WAITING_PER_SOURCE {
            tokio::task::yield_now().await;
        }
        asking.abort_all();
        while asking.join_next().await.is_some() {}
        assert_eq!(waiting(&listings), 0);
        drop(places);
        assert!(lock(&listings.places).taken.is_empty());
    }
}
