//! Real node processes, started and watched as the dashboard does it.

use std::path::Path;
use std::time::{Duration, Instant};

use chainview::faults::Faults;
use chainview::net::os::random;
use chainview::net::supervisor::{Order, ReadToken, Spawning, Supervisor, all_started};
use chainview::net::watch::{Tokens, Watcher};
use chainview::route::{FileName, Hop, Route};
use chainview::snapshot::verdict::Limit;
use chainview::snapshot::{Flow, HopLink, HopSnapshot, Phase, TransferSnapshot};
use chainview::verdict::Rolling;
use chainview::wire::TransferId;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn free_route(count: usize) -> Route {
    let mut listeners = Vec::new();
    for _ in 0..count {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    let hops = listeners.iter().map(|listener| Hop::new(listener.local_addr().unwrap().into()));
    Route::new(FileName::new(b"f").unwrap(), hops.collect()).unwrap()
}

fn spawning(root: &Path) -> Spawning {
    Spawning {
        program: env!("CARGO_BIN_EXE_chainview").into(),
        root: root.to_owned(),
        read: ReadToken::Made(random::secret()),
        control: random::secret(),
        faults: vec![
            Faults { delay_ms: 1, ..Faults::default() },
            Faults { limit: Some(5_000_000), ..Faults::default() },
        ],
        allow_next: None,
        drain: Duration::from_secs(30),
        flags: Vec::new(),
    }
}

async fn start(supervisor: &mut Supervisor) {
    supervisor.start_all();
    all_started(&supervisor.links()).await;
}

async fn until(watcher: &mut Watcher, wanted: impl Fn(&[HopSnapshot]) -> bool) -> Vec<HopSnapshot> {
    let waiting = async {
        while !wanted(&watcher.hops()) {
            watcher.changed().await;
        }
        watcher.hops()
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    waited.unwrap_or_else(|_| panic!("still {:?}", watcher.hops()))
}

fn pid(hop: &HopSnapshot) -> Option<u32> {
    match hop.link {
        HopLink::Spawned { pid } => Some(pid),
        _ => None,
    }
}

/// An endpoint of the last hop, through the ones before, with a token.
async fn endpoint(route: &Route, token: &str) -> String {
    let (first, behind) = route.split_first();
    let mut stream = TcpStream::connect(first.address.to_string()).await.unwrap();
    let way: Vec<String> = behind.iter().map(Hop::element).collect();
    let head = format!(
        "GET /v1/node HTTP/1.1\r\nHost: {}\r\nChain-Route: {}\r\nAuthorization: Bearer {token}\r\n\r\n",
        first.address,
        way.join(", "),
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn nodes_start_crash_restart_and_stop() {
    let folder = tempfile::tempdir().unwrap();
    let route = free_route(3).await;
    let spawning = spawning(folder.path());
    let token = spawning.read.secret().clone();
    let (mut supervisor, _lines) = Supervisor::new(&route, spawning);
    let tokens = Tokens { spawned: Some(token.clone()), ..Tokens::default() };
    let mut watcher = Watcher::start(&route, &tokens, Some(&supervisor.links()));
    let began = Instant::now();
    start(&mut supervisor).await;
    println!("three nodes listen after {:?}", began.elapsed());
    let hops = until(&mut watcher, |hops| hops.iter().all(|hop| pid(hop).is_some() && hop.node.is_some())).await;
    println!("and report after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let node = hops[1].node.as_ref().unwrap();
    assert_eq!((hops[1].ours, node.faults.limit, Some(node.pid)), (true, Some(5_000_000), pid(&hops[1])));
    assert!(endpoint(&route, token.reveal()).await.starts_with("HTTP/1.1 200 "));
    assert!(endpoint(&route, "wrong").await.starts_with("HTTP/1.1 401 "));

    let victim = Pid::from_raw(i32::try_from(node.pid).unwrap()).unwrap();
    let killed = Instant::now();
    kill_process(victim, Signal::KILL).unwrap();
    until(&mut watcher, |hops| matches!(hops[1].link, HopLink::Down { .. })).await;
    assert!(killed.elapsed() < Duration::from_millis(200), "{:?}", killed.elapsed());
    let ended = |hops: &[HopSnapshot]| match &hops[1].link {
        HopLink::Down { reason } => reason.as_str() == "ended with signal: 9 (SIGKILL): restarting in 1 s",
        _ => false,
    };
    until(&mut watcher, ended).await;
    supervisor.order(2, Order::Restart).unwrap();
    let again = until(&mut watcher, |hops| pid(&hops[1]).is_some()).await;
    assert_ne!(pid(&again[1]), Some(node.pid));

    let stopping = Instant::now();
    supervisor.stop_all().await;
    println!("stopped after {:?}", stopping.elapsed());
    assert!(again.iter().filter_map(pid).all(|pid| !Path::new(&format!("/proc/{pid}")).exists()));
    assert!(stopping.elapsed() < Duration::from_secs(2), "{:?}", stopping.elapsed());
}

#[tokio::test]
async fn running_nodes_are_attached_and_keep_running() {
    let folder = tempfile::tempdir().unwrap();
    let route = free_route(2).await;
    let last = Route::new(route.file.clone(), route.hops()[1..].to_vec()).unwrap();
    let (mut other, _) = Supervisor::new(&last, spawning(folder.path()));
    start(&mut other).await;
    let (mut supervisor, _lines) = Supervisor::new(&route, spawning(folder.path()));
    start(&mut supervisor).await;
    let mut watcher = Watcher::start(&route, &Tokens::default(), Some(&supervisor.links()));
    let hops = until(&mut watcher, |hops| pid(&hops[0]).is_some() && hops[1].link == HopLink::Attached).await;
    assert_eq!((hops[0].ours, hops[1].ours), (true, false));
    supervisor.stop_all().await;
    until(&mut watcher, |hops| matches!(hops[0].link, HopLink::Down { .. })).await;
    assert_eq!(watcher.hops()[1].link, HopLink::Attached);
    other.stop_all().await;
}

#[tokio::test]
async fn detached_nodes_keep_running_and_can_be_reattached() {
    let folder = tempfile::tempdir().unwrap();
    let route = free_route(3).await;
    let (mut supervisor, _lines) = Supervisor::new(&route, spawning(folder.path()));
    let mut watcher = Watcher::start(&route, &Tokens::default(), Some(&supervisor.links()));
    start(&mut supervisor).await;
    let hops = until(&mut watcher, |hops| hops.iter().all(|hop| pid(hop).is_some())).await;
    let pids: Vec<u32> = hops.iter().filter_map(pid).collect();
    supervisor.order(2, Order::Detach).unwrap();
    watcher.detach(2).unwrap();
    assert!(watcher.detach(2).is_err() && watcher.hops()[1].link == HopLink::Detached);
    assert_eq!(watcher.attach(route.hops()[1].clone(), None), Ok(2));
    until(&mut watcher, |hops| hops[1].link == HopLink::Attached && !hops[1].ours).await;
    assert!(supervisor.order(2, Order::Kill).is_err(), "it is not ours any more");
    let left = supervisor.detach_all().await;
    assert_eq!(left.iter().map(|(_, pid)| *pid).collect::<Vec<_>>(), [pids[0], pids[2]]);
    drop((supervisor, watcher));
    let mut watcher = Watcher::start(&route, &Tokens::default(), None);
    let hops = until(&mut watcher, |hops| hops.iter().all(|hop| hop.link == HopLink::Attached)).await;
    let still: Vec<u32> = hops.iter().filter_map(|hop| hop.node.as_ref().map(|node| node.pid)).collect();
    assert_eq!(still, pids);
    for id in pids {
        let process = Pid::from_raw(i32::try_from(id).unwrap()).unwrap();
        assert_eq!(rustix::process::getsid(Some(process)), Ok(process), "a session of its own");
        kill_process(process, Signal::KILL).unwrap();
    }
}

#[tokio::test]
async fn more_nodes_than_the_route_has_can_be_watched() {
    let folder = tempfile::tempdir().unwrap();
    let route = free_route(4).await;
    let other = |hop: usize| route.hops()[hop - 1].clone();
    let short = Route::new(route.file.clone(), route.hops()[..1].to_vec()).unwrap();
    let (mut supervisor, _lines) = Supervisor::new(&route, spawning(folder.path()));
    start(&mut supervisor).await;
    let mut watcher = Watcher::start(&short, &Tokens::default(), None);
    assert!(watcher.attach(other(1), None).is_err(), "it is watched");
    assert_eq!([2, 3, 4].map(|hop| watcher.attach(other(hop), None)), [Ok(2), Ok(3), Ok(4)]);
    let hops = until(&mut watcher, |hops| hops.iter().all(|hop| hop.link == HopLink::Attached)).await;
    assert_eq!(hops.iter().map(|hop| (hop.extra, hop.origin)).collect::<Vec<_>>()[..2], [(false, true), (true, false)]);
    assert_eq!(watcher.hops().iter().filter(|hop| !hop.extra).count(), 1, "only the route takes part in a transfer");
    watcher.detach(3).unwrap();
    assert_eq!(watcher.hops().len(), 4, "later hops keep their numbers");
    watcher.detach(4).unwrap();
    assert_eq!(watcher.hops().len(), 2);
    assert_eq!(watcher.attach(other(4), None), Ok(3));
    supervisor.order(2, Order::Kill).unwrap();
    let hops = until(&mut watcher, |hops| matches!(hops[1].link, HopLink::Down { .. })).await;
    assert!(hops[1].node.is_some(), "its last report can still be read");
    supervisor.stop_all().await;
}

#[tokio::test]
async fn a_rate_limited_hop_is_named_by_the_verdict() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::File::create(folder.path().join("f")).unwrap().set_len(50_000_000).unwrap();
    let route = free_route(3).await;
    let (mut supervisor, _lines) = Supervisor::new(&route, spawning(folder.path()));
    let watcher = Watcher::start(&route, &Tokens::default(), Some(&supervisor.links()));
    start(&mut supervisor).await;
    let (first, behind) = route.split_first();
    let mut stream = TcpStream::connect(first.address.to_string()).await.unwrap();
    let way: Vec<String> = behind.iter().map(Hop::element).collect();
    let id = TransferId(0xabcd << 100);
    let head = format!(
        "GET /files/f HTTP/1.1\r\nHost: localhost\r\nChain-Transfer: {id}\r\nChain-Route: {}\r\n\r\n",
        way.join(", ")
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let reading = tokio::spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
    let began = Instant::now();
    let mut rolling = Rolling::default();
    let named = async {
        loop {
            let now_us = began.elapsed().as_micros() as u64;
            // A client that does nothing but wait for input.
            let flow = Flow { bytes_in: now_us, starved_us: now_us, active_us: now_us, ..Flow::default() };
            let transfer =
                TransferSnapshot { id: id.short().into(), phase: Phase::Streaming, flow, ..Default::default() };
            let verdict = rolling.update(now_us, &watcher.hops(), &[transfer]);
            if verdict.limit == (Limit::RateLimit { hop: 2, rate: 5_000_000 }) {
                return verdict;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(5), named).await;
    let verdict = waited.unwrap_or_else(|_| panic!("{:?}", watcher.hops()));
    assert_eq!((verdict.to_string().as_str(), verdict.since_ms), ("slowest: hop 2, rate-limited to 5.0 MB/s", 0));
    reading.abort();
    supervisor.stop_all().await;
}
