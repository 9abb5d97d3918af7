//! Several clients at once through the same nodes, which share their connections to next hops, over routes and through
//! tunnels, under seeded faults, while nodes drain, crash and restart: no reply reaches another request, no wrong
//! success, nothing is left.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::MACHINE;
use super::chain::{Chain, Network, Planned, address, folder, route, write};
use super::faulty::{Seeded, Slices};
use super::tests::{Trace, assert_reproducible, number, run_chain, run_named, seeds};
use crate::limits::Limits;
use crate::net::fetch::{FetchJob, client, fetch};
use crate::net::upstream::{protocols::UpstreamShared, resolve::Resolver};
use crate::route::Protocol;
use crate::snapshot::{Integrity, TransferSnapshot};

/// Worlds per test run.
const SEEDS: u64 = 200;
/// Number of worlds that are run twice and compared.
const SAME: u64 = 20;
/// Maximum duration of one fetch: every fault may delay it, and every limit may pass.
const LONGEST_FETCH: Duration = Duration::from_mins(10);
/// Names without similarity, so that no fault makes one of another.
const NAMES: [&str; 5] = ["alpha-one.bin", "BRAVO_2.txt", "charlie", "44-delta.iso", "echo.echo.e"];

/// Everything that a seed decides.
#[derive(Debug)]
struct Scene {
    sizes: Vec<usize>,
    /// The digests are known before they are requested.
    settled: bool,
    protocol: Option<Protocol>,
    /// Nodes that listen; routes lead over some of them.
    nodes: usize,
    network: Network,
    clients: Vec<Vec<Visit>>,
    /// The clients belong to one program.
    one_program: bool,
    /// Most idle connections of each node and of each program.
    idle_connections: usize,
    stops: Vec<Stop>,
    seed: u64,
}

/// One request of a client, or several in one write.
#[derive(Clone, Debug)]
struct Visit {
    pause: Duration,
    file: usize,
    hops: Vec<usize>,
    /// The client stops this long after it began.
    cancel: Option<Duration>,
    /// The files that are requested behind this one in the same write, over HTTP by hand.
    pipelined: Option<Vec<usize>>,
    /// Those requests are sent inside a tunnel to the last hop.
    tunnel: bool,
}

/// A node stops, and starts again.
#[derive(Clone, Copy, Debug)]
struct Stop {
    after: Duration,
    hop: usize,
    crashes: bool,
    down: Duration,
}

/// Outcome of one world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    requests: u64,
    done: u64,
    /// Those that were done inside a tunnel.
    inside: u64,
    connects: usize,
    /// Requests of nodes over a connection that was idle, and over a new one.
    reused: u64,
    opened: u64,
}

impl Scene {
    fn of(seed: u64) -> Self {
        let mut random = Seeded::new(seed ^ 0x5ade);
        let slices = match random.below(6) {
            0 => Slices::AtMost(1 + random.below(64) as usize),
            1 | 2 => Slices::Ragged(20_000, 20),
            _ => Slices::AsTheyCome,
        };
        let sizes = NAMES.map(|_| match slices {
            // Single bytes are slow to simulate.
            Slices::AtMost(_) => random.pick(&[0, 1, 5, 1000]),
            _ => random.pick(&[0, 1, 1000, 1000, 16 * 1024 + 1, 70_000]),
        });
        let nodes = 2 + random.below(3) as usize;
        let faults = (0..random.below(6)).map(|_| {
            let planned = Planned::any(&mut random, nodes, 70_000);
            // Shared connections carry several replies.
            Planned { at: planned.at * (1 + random.below(4)), connect: random.below(6) as usize, ..planned }
        });
        let faults = faults.collect();
        let stops = (0..random.below(3)).map(|_| Stop {
            after: Duration::from_millis(random.below(3000)),
            hop: random.below(nodes as u64) as usize,
            crashes: random.one_in(2),
            down: Duration::from_millis(random.below(2000)),
        });
        let stops = stops.collect();
        let counts: Vec<_> = (0..2 + random.below(4)).map(|_| 1 + random.below(4)).collect();
        let visits = |count| (0..count).map(|_| Visit::any(&mut random, nodes)).collect();
        let clients = counts.into_iter().map(visits).collect();
        Self {
            sizes: sizes.to_vec(),
            settled: random.one_in(2),
            clients,
            protocol: if random.one_in(4) { None } else { Some(Protocol::Http) },
            nodes,
            network: Network { slices, faults, refuses: None, seed },
            one_program: random.one_in(2),
            idle_connections: random.pick(&[256, 256, 256, 256, 2, 0]),
            stops,
            seed,
        }
    }

    fn limits(&self) -> Limits {
        Limits { idle_connections: self.idle_connections, ..Limits::default() }
    }

    fn files(&self) -> Vec<Vec<u8>> {
        let mut random = Seeded::new(self.seed ^ 0xf11e);
        self.sizes.iter().map(|size| (0..*size).map(|_| random.next() as u8).collect()).collect()
    }
}

impl Visit {
    fn any(random: &mut Seeded, nodes: usize) -> Self {
        let first = random.below(nodes as u64) as usize;
        let mut hops = vec![first];
        // A part of the nodes in ascending order, from any on: most routes share links.
        hops.extend((first + 1..nodes).filter(|_| !random.one_in(4)));
        Self {
            pause: Duration::from_millis(if random.one_in(3) { random.below(12_000) } else { random.below(50) }),
            file: random.below(NAMES.len() as u64) as usize,
            hops,
            cancel: random.one_in(6).then(|| Duration::from_micros(random.below(40_000))),
            pipelined: random.one_in(4).then(|| (0..random.below(4)).map(|_| random.below(5) as usize).collect()),
            tunnel: random.one_in(2),
        }
    }
}

/// A client, with what it needs for its checks.
struct Client {
    number: usize,
    visits: Vec<Visit>,
    files: Arc<Vec<Vec<u8>>>,
    shared: Arc<UpstreamShared>,
    protocol: Option<Protocol>,
    limits: Limits,
    altered: usize,
    output: PathBuf,
}

impl Client {
    async fn run(self) -> Tally {
        let mut upstream = client(Arc::clone(&self.shared), self.limits, None);
        let mut tally = Tally::default();
        for (number, visit) in self.visits.iter().enumerate() {
            sleep(visit.pause).await;
            let began = Instant::now();
            let hops = visit.hops.iter().map(|hop| (*hop, self.protocol));
            if let Some(behind) = &visit.pipelined {
                let names: Vec<usize> = std::iter::once(visit.file).chain(behind.iter().copied()).collect();
                tally.requests += names.len() as u64;
                let asking = self.pipeline(&visit.hops, &names, visit.tunnel);
                let done = match visit.cancel {
                    Some(time) => timeout(time, asking).await.unwrap_or(0),
                    None => asking.await,
                };
                tally.done += done;
                tally.inside += if visit.tunnel && visit.hops.len() > 1 { done } else { 0 };
            } else {
                let output = self.output.join(format!("{}-{number}", self.number));
                let job = FetchJob::new(number as u64, route(NAMES[visit.file], hops), output, self.limits);
                tally.requests += 1;
                tally.done += u64::from(self.fetch(&mut upstream, job, visit).await);
            }
            assert!(began.elapsed() < LONGEST_FETCH, "{:?} for {visit:?}", began.elapsed());
        }
        tally
    }

    /// Fetches a file; returns whether it arrived.
    async fn fetch(&self, upstream: &mut crate::net::upstream::Upstream, mut job: FetchJob, visit: &Visit) -> bool {
        (job.machine, job.id, job.retries) = (MACHINE, MACHINE.transfer_id(), 1);
        let (progress, stop) = (watch::channel(TransferSnapshot::default()).0, CancellationToken::new());
        let fetching = fetch(upstream, &mut job, &progress, &stop);
        let cancel = async {
            match visit.cancel {
                Some(time) => sleep(time).await,
                None => std::future::pending().await,
            }
            stop.cancel();
        };
        let fetched = {
            tokio::pin!(fetching, cancel);
            let mut stopping = false;
            loop {
                tokio::select! {
                    biased;
                    fetched = &mut fetching => break fetched,
                    () = &mut cancel, if !stopping => stopping = true,
                }
            }
        };
        let Ok(fetched) = fetched else {
            assert!(!job.output.exists(), "a failure that left a file: {visit:?}");
            return false;
        };
        let found = fs::read(&fetched.path).unwrap();
        let excused = matches!(fetched.integrity, Integrity::SizeChecked { .. }) || self.altered > 1;
        if found != self.files[visit.file] {
            let other = self.files.iter().position(|file| found.len() > 5 && *file == found);
            assert_eq!(other, None, "the content of another file: {visit:?}");
            assert!(self.altered > 0 && excused, "a wrong success, {:?}: {visit:?}", fetched.integrity);
        }
        true
    }

    /// Requests files in one write, by hand, over the route or inside a tunnel; returns how many arrived.
    async fn pipeline(&self, hops: &[usize], names: &[usize], tunnel: bool) -> u64 {
        let Ok(socket) = (MACHINE.connect)(address(hops[0]), None) else { return 0 };
        let mut stream = TcpStream::from_std(socket.into()).unwrap();
        let rest: Vec<_> = hops[1..].iter().map(|hop| address(*hop).to_string()).collect();
        let target = rest.last().filter(|_| tunnel).cloned();
        let rest = if rest.is_empty() { String::new() } else { format!("Chain-Route: {}\r\n", rest.join(", ")) };
        let (opening, rest) = match &target {
            Some(target) => (format!("CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{rest}\r\n"), String::new()),
            None => (String::new(), rest),
        };
        let head = |name: &usize| format!("GET /files/{} HTTP/1.1\r\nHost: 127.0.0.1\r\n{rest}\r\n", NAMES[*name]);
        let requests: Vec<String> = std::iter::once(opening).chain(names.iter().map(head)).collect();
        if stream.write_all(requests.concat().as_bytes()).await.is_err() {
            return 0;
        }
        let mut buffer = Vec::new();
        if target.is_some() && !matches!(read_reply(&mut stream, &mut buffer).await, Some((200, _))) {
            return 0;
        }
        let mut done = 0;
        for name in names {
            let Some((status, body)) = read_reply(&mut stream, &mut buffer).await else { break };
            let file = &self.files[*name];
            // Nothing proves these bodies, so that altered bytes say nothing.
            assert!(
                status != 200 || self.altered > 0 || *body == file[..file.len().min(body.len())],
                "the reply of another request to {}, {} of {} bytes",
                NAMES[*name],
                body.len(),
                file.len()
            );
            done += u64::from(status == 200 && body.len() == file.len());
        }
        done
    }
}

/// Reads a reply of announced length, or the beginning of its body; `None` if there is no whole head.
async fn read_reply(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(u16, Vec<u8>)> {
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            fill(stream, buffer).await?;
        };
        let head = String::from_utf8_lossy(&buffer.drain(..end).collect::<Vec<_>>()).into_owned();
        let status = head.get(9..12)?.parse().ok()?;
        if status < 200 {
            continue;
        }
        // The reply that opens a tunnel has none.
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap_or("0").parse().ok()?;
        while buffer.len() < length && fill(stream, buffer).await.is_some() {}
        return Some((status, buffer.drain(..length.min(buffer.len())).collect()));
    }
}

/// Reads more; `None` if nothing comes within the limits of a node.
async fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let read = timeout(Duration::from_mins(1), stream.read_buf(buffer)).await.ok()?.ok()?;
    super::activity();
    (read > 0).then_some(())
}

/// Runs one world to its end; panics if an invariant is violated.
fn run_world(seed: u64) -> (Tally, Trace) {
    let scene = Scene::of(seed);
    let (root, outputs, files) = (folder(), folder(), Arc::new(scene.files()));
    for (name, content) in NAMES.iter().zip(&*files) {
        write(&root.path().join(name), content, scene.settled);
    }
    run_chain(
        seed,
        || Chain::new(scene.nodes, scene.network.clone(), root.path(), (None, scene.limits())),
        async |chain| run_clients(&scene, &chain, files, outputs.path()).await,
    )
}

async fn run_clients(scene: &Scene, chain: &Rc<Chain>, files: Arc<Vec<Vec<u8>>>, outputs: &Path) -> Tally {
    let shared = || Arc::new(UpstreamShared::new(Resolver::default().on(MACHINE)));
    let of_program = shared();
    let mut clients = JoinSet::new();
    for (number, visits) in scene.clients.iter().enumerate() {
        let client = Client {
            number,
            visits: visits.clone(),
            files: Arc::clone(&files),
            shared: if scene.one_program { Arc::clone(&of_program) } else { shared() },
            protocol: scene.protocol,
            limits: scene.limits(),
            altered: scene.network.altered(),
            output: outputs.to_owned(),
        };
        clients.spawn(client.run());
    }
    let mut tally = Tally::default();
    let ended = async {
        while let Some(one) = clients.join_next().await {
            let one = one.unwrap();
            (tally.requests, tally.done) = (tally.requests + one.requests, tally.done + one.done);
            tally.inside += one.inside;
        }
    };
    let stops = async {
        for stop in &scene.stops {
            sleep(stop.after).await;
            if stop.crashes {
                chain.kill(stop.hop);
            } else {
                chain.drain(stop.hop);
            }
            sleep(stop.down).await;
            chain.start(stop.hop);
        }
    };
    // As the accept loops do.
    let expiring = async {
        loop {
            sleep(Duration::from_millis(500)).await;
            chain.close_expired();
            chain.upstream_totals();
        }
    };
    tokio::select! {
        biased;
        _ = async { tokio::join!(ended, stops) } => {}
        () = expiring => {}
    }
    let totals = chain.upstream_totals();
    (tally.reused, tally.opened) = (totals.reused, totals.opened);
    tally.connects = (0..scene.nodes).map(|hop| chain.connects(hop)).sum();
    tally
}

#[test]
fn every_shared_world_keeps_the_invariants() {
    let mut sum = Tally::default();
    for seed in seeds(number("CHAINVIEW_SEEDS").unwrap_or(SEEDS)) {
        let (one, _) = run_named(seed, "sim::shared", run_world);
        sum.requests += one.requests;
        sum.done += one.done;
        sum.inside += one.inside;
        sum.connects += one.connects;
        (sum.reused, sum.opened) = (sum.reused + one.reused, sum.opened + one.opened);
    }
    println!("{sum:?}");
    let few = number("CHAINVIEW_SEED").is_some();
    assert!(few || sum.done * 2 > sum.requests, "most requests succeed: {sum:?}");
    assert!(few || sum.inside * 20 > sum.done, "many of them inside tunnels: {sum:?}");
    assert!(few || sum.reused > sum.opened, "most connections are shared: {sum:?}");
}

#[test]
fn a_seed_reproduces_its_shared_world() {
    seeds(SAME).for_each(|seed| assert_reproducible(seed, run_world));
}
