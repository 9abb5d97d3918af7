//! Slow link: a forwarder on loopback that holds bytes back, as a long and narrow link does. For the demo.
//!
//! The kernel acknowledges what arrives at this machine immediately. Only the small receive buffer makes the sender
//! wait for this program, and lets its round trip grow to what the forwarder holds back.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Bytes that are read, and passed on, at a time.
const CHUNK: usize = 16 * 1024;
/// Size of the buffer that the origin fills: two chunks. The kernel doubles it, see socket(7).
const RECEIVE_BUFFER: u32 = 2 * CHUNK as u32;
/// Most delay of a chunk that the next ones catch up.
const CATCH_UP: Duration = Duration::from_millis(10);
/// Chunks on their way: more than fit the delay at any rate of the demo.
const MAX_UNDERWAY: usize = 256;

/// Delay and capacity of a link, in the direction toward the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkShape {
    /// Time that a byte takes.
    pub delay: Duration,
    /// Bytes per second.
    pub rate: u64,
}

/// A forwarder to one address; dropping it closes its connections.
#[derive(Debug)]
pub struct SlowLink {
    port: u16,
    shape: watch::Sender<Option<LinkShape>>,
    _accepting: JoinSet<()>,
}

/// Bytes on their way, and when they arrive.
type Chunk = (Instant, Vec<u8>);

impl SlowLink {
    /// Starts a forwarder, which passes everything on immediately until it gets a shape. Must be called
    /// within a runtime.
    ///
    /// # Errors
    /// The system's error if no port of loopback can be bound.
    pub fn start(to: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let port = listener.local_addr()?.port();
        let (shape, shaped) = watch::channel(None);
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, to, shaped));
        Ok(Self { port, shape, _accepting: accepting })
    }

    /// Returns the port of its listener.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes the link slow, or as fast as loopback.
    pub fn set(&self, shape: Option<LinkShape>) {
        self.shape.send_replace(shape);
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, shape: watch::Receiver<Option<LinkShape>>) {
    // The connections end with this task.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((near, _)) = listener.accept() => {
                connections.spawn(forward(near, to, shape.clone()));
            }
            Some(_) = connections.join_next() => {}
            else => return,
        }
    }
}

/// Forwards one connection until both directions have ended; an error ends it, and the nodes at its ends notice.
async fn forward(near: TcpStream, to: SocketAddr, shape: watch::Receiver<Option<LinkShape>>) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    // Before connecting, or the first window is larger than the buffer.
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    let far = socket.connect(to).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((near_read, mut near_write), (mut far_read, far_write)) = (near.into_split(), far.into_split());
    let (sender, arriving) = mpsc::channel(MAX_UNDERWAY);
    let requests = pass(near_read, far_write);
    let replies = hold_back(&mut far_read, sender, shape.clone());
    let (up, down, ()) = tokio::join!(requests, replies, deliver(arriving, &mut near_write, shape));
    up.and(down)
}

/// Passes the bytes of requests on: they are few, and the delay counts only toward the client.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    tokio::io::copy(&mut from, &mut to).await?;
    to.shutdown().await
}

/// Reads as fast as the link's capacity allows, and schedules when each chunk arrives.
async fn hold_back(
    from: &mut OwnedReadHalf,
    underway: mpsc::Sender<Chunk>,
    mut shape: watch::Receiver<Option<LinkShape>>,
) -> io::Result<()> {
    let mut free_at = Instant::now();
    loop {
        let mut chunk = vec![0; CHUNK];
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        chunk.truncate(read);
        let now = Instant::now();
        let mut arrives = now;
        let current = *shape.borrow_and_update();
        if let Some(LinkShape { delay, rate }) = current {
            // Timers are rounded up: what that costs is caught up with the next chunks.
            let begins = free_at.max(now.checked_sub(CATCH_UP).unwrap_or(now));
            free_at = begins + Duration::from_secs_f64(read as f64 / rate.max(1) as f64);
            arrives = free_at + delay;
            tokio::select! {
                () = sleep_until(free_at) => {}
                _ = shape.changed() => free_at = now,
            }
        }
        if underway.send((arrives, chunk)).await.is_err() {
            return Ok(());
        }
    }
}

/// Writes each chunk when it arrives, then ends the stream.
async fn deliver(
    mut underway: mpsc::Receiver<Chunk>,
    to: &mut OwnedWriteHalf,
    mut shape: watch::Receiver<Option<LinkShape>>,
) {
    while let Some((arrives, chunk)) = underway.recv().await {
        if shape.borrow_and_update().is_some() {
            tokio::select! {
                () = sleep_until(arrives) => {}
                _ = shape.changed() => {}
            }
        }
        if to.write_all(&chunk).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends this many bytes through the link and returns how long they took; checks every byte.
    async fn time_of(link: &SlowLink, origin: &TcpListener, bytes: usize) -> Duration {
        let content: Vec<u8> = (0..bytes).map(|at| (at % 251) as u8).collect();
        let sent = content.clone();
        let sending = async {
            let (mut socket, _) = origin.accept().await.unwrap();
            let mut request = [0; 3];
            socket.read_exact(&mut request).await.unwrap();
            assert_eq!(&request, b"get");
            socket.write_all(&sent).await.unwrap();
        };
        let began = Instant::now();
        let receiving = async {
            let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, link.port())).await.unwrap();
            socket.write_all(b"get").await.unwrap();
            let mut received = Vec::new();
            socket.read_to_end(&mut received).await.unwrap();
            received
        };
        let ((), received) = tokio::join!(sending, receiving);
        assert!(received == content);
        began.elapsed()
    }

    #[tokio::test]
    async fn a_shaped_link_takes_its_time_and_changes_no_byte() {
        let origin = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let link = SlowLink::start(origin.local_addr().unwrap()).unwrap();
        time_of(&link, &origin, 1_000_000).await;
        link.set(Some(LinkShape { delay: Duration::from_millis(100), rate: 1_000_000 }));
        let took = time_of(&link, &origin, 200_000).await;
        assert!(took >= Duration::from_millis(290), "{took:?}");
        // A change applies to bytes that wait already.
        link.set(Some(LinkShape { delay: Duration::ZERO, rate: 1 }));
        let release = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            link.set(None);
        };
        let (took, ()) = tokio::join!(time_of(&link, &origin, 200_000), release);
        assert!(took >= Duration::from_millis(50), "{took:?}");
    }
}
