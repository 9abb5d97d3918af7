//! A hostile relay at each position of an encrypted chain of four hops: a transfer ends with the right file or with an
//! error and no file, and the network between the ends has neither names nor contents nor tokens.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use chainview::error::{BodyFailure, Error};
use chainview::keys::KeyPair;
use chainview::net::fetch::{FetchJob, Fetched, client, fetch};
use chainview::net::node::Node;
use chainview::net::tls::ServerTls;
use chainview::route::Route;
use chainview::secret::Secret;
use chainview::snapshot::TransferSnapshot;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::faulty::{Fault, Plan, Seeded};
use crate::peers::Peer;
use crate::scene::Chain;
use crate::{all, full, short};

/// In the file, and looked for on the network.
const LINE: &[u8] = b"only the ends may read this line\n";
const NAME: &str = "quarterly-figures";
const TOKEN: &str = "only-for-the-origin";
/// Several TLS records, small enough for thousands of runs.
const SIZE: usize = 200_000;
const HOPS: usize = 4;

/// What the relay does to the first connection through it, which is the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    /// Alters, drops, adds, repeats or exchanges bytes, or ends or resets the connection.
    Bytes { fault: Fault, toward_client: bool, at: u64 },
    /// Opens the tunnel by itself, and replies to the request in place of the origin.
    Answer,
    /// Removes the next hop from the route.
    StripHop,
    /// Adds a hop to the route.
    AddHop,
    /// Takes TLS 1.3 out of what the client offers.
    Downgrade,
}

impl Act {
    fn of(random: &mut Seeded) -> Self {
        if random.one_in(5) {
            return random.pick(&[Self::Answer, Self::StripHop, Self::AddHop, Self::Downgrade]);
        }
        let (some, bit) = (1 + random.below(2_000) as usize, 1 << random.below(8));
        let fault = random.pick(&[
            Fault::Truncate,
            Fault::Reset,
            Fault::Flip(bit),
            Fault::Insert(some),
            Fault::Duplicate(some),
            Fault::Swap(some),
            Fault::Lose(some),
        ]);
        let toward_client = !random.one_in(4);
        // A byte of the set-up is as likely as one of the body.
        let reach = if toward_client && random.one_in(2) { SIZE as u64 } else { 1_500 };
        Self::Bytes { fault, toward_client, at: random.below(reach) }
    }

    /// Returns its name.
    fn kind(self) -> &'static str {
        match self {
            Self::Bytes { fault: Fault::Truncate, .. } => "cut",
            Self::Bytes { fault: Fault::Reset, .. } => "reset",
            Self::Bytes { fault: Fault::Flip(_), .. } => "alter",
            Self::Bytes { fault: Fault::Insert(_), .. } => "add",
            Self::Bytes { fault: Fault::Duplicate(_), .. } => "replay",
            Self::Bytes { fault: Fault::Swap(_), .. } => "reorder",
            Self::Bytes { .. } => "drop",
            Self::Answer => "answer",
            Self::StripHop => "strip a hop",
            Self::AddHop => "add a hop",
            Self::Downgrade => "downgrade",
        }
    }
}

/// Forwards connections and records what passes.
async fn recorder(to: SocketAddr, seen: Arc<Mutex<Vec<Vec<u8>>>>) -> Peer {
    Peer::start(move |_, near| {
        let seen = Arc::clone(&seen);
        async move {
            let Ok(far) = TcpStream::connect(to).await else { return };
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let (near, far) = (near.into_split(), far.into_split());
            let (up, down) = tokio::join!(record(near.0, far.1), record(far.0, near.1));
            seen.lock().unwrap().extend([up, down]);
        }
    })
    .await
}

async fn record(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let before = all.len();
        match from.read_buf(&mut all).await {
            Ok(1..) if to.write_all(&all[before..]).await.is_ok() => {}
            Ok(0) => {
                let _ = to.shutdown().await;
                return all;
            }
            Ok(_) => return all,
            Err(_) => {
                // A reset stays one.
                let _ = to.as_ref().set_zero_linger();
                return all;
            }
        }
    }
}

/// A relay whose first connection is changed at its beginning.
async fn impostor(to: SocketAddr, act: Act, other: SocketAddr) -> Peer {
    Peer::start(move |number, mut near| async move {
        let Ok(mut far) = TcpStream::connect(to).await else { return };
        if number == 0 {
            let mut first = vec![0; 16 * 1024];
            let Ok(read) = near.read(&mut first).await else { return };
            first.truncate(read);
            let Some(changed) = change(act, &first, other) else {
                let opened = "HTTP/1.1 200 OK\r\nChain-Hops: 3\r\n\r\n";
                let plain = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nChain-Hops: 0\r\n\r\nwrong";
                let _ = near.write_all(format!("{opened}{plain}").as_bytes()).await;
                while matches!(near.read(&mut first).await, Ok(1..)) {}
                return;
            };
            if far.write_all(&changed).await.is_err() {
                return;
            }
        }
        let _ = copy_bidirectional(&mut near, &mut far).await;
    })
    .await
}

/// Changes the request for a tunnel and what follows; `None` to reply to it instead.
fn change(act: Act, first: &[u8], other: SocketAddr) -> Option<Vec<u8>> {
    let end = first.windows(4).position(|end| end == b"\r\n\r\n").unwrap_or(first.len());
    let (head, rest) = first.split_at(end);
    let head = String::from_utf8_lossy(head).into_owned();
    let line = head.lines().find(|line| line.starts_with("Chain-Route: ")).unwrap_or_default();
    let hops = line.trim_start_matches("Chain-Route: ");
    let changed = match act {
        Act::Answer => return None,
        Act::StripHop => match hops.split_once(", ") {
            Some((_, others)) => head.replace(line, &format!("Chain-Route: {others}")),
            None => head.clone(),
        },
        Act::AddHop if !hops.is_empty() => head.replace(line, &format!("Chain-Route: {other}, {hops}")),
        _ => head.clone(),
    };
    let mut rest = rest.to_vec();
    // The extension with the versions: 1.3 alone.
    let versions = [0, 0x2b, 0, 3, 2, 3, 4];
    if let Some(at) = rest.windows(7).position(|window| window == versions).filter(|_| act == Act::Downgrade) {
        rest[at + 6] = 3;
    }
    Some([changed.as_bytes(), &rest].concat())
}

struct Scene {
    chain: Chain,
    key: String,
    content: Vec<u8>,
    folder: tempfile::TempDir,
    /// For each kind of act: runs, failures, and failures that name a hop beside the damage.
    counts: Mutex<BTreeMap<&'static str, [u32; 3]>>,
}

impl Scene {
    async fn start() -> Self {
        let pair = KeyPair::parse(&KeyPair::generate().unwrap()).unwrap();
        let tls = Arc::new(ServerTls::new(&pair).unwrap());
        let chain = Chain::configured(HOPS, short(), |hop, config| {
            config.tls = (hop == HOPS - 1).then(|| Arc::clone(&tls));
        })
        .await;
        let content: Vec<u8> = LINE.iter().copied().cycle().take(SIZE).collect();
        chain.write(NAME, &content);
        fs::create_dir(chain.folder.path().join("dir")).unwrap();
        chain.write(&format!("dir/{NAME}"), &content);
        let (folder, counts) = (tempfile::tempdir().unwrap(), Mutex::default());
        Self { chain, key: pair.public().fingerprint().to_string(), content, folder, counts }
    }

    /// Fetches once, with a hostile relay before one of the hops.
    async fn run(self: Arc<Self>, seed: u64) {
        let mut random = Seeded::new(seed);
        let act = Act::of(&mut random);
        // What the client offers follows its own request; behind a relay it comes only once the tunnel is open.
        let position = if act == Act::Downgrade { 0 } else { random.below(HOPS as u64) as usize };
        let seen = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let (mut peers, mut hops) = (Vec::new(), Vec::new());
        for (hop, node) in self.chain.nodes.iter().enumerate() {
            let mut to = node.address;
            if hop == position {
                let hostile = match act {
                    Act::Bytes { fault, toward_client, at } => {
                        let plan = Plan { random: Seeded::new(seed), ..Plan::one(at, fault) };
                        let plans = if toward_client { (Plan::none(), plan) } else { (plan, Plan::none()) };
                        Peer::relay(to, vec![plans]).await
                    }
                    _ => impostor(to, act, self.chain.nodes[0].address).await,
                };
                to = hostile.address;
                peers.push(hostile);
            }
            let peer = recorder(to, Arc::clone(&seen)).await;
            hops.push(peer.address.to_string());
            peers.push(peer);
        }
        let is_folder = random.one_in(4);
        let name = if is_folder { "dir/" } else { NAME };
        let route = format!("{name}\n{} key={}\n", hops.join("\n"), self.key);
        let output = self.folder.path().join(seed.to_string());
        let route = Route::parse(route.as_bytes()).unwrap();
        let mut job = FetchJob::new(seed, route, output.clone(), short());
        job.token = Some(Secret::new(TOKEN).unwrap());
        let mut upstream = client(Arc::default(), short(), None);
        let progress = watch::channel(TransferSnapshot::default()).0;
        let fetched = fetch(&mut upstream, &mut job, &progress, &CancellationToken::new()).await;
        drop(upstream);
        let what = format!("seed {seed}, before hop {}: {act:?}: {fetched:?}", position + 1);
        let file = if is_folder { output.join(NAME) } else { output.clone() };
        match &fetched {
            Ok(_) => assert!(fs::read(&file).unwrap() == self.content, "a wrong success: {what}"),
            Err(_) => assert!(!file.exists(), "a failure that left a file: {what}"),
        }
        drop(peers);
        for stream in &*seen.lock().unwrap() {
            for secret in [LINE, NAME.as_bytes(), TOKEN.as_bytes()] {
                assert!(!stream.windows(secret.len()).any(|window| window == secret), "on the network: {what}");
            }
        }
        self.count(act, position, &fetched, &what);
    }

    fn count(&self, act: Act, position: usize, fetched: &Result<Fetched, Error>, what: &str) {
        let kind = act.kind();
        let mut counts = self.counts.lock().unwrap();
        let [runs, failures, beside] = counts.entry(kind).or_default();
        *runs += 1;
        let Err(error) = fetched else { return };
        *failures += 1;
        if let (Act::Bytes { fault: Fault::Flip(_), .. }, Error::Short { hop, how, .. }) = (act, error) {
            // The length of a record, altered, makes the client wait for bytes that are not sent.
            let altered = *how == BodyFailure::Altered && *hop == HOPS;
            assert!(altered || *how == BodyFailure::Silent, "{what}");
        }
        let named = error.hop();
        *beside += u32::from(named.is_some_and(|hop| [position, position + 1].contains(&hop)));
        if env::var_os("CHAINVIEW_SHOW").is_some() {
            println!("{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hostile_relay_of_an_encrypted_chain_reads_nothing_and_forges_nothing() {
    let scene = Arc::new(Scene::start().await);
    let seeds = env::var("CHAINVIEW_SEEDS").map_or(if full() { 2_000 } else { 120 }, |seeds| seeds.parse().unwrap());
    all((1..=seeds).map(|seed| Arc::clone(&scene).run(seed))).await;
    let reports: Vec<String> =
        scene.chain.nodes.iter().map(|node: &Arc<Node>| format!("{:?}", node.snapshot())).collect();
    assert!(!reports.iter().any(|report| report.contains(NAME)), "a report has the name");
    let counts = scene.counts.lock().unwrap();
    counts.iter().for_each(|(kind, [runs, failures, beside])| {
        println!("{kind}: {runs} runs, {failures} failures, {beside} named beside the damage");
    });
    assert!(counts.values().map(|[_, failures, _]| failures).sum::<u32>() > seeds as u32 / 2, "harm is done");
}
