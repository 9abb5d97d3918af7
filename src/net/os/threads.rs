//! Thread pools for blocking disk work: a bounded number, started on demand, and an error if none can be started.
//!
//! tokio's blocking pool panics in the caller if the system refuses a thread (a `pids` limit, `RLIMIT_NPROC`), and with
//! one pool for everything one kind of slow work delays the others.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

/// Time that a thread without work is kept: long enough for the next chunk of a body, short enough for an idle node.
const KEEP: Duration = Duration::from_secs(10);

/// Reads of files that are not in the page cache. As many as a disk array can use; a node that serves from one disk
/// gains nothing beyond a few.
pub(crate) static COLD_READS: LazyLock<Threads> = LazyLock::new(|| Threads::new("cold-read", 32));

/// A unit of work.
type Work = Box<dyn FnOnce() + Send>;
/// Starts a thread.
type Start = fn(name: &str, Work) -> io::Result<()>;

/// A pool of threads.
#[derive(Debug)]
pub(crate) struct Threads {
    name: &'static str,
    max: usize,
    start: Start,
    shared: Arc<PoolShared>,
}

#[derive(Debug, Default)]
struct PoolShared {
    state: Mutex<PoolState>,
    more: Condvar,
}

#[derive(Default)]
struct PoolState {
    queue: VecDeque<Work>,
    idle: usize,
    threads: usize,
}

/// Handle to the outcome of some work; an error if it panicked. Dropping it does not stop the work.
#[derive(Debug)]
pub struct WorkHandle<T>(oneshot::Receiver<T>);

impl std::fmt::Debug for PoolState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { queue, idle, threads } = self;
        f.debug_struct("State").field("queue", &queue.len()).field("idle", idle).field("threads", threads).finish()
    }
}

impl Threads {
    /// Creates a pool of at most `max` threads, none started yet.
    pub(crate) fn new(name: &'static str, max: usize) -> Self {
        Self { name, max, start: start_thread, shared: Arc::default() }
    }

    /// Runs work on a thread as soon as one is free; an error if there is none and none can be started.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<WorkHandle<T>> {
        let (done, outcome) = oneshot::channel();
        let mut state = lock(&self.shared.state);
        state.queue.push_back(Box::new(move || drop(done.send(work()))));
        if state.idle >= state.queue.len() {
            self.shared.more.notify_one();
        } else if state.threads < self.max {
            let serving = Arc::clone(&self.shared);
            match (self.start)(self.name, Box::new(move || serving.serve())) {
                Ok(()) => state.threads += 1,
                // A running thread takes it later.
                Err(_) if state.threads > 0 => {}
                Err(error) => {
                    state.queue.pop_back();
                    return Err(error);
                }
            }
        }
        Ok(WorkHandle(outcome))
    }
}

fn start_thread(name: &str, work: Work) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

impl PoolShared {
    /// Runs queued work until the queue has been empty for some time.
    fn serve(&self) {
        let mut state = lock(&self.state);
        loop {
            if let Some(work) = state.queue.pop_front() {
                drop(state);
                // A panic was reported by the hook, and the handle returns an error.
                let _ = catch_unwind(AssertUnwindSafe(work));
                state = lock(&self.state);
                continue;
            }
            state.idle += 1;
            let (woken, waited) = self.more.wait_timeout(state, KEEP).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

impl<T> WorkHandle<T> {
    /// Returns whether the outcome is there and was not taken yet.
    pub(in crate::net) fn is_there(&self) -> bool {
        !self.0.is_empty()
    }
}

impl<T> Future for WorkHandle<T> {
    type Output = io::Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_err(|_| io::Error::other("internal error in a thread"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use tokio::sync::Notify;
    use tokio::time::timeout;

    use super::*;

    /// Threads that start only as long as the test allows it.
    macro_rules! limited {
        ($allowed:ident) => {{
            static ALLOWED: AtomicBool = AtomicBool::new(true);
            fn start(name: &str, work: Work) -> io::Result<()> {
                if ALLOWED.load(Relaxed) { start_thread(name, work) } else { Err(io::ErrorKind::WouldBlock.into()) }
            }
            let $allowed = &ALLOWED;
            ($allowed, Threads { start, ..Threads::new("test", 2) })
        }};
    }

    async fn outcome<T>(work: io::Result<WorkHandle<T>>) -> io::Result<T> {
        timeout(Duration::from_secs(10), work?).await.expect("it is done in time")
    }

    #[tokio::test]
    async fn where_no_thread_can_be_had_that_is_an_error_and_where_one_is_it_does_all() {
        let (allowed, threads) = limited!(allowed);
        allowed.store(false, Relaxed);
        assert_eq!(outcome(threads.run(|| 1)).await.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        allowed.store(true, Relaxed);
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let first = threads.run(move || gone.recv().is_err()).unwrap();
        allowed.store(false, Relaxed);
        // What waits behind it is done by the one that is there.
        let second = threads.run(|| 2).unwrap();
        drop(go);
        assert!(outcome(Ok(first)).await.unwrap());
        assert_eq!((outcome(Ok(second)).await.unwrap(), outcome(threads.run(|| 3)).await.unwrap()), (2, 3));
    }

    #[tokio::test]
    async fn work_that_panics_has_no_outcome_and_costs_no_thread() {
        let (allowed, threads) = limited!(allowed);
        let panicking = threads
            .run(|| {
                assert!(!std::hint::black_box(true), "on purpose");
            })
            .unwrap();
        allowed.store(false, Relaxed);
        assert!(outcome(Ok(panicking)).await.is_err());
        assert_eq!(outcome(threads.run(|| 4)).await.unwrap(), 4);
    }

    #[tokio::test]
    async fn no_more_threads_work_at_once_than_there_may_be() {
        let threads = Threads::new("test", 2);
        let (started, go) = (Arc::new(Notify::new()), Arc::new((Mutex::new(false), Condvar::new())));
        let works: Vec<_> = (0..3)
            .map(|_| {
                let (started, go) = (Arc::clone(&started), Arc::clone(&go));
                let work = move || {
                    started.notify_one();
                    drop(go.1.wait_while(lock(&go.0), |go| !*go));
                };
                threads.run(work).unwrap()
            })
            .collect();
        timeout(Duration::from_secs(10), started.notified()).await.unwrap();
        assert!(lock(&threads.shared.state).threads <= 2);
        *lock(&go.0) = true;
        go.1.notify_all();
        for work in works {
            outcome(Ok(work)).await.unwrap();
        }
    }
}
