//! Growth on modeled links over many seeds, on recorded series, and on single samples.

use super::model::{Found, Gate, Link, Outcome, Path, transfer};
use super::*;
use crate::snapshot::verdict::{Limit, LinkCause, Resource};

/// Series of single connections through four links of 50 ms and 100 Mbit/s, and through links of 10 ms with one of
/// 40 or 60 Mbit/s among them. A line is 100 ms: the received KB, and the verdict of that moment, not debounced, with
/// the current and the least round trip of the limiting link in ms.
const RECORDED: &str = include_str!("recorded.txt");
/// Most KB in 100 ms of the recorded links.
const CAPACITY_KB: u64 = 1200;

const LOSSY: Link = Link { rtt_ms: 50.0, rate: 12e6, queue: 2_048_000.0, loss: 0.001 };
const CLEAN: Link = Link { loss: 0.0, ..LOSSY };
const FAST: Link = Link { rtt_ms: 10.0, rate: 36e6, queue: 4_096_000.0, loss: 0.0 };

fn path(links: &[Link]) -> Path {
    Path { links: links.to_vec(), ..Path::default() }
}

fn gated(limit: Limit, rate: f64, cost: f64) -> Path {
    Path { gate: Some(Gate { rate, cost, limit }), ..path(&[FAST; 4]) }
}

/// Transfers a file over a path once with every seed.
fn transfers(path: &Path, size: f64, seeds: u64) -> Vec<Outcome> {
    (0..seeds).map(|seed| transfer(path, size, None, seed)).collect()
}

#[test]
fn links_that_lose_packets_get_all_connections_within_seconds() {
    // The time includes the set-up: 0.4 s for the first connection, and as much for each step.
    for (links, median, most) in [
        (vec![LOSSY; 4], 5.0, 7.0),
        (vec![FAST, FAST, Link { loss: 0.005, ..LOSSY }, FAST], 3.0, 4.5),
        (vec![Link { rtt_ms: 200.0, loss: 0.0003, rate: 24e6, queue: 4_096_000.0 }], 5.0, 7.0),
    ] {
        let outcomes = transfers(&path(&links), 256e6, 40);
        let mut times: Vec<f64> = outcomes.iter().map(|outcome| outcome.sixteen.unwrap_or(f64::INFINITY)).collect();
        times.sort_by(f64::total_cmp);
        assert!(times[20] <= median && times[37] <= most, "{times:?}");
        let one = transfer(&path(&links), 64e6, Some(1), 7).seconds * 4.0;
        let mean = outcomes.iter().map(|outcome| outcome.seconds).sum::<f64>() / 40.0;
        assert!(mean <= 0.2 * one, "{mean} s, and {one} s over one connection");
    }
}

#[test]
fn other_limits_have_at_most_two_connections_and_lose_nothing() {
    let disk = Limit::Origin { hop: 4, resource: Resource::Disk };
    let processor = Limit::Relay { hop: 2 };
    let limit = Limit::RateLimit { hop: 2, rate: 3_000_000 };
    let narrow = Link { rate: 4.8e6, queue: 1_024_000.0, ..FAST };
    for (name, path, size) in [
        ("no loss", path(&[CLEAN; 4]), 100e6),
        ("one full link", path(&[FAST, FAST, narrow, FAST]), 60e6),
        ("short queue", path(&[FAST, FAST, Link { queue: 61_440.0, rate: 7.2e6, ..narrow }, FAST]), 60e6),
        ("rate limit", gated(limit, 3e6, 0.0), 30e6),
        ("processor", gated(processor, 20e6, 0.0), 150e6),
        // Each further connection makes its heads move more.
        ("disk", gated(disk, 20e6, 0.03), 150e6),
    ] {
        let mut seconds = (0.0, 0.0);
        for seed in 0..20 {
            let outcome = transfer(&path, size, None, seed);
            assert!(outcome.most <= 2, "{name}, seed {seed}: {:?}", outcome.steps);
            seconds.0 += outcome.seconds;
            seconds.1 += transfer(&path, size, Some(1), seed).seconds;
        }
        assert!(seconds.0 <= 1.01 * seconds.1, "{name}: {seconds:?}");
    }
}

#[test]
fn a_long_link_gets_more_connections_than_its_window_allows_one() {
    let long = Link { rtt_ms: 200.0, rate: 120e6, queue: 8_192_000.0, loss: 0.0 };
    for seed in 0..10 {
        let outcome = transfer(&path(&[FAST, Link { rtt_ms: 120.0, ..FAST }, FAST]), 200e6, None, seed);
        assert!((2..=8).contains(&outcome.last), "{outcome:?}");
        let outcome = transfer(&path(&[long]), 600e6, None, seed);
        assert!(outcome.last >= 6, "{outcome:?}");
    }
}

/// Samples of one recorded connection: KB, and the verdict.
fn recorded(name: &str) -> Vec<(u64, Option<Found>)> {
    let heading = format!("== {name}");
    let lines = RECORDED.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with("=="));
    let number = |text: &str| text.parse::<u64>().unwrap();
    let verdict = |words: &[&str]| match *words {
        ["limit", hop] => (Limit::RateLimit { hop: number(hop) as usize, rate: 3_000_000 }, None),
        ["relay", hop] => (Limit::Relay { hop: number(hop) as usize }, None),
        [link, cause, trips] => {
            let (from, to) = link.split_once('>').unwrap();
            let cause = if cause == "loss" { LinkCause::Loss } else { LinkCause::Congestion };
            let (now, least) = trips.split_once('/').unwrap();
            let trips = LinkState { now_us: number(now) * 1000, least_us: number(least) * 1000, tolerates_loss: false };
            (Limit::Link { from: number(from) as usize, to: number(to) as usize, cause }, Some(trips))
        }
        _ => panic!("{words:?}"),
    };
    lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            (number(words[0]), (words.len() > 1).then(|| verdict(&words[1..])))
        })
        .collect()
}

/// Replays recorded series for 20 s, the next one for each further connection from its beginning, or the first alone
/// as the sum of all; verdicts arrive 300 ms late. Returns the most connections, and when they were 16.
fn replay(names: &[&str], rtt_ms: u64, independent: bool) -> (usize, usize, Option<f64>) {
    let series: Vec<_> = names.iter().map(|name| recorded(name)).collect();
    let mut growth = Growth::new(ConnectionCount::new(16).unwrap());
    let mut opened = vec![0];
    let (mut bytes, mut most, mut sixteen) = (0, 1, None);
    // After its end, a series repeats from 4 s on, without its slow start.
    let at = |series: &[(u64, _)], sample: usize| {
        if sample < series.len() { sample } else { 40 + (sample - 40) % (series.len() - 40) }
    };
    for sample in 0..200 {
        let now_us = (sample as u64 + 1) * 100_000;
        let received = |(nth, from): (usize, &usize)| {
            let series = &series[nth % series.len()];
            series[at(series, sample - from)].0
        };
        let sum: u64 = opened.iter().enumerate().map(received).sum();
        bytes += 1000 * if independent { sum.min(CAPACITY_KB) } else { received((0, &0)) };
        let set_up = if rtt_ms > 100 { 4 } else { 1 };
        let active = opened.iter().filter(|from| sample - **from >= set_up).count();
        let verdict = sample.checked_sub(3).and_then(|then| series[0][at(&series[0], then)].1);
        let verdict = verdict.filter(|_| growth.wants_verdict(now_us));
        let (limit, link) = (verdict.map(|found| found.0), verdict.and_then(|found| found.1));
        let pending = opened.len() - active;
        let rtt_us = rtt_ms * 1000;
        let left = 1 << 30;
        if active > 0 {
            growth.feed(&Sample { now_us, bytes, active, pending, rtt_us, limit, link, left, ..Sample::default() });
        }
        opened.resize(growth.connections(), sample);
        most = most.max(opened.len());
        if active == 16 && sixteen.is_none() {
            sixteen = Some(now_us as f64 / 1e6);
        }
    }
    (most, growth.connections(), sixteen)
}

#[test]
fn recorded_connections_over_links_that_lose_packets_add_up_to_sixteen() {
    let names = ["loss-1", "loss-2", "loss-3", "loss-4"];
    for first in 0..names.len() {
        let rotated: Vec<&str> = names[first..].iter().chain(&names[..first]).copied().collect();
        let (most, last, sixteen) = replay(&rotated, 200, true);
        assert!(most == 16 && last >= 12, "{most}, at the end {last}");
        assert!(sixteen.is_some_and(|seconds| seconds <= 9.0), "{sixteen:?} from {}", rotated[0]);
    }
}

#[test]
fn recorded_connections_that_fill_a_link_remain_at_most_two() {
    for (name, rtt_ms) in [("no-loss", 200), ("short-queue", 40), ("full", 40), ("rate-limit", 40)] {
        let (most, last, _) = replay(&[name], rtt_ms, false);
        assert!(most <= 2 && last <= 2, "{name}: at most {most}, at the end {last}");
    }
    // Its round trips show no queue, and its rate is not flat.
    let (most, last, _) = replay(&["bbr"], 200, false);
    assert!(most <= 8 && last <= 4, "at most {most}, at the end {last}");
}

/// A growth that is fed by hand: one connection through 100 ms that brings a MB/s, and verdicts.
struct Hand {
    growth: Growth,
    sample: Sample,
    steps: Vec<String>,
}

const LOSES: Found = (
    Limit::Link { from: 3, to: 2, cause: LinkCause::Loss },
    Some(LinkState { now_us: 51_000, least_us: 50_000, tolerates_loss: false }),
);

impl Hand {
    fn new() -> Self {
        let growth = Growth::new(ConnectionCount::new(16).unwrap());
        let sample = Sample { active: 1, rtt_us: 100_000, left: 1 << 30, ..Sample::default() };
        Self { growth, sample, steps: Vec::new() }
    }

    /// Feeds ten samples a second at this rate, every fifth with the verdict, all connections delivering.
    fn run(&mut self, seconds: f64, rate: u64, verdict: Found) -> &mut Self {
        self.sample.active = self.growth.connections();
        self.run_with(seconds, rate, verdict)
    }

    fn run_with(&mut self, seconds: f64, rate: u64, (limit, link): Found) -> &mut Self {
        for _ in 0..(seconds * 10.0) as u32 {
            self.sample.now_us += 100_000;
            self.sample.bytes += rate / 10;
            let now = self.sample.now_us.is_multiple_of(500_000);
            let sample = Sample { limit: now.then_some(limit), link: link.filter(|_| now), ..self.sample };
            if let Some(step) = self.growth.feed(&sample) {
                assert_eq!(step.connections, self.growth.connections());
                self.steps.push(step.reason.to_string());
            }
        }
        self
    }

    /// Runs until the next step, and returns it.
    fn next(&mut self, rate: u64, verdict: Found) -> String {
        self.steps.clear();
        let mut tenths = 0;
        while self.steps.is_empty() && tenths < 60 {
            self.run(0.1, rate, verdict);
            tenths += 1;
        }
        self.steps().concat()
    }

    /// Runs until this many connections are kept; each step brings 1.8 times the rate, from 1 MB/s on.
    fn grow_to(&mut self, connections: usize) -> &mut Self {
        let mut rate = 1_000_000;
        while self.growth.connections() < connections {
            self.next(rate, LOSES);
            rate = rate * 18 / 10;
            assert_eq!(self.next(rate, LOSES), format!("{} connections brought 1.8 x", self.growth.connections()));
        }
        self
    }

    fn steps(&mut self) -> Vec<String> {
        std::mem::take(&mut self.steps)
    }
}

#[test]
fn a_step_that_brings_half_of_its_ideal_gain_is_kept_and_another_reversed() {
    let mut hand = Hand::new();
    assert_eq!(hand.next(1_000_000, LOSES), "link 3>2 loses packets: 2 connections");
    assert_eq!(hand.next(1_600_000, LOSES), "2 connections brought 1.6 x");
    assert_eq!(hand.next(1_600_000, LOSES), "link 3>2 loses packets: 4 connections");
    // A flat rate: 4 connections bring no more than 2.
    assert_eq!(hand.next(1_600_000, LOSES), "back to 2: 4 connections brought 1.0 x");
    assert_eq!(hand.run(19.0, 1_600_000, LOSES).steps(), [""; 0], "a pause");
    assert_eq!(hand.next(1_600_000, LOSES), "link 3>2 loses packets: 4 connections");
}

#[test]
fn a_step_between_half_and_none_of_its_gain_is_reversed_by_half() {
    let mut hand = Hand::new();
    assert_eq!(hand.grow_to(4).next(3_240_000, LOSES), "link 3>2 loses packets: 8 connections");
    assert_eq!(hand.next(4_536_000, LOSES), "back to 6: 8 connections brought 1.4 x");
}

#[test]
fn a_step_that_brings_all_of_its_gain_is_followed_by_a_larger_one() {
    let mut hand = Hand::new();
    hand.next(1_000_000, LOSES);
    assert_eq!(hand.next(2_000_000, LOSES), "2 connections brought 2.0 x");
    assert_eq!(hand.next(2_000_000, LOSES), "link 3>2 loses packets: 8 connections");
    assert_eq!(hand.next(5_200_000, LOSES), "8 connections brought 2.6 x");
    assert_eq!(hand.next(5_200_000, LOSES), "link 3>2 loses packets: 16 connections");
}

#[test]
fn no_connection_is_added_at_another_limit_or_near_the_end() {
    let link = |cause, now_us| {
        (Limit::Link { from: 1, to: 0, cause }, Some(LinkState { now_us, least_us: 50_000, tolerates_loss: false }))
    };
    let tolerant = |cause| {
        let state = LinkState { now_us: 60_000, least_us: 50_000, tolerates_loss: true };
        (Limit::Link { from: 1, to: 0, cause }, Some(state))
    };
    let without = |cause| (Limit::Link { from: 1, to: 0, cause }, None);
    for (verdict, steps) in [
        (link(LinkCause::Loss, 60_000), 1),
        (link(LinkCause::Congestion, 60_000), 1),
        (link(LinkCause::Loss, 90_000), 0),
        (tolerant(LinkCause::Loss), 0),
        (tolerant(LinkCause::Congestion), 0),
        (tolerant(LinkCause::RoundTrip), 1),
        (without(LinkCause::Loss), 1),
        (without(LinkCause::RoundTrip), 1),
        (without(LinkCause::Congestion), 0),
        ((Limit::Unobserved { after: 1, before: 3 }, None), 1),
        ((Limit::Measuring, None), 0),
        ((Limit::Balanced, None), 0),
        ((Limit::Client { resource: Resource::Disk }, None), 0),
        ((Limit::RateLimit { hop: 2, rate: 1_000_000 }, None), 0),
        ((Limit::Receiver { from: 2, to: 1 }, None), 0),
    ] {
        let found = Hand::new().run(2.1, 1_000_000, verdict).steps();
        assert_eq!(found.len(), steps, "{verdict:?}: {found:?}");
    }
    let mut ending = Hand::new();
    ending.sample.left = 1_500_000;
    assert_eq!(ending.run(5.3, 1_000_000, LOSES).steps(), [""; 0]);
    assert!(!ending.growth.wants_verdict(ending.sample.now_us));
    let mut limited = Hand::new();
    limited.sample.own_limit = true;
    assert_eq!(limited.run(5.0, 1_000_000, LOSES).steps(), [""; 0]);
    let mut single = Hand { growth: Growth::new(ConnectionCount::ONE), ..Hand::new() };
    assert_eq!(single.run(5.0, 1_000_000, LOSES).steps(), [""; 0]);
    assert!(!single.growth.wants_verdict(9_000_000));
}

#[test]
fn connections_are_given_back_at_another_limit_unless_the_rate_falls() {
    let limit = (Limit::RateLimit { hop: 2, rate: 2_000_000 }, None);
    let mut hand = Hand::new();
    let given_back = "hop 2 is rate-limited to 2 MB/s: 1 connection";
    assert_eq!(hand.grow_to(2).run(5.0, 2_000_000, limit).steps(), [given_back]);
    // The verdict was wrong: one connection brings half.
    let mut hand = Hand::new();
    assert_eq!(hand.grow_to(2).next(2_000_000, limit), given_back);
    assert_eq!(hand.next(1_000_000, limit), "back to 2: 1 connection brought 0.5 x");
    assert_eq!(hand.run(9.0, 2_000_000, limit).steps(), [""; 0], "a pause");
    assert_eq!(hand.next(2_000_000, limit), given_back);
    let mut hand = Hand::new();
    hand.grow_to(2).sample.own_limit = true;
    assert_eq!(hand.next(2_000_000, LOSES), "the client's rate limit: 1 connection");
}

#[test]
fn a_trial_ends_without_the_new_connections() {
    let mut hand = Hand::new();
    hand.next(1_000_000, LOSES);
    (hand.sample.active, hand.sample.pending) = (1, 1);
    assert_eq!(hand.run_with(3.0, 1_000_000, LOSES).steps(), ["back to 1: not all of 2 delivered"]);
    // A limit that appears during a trial ends it.
    let mut hand = Hand::new();
    hand.next(1_000_000, LOSES);
    let full = (
        Limit::Link { from: 3, to: 2, cause: LinkCause::Loss },
        Some(LinkState { now_us: 80_000, least_us: 50_000, tolerates_loss: false }),
    );
    assert_eq!(hand.run(2.0, 1_000_000, full).steps(), ["back to 1: 2 connections brought 1.0 x"]);
}

#[test]
fn a_step_is_due_before_two_round_trips_have_passed() {
    let mut hand = Hand::new();
    hand.grow_to(2);
    // Two of them are longer than the time so far.
    hand.sample.rtt_us = hand.sample.now_us * 9 / 10;
    assert_eq!(hand.next(1_800_000, LOSES), "link 3>2 loses packets: 4 connections");
}

#[test]
fn verdicts_are_asked_for_while_a_decision_is_due() {
    let mut hand = Hand::new();
    assert!(!hand.growth.wants_verdict(0), "no byte yet");
    hand.run(0.4, 1_000_000, LOSES);
    assert!(hand.growth.wants_verdict(400_000));
    hand.run(1.0, 1_000_000, (Limit::Measuring, None));
    assert!(!hand.growth.wants_verdict(1_050_000) && hand.growth.wants_verdict(1_600_000));
    // After many that name another limit, less often.
    hand.run(6.0, 1_000_000, (Limit::RateLimit { hop: 1, rate: 1 }, None));
    let last_us = hand.growth.verdicts.0;
    assert!(!hand.growth.wants_verdict(last_us + 1_900_000) && hand.growth.wants_verdict(last_us + 2_000_000));
}

#[test]
fn reasons_are_sentences_with_the_number_of_connections() {
    let gain = Gain { connections: 8, factor: 1.94 };
    let limit = |limit| Reason::Limit { limit, connections: 4 }.to_string();
    let link = |cause| limit(Limit::Link { from: 1, to: 0, cause });
    assert_eq!(link(LinkCause::Loss), "link 1>client loses packets: 4 connections");
    assert_eq!(link(LinkCause::RoundTrip), "link 1>client has a long round trip: 4 connections");
    assert_eq!(link(LinkCause::Congestion), "link 1>client limits, and is not full: 4 connections");
    assert_eq!(
        limit(Limit::Origin { hop: 4, resource: Resource::Disk }),
        "the origin waits for its disk: 4 connections"
    );
    assert_eq!(
        limit(Limit::Client { resource: Resource::Either }),
        "the client is limited by its disk or processor: 4 connections"
    );
    assert_eq!(
        limit(Limit::Unobserved { after: 0, before: 2 }),
        "not every hop between the client and hop 2 sends reports: 4 connections"
    );
    let full = Reason::Full { limit: LOSES.0, connections: 1 };
    assert_eq!(full.to_string(), "link 3>2 is full: 1 connection");
    assert_eq!(Reason::Gained(gain).to_string(), "8 connections brought 1.9 x");
    assert_eq!(Reason::Inconclusive(gain).to_string(), "8 connections brought 1.9 x so far, and the link is not full");
    assert_eq!(Reason::LittleGain { gain, back: 4 }.to_string(), "back to 4: 8 connections brought 1.9 x");
}
