#!/usr/bin/env bash
# indicatif 0.18.6: sizes and times are rounded after their unit is chosen, so that they reach the next unit in the old one.
#
# BinaryBytes and HumanBytes, which {bytes} and {total_bytes} of a template use, print the last byte below 1 MiB as
# "1024.00 KiB".
# HumanDuration and {eta} change to the larger unit only from one and a half of it on, and round to whole units: from 59
# minutes and 30 seconds until 1 hour and 29 minutes the time left reads "60 minutes" to "89 minutes", and from there
# "2 hours", which is up to half an hour too much.
#
# Seen with rustc 1.95:
#   1048575 bytes: 1024.00 KiB
#   3570 s: 60 minutes, 3600 s: 60 minutes, 5369 s: 89 minutes, 5370 s: 2 hours
#
# Needs cargo. Fails if this has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat >"$folder/Cargo.toml" <<'TOML'
[package]
name = "rounding"
version = "0.0.0"
edition = "2024"

[dependencies]
indicatif = { version = "=0.18.6", default-features = false }
TOML
cat >"$folder/src/main.rs" <<'RUST'
use indicatif::{BinaryBytes, HumanDuration};
use std::time::Duration;

fn main() {
    println!("1048575 bytes: {}", BinaryBytes(1_048_575));
    let times = [3570, 3600, 5369, 5370].map(|s| format!("{s} s: {}", HumanDuration(Duration::from_secs(s))));
    println!("{}", times.join(", "));
}
RUST
seen=$(cargo run --quiet --manifest-path "$folder/Cargo.toml")
echo "$seen"
[ "$seen" = '1048575 bytes: 1024.00 KiB
3570 s: 60 minutes, 3600 s: 60 minutes, 5369 s: 89 minutes, 5370 s: 2 hours' ]
