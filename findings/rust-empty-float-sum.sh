#!/usr/bin/env bash
# Rust's standard library, 1.95: the sum of no floats is -0.0, and "{:.1}" prints it as "-0.0".
#
# Iterator::sum for f64 starts from -0.0, the neutral element that keeps the sign of a sum of negative zeros. A total of an
# empty list, such as the time spent in steps that did not happen, is then shown with a minus sign; it equals 0.0 in every
# comparison, so that no test on the number finds it. Adding 0.0, or folding from 0.0, gives 0.0.
#
# Seen with rustc 1.95.0:
#   sum of none: -0.0, plus zero: 0.0, fold: 0.0, equal: true
#
# Needs rustc. Fails if this has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/sum.rs" <<'RUST'
fn main() {
    let none: [f64; 0] = [];
    let sum: f64 = none.iter().sum();
    let fold = none.iter().fold(0.0, |sum, value| sum + value);
    println!("sum of none: {sum:.1}, plus zero: {:.1}, fold: {fold:.1}, equal: {}", sum + 0.0, sum == 0.0);
}
RUST
rustc --edition 2024 -o "$folder/sum" "$folder/sum.rs"
seen=$("$folder/sum")
echo "$seen"
[ "$seen" = "sum of none: -0.0, plus zero: 0.0, fold: 0.0, equal: true" ]
