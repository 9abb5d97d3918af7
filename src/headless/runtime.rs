//! The runtime of a run without a screen, and its result.

use std::future::Future;

use tokio::runtime::Builder;

use crate::console;
use crate::error::{self, Error};

/// Combines the result of a run with that of printing it: the first failure is returned, a second one is printed here.
pub(super) fn reported(result: Result<(), Error>, written: Result<(), Error>) -> Result<(), Error> {
    if let (Err(_), Err(lost)) = (&result, &written) {
        console::err(&format!("chainview: {lost}"));
    }
    result.and(written)
}

/// Runs on one thread: sockets need no more, and disk access uses other threads.
pub(super) fn on_one_thread<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    run_on(&mut Builder::new_current_thread(), work)
}

/// The same for fetches, with at most this many disk tasks at a time. Without the limit tokio starts another thread for
/// a task that comes while the thread of the previous one is not yet idle again.
pub(super) fn on_threads<T>(threads: usize, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    run_on(Builder::new_current_thread().max_blocking_threads(threads.max(1)), work)
}

fn run_on<T>(runtime: &mut Builder, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = runtime.enable_all().build();
    let runtime = runtime.map_err(|error| Error::Other(format!("cannot start: {}", error::plain(&error))))?;
    let result = runtime.block_on(work);
    // The work itself waits for all that matters. An unneeded digest or name resolution must not delay the exit.
    runtime.shutdown_background();
    result
}
