//! Evidence of one request: its record, and the kernel's figures about its sockets while its body is sent.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::conn::{Conn, FileRequest, Sockets, lock};
use crate::net::os::clock::Clock;
use crate::net::os::kernel::{tcp, unacknowledged, unread};
use crate::snapshot::{ConnRole, ConnSnapshot, TcpSnapshot, Timestamps, TransferRecord};

/// The kernel's figures about a body's sockets.
#[derive(Clone, Copy, Debug, Default)]
struct KernelFigures {
    tcp: Option<TcpSnapshot>,
    queued_in: u64,
    queued_out: u64,
}

/// Keeps the sockets of a body open and in its reports until dropped.
#[derive(Debug)]
pub struct WatchedSockets<'a>(&'a FileRequest);

/// Length from which on a body is worth a system call at its end.
const MIN_TCP_LENGTH: u64 = 1 << 20;

impl FileRequest {
    /// Registers the sockets of a body, from `up` (if that is a socket) to `down`; reports query the kernel about them
    /// until the guard is dropped.
    pub fn watch(&self, down: Arc<TcpStream>, up: Option<Arc<TcpStream>>, length: u64) -> WatchedSockets<'_> {
        *lock(&self.sockets) = Some(Sockets { down, up, length });
        WatchedSockets(self)
    }

    /// Returns the time since the request was read, in ms.
    pub(super) fn since_ms(&self, now_us: u64) -> f64 {
        now_us.saturating_sub(self.began_us) as f64 / 1000.0
    }

    /// Returns its record.
    pub(super) fn record(&self, clock: Clock) -> TransferRecord {
        let now_us = clock.now_us();
        let (upstream, upstream_protocol) = lock(&self.next).shown();
        let KernelFigures { tcp, queued_in, queued_out } = self.evidence();
        let (first, last) = self.meter.first_and_last_us();
        let ms = |at: Option<u64>| at.map(|at| self.since_ms(at));
        let known = lock(&self.record);
        TransferRecord {
            name: known.name.clone(),
            hidden_name: known.hidden_name.as_deref().cloned(),
            role: known.role,
            state: known.state,
            ended: known.ended,
            status: known.status,
            error: known.error.clone(),
            body_error: known.body_error,
            upstream,
            upstream_protocol,
            leg: known.leg,
            size: known.size,
            flow: self.meter.flow(now_us),
            upstream_flow: self.upstream_meter().map(|meter| meter.flow(now_us)),
            faults: known.faults.as_deref().copied().unwrap_or_default(),
            key_rate: known.key_rate,
            uptime_us: now_us,
            load: None,
            tcp: tcp.or(known.tcp.as_deref().copied()),
            queued_in,
            queued_out,
            idle_us: self.meter.idle_us(now_us),
            timestamps: known.head_ms.map(|head_ms| Timestamps { head_ms, first_ms: ms(first), last_ms: ms(last) }),
        }
    }

    /// Adds to its connection's snapshot what changes while its body is sent.
    pub(super) fn fill(&self, snapshot: &mut ConnSnapshot, now_us: u64) {
        let KernelFigures { tcp, queued_in, queued_out } = self.evidence();
        (snapshot.tcp, snapshot.queued_in, snapshot.queued_out) = (tcp, queued_in, queued_out);
        snapshot.upstream_flow = self.upstream_meter().map(|meter| meter.flow(now_us));
        snapshot.idle_us = self.meter.idle_us(now_us);
    }

    /// Returns the kernel's figures now; zeros before and after the body.
    fn evidence(&self) -> KernelFigures {
        // Under the lock: a clone made here could be the last reference, and close the sockets late.
        let sockets = lock(&self.sockets);
        let Some(Sockets { down, up, .. }) = &*sockets else { return KernelFigures::default() };
        KernelFigures { tcp: tcp(down), queued_in: up.as_ref().map_or(0, unread), queued_out: unacknowledged(down) }
    }
}

impl Conn {
    /// Returns the state of the connection now.
    pub(super) fn snapshot(&self, clock: Clock) -> ConnSnapshot {
        let now_us = clock.now_us();
        let now = lock(&self.now);
        let mut snapshot = ConnSnapshot {
            id: self.id,
            state: now.state,
            peer: self.peer.to_string().into(),
            age_ms: now_us.saturating_sub(self.accepted_us) / 1000,
            flow: now.past,
            ..ConnSnapshot::default()
        };
        if let Some(job) = &now.job {
            let record = lock(&job.record);
            snapshot.role = record.role;
            (snapshot.upstream, snapshot.upstream_protocol) = lock(&job.next).shown();
            snapshot.protocol = Some(job.protocol);
            snapshot.transfer = job.id.short().into();
            snapshot.name = record.name.clone();
            snapshot.key = record.key.as_deref().cloned().unwrap_or_default();
            snapshot.hidden_name = record.hidden_name.as_deref().cloned();
            snapshot.size = record.size;
            snapshot.key_rate = record.key_rate;
            snapshot.flow.add(&job.meter.flow(now_us));
            job.fill(&mut snapshot, now_us);
        } else {
            snapshot.role = ConnRole::Unknown;
        }
        snapshot
    }
}

impl Drop for WatchedSockets<'_> {
    fn drop(&mut self) {
        let sockets = lock(&self.0.sockets).take();
        // The socket's history is evidence also for the verdict about a whole transfer.
        if let Some(sockets) = sockets.filter(|sockets| sockets.length >= MIN_TCP_LENGTH) {
            lock(&self.0.record).tcp = tcp(&sockets.down).map(Box::new);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::super::Registry;
    use super::*;
    use crate::net::os::socket::Socket;
    use crate::route::{FileName, Protocol};
    use crate::wire::{Method, TransferId};

    #[tokio::test]
    async fn a_report_keeps_its_sockets_open() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let registry = Registry::new(Clock::start());
        let conn = registry.open(address);
        let name = FileName::new(b"f").unwrap();
        let job = conn.begin_job(TransferId(1), Method::Get, &name, Protocol::Http);
        let up = Socket::new(TcpStream::connect(address).await.unwrap());
        let mut other = listener.accept().await.unwrap().0;
        other.write_all(b"seven b").await.unwrap();
        up.readable().await.unwrap();
        let watched = job.job().watch(up.held(), Some(up.held()), MIN_TCP_LENGTH);
        drop(up);
        // These get the lowest free descriptors.
        let _others = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        assert_eq!(job.job().evidence().queued_in, 7);
        drop(watched);
        assert_eq!(job.job().evidence().queued_in, 0);
        assert!(lock(&job.job().record).tcp.is_some());
    }
}
