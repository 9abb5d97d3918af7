//! A verdict that does not flap: a change is reported once most samples of the last second agree on it.

use std::collections::VecDeque;

use crate::snapshot::verdict::{Limit, LinkCause, Resource, Verdict};

/// How far back a change is looked for, in µs: what most looks of this time found is true now.
const MEMORY_US: u64 = 1_000_000;
/// Findings closer together than this, in µs, count as one, so that the memory stays short whoever feeds it.
const STEP_US: u64 = 20_000;

/// The findings of the last second, and the verdict that was reported of them.
#[derive(Clone, Debug, Default)]
pub struct Debounce {
    findings: VecDeque<(u64, Verdict)>,
    reported: Verdict,
    since_us: u64,
}

impl Debounce {
    /// Takes what one look found; the answer is what holds.
    ///
    /// Something new takes over once it makes up two thirds of the last second, or half of it where nothing was known.
    pub fn feed(&mut self, now_us: u64, found: Verdict) -> Verdict {
        if self.findings.back().is_some_and(|(time, _)| *time > now_us) {
            *self = Self::default();
        }
        if self.findings.back().is_none_or(|(time, _)| now_us - time >= STEP_US) {
            self.findings.push_back((now_us, found));
        }
        while self.findings.front().is_some_and(|(time, _)| now_us - time > MEMORY_US) {
            self.findings.pop_front();
        }
        let votes = |limit: &Limit| self.findings.iter().filter(|(_, other)| is_same(&other.limit, limit)).count();
        let most = self.findings.iter().map(|(_, verdict)| verdict.limit).max_by_key(votes).unwrap_or_default();
        let span = now_us - self.findings.front().map_or(now_us, |(time, _)| *time);
        let (share, of) = if self.reported.limit == Limit::Measuring { (1, 2) } else { (2, 3) };
        let enough = votes(&most) * of >= self.findings.len() * share && span >= MEMORY_US / 2;
        if enough && !is_same(&most, &self.reported.limit) {
            self.since_us = now_us;
            self.reported.limit = most;
        }
        // The figures are the newest, whether or not the stage is.
        if let Some((_, newest)) =
            self.findings.iter().rev().find(|(_, other)| is_same(&other.limit, &self.reported.limit))
        {
            self.reported = *newest;
        }
        if let Limit::Client { resource } = &mut self.reported.limit {
            // What the looks do not agree on is not known.
            let same = |found: &Limit| !matches!(found, Limit::Client { resource: other } if *other != *resource);
            if !self.findings.iter().all(|(_, other)| same(&other.limit)) {
                *resource = Resource::Either;
            }
        }
        Verdict { since_ms: (now_us - self.since_us) / 1000, ..self.reported }
    }
}

/// The same kind of cause at the same place; a cap that was turned is still the cap, a client the client.
fn is_same(one: &Limit, other: &Limit) -> bool {
    let place = |limit: &Limit| match *limit {
        Limit::RateLimit { hop, .. } => Limit::RateLimit { hop, rate: 0 },
        Limit::Client { .. } => Limit::Client { resource: Resource::Either },
        Limit::Link { from, to, .. } => Limit::Link { from, to, cause: LinkCause::Unknown },
        other => other,
    };
    place(one) == place(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(limit: Limit) -> Verdict {
        Verdict { limit, share: 0.9, ..Verdict::default() }
    }

    /// Feeds ten findings a second, from a time on; the last answer.
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
    fn what_is_new_is_said_within_a_second_and_what_flickers_is_not() {
        let mut debounce = Debounce::default();
        assert_eq!(feed(&mut debounce, 0, &[A; 4]).limit, Limit::Measuring);
        let said = feed(&mut debounce, 400, &[A; 7]);
        assert_eq!((said.limit, said.since_ms), (A, 500));
        assert_eq!(feed(&mut debounce, 1100, &[B, A, A, B, A, B, A, A, B, A]).limit, A);
        assert_eq!(feed(&mut debounce, 2100, &[B; 4]).limit, A);
        let said = feed(&mut debounce, 2500, &[B; 6]);
        assert_eq!(said.limit, B);
        assert!(said.since_ms <= 400, "{said:?}");
    }

    #[test]
    fn a_cap_that_is_turned_is_the_same_cap_at_its_new_rate() {
        let mut debounce = Debounce::default();
        feed(&mut debounce, 0, &[B; 12]);
        let said = feed(&mut debounce, 1200, &[Limit::RateLimit { hop: 2, rate: 9 }]);
        assert_eq!((said.limit, said.since_ms), (Limit::RateLimit { hop: 2, rate: 9 }, 700));
    }

    #[test]
    fn which_part_of_a_client_it_is_all_looks_have_to_agree_on() {
        let client = |resource| Limit::Client { resource };
        let (disk, either) = (client(Resource::Disk), client(Resource::Either));
        let mut debounce = Debounce::default();
        assert_eq!(feed(&mut debounce, 0, &[disk; 12]).limit, disk);
        let said = feed(&mut debounce, 1200, &[client(Resource::Processor), disk]);
        assert_eq!((said.limit, said.since_ms), (either, 800));
        assert_eq!(feed(&mut debounce, 1400, &[disk; 11]).limit, disk);
    }

    #[test]
    fn a_clock_that_starts_again_and_one_that_stands_still_are_borne() {
        let mut debounce = Debounce::default();
        feed(&mut debounce, 5000, &[A; 12]);
        assert_eq!(debounce.feed(0, found(B)).limit, Limit::Measuring);
        for _ in 0..1000 {
            debounce.feed(0, found(B));
        }
        assert_eq!(debounce.findings.len(), 1);
    }
}
