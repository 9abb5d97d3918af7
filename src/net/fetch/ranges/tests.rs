//! Whole transfers over several connections, from nodes of this process over loopback.

use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::transfer_route::TransferRoute;
use crate::allow_list::AllowList;
use crate::connections::Connections;
use crate::error::Error;
use crate::faults::Faults;
use crate::limits::Limits;
use crate::net::access::Access;
use crate::net::fetch::{FetchJob, Fetched, client, fetch};
use crate::net::node::drain::Drain;
use crate::net::node::root::Root;
use crate::net::node::{Node, NodeConfig};
use crate::net::server;
use crate::net::upstream::Upstream;
use crate::net::upstream::policy::Policy;
use crate::net::upstream::resolve::Resolver;
use crate::options::VerifyMode;
use crate::route::Route;
use crate::snapshot::verdict::{Limit, Verdict};
use crate::snapshot::{ConnState, Integrity, RouteState, TransferSnapshot};
use crate::wire::{Algorithm, Digest, TransferIds};

/// Several blocks, and a short one at the end.
const SIZE: usize = (9 << 20) + 12_345;

/// A chain of nodes, of which the last serves a folder.
struct Chain {
    addresses: Vec<String>,
    nodes: Vec<Arc<Node>>,
    tasks: Vec<AbortOnDropHandle<()>>,
}

impl Chain {
    async fn new(root: &Path, hops: usize, rate: Option<u64>) -> Self {
        let mut chain = Self { addresses: Vec::new(), nodes: Vec::new(), tasks: Vec::new() };
        for _ in 0..hops {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let config = NodeConfig {
                root: Root::open(root).unwrap(),
                max_connections: 256,
                policy: Policy::new(address, AllowList::default()),
                access: Access::new(address),
                limits: Limits::default(),
                faults: Faults { limit: rate, ..Faults::default() },
                protocol: None,
                resolver: Resolver::default(),
                tls: None,
                audit: None,
            };
            let node = Node::new(config, address);
            chain.nodes.push(Arc::clone(&node));
            let serving = server::run(node, listener, Drain::new());
            chain.tasks.push(AbortOnDropHandle::new(tokio::spawn(serving)));
            chain.addresses.push(address.to_string());
        }
        chain
    }

    fn route(&self) -> Route {
        let hops = self.addresses.join("\n");
        Route::parse(format!("f.bin\n{hops}\n").as_bytes()).unwrap()
    }
}

struct Scene {
    root: tempfile::TempDir,
    output: tempfile::TempDir,
    content: Vec<u8>,
    progress: watch::Sender<TransferSnapshot>,
    stop: CancellationToken,
    upstream: Upstream,
}

impl Scene {
    fn new() -> Self {
        let (root, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let content: Vec<u8> = (0..SIZE).map(|at| (at * 31 + at / 977) as u8).collect();
        std::fs::write(root.path().join("f.bin"), &content).unwrap();
        Self {
            root,
            output,
            content,
            progress: watch::channel(TransferSnapshot::default()).0,
            stop: CancellationToken::new(),
            upstream: client(Arc::default(), Limits::default(), None),
        }
    }

    fn job(&self, route: Route, connections: &str) -> FetchJob {
        let job = FetchJob::new(1, route, self.output.path().to_owned(), Limits::default());
        FetchJob { connections: connections.parse().unwrap(), ..job }
    }

    async fn fetch(&mut self, job: &mut FetchJob) -> Result<Fetched, Error> {
        fetch(&mut self.upstream, job, &self.progress, &self.stop).await
    }

    fn assert_whole(&self) {
        assert!(std::fs::read(self.output.path().join("f.bin")).unwrap() == self.content, "the content differs");
        let left: Vec<_> = std::fs::read_dir(self.output.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["f.bin"]);
    }
}

fn digest(algorithm: Algorithm, content: &[u8]) -> Digest {
    let mut hasher = crate::net::node::digests::Hasher::new(algorithm);
    hasher.update(content);
    hasher.finish()
}

#[tokio::test]
async fn several_connections_receive_one_file_and_verify_it() {
    let mut scene = Scene::new();
    let chain = Chain::new(scene.root.path(), 2, Some(8 << 20)).await;
    let mut job = scene.job(chain.route(), "4");
    let fetched = scene.fetch(&mut job).await.unwrap();
    assert!(matches!(fetched.integrity, Integrity::Verified { .. }), "{fetched:?}");
    scene.assert_whole();
    let last = scene.progress.borrow().clone();
    let connections = last.connections.unwrap();
    assert_eq!((last.received, connections.routes.len()), (SIZE as u64, 1));
    assert_eq!(connections.routes[0].received, SIZE as u64, "no byte came twice");
    let entire: Vec<_> = connections.map.iter().map(|part| (part.from, part.to, part.route)).collect();
    assert_eq!(entire, [(0, SIZE as u64, 1)]);
    let counts = chain.nodes[1].snapshot().totals;
    assert!(counts.accepted >= 4, "{counts:?}");
}

#[tokio::test]
async fn sha256_is_computed_in_order() {
    let mut scene = Scene::new();
    let chain = Chain::new(scene.root.path(), 1, None).await;
    let expected = digest(Algorithm::Sha256, &scene.content);
    let mut job = scene.job(chain.route(), "3");
    job.verify = VerifyMode::Expect(expected);
    let fetched = scene.fetch(&mut job).await.unwrap();
    assert_eq!(fetched.integrity, Integrity::Verified { digest: expected.to_string() });
    scene.assert_whole();
    let mut scene = Scene::new();
    let mut job = scene.job(chain.route(), "3");
    job.verify = VerifyMode::Expect(digest(Algorithm::Blake3, b"another"));
    let chain = Chain::new(scene.root.path(), 1, None).await;
    job.route = chain.route();
    assert!(matches!(scene.fetch(&mut job).await, Err(Error::Altered { .. })));
}

#[tokio::test]
async fn a_second_route_brings_a_part_and_another_file_is_refused() {
    let mut scene = Scene::new();
    let (one, two) =
        (Chain::new(scene.root.path(), 1, Some(4 << 20)).await, Chain::new(scene.root.path(), 2, Some(4 << 20)).await);
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("f.bin"), vec![1; SIZE]).unwrap();
    let elsewhere = Chain::new(other.path(), 1, None).await;
    let mut job = scene.job(one.route(), "auto");
    job.routes = vec![two.route(), elsewhere.route()];
    scene.fetch(&mut job).await.unwrap();
    scene.assert_whole();
    let connections = scene.progress.borrow().connections.clone().unwrap();
    let states: Vec<_> = connections.routes.iter().map(|route| route.state).collect();
    assert_eq!(states, [RouteState::Active, RouteState::Active, RouteState::Refused]);
    assert!(connections.routes[1].received > (SIZE / 4) as u64, "{:?}", connections.routes);
    assert_eq!(connections.routes[2].error, Some("its file has other content".into()));
}

#[tokio::test]
async fn a_route_that_fails_gives_its_piece_back() {
    let mut scene = Scene::new();
    let (one, two) =
        (Chain::new(scene.root.path(), 1, Some(3 << 20)).await, Chain::new(scene.root.path(), 1, Some(3 << 20)).await);
    let mut job = scene.job(one.route(), "auto");
    job.routes = vec![two.route()];
    let mut updates = scene.progress.subscribe();
    let fetching = scene.fetch(&mut job);
    let killing = async {
        updates
            .wait_for(|snapshot| {
                let received = |connections: &crate::snapshot::ConnectionsProgress| connections.routes[0].received;
                snapshot.connections.as_ref().is_some_and(|connections| {
                    received(connections) > 1 << 20 && connections.routes[1].received > 1 << 20
                })
            })
            .await
            .unwrap();
        drop(one);
    };
    let (fetched, ()) = tokio::join!(fetching, killing);
    fetched.unwrap();
    scene.assert_whole();
    let connections = scene.progress.borrow().connections.clone().unwrap();
    assert_eq!(connections.routes[0].failed_hop, Some(1), "{:?}", connections.routes);
    let moved: u64 = connections.routes.iter().map(|route| route.received).sum();
    assert!(moved - (SIZE as u64) < 1 << 20, "{moved}");
}

#[tokio::test]
async fn the_whole_is_verified_over_a_route_that_works_whatever_its_number() {
    for passed in [0, 1] {
        let mut scene = Scene::new();
        let rate = Some(3 << 20);
        let (one, two) = (Chain::new(scene.root.path(), 1, rate).await, Chain::new(scene.root.path(), 1, rate).await);
        let mut job = scene.job(one.route(), "auto");
        (job.routes, job.passed, job.retries) = (vec![two.route()], passed, 0);
        let mut updates = scene.progress.subscribe();
        let fetching = scene.fetch(&mut job);
        let killing = async {
            let both = |snapshot: &TransferSnapshot| {
                let connections = snapshot.connections.as_ref();
                connections
                    .is_some_and(|found| found.routes.iter().filter(|route| route.received > 1 << 20).count() == 2)
            };
            updates.wait_for(both).await.unwrap();
            drop(one);
        };
        let (fetched, ()) = tokio::join!(fetching, killing);
        assert!(matches!(fetched.unwrap().integrity, Integrity::Verified { .. }), "{passed}");
        assert_eq!(scene.progress.borrow().attempt, 1, "{passed}");
        scene.assert_whole();
    }
}

#[tokio::test]
async fn routes_keep_their_numbers_when_the_first_one_fails() {
    let mut scene = Scene::new();
    let (gone, other) = (Chain::new(scene.root.path(), 1, None).await, Chain::new(scene.root.path(), 1, None).await);
    let mut job = scene.job(gone.route(), "2");
    job.routes = vec![other.route()];
    let first = gone.addresses[0].clone();
    drop(gone);
    scene.fetch(&mut job).await.unwrap();
    scene.assert_whole();
    let connections = scene.progress.borrow().connections.clone().unwrap();
    let routes: Vec<_> =
        connections.routes.iter().map(|route| (route.number, route.chain.to_string(), route.received)).collect();
    assert_eq!(routes, [(1, first, 0), (2, other.addresses[0].clone(), SIZE as u64)]);
    assert!(connections.map.iter().all(|part| part.route == 2), "{:?}", connections.map);
    assert_eq!(scene.progress.borrow().ids, Some(TransferIds::of(job.id)), "the one of the hops' records");
}

#[tokio::test]
async fn a_connection_that_has_ended_keeps_its_last_range_and_why_it_failed() {
    let mut scene = Scene::new();
    let chain = Chain::new(scene.root.path(), 1, Some(4 << 20)).await;
    let mut job = scene.job(chain.route(), "2");
    let mut updates = scene.progress.subscribe();
    let node = Arc::clone(&chain.nodes[0]);
    let fetching = scene.fetch(&mut job);
    let closing = async {
        let receive = |snapshot: &TransferSnapshot| {
            let connections = snapshot.connections.iter().flat_map(|progress| &progress.connections);
            connections.filter(|connection| connection.received > 1 << 20).count() == 2
        };
        updates.wait_for(receive).await.unwrap();
        let streaming = node.snapshot().connections.into_iter().find(|conn| conn.state == ConnState::Streaming);
        assert!(node.registry.close(streaming.unwrap().id));
    };
    let (fetched, ()) = tokio::join!(fetching, closing);
    fetched.unwrap();
    scene.assert_whole();
    let connections = scene.progress.borrow().connections.clone().unwrap().connections;
    let failed = connections.iter().filter(|connection| connection.error.is_some()).count();
    assert!(connections.len() >= 2 && failed == 1, "{connections:?}");
    assert!(connections.iter().all(|one| one.from < one.at && one.at <= one.end), "{connections:?}");
}

#[test]
fn a_route_keeps_its_verdict_while_another_connection_is_measured() {
    let route = Route::parse(b"f\n127.0.0.1 9101\n").unwrap();
    let job = FetchJob::new(1, route, "out".into(), Limits::default());
    let chain = client(Arc::default(), Limits::default(), None);
    let mut route = TransferRoute::new(1, job, chain, Connections::Auto, 2);
    let mut after = |limit| {
        route.limited_by(Verdict { limit, ..Verdict::default() });
        route.progress(0, 0).verdict.map(|verdict| verdict.limit)
    };
    assert_eq!(after(Limit::Measuring), Some(Limit::Measuring));
    assert_eq!(after(Limit::Balanced), Some(Limit::Balanced));
    assert_eq!(after(Limit::Measuring), Some(Limit::Balanced));
}
