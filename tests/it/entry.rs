//! Access control: tokens that an input file names, other users of this machine, paths of web servers.
//! `tests/README.md` lists all faults and the tests that cover them.

use crate::support;

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use support::TIMEOUT;
use support::process::{Node, chainview};

/// Starts a hop that records its requests and serves nothing.
fn recorder() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (mut requested, mut space) = (Vec::new(), [0; 4096]);
            while !requested.ends_with(b"\r\n\r\n") {
                match stream.read(&mut space) {
                    Ok(read @ 1..) => requested.extend_from_slice(&space[..read]),
                    _ => break,
                }
            }
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = sender.send(String::from_utf8_lossy(&requested).to_lowercase());
        }
    });
    (address, requests)
}

fn write_secret(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn an_input_file_sends_only_tokens_from_the_configuration_folder() {
    let home = tempfile::tempdir().unwrap();
    let (folder, config) = (home.path().join("work"), home.path().join("config"));
    write_secret(&home.path().join(".vault-token"), "hvs.secret\n");
    write_secret(&folder.join("beside"), "hvs.secret\n");
    write_secret(&config.join("chainview/relay"), "read-me\n");
    std::os::unix::fs::symlink(home.path().join(".vault-token"), config.join("chainview/link")).unwrap();
    let (address, requests) = recorder();
    let run = |line: &str| {
        fs::write(folder.join("input.txt"), format!("data.bin\n{address} {line}\n")).unwrap();
        let mut command = chainview();
        command.env("XDG_CONFIG_HOME", &config).env("HOME", home.path()).current_dir(&folder);
        let output = command.args(["--no-spawn", "--retries", "0"]).output().unwrap();
        let message = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(message).unwrap())
    };
    let absolute = format!("protocol=http token-file={}", home.path().join(".vault-token").display());
    for line in [
        "protocol=http token-file=../.vault-token",
        "protocol=http token-file=../../.vault-token",
        &absolute,
        "protocol=http token-file=beside",
        "protocol=http token-file=link",
    ] {
        let (code, message) = run(line);
        assert_eq!(code, Some(3), "{line}: {message}");
        assert!(message.contains("configuration folder") || message.contains("config/chainview"), "{line}: {message}");
        assert!(requests.try_recv().is_err(), "{line}: a request was sent");
    }
    let (code, message) = run("protocol=http token-file=relay");
    assert!(code != Some(3) && message.contains(&format!("the read token in relay is sent to {address}")), "{message}");
    let requested: Vec<String> = requests.try_iter().collect();
    assert!(requested.iter().any(|requested| requested.contains("authorization: bearer read-me\r\n")), "{requested:?}");
    assert!(!requested.iter().any(|requested| requested.contains("hvs.secret")), "{requested:?}");
}

/// Sends a request and reads the reply to its end, as the user nobody or as the user of the tests.
fn send_request(to: SocketAddr, as_other_user: bool, request: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    if as_other_user {
        // A socket belongs to the user who created it or to whom it was given.
        rustix::fs::fchown(&stream, Some(rustix::fs::Uid::from_raw(65_534)), None).unwrap();
    }
    stream.write_all(request.as_bytes()).unwrap();
    // A client may close its sending half after a request for a file.
    if request.starts_with("GET /files/f HTTP/1.1") {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply);
    String::from_utf8_lossy(&reply).into_owned()
}

fn http(method: &str, path: &str, to: SocketAddr, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\n{more}\r\n")
}

#[test]
fn other_local_users_reach_only_the_health_check() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can create sockets of another user");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("f"), "content of f").unwrap();
    write_secret(&folder.path().join(".token"), "control");
    let token = folder.path().join(".token");
    let control = ["--control-token-file", token.to_str().unwrap()];
    let (node, next) = (Node::chainview(folder.path(), &control), Node::chainview(folder.path(), &[]));
    let everywhere = Node::chainview_at("0.0.0.0:0".parse().unwrap(), folder.path(), &[]);
    let everywhere = SocketAddr::from(([127, 0, 0, 1], everywhere.address().port()));
    let (at, route) = (node.address(), format!("Chain-Route: {}\r\n", next.address()));
    let bearer = "Authorization: Bearer control\r\nContent-Length: 0\r\n";
    for (to, request) in [
        (at, http("GET", "/files/f", at, "")),
        (at, http("HEAD", "/files/f", at, "")),
        (at, http("GET", "/files/none", at, "")),
        (at, http("GET", "/files/f", at, &route)),
        (at, http("GET", "/files/", at, "")),
        (at, http("GET", "/files/", at, &route)),
        (at, http("GET", "/v1/node", at, "")),
        (at, http("GET", "/v1/node", at, &route)),
        (at, http("GET", "/v1/events", at, "")),
        (at, http("GET", "/v1/connections", at, "")),
        (at, http("GET", "/v1/transfers/0123456789abcdef0123456789abcdef", at, "")),
        (at, http("GET", "/metrics", at, "")),
        (at, http("GET", "/healthz", at, &route)),
        (at, http("POST", "/v1/drain", at, bearer)),
        (everywhere, http("GET", "/files/f", everywhere, "")),
    ] {
        let reply = send_request(to, true, &request);
        assert!(reply.starts_with("HTTP/1.1 403 ") && reply.contains("--local-users any"), "{request}: {reply}");
        assert!(!reply.contains("content of f"), "{reply}");
    }
    for request in [format!("f\n{at}"), format!("f\n{} {}\n{}", at.ip(), at.port(), next.address())] {
        let reply = send_request(at, true, &request.replace("127.0.0.1:", "127.0.0.1 "));
        assert!(reply.starts_with("Address not found") && reply.contains("--local-users any"), "{request}: {reply}");
    }
    assert!(send_request(at, true, &http("GET", "/healthz", at, "")).ends_with("ok\n"));
    // A client with a closed sending half is still served, and the node's own user in every form.
    for request in [http("GET", "/files/f", at, ""), http("GET", "/files/f", at, "Connection: close\r\n")] {
        assert!(send_request(at, false, &request).ends_with("content of f"), "{request}");
    }
    assert!(send_request(at, false, &http("GET", "/v1/node", at, "")).starts_with("HTTP/1.1 200 "));
    // The legacy protocol sends the size, and then waits for the go-ahead.
    let mut legacy = TcpStream::connect(at).unwrap();
    legacy.set_read_timeout(Some(TIMEOUT)).unwrap();
    legacy.write_all(format!("f\n{} {}", at.ip(), at.port()).as_bytes()).unwrap();
    let mut size = [0; 2];
    legacy.read_exact(&mut size).unwrap();
    assert_eq!(&size, b"12");
    let open = Node::chainview(folder.path(), &["--local-users", "any"]);
    assert!(send_request(open.address(), true, &http("GET", "/files/f", open.address(), "")).ends_with("content of f"));
}

/// Starts a web server that keeps its connections open and records its requests.
fn web_server() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            thread::spawn(move || {
                let mut requested = Vec::new();
                let mut space = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut space) {
                    requested.extend_from_slice(&space[..read]);
                    if requested.ends_with(b"\r\n\r\n") {
                        let line = String::from_utf8_lossy(&requested).lines().next().unwrap_or_default().to_owned();
                        let _ = sender.send(line);
                        requested.clear();
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                    }
                }
            });
        }
    });
    (address, requests)
}

#[test]
fn a_reused_connection_allows_no_other_path() {
    let folder = tempfile::tempdir().unwrap();
    let (server, requests) = web_server();
    let node = Node::chainview_at(
        "0.0.0.0:0".parse().unwrap(),
        folder.path(),
        &["--allow-next", &format!("{server}/pub/"), "--list"],
    );
    let at = SocketAddr::from(([127, 0, 0, 1], node.address().port()));
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut send_request = |path: &str, keys: &str| {
        let request = http("GET", path, at, &format!("Chain-Route: {server};protocol=http{keys}\r\n"));
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = Vec::new();
        let mut space = [0; 4096];
        // Every reply here is short, and has a body of the announced length.
        loop {
            let text = String::from_utf8_lossy(&reply).to_lowercase();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    return text;
                }
            }
            let read = stream.read(&mut space).unwrap();
            assert!(read > 0, "closed after {text}");
            reply.extend_from_slice(&space[..read]);
        }
    };
    assert!(send_request("/files/f", ";base=/pub/").starts_with("http/1.1 200 "));
    for keys in [";base=/admin/", ";base=/", ";base=/public/", ""] {
        let reply = send_request("/files/f", keys);
        assert!(reply.starts_with("http/1.1 403 ") && reply.contains("/pub/"), "{keys}: {reply}");
    }
    assert!(send_request("/files/g", ";base=/pub/iso/").starts_with("http/1.1 200 "));
    for keys in [";base=/pub/../admin/", ";base=/pub/%2e%2e/admin/", ";base=/pub/?x=", ";base=/pub/;base=/admin/"] {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let request = http("GET", "/files/f", at, &format!("Chain-Route: {server};protocol=http{keys}\r\n"));
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = [0; 12];
        stream.read_exact(&mut reply).unwrap();
        assert_eq!(&reply, b"HTTP/1.1 400", "{keys}");
    }
    // Its folders are not listings of a node.
    let page = http("GET", "/files/", at, &format!("Chain-Route: {server};protocol=http\r\n"));
    assert!(self::send_request(at, false, &page).starts_with("HTTP/1.1 403 "));
    let requested: Vec<String> = requests.try_iter().collect();
    assert_eq!(requested, ["GET /pub/f HTTP/1.1", "GET /pub/iso/g HTTP/1.1"]);
}

#[test]
fn settings_for_missing_hops_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("three.txt"), "f\n127.0.0.1 1\n127.0.0.1 2\n127.0.0.1 3\n").unwrap();
    for (line, expected) in [
        ("three.txt --limit 9=5M", "there is no hop 9, the chain has 3 hops"),
        ("three.txt --no-spawn --delay 4=1s", "there is no hop 4"),
        ("--demo --limit 9=5M", "there is no hop 9, the chain has 3 hops"),
        ("--demo --fault 4=stall", "there is no hop 4"),
    ] {
        let output = chainview().args(line.split(' ')).current_dir(folder.path()).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), message.contains(expected)), (Some(2), true), "{line}: {message}");
    }
}

#[test]
fn a_configured_read_token_is_required_on_loopback() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("f"), "content of f").unwrap();
    let token = folder.path().join(".token");
    write_secret(&token, "read-me");
    let node = Node::chainview(folder.path(), &["--read-token-file", token.to_str().unwrap()]);
    let relay = Node::chainview(folder.path(), &[]);
    let route = format!("Chain-Route: {}\r\n", node.address());
    for (to, way) in [(node.address(), ""), (relay.address(), route.as_str())] {
        for path in ["/v1/node", "/v1/connections", "/metrics", "/files/"] {
            let reply = send_request(to, false, &http("GET", path, to, way));
            assert!(reply.starts_with("HTTP/1.1 401 "), "{path} {way}: {reply}");
            let shown = format!("{way}Authorization: Bearer read-me\r\n");
            let reply = send_request(to, false, &http("GET", path, to, &shown));
            assert!(reply.starts_with("HTTP/1.1 200 "), "{path} {shown}: {reply}");
        }
    }
    let at = node.address();
    assert!(send_request(at, false, &http("GET", "/healthz", at, "")).ends_with("ok\n"));
    assert!(send_request(at, false, &http("GET", "/files/f", at, "")).ends_with("content of f"));
}
