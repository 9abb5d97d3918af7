//! Nodes that serve the same keys, and what is sent to them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chainview::error::Error;
use chainview::keys::KeyPair;
use chainview::limits::Limits;
use chainview::net::access::KeyTable;
use chainview::net::fetch::{FetchJob, client, fetch};
use chainview::net::node::drain::Drain;
use chainview::net::node::{Node, NodeConfig};
use chainview::net::server;
use chainview::route::{FileName, Hop, Route};
use chainview::snapshot::{Integrity, TransferSnapshot};
use chainview::wire::http::{encode_request, sign_request};
use chainview::wire::{Method, Problem, Reason, Request, TransferId};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::http_chain::scene::{Reply, config, pattern, read_reply};

pub(super) const TIMEOUT: Duration = Duration::from_secs(20);

pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(super) fn key() -> Arc<KeyPair> {
    Arc::new(KeyPair::parse(&KeyPair::generate().unwrap()).unwrap())
}

/// Nodes that serve the same keys, each with its own table.
pub(super) struct Site {
    pub(super) nodes: Vec<Arc<Node>>,
    pub(super) tables: Vec<KeyTable>,
    tasks: Vec<JoinHandle<()>>,
    pub(super) folder: tempfile::TempDir,
}

impl Site {
    /// Starts nodes with these lines of keys, as if since this time.
    pub(super) async fn start(count: usize, keys: &str, since: u64) -> Self {
        Self::start_with(count, keys, since, |_| {}).await
    }

    /// The same, with a change to the configuration of each.
    pub(super) async fn start_with(count: usize, keys: &str, since: u64, change: impl Fn(&mut NodeConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mut nodes, mut tables, mut tasks) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let table = KeyTable::new(keys.parse().unwrap(), since);
            let mut config = config(folder.path(), address, Limits::default());
            config.access.keys = Some(table.clone());
            config.access.list = true;
            change(&mut config);
            let node = Node::new(config, address);
            tasks.push(tokio::spawn(server::run(Arc::clone(&node), listener, Drain::new())));
            nodes.push(node);
            tables.push(table);
        }
        std::fs::create_dir(folder.path().join("pub")).unwrap();
        for name in ["pub/f", "private"] {
            std::fs::write(folder.path().join(name), pattern(100_000)).unwrap();
        }
        Self { nodes, tables, tasks, folder }
    }

    pub(super) fn address(&self, node: usize) -> SocketAddr {
        self.nodes[node].address
    }

    pub(super) fn hops(&self) -> Vec<Hop> {
        self.nodes.iter().map(|node| Hop::new(node.address.into())).collect()
    }

    pub(super) fn route(&self, name: &str) -> Route {
        Route::new(FileName::new(name.as_bytes()).unwrap(), self.hops()).unwrap()
    }

    /// Fetches a file as a client with this key.
    pub(super) async fn fetch(&self, name: &str, identity: Option<&Arc<KeyPair>>) -> Result<Vec<u8>, Error> {
        fetch_over(self.route(name), identity).await
    }

    /// A request for `pub/f` over all nodes, signed with this key at this time.
    pub(super) fn signed(&self, pair: &KeyPair, created: u64, nonce: u128) -> Request {
        let mut hops = self.hops();
        let first = hops.remove(0);
        let mut request = Request {
            host: Some(first.address.clone()),
            route: hops,
            transfer: Some(TransferId(nonce)),
            keep_alive: true,
            ..Request::new(Method::Get, FileName::new(b"pub/f").unwrap())
        };
        request.signatures = sign_request(pair, &first, &request, created, nonce).unwrap().map(Box::new);
        request
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Fetches a file over a route as a client with this key.
pub(super) async fn fetch_over(route: Route, identity: Option<&Arc<KeyPair>>) -> Result<Vec<u8>, Error> {
    let output = tempfile::tempdir().unwrap();
    let mut job = FetchJob::new(1, route, output.path().to_owned(), Limits::default());
    job.identity = identity.cloned();
    let mut upstream = client(Arc::default(), job.limits, None).signed_by(job.identity.clone());
    let (progress, stop) = (watch::channel(TransferSnapshot::default()).0, CancellationToken::new());
    let fetching = fetch(&mut upstream, &mut job, &progress, &stop);
    let fetched = timeout(TIMEOUT, fetching).await.expect("an end in time")?;
    assert!(matches!(fetched.integrity, Integrity::Verified { .. }), "{:?}", fetched.integrity);
    Ok(std::fs::read(fetched.path).unwrap())
}

/// Sends a head over a connection of its own.
pub(super) async fn send(to: SocketAddr, request: &Request) -> Reply {
    let mut head = Vec::new();
    encode_request(request, None, &mut head);
    send_head(to, &head).await
}

pub(super) async fn send_head(to: SocketAddr, head: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(head).await.unwrap();
    read_reply(&mut stream, if head.starts_with(b"HEAD") { "HEAD" } else { "GET" }).await
}

/// Asserts that a request is refused with this status, reason and words; the refusal names nothing else.
pub(super) fn assert_refused(reply: &Reply, status: u16, reason: Reason, words: &str) {
    assert_eq!((reply.status, reply.problem().reason), (status, reason), "{}", reply.problem());
    assert!(reply.problem().detail.as_str().contains(words), "{}", reply.problem().detail);
}

pub(super) fn problem_of(error: Error) -> (Option<usize>, Problem) {
    assert_eq!(error.exit_code(), 5, "{error}");
    let Error::Hop(fault) = error else { panic!("{error}") };
    (fault.hop, fault.problem)
}
