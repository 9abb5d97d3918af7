//! A folder of very many files as a stream: the memory of the node, and its time.

use crate::support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use support::process::Node;

/// Files in the one directory, and in the full run.
const FILES: usize = 20_000;
const FULL: usize = 1_000_000;
/// Most memory that both walks and the stream take, in kB.
const MAX_MEMORY: u64 = 24 << 10;
/// Far longer than a walk takes with a debug build on a loaded machine.
const TIMEOUT: Duration = Duration::from_mins(5);

/// Sends a request for a tar stream; returns the announced length, and the bytes behind the head.
fn request(address: SocketAddr, method: &str, path: &str) -> (u64, u64) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/x-tar\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut reply = Vec::new();
    let mut buffer = vec![0; 1 << 20];
    let end = loop {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&reply));
        reply.extend_from_slice(&buffer[..read]);
        let heads = String::from_utf8_lossy(&reply).into_owned();
        if let Some(last) =
            heads.find("HTTP/1.1 200").and_then(|start| Some(start + heads[start..].find("\r\n\r\n")? + 4))
        {
            break last;
        }
    };
    let heads = String::from_utf8_lossy(&reply[..end]).into_owned();
    let length = heads.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap().parse().unwrap();
    let mut body = (reply.len() - end) as u64;
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => return (length, body),
            read => body += read as u64,
        }
    }
}

fn peak_memory(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid().as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim_end_matches("kB").trim().parse().unwrap()
}

#[test]
fn a_directory_of_many_names_takes_little_memory() {
    let files = if std::env::var("CHAINVIEW_FAULTS").is_ok_and(|value| value == "full") { FULL } else { FILES };
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("d")).unwrap();
    for number in 0..files {
        File::create(root.path().join(format!("d/name-{number:07}"))).unwrap();
    }
    let node = Node::chainview(root.path(), &[]);
    let idle = peak_memory(&node);
    let began = Instant::now();
    let (length, _) = request(node.address(), "HEAD", "/files/d/");
    let (walked, walk_memory) = (began.elapsed(), peak_memory(&node));
    let began = Instant::now();
    let (announced, received) = request(node.address(), "GET", "/files/d/");
    let memory = peak_memory(&node);
    println!("one walk {walked:?}, both {:?}; {length} bytes", began.elapsed());
    println!("{idle} kB idle, {walk_memory} kB after a walk, {memory} kB after the stream");
    assert_eq!((announced, received), (length, length));
    assert!(memory - idle < MAX_MEMORY, "{memory} kB");
}
