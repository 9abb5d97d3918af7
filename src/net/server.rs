//! A node as a server: accepts connections until it drains, and answers each as a relay or as the origin.

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
use super::os::sockopt::fix;
use crate::limits::Limits;
use crate::net::body::reader::STEP;

/// Time between two looks at what the bodies do, so that whoever reads the metrics, and however seldom, learns of the
/// last second.
const LOOK: Duration = Duration::from_millis(500);

/// Accepts connections until draining begins, then waits for those in flight, no longer than the drain limit.
pub async fn run(node: Arc<Node>, listener: TcpListener, drain: Drain) {
    let drain = node.drain_by(drain).clone();
    prepare(&listener, &node.config.limits);
    let mut sessions = JoinSet::new();
    let mut door = AcceptLoop::new(Arc::clone(&node), listener);
    let mut draining = pin!(drain.draining());
    let mut looking = false;
    let mut slow = SlowBodies::default();
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        // Whenever another is let in, and at every look: to be woken up by each that ends would cost more.
        // One that panicked was reported when it did, one that was closed did not fail.
        while sessions.try_join_next().is_some() {}
        tokio::select! {
            biased;
            () = &mut draining => break,
            _ = looks.tick(), if looking => {
                looking = node.tidy() || !sessions.is_empty();
                node.look();
                let over = node.config.limits.minimum_rate_over;
                slow.look(&node.registry, Slots(node.config.max_connections), over);
            }
            Admitted { stream, conn, head, deadline } = door.next() => {
                looking = true;
                let known = conn.conn();
                let goes_first = latency::goes_first(&node.config.limits, &conn);
                let node = Arc::clone(&node);
                // In a box: what is spawned is moved eight times until it has ended.
                known.served_by(match head {
                    Some(head) => sessions.spawn(Box::pin(session::run(node, stream, conn, head, deadline))),
                    None => sessions.spawn(Box::pin(reserve::run(node, stream, conn))),
                });
                latency::after_accept(goes_first).await;
            }
        }
    }
    drop(door);
    node.close_spares();
    let limit = node.config.limits.drain;
    tokio::select! {
        () = finish(&node, &mut sessions) => {}
        () = drain.force_after(limit) => node.registry.close_bodies(),
    }
    // A forced session gets a moment to say goodbye; what is left after that is cut.
    let _ = timeout(Duration::from_millis(100), async { while sessions.join_next().await.is_some() {} }).await;
    sessions.shutdown().await;
}

/// Waits for the sessions of a draining node. The readers of its events follow it until all others have ended; a
/// reader that does not take the end of the stream is not waited for.
async fn finish(node: &Node, sessions: &mut JoinSet<()>) {
    while sessions.len() > node.registry.readers() {
        // A session that turns out to be a reader ends nothing that could be waited for.
        tokio::select! {
            _ = sessions.join_next() => {}
            () = sleep(LOOK) => {}
        }
    }
    node.finish();
    let _ = timeout(node.config.limits.linger, async { while sessions.join_next().await.is_some() {} }).await;
}

/// Sets what every accepted connection takes over from its listener.
fn prepare(listener: &TcpListener, limits: &Limits) {
    // A head and the last bytes of a body must not wait for an acknowledgement.
    let _ = sockopt::set_tcp_nodelay(listener, true);
    // What is in the kernel when we close goes on without us, and a peer that takes none of it would keep it without
    // end. No sooner than the rule for bodies: a reader that is slow acknowledges nothing for as long as that.
    let patience = (limits.stall.max(STEP) + limits.linger).as_millis().min(i32::MAX as u128);
    let _ = sockopt::set_tcp_user_timeout(listener, patience as u32);
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
    async fn an_accepted_connection_has_what_its_listener_was_given() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let limits = Limits::default();
        prepare(&listener, &limits);
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert!(accepted.nodelay().unwrap());
        let patience = limits.stall + limits.linger;
        assert_eq!(u128::from(sockopt::tcp_user_timeout(&accepted).unwrap()), patience.as_millis());
    }
}
