//! The form of requests and replies: names and queries, relayed header fields, methods, versions, first bytes of other
//! protocols.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chainview::wire::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::scene::{Chain, exchange, read_reply};

/// A plain server that sends the same reply to every request, and records the requests.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(reply_text: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let requests = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let requests = Arc::clone(&requests);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while let Ok(byte) = stream.read_u8().await {
                        head.push(byte);
                        if head.ends_with(b"\r\n\r\n") {
                            requests.lock().unwrap().push(String::from_utf8(std::mem::take(&mut head)).unwrap());
                            let _ = stream.write_all(reply_text.as_bytes()).await;
                        }
                    }
                });
            }
        });
        Self { address, heads, task }
    }

    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// The targets it received.
    fn targets(&self) -> Vec<String> {
        let target = |head: &String| head.split(' ').nth(1).unwrap_or_default().to_owned();
        self.heads().iter().map(target).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const HELLO: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

#[tokio::test]
async fn names_and_queries_arrive_unchanged() {
    let server = Server::start(HELLO).await;
    let chain = Chain::start(3).await;
    let route = format!("Chain-Route: {}, {}, {};base=/pub/\r\n", chain.address(1), chain.address(2), server.address);
    let mut written = vec![
        "pl+us;x&y=z!$'()*,:@~.txt",
        "%40scope%2fname",
        "a/./b//c",
        "100%25",
        "r?service=git-upload-pack&x=%2F?&=#".trim_end_matches('#'),
        "e?",
        "%e9",
    ];
    for name in &written {
        assert_eq!(chain.send_request("GET", name, &route).await.body, b"hello", "{name}");
    }
    assert_eq!(server.targets(), written.drain(..).map(|name| format!("/pub/{name}")).collect::<Vec<_>>());
    // Only bytes that are not allowed in a URL are escaped.
    chain.send_request("GET", "\u{e9}+?\u{e9}", &route).await;
    assert_eq!(server.targets().last().unwrap(), "/pub/%C3%A9+?%C3%A9");
}

#[tokio::test]
async fn a_foreign_folder_is_below_its_base_too() {
    let server = Server::start(HELLO).await;
    let chain = Chain::start(2).await;
    let route = format!("Chain-Route: {}, {};base=/pub/\r\n", chain.address(1), server.address);
    for folder in ["", "sub/", "sub/?C=M", "a+b/"] {
        let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
        let reply = exchange(&mut stream, "GET", &format!("/files/{folder}"), &route).await;
        assert_eq!((reply.status, reply.field("vary")), (200, Some("Chain-Route, Accept")), "{folder}: {}", reply.head);
    }
    assert_eq!(server.targets(), ["/pub/", "/pub/sub/", "/pub/sub/?C=M", "/pub/a+b/"]);
}

#[tokio::test]
async fn no_name_leads_above_its_base() {
    let server = Server::start(HELLO).await;
    let chain = Chain::start(2).await;
    let route = format!("Chain-Route: {}, {};base=/pub/\r\n", chain.address(1), server.address);
    for name in [
        "../s",
        "%2e%2e/s",
        "..%2fs",
        "a/%2E./../s",
        "..%5cs",
        "a/..;x/s",
        "a/..%3bx/s",
        "..",
        "a/..",
        "../",
        "a/%2e%2e/",
    ] {
        let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
        let reply = exchange(&mut stream, "GET", &format!("/files/{name}"), &route).await;
        assert_eq!((reply.status, reply.problem().hop), (400, 0), "{name}");
        assert_eq!(reply.field("vary"), Some("Chain-Route"), "{name}");
    }
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    let line = |address: &str| address.replacen(':', " ", 1);
    let legacy = format!("../s\n{}\n{}", line(&chain.address(0)), line(&server.address.to_string()));
    stream.write_all(legacy.as_bytes()).await.unwrap();
    let mut message = String::new();
    stream.read_to_string(&mut message).await.unwrap();
    assert!(message.contains("`..`"), "{message}");
    for wrong in [";base=/pub?x=", ";base=/pub/../", ";base=/%2e%2e/", ";base=//pub/", ";base=/;base=/pub/"] {
        let reply = chain.send_request("GET", "f", &format!("Chain-Route: {}{wrong}\r\n", server.address)).await;
        assert_eq!(reply.status, 400, "{wrong}");
    }
    assert_eq!((server.heads().len(), chain.nodes[1].registry.totals().accepted), (0, 0), "no hop is contacted");
}

#[tokio::test]
async fn an_origin_ignores_queries_and_empty_segments() {
    let chain = Chain::start(2).await;
    std::fs::create_dir(chain.folder.path().join("d")).unwrap();
    chain.write("d/f", b"x");
    for route in [String::new(), chain.route()] {
        for name in ["d/f", "./d/f", "d/./f", "d//f", "%2e/d/f", "/d/f", "d/f?v=1", "d/f?", "d%2ff"] {
            assert_eq!(chain.send_request("GET", name, &route).await.status, 200, "{name}");
        }
        for none in ["d/f/.", "d/f%2F", "d/.", ".", "./.", "d/..f"] {
            assert_eq!(chain.send_request("GET", none, &route).await.status, 404, "{none}");
        }
    }
    let name = |id: &str| {
        let id: chainview::wire::TransferId = id.parse().unwrap();
        chain.nodes[1].registry.record(id).unwrap().name.as_str().to_owned()
    };
    let id = "0123456789abcdef0123456789abcdef";
    chain.get("d/f?token=secret", &format!("Chain-Transfer: {id}\r\n")).await;
    assert_eq!(name(id), "d/f?\u{2026}");
}

#[tokio::test]
async fn replies_below_files_vary_by_route_and_disable_sniffing() {
    let chain = Chain::start(2).await;
    for (name, kind) in
        [("f.bin", "application/octet-stream"), ("a.HTML", "text/html"), ("a.txt", "text/plain; charset=utf-8")]
    {
        chain.write(name, b"content");
        for route in [String::new(), chain.route()] {
            for lines in ["", "Range: bytes=1-2\r\n"] {
                let reply = chain.send_request("GET", name, &format!("{route}{lines}")).await;
                assert_eq!(reply.field("content-type"), Some(kind), "{}", reply.head);
                assert_eq!(reply.field("x-content-type-options"), Some("nosniff"));
                assert_eq!(reply.field("cross-origin-resource-policy"), Some("same-origin"));
                assert_eq!(reply.field("cache-control"), Some("no-cache"));
                let policy = (kind == "text/html").then_some("script-src 'none'");
                assert_eq!(reply.field("content-security-policy"), policy, "{}", reply.head);
            }
        }
    }
    for (name, lines, status) in [
        ("f.bin", "", 200),
        ("f.bin", "Range: bytes=1-2\r\n", 206),
        ("f.bin", "Range: bytes=9-\r\n", 416),
        ("f.bin", "If-None-Match: *\r\n", 304),
        ("f.bin", "If-Match: \"x\"\r\n", 412),
        ("none", "", 404),
        ("f.bin", "Transfer-Encoding: chunked\r\n", 400),
        ("f.bin", "Host: evil.example\r\n", 400),
    ] {
        for route in [String::new(), chain.route()] {
            let reply = chain.send_request("GET", name, &format!("{route}{lines}")).await;
            assert_eq!((reply.status, reply.field("vary")), (status, Some("Chain-Route")), "{}", reply.head);
            assert!(reply.field("date").is_some() && reply.field("cache-control").is_some(), "{}", reply.head);
        }
    }
    for folder in ["", "none/"] {
        let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
        let reply = exchange(&mut stream, "GET", &format!("/files/{folder}"), &chain.route()).await;
        assert!(reply.field("vary").is_some_and(|vary| vary.contains("Chain-Route")), "{}", reply.head);
    }
}

#[tokio::test]
async fn file_fields_of_a_foreign_origin_are_relayed() {
    let reply_text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Disposition: attachment; filename=\"x.bin\"\r\n\
                Content-Language: de\r\nCache-Control: max-age=60\r\nSet-Cookie: a=b\r\n\r\nhello";
    let server = Server::start(reply_text).await;
    let chain = Chain::start(2).await;
    let route = format!("Chain-Route: {}, {};base=/\r\n", chain.address(1), server.address);
    let reply = chain.send_request("GET", "f", &route).await;
    assert_eq!(reply.field("content-disposition"), Some("attachment; filename=\"x.bin\""));
    assert_eq!((reply.field("content-language"), reply.field("cache-control")), (Some("de"), Some("max-age=60")));
    assert_eq!((reply.field("accept-ranges"), reply.field("set-cookie")), (None, None), "nothing is made up");
    assert!(reply.field("date").is_some(), "{}", reply.head);
}

#[tokio::test]
async fn unsupported_methods_get_405_or_501() {
    let chain = Chain::start(2).await;
    chain.write("f", b"content");
    for route in [String::new(), chain.route()] {
        for path in ["/files/f", "/files/"] {
            for (method, body) in [("PUT", "x"), ("POST", "x"), ("DELETE", ""), ("OPTIONS", ""), ("PROPFIND", "")] {
                let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
                let lines = format!("{route}Content-Length: {}\r\n\r\n{body}", body.len());
                let reply = exchange(&mut stream, method, path, &lines).await;
                assert_eq!((reply.status, reply.field("allow")), (405, Some("GET, HEAD")), "{method} {path}");
                assert_eq!(reply.problem().reason, Reason::Method);
            }
            let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
            assert_eq!(exchange(&mut stream, "BREW", path, &route).await.status, 501);
        }
        let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
        let reply = exchange(&mut stream, "PUT", "/v1/node", &route).await;
        assert_eq!((reply.status, reply.field("allow")), (405, Some("GET, HEAD")));
    }
}

#[tokio::test]
async fn an_http_1_0_client_can_keep_its_connection() {
    let chain = Chain::start(2).await;
    chain.write("f", b"content");
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    for route in [String::new(), chain.route()] {
        for method in ["GET", "HEAD"] {
            let head = format!("{method} /files/f HTTP/1.0\r\nConnection: Keep-Alive\r\n{route}\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            let reply = read_reply(&mut stream, method).await;
            assert_eq!((reply.status, reply.field("connection")), (200, Some("keep-alive")), "{}", reply.head);
        }
    }
    assert_eq!(chain.nodes[0].registry.totals().accepted, 1);
}

#[tokio::test]
async fn empty_lines_and_absolute_urls_are_accepted() {
    let chain = Chain::start(1).await;
    chain.write("f", b"content");
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    let address = chain.address(0);
    for line in ["\r\nGET /files/f", &format!("GET http://{address}/files/f"), "\r\nGET http://localhost/files/f?x"] {
        stream.write_all(format!("{line} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).await.unwrap();
        assert_eq!(read_reply(&mut stream, "GET").await.body, b"content", "{line}");
    }
    let head = format!("\r\nGET http://{address}/v1/node HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_reply(&mut stream, "GET").await.status, 200);
}

#[tokio::test]
async fn unsupported_protocols_get_an_immediate_reply() {
    let chain = Chain::start(1).await;
    let hello = [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 500]].concat();
    let goaway = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0d";
    for (first, answer) in [
        (&hello[..], &b"\x15\x03\x01\0\x02\x02\x46"[..]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", goaway),
    ] {
        let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
        stream.write_all(first).await.unwrap();
        let mut message = Vec::new();
        let reading = tokio::time::timeout(Duration::from_secs(4), stream.read_to_end(&mut message));
        reading.await.expect("it closes").unwrap();
        assert_eq!(message, answer);
    }
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    stream.write_all(b"GET /files/f HTTP/2.0\r\nHost: 127.0.0.1\r\n\r\n").await.unwrap();
    assert_eq!(read_reply(&mut stream, "GET").await.status, 505);
}
