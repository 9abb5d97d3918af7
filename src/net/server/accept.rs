//! The accept loop: admits connections and rejects others with an immediate `503`, for which it keeps a descriptor in
//! reserve.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::downstream::{Downstream, problem_message};
use crate::limits::DISCARD_BYTES;
use crate::net::access::NOT_SERVED;
use crate::net::node::Node;
use crate::net::node::registry::{Admission, ConnGuard, HeadGuard, Slots};
use crate::net::os::deadline::Deadline;
use crate::net::upstream::connect::is_shortage;
use crate::wire::{FailedAction, Method, Problem, Reason};

/// Pause after a failed accept: usually no descriptor is left, and retrying immediately would only spin.
const PAUSE: Duration = Duration::from_millis(50);
/// Maximum clients rejected in one pause for lack of descriptors: some hundred a second take a few hundredths of a
/// core, which leaves the rest to running transfers.
const MAX_REJECTED_PER_PAUSE: usize = 16;
/// Maximum rejected connections that are given time to close; more are closed immediately.
const MAX_LINGERING: usize = 64;
/// Shortest time between two log lines about a shortage: it may last, and clients decide how often it occurs.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The accept loop of a node.
#[derive(Debug)]
pub(crate) struct AcceptLoop {
    node: Arc<Node>,
    listener: TcpListener,
    /// Descriptor that is released to reject a client that would otherwise wait until another disconnects.
    reserve: Option<File>,
    lingering: JoinSet<()>,
    /// End of the pause after a failure.
    pause: Option<Instant>,
    /// Time of the last log line about a failed accept.
    warned_at: Option<Instant>,
}

/// An admitted connection.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// The connection.
    pub stream: TcpStream,
    /// Its record in the registry.
    pub conn: ConnGuard,
    /// Its slot among connections with a pending head; `None` for a reserved connection.
    pub head: Option<HeadGuard>,
    /// Deadline of its first request.
    pub deadline: Deadline,
}

impl AcceptLoop {
    /// Creates the accept loop of a node.
    pub(crate) fn new(node: Arc<Node>, listener: TcpListener) -> Self {
        Self { node, listener, reserve: reserve(), lingering: JoinSet::new(), pause: None, warned_at: None }
    }

    /// Returns the next admitted connection. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Admitted {
        loop {
            // Kept in `self`, because the caller may cancel this future.
            if let Some(end) = self.pause {
                sleep_until(end).await;
                self.pause = None;
            }
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    if let Some(admitted) = self.admit(stream, peer) {
                        return admitted;
                    }
                }
                Err(error) => self.failed(&error),
            }
        }
    }

    /// Admits a connection, or rejects it if the node does not serve its address or is full.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) -> Option<Admitted> {
        let (config, now) = (&self.node.config, Instant::now());
        let deadline = Deadline::after(config.limits.head);
        if config.access.serves(peer.ip()) {
            match self.node.registry.admit(peer, Slots(config.max_connections), now) {
                Admission::Open(conn, head) => return Some(Admitted { stream, conn, head: Some(head), deadline }),
                Admission::Reserved(conn) => return Some(Admitted { stream, conn, head: None, deadline }),
                Admission::Refused => self.reject_busy(&stream, peer),
            }
        } else {
            self.node.registry.deny();
            tracing::info!("{peer}: not served: --clients does not list its address");
            self.reject(&stream, peer, Reason::Policy, NOT_SERVED);
        }
        while self.lingering.try_join_next().is_some() {}
        if self.lingering.len() < MAX_LINGERING {
            self.lingering.spawn(Downstream::new(stream, config.limits).close());
        }
        None
    }

    /// Rejects a connection because the node is full.
    fn reject_busy(&self, stream: &TcpStream, peer: SocketAddr) {
        self.node.registry.refuse();
        self.reject(stream, peer, Reason::Busy, "");
    }

    /// Sends the rejection: a new connection's send buffer is empty, so the write does not block.
    fn reject(&self, stream: &TcpStream, peer: SocketAddr, reason: Reason, detail: &str) {
        let problem = Problem::here(reason, FailedAction::Request, self.node.address, detail);
        self.node.registry.audit().refused_connection(peer, reason, Some(problem.status()));
        let _ = send(stream, &problem_message(&problem, Method::Get, false), SendFlags::NOSIGNAL);
        let _ = shutdown(stream, Shutdown::Write);
        // The request is read, because closing with unread data would reset the connection and destroy the reply.
        let (mut buffer, mut left) = ([0; 4096], DISCARD_BYTES);
        while let Ok((read @ 1.., _)) = recv(stream, &mut buffer, RecvFlags::DONTWAIT) {
            left = left.saturating_sub(read);
            if left == 0 {
                return;
            }
        }
    }

    fn failed(&mut self, error: &io::Error) {
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            return;
        }
        if self.warned_at.is_none_or(|warned_at| warned_at.elapsed() > LOG_INTERVAL) {
            tracing::warn!("cannot accept: {error}");
            self.warned_at = Some(Instant::now());
        }
        if is_shortage(error) {
            let mut rejected = 0;
            while rejected < MAX_REJECTED_PER_PAUSE && self.reject_one() {
                rejected += 1;
            }
        }
        self.pause = Some(Instant::now() + PAUSE);
    }

    /// Rejects the client that has waited longest; false if none is waiting.
    fn reject_one(&mut self) -> bool {
        self.reserve = None;
        let waiting = {
            // Polled once: this accept only takes a connection that is already waiting.
            let accepting = pin!(self.listener.accept());
            accepting.poll(&mut Context::from_waker(Waker::noop()))
        };
        let rejected = match waiting {
            Poll::Ready(Ok((stream, peer))) => {
                self.reject_busy(&stream, peer);
                true
            }
            Poll::Ready(Err(_)) | Poll::Pending => false,
        };
        self.reserve = reserve();
        rejected
    }
}

/// Opens a descriptor that serves only as a reserve.
fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}
