//! Without a screen: nodes, fetches and checks, and the only place that draws a progress bar.

mod check;
mod fetch;
mod node;
mod observe;
mod plain;
mod show;
pub mod signals;

use std::future::Future;
use std::io::{self, Write};
use std::sync::Mutex;

use tokio::runtime::Builder;
use tracing::Level;

use crate::cli::Talk;
use crate::error::{self, Error, shown};

pub use check::check;
use fetch::Ended;
pub use fetch::fetch;
pub use node::nodes;
use observe::{Eyes, Seen};
pub use plain::plain;
use show::Show;
use signals::stop_on_signals;

/// Writes a line of the result to stdout.
///
/// # Errors
/// `Error::Disk` where it could not be written: a script must not take a lost result for a success.
pub fn say(line: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    written(writeln!(out, "{line}").and_then(|()| out.flush()))
}

/// Turns the outcome of a write to stdout into that of the run.
///
/// # Errors
/// `Error::Disk`, except where the reader has gone away: it has what it wanted.
pub fn written(outcome: io::Result<()>) -> Result<(), Error> {
    match outcome {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Disk {
            action: "write the result to it",
            path: "standard output".into(),
            reason: error::plain(&error),
        }),
        _ => Ok(()),
    }
}

/// The outcome of a run whose result was then written, or not; the first failure counts, and the other is said here.
fn reported(result: Result<(), Error>, written: Result<(), Error>) -> Result<(), Error> {
    if let (Err(_), Err(lost)) = (&result, &written) {
        tell(&format!("chainview: {lost}"));
    }
    result.and(written)
}

/// Writes a line of talk to stderr.
pub fn tell(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Starts the log: to stderr or a file, as much as was asked for.
pub fn start_log(talk: &Talk, usual: Level) -> Result<(), Error> {
    let level = match (talk.quiet, talk.verbose) {
        (true, _) => Level::ERROR,
        (_, 0) => usual,
        (_, 1) => Level::DEBUG,
        (_, _) => Level::TRACE,
    };
    // What cannot be logged is dropped: there is nowhere left to say so.
    let log = tracing_subscriber::fmt().with_max_level(level).with_target(false).log_internal_errors(false);
    let started = match &talk.log {
        None => log.with_writer(io::stderr).try_init(),
        Some(path) => {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            let file = file.map_err(|error| Error::Disk {
                action: "write the log to it",
                path: shown(path),
                reason: error::plain(&error),
            })?;
            log.with_writer(Mutex::new(file)).try_init()
        }
    };
    started.map_err(|error| Error::Other(format!("the log cannot be started: {error}")))
}

/// Runs on one thread: sockets need no more, and the disk has threads of its own.
fn on_one_thread<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::Other(format!("cannot start: {}", error::plain(&error))))?;
    let result = runtime.block_on(work);
    // Whatever mattered was waited for by the work itself. A digest that nobody wants any more, or a name that is still
    // being looked up, must not keep the program from ending.
    runtime.shutdown_background();
    result
}
