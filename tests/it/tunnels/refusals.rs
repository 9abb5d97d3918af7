//! Tunnels that are not opened: each has its status, and a sentence that says what is wrong at which hop.

use chainview::wire::{Problem, Reason};

use super::*;

#[tokio::test]
async fn malformed_requests_are_refused_and_their_connections_closed() {
    let scene = Scene::start(1, Limits::default()).await;
    let (own, target) = (scene.nodes[0].address, scene.target());
    for (target, lines, status, detail) in [
        ("example.com", String::new(), 400, "HOST:PORT"),
        ("/files/f", String::new(), 400, "HOST:PORT"),
        ("h:1", format!("Chain-Route: {target}\r\n"), 400, "Chain-Route ends at"),
        ("h:1", "Content-Length: 3\r\n".to_owned(), 400, "no body"),
        ("h:1", "Transfer-Encoding: chunked\r\n".to_owned(), 400, "Transfer-Encoding"),
        ("h:1", format!("Chain-Route: {}h:1\r\n", "h:1, ".repeat(40)), 508, "more than"),
    ] {
        let inside = "GET /files/f HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {own}\r\n{lines}\r\n{inside}");
        let mut client = TcpStream::connect(own).await.unwrap();
        client.write_all(head.as_bytes()).await.unwrap();
        let reply = read_reply(&mut client, "CONNECT").await;
        assert_eq!(reply.status, status, "{head}: {}", reply.head);
        assert!(reply.problem().detail.as_str().contains(detail), "{:?}", reply.problem());
        // What follows is not taken for another request.
        assert_eq!(read_all(&mut client).await.0, b"");
    }
}

#[tokio::test]
async fn the_hop_that_cannot_be_reached_is_named_at_every_position() {
    let scene = Scene::start(3, Limits::default()).await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let reply = scene.send(&scene.head(free)).await;
    let problem = reply.problem();
    assert_eq!((reply.status, problem.reason, problem.hop, problem.reporter), (502, Reason::Refused, 3, 2));
    assert_eq!(problem.address.as_str(), free.to_string());
    let head = scene.head(scene.target()).replace(&scene.nodes[1].address.to_string(), &free.to_string());
    let problem = scene.send(&head).await.problem();
    assert_eq!((problem.reason, problem.hop, problem.reporter), (Reason::Refused, 1, 0));
    let back = scene.head(scene.nodes[0].address);
    let problem = scene.send(&back).await.problem();
    assert_eq!((problem.reason, problem.hop), (Reason::Loop, 0));
    scene.nodes[2].faults.apply(&[FaultChange::Reject(true)]);
    let problem = scene.send(&scene.head(scene.target())).await.problem();
    assert_eq!(
        (problem.reason, problem.hop, problem.address.as_str()),
        (Reason::Fault, 2, &*scene.nodes[2].address.to_string())
    );
    for node in 0..3 {
        let snapshot = scene.until(node, |snapshot| snapshot.connections.is_empty()).await;
        assert_eq!((snapshot.totals.tunnels, snapshot.upstream.idle), (0, 0));
    }
}

/// A node of its own, with the targets of a list.
async fn through(targets: &str, listener: &str, target: &str) -> (u16, Problem) {
    let folder = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let targets = if targets.is_empty() { AllowList::default() } else { AllowList::of_targets(targets).unwrap() };
    let policy = Policy::new(listener.parse().unwrap(), AllowList::default()).with_targets(targets);
    let limits = Limits { setup: Duration::from_secs(2), ..Limits::default() };
    let node = Node::new(NodeConfig { policy, ..config(folder.path(), address, limits) }, address);
    let running = tokio::spawn(server::run(node, socket, Drain::new()));
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()).await.unwrap();
    let reply = read_reply(&mut client, "CONNECT").await;
    running.abort();
    (reply.status, reply.problem())
}

#[tokio::test]
async fn a_tunnel_leads_to_nodes_and_to_listed_servers_only() {
    const LOOPBACK: &str = "127.0.0.1:9";
    const EVERYWHERE: &str = "0.0.0.0:9";
    for (targets, listener, target, detail) in [
        ("", LOOPBACK, "192.0.2.1:22", "192.0.2.1:22 is not allowed: this node relays to loopback"),
        ("192.0.2.7", LOOPBACK, "192.0.2.1:22", "with tunnels to 192.0.2.7"),
        ("192.0.2.1:23", LOOPBACK, "192.0.2.1:22", "192.0.2.1:22 is not allowed"),
        ("", EVERYWHERE, "127.0.0.1:22", "127.0.0.1:22 is not allowed: this node relays nowhere"),
        ("10.0.0.0/8:22", EVERYWHERE, "localhost:23", "localhost:23 is not allowed"),
        ("0.0.0.0/0,::/0", EVERYWHERE, "169.254.169.254:80", "link-local"),
        ("0.0.0.0/0,::/0", EVERYWHERE, "168.63.129.16:80", "metadata"),
        ("0.0.0.0/0,::/0", EVERYWHERE, "224.0.0.1:80", "multicast"),
        ("0.0.0.0/0,::/0", EVERYWHERE, "0.0.0.0:80", "unspecified"),
        ("0.0.0.0/0,::/0", EVERYWHERE, "[::ffff:169.254.169.254]:80", "link-local"),
    ] {
        let (status, problem) = through(targets, listener, target).await;
        assert_eq!((status, problem.reason, problem.hop), (403, Reason::Policy, 1), "{target}: {problem:?}");
        assert!(problem.detail.as_str().contains(detail), "{target}: {}", problem.detail);
    }
}

#[tokio::test]
async fn a_server_that_is_no_node_needs_the_list() {
    // A mail server greets, a web server knows no CONNECT, another proxy opens a tunnel of its own, one is silent.
    for (says, reason) in [
        (&b"220 mail.example ESMTP\r\n"[..], Reason::BadResponse),
        (b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 2\r\n\r\nno", Reason::Malformed),
        (b"HTTP/1.1 200 Connection established\r\n\r\n", Reason::BadResponse),
        (b"HTTP/1.1 200 OK\r\nChain-Hops: 3\r\n\r\n", Reason::BadResponse),
        (b"", Reason::TimedOut),
    ] {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = server.local_addr().unwrap().to_string();
        let serving = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = server.accept().await {
                let _ = stream.write_all(says).await;
                open.push(stream);
            }
        });
        let (_, problem) = through("", "127.0.0.1:9", &target).await;
        assert_eq!((problem.reason, problem.hop), (reason, 1), "{}", String::from_utf8_lossy(says));
        assert!(problem.detail.as_str().contains("--allow-connect"), "{}", problem.detail);
        serving.abort();
    }
}

#[tokio::test]
async fn a_legacy_hop_has_no_tunnels() {
    let scene = Scene::start(1, Limits::default()).await;
    let (own, target) = (scene.nodes[0].address, scene.target());
    let head = format!(
        "CONNECT {target} HTTP/1.1\r\nHost: {own}\r\nChain-Route: {own_too};protocol=legacy, {target}\r\n",
        own_too = "127.0.0.1:1"
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let head = head.replace("127.0.0.1:1;", &format!("{};", listener.local_addr().unwrap()));
    let reply = scene.send(&head).await;
    assert_eq!((reply.status, reply.problem().hop), (501, 1), "{:?}", reply.problem());
    assert!(reply.problem().detail.as_str().contains("no tunnels"));
}
