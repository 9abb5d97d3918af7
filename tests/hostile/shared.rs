//! Clients whose requests share the idle connections of relays: every reply is for its own request, or an error.
//!
//! Every request has a name of its own, and its reply consists of that name: a reply to another request shows in its
//! bytes, whatever the server behind the relays does.

#[path = "shared/acts.rs"]
mod acts;
#[path = "shared/client.rs"]
mod client;
#[path = "shared/names.rs"]
mod names;
#[path = "shared/server.rs"]
mod server;

use std::env;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chainview::faults::FaultChange;
use chainview::limits::Limits;
use chainview::snapshot::ConnState;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::faulty::Seeded;
use crate::scene::Chain;
use crate::{Before, RELEASE, all, full, short};
use client::{Count, Session};
use server::{Behavior, Server};

/// Idle connections to one hop, at most; two hops may share a relay.
const MAX_IDLE: usize = 32;
/// Until bytes that were sent have been received over loopback: the kernel may pass them on in a thread of its own.
const DELIVERY: Duration = Duration::from_millis(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reply_reaches_another_request() {
    let before = Before::now().await;
    let seeds = match env::var("CHAINVIEW_SEED") {
        Ok(seed) => seed.parse().unwrap()..=seed.parse().unwrap(),
        Err(_) => {
            1..=env::var("CHAINVIEW_SEEDS").map_or(if full() { 3000 } else { 12 }, |seeds| seeds.parse().unwrap())
        }
    };
    let (began, results) = (Instant::now(), Arc::new(Mutex::new((Count::default(), Vec::new()))));
    all(seeds.map(|seed| {
        let results = Arc::clone(&results);
        async move {
            let result = run_scene(seed).await;
            let (sum, violations) = &mut *results.lock().unwrap();
            match result {
                Ok(count) => sum.add(count),
                Err(violation) => violations.push(format!("CHAINVIEW_SEED={seed}: {violation}")),
            }
        }
    }))
    .await;
    let (sum, violations) = std::mem::take(&mut *results.lock().unwrap());
    println!("{sum:?} in {:?}", began.elapsed());
    assert!(violations.is_empty(), "{} scenes: {}", violations.len(), violations.join("\n"));
    assert!(sum.successes * 4 > sum.requests, "many requests succeed: {sum:?}");
    before.is_back(Chain::with_limits(0, short()).await).await;
}

/// Runs the scene of a seed; an error says what is wrong.
async fn run_scene(seed: u64) -> Result<Count, String> {
    let mut random = Seeded::new(seed);
    let behavior = if random.one_in(3) { Behavior::Correct } else { Behavior::Faulty };
    // A silent server holds a round up for this long; it is far longer than any pause of the others.
    let limits = Limits { idle: Duration::from_secs(4), drain: Duration::from_millis(200), ..short() };
    let chain = Arc::new(Chain::with_limits(1 + random.below(3) as usize, limits).await);
    let mut servers = Vec::new();
    for number in 0..=random.below(2) {
        servers.push(Server::start(seed ^ number << 32, behavior).await);
    }
    // Where the protocol is unknown, a close without a reply is followed by a probe, which takes time.
    let protocol = if random.one_in(8) { "" } else { ";protocol=http" };
    let mut sum = Count::default();
    let rounds = 2 + random.below(2);
    for round in 0..rounds {
        let drains = round + 1 == rounds && random.one_in(3);
        let mut clients = JoinSet::new();
        for client in 0..2 + random.below(7) {
            let to_server = random.below(servers.len() as u64) as usize;
            let relays: Vec<_> = chain.nodes[1..].iter().map(|node| format!("{}, ", node.address)).collect();
            let names = (0..=random.below(12)).map(|number| {
                let kind = random.pick(&["", "", "", "", "", "", ".missing", ".denied"]);
                format!("s{seed}r{round}c{client}n{number}{kind}")
            });
            let session = Session {
                to: chain.nodes[0].address,
                route: format!("{}{};base=/{protocol}", relays.concat(), servers[to_server].address),
                names: names.collect(),
                may_fail: drains || behavior == Behavior::Faulty,
                random: Seeded::new(random.next()),
            };
            clients.spawn(session.run());
        }
        if drains {
            sleep(Duration::from_millis(random.below(30))).await;
            let node = &chain.nodes[random.below(chain.nodes.len() as u64) as usize];
            if random.one_in(2) { node.drain().force() } else { node.drain().begin() }
        }
        if behavior == Behavior::Faulty && random.one_in(3) {
            let node = &chain.nodes[random.below(chain.nodes.len() as u64) as usize];
            let change = random.pick(&[
                FaultChange::Truncate(Some(500)),
                FaultChange::Reject(true),
                FaultChange::Delay(5),
                FaultChange::Fragment(Some(100)),
            ]);
            node.faults.apply(&[change]);
        }
        while let Some(ended) = clients.join_next().await {
            sum.add(ended.unwrap()?);
        }
        becomes_idle(&chain).await?;
        for server in &servers {
            let open = server.record.open.load(Relaxed);
            if open > MAX_IDLE {
                return Err(format!("{open} idle connections to one server"));
            }
            if let Some(violation) = server.violations().first() {
                return Err(format!("{behavior:?} server: {violation}"));
            }
            server.disturb_idle().await;
        }
        sleep(DELIVERY).await;
    }
    release(&chain, &servers).await?;
    Ok(sum)
}

/// Waits until no request is left in any node.
async fn becomes_idle(chain: &Chain) -> Result<(), String> {
    let began = Instant::now();
    loop {
        let states: Vec<_> = chain.nodes.iter().map(|node| node.registry.states()).collect();
        if states.iter().flat_map(|states| states.keys()).all(|state| *state == ConnState::Idle) {
            return Ok(());
        }
        if began.elapsed() > RELEASE {
            return Err(format!("requests are left: {states:?}"));
        }
        sleep(Duration::from_millis(2)).await;
    }
}

/// Drains all nodes, after which no connection may be open.
async fn release(chain: &Chain, servers: &[Server]) -> Result<(), String> {
    let began = Instant::now();
    chain.nodes.iter().for_each(|node| node.drain().begin());
    loop {
        let nodes: Vec<usize> = chain.nodes.iter().map(|node| node.registry.open_count()).collect();
        let open: Vec<usize> = servers.iter().map(|server| server.record.open.load(Relaxed)).collect();
        if nodes.iter().chain(&open).all(|open| *open == 0) {
            return Ok(());
        }
        if began.elapsed() > RELEASE {
            return Err(format!("open at nodes {nodes:?}, at servers {open:?}"));
        }
        sleep(Duration::from_millis(5)).await;
    }
}
