//! Chains of real connections among hostile peers: no false success, no leaked descriptor or task, an end in time.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

#[path = "it/support/faulty.rs"]
mod faulty;
#[path = "hostile/peers.rs"]
mod peers;
#[path = "it/http_chain/scene.rs"]
#[allow(dead_code, reason = "this uses its own part of it")]
mod scene;

#[path = "hostile/encrypted.rs"]
mod encrypted;
#[path = "hostile/false_replies.rs"]
mod false_replies;
#[path = "hostile/parts.rs"]
mod parts;
#[path = "hostile/shapes.rs"]
mod shapes;
#[path = "hostile/shared.rs"]
mod shared;

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chainview::error::Error;
use chainview::limits::Limits;
use chainview::net::fetch::{FetchJob, Fetched, client, fetch};
use chainview::net::node::Node;
use chainview::net::node::digests::Hasher;
use chainview::options::VerifyMode;
use chainview::route::Route;
use chainview::snapshot::{ConnState, TransferSnapshot};
use chainview::wire::{Algorithm, Digest};
use faulty::{Fault, Plan, Seeded, Slices};
use peers::Peer;
use scene::{Chain, pattern};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// One test at a time: descriptors and tasks are counted for the whole process.
static ALONE: Mutex<()> = Mutex::const_new(());
/// Everything a test started has ended after this, even under load.
const RELEASE: Duration = Duration::from_secs(30);
/// Transfers in parallel: most of them only wait.
const PARALLEL: usize = 16;

/// Timeouts so short that a stalled peer does not delay the tests.
pub(crate) fn short() -> Limits {
    Limits {
        setup: Duration::from_secs(3),
        connect: Duration::from_secs(2),
        head: Duration::from_secs(2),
        idle: Duration::from_secs(2),
        stall: Duration::from_secs(3),
        linger: Duration::from_millis(500),
        drain: Duration::from_secs(1),
        ..Limits::default()
    }
}

fn full() -> bool {
    env::var("CHAINVIEW_FAULTS").is_ok_and(|value| value == "full")
}

/// What the process held before a test began.
struct Before {
    descriptors: usize,
    tasks: usize,
    _alone: MutexGuard<'static, ()>,
}

impl Before {
    async fn now() -> Self {
        let alone = ALONE.lock().await;
        // The runtime's own descriptors exist once it has been used.
        drop(Peer::silent().await);
        let count = || (descriptors(), Handle::current().metrics().num_alive_tasks());
        let (mut before, mut equal) = (count(), 0);
        // Dropped values are released by tasks that run later; the baseline is what remains after them.
        while equal < 5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = count();
            (before, equal) = (now, if now == before { equal + 1 } else { 0 });
        }
        let (descriptors, tasks) = before;
        Self { descriptors, tasks, _alone: alone }
    }

    /// Waits until everything a test started has been released, its chain included.
    async fn is_back(&self, chain: Chain) {
        let began = Instant::now();
        let is_busy = |node: &Arc<Node>| node.registry.states().keys().any(|state| *state != ConnState::Idle);
        while chain.nodes.iter().any(is_busy) {
            assert!(began.elapsed() < RELEASE, "requests are left");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Only connections of a relay that wait for its next request are left.
        chain.nodes.iter().for_each(|node| node.drain().begin());
        while chain.nodes.iter().any(|node| node.registry.open_count() > 0) {
            let open: Vec<usize> = chain.nodes.iter().map(|node| node.registry.open_count()).collect();
            assert!(began.elapsed() < RELEASE, "open connections: {open:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(chain);
        loop {
            let (held, runs) = (descriptors(), Handle::current().metrics().num_alive_tasks());
            if held <= self.descriptors && runs <= self.tasks {
                return;
            }
            let remaining = format!("{held} descriptors, {runs} tasks; before {} and {}", self.descriptors, self.tasks);
            assert!(began.elapsed() < RELEASE, "not released: {remaining}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

pub(crate) fn digest(content: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Blake3);
    hasher.update(content);
    hasher.finish()
}

/// Returns the route to a file over these hops.
pub(crate) fn route(name: &str, hops: &[SocketAddr], protocol: &str) -> Route {
    let lines: Vec<_> = hops.iter().map(|hop| format!("{} {} protocol={protocol}\n", hop.ip(), hop.port())).collect();
    Route::parse(format!("{name}\n{}", lines.concat()).as_bytes()).unwrap()
}

/// Runs one fetch over these hops, without retries.
pub(crate) async fn fetch_over(
    hops: &[SocketAddr],
    protocol: &str,
    output: &Path,
    limits: Limits,
    verify: VerifyMode,
) -> Result<Fetched, Error> {
    let mut job = FetchJob::new(1, route("f", hops, protocol), output.to_owned(), limits);
    job.verify = verify;
    let mut upstream = client(Arc::default(), limits, None);
    let progress = watch::channel(TransferSnapshot::default()).0;
    fetch(&mut upstream, &mut job, &progress, &CancellationToken::new()).await
}

/// Hops with a hostile relay before each, which has these plans for its first connections.
async fn with_hostile_relays(chain: &Chain, mut plans: Vec<Vec<(Plan, Plan)>>) -> (Vec<SocketAddr>, Vec<Peer>) {
    plans.resize(chain.nodes.len(), Vec::new());
    let mut peers = Vec::new();
    for (node, plans) in chain.nodes.iter().zip(plans) {
        peers.push(Peer::relay(node.address, plans).await);
    }
    (peers.iter().map(|peer| peer.address).collect(), peers)
}

/// Runs this many in parallel until all have ended.
async fn all<F: Future<Output = ()> + Send + 'static>(runs: impl Iterator<Item = F>) {
    let mut running = JoinSet::new();
    for run in runs {
        if running.len() >= PARALLEL {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(run);
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transfers_under_faults_never_report_a_false_success() {
    let before = Before::now().await;
    let chain = Arc::new(Chain::with_limits(2, short()).await);
    let sizes = [1, 1000, 16 * 1024 + 1, 70_000, 300_000, 3_000_000];
    for size in sizes {
        chain.write(&format!("f{size}"), &pattern(size));
    }
    let seeds = match env::var("CHAINVIEW_SEED") {
        Ok(seed) => seed.parse().unwrap()..=seed.parse().unwrap(),
        Err(_) => 1..=if full() { 2000 } else { 200 },
    };
    let folder = Arc::new(tempfile::tempdir().unwrap());
    all(seeds.map(|seed| transfer(seed, Arc::clone(&chain), Arc::clone(&folder), sizes))).await;
    before.is_back(Arc::into_inner(chain).unwrap()).await;
}

/// Runs one transfer with one fault at some position.
async fn transfer(seed: u64, chain: Arc<Chain>, folder: Arc<tempfile::TempDir>, sizes: [usize; 6]) {
    let mut random = Seeded::new(seed);
    let size = random.pick(&sizes);
    let back = !random.one_in(6);
    // The legacy protocol has no digest: only faults that end it are tested with it.
    let protocol = if random.one_in(4) { "legacy" } else { "http" };
    let fault = loop {
        match Fault::any(&mut random) {
            Fault::Delay(_) => break Fault::Delay(Duration::from_millis(random.below(200))),
            fault if protocol == "legacy" && fault.alters() => {}
            fault => break fault,
        }
    };
    let reach = if back { 500 + size as u64 } else { 600 };
    let plan = Plan { random: Seeded::new(seed), ..Plan::one(random.below(reach), fault) };
    let plans = if back { (Plan::none(), plan) } else { (plan, Plan::none()) };
    let position = random.below(2) as usize;
    let mut per_hop = vec![Vec::new(); 2];
    per_hop[position].push(plans);
    let (hops, peers) = with_hostile_relays(&chain, per_hop).await;
    let content = pattern(size);
    let verify = if random.one_in(3) { VerifyMode::Expect(digest(&content)) } else { VerifyMode::Origin };
    let lines: Vec<_> = hops.iter().map(|hop| format!("{} {} protocol={protocol}\n", hop.ip(), hop.port())).collect();
    let route = Route::parse(format!("f{size}\n{}", lines.concat()).as_bytes()).unwrap();
    let output = folder.path().join(format!("copy-{seed}"));
    let mut job = FetchJob::new(seed, route, output.clone(), short());
    job.verify = verify;
    let mut upstream = client(Arc::default(), short(), None);
    let progress = watch::channel(TransferSnapshot::default()).0;
    let fetched = fetch(&mut upstream, &mut job, &progress, &CancellationToken::new()).await;
    let what =
        format!("seed {seed}: {fault:?} of {size} bytes at hop {position}, back {back}, {protocol}: {fetched:?}");
    match fetched {
        Ok(_) => assert!(fs::read(&output).unwrap() == content, "a wrong success: {what}"),
        Err(_) => assert!(!output.exists(), "a failure that left a file: {what}"),
    }
    drop((upstream, peers));
    let _ = fs::remove_file(&output);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_truncated_body_is_a_success() {
    const SIZE: u64 = 64 * 1024;
    let before = Before::now().await;
    let chain = Arc::new(Chain::with_limits(2, short()).await);
    chain.write("f", &pattern(SIZE as usize));
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let step = if full() { 16 } else { 601 };
    // A head precedes the body, so that each of these is before the end.
    let edges = [0, 1, 2, 100, 16 * 1024, SIZE - 1].into_iter();
    all(edges.chain((3..SIZE).step_by(step)).map(|at| {
        let (chain, folder) = (Arc::clone(&chain), Arc::clone(&folder));
        async move {
            let plans = vec![Vec::new(), vec![(Plan::none(), Plan::one(at, Fault::Truncate))]];
            let (hops, _peers) = with_hostile_relays(&chain, plans).await;
            let output = folder.path().join(at.to_string());
            let fetched = fetch_over(&hops, "http", &output, short(), VerifyMode::Origin).await;
            assert!(fetched.is_err() && !output.exists(), "cut at {at}: {fetched:?}");
        }
    }))
    .await;
    before.is_back(Arc::into_inner(chain).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_at_any_step_is_an_error_or_harmless() {
    const SIZE: u64 = 50_000;
    let before = Before::now().await;
    let chain = Arc::new(Chain::with_limits(3, short()).await);
    chain.write("f", &pattern(SIZE as usize));
    let folder = Arc::new(tempfile::tempdir().unwrap());
    // The request from before its first byte to its end; the reply's first byte, head, body; the request for the
    // digest.
    let steps = [
        (false, 0),
        (false, 1),
        (false, 100),
        (true, 0),
        (true, 1),
        (true, 20),
        (true, 300),
        (true, 600),
        (true, 17_000),
        (true, SIZE - 1),
        (true, SIZE + 100),
        (false, 450),
    ];
    let positions = (0..3).flat_map(|position| steps.map(move |(back, at)| (position, back, at)));
    all(positions.map(|(position, back, at)| {
        let (chain, folder) = (Arc::clone(&chain), Arc::clone(&folder));
        async move {
            let plan = Plan::one(at, Fault::Reset);
            let mut plans = vec![Vec::new(); 3];
            plans[position].push(if back { (Plan::none(), plan) } else { (plan, Plan::none()) });
            let (hops, _peers) = with_hostile_relays(&chain, plans).await;
            let output = folder.path().join(format!("{position}-{back}-{at}"));
            // On the heap: all futures of the test are in one list.
            let fetched = Box::pin(fetch_over(&hops, "http", &output, short(), VerifyMode::Origin)).await;
            match fetched {
                // After the last byte, a request may be repeated on another connection.
                Ok(_) => assert!(fs::read(&output).unwrap() == pattern(SIZE as usize), "{position} {back} {at}"),
                Err(_) => assert!(!output.exists()),
            }
            let early = if back { at < SIZE } else { at <= 100 };
            assert!(!early || !output.exists(), "a success without the complete file: {position} {back} {at}");
        }
    }))
    .await;
    before.is_back(Arc::into_inner(chain).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn single_byte_writes_change_nothing() {
    let before = Before::now().await;
    let chain = Chain::start(2).await;
    let content = pattern(3000);
    chain.write("f", &content);
    let folder = tempfile::tempdir().unwrap();
    for protocol in ["http", "legacy"] {
        for most in [1, 7, 64] {
            let sliced = || vec![(Plan::sliced(Slices::AtMost(most), 1), Plan::sliced(Slices::AtMost(most), 2)); 4];
            // The legacy request has no end mark: in chunks it is complete only for chainview nodes, between which it
            // is forwarded.
            let (hops, _peers) = with_hostile_relays(&chain, vec![sliced(), sliced()]).await;
            let output = folder.path().join(format!("{protocol}-{most}"));
            let fetched = fetch_over(&hops, protocol, &output, Limits::default(), VerifyMode::Origin).await;
            assert_eq!(
                fetched.map(|fetched| fetched.size).map_err(|error| error.to_string()),
                Ok(3000),
                "{protocol} {most}"
            );
            assert!(fs::read(&output).unwrap() == content, "{protocol} {most}");
        }
    }
    before.is_back(chain).await;
}
