//! The same commands without a terminal: plain lines or one JSON document, and an exit without a key.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::free::Chain;

/// Runs the program with pipes instead of a terminal.
fn run(chain: &Chain, flags: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chainview"));
    command.env_clear().current_dir(chain.folder.path()).args(flags.split_whitespace());
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_dashboard_becomes_plain_lines() {
    let chain = Chain::new(3, 1_500_000);
    let output = run(&chain, "-o out --limit 2=1M");
    let message = text(&output.stderr) + &text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{message}");
    assert!(!message.contains('\x1b'), "{message}");
    for hop in 1..=3 {
        assert!(message.contains(&format!("hop {hop} ({}): started, process ", chain.address(hop))), "{message}");
        let record = message.lines().find(|line| line.trim_start().starts_with(&chain.address(hop)));
        let record = record.unwrap_or_else(|| panic!("hop {hop} has no record:\n{message}"));
        assert!(record.contains("1.5 MB out, ") && record.contains("/s; waited "), "{record}");
    }
    assert!(message.contains("slowest: hop 2, rate-limited to 1.0 MB/s"), "{message}");
    assert_eq!(std::fs::read(chain.fetched("data.bin")).unwrap(), chain.content);
}

#[test]
fn the_demo_ends_by_itself() {
    let chain = Chain::new(1, 10);
    let began = Instant::now();
    let output = run(&chain, "--demo");
    let message = text(&output.stderr) + &text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{message}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(message.contains("slowest: hop 2, rate-limited to 6.0 MB/s"), "{message}");
}

#[test]
fn the_demo_as_one_document() {
    let chain = Chain::new(1, 10);
    let output = run(&chain, "--demo --json");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let verdict = &report["transfers"][0]["verdict"];
    assert_eq!((&verdict["limit"], &verdict["hop"]), (&"rate-limit".into(), &2.into()), "{report}");
}

#[test]
fn warnings_of_nodes_are_logged() {
    let chain = Chain::new(2, 100_000);
    let output = run(&chain, "-o out --fault 2=truncate=1000 --retries 0");
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(6), "{message}");
    let warning = message.lines().find(|line| line.contains(" WARN hop 2: ")).unwrap_or_else(|| panic!("{message}"));
    assert!(warning.contains("truncate") || warning.contains("broken off"), "{warning}");
}
