//! What a report tells of one request: its account, and what the kernel says of its sockets while its body moves.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::conn::{Conn, FileRequest, Sockets, lock};
use crate::net::os::clock::Clock;
use crate::net::os::kernel::{tcp, unacknowledged, unread};
use crate::snapshot::{ConnRole, ConnSnapshot, TcpSnapshot, Timestamps, TransferRecord};

/// What the kernel says of a body's sockets.
#[derive(Clone, Copy, Debug, Default)]
struct KernelFigures {
    tcp: Option<TcpSnapshot>,
    queued_in: u64,
    queued_out: u64,
}

/// Keeps the sockets of a body in its reports, and open.
#[derive(Debug)]
pub struct WatchedSockets<'a>(&'a FileRequest);

/// A body shorter than this is not worth a system call at its end.
const WORTH_KEEPING: u64 = 1 << 20;

impl FileRequest {
    /// The body moves to `down`, from `up` if that is a socket; reports ask the kernel about them while this is held.
    pub fn watch(&self, down: Arc<TcpStream>, up: Option<Arc<TcpStream>>, length: u64) -> WatchedSockets<'_> {
        *lock(&self.sockets) = Some(Sockets { down, up, length });
        WatchedSockets(self)
    }

    /// Since the request was read, in ms.
    pub(super) fn since_ms(&self, now_us: u64) -> f64 {
        now_us.saturating_sub(self.began_us) as f64 / 1000.0
    }

    /// What is known of it.
    pub(super) fn account(&self, clock: Clock) -> TransferRecord {
        let now_us = clock.now_us();
        let known = lock(&self.account).clone();
        let (upstream, upstream_protocol) = lock(&self.next).shown();
        let KernelFigures { tcp, queued_in, queued_out } = self.evidence();
        let (first, last) = self.meter.moments();
        let ms = |at: Option<u64>| at.map(|at| self.since_ms(at));
        TransferRecord {
            upstream,
            upstream_protocol,
            flow: self.meter.flow(now_us),
            uptime_us: now_us,
            tcp: tcp.or(known.tcp),
            queued_in,
            queued_out,
            idle_us: self.meter.idle_us(now_us),
            moments: known.moments.map(|moments| Timestamps { first_ms: ms(first), last_ms: ms(last), ..moments }),
            ..known
        }
    }

    /// Adds to its connection's part in a report what changes while its body moves.
    pub(super) fn show(&self, snapshot: &mut ConnSnapshot, now_us: u64) {
        let KernelFigures { tcp, queued_in, queued_out } = self.evidence();
        (snapshot.tcp, snapshot.queued_in, snapshot.queued_out) = (tcp, queued_in, queued_out);
        snapshot.idle_us = self.meter.idle_us(now_us);
    }

    /// What the kernel says now; nothing before the body and after it.
    fn evidence(&self) -> KernelFigures {
        // Under the lock: whoever took a hold of them away could let go of it last, and close them late.
        let sockets = lock(&self.sockets);
        let Some(Sockets { down, up, .. }) = &*sockets else { return KernelFigures::default() };
        KernelFigures { tcp: tcp(down), queued_in: up.as_ref().map_or(0, unread), queued_out: unacknowledged(down) }
    }
}

impl Conn {
    /// What it does now.
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
            let account = lock(&job.account);
            snapshot.role = account.role;
            (snapshot.upstream, snapshot.upstream_protocol) = lock(&job.next).shown();
            snapshot.protocol = Some(job.protocol);
            snapshot.transfer = job.id.short().into();
            snapshot.name = account.name.clone();
            snapshot.size = account.size;
            snapshot.flow.add(&job.meter.flow(now_us));
            job.show(&mut snapshot, now_us);
        } else {
            snapshot.role = ConnRole::Unknown;
        }
        snapshot
    }
}

impl Drop for WatchedSockets<'_> {
    fn drop(&mut self) {
        let sockets = lock(&self.0.sockets).take();
        // What the socket went through is evidence also when the whole life of a transfer is judged.
        if let Some(sockets) = sockets.filter(|sockets| sockets.length >= WORTH_KEEPING) {
            lock(&self.0.account).tcp = tcp(&sockets.down);
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
    async fn a_report_is_of_the_sockets_it_was_given_even_if_everybody_else_let_go_of_them() {
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
        let watched = job.job().watch(up.held(), Some(up.held()), WORTH_KEEPING);
        drop(up);
        // These get the lowest numbers that are free.
        let _others = [TcpStream::connect(address).await.unwrap(), TcpStream::connect(address).await.unwrap()];
        assert_eq!(job.job().evidence().queued_in, 7);
        drop(watched);
        assert_eq!(job.job().evidence().queued_in, 0);
        assert!(lock(&job.job().account).tcp.is_some());
    }
}
