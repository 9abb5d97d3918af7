//! Next hops given by name: a resolver that hangs, panics, or is not needed.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use chainview::allow_list::AllowList;
use chainview::limits::Limits;
use chainview::net::node::drain::Drain;
use chainview::net::node::{Node, NodeConfig};
use chainview::net::server;
use chainview::net::upstream::policy::Policy;
use chainview::net::upstream::resolve::Resolver;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::scene::{Chain, config, exchange, pattern};

/// A relay with this resolver, in front of the chain; it ends with the set.
async fn relay(chain: &Chain, change: impl FnOnce(&mut NodeConfig)) -> (Arc<Node>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let limits = Limits { connect: Duration::from_secs(1), ..Limits::default() };
    let mut config = config(chain.folder.path(), address, limits);
    change(&mut config);
    let node = Node::new(config, address);
    let mut running = JoinSet::new();
    running.spawn(server::run(Arc::clone(&node), listener, Drain::new()));
    (node, running)
}

#[tokio::test]
async fn slow_resolution_times_out_and_delays_nothing_else() {
    let chain = Chain::start(1).await;
    chain.write("f", &pattern(3 << 20));
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let resolver = Resolver::new(move |_| {
        let _ = released.lock().unwrap().recv();
        Err(io::Error::other("no such name"))
    });
    let (node, _running) = relay(&chain, |config| config.resolver = resolver).await;
    let mut hanging = JoinSet::new();
    for number in 0..200 {
        let address = node.address;
        hanging.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // Both kinds of requests use the same code.
            let path = if number % 2 == 0 { "/files/f" } else { "/healthz" };
            let route = format!("Chain-Route: hang{number}.example:9\r\nConnection: close\r\n");
            let reply = exchange(&mut stream, "GET", path, &route).await;
            (reply.status, reply.problem().hop)
        });
    }
    for lines in [String::new(), format!("Chain-Route: {}\r\n", chain.address(0))] {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        let reply = exchange(&mut stream, "GET", "/files/f", &lines).await;
        assert!((reply.status, reply.body.len()) == (200, 3 << 20), "{}", reply.head);
    }
    let ended = hanging.join_all().await;
    drop(release);
    let count = |status, hop| ended.iter().filter(|end| **end == (status, hop)).count();
    // The name is the reason where it was resolved, and this node where resolution never started.
    assert_eq!((count(504, 1), count(503, 0)), (32, 168), "{ended:?}");
}

#[tokio::test]
async fn names_without_a_permitted_address_are_not_resolved() {
    let chain = Chain::start(1).await;
    let lookups = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&lookups);
    let resolver = Resolver::new(move |_| {
        counted.fetch_add(1, SeqCst);
        Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)])
    });
    let (node, _running) = relay(&chain, |config| {
        config.policy = Policy::new("0.0.0.0:1".parse().unwrap(), AllowList::default());
        config.resolver = resolver;
    })
    .await;
    for path in ["/files/f", "/v1/node"] {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        let reply = exchange(&mut stream, "GET", path, "Chain-Route: relay.example:9\r\nConnection: close\r\n").await;
        assert_eq!(reply.status, 403, "{}", reply.head);
        assert!(reply.problem().detail.as_str().contains("this node relays nowhere"));
    }
    assert_eq!(lookups.load(SeqCst), 0);
}
