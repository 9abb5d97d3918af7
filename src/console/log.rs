//! The log: its level, its destination, and how many lines each call site may write.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use tracing::callsite::Identifier;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use super::lines::{Content, LineTarget, Sink};
use super::window::LineWindow;
use crate::cli::OutputOptions;
use crate::error::{self, Error, shown};
use crate::net::admin::metrics::LOG_LINES_LOST;

/// Maximum number of lines per second from one call site at the default levels. A client that aborts its requests
/// causes thousands of equal ones.
const MAX_LINES_PER_SECOND: u32 = 50;
/// The same at the levels that `-v` adds, which log every request.
const MAX_VERBOSE_LINES_PER_SECOND: u32 = 1000;

/// Queue of standard error, once something was written to it.
static STDERR: OnceLock<Option<Sink>> = OnceLock::new();
/// Queue of the `--log` file.
static FILE: OnceLock<Sink> = OnceLock::new();

/// Starts the log, to stderr or a file, at the verbosity of the flags.
///
/// # Errors
/// `Error::Disk` if the `--log` file cannot be opened; `Error::Other` if there is no thread to write on, or if this
/// process logs already.
pub fn start_log(options: &OutputOptions, usual: Level) -> Result<Sink, Error> {
    let level = match (options.quiet, options.verbose) {
        (true, _) => Level::ERROR,
        (_, 0) => usual,
        (_, 1) => Level::DEBUG,
        (_, _) => Level::TRACE,
    };
    let failed = |reason: String| Error::Other(format!("the log cannot be started: {reason}"));
    let sink = match &options.log {
        None => stderr().ok_or_else(|| failed("cannot start a thread".to_owned()))?,
        Some(path) => {
            let target = Sink::open(Content::Log, path).map_err(|error| Error::Disk {
                action: "write the log to it",
                path: shown(path),
                reason: error::plain(&error),
            })?;
            let sink = Sink::start(Content::Log, target, &LOG_LINES_LOST);
            let sink = sink.map_err(|error| failed(error::plain(&error)))?;
            FILE.get_or_init(|| sink).clone()
        }
    };
    let lines = LineWriters { sink: sink.clone(), kinds: Mutex::default() };
    // What cannot be logged is dropped: there is nowhere left to report it.
    let log = tracing_subscriber::fmt().with_max_level(level).with_target(false).log_internal_errors(false);
    log.with_writer(lines).try_init().map_err(|error| failed(error.to_string()))?;
    Ok(sink)
}

/// Prints a line to stderr, after the queued lines of the log.
pub fn err(line: &str) {
    match stderr() {
        Some(sink) => sink.push(format!("{line}\n").as_bytes()),
        None => err_now(line),
    }
}

/// Prints a line to stderr directly, past the queue: for the progress bars, which draw around it. Blocks, so that it is
/// for terminals only.
pub(crate) fn err_now(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Returns the queues of the log and of standard error, once there are any.
pub(super) fn sinks() -> impl Iterator<Item = &'static Sink> {
    [STDERR.get().and_then(Option::as_ref), FILE.get()].into_iter().flatten()
}

fn stderr() -> Option<Sink> {
    STDERR.get_or_init(|| Sink::start(Content::Log, LineTarget::STDERR, &LOG_LINES_LOST).ok()).clone()
}

/// Writer factory for `tracing`: limits the lines of each call site.
struct LineWriters {
    sink: Sink,
    kinds: Mutex<HashMap<Identifier, LineWindow>>,
}

impl LineWriters {
    /// Counts a line of its call site, and returns whether it may be written.
    fn admits(&self, metadata: &Metadata<'_>) -> bool {
        let most = if *metadata.level() <= Level::INFO { MAX_LINES_PER_SECOND } else { MAX_VERBOSE_LINES_PER_SECOND };
        let now = Instant::now();
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.entry(metadata.callsite()).or_insert_with(|| LineWindow::new(now)).admits(now, most)
    }
}

impl<'a> MakeWriter<'a> for LineWriters {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter(Some(&self.sink))
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> LineWriter<'a> {
        if self.admits(metadata) {
            return self.make_writer();
        }
        self.sink.limited();
        LineWriter(None)
    }
}

/// Writer of one line, which arrives in one call.
struct LineWriter<'a>(Option<&'a Sink>);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(sink) = self.0 {
            sink.push(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
