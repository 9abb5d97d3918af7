//! The log: it never blocks the program, it can be rotated, and it records each request.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::Instant;

use rustix::process::Signal;

use super::{Node, Running, chainview, counter, folder, full_pipe, input, until};

#[test]
fn a_node_with_an_unread_log_serves_and_shuts_down() {
    let folder = folder(10, &[]);
    let (_unread, stderr) = full_pipe();
    let mut command = chainview(folder.path());
    command.stderr(stderr);
    let mut node = Node::start(command, "-vv");
    for _ in 0..2000 {
        let reply = node.send_request("GET /files/none HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert!(reply.starts_with("HTTP/1.1 404"), "{reply}");
    }
    assert!(node.is_healthy());
    let metrics = node.send_request("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let dropped = counter(&metrics, "chainview_log_lines_dropped_total");
    assert!(dropped > 100, "{dropped}");
    node.running.signal(Signal::TERM);
    assert!(node.running.ends("SIGTERM, with the pipe still full").success());
}

#[test]
fn fetches_and_checks_do_not_wait_for_log_readers() {
    let folder = folder(100_000, &["127.0.0.1 1"]);
    for (line, code) in [("--fetch -o out", 5), ("--check", 5)] {
        let (_unread, stderr) = full_pipe();
        let mut run = Running::start(chainview(folder.path()).args(line.split(' ')).stderr(stderr));
        assert_eq!(run.ends(line).code(), Some(code), "{line}");
    }
    let node = Node::start(chainview(folder.path()), "-q");
    input(folder.path(), &[&node.address]);
    let (_unread, stderr) = full_pipe();
    let command = &mut chainview(folder.path());
    let mut run = Running::start(command.args(["--fetch", "-o", "out"]).stdout(Stdio::null()).stderr(stderr));
    assert!(run.ends("a fetch").success());
    assert!(folder.path().join("out/data.bin").exists());
}

#[test]
fn log_lines_caused_by_clients_are_limited_and_counted() {
    let folder = folder(5_000_000, &[]);
    let mut command = chainview(folder.path());
    command.stderr(Stdio::piped());
    let mut node = Node::start(command, "");
    let log = BufReader::new(node.running.0.stderr.take().unwrap());
    let began = Instant::now();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(&node.address).unwrap();
        stream.write_all(b"GET /files/data.bin HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        // The body has begun when the reader disconnects.
        stream.read_exact(&mut [0; 1000]).unwrap();
    }
    let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 2;
    node.running.signal(Signal::TERM);
    let lines: Vec<String> = log.lines().map(Result::unwrap).collect();
    let logged = lines.iter().filter(|line| line.contains("INFO data.bin for 127.0.0.1:")).count();
    assert!((50..=50 * seconds).contains(&logged), "{logged} lines in {seconds} s");
    let counts = lines.iter().filter_map(|line| {
        let (text, _) = line.split_once(" dropped: rate limit of one call site")?;
        text.split_whitespace().rev().nth(1)?.parse::<usize>().ok()
    });
    assert_eq!(logged + counts.sum::<usize>(), 300, "{lines:#?}");
    assert!(!lines.iter().any(|line| line.contains("request peer=")), "that takes -v");
}

#[test]
fn a_moved_log_file_is_reopened() {
    let folder = folder(10, &[]);
    let (log, moved) = (folder.path().join("l.log"), folder.path().join("l.log.1"));
    let node = Node::start(chainview(folder.path()), "-v --log l.log");
    for (signal, name) in [(Signal::HUP, "after-hup"), (Signal::USR1, "after-usr1")] {
        until("the log", || log.exists());
        fs::rename(&log, &moved).unwrap();
        node.running.signal(signal);
        until("a new log", || log.exists());
        node.send_request(&format!("GET /files/{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        until("a line in it", || fs::read_to_string(&log).unwrap().contains(name));
        assert!(!fs::read_to_string(&moved).unwrap().contains(name));
    }
}

#[test]
fn each_request_is_logged_with_client_name_and_outcome() {
    let folder = folder(300_000, &[]);
    let origin = Node::start(chainview(folder.path()), "-v --log origin.log");
    let relay = Node::start(chainview(folder.path()), "-v --log relay.log");
    input(folder.path(), &[&relay.address, &origin.address]);
    let fetch = |file: &str| chainview(folder.path()).args(["--fetch", "-o", "out", "--file", file]).output().unwrap();
    assert!(fetch("data.bin").status.success());
    assert_eq!(fetch("no such").status.code(), Some(4));
    fs::write(folder.path().join("input.txt"), format!("data.bin\n{}\n127.0.0.1 1\n", relay.address)).unwrap();
    assert_eq!(fetch("data.bin").status.code(), Some(5));
    let log = folder.path().join("relay.log");
    let line = |parts: &[&str]| {
        until(&format!("{parts:?}"), || {
            let log = fs::read_to_string(&log).unwrap();
            log.lines().any(|line| parts.iter().all(|part| line.contains(part)))
        });
    };
    let next = format!("next={}", origin.address);
    line(&[
        "DEBUG request peer=127.0.0.1:",
        "method=GET name=\"data.bin\"",
        &next,
        "status=200 bytes=300000",
        "complete",
    ]);
    line(&["DEBUG request", "name=\"no such\"", &next, "status=404 bytes=0", "no such file"]);
    line(&["DEBUG request", "next=127.0.0.1:1 status=502", "connection refused"]);
    line(&["WARN cannot connect to 127.0.0.1:1 for 127.0.0.1:", "connection refused"]);
    let log = fs::read_to_string(folder.path().join("origin.log")).unwrap();
    assert!(log.contains("next=origin status=200 bytes=300000"), "{log}");
}
