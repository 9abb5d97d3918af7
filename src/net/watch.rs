//! Watches every hop of a route: one task each, which keeps a stream of events open and never waits for a screen.

mod hop;
mod report;
mod stream;
mod subject;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::supervisor::{HopLinks, is_near};
use crate::route::{Hop, HostPort, Route};
use crate::secret::Secret;
use crate::snapshot::{HopLink, HopSnapshot};
use hop::HopTask;
use subject::Subject;

/// How often a hop's rate is written into its history.
const SAMPLE: Duration = Duration::from_millis(250);

/// Most hops watched besides the route's own; each is a connection, and a row of the screen.
const MOST_EXTRA: usize = 64;

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
    shared: Arc<WatcherState>,
    /// In the order of their numbers: those of the route, then those attached besides.
    watched: Vec<WatchedHop>,
    spawned: Option<HopLinks>,
    spawned_token: Option<Secret>,
    seen: watch::Receiver<u64>,
    tasks: JoinSet<()>,
}

/// A hop and the task that follows it.
#[derive(Debug)]
struct WatchedHop {
    subject: Arc<Subject>,
    token: Option<Secret>,
    /// `None` once it is detached.
    task: Option<AbortHandle>,
}

/// What the task that samples goes through.
#[derive(Debug, Default)]
struct WatcherState {
    subjects: Mutex<Vec<Arc<Subject>>>,
    generation: Arc<watch::Sender<u64>>,
}

impl Watcher {
    /// Starts watching; `spawned` is how a supervisor's nodes do, where there is a supervisor.
    pub fn start(route: &Route, tokens: &Tokens, spawned: Option<&HopLinks>) -> Self {
        let shared = Arc::new(WatcherState::default());
        let seen = shared.generation.subscribe();
        let mut tasks = JoinSet::new();
        tasks.spawn(sample(Arc::clone(&shared)));
        let (spawned, spawned_token) = (spawned.cloned(), tokens.spawned.clone());
        let mut watcher = Self { shared, watched: Vec::new(), spawned, spawned_token, seen, tasks };
        let way: Arc<[Hop]> = route.hops().into();
        for at in 0..way.len() {
            watcher.watch(Arc::clone(&way), at, false, tokens.hops.get(at).cloned().flatten());
        }
        watcher
    }

    /// Watches one more node, or one again that was detached; the answer is its number, or why not.
    ///
    /// # Errors
    /// A sentence for the user if that node is watched already, or too many besides those of the route are.
    pub fn attach(&mut self, hop: Hop, token: Option<Secret>) -> Result<usize, String> {
        let there = self.watched.iter().position(|watched| watched.subject.hop().address == hop.address);
        if let Some(at) = there {
            if self.watched[at].task.is_some() {
                return Err(format!("hop {} is {} already", at + 1, hop.address));
            }
            self.watched[at].token = token.or(self.watched[at].token.take());
            self.follow(at);
            return Ok(at + 1);
        }
        if self.watched.iter().filter(|watched| watched.subject.extra).count() >= MOST_EXTRA {
            return Err(format!("{MOST_EXTRA} nodes besides the route's are watched already: detach one"));
        }
        self.watch([hop].into(), 0, true, token);
        Ok(self.watched.len())
    }

    /// Stops watching a hop, counted from 1. One of the route keeps its place; one that was attached besides is
    /// forgotten, unless others have come after it, whose numbers stay.
    ///
    /// # Errors
    /// A sentence for the user if there is no such hop, or it is not watched.
    pub fn detach(&mut self, hop: usize) -> Result<(), String> {
        let watched = hop.checked_sub(1).and_then(|at| self.watched.get_mut(at));
        let watched = watched.ok_or_else(|| format!("there is no hop {hop}"))?;
        let task = watched.task.take().ok_or_else(|| format!("hop {hop} is not watched"))?;
        task.abort();
        // A new state, for the task may be writing a last report into the old one.
        let (way, at, extra) = (Arc::clone(&watched.subject.way), watched.subject.at, watched.subject.extra);
        let left = Arc::new(Subject::new(way, at, extra, Arc::clone(&self.shared.generation)));
        watched.subject = Arc::clone(&left);
        self.shared.subjects()[hop - 1] = Arc::clone(&left);
        left.change(|state| state.set_link(HopLink::Detached));
        while self.watched.last().is_some_and(|last| last.subject.extra && last.task.is_none()) {
            self.watched.pop();
        }
        self.shared.subjects().truncate(self.watched.len());
        Ok(())
    }

    /// Where a hop, counted from 1, can be asked without another between, or why not.
    ///
    /// # Errors
    /// A sentence for the user if there is no such hop, or its loopback address is of another machine.
    pub fn direct(&self, hop: usize) -> Result<HostPort, String> {
        let watched = hop.checked_sub(1).and_then(|at| self.watched.get(at));
        let subject = &watched.ok_or_else(|| format!("there is no hop {hop}"))?.subject;
        if !is_near(&subject.way, subject.at) {
            return Err("its address is of loopback on another machine, and no hop passes such a wish on".to_owned());
        }
        Ok(subject.hop().address.clone())
    }

    /// The hops as they are now.
    pub fn hops(&self) -> Vec<HopSnapshot> {
        let now = Instant::now();
        let copy = |(index, watched): (usize, &WatchedHop)| {
            let subject = &watched.subject;
            let origin = !subject.extra && subject.at + 1 == subject.way.len();
            let snapshot = subject.state().copy(index, subject.hop(), origin, now);
            HopSnapshot { extra: subject.extra, ..snapshot }
        };
        self.watched.iter().enumerate().map(copy).collect()
    }

    /// How the program stands to a hop, counted from 1.
    pub fn link(&self, hop: usize) -> Option<HopLink> {
        let watched = self.watched.get(hop.checked_sub(1)?)?;
        Some(watched.subject.state().link.clone())
    }

    /// Waits until something that can be seen has changed since the last call.
    pub async fn changed(&mut self) {
        // The sender lives as long as this watcher does.
        let _ = self.seen.changed().await;
    }

    /// Ends when it is known of every hop of now what it is, or that it is down.
    pub fn known(&self) -> impl Future<Output = ()> + use<> {
        let (shared, mut seen) = (Arc::clone(&self.shared), self.seen.clone());
        async move {
            let open = |subject: &Arc<Subject>| matches!(subject.state().link, HopLink::Unknown | HopLink::Starting);
            while shared.subjects().iter().any(open) {
                let _ = seen.changed().await;
            }
        }
    }

    fn watch(&mut self, way: Arc<[Hop]>, at: usize, extra: bool, token: Option<Secret>) {
        let subject = Arc::new(Subject::new(way, at, extra, Arc::clone(&self.shared.generation)));
        self.shared.subjects().push(Arc::clone(&subject));
        self.watched.push(WatchedHop { subject, token, task: None });
        self.follow(self.watched.len() - 1);
    }

    fn follow(&mut self, index: usize) {
        let watched = &mut self.watched[index];
        // Whoever is attached besides the route was not started by us.
        let links = self.spawned.clone().filter(|_| !watched.subject.extra);
        watched.subject.change(|state| state.set_link(HopLink::Unknown));
        let task = HopTask::new(Arc::clone(&watched.subject), watched.token.clone(), self.spawned_token.clone());
        watched.task = Some(self.tasks.spawn(task.run(links)));
    }
}

impl WatcherState {
    fn subjects(&self) -> MutexGuard<'_, Vec<Arc<Subject>>> {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes histories at an even pace, whatever the pace of the reports.
async fn sample(shared: Arc<WatcherState>) {
    let mut ticks = interval(SAMPLE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for subject in shared.subjects().iter() {
            subject.change(|state| state.sample(Instant::now()));
        }
    }
}
