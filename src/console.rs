//! Standard output, standard error, the log and signals, for all modes.

mod lines;
mod log;
pub mod signals;

use std::io::{self, Write};

use crate::error::{self, Error};

pub(crate) use lines::Sink;
pub(crate) use log::err_now;
pub use log::{err, flush, start_log};

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
