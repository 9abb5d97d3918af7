//! Folder listings: who may request them, through which nodes, and their content.

use chainview::limits::Limits;
use chainview::net::admin_client::{self, Credentials, list};
use chainview::route::{FileName, Hop, Route};
use chainview::snapshot::Listing;
use chainview::wire::Reason;
use tokio::net::TcpStream;

use super::control::site;
use super::scene::{Chain, Reply, exchange};

fn route(chain: &Chain) -> Route {
    let hops = chain.nodes.iter().map(|node| Hop::new(node.address.into())).collect();
    Route::new(FileName::new(b"f").unwrap(), hops).unwrap()
}

async fn send_request(chain: &Chain, method: &str, path: &str) -> Reply {
    let mut stream = TcpStream::connect(chain.nodes[0].address).await.unwrap();
    exchange(&mut stream, method, path, &chain.route()).await
}

#[tokio::test]
async fn a_chain_lists_the_folders_of_its_origin() {
    for nodes in 1..=3 {
        let chain = Chain::with_limits(nodes, Limits::default()).await;
        std::fs::create_dir_all(chain.folder.path().join("a b%/empty")).unwrap();
        chain.write("f", b"12345");
        chain.write("a b%/x", b"1");
        let root = list(&route(&chain), None, None, Credentials::default()).await.unwrap();
        let shown: Vec<(&str, u64, bool)> =
            root.entries.iter().map(|entry| (entry.name.as_str(), entry.size, entry.is_folder)).collect();
        assert_eq!(shown, [("a b%", 0, true), ("f", 5, false)]);
        // A listed name can be requested unchanged, one level down.
        let sub = list(&route(&chain), Some(&root.entries[0].path), None, Credentials::default()).await.unwrap();
        assert_eq!(sub.folder.as_str(), "a b%");
        assert_eq!((sub.entries[0].is_folder, sub.entries[1].path.as_bytes()), (true, &b"a b%/x"[..]));
        assert_eq!(
            list(&route(&chain), Some(&sub.entries[0].path), None, Credentials::default()).await.unwrap().entries,
            []
        );
        for missing in [&b"none"[..], b"f", b"..", b".hidden", b"a b%/../.."] {
            let name = FileName::new(missing).unwrap();
            let problem = list(&route(&chain), Some(&name), None, Credentials::default()).await.unwrap_err();
            // A name that leads up is rejected before any further hop is contacted.
            let refused = nodes > 1 && name.has_parent_segment();
            let expected = if refused { (Reason::Malformed, 1) } else { (Reason::NotFound, nodes) };
            assert_eq!((problem.reason, problem.hop as usize), expected, "{missing:?}");
        }
    }
}

#[tokio::test]
async fn listings_have_heads_and_their_own_errors() {
    let chain = Chain::start(2).await;
    chain.write("f", b"1");
    let whole = send_request(&chain, "GET", "/files/").await;
    assert_eq!((whole.status, whole.field("content-type")), (200, Some("application/json")));
    assert_eq!((whole.field("chain-hops"), whole.field("connection")), (Some("1"), Some("close")));
    let head = send_request(&chain, "HEAD", "/files/").await;
    assert_eq!((head.status, head.field("content-length")), (200, Some(whole.body.len().to_string().as_str())));
    assert_eq!(send_request(&chain, "GET", "/files/none/").await.status, 404);
    assert_eq!(send_request(&chain, "GET", "/files/f/").await.status, 404);
    assert_eq!(send_request(&chain, "GET", "/files//").await.body, whole.body);
    assert_eq!(send_request(&chain, "GET", "/files/%zz/").await.status, 400);
    assert_eq!(send_request(&chain, "GET", "/files/a%00/").await.status, 400);
    assert_eq!(send_request(&chain, "DELETE", "/files/").await.status, 405, "only reading is relayed");
    let mut stream = TcpStream::connect(chain.nodes[1].address).await.unwrap();
    assert_eq!(exchange(&mut stream, "DELETE", "/files/", "").await.status, 405);
}

#[tokio::test]
async fn listing_beyond_loopback_needs_list() {
    // A node that is configured as reachable from elsewhere, and one that may also list.
    let shut = site(|config| config.access.loopback = false).await;
    let open = site(|config| (config.access.loopback, config.access.list) = (false, true)).await;
    let near = site(|_| {}).await;
    std::fs::write(open.folder.path().join("seen"), "").unwrap();
    std::fs::write(near.folder.path().join("near"), "").unwrap();
    let get = async |site: &super::control::Site, lines: &str| {
        exchange(&mut site.connect().await, "GET", "/files/", lines).await
    };
    let refused = get(&shut, "").await;
    assert_eq!((refused.status, refused.problem().reason), (403, Reason::Policy));
    assert!(refused.problem().detail.as_str().contains("--list"), "{}", refused.problem());
    let token = "Authorization: Bearer read\r\n";
    assert_eq!(get(&shut, token).await.status, 403, "the read token is for endpoints");
    let listing: Listing = serde_json::from_slice(&get(&open, "").await.body).unwrap();
    assert_eq!(listing.entries[0].name.as_str(), "seen");
    // It does not relay to loopback for other machines, either.
    let route = format!("Chain-Route: {}\r\n", near.node.address);
    let refused = get(&shut, &route).await;
    assert_eq!((refused.status, refused.problem().hop), (403, 0));
    assert_eq!(get(&near, "Via: 1.1 x\r\n").await.status, 200);
    for proxied in ["Forwarded: for=1.2.3.4\r\n", "X-Forwarded-For: 1.2.3.4\r\n"] {
        assert_eq!(get(&near, proxied).await.status, 403, "{proxied}");
    }
}

#[tokio::test]
async fn a_reply_of_another_server_is_not_a_listing() {
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = plain.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let _ = stream.read(&mut [0; 4096]).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>").await.unwrap();
        }
    });
    let route = Route::new(FileName::new(b"f").unwrap(), vec![Hop::new(address.into())]).unwrap();
    assert_eq!(
        admin_client::list(&route, None, None, Credentials::default()).await.unwrap_err().reason,
        Reason::BadResponse
    );
}
