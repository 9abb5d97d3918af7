//! The demo's tour in a terminal: every act is named, and nothing is left of it however it ends.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use super::terminal::{TIMEOUT, Terminal, all_ended, chainview};

/// Titles of the acts.
const ACTS: [&str; 4] = ["Rate limit", "Slow processor", "Long link", "Killed hop"];
/// Time in which nodes end after the program was killed.
const ENDING: Duration = Duration::from_secs(5);

/// The demo, with its temporary folder inside this one.
fn demo(folder: &Path, flags: &str) -> Terminal {
    let mut command = chainview(folder, &format!("--demo {flags}"));
    command.env("TMPDIR", folder);
    Terminal::start(command, 120, 40)
}

/// Waits until an act, from 1, is shown and its cause named.
fn named(terminal: &Terminal, act: usize) {
    terminal.shows(&[&format!("Demo {act}/4 {}: ", ACTS[act - 1]), "named after "]);
}

/// Skips to an act, from 1.
fn skip_to(terminal: &mut Terminal, act: usize) {
    terminal.shows(&["Demo 1/4"]);
    for next in 2..=act {
        terminal.keys("T");
        terminal.shows(&[&format!("Demo {next}/4")]);
    }
}

#[test]
fn every_act_is_named_and_the_summary_says_how() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = demo(folder.path(), "");
    for act in 1..=3 {
        named(&terminal, act);
        terminal.keys("T");
    }
    terminal.shows(&["Demo 4/4", "hop 2 was killed"]);
    named(&terminal, 4);
    // The rest of a file at a limited rate comes before it, which alone takes half of the usual time.
    let over = |screen: &vt100::Screen| screen.contents().contains("Demo over: 4 of 4 causes named");
    terminal.within(3 * TIMEOUT, "the summary", over);
    for (title, text) in ACTS.into_iter().zip([
        "is the bottleneck: rate limit 4.0 MB/s",
        "is the bottleneck: its processor",
        "the link from hop 3 to hop 2",
        "hop 2 down; resumed at ",
    ]) {
        let screen = terminal.shows(&[text]);
        assert!(screen.lines().any(|line| line.contains(title) && line.contains(text)), "{title}: {text}\n{screen}");
    }
    // The chain is one for the user now: fast, and all up.
    terminal.keys("f");
    terminal.shows(&["3/3 up", "demo.bin", "verified", "f fetch"]);
    terminal.keys("\x14");
    terminal.until("the summary is closed", |screen| !screen.contents().contains("Demo over"));
    terminal.keys("T");
    terminal.shows(&["Demo 1/4"]);
    terminal.keys("\x14");
    terminal.until("the tour is stopped", |screen| !screen.contents().contains("Demo 1/4"));
    terminal.keys("T");
    named(&terminal, 1);
}

#[test]
fn keys_of_the_captions_end_the_causes() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = demo(folder.path(), "");
    named(&terminal, 1);
    terminal.shows(&["now you: ! then 0 removes the limit"]);
    terminal.keys("!0");
    terminal.shows(&["the limit of hop 2 is gone"]);
    terminal.keys("\x1b");
    terminal.until("the list is closed", |screen| !screen.contents().contains("Faults of hop 2"));
    terminal.keys("T");
    named(&terminal, 2);
    terminal.shows(&["now you: R twice restarts hop 1"]);
    terminal.keys("RR");
    terminal.shows(&["hop 1 is a new process"]);
    terminal.keys("T");
    named(&terminal, 3);
    terminal.shows(&["now you: f fetches without that link"]);
    terminal.keys("f");
    terminal.shows(&["demo.bin", "tour-", "Demo 3/4"]);
    terminal.keys("T");
    terminal.shows(&["now you: u starts it now"]);
    terminal.keys("u");
    terminal.shows(&["3/3 up", "verified", "Demo over: 4 of 4 causes named"]);
}

#[test]
fn quitting_in_any_act_leaves_no_process_and_no_file() {
    for act in 1..=4 {
        let folder = tempfile::tempdir().unwrap();
        let mut terminal = demo(folder.path(), "");
        skip_to(&mut terminal, act);
        terminal.shows(&["1 running"]);
        let nodes = terminal.children();
        terminal.keys("qq");
        assert_eq!(terminal.ends(ENDING).exit_code(), 0, "act {act}");
        assert!(all_ended(&nodes, Duration::ZERO), "act {act}: nodes outlive the dashboard");
        assert!(nothing_left(folder.path()), "act {act}");
        terminal.is_given_back();
    }
}

#[test]
fn a_stopped_node_ends_even_if_the_program_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = demo(folder.path(), "");
    skip_to(&mut terminal, 2);
    named(&terminal, 2);
    let nodes = terminal.children();
    assert_eq!(nodes.len(), 3);
    terminal.signal(Signal::KILL);
    terminal.ends(ENDING);
    assert!(all_ended(&nodes, ENDING), "nodes outlive the dashboard");
}

#[test]
fn faults_of_the_user_are_the_demo() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = demo(folder.path(), "--limit 3=9M");
    terminal.shows(&["is the bottleneck: rate limit 9.0 MB/s"]);
    terminal.keys("T");
    let screen = terminal.shows(&["only the demo without limits has a tour"]);
    assert!(!screen.contains("Demo 1/4"), "{screen}");
}

fn nothing_left(folder: &Path) -> bool {
    fs::read_dir(folder)
        .unwrap()
        .all(|entry| !entry.unwrap().file_name().to_string_lossy().starts_with("chainview-demo"))
}
