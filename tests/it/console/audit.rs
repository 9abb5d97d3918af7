//! The audit: one line for each request, change and refusal. Rotated, unread or on a full disk, it blocks no node and
//! loses no line without counting it.

mod tunnels;

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;

use super::{Node, Running, TIMEOUT, chainview, counter, folder, input, until};

/// The lines of an audit file.
fn entries(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// Waits for a line with these members, which may be the only one with its name; numbers are compared as they are.
fn line(file: &Path, members: &Value) -> Value {
    let mut found = None;
    let wanted = members.as_object().unwrap();
    until(&format!("{members} in {}", fs::read_to_string(file).unwrap_or_default()), || {
        found = entries(file).into_iter().find(|entry| wanted.iter().all(|(key, value)| entry[key] == *value));
        found.is_some()
    });
    found.unwrap()
}

fn get(node: &Node, path: &str, lines: &str) -> String {
    node.send_request(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}Connection: close\r\n\r\n"))
}

/// Sends a request whose reply is a head alone, and reads that.
fn send_head_request(stream: &mut BufReader<TcpStream>, request: &str) {
    stream.get_mut().write_all(request.as_bytes()).unwrap();
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0);
    }
}

#[test]
fn requests_changes_and_refusals_have_one_line_each() {
    let folder = folder(300_000, &[]);
    let path = |name: &str| folder.path().join(name);
    fs::write(path("token"), "control-secret").unwrap();
    fs::set_permissions(path("token"), fs::Permissions::from_mode(0o600)).unwrap();
    let origin = Node::start(chainview(folder.path()), "--audit origin.jsonl --control-token-file token");
    let relay = Node::start(chainview(folder.path()), "--audit relay.jsonl");
    let route = format!("Chain-Route: {}\r\nAuthorization: Bearer read-secret\r\n", origin.address);
    let at = |name: &str| path(name);

    let id = "0123456789abcdef0123456789abcdef";
    get(&relay, "/files/data.bin?sig=query-secret", &format!("{route}Chain-Transfer: {id}\r\n"));
    for (file, node, next) in [("relay.jsonl", &relay, Some(&origin)), ("origin.jsonl", &origin, None)] {
        let entry = line(
            &at(file),
            &serde_json::json!({ "transfer": id, "name": "data.bin?…", "method": "GET", "status": 200, "bytes": 300_000,
                    "ended": "complete", "node": node.address }),
        );
        assert_eq!(entry.get("next").and_then(Value::as_str), next.map(|next| next.address.as_str()));
        assert!(entry["peer"].as_str().unwrap().starts_with("127.0.0.1:") && entry.get("reason").is_none(), "{entry}");
        assert!(entry["time"].as_str().unwrap().ends_with('Z') && entry["seconds"].as_f64().unwrap() < 20.0);
    }
    get(&relay, "/files/none", &route);
    let missing = serde_json::json!({ "name": "none", "status": 404, "ended": "failed", "reason": "not-found" });
    assert_eq!(line(&at("relay.jsonl"), &missing)["hop"], 1);
    assert!(line(&at("origin.jsonl"), &missing).get("hop").is_none());
    // A long beginning that means nothing must not hide the file that is meant.
    let hidden = format!("{}data.bin", "./".repeat(400));
    assert!(get(&origin, &format!("/files/{hidden}"), "").starts_with("HTTP/1.1 200"));
    line(&at("origin.jsonl"), &serde_json::json!({ "name": hidden, "ended": "complete" }));

    let evil = "GET /files/data.bin HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert!(relay.send_request(evil).starts_with("HTTP/1.1 403"));
    let refused =
        |status: u16, reason: &str| serde_json::json!({ "status": status, "ended": "refused", "reason": reason });
    assert_eq!(line(&at("relay.jsonl"), &refused(403, "policy"))["name"], "data.bin");
    get(&relay, "/files/data.bin", "Chain-Route: 169.254.0.1:80\r\n");
    let next = serde_json::json!({ "next": "169.254.0.1:80", "ended": "refused", "reason": "policy", "hop": 1 });
    line(&at("relay.jsonl"), &next);
    relay.send_request("PUT /files/data.bin HTTP/1.1\r\nHost: localhost\r\n\r\n");
    line(&at("relay.jsonl"), &refused(405, "method"));
    relay.send_request("\x16\x03\x01\x00\x10");
    line(&at("relay.jsonl"), &serde_json::json!({ "ended": "refused", "reason": "unsupported" }));
    relay.send_request("data.bin\n9\nnot a request\n\n\n");

    let control = |token: &str| {
        let (token, body) = (format!("Authorization: Bearer {token}\r\n"), r#"{"limit":1000000000}"#);
        let head = format!("POST /v1/faults?x=query-secret HTTP/1.1\r\nHost: localhost\r\n{token}");
        origin.send_request(&format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()))
    };
    assert!(
        control("wrong-secret").starts_with("HTTP/1.1 401") && control("control-secret").starts_with("HTTP/1.1 200")
    );
    let name = "/v1/faults?…";
    line(
        &at("origin.jsonl"),
        &serde_json::json!({ "name": name, "status": 401, "ended": "refused", "reason": "unauthorized" }),
    );
    let entry = line(&at("origin.jsonl"), &serde_json::json!({ "name": name, "method": "POST", "status": 200 }));
    assert_eq!(entry["ended"], "complete");
    assert!(get(&origin, "/v1/node", "").starts_with("HTTP/1.1 200"), "reading changes nothing");

    for file in ["relay.jsonl", "origin.jsonl"] {
        let text = fs::read_to_string(path(file)).unwrap();
        assert!(!text.contains("secret") && !text.contains("/v1/node") && !text.contains("\"key\""), "{text}");
        assert_eq!(fs::metadata(path(file)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_eq!(entries(&path("origin.jsonl")).len(), 5, "one line each");
}

#[test]
fn a_transfer_that_breaks_off_has_its_bytes_and_reason() {
    let folder = folder(8_000_000, &[]);
    let mut node = Node::start(chainview(folder.path()), "--audit a.jsonl --limit 2M --drain-timeout 100ms");
    let file = folder.path().join("a.jsonl");
    let begin = |name: &str| {
        let mut stream = TcpStream::connect(&node.address).unwrap();
        write!(stream, "GET /files/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream.read_exact(&mut [0; 10_000]).unwrap();
        stream
    };
    drop(begin("data.bin"));
    let entry = line(&file, &serde_json::json!({ "status": 200, "ended": "failed", "reason": "reader-left" }));
    assert!((10_000 - 1_000..8_000_000).contains(&entry["bytes"].as_u64().unwrap()), "{entry}");
    let _open = begin("./data.bin");
    node.running.signal(Signal::TERM);
    node.running.ends("SIGTERM");
    let entry = entries(&file).pop().unwrap();
    assert_eq!(
        (&entry["name"], &entry["ended"], &entry["reason"]),
        (&"./data.bin".into(), &"failed".into(), &"stopped".into())
    );
    assert_eq!(entries(&file).len(), 2);
}

#[test]
fn the_legacy_protocol_has_lines_too() {
    let folder = folder(1000, &[]);
    let node = Node::start(chainview(folder.path()), "--audit a.jsonl");
    let file = folder.path().join("a.jsonl");
    let port = node.address.rsplit_once(':').unwrap().1;
    let mut stream = TcpStream::connect(&node.address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    write!(stream, "data.bin\nlocalhost {port}").unwrap();
    let mut size = [0; 4];
    stream.read_exact(&mut size).unwrap();
    assert_eq!(&size, b"1000");
    stream.write_all(b"go").unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    stream.shutdown(Shutdown::Both).unwrap();
    line(&file, &serde_json::json!({ "name": "data.bin", "status": 200, "bytes": 1000, "ended": "complete" }));
}

#[test]
fn a_signed_request_has_the_name_of_its_key() {
    let folder = folder(1000, &[]);
    let run = |args: &[&str]| chainview(folder.path()).args(args).output().unwrap();
    let fingerprint = |file| String::from_utf8(run(&["--new-key", file]).stdout).unwrap();
    let keys = format!("{} alice fetch=/\n", fingerprint("key").trim_end());
    fingerprint("other");
    fs::write(folder.path().join("keys"), keys).unwrap();
    let node = Node::start(chainview(folder.path()), "--authorized-keys keys --audit a.jsonl -q");
    input(folder.path(), &[&node.address]);
    assert!(run(&["--fetch", "-o", "out", "--identity", "key"]).status.success());
    assert_eq!(run(&["--fetch", "-o", "out/2", "--identity", "other"]).status.code(), Some(5));
    assert_eq!(run(&["--fetch", "-o", "out/3"]).status.code(), Some(5));
    let file = folder.path().join("a.jsonl");
    line(&file, &serde_json::json!({ "key": "alice", "method": "GET", "bytes": 1000, "ended": "complete" }));
    let refused = serde_json::json!({ "name": "data.bin", "status": 403, "ended": "refused", "reason": "policy" });
    assert!(line(&file, &refused).get("key").is_none(), "a key that is not authorized has no name");
    line(&file, &serde_json::json!({ "status": 401, "ended": "refused", "reason": "key-required" }));
}

#[test]
fn rotation_under_load_loses_no_line() {
    let folder = folder(10, &[]);
    let path = |name: &str| folder.path().join(name);
    let (file, log) = (path("a.jsonl"), path("l.log"));
    let mut node = Node::start(chainview(folder.path()), "--audit a.jsonl --log l.log -v");
    let (done, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let rotations = 5;
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (done, sent, address) = (&done, &sent, &node.address);
            scope.spawn(move || {
                let mut stream = BufReader::new(TcpStream::connect(address).unwrap());
                for number in 0.. {
                    if done.load(Relaxed) {
                        sent.fetch_add(number, Relaxed);
                        return;
                    }
                    let request = format!("HEAD /files/none-{client}-{number} HTTP/1.1\r\nHost: localhost\r\n\r\n");
                    send_head_request(&mut stream, &request);
                }
            });
        }
        for rotation in 0..rotations {
            let lines = |file: &Path| fs::read_to_string(file).map_or(0, |text| text.lines().count());
            until("lines in the file", || lines(&file) > 50);
            fs::rename(&file, path(&format!("a.jsonl.{rotation}"))).unwrap();
            fs::rename(&log, path(&format!("l.log.{rotation}"))).unwrap();
            node.running.signal(Signal::HUP);
            until("new files", || file.exists() && log.exists());
        }
        done.store(true, Relaxed);
    });
    node.running.signal(Signal::TERM);
    assert!(node.running.ends("SIGTERM").success());
    let files = (0..rotations).map(|rotation| path(&format!("a.jsonl.{rotation}"))).chain([file]);
    let mut names: HashMap<String, usize> = HashMap::new();
    for entry in files.flat_map(|file| entries(&file)) {
        *names.entry(entry["name"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    let sent = sent.into_inner();
    assert_eq!((names.len(), names.values().sum::<usize>()), (sent, sent), "each request once");
    assert!(sent > 250);
    // The log has the same requests; those over its limit are counted in it.
    let logs = (0..rotations).map(|rotation| path(&format!("l.log.{rotation}"))).chain([log]);
    let text: String = logs.map(|log| fs::read_to_string(log).unwrap()).collect();
    let logged = text.lines().filter(|line| line.contains("DEBUG request peer=")).count();
    let dropped = text.lines().filter_map(|line| {
        let (count, _) = line.split_once(" dropped: rate limit of one call site")?;
        count.split_whitespace().rev().nth(1)?.parse::<usize>().ok()
    });
    assert_eq!(logged + dropped.sum::<usize>(), sent);
}

#[test]
fn a_full_disk_and_an_unread_output_are_counted_and_block_nothing() {
    let folder = folder(10, &[]);
    symlink("/dev/full", folder.path().join("full")).unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = chainview(folder.path());
    command.args(["--node", "--audit", "-", "-q"]).stdout(writer);
    let running = Running::start(&mut command);
    drop(command);
    let mut read = BufReader::new(reader);
    let mut first = String::new();
    read.read_line(&mut first).unwrap();
    let mut unread = Node { running, address: first.trim_end().strip_prefix("listening ").unwrap().to_owned() };
    let full = Node::start(chainview(folder.path()), "--audit full --log full.log");
    let name = "x".repeat(1000);
    let dropped = |node: &Node| counter(&get(node, "/metrics", ""), "chainview_audit_lines_dropped_total");
    for _ in 0..3 {
        assert!(get(&full, &format!("/files/{name}"), "").starts_with("HTTP/1.1 404"));
    }
    until("three lost lines", || dropped(&full) == 3);
    until("one line of the log", || {
        let log = fs::read_to_string(folder.path().join("full.log")).unwrap();
        log.matches("ERROR full: cannot write audit lines: no space left on device").count() == 1
    });
    // The pipe holds 64 KiB, the queue 8 MiB.
    let mut stream = BufReader::new(TcpStream::connect(&unread.address).unwrap());
    let request = format!("HEAD /files/{name} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut requests = 0;
    while dropped(&unread) == 0 {
        for _ in 0..1000 {
            send_head_request(&mut stream, &request);
        }
        requests += 1000;
        assert!(requests < 100_000);
    }
    assert!(unread.is_healthy());
    // Once it is read again, a line stands for those that are missing.
    let mut seen = 0;
    for line in (&mut read).lines() {
        let entry: Value = serde_json::from_str(&line.unwrap()).unwrap();
        match entry["dropped"].as_u64() {
            Some(dropped) => {
                assert_eq!(seen + dropped, requests);
                break;
            }
            None => seen += 1,
        }
    }
    unread.running.signal(Signal::TERM);
    assert!(unread.running.ends("SIGTERM").success());
}

#[test]
fn an_encrypted_request_has_its_name_and_hides_its_query() {
    let folder = folder(10, &[]);
    assert!(chainview(folder.path()).args(["--new-key", "key"]).output().unwrap().status.success());
    let node = Node::start(chainview(folder.path()), "--identity key --audit a.jsonl --log l.log -v");
    let url = format!("https://{}/files/data.bin?sig=query-secret", node.address);
    let read = Command::new("curl").args(["-sSk", "-m", "20", &url]).output().unwrap();
    assert_eq!(read.stdout, [7; 10], "{}", String::from_utf8_lossy(&read.stderr));
    let file = folder.path().join("a.jsonl");
    line(&file, &serde_json::json!({ "name": "data.bin?…", "bytes": 10, "ended": "complete" }));
    let log = || fs::read_to_string(folder.path().join("l.log")).unwrap();
    until("a line of the log", || log().contains("name=\"(encrypted)\""));
    assert!(!log().contains("secret") && !fs::read_to_string(file).unwrap().contains("secret"));
}

#[test]
fn clients_without_a_request_have_few_lines_a_second() {
    let folder = folder(10, &[]);
    let node = Node::start(chainview(folder.path()), "--audit a.jsonl -q");
    let file = folder.path().join("a.jsonl");
    let began = Instant::now();
    let sent = 300;
    for _ in 0..sent {
        assert!(node.send_request("BREW /pot HTTP/1.1\r\nno field\r\n\r\n").starts_with("HTTP/1.1 400"));
    }
    let seconds = began.elapsed().as_secs() + 2;
    let count = || {
        let entries = entries(&file);
        let dropped: u64 = entries.iter().filter_map(|entry| entry["dropped"].as_u64()).sum();
        let refused = entries.iter().filter(|entry| entry["ended"] == "refused").count() as u64;
        (refused, dropped)
    };
    until("a line or a count for each", || count().0 + count().1 == sent);
    assert!((50..=50 * seconds).contains(&count().0), "{:?} in {seconds} s", count());
    // A request has its line whatever others send.
    get(&node, "/files/data.bin", "");
    line(&file, &serde_json::json!({ "name": "data.bin", "ended": "complete" }));
}

#[test]
fn standard_output_gets_the_lines_after_the_address() {
    let folder = folder(10, &[]);
    let mut command = chainview(folder.path());
    command.args(["--node", "--audit", "-", "-q"]).stdout(Stdio::piped());
    let mut running = Running::start(&mut command);
    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let node = Node { running, address: first.strip_prefix("listening ").unwrap().to_owned() };
    get(&node, "/files/data.bin", "");
    let entry: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!((&entry["name"], &entry["bytes"]), (&"data.bin".into(), &10.into()));
}

#[test]
fn an_audit_file_that_cannot_be_opened_stops_the_node() {
    let folder = folder(10, &[]);
    let run = chainview(folder.path()).args(["--node", "--audit", "none/a.jsonl"]).output().unwrap();
    assert_eq!(run.status.code(), Some(7));
    let text = String::from_utf8(run.stderr).unwrap();
    assert!(text.contains("none/a.jsonl: cannot write audit lines to it: no such file or directory"), "{text}");
    let run = chainview(folder.path()).args(["--fetch", "--audit", "a.jsonl"]).output().unwrap();
    assert_eq!(run.status.code(), Some(2));
}

#[test]
fn the_summary_adds_up_who_requested_how_much() {
    let folder = folder(2000, &[]);
    let path = folder.path().join("a.jsonl");
    let mut node = Node::start(chainview(folder.path()), "--audit a.jsonl --host-name known");
    for _ in 0..3 {
        get(&node, "/files/data.bin", "");
    }
    get(&node, "/files/none", "");
    node.send_request("GET /files/data.bin HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n");
    node.running.signal(Signal::TERM);
    assert!(node.running.ends("SIGTERM").success());
    // As after a crash in the middle of a line, and with a line that is no audit line and longer than any.
    let mut text = vec![b'x'; 200_000];
    text.extend_from_slice(b"\n");
    text.extend_from_slice(&fs::read(&path).unwrap());
    text.extend_from_slice(b"{\"time\":\"2026-11-");
    fs::write(&path, &text).unwrap();
    let summary = |args: &[&str], input: Stdio| chainview(folder.path()).args(args).stdin(input).output().unwrap();
    let read = summary(&["--audit-summary", "a.jsonl"], Stdio::null());
    let printed = String::from_utf8(read.stdout).unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let rows: Vec<Vec<&str>> = printed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["client", "requests", "refused", "bytes", "first", "last"]);
    assert_eq!(rows[1][..5], ["127.0.0.1", "5", "1", "6.0", "KB"]);
    assert_eq!(rows[2][..5], ["total", "5", "1", "6.0", "KB"]);
    assert!(printed.contains("\n1 line not understood, the first is line 1\n"), "{printed}");
    assert!(printed.ends_with("the last line is incomplete: its node was killed, or is writing it\n"), "{printed}");
    let piped = summary(&["--audit-summary", "-"], fs::File::open(&path).unwrap().into());
    assert_eq!(String::from_utf8(piped.stdout).unwrap(), printed);
    for (file, expected) in [("data.bin", "data.bin: no line of it is of an audit"), ("none", "none: no such file")] {
        let failed = summary(&["--audit-summary", file], Stdio::null());
        let text = String::from_utf8(failed.stderr).unwrap();
        assert!(failed.status.code() == Some(3) && text.contains(expected), "{text}");
    }
    assert_eq!(summary(&["--audit-summary", "a.jsonl", "--fetch"], Stdio::null()).status.code(), Some(2));
}
