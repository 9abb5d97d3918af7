//! Scheduling in favor of a sole active connection: three optimizations that lower its latency, in one place, because
//! they rely on non-obvious behavior of the schedulers. `Limits::yield_to_sole_client` disables all of them. None is
//! needed for correctness: a wrong guess costs time only.
//!
//! The sole active connection ([`is_only_active`]). Invariant: connection ids increase with each admitted connection,
//! and the count of requests is incremented before the first byte of a reply and decremented after its last. So while
//! no other request is served, the connection with the highest id is the only one being served. Idle kept-alive
//! connections do not count; a request that arrives on one of them at this moment is delayed for as long as the
//! optimization takes. Both figures are read without a lock, and may be from two moments.
//!
//! New connections first ([`after_accept`]). The request has usually arrived by the time its connection is accepted.
//! Tokio's own `yield_now` polls for events before it resumes, and an accept loop that continues immediately needs a
//! system call to find that no other connection is waiting. Invariant: the task wakes itself before it waits, so that
//! it is polled again in any case; a task that wakes itself is queued behind those that are ready. On one thread the
//! session runs next, without a system call. With several threads it may run on another immediately, and this costs one
//! turn of the scheduler.
//!
//! The reader first ([`after_body`]). The last bytes of a reply are in the reader's kernel queue, and the remaining
//! work here, such as closing and accounting, is not urgent; where both share a processor, the reader would wait for
//! it. Invariant: no other request is served, so that a blocked thread of the runtime delays no other client, and the
//! reply is complete, hence called after its success. It ends once the kernel has run the others on this processor,
//! within a few ms. With several threads, other tasks of this thread may be stolen meanwhile. Several nodes in one
//! process delay each other's sessions by as much, since each counts only its own.

use std::future::poll_fn;
use std::task::Poll;

use crate::limits::Limits;
use crate::net::node::registry::{ConnGuard, FileRequestGuard};

/// True if only this connection is served, with this number of requests, and no connection was accepted since.
fn is_only_active(conn: &ConnGuard, requests: u64) -> bool {
    conn.is_newest() && conn.requests() == requests
}

/// Returns whether the session of a new connection should run before the accept loop; must be called before its session
/// begins.
pub(in crate::net) fn runs_first(limits: &Limits, conn: &ConnGuard) -> bool {
    limits.yield_to_sole_client && is_only_active(conn, 0)
}

/// Yields once to every ready task if a new connection should run first.
pub(in crate::net) async fn after_accept(runs_first: bool) {
    let mut yielded = !runs_first;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Yields the processor to the reader of a complete last reply; true if it did.
pub(super) fn after_body(limits: &Limits, job: &FileRequestGuard<'_>, last_request: bool) -> bool {
    let yields = limits.yield_to_sole_client && last_request && is_only_active(job.connection(), 1);
    if yields {
        std::thread::yield_now();
    }
    yields
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
    async fn the_newest_connection_is_the_only_active_one_until_another_is_served() {
        let limits = Limits::default();
        let registry = Registry::new(Clock::start());
        let name = FileName::new(b"f").unwrap();
        let open = || registry.open(([127, 0, 0, 1], 9).into());
        let first = open();
        assert!(runs_first(&limits, &first));
        let job = first.begin_job(TransferId(1), Method::Get, &name, Protocol::Http);
        assert!(after_body(&limits, &job, true) && !runs_first(&limits, &first));
        assert!(!after_body(&limits, &job, false), "a reader that may send another request waits for this node");
        let second = open();
        assert!(!after_body(&limits, &job, true) && !runs_first(&limits, &second));
        let other = second.begin_job(TransferId(2), Method::Get, &name, Protocol::Http);
        assert!(!after_body(&limits, &other, true));
        drop(job);
        assert!(after_body(&limits, &other, true) && !runs_first(&limits, &first));
        // Disabled, nothing yields.
        let off = Limits { yield_to_sole_client: false, ..limits };
        assert!(!after_body(&off, &other, true) && after_body(&limits, &other, true));
        drop(other);
        assert!(!runs_first(&off, &second) && runs_first(&limits, &second));
    }

    #[tokio::test]
    async fn a_new_connection_runs_first_after_one_turn_of_the_scheduler() {
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

    /// Fetches a file of the origin through a relay on a connection of its own, as the last request on it or as one of
    /// two.
    async fn fetch_over(relay: SocketAddr, origin: SocketAddr, name: &str, requests: usize) -> Vec<u8> {
        let mut stream = TcpStream::connect(relay).await.unwrap();
        let mut body = Vec::new();
        for left in (0..requests).rev() {
            let close = if left == 0 { "Connection: close\r\n" } else { "" };
            let request =
                format!("GET /files/{name} HTTP/1.1\r\nHost: {relay}\r\nChain-Route: {origin}\r\n{close}\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
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
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "the relay closes after the last reply");
        body
    }

    /// Fetches sequentially and in parallel, through a relay, on a runtime with several threads.
    async fn all_arrive(yields: bool) {
        let folder = tempfile::tempdir().unwrap();
        let contents = [(0, "empty"), (4096, "small"), (700_000, "large")]
            .map(|(size, name)| (name, (0..size).map(|at| (at * 7 % 251) as u8).collect::<Vec<u8>>()));
        for (name, content) in &contents {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let limits = Limits { yield_to_sole_client: yields, ..Limits::default() };
        let (origin, origin_drain, origin_runs) = start(folder.path(), limits).await;
        let (relay, relay_drain, relay_runs) = start(folder.path(), limits).await;
        for turn in 0..8 {
            for (name, content) in &contents {
                assert!(fetch_over(relay, origin, name, 1 + turn % 2).await == *content, "{name}, {turn}");
            }
        }
        let contents = Arc::new(contents);
        let many: Vec<_> = (0..48)
            .map(|at| {
                let contents = Arc::clone(&contents);
                tokio::spawn(async move {
                    let (name, content) = &contents[at % 3];
                    assert!(fetch_over(relay, origin, name, 1 + at % 2).await == *content, "{name}, {at}");
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
        for yields in [true, false] {
            for threads in [1, 2, 4] {
                let runtime =
                    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
                // Spawned: a future passed to `block_on` runs on none of the tested threads.
                let all = runtime.spawn(async move { timeout(Duration::from_mins(1), all_arrive(yields)).await });
                runtime.block_on(all).unwrap().unwrap();
            }
        }
    }
}
