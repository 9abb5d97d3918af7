//! The watcher over real connections: our nodes, the legacy program, foreign servers, and closed ports.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::net::access::Access;
use crate::net::diagnose::{QueryResult, query_hops, transfer_records};
use crate::net::node::drain::Drain;
use crate::net::node::root::Root;
use crate::net::node::{Node, NodeConfig};
use crate::net::os::machine::Machine;
use crate::net::server;
use crate::route::{FileName, Protocol};
use crate::snapshot::{DownReason, HopLink};
use crate::wire::{Method, TransferId, TransferIds};

struct Site {
    node: Arc<Node>,
    running: JoinHandle<()>,
}

async fn site(change: impl FnOnce(&mut NodeConfig)) -> Site {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut config = NodeConfig::of_test(address, Root::open(std::path::Path::new(".")).unwrap());
    change(&mut config);
    let node = Node::new(config, address);
    let running = tokio::spawn(server::run(Arc::clone(&node), listener, Drain::new()));
    Site { node, running }
}

fn route(hops: &[SocketAddr]) -> Route {
    let hops = hops.iter().map(|address| Hop::new((*address).into())).collect();
    Route::new(FileName::new(b"f").unwrap(), hops).unwrap()
}

/// Waits until the hops are as wanted.
async fn until(watcher: &mut Watcher, wanted: impl Fn(&[HopSnapshot]) -> bool) -> Vec<HopSnapshot> {
    let waiting = async {
        loop {
            let hops = watcher.hops();
            if wanted(&hops) {
                return hops;
            }
            watcher.changed().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    waited.unwrap_or_else(|_| panic!("still {:?}", watcher.hops().iter().map(|hop| &hop.link).collect::<Vec<_>>()))
}

fn is_down(hop: &HopSnapshot) -> bool {
    matches!(hop.link, HopLink::Down { .. })
}

#[tokio::test]
async fn running_nodes_are_attached_and_their_end_shows_immediately() {
    let (first, second) = (site(|_| {}).await, site(|config| config.faults.limit = Some(7)).await);
    let mut watcher = Watcher::start(&route(&[first.node.address, second.node.address]), &Tokens::default(), None);
    let hops = until(&mut watcher, |hops| hops.iter().all(|hop| hop.link == HopLink::Attached)).await;
    assert_eq!((hops[1].number, hops[1].origin, hops[1].ours), (2, true, false));
    assert_eq!(hops[1].node.as_ref().unwrap().faults.limit, Some(7));
    let began = Instant::now();
    second.running.abort();
    let hops = until(&mut watcher, |hops| is_down(&hops[1])).await;
    assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
    assert_eq!((hops[0].link.clone(), hops[1].node.is_some()), (HopLink::Attached, true));
}

#[tokio::test]
async fn a_node_that_comes_back_is_found_again() {
    let first = site(|_| {}).await;
    let address = first.node.address;
    let mut watcher = Watcher::start(&route(&[address]), &Tokens::default(), None);
    let name = until(&mut watcher, |hops| hops[0].node.is_some()).await[0].node.clone().unwrap().node;
    first.running.abort();
    until(&mut watcher, |hops| is_down(&hops[0])).await;
    let listener = TcpListener::bind(address).await.unwrap();
    let config = NodeConfig::of_test(address, Root::open(std::path::Path::new(".")).unwrap());
    let again = tokio::spawn(server::run(Node::new(config, address), listener, Drain::new()));
    let hops = until(&mut watcher, |hops| hops[0].link == HopLink::Attached).await;
    assert_ne!(hops[0].node.as_ref().unwrap().node, name);
    again.abort();
}

#[tokio::test]
async fn supervisor_reports_take_precedence() {
    let first = site(|_| {}).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let reported = tokio::sync::watch::Sender::new(vec![None, Some(HopLink::Starting)]);
    let mut watcher =
        Watcher::start(&route(&[first.node.address, closed]), &Tokens::default(), Some(&reported.subscribe()));
    let hops = until(&mut watcher, |hops| hops[0].link.is_up() && hops[1].link == HopLink::Starting).await;
    assert!(!hops[0].ours && hops[1].ours);
    let ended = HopLink::Down { reason: "ended with exit status: 4".into() };
    reported.send_replace(vec![Some(HopLink::Spawned { pid: 7 }), Some(ended.clone())]);
    let hops = until(&mut watcher, |hops| hops[1].link == ended).await;
    assert!(hops[1].ours);
    until(&mut watcher, |hops| hops[0].link == HopLink::Spawned { pid: 7 }).await;
    reported.send_replace(vec![Some(HopLink::Down { reason: "ended".into() }), Some(ended)]);
    until(&mut watcher, |hops| is_down(&hops[0])).await;
}

#[tokio::test]
async fn a_draining_node_is_followed_to_its_end_and_then_stopped() {
    let site = site(|_| {}).await;
    let mut watcher = Watcher::start(&route(&[site.node.address]), &Tokens::default(), None);
    until(&mut watcher, |hops| hops[0].link == HopLink::Attached).await;
    // Unfinished work: a request that has begun.
    let mut client = TcpStream::connect(site.node.address).await.unwrap();
    client.write_all(b"GET /f").await.unwrap();
    until(&mut watcher, |hops| hops[0].node.as_ref().unwrap().connections.len() == 2).await;
    site.node.drain().stop_accepting();
    let drains = |hop: &HopSnapshot| hop.node.as_ref().is_some_and(|node| node.draining);
    let hops = until(&mut watcher, |hops| drains(&hops[0])).await;
    let uptime = hops[0].node.as_ref().unwrap().uptime_us;
    let keeps_running = |hop: &HopSnapshot| hop.node.as_ref().unwrap().uptime_us > uptime + 1_000_000;
    let hops = until(&mut watcher, |hops| keeps_running(&hops[0]) || is_down(&hops[0])).await;
    assert_eq!(hops[0].link, HopLink::Attached);
    drop(client);
    let stopped = HopLink::Down { reason: DownReason::Stopped };
    until(&mut watcher, |hops| hops[0].link == stopped).await;
    // It is retried meanwhile, and refuses.
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(watcher.hops()[0].link, stopped);
}

#[tokio::test]
async fn a_node_that_the_supervisor_stops_is_followed_to_its_end() {
    let site = site(|_| {}).await;
    let reported = tokio::sync::watch::Sender::new(vec![Some(HopLink::Spawned { pid: 7 })]);
    let mut watcher = Watcher::start(&route(&[site.node.address]), &Tokens::default(), Some(&reported.subscribe()));
    until(&mut watcher, |hops| hops[0].node.is_some()).await;
    let client = TcpStream::connect(site.node.address).await.unwrap();
    until(&mut watcher, |hops| hops[0].node.as_ref().unwrap().connections.len() == 2).await;
    let stopping = HopLink::Down { reason: DownReason::Stopping };
    reported.send_replace(vec![Some(stopping.clone())]);
    site.node.drain().begin();
    let drains = |hop: &HopSnapshot| hop.node.as_ref().is_some_and(|node| node.draining);
    let hops = until(&mut watcher, |hops| drains(&hops[0]) || is_down(&hops[0])).await;
    assert_eq!(hops[0].link, HopLink::Spawned { pid: 7 }, "it still reports");
    drop(client);
    until(&mut watcher, |hops| hops[0].link == stopping).await;
    let stopped = HopLink::Down { reason: DownReason::Stopped };
    reported.send_replace(vec![Some(stopped.clone())]);
    until(&mut watcher, |hops| hops[0].link == stopped).await;
}

/// The legacy program: two lines are a request for a file. Anything else makes it hang (`hangs`) or close.
async fn legacy_program(listener: TcpListener, hangs: bool) {
    let mut kept = Vec::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        stream.read_buf(&mut request).await.unwrap();
        if request.split(|byte| *byte == b'\n').count() == 2 {
            stream.write_all(b"NA").await.unwrap();
        } else if hangs {
            kept.push(stream);
        }
    }
}

#[tokio::test]
async fn legacy_programs_and_foreign_servers_are_distinguished() {
    let hanging = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stranger = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let locked = site(|config| config.access = Access::new(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 1)))).await;
    let [first, last] = [&hanging, &closing].map(|listener| listener.local_addr().unwrap());
    let hops = [first, stranger.local_addr().unwrap(), closed, locked.node.address, last];
    let mut servers = JoinSet::new();
    servers.spawn(legacy_program(hanging, true));
    servers.spawn(legacy_program(closing, false));
    servers.spawn(async move {
        loop {
            let (mut stream, _) = stranger.accept().await.unwrap();
            let _ = stream.read_buf(&mut Vec::new()).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
        }
    });
    let mut watcher = Watcher::start(&route(&hops), &Tokens::default(), None);
    until(&mut watcher, |hops| {
        hops[0].link == HopLink::Legacy
            && hops[1].link == HopLink::Foreign
            && is_down(&hops[2])
            && hops[3].link == HopLink::Foreign
            && hops[4].link == HopLink::Legacy
    })
    .await;
    assert_eq!(watcher.hops()[2].link, HopLink::Down { reason: "connection refused".into() });
}

/// A server that reads a request, sends these bytes, and keeps the connection open.
async fn replies_with(listener: TcpListener, reply: &'static [u8]) {
    let mut kept = Vec::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read_buf(&mut Vec::new()).await;
        let _ = stream.write_all(reply).await;
        kept.push(stream);
    }
}

#[tokio::test]
async fn silence_and_garbage_are_no_foreign_server() {
    let first = site(|_| {}).await;
    let mut servers = JoinSet::new();
    let mut hops = vec![first.node.address];
    for reply in [&b""[..], b"SSH-2.0-OpenSSH_9.9\r\n", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        hops.push(listener.local_addr().unwrap());
        servers.spawn(replies_with(listener, reply));
    }
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let legacy = Hop { protocol: Some(Protocol::Legacy), ..Hop::new(mute.local_addr().unwrap().into()) };
    servers.spawn(replies_with(mute, b""));
    let hops = hops.into_iter().map(|address| Hop::new(address.into())).chain([legacy]).collect();
    let mut watcher =
        Watcher::start(&Route::new(FileName::new(b"f").unwrap(), hops).unwrap(), &Tokens::default(), None);
    let settled = |hop: &HopSnapshot| !matches!(hop.link, HopLink::Unknown);
    let hops = until(&mut watcher, |hops| hops.iter().all(settled)).await;
    for silent in [1, 4] {
        assert_eq!(hops[silent].link, HopLink::Down { reason: DownReason::Silent });
        assert!(!hops[silent].link.is_up());
    }
    let HopLink::Down { reason } = &hops[2].link else { panic!("{:?}", hops[2].link) };
    assert!(reason.as_str().contains("bad response"), "{reason}");
    assert_eq!(hops[3].link, HopLink::Foreign);
}

#[tokio::test]
async fn another_server_in_place_of_a_starting_node_is_classified() {
    let stranger = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = stranger.local_addr().unwrap();
    let reported = tokio::sync::watch::Sender::new(vec![Some(HopLink::Starting)]);
    let mut watcher = Watcher::start(&route(&[address]), &Tokens::default(), Some(&reported.subscribe()));
    let (mut stream, _) = stranger.accept().await.unwrap();
    let _ = stream.read_buf(&mut Vec::new()).await;
    stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    // A second request arrives, so the first reply was read.
    let (silent, _) = stranger.accept().await.unwrap();
    assert_eq!(watcher.hops()[0].link, HopLink::Starting);
    reported.send_replace(vec![None]);
    until(&mut watcher, |hops| hops[0].link == HopLink::Unknown && !hops[0].ours).await;
    drop(silent);
    let mut servers = JoinSet::new();
    servers.spawn(replies_with(stranger, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"));
    until(&mut watcher, |hops| hops[0].link == HopLink::Foreign).await;
}

#[tokio::test]
async fn a_hop_on_another_machines_loopback_is_watched_through_the_chain_with_its_token() {
    let gate = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let first = site(|config| config.access.host_names.push("0".parse().unwrap())).await;
    let secret = Secret::new("sesame").unwrap();
    let token = secret.clone();
    let second = site(|config| config.access.read = Some(token)).await;
    // The gate stands in for another machine: its name is not a loopback name, though it resolves to this machine.
    let (to, mut passing) = (first.node.address, JoinSet::new());
    let gated = gate.local_addr().unwrap();
    passing.spawn(async move {
        let mut pipes = JoinSet::new();
        while let Ok((mut near, _)) = gate.accept().await {
            pipes.spawn(async move {
                let mut far = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    let elsewhere = Hop::parse_element(&format!("0:{}", gated.port())).unwrap();
    let hops = vec![elsewhere, Hop::new(second.node.address.into())];
    let route_of_hops = Route::new(FileName::new(b"f").unwrap(), hops).unwrap();
    let tokens = Tokens { hops: vec![None, Some(secret)], ..Tokens::default() };
    let mut watcher = Watcher::start(&route_of_hops, &tokens, None);
    let hops = until(&mut watcher, |hops| hops[1].link == HopLink::Attached).await;
    assert_eq!(hops[1].node.as_ref().unwrap().address.as_str(), second.node.address.to_string());
    let mut refused = Watcher::start(&route_of_hops, &Tokens::default(), None);
    until(&mut refused, |hops| hops[1].link == HopLink::Foreign).await;
}

#[tokio::test]
async fn a_flood_of_events_is_read_at_a_pace() {
    let flooder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = flooder.local_addr().unwrap();
    let mut flooding = JoinSet::new();
    flooding.spawn(async move {
        let (mut stream, _) = flooder.accept().await.unwrap();
        let _ = stream.read_buf(&mut Vec::new()).await;
        let head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n";
        stream.write_all(head).await.unwrap();
        for uptime in 0u64.. {
            let line = format!("{{\"uptime_us\":{uptime},\"totals\":{{\"open\":{uptime}}}}}\n");
            if stream.write_all(line.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let mut watcher = Watcher::start(&route(&[address]), &Tokens::default(), None);
    until(&mut watcher, |hops| hops[0].node.as_ref().is_some_and(|node| node.totals.open >= 1)).await;
    let began = Instant::now();
    until(&mut watcher, |hops| hops[0].node.as_ref().unwrap().totals.open >= 9).await;
    assert!(began.elapsed() >= Duration::from_millis(350), "{:?}", began.elapsed());
}

#[tokio::test]
async fn every_hop_reports_its_record_of_a_transfer() {
    let (first, second) = (site(|_| {}).await, site(|_| {}).await);
    let id = TransferId(77 << 64);
    let conn = second.node.registry.open(first.node.address);
    let job = conn.begin_job(id, Method::Get, &FileName::new(b"f.txt").unwrap(), Protocol::Http);
    job.job().meter.record_write(9);
    let route_of_hops = route(&[first.node.address, second.node.address]);
    let reported = transfer_records(&route_of_hops, 3, TransferIds::of(id), None).await;
    assert!(reported[0].is_none());
    assert_eq!(reported[1].as_ref().map(|account| account.flow.bytes_out), Some(9));
    // Hop 1 is a node without a record of the transfer; the port of hop 3 is closed.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let route_of_hops = route(&[first.node.address, second.node.address, closed]);
    let found =
        query_hops(Machine::default(), &route_of_hops, 3, TransferIds::of(id), None, Duration::from_secs(5)).await;
    assert!(matches!(&found[..], [QueryResult::NotFound, QueryResult::Record(_), QueryResult::Refused]), "{found:?}");
}

#[tokio::test]
async fn silent_hops_do_not_delay_a_report() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second = site(|_| {}).await;
    let began = Instant::now();
    let reported = transfer_records(
        &route(&[silent.local_addr().unwrap(), second.node.address]),
        2,
        TransferIds::of(TransferId(1)),
        None,
    )
    .await;
    assert!(reported.iter().all(Option::is_none) && began.elapsed() < Duration::from_millis(1500));
}
