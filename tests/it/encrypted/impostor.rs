//! A relay that does not pass a tunnel on, and answers for the origin.

use super::*;

/// Accepts tunnels as a relay does, and leads each to another node than the one that it is for.
fn impostor(to: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut near in listener.incoming().map_while(Result::ok) {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if near.read_exact(&mut byte).is_err() {
                    break;
                }
                head.push(byte[0]);
            }
            if !head.starts_with(b"CONNECT ") {
                continue;
            }
            let mut far = TcpStream::connect(to).unwrap();
            near.write_all(b"HTTP/1.1 200 OK\r\nChain-Hops: 1\r\nVia: 1.1 chainview, 1.1 chainview\r\n\r\n").unwrap();
            let (mut near2, mut far2) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            thread::spawn(move || std::io::copy(&mut near2, &mut far2));
            thread::spawn(move || std::io::copy(&mut far, &mut near));
        }
    });
    address
}

#[test]
fn a_relay_that_answers_for_the_origin_is_found_and_gets_no_name() {
    let scene = Scene::start(Harm::Nothing, 0);
    let made = chainview(scene.dir.path(), "--new-key other").stdout;
    let other = String::from_utf8(made).unwrap().trim_end().to_owned();
    let root = scene.dir.path().join("false");
    fs::create_dir(&root).unwrap();
    fs::write(root.join(NAME), "another content").unwrap();
    let identity = scene.dir.path().join("other");
    let with_key = Node::chainview(&root, &["--identity", identity.to_str().unwrap()]);
    let without = Node::chainview(&root, &[]);
    let origin = scene.nodes[2].address();
    for (node, words) in [(&with_key, [scene.key.as_str(), other.as_str()]), (&without, ["TLS", "--identity"])] {
        let seen = Forwarder::start(node.address(), Harm::Nothing, 0);
        let relay = impostor(seen.address);
        fs::write(scene.dir.path().join("in.txt"), format!("{NAME}\n{relay}\n{origin} key={}\n", scene.key)).unwrap();
        let fetched = scene.fetch("--retries 2");
        let error = said(&fetched);
        assert_eq!((fetched.status.code(), scene.got()), (Some(5), None), "{error}");
        assert!(error.contains("hop 2") && words.iter().all(|word| error.contains(word)), "{error}");
        assert!(seen.connections.load(Relaxed) > 0, "{error}");
        assert_eq!(seen.found(&[NAME.as_bytes(), MARK]), Vec::<String>::new());
    }
    let left: Vec<_> = fs::read_dir(scene.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("got")), "{left:?}");
}
