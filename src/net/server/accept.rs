//! Accepting: who is let in, a `503` at once for the others, and a descriptor kept back for saying so.

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
use crate::limits::DRAIN_BYTES;
use crate::net::node::Node;
use crate::net::node::registry::{Admission, ConnGuard, HeadGuard, Slots};
use crate::net::os::deadline::Deadline;
use crate::net::upstream::connect::is_shortage;
use crate::wire::{FailedAction, Method, Problem, Reason};

/// The pause after a failed accept: most often there is no descriptor left, and trying at once would only spin.
const PAUSE: Duration = Duration::from_millis(50);
/// Most clients that are told in one pause that there is no descriptor: some hundred a second take a few hundredths of
/// a core, which leaves the transfers under way theirs.
const TOLD_IN_A_PAUSE: usize = 16;
/// Most connections that were told to leave and are given time to; more are closed as soon as they were told.
const MOST_LEAVING: usize = 64;
/// How often the log says that there is a shortage: it may last, and clients decide how often it is met.
const SAID_AGAIN: Duration = Duration::from_secs(10);

/// Where connections come in.
#[derive(Debug)]
pub(crate) struct AcceptLoop {
    node: Arc<Node>,
    listener: TcpListener,
    /// Gives up its descriptor to a client that would otherwise wait until another client leaves.
    reserve: Option<File>,
    leaving: JoinSet<()>,
    /// The end of the pause after a failure.
    pause: Option<Instant>,
    /// When the log last said that accepting fails.
    said: Option<Instant>,
}

/// A connection that was let in.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// The connection.
    pub stream: TcpStream,
    /// Its place among the connections.
    pub conn: ConnGuard,
    /// Its place among those whose request is still to come; `None` for a reserved connection.
    pub head: Option<HeadGuard>,
    /// When its request has to be there.
    pub deadline: Deadline,
}

impl AcceptLoop {
    /// The door of a node.
    pub(crate) fn new(node: Arc<Node>, listener: TcpListener) -> Self {
        Self { node, listener, reserve: reserve(), leaving: JoinSet::new(), pause: None, said: None }
    }

    /// The next connection that is let in. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Admitted {
        loop {
            // Kept here, for whoever waits for this may turn to something else meanwhile.
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

    /// Takes a connection in, or tells it that there is no room.
    fn admit(&mut self, stream: TcpStream, peer: SocketAddr) -> Option<Admitted> {
        let (config, now) = (&self.node.config, Instant::now());
        let deadline = Deadline::after(config.limits.head);
        match self.node.registry.admit(peer, Slots(config.max_connections), now) {
            Admission::Open(conn, head) => return Some(Admitted { stream, conn, head: Some(head), deadline }),
            Admission::Reserved(conn) => return Some(Admitted { stream, conn, head: None, deadline }),
            Admission::Refused => {}
        }
        self.turn_away(&stream);
        while self.leaving.try_join_next().is_some() {}
        if self.leaving.len() < MOST_LEAVING {
            self.leaving.spawn(Downstream::new(stream, config.limits).close());
        }
        None
    }

    /// Says that there is no room: a new connection's socket takes that at once, so nothing is waited for.
    fn turn_away(&self, stream: &TcpStream) {
        self.node.registry.refuse();
        let problem = Problem::here(Reason::Busy, FailedAction::Request, self.node.address, "");
        let _ = send(stream, &problem_message(&problem, Method::Get, false), SendFlags::NOSIGNAL);
        let _ = shutdown(stream, Shutdown::Write);
        // What was asked is taken, or the close that may follow would reset the connection and destroy the answer.
        let (mut space, mut left) = ([0; 4096], DRAIN_BYTES);
        while let Ok((read @ 1.., _)) = recv(stream, &mut space, RecvFlags::DONTWAIT) {
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
        if self.said.is_none_or(|said| said.elapsed() > SAID_AGAIN) {
            tracing::warn!("cannot accept: {error}");
            self.said = Some(Instant::now());
        }
        if is_shortage(error) {
            let mut told = 0;
            while told < TOLD_IN_A_PAUSE && self.tell_one() {
                told += 1;
            }
        }
        self.pause = Some(Instant::now() + PAUSE);
    }

    /// Tells the client that has waited longest that there is no descriptor for it; false where nobody waits.
    fn tell_one(&mut self) -> bool {
        self.reserve = None;
        let waiting = {
            // Asked once: the next accept waits, this one only takes who is there.
            let accepting = pin!(self.listener.accept());
            accepting.poll(&mut Context::from_waker(Waker::noop()))
        };
        let told = match waiting {
            Poll::Ready(Ok((stream, _))) => {
                self.turn_away(&stream);
                true
            }
            Poll::Ready(Err(_)) | Poll::Pending => false,
        };
        self.reserve = reserve();
        told
    }
}

/// A descriptor that stands for nothing.
fn reserve() -> Option<File> {
    File::open("/dev/null").ok()
}
