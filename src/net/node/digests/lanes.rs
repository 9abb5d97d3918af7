//! Scheduling of digests: small ones immediately, of the large ones the one with the least remaining, slice by slice.

use std::collections::BTreeMap;

/// A file up to this size is small. 16 MiB are hashed in about 10 ms, and read from a slow disk (50 MB/s) in 0.3 s: no
/// other small file waits for longer than that, which is hardly noticeable.
pub(super) const SMALL: u64 = 16 << 20;
/// Small digests computed in parallel; if they wait for a disk, their reads overlap.
pub(super) const SMALL_LANES: usize = 4;
/// Maximum digests that wait or are computed, each with an open file.
const MAX_SMALL: usize = 256;
const MAX_LARGE: usize = 64;
/// Maximum large ones of one source. A source may be a relay with many clients, so it is half of all.
const MAX_LARGE_PER_SOURCE: usize = MAX_LARGE / 2;

/// A digest to be computed.
pub(super) type HashJobId = u64;

/// The requested digests, and which of them are being computed; `S` is the source that requested it first.
#[derive(Debug)]
pub(super) struct Lanes<S> {
    large: usize,
    next: HashJobId,
    jobs: BTreeMap<HashJobId, HashJob<S>>,
}

#[derive(Debug)]
struct HashJob<S> {
    source: S,
    rest: u64,
    small: bool,
    running: bool,
}

impl<S: PartialEq> Lanes<S> {
    /// Creates a scheduler that computes at most `large` large digests in parallel.
    pub(super) fn new(large: usize) -> Self {
        Self { large, next: 0, jobs: BTreeMap::new() }
    }

    /// Sets the number of large digests that may be computed in parallel.
    #[cfg(test)]
    pub(super) fn set_large(&mut self, large: usize) {
        self.large = large;
    }

    /// Adds a digest over this many bytes; `None` if too many wait already.
    pub(super) fn add(&mut self, source: S, bytes: u64) -> Option<HashJobId> {
        let small = bytes <= SMALL;
        let alike = self.jobs.values().filter(|job| job.small == small);
        let of_source = alike.clone().filter(|job| job.source == source).count();
        let full = if small {
            alike.count() >= MAX_SMALL
        } else {
            alike.count() >= MAX_LARGE || of_source >= MAX_LARGE_PER_SOURCE
        };
        if full {
            return None;
        }
        self.next += 1;
        self.jobs.insert(self.next, HashJob { source, rest: bytes, small, running: false });
        Some(self.next)
    }

    /// Returns the digest to compute a slice of now; `None` if none waits, or every lane is taken.
    pub(super) fn next(&mut self) -> Option<HashJobId> {
        [(true, SMALL_LANES), (false, self.large)]
            .into_iter()
            .find_map(|(small, lanes)| {
                let alike = || self.jobs.iter().filter(move |(_, job)| job.small == small);
                if alike().filter(|(_, job)| job.running).count() >= lanes {
                    return None;
                }
                let shortest = alike().filter(|(_, job)| !job.running).min_by_key(|(id, job)| (job.rest, **id));
                shortest.map(|(id, _)| *id)
            })
            .inspect(|id| {
                if let Some(job) = self.jobs.get_mut(id) {
                    job.running = true;
                }
            })
    }

    /// Records that a slice was computed, with the number of bytes that remain.
    pub(super) fn paused(&mut self, id: HashJobId, rest: u64) {
        if let Some(job) = self.jobs.get_mut(&id) {
            (job.rest, job.running) = (rest, false);
        }
    }

    /// Removes a digest that is done or no longer needed.
    pub(super) fn remove(&mut self, id: HashJobId) {
        self.jobs.remove(&id);
    }

    /// Returns how many digests are scheduled before this one.
    pub(super) fn ahead(&self, id: HashJobId) -> usize {
        let Some(job) = self.jobs.get(&id) else { return 0 };
        let before = |other: &HashJobId, at: &HashJob<S>| at.small == job.small && (at.rest, *other) < (job.rest, id);
        let before = self.jobs.iter().filter(|(other, at)| before(other, at)).count();
        let lanes = if job.small { SMALL_LANES } else { self.large };
        (before + 1).saturating_sub(lanes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn small_digests_never_wait_for_large_ones() {
        let mut lanes = Lanes::new(2);
        let large = [5, 6, 7].map(|size| lanes.add(1, size * GIB).unwrap());
        assert_eq!((lanes.next(), lanes.next(), lanes.next()), (Some(large[0]), Some(large[1]), None));
        let small: Vec<_> = (0..=SMALL_LANES).map(|_| lanes.add(2, SMALL).unwrap()).collect();
        let begun: Vec<_> = std::iter::from_fn(|| lanes.next()).collect();
        assert_eq!(begun, small[..SMALL_LANES]);
        assert_eq!((lanes.ahead(small[0]), lanes.ahead(small[SMALL_LANES]), lanes.ahead(large[2])), (0, 1, 1));
        lanes.remove(small[0]);
        assert_eq!((lanes.next(), lanes.next()), (Some(small[SMALL_LANES]), None));
    }

    #[test]
    fn the_shortest_rest_comes_next_after_every_slice() {
        let mut lanes = Lanes::new(1);
        let long = lanes.add(1, 100 * GIB).unwrap();
        assert_eq!(lanes.next(), Some(long));
        let (shorter, equal) = (lanes.add(1, 2 * GIB).unwrap(), lanes.add(1, 2 * GIB).unwrap());
        assert_eq!((lanes.next(), lanes.ahead(long), lanes.ahead(equal)), (None, 2, 1));
        lanes.paused(long, 99 * GIB);
        assert_eq!(lanes.next(), Some(shorter));
        lanes.paused(shorter, GIB);
        assert_eq!(lanes.next(), Some(shorter));
        lanes.remove(shorter);
        assert_eq!(lanes.next(), Some(equal));
        lanes.remove(equal);
        assert_eq!((lanes.next(), lanes.ahead(long)), (Some(long), 0));
        lanes.remove(long);
        assert_eq!((lanes.next(), lanes.jobs.len()), (None, 0));
    }

    #[test]
    fn one_source_cannot_fill_the_queue() {
        let mut lanes = Lanes::new(1);
        let added =
            |lanes: &mut Lanes<u8>, source, bytes| (0..1000).filter(|_| lanes.add(source, bytes).is_some()).count();
        assert_eq!(added(&mut lanes, 1, GIB), MAX_LARGE_PER_SOURCE);
        assert_eq!(added(&mut lanes, 2, GIB), MAX_LARGE - MAX_LARGE_PER_SOURCE);
        assert_eq!((added(&mut lanes, 3, GIB), added(&mut lanes, 3, SMALL)), (0, MAX_SMALL));
        assert_eq!(lanes.ahead(999), 0);
    }
}
