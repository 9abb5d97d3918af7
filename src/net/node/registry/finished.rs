//! Log line of a finished request: client, file, next hop and outcome.

use std::net::SocketAddr;

use tracing::Level;

use super::conn::{FileRequest, lock};
use crate::snapshot::{ConnRole, Flow};
use crate::wire::Method;

/// Logs the end of the request at debug level; disabled, it costs a comparison.
pub(super) fn log(job: &FileRequest, peer: SocketAddr, flow: &Flow, now_us: u64) {
    if !tracing::enabled!(Level::DEBUG) {
        return;
    }
    // Formatted in whole before it is written: the record must not be locked while the log's reader is slow.
    let line = line(job, peer, flow, now_us);
    tracing::debug!("{line}");
}

fn line(job: &FileRequest, peer: SocketAddr, flow: &Flow, now_us: u64) -> String {
    let record = lock(&job.record);
    let method = match job.method {
        Method::Get => "GET",
        Method::Head => "HEAD",
    };
    let next = match record.role {
        ConnRole::Relay => lock(&job.next).shown().0.to_string(),
        ConnRole::Origin => "origin".to_owned(),
        ConnRole::Unknown => "-".to_owned(),
    };
    let ended = match (record.body_error, &record.error) {
        (Some(body_error), Some(error)) => format!("{}: {error}", body_error.words()),
        (Some(body_error), None) => body_error.words().to_owned(),
        (None, Some(error)) => error.to_string(),
        (None, None) => "complete".to_owned(),
    };
    // The name without its query, which may contain a secret, and in quotes, so that a name cannot pretend to be a
    // field.
    format!(
        "request peer={} protocol={} method={} name={:?} next={next} status={} bytes={} seconds={:.3} \
         transfer={} ended={ended:?}",
        peer,
        job.protocol.as_str(),
        method,
        record.name.as_str(),
        record.status,
        flow.bytes_out,
        job.since_ms(now_us) / 1000.0,
        job.id,
    )
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, TryLockError};

    use super::super::Registry;
    use super::*;
    use crate::net::os::clock::Clock;
    use crate::route::{FileName, Protocol};
    use crate::wire::TransferId;

    /// A log that can be written to while no record is locked.
    struct Log(Arc<FileRequest>);

    impl Write for Log {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            assert!(!matches!(self.0.record.try_lock(), Err(TryLockError::WouldBlock)), "the record is locked");
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_slow_log_does_not_lock_a_record() {
        let peer = "127.0.0.1:1".parse().unwrap();
        let conn = Registry::new(Clock::start()).open(peer);
        let request = conn.begin_job(TransferId(1), Method::Get, &FileName::new(b"f").unwrap(), Protocol::Http);
        let job = Arc::clone(&request.job);
        let of_log = Arc::clone(&job);
        let writer = move || Log(Arc::clone(&of_log));
        let logging = tracing_subscriber::fmt().with_max_level(Level::DEBUG).with_writer(writer).finish();
        tracing::subscriber::with_default(logging, || log(&job, peer, &Flow::default(), 0));
    }
}
