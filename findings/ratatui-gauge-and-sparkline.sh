#!/usr/bin/env bash
# ratatui 0.30.2: a gauge says 100 % before it is full, a full one with an empty label has a hole, and a sparkline scales
# by values that it does not draw.
#
# Gauge and LineGauge round their default label, so that from a ratio of 0.995 on it reads "100%", which for a 10 GB file is
# up to 50 MB too early. Gauge leaves the cell at its center to the label even where the label is the empty string, so that
# a full gauge is not closed. Sparkline takes its scale from all of its data and draws the first values that fit, not the
# last ones: one large value beyond the right end makes everything that is shown disappear.
#
# Seen with rustc 1.95:
#   gauge 0.994: 99%, gauge 0.995: 100%
#   empty label: "█████ █████"
#   sparkline of 8 8 8 8 8 8 800 in 6 columns: "      ", without the 800: "██████"
#
# Needs cargo. Fails if this has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat >"$folder/Cargo.toml" <<'TOML'
[package]
name = "widgets"
version = "0.0.0"
edition = "2024"

[dependencies]
ratatui = { version = "=0.30.2", default-features = false }
TOML
cat >"$folder/src/main.rs" <<'RUST'
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Gauge, Sparkline, Widget};

fn line(widget: impl Widget, width: u16) -> String {
    let area = Rect::new(0, 0, width, 1);
    let mut buffer = Buffer::empty(area);
    widget.render(area, &mut buffer);
    buffer.content().iter().map(|cell| cell.symbol()).collect()
}

fn main() {
    let label = |ratio| line(Gauge::default().ratio(ratio), 20).replace(['█', ' '], "");
    println!("gauge 0.994: {}, gauge 0.995: {}", label(0.994), label(0.995));
    println!("empty label: {:?}", line(Gauge::default().ratio(1.0).label(""), 11));
    let bars = |data: &[u64]| line(Sparkline::default().data(data), 6);
    let steady = [8; 6];
    let burst = [8, 8, 8, 8, 8, 8, 800];
    println!("sparkline of 8 8 8 8 8 8 800 in 6 columns: {:?}, without the 800: {:?}", bars(&burst), bars(&steady));
}
RUST
seen=$(cargo run --quiet --manifest-path "$folder/Cargo.toml")
echo "$seen"
[ "$seen" = 'gauge 0.994: 99%, gauge 0.995: 100%
empty label: "█████ █████"
sparkline of 8 8 8 8 8 8 800 in 6 columns: "      ", without the 800: "██████"' ]
