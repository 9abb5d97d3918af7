//! Watches every hop of a route: one task each, which keeps a stream of events open and never waits for a screen.

mod hop;
mod report;
mod stream;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::access::Secret;
use super::supervisor::HopLinks;
use crate::route::{Hop, Route};
use crate::snapshot::{HopLink, HopSnapshot};
use crate::verdict::Stage;
use hop::HopTask;
use report::HopState;

/// How often a hop's rate is written into its history.
const SAMPLE: Duration = Duration::from_millis(250);

/// What a watcher may show to the hops to be let in.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// Each hop's own, hop 1 first; hops behind the end have none.
    pub hops: Vec<Option<Secret>>,
    /// That of the nodes this program started.
    pub spawned: Option<Secret>,
}

/// Keeps what is known of each hop up to date, until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    seen: watch::Receiver<u64>,
    _tasks: JoinSet<()>,
}

/// What the tasks write and everyone reads.
#[derive(Debug)]
struct Shared {
    hops: Vec<Hop>,
    states: Vec<Mutex<HopState>>,
    generation: watch::Sender<u64>,
}

impl Watcher {
    /// Starts watching; `spawned` is how a supervisor's nodes do, where there is a supervisor.
    pub fn start(route: &Route, tokens: &Tokens, spawned: Option<&HopLinks>) -> Self {
        let hops = route.hops().to_vec();
        let states = hops.iter().map(|_| Mutex::default()).collect();
        let (generation, seen) = watch::channel(0);
        let shared = Arc::new(Shared { hops, states, generation });
        let mut tasks = JoinSet::new();
        for at in 0..shared.hops.len() {
            tasks.spawn(HopTask::new(Arc::clone(&shared), at, tokens).run(spawned.cloned()));
        }
        tasks.spawn(sample(Arc::clone(&shared)));
        Self { shared, seen, _tasks: tasks }
    }

    /// The hops as they are now.
    pub fn hops(&self) -> Vec<HopSnapshot> {
        let now = Instant::now();
        let hops = self.shared.hops.iter().enumerate();
        hops.map(|(at, hop)| self.shared.state(at).copy(at, hop, at + 1 == self.shared.hops.len(), now)).collect()
    }

    /// What each hop did during the last second or so, for the verdict.
    pub fn stages(&self) -> Vec<Stage> {
        let now = Instant::now();
        (0..self.shared.hops.len()).map(|at| self.shared.state(at).stage(at + 1, now)).collect()
    }

    /// Waits until something that can be seen has changed since the last call.
    pub async fn changed(&mut self) {
        // The sender lives as long as this watcher does.
        let _ = self.seen.changed().await;
    }

    /// Waits until it is known of every hop what it is, or that it is down.
    pub async fn known(&mut self) {
        while self.hops().iter().any(|hop| matches!(hop.link, HopLink::Unknown | HopLink::Starting)) {
            self.changed().await;
        }
    }

    /// A number that grows with every change that can be seen; each receiver waits on its own.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.seen.clone()
    }
}

impl Shared {
    /// A panic in one task must not blind the others: no change is left half-made.
    fn state(&self, at: usize) -> MutexGuard<'_, HopState> {
        self.states[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is known of a hop; `change` says whether that can be seen.
    fn change(&self, at: usize, change: impl FnOnce(&mut HopState) -> bool) {
        let visible = change(&mut self.state(at));
        if visible {
            self.generation.send_modify(|generation| *generation += 1);
        }
    }
}

/// Writes histories at an even pace, whatever the pace of the reports.
async fn sample(shared: Arc<Shared>) {
    let mut ticks = interval(SAMPLE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for at in 0..shared.hops.len() {
            shared.change(at, |state| state.sample(Instant::now()));
        }
    }
}
