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
    let (sender, heard) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (mut asked, mut space) = (Vec::new(), [0; 4096]);
            while !asked.ends_with(b"\r\n\r\n") {
                match stream.read(&mut space) {
                    Ok(read @ 1..) => asked.extend_from_slice(&space[..read]),
                    _ => break,
                }
            }
            let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = sender.send(String::from_utf8_lossy(&asked).to_lowercase());
        }
    });
    (address, heard)
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
    let (address, heard) = recorder();
    let run = |line: &str| {
        fs::write(folder.join("input.txt"), format!("data.bin\n{address} {line}\n")).unwrap();
        let mut command = chainview();
        command.env("XDG_CONFIG_HOME", &config).env("HOME", home.path()).current_dir(&folder);
        let output = command.args(["--no-spawn", "--retries", "0"]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let absolute = format!("protocol=http token-file={}", home.path().join(".vault-token").display());
    for line in [
        "protocol=http token-file=../.vault-token",
        "protocol=http token-file=../../.vault-token",
        &absolute,
        "protocol=http token-file=beside",
        "protocol=http token-file=link",
    ] {
        let (code, said) = run(line);
        assert_eq!(code, Some(3), "{line}: {said}");
        assert!(said.contains("configuration folder") || said.contains("config/chainview"), "{line}: {said}");
        assert!(heard.try_recv().is_err(), "{line}: something was sent");
    }
    let (code, said) = run("protocol=http token-file=relay");
    assert!(code != Some(3) && said.contains(&format!("the read token in relay is sent to {address}")), "{said}");
    let asked: Vec<String> = heard.try_iter().collect();
    assert!(asked.iter().any(|asked| asked.contains("authorization: bearer read-me\r\n")), "{asked:?}");
    assert!(!asked.iter().any(|asked| asked.contains("hvs.secret")), "{asked:?}");
}

/// Sends a request and reads the reply to its end, as the user nobody or as the user of the tests.
fn ask(to: SocketAddr, as_nobody: bool, request: &str) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    if as_nobody {
        // A socket belongs to the user who created it or to whom it was given.
        rustix::fs::fchown(&stream, Some(rustix::fs::Uid::from_raw(65_534)), None).unwrap();
    }
    stream.write_all(request.as_bytes()).unwrap();
    // A client may close its sending half after a request for a file.
    if request.starts_with("GET /files/f HTTP/1.1") {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn http(method: &str, path: &str, to: SocketAddr, more: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\n{more}\r\n")
}

#[test]
fn other_local_users_reach_only_the_health_check() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: sockets of another user, which only root can make");
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
        let answer = ask(to, true, &request);
        assert!(answer.starts_with("HTTP/1.1 403 ") && answer.contains("--local-users any"), "{request}: {answer}");
        assert!(!answer.contains("content of f"), "{answer}");
    }
    for request in [format!("f\n{at}"), format!("f\n{} {}\n{}", at.ip(), at.port(), next.address())] {
        let answer = ask(at, true, &request.replace("127.0.0.1:", "127.0.0.1 "));
        assert!(answer.starts_with("Address not found") && answer.contains("--local-users any"), "{request}: {answer}");
    }
    assert!(ask(at, true, &http("GET", "/healthz", at, "")).ends_with("ok\n"));
    // A client with a closed sending half is still served, and the node's own user in every form.
    for request in [http("GET", "/files/f", at, ""), http("GET", "/files/f", at, "Connection: close\r\n")] {
        assert!(ask(at, false, &request).ends_with("content of f"), "{request}");
    }
    assert!(ask(at, false, &http("GET", "/v1/node", at, "")).starts_with("HTTP/1.1 200 "));
    // The legacy protocol sends the size, and then waits for the go-ahead.
    let mut legacy = TcpStream::connect(at).unwrap();
    legacy.set_read_timeout(Some(TIMEOUT)).unwrap();
    legacy.write_all(format!("f\n{} {}", at.ip(), at.port()).as_bytes()).unwrap();
    let mut size = [0; 2];
    legacy.read_exact(&mut size).unwrap();
    assert_eq!(&size, b"12");
    let open = Node::chainview(folder.path(), &["--local-users", "any"]);
    assert!(ask(open.address(), true, &http("GET", "/files/f", open.address(), "")).ends_with("content of f"));
}

/// Starts a web server that keeps its connections open and records its requests.
fn web_server() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, heard) = mpsc::channel();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            thread::spawn(move || {
                let mut asked = Vec::new();
                let mut space = [0; 4096];
                while let Ok(read @ 1..) = stream.read(&mut space) {
                    asked.extend_from_slice(&space[..read]);
                    if asked.ends_with(b"\r\n\r\n") {
                        let line = String::from_utf8_lossy(&asked).lines().next().unwrap_or_default().to_owned();
                        let _ = sender.send(line);
                        asked.clear();
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                    }
                }
            });
        }
    });
    (address, heard)
}

#[test]
fn a_reused_connection_allows_no_other_path() {
    let folder = tempfile::tempdir().unwrap();
    let (server, heard) = web_server();
    let node = Node::chainview_at(
        "0.0.0.0:0".parse().unwrap(),
        folder.path(),
        &["--allow-next", &format!("{server}/pub/"), "--list"],
    );
    let at = SocketAddr::from(([127, 0, 0, 1], node.address().port()));
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut ask = |path: &str, keys: &str| {
        let request = http("GET", path, at, &format!("Chain-Route: {server};protocol=http{keys}\r\n"));
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut space = [0; 4096];
        // Every reply here is short, and has a body of the announced length.
        loop {
            let text = String::from_utf8_lossy(&answer).to_lowercase();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                    return text;
                }
            }
            let read = stream.read(&mut space).unwrap();
            assert!(read > 0, "closed after {text}");
            answer.extend_from_slice(&space[..read]);
        }
    };
    assert!(ask("/files/f", ";base=/pub/").starts_with("http/1.1 200 "));
    for keys in [";base=/admin/", ";base=/", ";base=/public/", ""] {
        let answer = ask("/files/f", keys);
        assert!(answer.starts_with("http/1.1 403 ") && answer.contains("/pub/"), "{keys}: {answer}");
    }
    assert!(ask("/files/g", ";base=/pub/iso/").starts_with("http/1.1 200 "));
    for keys in [";base=/pub/../admin/", ";base=/pub/%2e%2e/admin/", ";base=/pub/?x=", ";base=/pub/;base=/admin/"] {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let request = http("GET", "/files/f", at, &format!("Chain-Route: {server};protocol=http{keys}\r\n"));
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 400", "{keys}");
    }
    // Its folders are not listings of a node.
    let page = http("GET", "/files/", at, &format!("Chain-Route: {server};protocol=http\r\n"));
    assert!(self::ask(at, false, &page).starts_with("HTTP/1.1 403 "));
    let asked: Vec<String> = heard.try_iter().collect();
    assert_eq!(asked, ["GET /pub/f HTTP/1.1", "GET /pub/iso/g HTTP/1.1"]);
}

#[test]
fn settings_for_missing_hops_are_rejected() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("three.txt"), "f\n127.0.0.1 1\n127.0.0.1 2\n127.0.0.1 3\n").unwrap();
    for (line, says) in [
        ("three.txt --limit 9=5M", "there is no hop 9, the chain has 3 hops"),
        ("three.txt --no-spawn --delay 4=1s", "there is no hop 4"),
        ("--demo --limit 9=5M", "there is no hop 9, the chain has 3 hops"),
        ("--demo --fault 4=stall", "there is no hop 4"),
    ] {
        let output = chainview().args(line.split(' ')).current_dir(folder.path()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), said.contains(says)), (Some(2), true), "{line}: {said}");
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
            let answer = ask(to, false, &http("GET", path, to, way));
            assert!(answer.starts_with("HTTP/1.1 401 "), "{path} {way}: {answer}");
            let shown = format!("{way}Authorization: Bearer read-me\r\n");
            let answer = ask(to, false, &http("GET", path, to, &shown));
            assert!(answer.starts_with("HTTP/1.1 200 "), "{path} {shown}: {answer}");
        }
    }
    let at = node.address();
    assert!(ask(at, false, &http("GET", "/healthz", at, "")).ends_with("ok\n"));
    assert!(ask(at, false, &http("GET", "/files/f", at, "")).ends_with("content of f"));
}
