//! Giving way to whoever is served alone: three liberties with the scheduler that make an answer come sooner, in one
//! place, because what they rely on is not what one expects. `Limits::give_way` turns all of them off. None is needed
//! for anything to be right: an answer that comes from a wrong guess is late, never wrong.
//!
//! Who is alone ([`is_alone`]). Invariant: numbers of connections grow by one with each that is let in, and the count
//! of requests goes up before the first byte of an answer and down after its last. So whoever has the highest number
//! while no other request is served is the only one that anything is done for now. Connections that are kept and quiet
//! do not count; if one of them asks at this moment, it waits for as long as the liberty takes. Both figures are read
//! without a lock, and may be of two moments. Connecting ahead asks the same, and is no liberty: it takes time that
//! nobody else wants.
//!
//! A new connection first ([`after_accept`]). It has most often asked by the time it is let in. Tokio's own `yield_now`
//! looks for events before it goes on, and an accepting task that goes straight on finds out by a system call that
//! nobody else is at the door. Invariant: the task wakes itself before it waits, so that it is polled again whatever
//! the scheduler does; a task that wakes itself goes behind those that are ready. On one thread the session runs next
//! and nothing is asked of the kernel. With several threads it may run on another at once, and this costs one turn of
//! the scheduler.
//!
//! The reader first ([`after_body`]). The last of a reply is with the reader's kernel, and what is left to do here,
//! such as closing and booking, nobody waits for; where both share a processor, the reader would wait for it.
//! Invariant: nobody else is served, so that a thread of the runtime that stands still holds nobody up, and the reply
//! is complete, which is why it is told from its success. It is over as soon as the kernel has given the others on this
//! processor a turn, a few ms at most. With several threads, other tasks of this thread may be taken over by the others
//! meanwhile. Several nodes in one program hold up each other's sessions for as long, since each knows only its own.

use std::future::poll_fn;
use std::task::Poll;

use crate::limits::Limits;
use crate::net::node::registry::{ConnGuard, FileRequestGuard};

/// Nobody but this connection is served, which has so many requests, and nobody has come since.
pub(super) fn is_alone(conn: &ConnGuard, requests: u64) -> bool {
    conn.is_newest() && conn.requests() == requests
}

/// Whether a connection that was just let in may go first; to be asked before its session begins.
pub(in crate::net) fn goes_first(limits: &Limits, conn: &ConnGuard) -> bool {
    limits.yield_to_sole_client && is_alone(conn, 0)
}

/// Lets every task that is ready run before this one goes on, where a new connection may go first.
pub(in crate::net) async fn after_accept(goes_first: bool) {
    let mut went = !goes_first;
    poll_fn(|cx| {
        if std::mem::replace(&mut went, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Lets the reader of a reply run, which has all of it and asks nothing more; true if it did.
pub(super) fn after_body(limits: &Limits, job: &FileRequestGuard<'_>, asked_last: bool) -> bool {
    let gives_way = limits.yield_to_sole_client && asked_last && is_alone(job.on(), 1);
    if gives_way {
        std::thread::yield_now();
    }
    gives_way
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;

    use crate::net::access::Access;
    use crate::net::node::drain::Drain;
    use crate::net::node::registry::Registry;
    use crate::net::node::root::Root;
    use crate::net::node::{Node, NodeConfig};
    use crate::net::os::clock::Clock;
    use crate::net::server;
    use crate::options::LocalUsers;

    use crate::route::{FileName, Protocol};
    use crate::wire::{Method, TransferId};

    #[tokio::test]
    async fn whoever_came_last_is_alone_while_nobody_else_is_served() {
        let limits = Limits::default();
        let registry = Registry::new(Clock::start());
        let name = FileName::new(b"f").unwrap();
        let open = || registry.open(([127, 0, 0, 1], 9).into());
        let first = open();
        assert!(goes_first(&limits, &first));
        let job = first.begin_job(TransferId(1), Method::Get, &name, Protocol::Http);
        assert!(after_body(&limits, &job, true) && !goes_first(&limits, &first));
        assert!(!after_body(&limits, &job, false), "a reader that may ask again waits for this node");
        let second = open();
        assert!(!after_body(&limits, &job, true) && !goes_first(&limits, &second));
        let other = second.begin_job(TransferId(2), Method::Get, &name, Protocol::Http);
        assert!(!after_body(&limits, &other, true));
        drop(job);
        assert!(after_body(&limits, &other, true) && !goes_first(&limits, &first));
        // FaultKind off, nobody is given way to.
        let off = Limits { yield_to_sole_client: false, ..limits };
        assert!(!after_body(&off, &other, true) && after_body(&limits, &other, true));
        drop(other);
        assert!(!goes_first(&off, &second) && goes_first(&limits, &second));
    }

    #[tokio::test]
    async fn a_new_connection_goes_first_by_one_turn_of_the_scheduler() {
        let mut spawned = tokio::spawn(async {});
        after_accept(false).await;
        assert!(!spawned.is_finished(), "it did not wait");
        after_accept(true).await;
        assert!(spawned.is_finished());
        (&mut spawned).await.unwrap();
    }

    async fn start(root: &std::path::Path, limits: Limits) -> (SocketAddr, Drain, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = NodeConfig {
            access: Access { local_users: LocalUsers::Any, ..Access::new(address) },
            limits,
            max_connections: 256,
            protocol: Some(Protocol::Http),
            ..NodeConfig::of_test(address, Root::open(root).unwrap())
        };
        let drain = Drain::new();
        let node = Node::new(config, address);
        (address, drain.clone(), tokio::spawn(server::run(node, listener, drain)))
    }

    /// Asks a relay for a file of the origin on a connection of its own, the last request on it or one of two.
    async fn fetched(relay: SocketAddr, origin: SocketAddr, name: &str, requests: usize) -> Vec<u8> {
        let mut stream = TcpStream::connect(relay).await.unwrap();
        let mut body = Vec::new();
        for left in (0..requests).rev() {
            let close = if left == 0 { "Connection: close\r\n" } else { "" };
            let ask = format!("GET /files/{name} HTTP/1.1\r\nHost: {relay}\r\nChain-Route: {origin}\r\n{close}\r\n");
            stream.write_all(ask.as_bytes()).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 200"), "{head}");
            let length = head.split("content-length: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
            body = vec![0; length];
            stream.read_exact(&mut body).await.unwrap();
        }
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "the relay closes behind the last reply");
        body
    }

    /// Fetches one after the other and many at once, through a relay, on a runtime with several threads.
    async fn all_arrive(give_way: bool) {
        let folder = tempfile::tempdir().unwrap();
        let contents = [(0, "empty"), (4096, "small"), (700_000, "large")]
            .map(|(size, name)| (name, (0..size).map(|at| (at * 7 % 251) as u8).collect::<Vec<u8>>()));
        for (name, content) in &contents {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let limits = Limits { yield_to_sole_client: give_way, ..Limits::default() };
        let (origin, origin_drain, origin_runs) = start(folder.path(), limits).await;
        let (relay, relay_drain, relay_runs) = start(folder.path(), limits).await;
        for turn in 0..8 {
            for (name, content) in &contents {
                assert!(fetched(relay, origin, name, 1 + turn % 2).await == *content, "{name}, {turn}");
            }
        }
        let contents = Arc::new(contents);
        let many: Vec<_> = (0..48)
            .map(|at| {
                let contents = Arc::clone(&contents);
                tokio::spawn(async move {
                    let (name, content) = &contents[at % 3];
                    assert!(fetched(relay, origin, name, 1 + at % 2).await == *content, "{name}, {at}");
                })
            })
            .collect();
        for fetch in many {
            fetch.await.unwrap();
        }
        relay_drain.begin();
        origin_drain.begin();
        relay_runs.await.unwrap();
        origin_runs.await.unwrap();
    }

    #[test]
    fn files_arrive_on_several_threads_with_and_without_giving_way() {
        for give_way in [true, false] {
            for threads in [1, 2, 4] {
                let runtime =
                    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
                // Spawned: what is only blocked on runs on none of the threads that are tested.
                let all = runtime.spawn(async move { timeout(Duration::from_mins(1), all_arrive(give_way)).await });
                runtime.block_on(all).unwrap().unwrap();
            }
        }
    }
}
