//! Debouncing of verdicts: a change is reported once most samples of the last second agree on it.

use std::collections::VecDeque;

use crate::snapshot::verdict::{Limit, Resource, Verdict};

/// Length of the window, in µs, whose majority is reported.
const WINDOW_US: u64 = 1_000_000;
/// Smallest distance of two samples, in µs: bounds the window.
const STEP_US: u64 = 20_000;

/// Samples of the last second, and the reported verdict.
#[derive(Clone, Debug, Default)]
pub struct Debounce {
    samples: VecDeque<(u64, Verdict)>,
    reported: Verdict,
    since_us: u64,
}

impl Debounce {
    /// Adds a sample; returns the reported verdict.
    ///
    /// A new limit is reported once it is two thirds of the samples, or half of them if none was reported before.
    pub fn feed(&mut self, now_us: u64, found: Verdict) -> Verdict {
        if self.samples.back().is_some_and(|(time, _)| *time > now_us) {
            *self = Self::default();
        }
        if self.samples.back().is_none_or(|(time, _)| now_us - time >= STEP_US) {
            self.samples.push_back((now_us, found));
        }
        while self.samples.front().is_some_and(|(time, _)| now_us - time > WINDOW_US) {
            self.samples.pop_front();
        }
        let votes = |limit: &Limit| self.samples.iter().filter(|(_, other)| other.limit.is_same(limit)).count();
        let most = self.samples.iter().map(|(_, verdict)| verdict.limit).max_by_key(votes).unwrap_or_default();
        let span = now_us - self.samples.front().map_or(now_us, |(time, _)| *time);
        let (share, of) = if self.reported.limit == Limit::Measuring { (1, 2) } else { (2, 3) };
        let enough = votes(&most) * of >= self.samples.len() * share && span >= WINDOW_US / 2;
        if enough && !most.is_same(&self.reported.limit) {
            self.since_us = now_us;
            self.reported.limit = most;
        }
        // The figures are those of the newest sample with the reported limit.
        if let Some((_, newest)) =
            self.samples.iter().rev().find(|(_, other)| other.limit.is_same(&self.reported.limit))
        {
            self.reported = *newest;
        }
        if let Limit::Client { resource } = &mut self.reported.limit {
            // Unknown unless all samples agree.
            let same = |found: &Limit| !matches!(found, Limit::Client { resource: other } if *other != *resource);
            if !self.samples.iter().all(|(_, other)| same(&other.limit)) {
                *resource = Resource::Either;
            }
        }
        Verdict { since_ms: (now_us - self.since_us) / 1000, ..self.reported }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(limit: Limit) -> Verdict {
        Verdict { limit, share: 0.9, ..Verdict::default() }
    }

    /// Adds ten samples per second, from a time on; returns the last reported verdict.
    fn feed(debounce: &mut Debounce, from_ms: u64, limits: &[Limit]) -> Verdict {
        let mut last = Verdict::default();
        for (at, limit) in (0..).zip(limits) {
            last = debounce.feed((from_ms + at * 100) * 1000, found(*limit));
        }
        last
    }

    const A: Limit = Limit::Relay { hop: 2 };
    const B: Limit = Limit::RateLimit { hop: 2, rate: 5 };

    #[test]
    fn changes_are_reported_within_a_second_and_flapping_is_not() {
        let mut debounce = Debounce::default();
        assert_eq!(feed(&mut debounce, 0, &[A; 4]).limit, Limit::Measuring);
        let reported = feed(&mut debounce, 400, &[A; 7]);
        assert_eq!((reported.limit, reported.since_ms), (A, 500));
        assert_eq!(feed(&mut debounce, 1100, &[B, A, A, B, A, B, A, A, B, A]).limit, A);
        assert_eq!(feed(&mut debounce, 2100, &[B; 4]).limit, A);
        let reported = feed(&mut debounce, 2500, &[B; 6]);
        assert_eq!(reported.limit, B);
        assert!(reported.since_ms <= 400, "{reported:?}");
    }

    #[test]
    fn a_changed_rate_limit_is_the_same_limit() {
        let mut debounce = Debounce::default();
        feed(&mut debounce, 0, &[B; 12]);
        let reported = feed(&mut debounce, 1200, &[Limit::RateLimit { hop: 2, rate: 9 }]);
        assert_eq!((reported.limit, reported.since_ms), (Limit::RateLimit { hop: 2, rate: 9 }, 700));
    }

    #[test]
    fn a_clients_resource_needs_agreement_of_all_samples() {
        let client = |resource| Limit::Client { resource };
        let (disk, either) = (client(Resource::Disk), client(Resource::Either));
        let mut debounce = Debounce::default();
        assert_eq!(feed(&mut debounce, 0, &[disk; 12]).limit, disk);
        let reported = feed(&mut debounce, 1200, &[client(Resource::Processor), disk]);
        assert_eq!((reported.limit, reported.since_ms), (either, 800));
        assert_eq!(feed(&mut debounce, 1400, &[disk; 11]).limit, disk);
    }

    #[test]
    fn restarted_and_stopped_clocks_are_handled() {
        let mut debounce = Debounce::default();
        feed(&mut debounce, 5000, &[A; 12]);
        assert_eq!(debounce.feed(0, found(B)).limit, Limit::Measuring);
        for _ in 0..1000 {
            debounce.feed(0, found(B));
        }
        assert_eq!(debounce.samples.len(), 1);
    }
}
