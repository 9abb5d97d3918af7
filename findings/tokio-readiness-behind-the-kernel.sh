#!/usr/bin/env bash
# tokio 1.54.1: try_read says WouldBlock although bytes, or the peer's end, have arrived.
#
# It asks the kernel only if the socket is marked as readable, and the mark changes when the runtime polls for events, not
# when data arrives. After a task has read a socket to the last byte, try_read reports the state of the last poll. So it
# is no check that an idle connection is still open and silent. recv with MSG_PEEK and MSG_DONTWAIT on the same socket is
# one; after the runtime has polled for events, try_read sees the same.
#
# Seen on Linux 6.18, rustc 1.95, current-thread runtime, a peer that sends one byte or closes:
#   byte: try_read WouldBlock, recv 1, try_read after a turn 1
#   close: try_read WouldBlock, recv 0, try_read after a turn 0
#
# Needs cargo. Fails if this has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat >"$folder/Cargo.toml" <<'TOML'
[package]
name = "readiness"
version = "0.0.0"
edition = "2024"

[dependencies]
tokio = { version = "=1.54.1", features = ["rt", "net"] }
rustix = { version = "=1.1.4", features = ["net"] }
TOML
cat >"$folder/src/main.rs" <<'RUST'
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread::sleep;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};

/// Returns what try_read says, what the kernel says, and what try_read says after a turn of the runtime.
async fn look(closes: bool) -> [String; 3] {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (mut peer, _) = listener.accept().unwrap();
    ours.set_nonblocking(true).unwrap();
    let ours = tokio::net::TcpStream::from_std(ours).unwrap();
    let try_read = || match ours.try_read(&mut [0; 8]) {
        Ok(read) => read.to_string(),
        Err(error) => format!("{:?}", error.kind()),
    };
    // Reads to the last byte, so that the socket counts as not readable.
    peer.write_all(b"reply").unwrap();
    ours.readable().await.unwrap();
    assert_eq!((try_read().as_str(), try_read().as_str()), ("5", "WouldBlock"));
    if closes {
        drop(peer);
    } else {
        peer.write_all(b"!").unwrap();
    }
    // Loopback delivers in the call itself; this blocks the runtime, so that it does not poll for events meanwhile.
    sleep(Duration::from_millis(100));
    let first = try_read();
    let kernel = recv(&ours, &mut [0; 8], RecvFlags::PEEK | RecvFlags::DONTWAIT).map(|(read, _)| read.to_string());
    ours.readable().await.unwrap();
    [first, kernel.unwrap_or_else(|error| format!("{error}")), try_read()]
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let mut changed = false;
    for (label, closes, expected) in [("byte", false, "1"), ("close", true, "0")] {
        let [first, kernel, later] = runtime.block_on(look(closes));
        println!("{label}: try_read {first}, recv {kernel}, try_read after a turn {later}");
        changed |= [first.as_str(), &kernel, &later] != ["WouldBlock", expected, expected];
    }
    std::process::exit(i32::from(changed));
}
RUST
cargo run -q --release --manifest-path "$folder/Cargo.toml" --target-dir "$folder/target"
