//! Whole folders as tar streams: their heads and errors, who may request them, through which nodes.

use std::io::Read;
use std::time::Duration;

use chainview::faults::FaultChange;
use chainview::limits::Limits;
use chainview::secret::Secret;
use chainview::snapshot::{BodyError, Listing};
use chainview::wire::Reason;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::control::site;
use super::scene::{Chain, Reply, exchange};

const TAR: &str = "Accept: application/x-tar\r\n";
/// Far longer than any step here takes.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A chain whose folder `d` has these files.
async fn chain(nodes: usize, files: &[(&str, usize)]) -> Chain {
    let chain = Chain::with_limits(nodes, Limits::default()).await;
    for (name, size) in files {
        let path = chain.folder.path().join("d").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, vec![b'x'; *size]).unwrap();
    }
    chain
}

async fn tar(chain: &Chain, method: &str, path: &str, lines: &str) -> Reply {
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    exchange(&mut stream, method, path, &format!("{}{TAR}{lines}", chain.route())).await
}

/// Returns the paths and sizes in a stream, without records, and without the folder that is repeated at the end.
fn entries(stream: &[u8]) -> Vec<(String, u64)> {
    let mut entries = Vec::new();
    for entry in tar::Archive::new(stream).entries().unwrap() {
        let mut entry = entry.unwrap();
        let size = std::io::copy(&mut entry.by_ref(), &mut std::io::sink()).unwrap();
        if entry.header().entry_type() != tar::EntryType::XGlobalHeader {
            entries.push((String::from_utf8(entry.path_bytes().into_owned()).unwrap(), size));
        }
    }
    entries.pop_if(|(path, _)| path == "d/");
    entries
}

fn symlink(chain: &Chain, path: &str) {
    std::os::unix::fs::symlink("a", chain.folder.path().join(path)).unwrap();
}

#[tokio::test]
async fn a_folder_arrives_in_one_stream_over_any_number_of_relays() {
    for nodes in 1..=4 {
        let chain = chain(nodes, &[("a", 5), ("sub/b", 3_000_000), ("sub/deep/c", 0), (".hidden", 1)]).await;
        symlink(&chain, "d/link");
        let head = tar(&chain, "HEAD", "/files/d/", "").await;
        let whole = tar(&chain, "GET", "/files/d/", "").await;
        let expected =
            [("d/", 0), ("d/a", 5), ("d/sub/", 0), ("d/sub/b", 3_000_000), ("d/sub/deep/", 0), ("d/sub/deep/c", 0)];
        assert_eq!(entries(&whole.body), expected.map(|(path, size)| (path.to_owned(), size)), "{nodes} nodes");
        for reply in [&head, &whole] {
            assert_eq!(reply.status, 200);
            for (field, value) in [
                ("content-type", "application/x-tar"),
                ("content-length", &whole.body.len().to_string()),
                ("chain-omitted", "1"),
                ("chain-hops", &(nodes - 1).to_string()),
                ("accept-ranges", "none"),
                ("vary", "Chain-Route, Accept"),
                ("cache-control", "no-cache"),
                ("x-content-type-options", "nosniff"),
            ] {
                assert_eq!(reply.field(field), Some(value), "{field} of {nodes} nodes");
            }
            assert_eq!((reply.field("etag"), reply.field("last-modified")), (None, None));
        }
        // The same connection serves more requests, and a range is none of a stream.
        let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
        for lines in ["", "Range: bytes=0-9\r\n", "Want-Repr-Digest: blake3=10\r\n", "If-None-Match: \"x\"\r\n"] {
            let reply = exchange(&mut stream, "GET", "/files/d/", &format!("{}{TAR}{lines}", chain.route())).await;
            assert_eq!((reply.status, reply.body.len()), (200, whole.body.len()), "{lines}");
        }
        assert_eq!(exchange(&mut stream, "GET", "/files/d/a", &chain.route()).await.body, b"xxxxx");
        // The root has no name of its own.
        let root = tar(&chain, "GET", "/files/", "").await;
        assert_eq!(entries(&root.body), entries(&whole.body));
    }
}

#[tokio::test]
async fn a_query_names_a_part_and_its_pages_are_listed() {
    let chain = chain(2, &[("a/x", 1), ("a.txt", 2), ("b", 3), ("c/y", 4)]).await;
    let paths = async |query: &str| {
        let reply = tar(&chain, "GET", &format!("/files/d/{query}"), "").await;
        assert_eq!(reply.status, 200, "{query}");
        entries(&reply.body).into_iter().map(|(path, _)| path).collect::<Vec<_>>()
    };
    assert_eq!(paths("?after=a/x&until=b").await, ["d/a.txt", "d/b"]);
    assert_eq!(paths("?until=a/x&other=1").await, ["d/", "d/a/", "d/a/x"]);
    assert_eq!(paths("?after=a").await, ["d/a/x", "d/a.txt", "d/b", "d/c/", "d/c/y"]);
    assert_eq!(paths("?after=%7E").await, Vec::<String>::new());
    for query in ["?after=/a", "?until=a/../b", "?after=%00", "?after=a//b", "?after=%zz"] {
        for accept in [TAR, ""] {
            let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
            let lines = format!("{}{accept}", chain.route());
            let reply = exchange(&mut stream, "GET", &format!("/files/d/{query}"), &lines).await;
            // A listing without a part that begins somewhere is one of names.
            let expected = if accept.is_empty() && query.starts_with("?until") { 200 } else { 400 };
            assert_eq!(reply.status, expected, "{query} {accept}");
        }
    }
    let listed = async |query: &str| {
        let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
        let reply = exchange(&mut stream, "GET", &format!("/files/d/{query}"), &chain.route()).await;
        let listing: Listing = serde_json::from_slice(&reply.body).unwrap();
        listing.entries.into_iter().map(|entry| entry.path.shown().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(listed("?after=").await, ["d/a", "d/a/x", "d/a.txt", "d/b", "d/c", "d/c/y"]);
    assert_eq!(listed("?after=a.txt&until=c").await, ["d/b", "d/c"]);
    assert_eq!(listed("?next=a").await, ["d/a.txt", "d/b", "d/c"]);
}

#[tokio::test]
async fn errors_of_folders_name_their_hop() {
    let chain = chain(3, &[("a", 1)]).await;
    for (path, status, hop) in [
        ("/files/none/", 404, 2),
        ("/files/d/a/", 404, 2),
        ("/files/.git/", 404, 2),
        ("/files/d/../../", 400, 0),
        ("/files/d/?after=..", 400, 2),
    ] {
        let reply = tar(&chain, "GET", path, "").await;
        assert_eq!((reply.status, reply.problem().hop), (status, hop), "{path}");
        assert_eq!(tar(&chain, "HEAD", path, "").await.status, status, "{path}");
    }
    assert_eq!(tar(&chain, "GET", "/files/d/", "If-Match: \"x\"\r\n").await.status, 412);
    assert_eq!(tar(&chain, "POST", "/files/d/", "").await.status, 405);
    // A file and a listing are still what they were.
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    let file = exchange(&mut stream, "GET", "/files/d/a", &format!("{}{TAR}", chain.route())).await;
    assert_eq!((file.status, file.body), (200, b"x".to_vec()));
    let listing = exchange(&mut stream, "GET", "/files/d/", &format!("{}Accept: */*\r\n", chain.route())).await;
    assert_eq!(listing.field("content-type"), Some("application/json"));
}

#[tokio::test]
async fn a_legacy_next_hop_is_named_by_the_relay_before_it() {
    let chain = chain(2, &[("a", 1)]).await;
    let route = format!("Chain-Route: {}, 127.0.0.1:9;protocol=legacy\r\n", chain.address(1));
    for accept in [TAR, ""] {
        let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
        let reply = exchange(&mut stream, "GET", "/files/d/", &format!("{route}{accept}")).await;
        let problem = reply.problem();
        assert_eq!((reply.status, problem.reason, problem.hop, problem.reporter), (501, Reason::Unsupported, 2, 1));
        assert_eq!(problem.address.as_str(), "127.0.0.1:9");
    }
}

#[tokio::test]
async fn a_stream_needs_the_permission_of_a_listing() {
    let folder = |site: &super::control::Site| {
        std::fs::create_dir(site.folder.path().join("d")).unwrap();
        std::fs::write(site.folder.path().join("d/a"), "x").unwrap();
    };
    let shut = site(|config| config.access.loopback = false).await;
    let open = site(|config| (config.access.loopback, config.access.list) = (false, true)).await;
    let near = site(|_| {}).await;
    let locked = site(|config| config.access.read = Some(Secret::new("open-sesame").unwrap())).await;
    [&shut, &open, &near, &locked].into_iter().for_each(folder);
    let get = async |site: &super::control::Site, lines: &str| {
        exchange(&mut site.connect().await, "GET", "/files/d/", &format!("{TAR}{lines}")).await
    };
    let refused = get(&shut, "").await;
    assert_eq!((refused.status, refused.problem().reason), (403, Reason::Policy));
    assert!(refused.problem().detail.as_str().contains("--list"), "{}", refused.problem());
    assert_eq!(get(&open, "").await.status, 200);
    // It passes no stream on, either, and the origin behind it does not see that it was refused here.
    let route = format!("Chain-Route: {}\r\n", near.node.address);
    assert_eq!((get(&shut, &route).await.status, get(&near, "").await.status), (403, 200));
    for proxied in ["Forwarded: for=1.2.3.4\r\n", "X-Forwarded-For: 1.2.3.4\r\n"] {
        assert_eq!(get(&near, proxied).await.status, 403, "{proxied}");
    }
    assert_eq!(get(&near, "Via: 1.1 x\r\n").await.status, 200);
    // A token that was configured is needed, and goes through relays.
    let (route, token) = (format!("Chain-Route: {}\r\n", locked.node.address), "Authorization: Bearer open-sesame\r\n");
    for through in [&locked, &near] {
        let route = if std::ptr::eq(through, &raw const locked) { "" } else { &route[..] };
        assert_eq!(get(through, route).await.status, 401);
        assert_eq!(get(through, &format!("{route}Authorization: Bearer wrong\r\n")).await.status, 401);
        assert_eq!(get(through, &format!("{route}{token}")).await.status, 200);
    }
}

#[tokio::test]
async fn a_stream_counts_as_a_body_with_its_faults_and_its_end() {
    let chain = chain(2, &[("a", 300_000), ("b", 300_000), ("c", 3_000_000)]).await;
    let whole = tar(&chain, "GET", "/files/d/", "").await;
    chain.nodes[1].faults.apply(&[FaultChange::Fragment(Some(7001))]);
    assert!(tar(&chain, "GET", "/files/d/", "").await.body == whole.body);
    chain.nodes[1].faults.apply(&[FaultChange::Truncate(Some(100_000))]);
    let cut = async |id: &str| {
        let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
        let lines = format!("{}{TAR}Chain-Transfer: {id}\r\n", chain.route());
        stream.write_all(format!("GET /files/d/ HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n").as_bytes()).await.unwrap();
        let mut reply = Vec::new();
        let _ = timeout(TIMEOUT, stream.read_to_end(&mut reply)).await.expect("it is cut off");
        let head = reply.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        reply.len() - head
    };
    assert_eq!(cut(&format!("{:032x}", 7)).await, 100_000);
    chain.nodes[1].faults.apply(&[FaultChange::Truncate(None), FaultChange::Fragment(None)]);
    let record = async |id: &str| {
        let id = id.parse().unwrap();
        let recorded = async {
            loop {
                match chain.nodes[1].record(id) {
                    Some(record) if record.body_error.is_some() => return record,
                    _ => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        timeout(TIMEOUT, recorded).await.expect("it is recorded")
    };
    let truncated = record(&format!("{:032x}", 7)).await;
    assert_eq!((truncated.size, truncated.flow.bytes_out), (Some(whole.body.len() as u64), 100_000));
    // A file that changes while its stream is held up.
    chain.nodes[1].faults.apply(&[FaultChange::Limit(Some(1_000_000))]);
    let change = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        std::fs::write(chain.folder.path().join("d/c"), "shorter").unwrap();
        chain.nodes[1].faults.apply(&[FaultChange::Limit(None)]);
    };
    let id = format!("{:032x}", 8);
    let (received, ()) = tokio::join!(cut(&id), change);
    assert!(received < whole.body.len(), "{received}");
    assert_eq!(record(&id).await.body_error, Some(BodyError::SourceChanged));
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_stream() {
    let chain = chain(1, &[("a", 30_000_000)]).await;
    for _ in 0..100 {
        let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
        stream.write_all(format!("GET /files/d/ HTTP/1.1\r\nHost: 127.0.0.1\r\n{TAR}\r\n").as_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 1000]).await.unwrap();
    }
    let reply = tar(&chain, "HEAD", "/files/d/", "").await;
    assert_eq!(reply.status, 200, "100 readers have left, so their streams are over");
}

#[tokio::test]
async fn streams_beyond_the_limit_of_a_source_are_refused_with_a_time() {
    let chain = chain(1, &[("a", 30_000_000)]).await;
    let mut held = Vec::new();
    for _ in 0..24 {
        let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
        stream.write_all(format!("GET /files/d/ HTTP/1.1\r\nHost: 127.0.0.1\r\n{TAR}\r\n").as_bytes()).await.unwrap();
        stream.read_exact(&mut [0; 1000]).await.unwrap();
        held.push(stream);
    }
    // After a while, in which there are interim replies.
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    let lines = format!("{TAR}Connection: close\r\n");
    stream.write_all(format!("GET /files/d/ HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n").as_bytes()).await.unwrap();
    let mut reply = String::new();
    timeout(TIMEOUT, stream.read_to_string(&mut reply)).await.expect("a reply in time").unwrap();
    assert!(reply.contains("HTTP/1.1 503 Service Unavailable\r\n") && reply.contains("Retry-After: 1\r\n"), "{reply}");
    // One that ends while another waits gives it its slot; the wait is announced, through a relay as well.
    let relay = site(|_| {}).await;
    let mut stream = relay.connect().await;
    let lines = format!("{TAR}Connection: close\r\nChain-Route: {}\r\n", chain.address(0));
    stream.write_all(format!("HEAD /files/d/ HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n").as_bytes()).await.unwrap();
    let mut reply = [0; 27];
    timeout(TIMEOUT, stream.read_exact(&mut reply)).await.expect("an interim reply").unwrap();
    assert_eq!(&reply, b"HTTP/1.1 102 Processing\r\n\r\n");
    held.pop();
    let mut reply = String::new();
    timeout(TIMEOUT, stream.read_to_string(&mut reply)).await.expect("the final reply").unwrap();
    assert!(reply.contains("HTTP/1.1 200 OK\r\n"), "{reply}");
    assert_eq!(tar(&chain, "HEAD", "/files/d/", "").await.status, 200, "a reply to HEAD holds no slot");
    let listing =
        exchange(&mut TcpStream::connect(chain.nodes[0].address).await.unwrap(), "GET", "/files/d/", "").await;
    assert_eq!(listing.status, 200, "listings have slots of their own");
}
