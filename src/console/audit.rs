//! The audit of the nodes of this process: where its lines go, and how many about clients without a request.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Instant;

use super::lines::{Content, LineTarget, Sink};
use super::window::LineWindow;
use crate::error::{self, Error, shown};
use crate::net::admin::metrics::AUDIT_LINES_LOST;
use crate::net::node::audit::AuditWriter;
use crate::options::AuditTarget;

/// Maximum number of lines per second about clients that sent no request: a port scan is recorded in whole, and a flood
/// of connections fills no disk.
const MAX_LIMITED_PER_SECOND: u32 = 50;

/// Queue of the audit.
static AUDIT: OnceLock<Sink> = OnceLock::new();

/// Writer of audit lines.
#[derive(Debug)]
pub(crate) struct AuditLines {
    sink: Sink,
    limited: Mutex<LineWindow>,
}

/// Starts the audit of this process.
///
/// # Errors
/// `Error::Disk` if the file cannot be opened; `Error::Other` if there is no thread to write on.
pub(crate) fn start_audit(target: &AuditTarget) -> Result<AuditLines, Error> {
    let target = match target {
        AuditTarget::Stdout => LineTarget::STDOUT,
        AuditTarget::File(path) => Sink::open(Content::Audit, path).map_err(|error| Error::Disk {
            action: "write audit lines to it",
            path: shown(path),
            reason: error::plain(&error),
        })?,
    };
    let sink = Sink::start(Content::Audit, target, &AUDIT_LINES_LOST)
        .map_err(|error| Error::Other(format!("the audit cannot be started: {}", error::plain(&error))))?;
    let sink = AUDIT.get_or_init(|| sink).clone();
    Ok(AuditLines { sink, limited: Mutex::new(LineWindow::new(Instant::now())) })
}

/// Returns the queue, once there is one.
pub(super) fn sink() -> Option<&'static Sink> {
    AUDIT.get()
}

impl AuditLines {
    /// Returns the queue.
    pub(crate) fn sink(&self) -> &Sink {
        &self.sink
    }
}

impl AuditWriter for AuditLines {
    fn write(&self, line: &[u8]) {
        self.sink.push(line);
    }

    fn write_limited(&self, line: &[u8]) {
        let mut window = self.limited.lock().unwrap_or_else(PoisonError::into_inner);
        if window.admits(Instant::now(), MAX_LIMITED_PER_SECOND) {
            self.sink.push(line);
        } else {
            self.sink.limited();
        }
    }
}
