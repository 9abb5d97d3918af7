//! Listing folders without anybody else noticing: a few at a time, each with a place until its reader has all of it.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::threads::{Running, Threads};

/// Folders read at once: reading names is all processor and disk, and more at once would only be slower together.
const AT_ONCE: usize = 2;
/// Most listings that are read, wait to be, or are on their way to a reader. One may have 2 MiB, so all have 48.
const MOST: usize = 24;
/// The same for one source.
const MOST_PER_SOURCE: usize = 8;

/// The listings of one node.
#[derive(Debug)]
pub struct Listings {
    threads: Threads,
    open: Arc<Mutex<Vec<IpAddr>>>,
}

/// One listing's place, for as long as this lives.
#[derive(Debug)]
pub struct Place {
    source: IpAddr,
    open: Arc<Mutex<Vec<IpAddr>>>,
}

impl Default for Listings {
    fn default() -> Self {
        Self { threads: Threads::new("listing", AT_ONCE), open: Arc::default() }
    }
}

impl Listings {
    /// A place for one more; `None` where there are too many.
    pub fn enter(&self, source: IpAddr) -> Option<Place> {
        let mut open = lock(&self.open);
        let own = open.iter().filter(|other| **other == source).count();
        if open.len() >= MOST || own >= MOST_PER_SOURCE {
            return None;
        }
        open.push(source);
        Some(Place { source, open: Arc::clone(&self.open) })
    }

    /// Reads a folder as soon as a thread is free; an error where none can be had.
    pub fn read<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<Running<T>> {
        self.threads.run(work)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        if let Some(at) = open.iter().position(|other| *other == self.source) {
            open.swap_remove(at);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_few_and_one_source_cannot_have_them_all() {
        let listings = Listings::default();
        let enter = |last| listings.enter([10, 0, 0, last].into());
        let mut places: Vec<_> = (0..100).map_while(|_| enter(1)).collect();
        assert_eq!(places.len(), MOST_PER_SOURCE);
        places.extend((2..100).map_while(enter));
        assert_eq!(places.len(), MOST);
        places.remove(0);
        places.push(enter(1).unwrap());
        assert!(enter(100).is_none());
        drop(places);
        assert!(lock(&listings.open).is_empty());
    }
}
