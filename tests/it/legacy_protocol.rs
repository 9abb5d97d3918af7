//! The legacy protocol between chainview and the legacy program: every combination of the two at every position of a
//! chain.
//!
//! `cargo test` runs every shape once. The full version, 20 times each, over every size and both readers:
//!
//! ```text
//! CHAINVIEW_MATRIX=full cargo test --release --test it legacy_protocol:: -- --nocapture
//! ```
//!
//! `CHAINVIEW_LEGACY_DIR=DIR` uses the legacy program itself (its `server.py` and `client.py` in DIR, run by python3)
//! instead of the stand-in; `CHAINVIEW_MATRIX_TIMES`, `CHAINVIEW_MATRIX_JOBS` and `CHAINVIEW_MATRIX_SHAPES` (such as
//! `o-C-o,C-o-o`) set how often, how many chains in parallel, and which.

use crate::support;

use std::env;

use support::Pace;
use support::matrix::{Plan, every_shape, run};

#[test]
fn every_mix_of_programs_delivers_over_the_legacy_protocol() {
    run(&plan("legacy", &[0, 1025, 65_536]));
}

#[test]
fn every_mix_of_programs_delivers_unmarked() {
    // The protocol of each hop is detected by a request: one size shows it, and detection costs a third of a second.
    run(&plan("auto", &[1025]));
}

fn plan(protocol: &'static str, sizes: &[usize]) -> Plan {
    let mut plan =
        Plan { shapes: every_shape(), sizes: sizes.to_vec(), paces: vec![Pace::Fast], times: 1, jobs: 16, protocol };
    if env::var("CHAINVIEW_MATRIX").is_ok_and(|value| value == "full") {
        plan.sizes = vec![0, 1, 1023, 1024, 1025, 3000, 65_536, 8 << 20];
        plan.paces = vec![Pace::Fast, Pace::Slow];
        plan.times = 20;
        plan.jobs = 8;
    }
    let number = |name| env::var(name).ok().and_then(|value| value.parse().ok());
    plan.times = number("CHAINVIEW_MATRIX_TIMES").unwrap_or(plan.times);
    plan.jobs = number("CHAINVIEW_MATRIX_JOBS").unwrap_or(plan.jobs);
    if let Ok(wanted) = env::var("CHAINVIEW_MATRIX_SHAPES") {
        plan.shapes.retain(|shape| wanted.split(',').any(|wanted| wanted == shape.to_string()));
    }
    plan
}
