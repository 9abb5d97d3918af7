//! The runs of the seeds: routes with faults of their own, to files that all of them share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use chainview::net::node::digests::Hasher;
use chainview::options::VerifyMode;
use chainview::route::Route;
use chainview::wire::{Algorithm, Digest};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::origin::Origin;
use crate::faulty::{Fault, Plan, Seeded, Slices};
use crate::peers::{Peer, forward};
use crate::scene::Chain;
use crate::{digest, route, short};

/// From the smallest file that is received in parts; with and without a short block at the end.
const SIZES: [usize; 4] = [4 << 20, (4 << 20) + 1, (5 << 20) + 12_345, 6 << 20];
/// Connections of one relay that may have a fault.
const FAULTY_CONNECTIONS: usize = 8;

/// What all runs fetch from.
pub(super) struct World {
    pub(super) chain: Chain,
    files: Vec<[(Arc<Vec<u8>>, Digest); 2]>,
}

/// One run: where its file comes from, and with what faults.
pub(super) struct Run {
    pub(super) description: String,
    pub(super) routes: Vec<Route>,
    pub(super) connections: [String; 2],
    pub(super) retries: u32,
    pub(super) verify: VerifyMode,
    pub(super) rate: Option<u64>,
    /// Received bytes after which it is cancelled.
    pub(super) cancelled_at: Option<u64>,
    /// Some byte of a body may be altered.
    pub(super) alters: bool,
    /// The file may be replaced meanwhile.
    pub(super) changes: bool,
    /// Some origin sends false heads.
    pub(super) false_heads: bool,
    pub(super) versions: [(Arc<Vec<u8>>, Digest); 2],
    pub(super) folder: TempDir,
    pub(super) faults_end: CancellationToken,
    _peers: Vec<Peer>,
}

impl World {
    pub(super) async fn new() -> Self {
        let chain = Chain::with_limits(3, short()).await;
        let file = |content: Vec<u8>| {
            let digest = digest(&content);
            (Arc::new(content), digest)
        };
        let files = SIZES.map(|size| {
            let first: Vec<u8> = (0..size).map(|at| (at * 31 + at / 977) as u8).collect();
            let second = first.iter().map(|byte| byte ^ 0x55).collect();
            [file(first), file(second)]
        });
        for (number, [(content, _), _]) in files.iter().enumerate() {
            chain.write(&format!("f{number}"), content);
        }
        Self { chain, files: files.into() }
    }

    /// Prepares the run of a seed.
    pub(super) async fn run(&self, seed: u64) -> Run {
        let mut random = Seeded::new(seed);
        let number = random.below(SIZES.len() as u64) as usize;
        let versions = self.files[number].clone();
        let size = versions[0].0.len() as u64;
        let routes = 1 + random.below(3) as usize;
        let faults_end = CancellationToken::new();
        let changes_at = random.one_in(12).then(|| random.below(6) as usize);
        let alters = changes_at.is_none() && random.one_in(2);
        let count =
            |random: &mut Seeded| if random.one_in(5) { "auto".to_owned() } else { (1 + random.below(8)).to_string() };
        let connections = [count(&mut random), count(&mut random)];
        let (mut peers, mut lines, mut false_heads) = (Vec::new(), Vec::new(), false);
        for _ in 0..routes {
            let mut hops = Vec::new();
            if random.one_in(2) {
                hops.push(relay(self.chain.nodes[0].address, &mut random, size, alters, &faults_end, &mut peers).await);
            }
            // A file that is replaced is served by such origins alone.
            if changes_at.is_some() || random.one_in(3) {
                false_heads = true;
                let origin = Arc::new(Origin {
                    versions: versions.clone(),
                    changes_at,
                    announces: random.one_in(2),
                    alters,
                    seed: random.next(),
                    requests: AtomicUsize::new(0),
                    faults_end: faults_end.clone(),
                });
                let peer = Peer::start(move |_, stream| Arc::clone(&origin).serve(stream)).await;
                hops.push(peer.address);
                peers.push(peer);
            } else {
                let to = self.chain.nodes[1 + random.below(2) as usize].address;
                hops.push(relay(to, &mut random, size, alters, &faults_end, &mut peers).await);
            }
            lines.push(hops);
        }
        let verify = match random.below(6) {
            0 if !alters => VerifyMode::Skip,
            1 if changes_at.is_none() => VerifyMode::Expect(sha256(&versions[0].0)),
            2 | 3 if changes_at.is_none() => VerifyMode::Expect(versions[0].1),
            _ => VerifyMode::Origin,
        };
        let retries = random.below(3) as u32;
        let rate = random.one_in(6).then(|| (4 << 20) + random.below(16 << 20));
        let cancelled_at = random.one_in(8).then(|| random.below(size));
        let description = format!(
            "CHAINVIEW_SEED={seed}: {size} bytes, {lines:?} over {connections:?}, retries {retries}, alters {alters}, \
             changes at {changes_at:?}, rate {rate:?}, cancelled at {cancelled_at:?}, {verify:?}"
        );
        let routes = lines.iter().map(|hops| route(&format!("f{number}"), hops, "http")).collect();
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let changes = changes_at.is_some();
        Run {
            description,
            routes,
            connections,
            retries,
            verify,
            rate,
            cancelled_at,
            alters,
            changes,
            false_heads,
            versions,
            folder,
            faults_end,
            _peers: peers,
        }
    }
}

/// Starts a relay to a node, whose first connections have faults.
async fn relay(
    to: SocketAddr,
    random: &mut Seeded,
    size: u64,
    alters: bool,
    faults_end: &CancellationToken,
    peers: &mut Vec<Peer>,
) -> SocketAddr {
    // Slow enough that pieces are divided while they arrive.
    let slices = random.pick(&[Slices::AsTheyCome, Slices::Ragged(32 << 10, 4), Slices::Ragged(8 << 10, 8)]);
    let plan = |random: &mut Seeded| {
        let mut back = Plan::sliced(slices, random.next());
        let mut there = Plan::none();
        if random.one_in(3) {
            let fault = loop {
                match Fault::any(random) {
                    Fault::Delay(_) => break Fault::Delay(Duration::from_millis(random.below(3000))),
                    fault if fault.alters() && !alters => {}
                    fault => break fault,
                }
            };
            // In a head or a request, or anywhere in the body.
            match random.below(8) {
                0 => there.faults.push((random.below(600), fault)),
                1 => back.faults.push((random.below(600), fault)),
                _ => back.faults.push((random.below(size / 2), fault)),
            }
        }
        (there, back)
    };
    let plans: Vec<_> = (0..FAULTY_CONNECTIONS).map(|_| plan(random)).collect();
    let (slow, faults_end) = (Plan::sliced(slices, 1), faults_end.clone());
    let peer = Peer::start(move |number, stream| {
        let faulty = plans.get(number).cloned().unwrap_or_else(|| (Plan::none(), slow.clone()));
        let faults_end = faults_end.clone();
        async move {
            if faults_end.is_cancelled() {
                return forward(stream, to, Plan::none(), Plan::none()).await;
            }
            let (there, back) = faulty;
            tokio::select! {
                () = faults_end.cancelled() => {}
                () = forward(stream, to, there, back) => {}
            }
        }
    })
    .await;
    let address = peer.address;
    peers.push(peer);
    address
}

fn sha256(content: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(content);
    hasher.finish()
}
