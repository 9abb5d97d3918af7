//! The ends of tunnels: nodes, which serve what is inside, and clients that are no chainview programs.

use chainview::net::access::KeyTable;

use super::*;

#[tokio::test]
async fn a_node_at_the_end_serves_the_requests_inside() {
    for nodes in 2..=4 {
        let scene = Scene::start(nodes, Limits::default()).await;
        scene.write("f", &pattern(3_000_000));
        let last = scene.nodes[nodes - 1].address;
        let mut client = TcpStream::connect(scene.nodes[0].address).await.unwrap();
        let id = TransferId(0xabcd << 100);
        let head = format!("{}Chain-Transfer: {id}\r\n\r\n", scene.head(last));
        client.write_all(head.as_bytes()).await.unwrap();
        let reply = read_opened(&mut client).await;
        assert_eq!(reply.field("chain-hops"), Some((nodes - 1).to_string().as_str()));
        for _ in 0..2 {
            let file = get(&mut client, "/files/f").await;
            assert_eq!((file.status, file.body == pattern(3_000_000)), (200, true));
            assert_eq!(file.field("chain-hops"), Some("0"), "it came from the origin itself");
        }
        let missing = get(&mut client, "/files/nothing").await;
        assert_eq!((missing.status, missing.problem().hop), (404, 0));
        // The end of the tunnel is recorded there, too, under the id of the tunnel.
        let record = scene.nodes[nodes - 1].record(id).unwrap();
        assert_eq!((record.role, record.status, record.ended), (ConnRole::Tunnel, 200, true));
        assert_eq!(scene.nodes[nodes - 1].registry.totals().served, 2);
        // An endpoint is the last request of a connection.
        let health = exchange(&mut client, "GET", "/healthz", "Connection: close\r\n").await;
        assert_eq!(health.status, 200);
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
        drop(client);
        scene.until(0, |snapshot| snapshot.connections.is_empty()).await;
    }
}

#[tokio::test]
async fn the_first_request_inside_may_come_with_the_head() {
    let scene = Scene::start(3, Limits::default()).await;
    scene.write("f", b"content");
    let mut client = TcpStream::connect(scene.nodes[0].address).await.unwrap();
    let inside = "GET /files/f HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    let bytes = format!("{}\r\n{inside}{inside}", scene.head(scene.nodes[2].address));
    client.write_all(bytes.as_bytes()).await.unwrap();
    read_opened(&mut client).await;
    for _ in 0..2 {
        let file = read_reply(&mut client, "GET").await;
        assert_eq!((file.status, file.body.as_slice()), (200, &b"content"[..]));
    }
}

#[tokio::test]
async fn a_node_is_the_end_of_a_tunnel_to_its_own_address_and_serves_the_legacy_protocol_inside() {
    let scene = Scene::start(1, Limits::default()).await;
    scene.write("f", b"content");
    let own = scene.nodes[0].address;
    for route in ["", "Chain-Route:\r\n"] {
        let mut client = TcpStream::connect(own).await.unwrap();
        client.write_all(format!("CONNECT {own} HTTP/1.1\r\nHost: {own}\r\n{route}\r\n").as_bytes()).await.unwrap();
        read_opened(&mut client).await;
        client.write_all(format!("f\n{} {}", own.ip(), own.port()).as_bytes()).await.unwrap();
        let mut size = [0; 1];
        client.read_exact(&mut size).await.unwrap();
        client.write_all(b"ack_").await.unwrap();
        let mut body = [0; 7];
        client.read_exact(&mut body).await.unwrap();
        assert_eq!((&size, &body), (b"7", b"content"));
    }
}

#[tokio::test]
async fn tunnels_nest() {
    let scene = Scene::start(3, Limits::default()).await;
    scene.write("f", &pattern(100_000));
    let mut client = TcpStream::connect(scene.nodes[0].address).await.unwrap();
    for node in 1..3 {
        let address = scene.nodes[node].address;
        let head = format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        client.write_all(head.as_bytes()).await.unwrap();
        read_opened(&mut client).await;
    }
    let file = get(&mut client, "/files/f").await;
    assert!(file.status == 200 && file.body == pattern(100_000));
    assert_eq!(scene.nodes[2].registry.totals().served, 1);
}

#[tokio::test]
async fn what_comes_out_of_a_tunnel_is_no_local_client() {
    let scene = Scene::start(2, Limits::default()).await;
    scene.write("f", b"content");
    std::fs::create_dir(scene.folder.path().join("d")).unwrap();
    let last = scene.nodes[1].address;
    for (forwarded, lists) in [("", 200), ("X-Forwarded-For: 192.0.2.1\r\n", 403)] {
        for (method, path, status) in [
            ("GET", "/v1/node", 401),
            ("POST", "/v1/drain", 403),
            ("GET", "/files/d/", lists),
            ("GET", "/files/f", 200),
        ] {
            let mut client = TcpStream::connect(scene.nodes[0].address).await.unwrap();
            let head = format!("{}{forwarded}\r\n", scene.head(last));
            client.write_all(head.as_bytes()).await.unwrap();
            read_opened(&mut client).await;
            let reply = exchange(&mut client, method, path, "").await;
            assert_eq!(reply.status, status, "{method} {path} {forwarded}: {}", reply.head);
        }
    }
    // Without a relay the client is the peer, inside a tunnel or not.
    let mut client = TcpStream::connect(last).await.unwrap();
    client.write_all(format!("CONNECT {last} HTTP/1.1\r\nHost: {last}\r\n\r\n").as_bytes()).await.unwrap();
    read_opened(&mut client).await;
    assert_eq!(get(&mut client, "/v1/node").await.status, 200);
}

#[tokio::test]
async fn what_follows_the_request_reaches_the_next_hop_before_the_tunnel_is_open() {
    let scene = Scene::start(1, Limits::default()).await;
    let relay = scene.nodes[0].address;
    let next = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = next.local_addr().unwrap();
    let passing = async {
        let mut client = TcpStream::connect(relay).await.unwrap();
        let head = format!("CONNECT {address} HTTP/1.1\r\nHost: {relay}\r\nChain-Route: {address}\r\n\r\n");
        client.write_all(format!("{head}first message").as_bytes()).await.unwrap();
        let (mut stream, _) = next.accept().await.unwrap();
        let mut received = Vec::new();
        // Nothing is replied: what comes here has not waited for that.
        while !received.ends_with(b"\r\n\r\nfirst message") {
            assert!(stream.read_buf(&mut received).await.unwrap() > 0, "{}", String::from_utf8_lossy(&received));
        }
        client.write_all(b", second").await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nChain-Hops: 0\r\n\r\nanswer").await.unwrap();
        let mut rest = [0; 8];
        stream.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b", second", "each byte once");
        let mut reply = Vec::new();
        while !reply.ends_with(b"answer") {
            assert!(client.read_buf(&mut reply).await.unwrap() > 0, "{}", String::from_utf8_lossy(&reply));
        }
    };
    timeout(Duration::from_secs(20), passing).await.expect("in time");
}

#[tokio::test]
async fn a_fault_or_a_limit_meets_what_follows_the_request() {
    let limited = Scene::start_with(1, Limits::default(), |config| {
        let keys = "anonymous relay=127.0.0.0/8 per-day=1GB".parse().unwrap();
        config.access.keys = Some(KeyTable::new(keys, 0));
    });
    let faulty = Scene::start(1, Limits::default()).await;
    faulty.nodes[0].faults.apply(&[FaultChange::Fragment(Some(1000))]);
    for scene in [limited.await, faulty] {
        let relay = scene.nodes[0].address;
        let next = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = next.local_addr().unwrap();
        let passing = async {
            let mut client = TcpStream::connect(relay).await.unwrap();
            let head = format!("CONNECT {address} HTTP/1.1\r\nHost: {relay}\r\nChain-Route: {address}\r\n\r\n");
            client.write_all(format!("{head}first message").as_bytes()).await.unwrap();
            let (mut stream, _) = next.accept().await.unwrap();
            let mut received = Vec::new();
            while !String::from_utf8_lossy(&received).contains("\r\n\r\n") {
                assert!(stream.read_buf(&mut received).await.unwrap() > 0);
            }
            assert!(received.ends_with(b"\r\n\r\n"), "{}", String::from_utf8_lossy(&received));
            stream.write_all(b"HTTP/1.1 200 OK\r\nChain-Hops: 0\r\n\r\n").await.unwrap();
            let mut rest = [0; 13];
            stream.read_exact(&mut rest).await.unwrap();
            assert_eq!(&rest, b"first message");
        };
        timeout(Duration::from_secs(20), passing).await.expect("in time");
    }
}
