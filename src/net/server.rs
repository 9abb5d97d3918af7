//! A node as a server: accepts connections until it drains, and serves each as a relay or as the origin.

pub(crate) mod accept;
pub(crate) mod downstream;
pub mod file_body;
mod latency;
pub(crate) mod legacy;
pub(crate) mod origin;
pub(crate) mod relay;
mod reserve;
pub mod response;
pub(crate) mod session;
mod tar_stream;
mod tunnel;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use self::accept::{AcceptLoop, Admitted};
use super::node::Node;
use super::node::drain::Drain;
use super::node::registry::{Slots, SlowBodies};
use super::os::in_place::boxed;
use super::os::sockopt::fix;
use crate::limits::Limits;
use crate::net::body::reader::STEP;

/// Time between two samples of the bodies, so that metrics cover the last second however rarely they are read.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// Accepts connections until draining begins, then waits for running sessions, no longer than the drain limit.
pub async fn run(node: Arc<Node>, listener: TcpListener, drain: Drain) {
    let drain = node.drain_by(drain).clone();
    prepare(&listener, &node.config.limits);
    let mut sessions = JoinSet::new();
    let mut accept_loop = AcceptLoop::new(Arc::clone(&node), listener);
    let mut draining = pin!(drain.draining());
    let mut sampling = false;
    let mut slow = SlowBodies::default();
    let mut ticks = interval(SAMPLE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Reaped at every accept and every sample: a wakeup for each that ends would cost more. One that panicked was
        // reported then, one that was closed did not fail.
        while sessions.try_join_next().is_some() {}
        tokio::select! {
            biased;
            () = &mut draining => break,
            _ = ticks.tick(), if sampling => {
                sampling = node.upstream_shared().close_expired() || !sessions.is_empty();
                node.sample();
                let over = node.config.limits.minimum_rate_over;
                slow.check(&node.registry, Slots(node.config.max_connections), over);
            }
            Admitted { stream, conn, head, deadline } = accept_loop.next() => {
                sampling = true;
                let record = conn.conn();
                let runs_first = latency::runs_first(&node.config.limits, &conn);
                let node = Arc::clone(&node);
                // Boxed: a spawned future is moved eight times until it has ended.
                record.served_by(match head {
                    Some(head) => sessions.spawn(boxed(|| session::run(node, stream, conn, head, deadline))),
                    None => sessions.spawn(Box::pin(reserve::run(node, stream, conn))),
                });
                latency::after_accept(runs_first).await;
            }
        }
    }
    drop(accept_loop);
    node.upstream_shared().drain();
    let limit = node.config.limits.drain;
    tokio::select! {
        () = finish(&node, &mut sessions) => {}
        () = drain.force_after(limit) => node.registry.close_bodies(),
    }
    // A forced session gets a moment to close cleanly; then it is aborted.
    let _ = timeout(Duration::from_millis(100), async { while sessions.join_next().await.is_some() {} }).await;
    sessions.shutdown().await;
}

/// Waits for the sessions of a draining node. Readers of its events follow it until all other sessions have ended; a
/// reader that does not read the end of the stream is not waited for.
async fn finish(node: &Node, sessions: &mut JoinSet<()>) {
    while sessions.len() > node.registry.readers() {
        // A session that becomes a reader does not end, so poll again after a while.
        tokio::select! {
            _ = sessions.join_next() => {}
            () = sleep(SAMPLE_INTERVAL) => {
                node.upstream_shared().close_expired();
            }
        }
    }
    node.finish();
    let _ = timeout(node.config.limits.linger, async { while sessions.join_next().await.is_some() {} }).await;
}

/// Sets the socket options that accepted connections inherit from their listener.
fn prepare(listener: &TcpListener, limits: &Limits) {
    // A head and the last bytes of a body must not wait for an acknowledgement.
    let _ = sockopt::set_tcp_nodelay(listener, true);
    // Data in the kernel's queue outlives our close, and a peer that takes none of it would keep it there forever. The
    // timeout is no shorter than the stall limit of bodies, for which a slow reader may acknowledge nothing.
    let timeout_ms = (limits.stall.max(STEP) + limits.linger).as_millis().min(i32::MAX as u128);
    let _ = sockopt::set_tcp_user_timeout(listener, timeout_ms as u32);
    if let Some(bytes) = limits.sockbuf
        && !fix(listener, bytes)
    {
        tracing::warn!("socket buffers of {bytes} bytes are more than net.core.wmem_max and rmem_max allow here");
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn an_accepted_connection_inherits_the_socket_options() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let limits = Limits::default();
        prepare(&listener, &limits);
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert!(accepted.nodelay().unwrap());
        let timeout_ms = limits.stall + limits.linger;
        assert_eq!(u128::from(sockopt::tcp_user_timeout(&accepted).unwrap()), timeout_ms.as_millis());
    }
}
