//! Tunnels at nodes with authorized keys: who may open one, and to where.

use std::time::{SystemTime, UNIX_EPOCH};

use chainview::keys::KeyPair;
use chainview::net::access::KeyTable;
use chainview::route::{Hop, HostPort};
use chainview::wire::TunnelRequest;
use chainview::wire::http::{encode_tunnel, sign_tunnel};

use super::*;

/// The head of a request for a tunnel to the server through all nodes, signed with this key for each of them.
fn signed(scene: &Scene, pair: Option<&KeyPair>, nonce: u128) -> Vec<u8> {
    let target = scene.target();
    let hop = |address: SocketAddr| Hop::new(HostPort::from(address));
    let first = hop(scene.nodes[0].address);
    let route: Vec<Hop> = scene.nodes[1..].iter().map(|node| hop(node.address)).chain([hop(target)]).collect();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut request = TunnelRequest::through(&first, &route, TransferId(nonce));
    request.timeout = Some(Duration::from_secs(3));
    let signed = pair.and_then(|pair| sign_tunnel(pair, &first, &request, now, nonce).unwrap());
    request.signatures = signed.map(Box::new);
    let mut head = Vec::new();
    encode_tunnel(&request, &mut head);
    head
}

async fn open(scene: &Scene, head: &[u8]) -> (TcpStream, Reply) {
    let mut client = TcpStream::connect(scene.nodes[0].address).await.unwrap();
    client.write_all(head).await.unwrap();
    let reply = read_reply(&mut client, "CONNECT").await;
    (client, reply)
}

#[tokio::test]
async fn a_tunnel_needs_the_right_at_each_relay_and_one_of_its_own_to_other_servers_than_nodes() {
    let pair = || KeyPair::parse(&KeyPair::generate().unwrap()).unwrap();
    let [alice, bob, carol] = [pair(), pair(), pair()];
    let keys = format!(
        "{} alice relay=127.0.0.0/8 connect=127.0.0.0/8\n{} bob relay=127.0.0.0/8\n{} carol fetch=/\n",
        alice.public().fingerprint(),
        bob.public().fingerprint(),
        carol.public().fingerprint()
    );
    let scene = Scene::start_with(2, Limits::default(), |config| {
        config.access.keys = Some(KeyTable::new(keys.parse().unwrap(), 0));
    })
    .await;
    scene.write("f", b"content");
    let first = signed(&scene, Some(&alice), 1);
    let (mut client, reply) = open(&scene, &first).await;
    assert_eq!(reply.status, 200, "{}", reply.head);
    let mut server = scene.target.accept().await.unwrap().0;
    assert!(is_open(&mut client, &mut server).await);
    // Without the right for other servers it has to be a node.
    let (_, reply) = open(&scene, &signed(&scene, Some(&bob), 2)).await;
    assert!(
        reply.status == 504 && reply.problem().detail.as_str().contains("--allow-connect"),
        "{:?}",
        reply.problem()
    );
    for (pair, status, detail) in [(Some(&carol), 403, "has no right relay"), (None, 401, "unsigned")] {
        let (_, reply) = open(&scene, &signed(&scene, pair, 3)).await;
        assert_eq!((reply.status, reply.problem().hop), (status, 0));
        assert!(reply.problem().detail.as_str().contains(detail), "{}", reply.problem().detail);
    }
    // A signed request is served once.
    let (_, reply) = open(&scene, &first).await;
    assert_eq!(reply.status, 401, "{}", reply.head);
    // At its end a tunnel gives no right: each request inside needs its own.
    let end = Scene::start_with(1, Limits::default(), |config| {
        config.access.keys = Some(KeyTable::new("anonymous read".parse().unwrap(), 0));
    })
    .await;
    let own = end.nodes[0].address;
    let mut client = TcpStream::connect(own).await.unwrap();
    client.write_all(format!("CONNECT {own} HTTP/1.1\r\nHost: {own}\r\n\r\n").as_bytes()).await.unwrap();
    read_opened(&mut client).await;
    assert_eq!(get(&mut client, "/files/f").await.status, 401);
}

#[tokio::test]
async fn the_limits_of_a_key_hold_for_its_tunnels_in_both_directions() {
    let pair = || KeyPair::parse(&KeyPair::generate().unwrap()).unwrap();
    let [alice, bob] = [pair(), pair()];
    let line = |pair: &KeyPair, rest: &str| {
        format!("{} x relay=127.0.0.0/8 connect=127.0.0.0/8 {rest}\n", pair.public().fingerprint())
    };
    let keys = line(&alice, "transfers=1 rate=400KB/s per-day=500KB") + &line(&bob, "");
    let scene = Scene::start_with(1, Limits::default(), |config| {
        config.access.keys = Some(KeyTable::new(keys.parse().unwrap(), 0));
    })
    .await;
    let (mut client, reply) = open(&scene, &signed(&scene, Some(&alice), 1)).await;
    assert_eq!(reply.status, 200, "{}", reply.head);
    let mut server = scene.target.accept().await.unwrap().0;
    let (_, reply) = open(&scene, &signed(&scene, Some(&alice), 2)).await;
    assert_eq!(reply.status, 429, "{}", reply.head);
    assert!(reply.problem().detail.as_str().contains("may have 1 at once"), "{}", reply.problem());
    let (_of_bob, reply) = open(&scene, &signed(&scene, Some(&bob), 3)).await;
    assert_eq!(reply.status, 200, "{}", reply.head);
    // Both directions share the rate.
    let began = std::time::Instant::now();
    let sent = pattern(200_000);
    let (mut down, mut up) = (vec![0; 200_000], vec![0; 200_000]);
    {
        let ((mut client_in, mut client_out), (mut server_in, mut server_out)) = (client.split(), server.split());
        let moved = async {
            tokio::try_join!(
                client_out.write_all(&sent),
                server_out.write_all(&sent),
                client_in.read_exact(&mut down),
                server_in.read_exact(&mut up),
            )
        };
        timeout(TIMEOUT, moved).await.unwrap().unwrap();
    }
    let took = began.elapsed().as_secs_f64();
    assert!(down == sent && up == sent && (0.7..2.0).contains(&took), "{took} s");
    // And the bytes of the day, after which it is reset.
    client.write_all(&sent).await.unwrap();
    let mut rest = Vec::new();
    assert!(timeout(TIMEOUT, server.read_to_end(&mut rest)).await.unwrap().is_err());
    assert_eq!(rest.len(), 100_000);
    let (_, reply) = open(&scene, &signed(&scene, Some(&alice), 4)).await;
    assert!(reply.status == 429 && reply.problem().detail.as_str().contains("may have 500.0 KB a day"));
}
