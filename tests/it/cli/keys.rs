//! Keys in the real program: `--new-key`, `--identity`, `--authorized-keys`, and what a signal reloads.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use chainview::keys::{Fingerprint, KeyPair};
use chainview::route::{FileName, Hop};
use chainview::wire::http::{encode_request, sign_request};
use chainview::wire::{Method, Request, TransferId};
use rustix::process::{Pid, Signal, kill_process};

use super::{chainview, code, err, out, run};

/// A node with keys; its log is read line by line.
struct KeyNode {
    child: Child,
    address: String,
    log: Box<dyn Iterator<Item = String>>,
}

impl KeyNode {
    fn start(folder: &std::path::Path, line: &str) -> Self {
        Self::start_at("127.0.0.1:0", folder, line)
    }

    fn start_at(address: &str, folder: &std::path::Path, line: &str) -> Self {
        let mut command = chainview(folder);
        command.args(["--node", address, "--authorized-keys", "keys"]).args(line.split_whitespace());
        // Without a terminal, where SIGHUP would mean that it has closed.
        command.arg("--until-stdin-closes").stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim_end().strip_prefix("listening ").expect("an address in the first line").to_owned();
        let log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        Self { child, address, log: Box::new(log) }
    }

    /// Sends SIGHUP, and waits for a log line with these words.
    fn reload(&mut self, words: &str) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
        assert!(self.log.any(|line| line.contains(words)), "the log says {words:?}");
    }
}

impl Drop for KeyNode {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_new_key_is_private_and_its_fingerprint_is_printed() {
    let dir = tempfile::tempdir().unwrap();
    let made = run(dir.path(), "--new-key key");
    assert_eq!((code(&made), err(&made).as_str()), (0, ""));
    let file = dir.path().join("key");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let fingerprint: Fingerprint = out(&made).trim_end().parse().unwrap();
    assert_eq!(KeyPair::parse(&text).unwrap().public().fingerprint(), fingerprint);
    assert!(text.lines().next().unwrap().ends_with(out(&made).trim_end()));

    let again = run(dir.path(), "--new-key key");
    assert_eq!((code(&again), out(&again).as_str()), (7, ""));
    assert!(err(&again).contains("never overwritten"), "{}", err(&again));
    std::os::unix::fs::symlink("elsewhere", dir.path().join("link")).unwrap();
    assert_eq!(code(&run(dir.path(), "--new-key link")), 7);
    assert!(!dir.path().join("elsewhere").exists());
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert_eq!(code(&run(dir.path(), "--new-key missing/key")), 7);
}

#[test]
fn a_fingerprint_that_cannot_be_printed_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let made = chainview(dir.path()).args(["--new-key", "key"]).stdout(full).output().unwrap();
    assert_eq!(code(&made), 7, "{}", err(&made));
}

#[test]
fn a_new_key_is_a_mode_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    for line in ["--new-key key --fetch", "--new-key key input.txt", "--new-key key --demo", "--new-key key --root ."] {
        let made = run(dir.path(), line);
        assert_eq!(code(&made), 2, "{line}: {}", err(&made));
    }
    assert!(!dir.path().join("key").exists());
}

#[test]
fn a_chain_serves_the_keys_in_its_file_until_they_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let fingerprint = out(&run(dir.path(), "--new-key key")).trim_end().to_owned();
    assert_eq!(code(&run(dir.path(), "--new-key other")), 0);
    let keys = dir.path().join("keys");
    let write = |text: &str| {
        fs::write(&keys, text).unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
    };
    write(&format!("{fingerprint} alice fetch=f relay=127.0.0.0/8 read\n"));
    fs::write(dir.path().join("f"), "content").unwrap();
    let nodes = [0; 2].map(|_| KeyNode::start(dir.path(), "--root ."));
    let [first, mut last] = nodes;
    assert!(last.log.next().unwrap().ends_with(", authorized keys: 1"));
    fs::write(dir.path().join("in.txt"), format!("f\n{}\n{}\n", first.address, last.address)).unwrap();

    let fetched = run(dir.path(), "--fetch in.txt -o got --identity key");
    assert_eq!((code(&fetched), fs::read_to_string(dir.path().join("got")).unwrap().as_str()), (0, "content"));
    let checked = run(dir.path(), "--check in.txt --identity key");
    assert_eq!(code(&checked), 0, "{}", err(&checked));

    let unsigned = run(dir.path(), "--fetch in.txt -o none");
    assert_eq!(code(&unsigned), 5);
    assert!(err(&unsigned).contains("hop 1") && err(&unsigned).contains("key required"), "{}", err(&unsigned));
    let other = run(dir.path(), "--fetch in.txt -o none --identity other");
    assert_eq!(code(&other), 5);
    assert!(err(&other).contains("sha256:") && err(&other).contains("no right relay"), "{}", err(&other));

    write("fetch=/\n");
    last.reload(":1:1: a fingerprint begins with sha256:");
    assert_eq!(code(&run(dir.path(), "--fetch in.txt -o got2 --identity key")), 0, "the keys remain as they were");
    write("# none\n");
    last.reload("keys: authorized keys: 0");
    let removed = run(dir.path(), "--fetch in.txt -o none --identity key");
    assert_eq!(code(&removed), 5);
    assert!(err(&removed).contains("hop 2") && err(&removed).contains("not authorized"), "{}", err(&removed));
    assert!(!dir.path().join("none").exists());
}

#[test]
fn the_key_of_a_tls_client_counts_as_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let fingerprint = out(&run(dir.path(), "--new-key key")).trim_end().to_owned();
    for name in ["other", "node"] {
        assert_eq!(code(&run(dir.path(), &format!("--new-key {name}"))), 0);
    }
    fs::write(dir.path().join("keys"), format!("{fingerprint} alice fetch=f read\n")).unwrap();
    fs::set_permissions(dir.path().join("keys"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(dir.path().join("f"), "content").unwrap();
    let node = KeyNode::start(dir.path(), "--root . --identity node");
    for name in ["key", "other"] {
        let mut openssl = Command::new("openssl");
        openssl
            .args(["req", "-x509", "-key", name, "-subj", "/CN=any", "-days", "1", "-out"])
            .arg(format!("{name}.pem"));
        let made = openssl.current_dir(dir.path()).output().unwrap();
        assert!(made.status.success(), "{}", err(&made));
    }
    let curl = |words: &str, path: &str| {
        let mut curl = Command::new("curl");
        curl.args(["-sSk", "-m", "20", "-w", " %{http_code}"]).args(words.split_whitespace());
        out(&curl.arg(format!("https://{}{path}", node.address)).current_dir(dir.path()).output().unwrap())
    };
    let read = curl("--cert key.pem --key key", "/files/f");
    assert_eq!(read, "content 200");
    let unsigned = curl("", "/files/f");
    assert!(unsigned.ends_with(" 401") && unsigned.contains("sign with --identity"), "{unsigned}");
    let other = curl("--cert other.pem --key other", "/files/f");
    assert!(other.ends_with(" 403") && other.contains("(not authorized) has no right fetch"), "{other}");
    // chainview signs its requests, too.
    let address = node.address.replace(':', " ");
    let own = fs::read_to_string(dir.path().join("node")).unwrap();
    let own = own.lines().next().unwrap().rsplit(' ').next().unwrap();
    fs::write(dir.path().join("in.txt"), format!("f\n{address} key={own}\n")).unwrap();
    let fetched = run(dir.path(), "--fetch in.txt -o got --identity key");
    assert_eq!((code(&fetched), fs::read_to_string(dir.path().join("got")).unwrap().as_str()), (0, "content"));
    let refused = run(dir.path(), "--fetch in.txt -o none --identity other");
    assert_eq!(code(&refused), 5);
    assert!(err(&refused).contains("hop 1") && err(&refused).contains("(not authorized)"), "{}", err(&refused));
}

#[test]
fn a_request_of_the_second_of_a_restart_is_not_served_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let fingerprint = out(&run(dir.path(), "--new-key key")).trim_end().to_owned();
    let pair = KeyPair::parse(&fs::read_to_string(dir.path().join("key")).unwrap()).unwrap();
    fs::write(dir.path().join("keys"), format!("{fingerprint} alice fetch=/\n")).unwrap();
    fs::set_permissions(dir.path().join("keys"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(dir.path().join("f"), "content").unwrap();
    let first = KeyNode::start(dir.path(), "--root .");
    let address = first.address.clone();
    let send = |head: &[u8]| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(head).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    };
    let signed = |nonce: u128| {
        let hop = Hop::new(address.parse().unwrap());
        let mut request = Request::new(Method::Get, FileName::new(b"f").unwrap());
        (request.host, request.transfer) = (Some(hop.address.clone()), Some(TransferId(nonce)));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        request.signatures = sign_request(&pair, &hop, &request, now, nonce).unwrap().map(Box::new);
        let mut head = Vec::new();
        encode_request(&request, None, &mut head);
        head
    };
    let head = signed(1);
    assert!(send(&head).ends_with("content"));
    drop(first);
    let before = signed(2);
    let _again = KeyNode::start_at(&address, dir.path(), "--root .");
    for head in [head, before] {
        let reply = send(&head);
        assert!(reply.starts_with("HTTP/1.1 401") && reply.contains("before this node was started"), "{reply}");
    }
    assert!(send(&signed(3)).ends_with("content"));
}

#[test]
fn a_host_name_that_is_no_host_ends_the_start() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["http://gate", "gate/x", "gate:99999", "[::1"] {
        let wrong = run(dir.path(), &format!("--node 127.0.0.1:0 --host-name {name}"));
        assert_eq!((code(&wrong), out(&wrong).as_str()), (2, ""));
        assert!(err(&wrong).contains("--host-name") && err(&wrong).contains(name), "{}", err(&wrong));
    }
}

#[test]
fn wrong_key_files_end_the_start_with_their_place() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("keys"), "anonymous fetch=/\nanonymous fly\n").unwrap();
    fs::set_permissions(dir.path().join("keys"), fs::Permissions::from_mode(0o644)).unwrap();
    let wrong = run(dir.path(), "--node 127.0.0.1:0 --authorized-keys keys");
    assert_eq!((code(&wrong), out(&wrong).as_str()), (3, ""));
    assert!(err(&wrong).contains("keys:2:11: \"fly\" is not a right"), "{}", err(&wrong));
    let typo = "sha256:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".replace("AwQ", "Aw-");
    fs::write(dir.path().join("keys"), format!("\n {typo} alice fetch=/\n")).unwrap();
    let wrong = run(dir.path(), "--node 127.0.0.1:0 --authorized-keys keys");
    assert_eq!(code(&wrong), 3);
    assert!(err(&wrong).contains("keys:2:15: character 14 of the fingerprint is '-'"), "{}", err(&wrong));
    fs::set_permissions(dir.path().join("keys"), fs::Permissions::from_mode(0o666)).unwrap();
    let writable = run(dir.path(), "--node 127.0.0.1:0 --authorized-keys keys");
    assert!(code(&writable) == 3 && err(&writable).contains("chmod go-w"), "{}", err(&writable));

    assert_eq!(code(&run(dir.path(), "--new-key key")), 0);
    fs::set_permissions(dir.path().join("key"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(dir.path().join("in.txt"), "f\n127.0.0.1 9\n").unwrap();
    fs::create_dir(dir.path().join("folder")).unwrap();
    for (line, file) in [
        ("--fetch in.txt --identity folder", "folder"),
        ("--check in.txt --identity none", "none"),
        ("--node 127.0.0.1:0 --identity folder", "folder"),
        ("--node 127.0.0.1:0 --authorized-keys none", "none"),
    ] {
        let unread = run(dir.path(), line);
        assert_eq!((code(&unread), out(&unread).as_str()), (3, ""), "{line}: {}", err(&unread));
        assert!(err(&unread).contains(file), "{line}: {}", err(&unread));
    }
    for mode in ["--fetch", "--check"] {
        let readable = run(dir.path(), &format!("{mode} in.txt --identity key"));
        assert_eq!(code(&readable), 3);
        assert!(err(&readable).contains("chmod 600"), "{}", err(&readable));
    }
    assert_eq!(code(&run(dir.path(), "--fetch in.txt --authorized-keys keys")), 2);
    assert_eq!(code(&run(dir.path(), "--node 127.0.0.1:0 --identity key")), 3);
}
