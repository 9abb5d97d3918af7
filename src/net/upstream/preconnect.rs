//! Connections opened ahead: after a chain, one to its next hop, so that the next chain need not wait for a connect.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::net::os::machine::Machine;
use crate::route::HostPort;

/// Time that one is kept: a client that fetches file after file is back by then, and within a second, at the node's
/// next periodic check, a finished chain holds no resources.
const MAX_AGE: Duration = Duration::from_millis(300);
/// Limit on open ones, so that a client which names ever new hops cannot exhaust a node's descriptors.
const MAX_PRECONNECTIONS: usize = 16;

/// Connections that wait to be used, at most one per hop.
///
/// No byte was sent on them, so none can carry another client's data; each belongs to the chain that takes it.
#[derive(Debug, Default)]
pub struct Preconnections(Mutex<Vec<Preconnection>>);

#[derive(Debug)]
struct Preconnection {
    hop: HostPort,
    address: SocketAddr,
    opened: Instant,
    socket: OwnedFd,
}

impl Preconnections {
    /// Connects to a hop ahead, at the address that was just used. Never waits: a connection that is not established
    /// when needed is ignored.
    pub fn connect(&self, machine: Machine, hop: &HostPort, address: SocketAddr, buffers: Option<u32>) {
        let mut preconnections = self.lock();
        if preconnections.len() >= MAX_PRECONNECTIONS
            || preconnections.iter().any(|preconnection| preconnection.hop == *hop)
        {
            return;
        }
        if let Ok(socket) = (machine.connect)(address, buffers) {
            preconnections.push(Preconnection { hop: hop.clone(), address, opened: Instant::now(), socket });
        }
    }

    /// Takes the connection to a hop, if there is one that accepts the first bytes of a request; returns how many were
    /// sent.
    pub fn take(&self, hop: &HostPort, first: &[u8]) -> Option<(TcpStream, SocketAddr, usize)> {
        let Preconnection { socket, address, opened, .. } = {
            let mut preconnections = self.lock();
            let at = preconnections.iter().position(|preconnection| preconnection.hop == *hop)?;
            preconnections.swap_remove(at)
        };
        // Unexpected bytes would be taken for the reply, and an end of stream means that the hop closed it.
        let silent = recv(&socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) == Err(Errno::AGAIN);
        if !silent || opened.elapsed() >= MAX_AGE {
            return None;
        }
        let sent = send(&socket, first, SendFlags::NOSIGNAL).ok()?;
        Some((TcpStream::from_std(socket.into()).ok()?, address, sent))
    }

    /// Closes expired ones; returns true if others are left.
    pub fn close_expired(&self) -> bool {
        let mut preconnections = self.lock();
        preconnections.retain(|preconnection| preconnection.opened.elapsed() < MAX_AGE);
        !preconnections.is_empty()
    }

    /// Closes all of them.
    pub fn close_all(&self) {
        self.lock().clear();
    }

    /// A panic elsewhere leaves nothing half-changed.
    fn lock(&self) -> MutexGuard<'_, Vec<Preconnection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn listener() -> (TcpListener, SocketAddr, HostPort) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address, address.into())
    }

    #[tokio::test]
    async fn connects_once_and_is_taken_once() {
        let (listener, address, hop) = listener().await;
        let preconnections = Preconnections::default();
        assert!(preconnections.take(&hop, b"?").is_none());
        preconnections.connect(Machine::default(), &hop, address, None);
        preconnections.connect(Machine::default(), &hop, address, None);
        let (mut stream, peer, sent) = preconnections.take(&hop, b"who?").unwrap();
        assert_eq!((peer, sent), (address, 4));
        assert!(preconnections.take(&hop, b"?").is_none() && !preconnections.close_expired());
        let (mut accepted, _) = listener.accept().await.unwrap();
        let mut requests = [0; 4];
        accepted.read_exact(&mut requests).await.unwrap();
        accepted.write_all(b"me").await.unwrap();
        let mut response = [0; 2];
        stream.read_exact(&mut response).await.unwrap();
        assert_eq!((&requests, &response), (b"who?", b"me"));
    }

    #[tokio::test]
    async fn unexpected_bytes_or_a_closed_connection_are_not_taken() {
        let (listener, address, hop) = listener().await;
        let preconnections = Preconnections::default();
        for input in [&b"HTTP/1.1 408 Request Timeout\r\n\r\n"[..], b""] {
            preconnections.connect(Machine::default(), &hop, address, None);
            let (mut accepted, _) = listener.accept().await.unwrap();
            accepted.write_all(input).await.unwrap();
            accepted.shutdown().await.unwrap();
            assert!(preconnections.take(&hop, b"?").is_none(), "{input:?}");
        }
        drop(listener);
        preconnections.connect(Machine::default(), &hop, address, None);
        assert!(preconnections.take(&hop, b"?").is_none(), "no listener");
    }

    #[tokio::test]
    async fn unused_connections_expire_and_are_limited() {
        let (listener, address, hop) = listener().await;
        let preconnections = Preconnections::default();
        preconnections.connect(Machine::default(), &hop, address, None);
        let (mut accepted, _) = listener.accept().await.unwrap();
        assert!(preconnections.close_expired(), "it has not expired");
        tokio::time::pause();
        tokio::time::advance(MAX_AGE).await;
        tokio::time::resume();
        assert!(preconnections.take(&hop, b"?").is_none());
        assert_eq!(accepted.read(&mut [0; 1]).await.unwrap(), 0);
        for port in 1..=2 * MAX_PRECONNECTIONS as u16 {
            preconnections.connect(Machine::default(), &HostPort { port, ..hop.clone() }, address, None);
        }
        assert_eq!(preconnections.lock().len(), MAX_PRECONNECTIONS);
        preconnections.close_all();
        assert!(!preconnections.close_expired());
    }
}
