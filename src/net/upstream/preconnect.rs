//! Connections opened ahead: after a chain, one to the hop it went on to, so that the next chain finds it open.

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

/// How long one is kept: whoever fetches file after file is back by then, and within a second, a look of the node
/// later, a chain that is over has left nothing behind.
const KEPT: Duration = Duration::from_millis(300);
/// Most of them at once, so that a client which names ever new hops cannot have a node's descriptors used up.
const MOST: usize = 16;

/// The connections that wait to be used, at most one to each hop.
///
/// Each has carried no byte, so nothing on it can be another client's; it belongs to the chain that takes it.
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
    /// Faults a hop ahead, at the address where it was just met. Nothing is waited for: a connection that is not there
    /// when it is wanted is none.
    pub fn connect(&self, machine: Machine, hop: &HostPort, address: SocketAddr, buffers: Option<u32>) {
        let mut spares = self.lock();
        if spares.len() >= MOST || spares.iter().any(|spare| spare.hop == *hop) {
            return;
        }
        if let Ok(socket) = (machine.connect)(address, buffers) {
            spares.push(Preconnection { hop: hop.clone(), address, opened: Instant::now(), socket });
        }
    }

    /// Takes the connection to a hop, if there is one that takes these first words; with it comes how many of their
    /// bytes it took.
    pub fn take(&self, hop: &HostPort, first: &[u8]) -> Option<(TcpStream, SocketAddr, usize)> {
        let Preconnection { socket, address, opened, .. } = {
            let mut spares = self.lock();
            let at = spares.iter().position(|spare| spare.hop == *hop)?;
            spares.swap_remove(at)
        };
        // Bytes that nobody asked for would be taken for the answer, and an end means that the hop has let go of it.
        let silent = recv(&socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) == Err(Errno::AGAIN);
        if !silent || opened.elapsed() >= KEPT {
            return None;
        }
        let said = send(&socket, first, SendFlags::NOSIGNAL).ok()?;
        Some((TcpStream::from_std(socket.into()).ok()?, address, said))
    }

    /// Closes those that nobody came for; true if others are left.
    pub fn close_old(&self) -> bool {
        let mut spares = self.lock();
        spares.retain(|spare| spare.opened.elapsed() < KEPT);
        !spares.is_empty()
    }

    /// Closes all of them.
    pub fn close_all(&self) {
        self.lock().clear();
    }

    /// Nothing is left half-changed by a panic elsewhere.
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
    async fn a_connection_is_connected_once_and_taken_once() {
        let (listener, address, hop) = listener().await;
        let spares = Preconnections::default();
        assert!(spares.take(&hop, b"?").is_none());
        spares.connect(Machine::default(), &hop, address, None);
        spares.connect(Machine::default(), &hop, address, None);
        let (mut stream, peer, said) = spares.take(&hop, b"who?").unwrap();
        assert_eq!((peer, said), (address, 4));
        assert!(spares.take(&hop, b"?").is_none() && !spares.close_old());
        let (mut accepted, _) = listener.accept().await.unwrap();
        let mut asked = [0; 4];
        accepted.read_exact(&mut asked).await.unwrap();
        accepted.write_all(b"me").await.unwrap();
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!((&asked, &answer), (b"who?", b"me"));
    }

    #[tokio::test]
    async fn a_hop_that_spoke_unasked_or_let_go_is_connected_anew() {
        let (listener, address, hop) = listener().await;
        let spares = Preconnections::default();
        for words in [&b"HTTP/1.1 408 Request Timeout\r\n\r\n"[..], b""] {
            spares.connect(Machine::default(), &hop, address, None);
            let (mut accepted, _) = listener.accept().await.unwrap();
            accepted.write_all(words).await.unwrap();
            accepted.shutdown().await.unwrap();
            assert!(spares.take(&hop, b"?").is_none(), "{words:?}");
        }
        drop(listener);
        spares.connect(Machine::default(), &hop, address, None);
        assert!(spares.take(&hop, b"?").is_none(), "nobody listens");
    }

    #[tokio::test]
    async fn what_nobody_comes_for_is_closed_soon_and_there_are_never_many() {
        let (listener, address, hop) = listener().await;
        let spares = Preconnections::default();
        spares.connect(Machine::default(), &hop, address, None);
        let (mut accepted, _) = listener.accept().await.unwrap();
        assert!(spares.close_old(), "it is not old yet");
        tokio::time::pause();
        tokio::time::advance(KEPT).await;
        tokio::time::resume();
        assert!(spares.take(&hop, b"?").is_none());
        assert_eq!(accepted.read(&mut [0; 1]).await.unwrap(), 0);
        for port in 1..=2 * MOST as u16 {
            spares.connect(Machine::default(), &HostPort { port, ..hop.clone() }, address, None);
        }
        assert_eq!(spares.lock().len(), MOST);
        spares.close_all();
        assert!(!spares.close_old());
    }
}
