//! Plain servers behind our relays: their replies are relayed, rejected or explained, and never waited for without end.

use std::sync::Arc;
use std::time::{Duration, Instant};

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
use chainview::wire::{Problem, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Two relays and a plain server that sends the same reply to every request, then closes or is silent.
struct Stage {
    first: Arc<Node>,
    route: String,
    tasks: Vec<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Stage {
    async fn new(reply_text: &'static str, closes: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (mut nodes, mut tasks) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let config = NodeConfig {
                root: Root::open(folder.path()).unwrap(),
                policy: Policy::new(address, AllowList::default()),
                access: Access::new(address),
                limits: Limits::default(),
                faults: Faults::default(),
                max_connections: 16,
                protocol: None,
                resolver: Resolver::default(),
                tls: None,
                audit: None,
            };
            let node = Node::new(config, address);
            tasks.push(tokio::spawn(server::run(Arc::clone(&node), listener, Drain::new())));
            nodes.push(node);
        }
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = server.local_addr().unwrap();
        tasks.push(tokio::spawn(async move {
            while let Ok((stream, _)) = server.accept().await {
                tokio::spawn(answer(stream, reply_text, closes));
            }
        }));
        let route = format!("Chain-Route: {}, {address};base=/\r\n", nodes[1].address);
        Self { first: nodes.swap_remove(0), route, tasks, _folder: folder }
    }

    /// All bytes returned for one request.
    async fn get(&self, name: &str) -> String {
        let mut stream = TcpStream::connect(self.first.address).await.unwrap();
        let head = format!("GET /files/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{}\r\n", self.route);
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut all = String::new();
        let reading = stream.read_to_string(&mut all);
        tokio::time::timeout(Duration::from_secs(20), reading).await.expect("a reply in time").unwrap();
        all
    }

    async fn problem(&self) -> Problem {
        let reply = self.get("f").await;
        let (_, body) = reply.split_once("\r\n\r\n").unwrap();
        Problem::from_json(body.as_bytes()).expect("a problem")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn answer(mut stream: TcpStream, reply_text: &'static str, closes: bool) {
    let mut head = [0; 4096];
    let _ = stream.read(&mut head).await;
    let _ = stream.write_all(reply_text.as_bytes()).await;
    if closes {
        let _ = stream.shutdown().await;
    }
    while matches!(stream.read(&mut head).await, Ok(read) if read > 0) {}
}

#[tokio::test]
async fn plain_server_files_are_relayed_without_its_own_fields() {
    let reply_text = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a=b\r\n\r\nhello";
    let reply = Stage::new(reply_text, true).await.get("f").await;
    assert!(reply.starts_with("HTTP/1.1 200 ") && reply.ends_with("\r\n\r\nhello"), "{reply}");
    assert!(reply.contains("Chain-Hops: 2\r\n") && !reply.contains("Cookie") && !reply.contains(" 103 "), "{reply}");
}

#[tokio::test]
async fn another_protocol_is_named_immediately() {
    let stage = Stage::new("SSH-2.0-OpenSSH_9.2\r\n", false).await;
    let began = Instant::now();
    let problem = stage.problem().await;
    assert_eq!((problem.reason, problem.hop, problem.reporter), (Reason::BadResponse, 2, 1));
    assert!(problem.detail.as_str().contains("does not speak HTTP"), "{}", problem.detail);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn endless_interim_replies_are_a_protocol_error() {
    let reply_text: &'static str = "HTTP/1.1 102 Processing\r\n\r\n".repeat(300).leak();
    let problem = Stage::new(reply_text, false).await.problem().await;
    assert_eq!((problem.reason, problem.hop, problem.reporter), (Reason::BadResponse, 2, 1));
    assert!(problem.detail.as_str().contains("interim"), "{}", problem.detail);
}

#[tokio::test]
async fn a_redirect_is_rejected_and_named() {
    let reply_text = "HTTP/1.1 301 Moved\r\nLocation: /dir/\r\nContent-Length: 0\r\n\r\n";
    let problem = Stage::new(reply_text, true).await.problem().await;
    assert_eq!((problem.reason, problem.hop), (Reason::BadResponse, 2));
    assert!(problem.detail.as_str().contains("redirect to /dir/"), "{}", problem.detail);
    assert_eq!(problem.server_status(), Some(301));
}

#[tokio::test]
async fn statuses_of_a_plain_server_pass_through_the_chain() {
    for (reply_text, reason) in [
        ("HTTP/1.1 429 Slow Down\r\nContent-Length: 0\r\n\r\n", Reason::Busy),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", Reason::Policy),
    ] {
        let problem = Stage::new(reply_text, true).await.problem().await;
        assert_eq!((problem.reason, problem.hop), (reason, 2));
        assert!(!problem.advice().contains("--allow-next"));
    }
}

#[tokio::test]
async fn challenges_and_retry_after_pass_through_the_chain() {
    for (reply_text, status, line, words) in [
        (
            "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n",
            401,
            "WWW-Authenticate: Basic realm=\"x\"\r\n",
            "requires a login",
        ),
        ("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", 403, "", "does not allow it (status 403)"),
        (
            "HTTP/1.1 429 No\r\nRetry-After: 3\r\nContent-Length: 0\r\n\r\n",
            429,
            "Retry-After: 3\r\n",
            "is busy (status 429, retry after 3 s)",
        ),
        ("HTTP/1.1 503 No\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n", 503, "Retry-After: 7\r\n", "after 7 s"),
        ("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", 404, "", "requested /f)"),
        ("HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n", 400, "", "as from a TLS port"),
        ("\x15\x03\x01\0\x02\x02\x46", 502, "", "uses TLS"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 502, "", "no Content-Length (chunked)"),
        ("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", 502, "", "compressed"),
    ] {
        let stage = Stage::new(reply_text, true).await;
        let reply = stage.get("f").await;
        assert!(reply.starts_with(&format!("HTTP/1.1 {status} ")) && reply.contains(line), "{reply_text}: {reply}");
        let problem = stage.problem().await;
        assert!(problem.to_string().contains(words), "{problem}");
        assert_eq!(problem.hop, 2);
    }
}
