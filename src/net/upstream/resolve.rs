//! Name lookups on dedicated threads: bounded in number, shared per name, with failures cached briefly.

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

/// Limit on concurrent lookups: enough for every neighbor of a busy relay, few enough that a resolver that never
/// replies costs only this many sleeping threads.
const MAX_LOOKUPS: usize = 32;
/// Time that a thread waits for the next name before it exits.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Lifetime of a cached failure: long enough that a flood of requests for one name costs one lookup, short enough that
/// a retry finds a name that works again.
const FAILURE_TTL: Duration = Duration::from_secs(3);
/// Limit on cached failures, at about a hundred bytes each.
const MAX_FAILURES: usize = 1024;
/// Queue length from which on abandoned names are removed.
const PRUNE_QUEUE_LEN: usize = 256;

/// Looks up names for any number of concurrent requests; clones share the threads.
#[derive(Clone)]
pub struct Resolver(Arc<Pool>, Machine);

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The system returned no address.
    #[error("{0}")]
    Failed(Arc<str>),
    /// The lookup was still running at the deadline.
    #[error("name lookup")]
    TimedOut,
    /// All threads were busy with other names until the deadline.
    #[error("{MAX_LOOKUPS} other names are being looked up")]
    Crowded,
    /// The system could not create a thread.
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
    /// Names that are queued or being looked up.
    pending: HashMap<String, watch::Receiver<LookupProgress>>,
    queue: VecDeque<(String, watch::Sender<LookupProgress>)>,
    /// Queue length at which abandoned names are removed next.
    prune_at: usize,
    failures: HashMap<String, (Instant, ResolveError)>,
    threads: usize,
    idle: usize,
}

/// State of a lookup.
#[derive(Clone)]
enum LookupProgress {
    Queued,
    Running,
    Done(Addresses),
}

impl Resolver {
    /// Returns a resolver that calls `lookup`, which may block, on threads of its own.
    pub fn new(lookup: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        let pool = Pool { lookup: Box::new(lookup), state: Mutex::default(), work: Condvar::new() };
        Self(Arc::new(pool), Machine::default())
    }

    /// Returns the same resolver for another machine.
    #[must_use]
    pub(in crate::net) fn on(self, machine: Machine) -> Self {
        Self(self.0, machine)
    }

    /// Returns the machine that connects to the addresses.
    pub(super) fn machine(&self) -> Machine {
        self.1
    }

    /// Resolves a name; an abandoned lookup continues in the background and occupies only its thread.
    ///
    /// # Errors
    /// `Failed` if the system has no address for the name; `TimedOut` or `Crowded` if the deadline passed during the
    /// lookup or before it could start; `NoThread` if the system cannot create a thread.
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

    /// Joins the running lookup of a name, or starts one.
    fn begin(&self, name: &str) -> Result<watch::Receiver<LookupProgress>, ResolveError> {
        let mut state = self.0.lock();
        if let Some(pending) = state.pending.get(name) {
            return Ok(pending.clone());
        }
        if let Some((at, failure)) = state.failures.get(name) {
            if at.elapsed() < FAILURE_TTL {
                return Err(failure.clone());
            }
            state.failures.remove(name);
        }
        if state.queue.len() >= PRUNE_QUEUE_LEN.max(state.prune_at) {
            state.remove_abandoned();
            // Not before the queue has doubled: a long queue of wanted names is not scanned for each new one.
            state.prune_at = 2 * state.queue.len();
        }
        let (sender, progress) = watch::channel(LookupProgress::Queued);
        state.pending.insert(name.to_owned(), progress.clone());
        state.queue.push_back((name.to_owned(), sender));
        if state.queue.len() <= state.idle {
            self.0.work.notify_one();
        } else if state.threads < MAX_LOOKUPS {
            let pool = Arc::clone(&self.0);
            match thread::Builder::new().name("resolve".to_owned()).spawn(move || pool.work()) {
                Ok(_) => state.threads += 1,
                // An existing thread will pick it up.
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
    /// Returns the system's resolver; all of these share one set of threads.
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

    /// Looks up one name after the other, until none arrived for a while.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            while let Some((name, sender)) = state.queue.pop_front() {
                if is_abandoned(&sender) {
                    state.pending.remove(&name);
                    continue;
                }
                drop(state);
                sender.send_replace(LookupProgress::Running);
                let found = self.look_up(&name);
                state = self.lock();
                state.pending.remove(&name);
                if let Err(failure) = &found {
                    state.remember(name, failure.clone());
                }
                sender.send_replace(LookupProgress::Done(found));
            }
            state.idle += 1;
            let (woken, waited) = self.work.wait_timeout(state, IDLE_TIMEOUT).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }

    fn look_up(&self, name: &str) -> Addresses {
        // A panic must cost neither the pool a thread nor the waiting requests their result.
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
        if self.failures.len() >= MAX_FAILURES {
            self.failures.retain(|_, (at, _)| at.elapsed() < FAILURE_TTL);
            if self.failures.len() >= MAX_FAILURES {
                self.failures.clear();
            }
        }
        self.failures.insert(name, (Instant::now(), failure));
    }

    fn remove_abandoned(&mut self) {
        let pending = &mut self.pending;
        self.queue.retain(|(name, sender)| {
            let wanted = !is_abandoned(sender);
            if !wanted {
                pending.remove(name);
            }
            wanted
        });
    }
}

/// Returns true if no request waits for this lookup: only the table still holds a receiver.
fn is_abandoned(sender: &watch::Sender<LookupProgress>) -> bool {
    sender.receiver_count() <= 1
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc;

    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn soon() -> Deadline {
        Deadline::after(Duration::from_millis(500))
    }

    fn late() -> Deadline {
        Deadline::after(Duration::from_secs(20))
    }

    /// Returns a resolver whose names that begin with `hang` block until the sender is dropped, and its number of
    /// lookups.
    fn hanging() -> (Resolver, mpsc::Sender<()>, Arc<AtomicUsize>) {
        let (release, released) = mpsc::channel::<()>();
        let (released, lookups) = (Mutex::new(released), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&lookups);
        let resolver = Resolver::new(move |name| {
            counted.fetch_add(1, SeqCst);
            if name.starts_with("hang") {
                // Waiting for the lock is as good as waiting for the release.
                let _ = released.lock().unwrap().recv();
            }
            if name.starts_with("none") { Err(io::Error::other("no such name")) } else { Ok(vec![LOOPBACK]) }
        });
        (resolver, release, lookups)
    }

    #[tokio::test]
    async fn hanging_lookups_use_limited_threads_and_later_ones_are_crowded() {
        let (resolver, release, lookups) = hanging();
        let mut waiting = tokio::task::JoinSet::new();
        for number in 0..700 {
            let resolver = resolver.clone();
            waiting.spawn(async move { resolver.resolve(&format!("hang{number}"), soon()).await });
        }
        let ended = waiting.join_all().await;
        let count = |error: &ResolveError| ended.iter().filter(|found| found.as_ref() == Err(error)).count();
        assert_eq!((count(&ResolveError::TimedOut), count(&ResolveError::Crowded)), (MAX_LOOKUPS, 700 - MAX_LOOKUPS));
        assert_eq!(resolver.0.lock().threads, MAX_LOOKUPS);
        assert_eq!(resolver.resolve("fine", soon()).await, Err(ResolveError::Crowded));
        drop(release);
        assert_eq!(resolver.resolve("fine", late()).await, Ok([LOOPBACK].into()));
        assert_eq!(lookups.load(SeqCst), MAX_LOOKUPS + 1, "an abandoned name was looked up");
    }

    #[tokio::test]
    async fn concurrent_lookups_of_a_name_are_shared_ignoring_case() {
        let (resolver, release, lookups) = hanging();
        let (one, other) = tokio::join!(resolver.resolve("hang", soon()), resolver.resolve("HANG", soon()));
        assert_eq!((one, other), (Err(ResolveError::TimedOut), Err(ResolveError::TimedOut)));
        let (found, ()) = tokio::join!(resolver.resolve("Hang", late()), async { drop(release) });
        assert_eq!((found, lookups.load(SeqCst)), (Ok([LOOPBACK].into()), 1));
    }

    #[tokio::test]
    async fn a_failure_is_cached_briefly() {
        let (resolver, _release, lookups) = hanging();
        for _ in 0..10 {
            let failed = ResolveError::Failed("no such name".into());
            assert_eq!(resolver.resolve("none", late()).await, Err(failed));
        }
        assert_eq!(lookups.load(SeqCst), 1);
        resolver.0.lock().failures.get_mut("none").unwrap().0 -= FAILURE_TTL;
        assert!(resolver.resolve("none", late()).await.is_err());
        assert_eq!(lookups.load(SeqCst), 2);
    }

    #[tokio::test]
    async fn cached_failures_and_abandoned_names_are_bounded() {
        let (resolver, _release, _) = hanging();
        for number in 0..2 * MAX_FAILURES {
            resolver.0.lock().remember(number.to_string(), ResolveError::TimedOut);
        }
        assert!(resolver.0.lock().failures.len() <= MAX_FAILURES);
        for number in 0..4 * PRUNE_QUEUE_LEN {
            drop(resolver.begin(&format!("hang{number}")));
        }
        let state = resolver.0.lock();
        assert!(state.queue.len() <= PRUNE_QUEUE_LEN && state.pending.len() <= PRUNE_QUEUE_LEN + MAX_LOOKUPS);
    }

    #[tokio::test]
    async fn a_panicking_lookup_fails_only_its_name() {
        let resolver = Resolver::new(|name| if name == "bad" { panic!("on purpose") } else { Ok(vec![LOOPBACK]) });
        assert!(matches!(resolver.resolve("bad", late()).await, Err(ResolveError::Failed(_))));
        assert_eq!(resolver.resolve("good", late()).await, Ok([LOOPBACK].into()));
        assert_eq!(resolver.0.lock().threads, 1);
    }
}
