//! The tour on given snapshots, without a clock.

use super::act::set_limit;
use super::script::{KILLED_HOP, RATE, SLOW_HOP};
use super::*;
use crate::snapshot::verdict::{Limit, LinkCause, Verdict};
use crate::snapshot::{DownReason, HopLink, HopSnapshot, Integrity, NamedCause, NodeSnapshot, Phase, TransferSnapshot};

/// A tour with the chain that it is shown, and its clock.
struct Scene {
    tour: Tour,
    chain: ChainSnapshot,
    now: Duration,
}

const STEP: Duration = Duration::from_millis(200);

impl Scene {
    /// A tour that has begun, on a chain of three hops that are up.
    fn new() -> Self {
        let hop = |number: usize| HopSnapshot {
            number,
            ours: true,
            link: HopLink::Spawned { pid: number as u32 },
            node: Some(NodeSnapshot::default()),
            ..HopSnapshot::default()
        };
        let chain = ChainSnapshot { hops: (1..=3).map(hop).collect(), ..ChainSnapshot::default() };
        let mut scene = Self { tour: Tour::new(Pace::default()), chain, now: Duration::ZERO };
        assert_eq!(scene.caption(), None);
        assert_eq!(scene.command(TourCommand::Next), []);
        scene
    }

    /// The next act begins; its first transfer gets this number.
    fn next(&mut self) {
        self.command(TourCommand::Next);
    }

    fn command(&mut self, command: TourCommand) -> Vec<TourStep> {
        let steps = self.tour.command(command, self.now, &self.chain);
        self.applied(steps)
    }

    fn step(&mut self) -> Vec<TourStep> {
        self.now += STEP;
        let steps = self.tour.step(self.now, &self.chain);
        self.applied(steps)
    }

    /// Steps until something is to be done.
    fn until_steps(&mut self) -> Vec<TourStep> {
        for _ in 0..200 {
            let steps = self.step();
            if !steps.is_empty() {
                return steps;
            }
        }
        panic!("nothing happens in 40 s: {:?}", self.tour);
    }

    /// Changes the chain as the steps would.
    fn applied(&mut self, steps: Vec<TourStep>) -> Vec<TourStep> {
        for step in &steps {
            match step {
                TourStep::Command(Command::SetFault { hop, change }) => {
                    self.chain.hops[hop - 1].node.as_mut().unwrap().faults.set(*change);
                }
                TourStep::Command(Command::KillNode(hop)) => {
                    let reason = DownReason::Killed;
                    self.chain.hops[hop - 1].link = HopLink::Down { reason };
                }
                TourStep::Command(Command::StartNode(hop)) => {
                    self.chain.hops[hop - 1].link = HopLink::Spawned { pid: 10 + *hop as u32 };
                }
                TourStep::Fetch { rate, .. } => {
                    let number = self.chain.transfers.len() as u64 + 1;
                    let (phase, received) = (Phase::Streaming, 1000);
                    let transfer =
                        TransferSnapshot { number, phase, received, rate_limit: *rate, ..TransferSnapshot::default() };
                    self.chain.transfers.push(transfer);
                    self.tour.fetching(number);
                }
                _ => {}
            }
        }
        steps
    }

    /// The newest transfer ends.
    fn done(&mut self) {
        self.transfer().phase = Phase::Done;
    }

    fn transfer(&mut self) -> &mut TransferSnapshot {
        self.chain.transfers.last_mut().unwrap()
    }

    fn says(&mut self, limit: Limit) {
        self.chain.verdict = Verdict { limit, share: 0.9, since_ms: 5000, ..Verdict::default() };
    }

    fn caption(&self) -> Option<ActCaption> {
        match self.tour.snapshot(self.now, &self.chain) {
            TourSnapshot::Act(caption) => Some(caption),
            _ => None,
        }
    }

    fn text(&self) -> String {
        self.caption().unwrap().text
    }
}

fn fetch(over_slow_link: bool, rate: Option<u64>) -> TourStep {
    TourStep::Fetch { over_slow_link, rate }
}

fn slow(on: bool) -> TourStep {
    TourStep::SlowProcess { hop: SLOW_HOP, on }
}

#[test]
fn four_acts_inject_a_cause_each_and_take_it_back() {
    let mut scene = Scene::new();
    assert_eq!(scene.step(), [set_limit(Some(RATE))]);
    assert_eq!(scene.step(), [fetch(false, None)]);
    assert_eq!(scene.until_steps(), [set_limit(None)]);
    assert!(scene.now >= Pace::default().act && scene.now < Pace::default().act + 2 * STEP, "{:?}", scene.now);

    scene.done();
    assert_eq!(scene.step(), [slow(true), fetch(false, None)]);
    assert_eq!(scene.until_steps(), [slow(false)]);

    scene.done();
    assert_eq!(scene.step(), [fetch(true, None)]);
    assert_eq!(scene.until_steps(), [TourStep::RestoreLink]);

    scene.done();
    assert_eq!(scene.step(), [fetch(false, Some(RATE))]);
    assert_eq!(scene.until_steps(), [TourStep::Command(Command::KillNode(KILLED_HOP))]);
    scene.transfer().phase = Phase::Retrying;
    assert_eq!(scene.until_steps(), [TourStep::Command(Command::StartNode(KILLED_HOP))]);
    let number = scene.transfer().number;
    (scene.transfer().phase, scene.transfer().resumed_from) = (Phase::Streaming, 500);
    let unlimited = TourStep::Command(Command::LimitTransfer { number, rate: None });
    assert_eq!(scene.until_steps(), [unlimited]);
    scene.transfer().rate_limit = None;
    scene.transfer().integrity = Integrity::Verified { digest: "blake3:0".to_owned() };
    scene.done();
    scene.step();
    assert_eq!(scene.text(), "resumed at 500 B and verified");
    while scene.tour.is_running() {
        assert_eq!(scene.step(), []);
    }
    assert!(matches!(scene.tour.snapshot(scene.now, &scene.chain), TourSnapshot::Over(acts) if acts.len() == 4));
    assert!(scene.now < Duration::from_secs(57), "{:?}", scene.now);
    assert_eq!(scene.step(), []);
}

#[test]
fn an_act_is_named_by_its_own_verdict_alone() {
    let link = Limit::Link { from: 3, to: 2, cause: LinkCause::RoundTrip };
    let right = [Limit::RateLimit { hop: 2, rate: RATE }, Limit::Relay { hop: 1 }, link];
    let mut scene = Scene::new();
    for (act, limit) in right.into_iter().enumerate() {
        while !scene.step().iter().any(|step| matches!(step, TourStep::Fetch { .. })) {}
        for other in right.into_iter().filter(|other| *other != limit).chain([Limit::Measuring, Limit::Balanced]) {
            scene.says(other);
            scene.step();
            assert_eq!(scene.caption().unwrap().named, None, "act {act}: {other:?}");
        }
        scene.says(limit);
        scene.step();
        assert_eq!(scene.caption().unwrap().named, Some(5 * STEP));
        // The first time counts.
        scene.step();
        assert_eq!(scene.caption().unwrap().named, Some(5 * STEP));
        scene.done();
        scene.next();
    }
    scene.next();
    let TourSnapshot::Over(acts) = scene.tour.snapshot(scene.now, &scene.chain) else { panic!("{:?}", scene.tour) };
    assert!(acts.iter().all(|act| act.skipped));
    let verdict = Verdict { limit: right[0], share: 0.9, ..Verdict::default() };
    assert_eq!(acts[0].named, Some((NamedCause::Verdict(verdict), 5 * STEP)));
    assert_eq!(acts[3].named, None);
}

#[test]
fn a_cause_that_the_user_ends_is_not_injected_again() {
    let mut scene = Scene::new();
    while !scene.step().iter().any(|step| matches!(step, TourStep::Fetch { .. })) {}
    scene.step();
    assert_eq!(scene.text(), "hop 2 sends at most 4.0 MB/s");
    // Their own limit in its place stays after the act.
    scene.applied(vec![set_limit(Some(5))]);
    scene.step();
    assert_eq!(scene.text(), "the limit of hop 2 is gone");
    scene.done();
    assert_eq!(scene.command(TourCommand::Next), []);

    assert_eq!(scene.step(), [slow(true), fetch(false, None)]);
    scene.done();
    assert_eq!(scene.step(), [fetch(false, None)], "while the cause lasts, something is fetched");
    scene.chain.hops[SLOW_HOP - 1].link = HopLink::Spawned { pid: 99 };
    scene.done();
    assert_eq!(scene.step(), []);
    assert_eq!(scene.text(), "hop 1 is a new process, at full speed");
    assert_eq!(scene.command(TourCommand::Next), [slow(false)]);

    assert_eq!(scene.step(), [fetch(true, None)]);
    assert_eq!(scene.command(TourCommand::Next), [TourStep::RestoreLink]);
    scene.done();

    while scene.until_steps() != [TourStep::Command(Command::KillNode(KILLED_HOP))] {}
    assert_eq!(scene.caption().unwrap().hint, "{start-node} starts it now");
    scene.applied(vec![TourStep::Command(Command::StartNode(KILLED_HOP))]);
    for _ in 0..20 {
        assert_eq!(scene.step(), [], "it is up");
    }
}

#[test]
fn the_killed_hop_is_named_while_the_transfer_waits_for_it() {
    let mut scene = Scene::new();
    for _ in 0..3 {
        while !scene.step().iter().any(|step| matches!(step, TourStep::Fetch { .. })) {}
        scene.done();
        scene.next();
    }
    while scene.until_steps() != [TourStep::Command(Command::KillNode(KILLED_HOP))] {}
    scene.transfer().error = Some("hop 2 (relay): connection refused".into());
    scene.step();
    assert_eq!(scene.caption().unwrap().named, None);
    scene.transfer().phase = Phase::Retrying;
    scene.step();
    assert_eq!(scene.caption().unwrap().named, Some(2 * STEP));
    scene.applied(vec![TourStep::Command(Command::StartNode(KILLED_HOP))]);
    let transfer = scene.transfer();
    (transfer.phase, transfer.resumed_from) = (Phase::Done, 12_300_000);
    transfer.integrity = Integrity::Verified { digest: "blake3:0".to_owned() };
    scene.next();
    let TourSnapshot::Over(acts) = scene.tour.snapshot(scene.now, &scene.chain) else { panic!("{:?}", scene.tour) };
    let error = "hop 2 (relay): connection refused".into();
    let named = NamedCause::Interrupted { hop: KILLED_HOP, error, resumed_from: Some(12_300_000) };
    assert_eq!(acts[3].named, Some((named, 2 * STEP)));
}

#[test]
fn what_is_left_of_an_act_is_cleared_away_before_the_next() {
    let mut scene = Scene::new();
    while !scene.step().iter().any(|step| matches!(step, TourStep::Fetch { .. })) {}
    // The user has stopped a hop, and the transfer hangs.
    scene.chain.hops[2].link = HopLink::Down { reason: DownReason::Stopped };
    assert_eq!(scene.command(TourCommand::Next), [set_limit(None)]);
    assert_eq!(scene.until_steps(), [TourStep::Command(Command::Cancel(1))]);
    scene.transfer().phase = Phase::Cancelled;
    assert_eq!(scene.step(), [TourStep::Command(Command::StartNode(3))]);
    assert_eq!(scene.step(), [slow(true), fetch(false, None)]);
    // Stopping takes the cause back, and starting again begins with the first act.
    assert_eq!(scene.command(TourCommand::Stop), [slow(false)]);
    assert_eq!(scene.tour.snapshot(scene.now, &scene.chain), TourSnapshot::Stopped);
    assert_eq!(scene.step(), []);
    scene.done();
    scene.next();
    assert_eq!(scene.caption().unwrap().title, "Rate limit");
    assert_eq!(scene.caption().unwrap().left, Pace::default().act);
}
