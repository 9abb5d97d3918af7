//! Conditional requests over real chains: evaluated by the origin, forwarded and returned by relays, for every kind of
//! next hop.

use std::time::SystemTime;

use chainview::wire::Reason;
use tokio::net::TcpStream;

use super::forms::Server;
use super::scene::{Chain, exchange, pattern};

const LONG_AGO: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

#[tokio::test]
async fn a_current_copy_gets_304_at_every_position() {
    for nodes in [1, 3] {
        let chain = Chain::start(nodes).await;
        chain.write("f", &pattern(100_000));
        let route = if nodes > 1 { chain.route() } else { String::new() };
        let first = chain.send_request("HEAD", "f", &route).await;
        let (etag, date) = (first.field("etag").unwrap(), first.field("last-modified").unwrap());
        let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
        for (lines, status) in [
            (format!("If-None-Match: {etag}\r\n"), 304),
            (format!("If-None-Match: \"x\", W/{etag}\r\n"), 304),
            (format!("If-None-Match: \"x\"\r\nIf-None-Match: {etag}\r\n"), 304),
            ("If-None-Match: *\r\n".to_owned(), 304),
            ("If-None-Match: \"x\"\r\n".to_owned(), 200),
            (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {date}\r\n"), 200),
            (format!("If-Modified-Since: {date}\r\n"), 304),
            (format!("If-Modified-Since: {LONG_AGO}\r\n"), 200),
            (format!("If-Unmodified-Since: {LONG_AGO}\r\n"), 412),
            (format!("If-Unmodified-Since: {date}\r\n"), 200),
            (format!("If-Match: \"x\", {etag}\r\n"), 200),
            (format!("If-Match: W/{etag}\r\n"), 412),
            (format!("If-Match: \"x\"\r\nIf-None-Match: {etag}\r\n"), 412),
            (format!("Range: bytes=5-\r\nIf-Range: {date}\r\n"), 206),
            (format!("Range: bytes=5-\r\nIf-Range: {LONG_AGO}\r\n"), 200),
            (format!("Range: bytes=5-\r\nIf-Range: W/{etag}\r\n"), 200),
            (format!("Range: bytes=5-\r\nIf-None-Match: {etag}\r\n"), 304),
        ] {
            for method in ["GET", "HEAD"] {
                // A HEAD reply has no range.
                let status = if (method, status) == ("HEAD", 206) { 200 } else { status };
                let reply = exchange(&mut stream, method, "/files/f", &format!("{route}{lines}")).await;
                assert_eq!(reply.status, status, "{nodes} nodes, {method}, {lines}");
                assert_eq!(reply.field("vary"), Some("Chain-Route"), "{}", reply.head);
                assert!(reply.field("date").is_some(), "{}", reply.head);
                if status == 304 {
                    assert_eq!((reply.field("etag"), reply.body.len()), (Some(etag), 0), "{}", reply.head);
                    assert_eq!(reply.field("cache-control"), Some("no-cache"));
                    assert_eq!((reply.field("content-length"), reply.field("content-type")), (None, None));
                    assert_eq!(reply.field("chain-hops"), Some((nodes - 1).to_string().as_str()));
                }
            }
        }
        let accepted = chain.nodes.iter().map(|node| node.registry.totals().accepted);
        let expected = [2].into_iter().chain(std::iter::repeat_n(1, nodes - 1));
        assert!(
            accepted.eq(expected),
            "each connection is kept from question to question, the relays' from any client's"
        );
    }
}

#[tokio::test]
async fn versions_within_one_second_are_never_mixed() {
    let chain = Chain::start(2).await;
    let path = chain.folder.path().join("f");
    std::fs::write(&path, "AAAAAAAA").unwrap();
    let date = chain.send_request("HEAD", "f", &chain.route()).await.field("last-modified").unwrap().to_owned();
    let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, "BBBBBBBB").unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    let reply = chain.get("f", &format!("Range: bytes=4-\r\nIf-Range: {date}\r\n")).await;
    assert_eq!((reply.status, reply.body.as_slice()), (200, &b"BBBBBBBB"[..]));
}

#[tokio::test]
async fn a_modification_time_in_the_future_is_not_sent() {
    let chain = Chain::start(1).await;
    chain.write("f", b"x");
    let file = std::fs::File::options().write(true).open(chain.folder.path().join("f")).unwrap();
    file.set_modified(SystemTime::now() + std::time::Duration::from_hours(100)).unwrap();
    let reply = chain.send_request("HEAD", "f", "").await;
    assert_eq!(reply.field("last-modified"), reply.field("date"));
    // The state was never sent, whatever its date.
    let date = reply.field("date").unwrap();
    assert_eq!(chain.send_request("GET", "f", &format!("If-Modified-Since: {date}\r\n")).await.status, 200);
}

#[tokio::test]
async fn the_304_of_a_foreign_origin_is_relayed() {
    let reply_text = "HTTP/1.1 304 Not Modified\r\nETag: W/\"v\"\r\nCache-Control: max-age=9\r\nVary: Accept-Encoding\r\n\
                Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
    let server = Server::start(reply_text).await;
    let chain = Chain::start(2).await;
    let lines = "If-None-Match: W/\"v\"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n\
                 If-Unmodified-Since: Sun, 06 Nov 1994 08:49:38 GMT\r\nIf-Match: \"m\"\r\n";
    let route = format!("Chain-Route: {}, {};base=/\r\n", chain.address(1), server.address);
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    for _ in 0..2 {
        let reply = exchange(&mut stream, "GET", "/files/f", &format!("{route}{lines}")).await;
        assert_eq!((reply.status, reply.field("etag")), (304, Some("W/\"v\"")));
        assert_eq!(reply.field("vary"), Some("Chain-Route, Accept-Encoding"));
        assert_eq!((reply.field("cache-control"), reply.field("date")), (Some("max-age=9"), Some(LONG_AGO)));
    }
    for head in server.heads() {
        for line in lines.lines() {
            assert!(head.contains(&format!("{line}\r\n")), "{line}: {head}");
        }
    }
    // Without a condition this reply is invalid, and the connection cannot be used again.
    let reply = exchange(&mut stream, "GET", "/files/f", &route).await;
    assert_eq!((reply.status, reply.problem().reason), (502, Reason::BadResponse));
    assert!(reply.problem().detail.as_str().contains("unconditional request"), "{}", reply.problem());
}

#[tokio::test]
async fn an_unrequested_304_is_rejected() {
    let server = Server::start("HTTP/1.1 304 Not Modified\r\nETag: \"v\"\r\n\r\n").await;
    let chain = Chain::start(2).await;
    let route = format!("Chain-Route: {}, {}\r\nIf-None-Match: \"v\"\r\n", server.address, chain.address(1));
    let reply = chain.send_request("GET", "f", &route).await;
    assert_eq!((reply.status, reply.problem().reason), (502, Reason::RouteIgnored));
}

#[tokio::test]
async fn conditions_are_evaluated_for_a_legacy_hop() {
    let chain = Chain::start(2).await;
    chain.write("f", b"content");
    let route = format!("Chain-Route: {};protocol=legacy\r\n", chain.address(1));
    for (lines, status) in [
        ("If-None-Match: \"x\"\r\n", 200),
        ("If-None-Match: *\r\n", 304),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n", 200),
        ("If-Match: *\r\n", 200),
        ("If-Match: \"x\"\r\n", 412),
        ("Range: bytes=1-\r\n", 200),
        ("Range: bytes=1-\r\nIf-Range: \"x\"\r\n", 200),
    ] {
        let reply = chain.send_request("GET", "f", &format!("{route}{lines}")).await;
        assert_eq!(reply.status, status, "{lines}");
        if status == 200 {
            assert_eq!((reply.body.as_slice(), reply.field("accept-ranges")), (&b"content"[..], Some("none")));
        }
    }
    let query = chain.send_request("GET", "f?x=1", &route).await;
    assert_eq!((query.status, query.problem().reason, query.problem().hop), (501, Reason::Unsupported, 1));
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    let folder = exchange(&mut stream, "GET", "/files/", &route).await;
    assert_eq!((folder.status, folder.problem().hop), (501, 1));
}
