//! Name lookups on a few threads of their own: bounded, shared per name, and with failures remembered for a moment.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::net::os::deadline::Deadline;
use crate::net::os::machine::Machine;

/// Most lookups at once: enough for every neighbor of a busy relay, few enough that a resolver that never answers costs
/// no more than this many sleeping threads.
const MOST_LOOKUPS: usize = 32;
/// How long a thread waits for the next name before it ends.
const SPARE_TIME: Duration = Duration::from_secs(10);
/// How long a failed lookup is believed: long enough that a flood of requests for one name costs one lookup, short
/// enough that a retry finds a name that has come back.
const FAILURE_BELIEVED: Duration = Duration::from_secs(3);
/// Most failures remembered, at about a hundred bytes each.
const MOST_FAILURES: usize = 1024;
/// Names in the queue from which on those that nobody waits for any more are removed.
const LONG_QUEUE: usize = 256;

/// Looks names up on a machine, for any number of requests at once; clones share the threads.
#[derive(Clone)]
pub struct Resolver(Arc<Pool>, Machine);

/// Why a name gave no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The system has no address for it.
    #[error("{0}")]
    Failed(Arc<str>),
    /// It was still being looked up at the deadline.
    #[error("looking its name up")]
    TimedOut,
    /// All threads were busy with other names until the deadline.
    #[error("{MOST_LOOKUPS} other names are being looked up")]
    Crowded,
    /// The system gave us no thread to look it up on.
    #[error("no thread for a name lookup: {0}")]
    NoThread(Arc<str>),
}

type Lookup = dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync;
type Addresses = Result<Arc<[IpAddr]>, ResolveError>;

struct Pool {
    lookup: Box<Lookup>,
    state: Mutex<LookupTable>,
    work: Condvar,
}

#[derive(Default)]
struct LookupTable {
    /// Every name that is queued or being looked up.
    pending: HashMap<String, watch::Receiver<LookupProgress>>,
    queue: VecDeque<(String, watch::Sender<LookupProgress>)>,
    /// The length of the queue from which on it is worth looking for abandoned names.
    tidy_from: usize,
    failures: HashMap<String, (Instant, ResolveError)>,
    threads: usize,
    idle: usize,
}

/// How far a lookup is.
#[derive(Clone)]
enum LookupProgress {
    Queued,
    Running,
    Done(Addresses),
}

impl Resolver {
    /// A resolver that asks `lookup`, which may block, on threads of its own.
    pub fn new(lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        let pool = Pool { lookup: Box::new(lookup), state: Mutex::default(), work: Condvar::new() };
        Self(Arc::new(pool), Machine::default())
    }

    /// The same on another machine.
    #[cfg(test)]
    pub(in crate::net) fn on(self, machine: Machine) -> Self {
        Self(self.0, machine)
    }

    /// The machine whose connections lead to the addresses.
    pub(super) fn machine(&self) -> Machine {
        self.1
    }

    /// The addresses of a name; a lookup that is given up goes on by itself and holds nothing but its thread.
    ///
    /// # Errors
    /// `Failed` if the system has no address for the name; `TimedOut` or `Crowded` if the deadline passed during the
    /// lookup or before it could start; `NoThread` if the system gives no thread.
    pub async fn resolve(&self, name: &str, mut deadline: Deadline) -> Addresses {
        let mut progress = self.begin(&name.to_ascii_lowercase())?;
        loop {
            let queued = match &*progress.borrow_and_update() {
                LookupProgress::Done(found) => return found.clone(),
                LookupProgress::Queued => true,
                LookupProgress::Running => false,
            };
            match deadline.bound(progress.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(ResolveError::Failed("the lookup ended without a result".into())),
                Err(_) if queued => return Err(ResolveError::Crowded),
                Err(_) => return Err(ResolveError::TimedOut),
            }
        }
    }

    /// Joins the lookup of this name, or starts one.
    fn begin(&self, name: &str) -> Result<watch::Receiver<LookupProgress>, ResolveError> {
        let mut state = self.0.lock();
        if let Some(pending) = state.pending.get(name) {
            return Ok(pending.clone());
        }
        if let Some((at, failure)) = state.failures.get(name) {
            if at.elapsed() < FAILURE_BELIEVED {
                return Err(failure.clone());
            }
            state.failures.remove(name);
        }
        if state.queue.len() >= LONG_QUEUE.max(state.tidy_from) {
            state.forget_abandoned();
            // The next time only where as many have come again: a long queue of wanted names is not walked for each.
            state.tidy_from = 2 * state.queue.len();
        }
        let (tell, progress) = watch::channel(LookupProgress::Queued);
        state.pending.insert(name.to_owned(), progress.clone());
        state.queue.push_back((name.to_owned(), tell));
        if state.queue.len() <= state.idle {
            self.0.work.notify_one();
        } else if state.threads < MOST_LOOKUPS {
            let pool = Arc::clone(&self.0);
            match thread::Builder::new().name("resolve".to_owned()).spawn(move || pool.work()) {
                Ok(_) => state.threads += 1,
                // One of the threads that are there comes to it.
                Err(_) if state.threads > 0 => {}
                Err(error) => {
                    state.queue.pop_back();
                    state.pending.remove(name);
                    return Err(ResolveError::NoThread(error.to_string().into()));
                }
            }
        }
        Ok(progress)
    }
}

impl Default for Resolver {
    /// The system's resolver; all of these share one set of threads.
    fn default() -> Self {
        static SYSTEM: LazyLock<Resolver> = LazyLock::new(|| {
            Resolver::new(|name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect()))
        });
        SYSTEM.clone()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").finish_non_exhaustive()
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, LookupTable> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up one name after the other, until there has been none for a while.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            while let Some((name, tell)) = state.queue.pop_front() {
                if is_abandoned(&tell) {
                    state.pending.remove(&name);
                    continue;
                }
                drop(state);
                tell.send_replace(LookupProgress::Running);
                let found = self.look_up(&name);
                state = self.lock();
                state.pending.remove(&name);
                if let Err(failure) = &found {
                    state.remember(name, failure.clone());
                }
                tell.send_replace(LookupProgress::Done(found));
            }
            state.idle += 1;
            let (woken, waited) = self.work.wait_timeout(state, SPARE_TIME).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }

    fn look_up(&self, name: &str) -> Addresses {
        // A panic must not cost the pool a thread, and those who wait their answer.
        let found = catch_unwind(AssertUnwindSafe(|| (self.lookup)(name)));
        match found {
            Ok(Ok(addresses)) => Ok(addresses.into()),
            Ok(Err(error)) => Err(ResolveError::Failed(error.to_string().into())),
            Err(_) => Err(ResolveError::Failed("internal error in the lookup".into())),
        }
    }
}

impl LookupTable {
    fn remember(&mut self, name: String, failure: ResolveError) {
        if self.failures.len() >= MOST_FAILURES {
            self.failures.retain(|_, (at, _)| at.elapsed() < FAILURE_BELIEVED);
            if self.failures.len() >= MOST_FAILURES {
                self.failures.clear();
            }
        }
        self.failures.insert(name, (Instant::now(), failure));
    }

    fn forget_abandoned(&mut self) {
        let pending = &mut self.pending;
        self.queue.retain(|(name, tell)| {
            let wanted = !is_abandoned(tell);
            if !wanted {
                pending.remove(name);
            }
            wanted
        });
    }
}

/// Only the table of pending names still follows this lookup.
fn is_abandoned(tell: &watch::Sender<LookupProgress>) -> bool {
    tell.receiver_count() <= 1
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc;

    use super::*;

    const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn soon() -> Deadline {
        Deadline::after(Duration::from_millis(500))
    }

    fn late() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    /// A resolver whose names that begin with `hang` answer only after the sender is dropped; and how often it was
    /// asked.
    fn hanging() -> (Resolver, mpsc::Sender<()>, Arc<AtomicUsize>) {
        let (release, released) = mpsc::channel::<()>();
        let (released, asked) = (Mutex::new(released), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&asked);
        let resolver = Resolver::new(move |name| {
            counted.fetch_add(1, SeqCst);
            if name.starts_with("hang") {
                // Waiting for the lock is as good as waiting for the release.
                let _ = released.lock().unwrap().recv();
            }
            if name.starts_with("none") { Err(io::Error::other("no such name")) } else { Ok(vec![HOME]) }
        });
        (resolver, release, asked)
    }

    #[tokio::test]
    async fn names_that_hang_hold_so_many_threads_and_those_behind_them_are_told_so() {
        let (resolver, release, asked) = hanging();
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..700 {
            let resolver = resolver.clone();
            waiting.spawn(async move { resolver.resolve(&format!("hang{number}"), soon()).await });
        }
        let ended = waiting.join_all().await;
        let count = |error: &ResolveError| ended.iter().filter(|found| found.as_ref() == Err(error)).count();
        assert_eq!((count(&ResolveError::TimedOut), count(&ResolveError::Crowded)), (MOST_LOOKUPS, 700 - MOST_LOOKUPS));
        assert_eq!(resolver.0.lock().threads, MOST_LOOKUPS);
        assert_eq!(resolver.resolve("fine", soon()).await, Err(ResolveError::Crowded));
        drop(release);
        assert_eq!(resolver.resolve("fine", late()).await, Ok([HOME].into()));
        assert_eq!(asked.load(SeqCst), MOST_LOOKUPS + 1, "a name that nobody waits for any more is not looked up");
    }

    #[tokio::test]
    async fn one_name_is_looked_up_once_for_all_who_want_it_however_it_is_written() {
        let (resolver, release, asked) = hanging();
        let (one, other) = tokio::join!(resolver.resolve("hang", soon()), resolver.resolve("HANG", soon()));
        assert_eq!((one, other), (Err(ResolveError::TimedOut), Err(ResolveError::TimedOut)));
        let (found, ()) = tokio::join!(resolver.resolve("Hang", late()), async { drop(release) });
        assert_eq!((found, asked.load(SeqCst)), (Ok([HOME].into()), 1));
    }

    #[tokio::test]
    async fn a_failure_is_believed_for_a_moment() {
        let (resolver, _release, asked) = hanging();
        for _ in 0..10 {
            let failed = ResolveError::Failed("no such name".into());
            assert_eq!(resolver.resolve("none", late()).await, Err(failed));
        }
        assert_eq!(asked.load(SeqCst), 1);
        resolver.0.lock().failures.get_mut("none").unwrap().0 -= FAILURE_BELIEVED;
        assert!(resolver.resolve("none", late()).await.is_err());
        assert_eq!(asked.load(SeqCst), 2);
    }

    #[tokio::test]
    async fn memory_of_failures_and_of_abandoned_names_is_bounded() {
        let (resolver, _release, _) = hanging();
        for number in 0..2 * MOST_FAILURES {
            resolver.0.lock().remember(number.to_string(), ResolveError::TimedOut);
        }
        assert!(resolver.0.lock().failures.len() <= MOST_FAILURES);
        for number in 0..4 * LONG_QUEUE {
            drop(resolver.begin(&format!("hang{number}")));
        }
        let state = resolver.0.lock();
        assert!(state.queue.len() <= LONG_QUEUE && state.pending.len() <= LONG_QUEUE + MOST_LOOKUPS);
    }

    #[tokio::test]
    async fn a_lookup_that_panics_fails_alone() {
        let resolver = Resolver::new(|name| if name == "bad" { panic!("on purpose") } else { Ok(vec![HOME]) });
        assert!(matches!(resolver.resolve("bad", late()).await, Err(ResolveError::Failed(_))));
        assert_eq!(resolver.resolve("good", late()).await, Ok([HOME].into()));
        assert_eq!(resolver.0.lock().threads, 1);
    }
}
