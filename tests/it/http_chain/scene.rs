//! Chains of nodes in this process, and a client that speaks HTTP to them by hand.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chainview::allow_list::AllowList;
use chainview::faults::Faults;
use chainview::limits::Limits;
use chainview::net::access::Access;
use chainview::net::node::drain::Drain;
use chainview::net::node::root::Root;
use chainview::net::node::{Node, NodeConfig};
use chainview::net::server;
use chainview::net::upstream::policy::Policy;
use chainview::net::upstream::resolve::Resolver;
use chainview::wire::Problem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Nodes that share a folder; dropping them stops them.
pub(crate) struct Chain {
    pub(crate) nodes: Vec<Arc<Node>>,
    tasks: Vec<JoinHandle<()>>,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

pub(crate) fn config(folder: &Path, address: SocketAddr, limits: Limits) -> NodeConfig {
    NodeConfig {
        root: Root::open(folder).unwrap(),
        policy: Policy::new(address, AllowList::default()),
        access: Access::new(address),
        limits,
        faults: Faults::default(),
        max_connections: 4096,
        protocol: None,
        resolver: Resolver::default(),
        tls: None,
        audit: None,
    }
}

impl Chain {
    pub(crate) async fn start(nodes: usize) -> Self {
        Self::with_limits(nodes, Limits::default()).await
    }

    pub(crate) async fn with_limits(count: usize, limits: Limits) -> Self {
        Self::configured(count, limits, |_, _| {}).await
    }

    /// Starts nodes; `change` is called with the position of each and its configuration.
    pub(crate) async fn configured(count: usize, limits: Limits, change: impl Fn(usize, &mut NodeConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mut nodes, mut tasks) = (Vec::new(), Vec::new());
        for at in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut config = config(folder.path(), address, limits);
            change(at, &mut config);
            let node = Node::new(config, address);
            tasks.push(tokio::spawn(server::run(Arc::clone(&node), listener, Drain::new())));
            nodes.push(node);
        }
        Self { nodes, tasks, folder }
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        // A file that has not changed recently has a cached digest.
        let old = std::time::SystemTime::now() - Duration::from_hours(1);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    }

    /// Stops a node immediately.
    pub(crate) async fn stop(&mut self, node: usize) {
        self.tasks[node].abort();
        let _ = (&mut self.tasks[node]).await;
    }

    pub(crate) fn address(&self, node: usize) -> String {
        self.nodes[node].address.to_string()
    }

    /// `Chain-Route` over every node but the first.
    pub(crate) fn route(&self) -> String {
        let rest: Vec<String> = (1..self.nodes.len()).map(|node| self.address(node)).collect();
        format!("Chain-Route: {}\r\n", rest.join(", "))
    }

    pub(crate) async fn get(&self, name: &str, lines: &str) -> Reply {
        self.send_request("GET", name, &format!("{}{lines}", self.route())).await
    }

    pub(crate) async fn send_request(&self, method: &str, name: &str, lines: &str) -> Reply {
        let mut stream = TcpStream::connect(self.nodes[0].address).await.unwrap();
        exchange(&mut stream, method, &format!("/files/{name}"), &format!("{lines}Connection: close\r\n")).await
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Reply {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let line = self.head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")))?;
        line.split_once(": ").map(|(_, value)| value)
    }

    pub(crate) fn problem(&self) -> Problem {
        Problem::from_json(&self.body).expect("a problem body")
    }
}

/// Sends one request and reads one reply of announced length.
pub(crate) async fn exchange(stream: &mut TcpStream, method: &str, path: &str, lines: &str) -> Reply {
    stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n").as_bytes()).await.unwrap();
    read_reply(stream, method).await
}

pub(crate) async fn read_reply(stream: &mut TcpStream, method: &str) -> Reply {
    let reading = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = stream.read_u8().await.expect("a reply head");
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let status = head[9..12].parse().unwrap();
        let mut reply = Reply { status, head, body: Vec::new() };
        let length = reply.field("content-length").map_or(0, |length| length.parse().unwrap());
        if method != "HEAD" {
            reply.body.resize(length, 0);
            stream.read_exact(&mut reply.body).await.expect("the complete body");
        }
        reply
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("a reply in time")
}

pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 % 253) as u8).collect()
}
