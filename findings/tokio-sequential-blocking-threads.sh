#!/usr/bin/env bash
# tokio 1.54.1: blocking tasks that are awaited one after the other do not share one thread.
#
# A task's result is delivered before its thread counts as idle. Code that awaits it and at once spawns the next task
# finds no idle thread, and the runtime starts another one, up to max_blocking_threads (512). So a program that never has
# more than one blocking task pays for several threads, with their stacks and allocator arenas. With
# max_blocking_threads(1) the task is queued for the thread that is about to be idle, and no slower.
#
# Seen on Linux 6.18, 2 processors, rustc 1.95, 2,000 tasks in sequence on a current-thread runtime:
#   default: 2 threads or more; max_blocking_threads(1): 1 thread
#
# Needs cargo and at least two processors. Fails if this has changed.
set -euo pipefail
[ "$(nproc)" -ge 2 ] || { echo "two processors are needed" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat >"$folder/Cargo.toml" <<'TOML'
[package]
name = "sequence"
version = "0.0.0"
edition = "2024"

[dependencies]
tokio = { version = "=1.54.1", features = ["rt"] }
TOML
cat >"$folder/src/main.rs" <<'RUST'
use std::collections::HashSet;
use std::thread;
use tokio::runtime::Builder;
use tokio::task::spawn_blocking;

fn threads(builder: &mut Builder) -> usize {
    builder.build().unwrap().block_on(async {
        let mut seen = HashSet::new();
        for _ in 0..2000 {
            seen.insert(spawn_blocking(|| thread::current().id()).await.unwrap());
        }
        seen.len()
    })
}

fn main() {
    let default = threads(&mut Builder::new_current_thread());
    let limited = threads(Builder::new_current_thread().max_blocking_threads(1));
    println!("threads for 2,000 tasks in sequence: default {default}, max_blocking_threads(1) {limited}");
    std::process::exit(i32::from(default < 2 || limited != 1));
}
RUST
cargo run -q --release --manifest-path "$folder/Cargo.toml" --target-dir "$folder/target"
