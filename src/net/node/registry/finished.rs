//! Log line and audit line of a finished request: client, file, next hop and outcome.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::SignedDuration;
use tracing::Level;

use super::conn::{FileRequest, lock};
use super::record::Outcome;
use crate::audit::{AuditEntry, AuditId, AuditName, Ended};
use crate::net::node::audit::Audit;
use crate::net::os::clock::Clock;
use crate::snapshot::{ConnRole, Flow};

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
    let next = match record.role {
        ConnRole::Relay | ConnRole::Tunnel => match lock(&job.next).shown().0 {
            next if next.as_str().is_empty() => "end".to_owned(),
            next => next.to_string(),
        },
        ConnRole::Origin => "origin".to_owned(),
        ConnRole::Unknown => "-".to_owned(),
    };
    let ended = match (record.body_error, &record.error) {
        (Some(body_error), Some(error)) => format!("{}: {error}", body_error.words()),
        (Some(body_error), None) => body_error.words().to_owned(),
        (None, Some(error)) => error.to_string(),
        (None, None) => match record.outcome {
            Outcome::Served => "complete",
            Outcome::Failed(_) => "failed",
            Outcome::Open => "interrupted",
            Outcome::Superseded => "more of it arrived",
        }
        .to_owned(),
    };
    let upstream = job.upstream_meter().map_or_else(String::new, |meter| {
        let bytes = meter.flow(now_us).bytes_out;
        format!(" upstream_bytes={bytes}")
    });
    // The name without its query, which may contain a secret, and in quotes, so that a name cannot pretend to be a
    // field.
    format!(
        "request peer={} protocol={} method={} name={:?} next={next} status={} bytes={}{upstream} seconds={:.3} \
         transfer={} ended={ended:?}",
        peer,
        job.protocol.as_str(),
        job.method_name(),
        record.name.as_str(),
        record.status,
        flow.bytes_out,
        job.since_ms(now_us) / 1000.0,
        job.id,
    )
}

/// Writes the audit line of the request, which ended at `ended_us`: in the legacy protocol, its connection may have
/// been open for a while after that.
pub(super) fn audit(audit: &Audit, clock: Clock, job: &FileRequest, peer: SocketAddr, flow: &Flow, ended_us: u64) {
    let Some(mut entry) = audit.entry(peer) else { return };
    let since_us = i64::try_from(clock.now_us().saturating_sub(ended_us)).unwrap_or_default();
    entry.time = entry.time.checked_sub(SignedDuration::from_micros(since_us)).unwrap_or(entry.time);
    let record = lock(&job.record);
    let entry = match record.outcome {
        Outcome::Open => entry,
        Outcome::Served => AuditEntry { ended: Ended::Complete, ..entry },
        Outcome::Failed(failure) => entry.failed(failure, record.body_error),
        Outcome::Superseded => return,
    };
    let name = record.whole_name.as_deref();
    audit.write(&AuditEntry {
        key: record.key.as_deref(),
        transfer: Some(AuditId(job.id)),
        method: Some(job.method_name()),
        name: name.map(|name| AuditName { name, has_query: record.has_query }),
        next: matches!(record.role, ConnRole::Relay | ConnRole::Tunnel)
            .then(|| lock(&job.next).shown().0)
            .filter(|next| !next.as_str().is_empty()),
        status: Some(record.status).filter(|status| *status != 0),
        bytes: flow.bytes_out,
        upstream_bytes: job.upstream_meter().map(|meter| meter.flow(ended_us).bytes_out),
        duration: Duration::from_micros(ended_us.saturating_sub(job.began_us)),
        ..entry
    });
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex, TryLockError};

    use super::super::Registry;
    use super::*;
    use crate::net::node::audit::AuditWriter;
    use crate::route::{FileName, Protocol};
    use crate::wire::{Method, TransferId};

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

    /// Keeps the lines of an audit.
    #[derive(Debug, Default)]
    struct Lines(Mutex<Vec<String>>);

    impl AuditWriter for Lines {
        fn write(&self, line: &[u8]) {
            lock(&self.0).push(String::from_utf8(line.to_vec()).unwrap());
        }

        fn write_limited(&self, line: &[u8]) {
            self.write(line);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_ends_with_its_last_direction() {
        let peer = "127.0.0.1:1".parse().unwrap();
        let lines = Arc::new(Lines::default());
        let writer: Arc<dyn AuditWriter> = Arc::clone(&lines) as _;
        let conn = Registry::audited(Clock::start(), Audit::new(peer, Some(writer))).open(peer);
        for (toward_client, toward_next_hop) in [(1, 3), (3, 1)] {
            let tunnel = conn.begin_tunnel(TransferId(1), &"h:1".parse().unwrap(), Duration::from_secs(30));
            let meters = [&tunnel.job.meter, tunnel.job.upstream_meter().unwrap()];
            for (meter, seconds) in meters.into_iter().zip([toward_client, toward_next_hop]) {
                meter.begin(0);
                meter.end(seconds * 1_000_000);
            }
            drop(tunnel);
            let line = lock(&lines.0).pop().unwrap();
            assert!(line.contains(r#","seconds":3.0,"#), "{line}");
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
