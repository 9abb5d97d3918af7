//! Watches every hop of a route, with one task per hop that keeps a stream of events open and never waits for a screen.

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
use crate::keys::KeyPair;
use crate::route::{Hop, Route};
use crate::secret::Secret;
use crate::snapshot::{HopLink, HopSnapshot};
use hop::HopTask;
use subject::Subject;

/// Time between two samples of a hop's rate in its history.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// Most hops watched in addition to the route's own; each is a connection, and a row of the screen.
const MAX_EXTRA: usize = 64;

/// Tokens that a watcher may present to hops.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    /// Token of each hop, hop 1 first; missing entries mean no token.
    pub hops: Vec<Option<Secret>>,
    /// Token of the nodes this program started.
    pub spawned: Option<Secret>,
    /// Key that signs the requests.
    pub identity: Option<Arc<KeyPair>>,
}

/// Keeps the state of each hop up to date until dropped.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<WatcherState>,
    /// Ordered by number: hops of the route, then hops attached in addition.
    watched: Vec<WatchedHop>,
    spawned: Option<HopLinks>,
    spawned_token: Option<Secret>,
    identity: Option<Arc<KeyPair>>,
    changes: watch::Receiver<u64>,
    tasks: JoinSet<()>,
}

/// A hop and the task that watches it.
#[derive(Debug)]
struct WatchedHop {
    subject: Arc<Subject>,
    token: Option<Secret>,
    /// `None` once detached.
    task: Option<AbortHandle>,
}

/// State shared with the sampling task.
#[derive(Debug, Default)]
struct WatcherState {
    subjects: Mutex<Vec<Arc<Subject>>>,
    generation: Arc<watch::Sender<u64>>,
}

impl Watcher {
    /// Starts watching; `spawned` has the states of a supervisor's nodes, if there is a supervisor.
    pub fn start(route: &Route, tokens: &Tokens, spawned: Option<&HopLinks>) -> Self {
        let shared = Arc::new(WatcherState::default());
        let changes = shared.generation.subscribe();
        let mut tasks = JoinSet::new();
        tasks.spawn(sample(Arc::clone(&shared)));
        let (spawned, spawned_token) = (spawned.cloned(), tokens.spawned.clone());
        let identity = tokens.identity.clone();
        let mut watcher = Self { shared, watched: Vec::new(), spawned, spawned_token, identity, changes, tasks };
        let hops: Arc<[Hop]> = route.hops().into();
        for at in 0..hops.len() {
            watcher.watch(Arc::clone(&hops), at, false, tokens.hops.get(at).cloned().flatten());
        }
        watcher
    }

    /// Watches one more node, or a detached one again; returns its number.
    ///
    /// # Errors
    /// A sentence for the user if that node is watched already, if too many are watched in addition to the route, or if
    /// the token would be readable on a route where nothing else is.
    pub fn attach(&mut self, hop: Hop, token: Option<Secret>) -> Result<usize, String> {
        let existing = self.watched.iter().position(|watched| watched.subject.hop().address == hop.address);
        if let Some(at) = existing {
            if self.watched[at].task.is_some() {
                return Err(format!("hop {} is {} already", at + 1, hop.address));
            }
            if token.is_some() && !self.watched[at].subject.may_have_token() {
                return Err("no token is sent in clear text to a hop of a route with key=".to_owned());
            }
            self.watched[at].token = token.or(self.watched[at].token.take());
            self.follow(at);
            return Ok(at + 1);
        }
        if self.watched.iter().filter(|watched| watched.subject.extra).count() >= MAX_EXTRA {
            return Err(format!("{MAX_EXTRA} nodes in addition to the route are watched already: detach one"));
        }
        self.watch([hop].into(), 0, true, token);
        Ok(self.watched.len())
    }

    /// Stops watching a hop, counted from 1. A hop of the route keeps its row; one that was attached in addition is
    /// removed, unless others were attached after it, because their numbers must not change.
    ///
    /// # Errors
    /// A sentence for the user if there is no such hop, or it is not watched.
    pub fn detach(&mut self, hop: usize) -> Result<(), String> {
        let watched = hop.checked_sub(1).and_then(|at| self.watched.get_mut(at));
        let watched = watched.ok_or_else(|| format!("there is no hop {hop}"))?;
        let task = watched.task.take().ok_or_else(|| format!("hop {hop} is not watched"))?;
        task.abort();
        // A new state, because the task may still be writing a last report into the old one.
        let (hops, at, extra) = (Arc::clone(&watched.subject.hops), watched.subject.at, watched.subject.extra);
        let detached = Arc::new(Subject::new(hops, at, extra, Arc::clone(&self.shared.generation)));
        watched.subject = Arc::clone(&detached);
        self.shared.subjects()[hop - 1] = Arc::clone(&detached);
        detached.change(|state| state.set_link(HopLink::Detached));
        while self.watched.last().is_some_and(|last| last.subject.extra && last.task.is_none()) {
            self.watched.pop();
        }
        self.shared.subjects().truncate(self.watched.len());
        Ok(())
    }

    /// Returns a hop, counted from 1, that can be reached without another hop in between.
    ///
    /// # Errors
    /// A sentence for the user if there is no such hop, or if its loopback address belongs to another machine.
    pub fn direct(&self, hop: usize) -> Result<Hop, String> {
        let watched = hop.checked_sub(1).and_then(|at| self.watched.get(at));
        let subject = &watched.ok_or_else(|| format!("there is no hop {hop}"))?.subject;
        if !is_near(&subject.hops, subject.at) {
            return Err("its loopback address is on another machine, and control requests are not relayed".to_owned());
        }
        Ok(subject.hop().clone())
    }

    /// Returns the hops as they are now.
    pub fn hops(&self) -> Vec<HopSnapshot> {
        let now = Instant::now();
        let copy = |(index, watched): (usize, &WatchedHop)| {
            let subject = &watched.subject;
            let origin = !subject.extra && subject.at + 1 == subject.hops.len();
            let snapshot = subject.state().copy(index, subject.hop(), origin, now);
            HopSnapshot { extra: subject.extra, ..snapshot }
        };
        self.watched.iter().enumerate().map(copy).collect()
    }

    /// Returns the link state of a hop, counted from 1.
    pub fn link(&self, hop: usize) -> Option<HopLink> {
        let watched = self.watched.get(hop.checked_sub(1)?)?;
        Some(watched.subject.state().link.clone())
    }

    /// Waits until something visible has changed since the last call.
    pub async fn changed(&mut self) {
        // The sender exists as long as this watcher does.
        let _ = self.changes.changed().await;
    }

    /// Completes when every current hop is either identified or known to be down.
    pub fn all_known(&self) -> impl Future<Output = ()> + use<> {
        let (shared, mut changes) = (Arc::clone(&self.shared), self.changes.clone());
        async move {
            let open = |subject: &Arc<Subject>| matches!(subject.state().link, HopLink::Unknown | HopLink::Starting);
            while shared.subjects().iter().any(open) {
                let _ = changes.changed().await;
            }
        }
    }

    fn watch(&mut self, hops: Arc<[Hop]>, at: usize, extra: bool, token: Option<Secret>) {
        let subject = Arc::new(Subject::new(hops, at, extra, Arc::clone(&self.shared.generation)));
        let token = token.filter(|_| subject.may_have_token());
        self.shared.subjects().push(Arc::clone(&subject));
        self.watched.push(WatchedHop { subject, token, task: None });
        self.follow(self.watched.len() - 1);
    }

    fn follow(&mut self, index: usize) {
        let watched = &mut self.watched[index];
        // Hops attached in addition to the route were not started by this program.
        let links = self.spawned.clone().filter(|_| !watched.subject.extra);
        watched.subject.change(|state| state.set_link(HopLink::Unknown));
        let task = HopTask::new(
            Arc::clone(&watched.subject),
            watched.token.clone(),
            self.spawned_token.clone(),
            self.identity.clone(),
        );
        watched.task = Some(self.tasks.spawn(task.run(links)));
    }
}

impl WatcherState {
    fn subjects(&self) -> MutexGuard<'_, Vec<Arc<Subject>>> {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Samples rates at an even pace, whatever the pace of the reports.
async fn sample(shared: Arc<WatcherState>) {
    let mut ticks = interval(SAMPLE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        for subject in shared.subjects().iter() {
            subject.change(|state| state.sample(Instant::now()));
        }
    }
}
