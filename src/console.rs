//! Standard output, standard error, the log, the audit and signals, for all modes.

mod audit;
mod lines;
mod log;
pub mod signals;
mod window;

use std::io::{self, Write};

use crate::error::{self, Error};

pub(crate) use audit::{AuditLines, start_audit};
pub(crate) use lines::Sink;
pub(crate) use log::err_now;
pub use log::{err, start_log};

/// Waits until the queued lines of the log and of the audit are written, for a limited time: their readers may have
/// stopped reading. The log comes last: what happens to audit lines is reported there.
pub fn flush() {
    audit::sink().into_iter().chain(log::sinks()).for_each(Sink::flush);
}

/// Prints a line of the result to stdout.
///
/// # Errors
/// `Error::Disk` if it could not be written: a lost result is not a success.
pub fn out(line: &str) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    written(writeln!(out, "{line}").and_then(|()| out.flush()))
}

/// Converts the result of a write to stdout into that of the run.
///
/// # Errors
/// `Error::Disk`, unless the reader has closed the pipe: it has what it needs.
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
