//! The user's command at the end of a transfer: its variables, its output, its limits, and that it is never a shell.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

use chainview::on_done::{DoneReport, OnDone};
use chainview::options::DoneCommand;
use chainview::snapshot::{Level, TransferSnapshot};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::free::Chain;
use crate::support::process::{Node, chainview};
use crate::support::terminal::{Terminal, all_ended, is_running};

/// A file name that is several commands where it is not one word.
const HOSTILE: &str = "a b;touch pwned $(touch pwned)'\"`touch pwned`.bin";

/// A node, an input file, and a script that writes its variables and arguments to `told`.
fn scene(name: &str) -> (TempDir, Node) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("root")).unwrap();
    fs::write(folder.path().join("root").join(name), vec![7; 100_000]).unwrap();
    let node = Node::chainview(&folder.path().join("root"), &[]);
    fs::write(folder.path().join("input.txt"), format!("{name}\n{}\n", node.address())).unwrap();
    script(folder.path(), "told.sh", "env -0 > told; printf '%s,' \"$@\" > words; echo out; echo err >&2; exit 3");
    (folder, node)
}

fn script(folder: &Path, name: &str, body: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(folder.join(name), format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
}

fn run(folder: &TempDir, flags: &[&str]) -> Output {
    chainview().current_dir(folder.path()).args(flags).output().unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A variable that the script had.
fn told(folder: &TempDir, name: &str) -> String {
    let all = String::from_utf8(fs::read(folder.path().join("told")).unwrap()).unwrap();
    let prefix = format!("CHAINVIEW_DONE_{name}=");
    all.split('\0')
        .find_map(|one| one.strip_prefix(&prefix))
        .unwrap_or_else(|| panic!("no {name} in {all:?}"))
        .to_owned()
}

#[test]
fn a_success_is_in_variables_and_a_hostile_name_stays_one() {
    let (folder, _node) = scene(HOSTILE);
    let output = run(&folder, &["--fetch", "-o", "out/", "--on-done", "./told.sh 'two words' $HOME;x"]);
    assert_eq!(output.status.code(), Some(0), "the command's own status does not count: {}", err(&output));
    assert_eq!(told(&folder, "STATUS"), "done");
    assert_eq!(told(&folder, "FILE"), HOSTILE);
    assert_eq!(
        told(&folder, "PATH"),
        folder.path().canonicalize().unwrap().join("out").join(HOSTILE).to_str().unwrap()
    );
    assert_eq!((told(&folder, "BYTES"), told(&folder, "EXIT_CODE")), ("100000".to_owned(), "0".to_owned()));
    assert!(told(&folder, "SECONDS").parse::<f64>().is_ok_and(|seconds| seconds < 20.0));
    assert!(told(&folder, "DIGEST").starts_with("blake3:"));
    assert_eq!((told(&folder, "HOP"), told(&folder, "ERROR")), (String::new(), String::new()));
    assert_eq!(fs::read_to_string(folder.path().join("words")).unwrap(), "two words,$HOME;x,", "no shell");
    assert!(!folder.path().join("pwned").exists());
    let text = err(&output);
    assert!(text.contains("on-done: out\n") && text.contains("on-done: err\n"), "{text}");
    assert!(text.contains("on-done: ended with exit status: 3"), "{text}");
}

#[test]
fn a_folder_has_counts() {
    let (folder, node) = scene("data.bin");
    let served = folder.path().join("root");
    for path in ["d/a", "d/b", "d/c"] {
        fs::create_dir_all(served.join("d")).unwrap();
        fs::write(served.join(path), path).unwrap();
    }
    fs::create_dir_all(folder.path().join("out/d")).unwrap();
    fs::write(folder.path().join("out/d/b"), "other content").unwrap();
    fs::write(folder.path().join("input.txt"), format!("d/\n{}\n", node.address())).unwrap();
    let output = run(&folder, &["--fetch", "-o", "out/", "--on-done", "./told.sh"]);
    assert_eq!((told(&folder, "FILES"), told(&folder, "FAILED")), ("2".to_owned(), "1".to_owned()), "{}", err(&output));
    assert_eq!(told(&folder, "STATUS"), "failed");
}

#[test]
fn a_failure_names_the_hop_and_the_exit_code() {
    let (folder, node) = scene("data.bin");
    fs::write(folder.path().join("input.txt"), format!("none.bin\n{}\n", node.address())).unwrap();
    let output = run(&folder, &["--fetch", "--on-done", "./told.sh"]);
    assert_eq!(output.status.code(), Some(4), "{}", err(&output));
    assert_eq!((told(&folder, "STATUS"), told(&folder, "HOP")), ("failed".to_owned(), "1".to_owned()));
    assert_eq!((told(&folder, "EXIT_CODE"), told(&folder, "PATH")), ("4".to_owned(), String::new()));
    assert!(told(&folder, "ERROR").contains("none.bin"));
}

#[test]
fn bad_commands_are_usage_errors_and_a_command_does_not_start_itself() {
    let (folder, _node) = scene("data.bin");
    for (command, expected) in [
        ("./none.sh", "\"./none.sh\" is no program that can be run"),
        ("./input.txt", "\"./input.txt\" is no program that can be run"),
        ("chainview-has-no-such-program x", "there is no program \"chainview-has-no-such-program\" in PATH"),
        ("'./told.sh", "has a quote that is not closed"),
        (" ", "write a program"),
    ] {
        let output = run(&folder, &["--fetch", "--on-done", command]);
        assert_eq!(output.status.code(), Some(2), "{command}: {}", err(&output));
        assert!(err(&output).contains(expected), "{command}: {}", err(&output));
    }
    let output = run(&folder, &["--check", "--on-done", "./told.sh"]);
    assert!(err(&output).contains("--on-done has no meaning for --check"), "{}", err(&output));
    let within = chainview()
        .current_dir(folder.path())
        .args(["--fetch"])
        .env("CHAINVIEW_ON_DONE", "./told.sh")
        .env("CHAINVIEW_DONE_STATUS", "done")
        .output()
        .unwrap();
    assert_eq!((within.status.code(), folder.path().join("told").exists()), (Some(0), false));
    assert!(!err(&within).contains("not a setting"), "{}", err(&within));
}

/// Runs a script with a time limit, beside an other future.
fn limited(folder: &TempDir, limit: Duration) -> OnDone {
    OnDone::new(DoneCommand { program: folder.path().join("hang.sh"), args: Vec::new() }, limit)
}

fn report() -> DoneReport {
    let snapshot = TransferSnapshot::default();
    DoneReport { file: "x".into(), path: None, error: None, snapshot, verdict: None }
}

fn pids(folder: &TempDir) -> Vec<Pid> {
    let text = fs::read_to_string(folder.path().join("pids")).unwrap_or_default();
    text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?)).collect()
}

fn hanging() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let body = "cd \"$(dirname \"$0\")\"; sleep 300 & echo $! >> pids; echo $$ >> pids; echo begun; wait";
    script(folder.path(), "hang.sh", body);
    folder
}

#[tokio::test]
async fn a_hanging_command_is_killed_with_its_children_and_its_output_kept() {
    let folder = hanging();
    let on_done = limited(&folder, Duration::from_millis(500));
    let lines = on_done.run(&report()).await;
    assert_eq!(lines[0], (Level::Info, "on-done: begun".to_owned()));
    assert_eq!(lines[1], (Level::Warn, "on-done: killed after 500 ms".to_owned()));
    assert_eq!(pids(&folder).len(), 2);
    assert!(all_ended(&pids(&folder), Duration::from_secs(5)));
}

#[tokio::test]
async fn closing_kills_what_runs_and_starts_no_more() {
    let folder = hanging();
    let on_done = limited(&folder, Duration::from_mins(1));
    let all: Vec<_> = (0..6)
        .map(|_| {
            let on_done = on_done.clone();
            tokio::spawn(async move { on_done.run(&report()).await })
        })
        .collect();
    let begun = Instant::now();
    while pids(&folder).len() < 8 {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", pids(&folder));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    on_done.close();
    for one in all {
        one.await.unwrap();
    }
    assert_eq!(pids(&folder).len(), 8, "four at most run at once, and no further one is started");
    assert!(all_ended(&pids(&folder), Duration::from_secs(5)));
}

#[test]
fn the_dashboard_runs_it_waits_for_it_and_a_signal_kills_it() {
    let chain = Chain::new(1, 100_000);
    let folder = chain.folder.path();
    script(folder, "slow.sh", "echo $$ > pids; echo begun $CHAINVIEW_DONE_STATUS; sleep ${SLOW:-1}; echo ended");
    let start = |slow: &str| {
        let mut command = crate::support::terminal::chainview(folder, "-o out --force --on-done ./slow.sh -n 1");
        command.env("SLOW", slow);
        let mut terminal = Terminal::start(command, 120, 40);
        terminal.shows(&["1/1 up", "LIVE"]);
        terminal.keys("f");
        terminal.shows(&["1 done"]);
        terminal
    };
    let mut terminal = start("0");
    terminal.keys("5");
    terminal.shows(&["on-done: begun done", "on-done: ended"]);
    terminal.keys("q");
    assert_eq!(terminal.ends(Duration::from_secs(5)).exit_code(), 0);

    // Quitting right after the end of a transfer loses neither the command nor its output.
    let mut terminal = start("2");
    terminal.keys("q");
    assert_eq!(terminal.ends(Duration::from_secs(20)).exit_code(), 0);
    terminal.shows(&["on-done: begun done", "on-done: ended", "1 done"]);
    terminal.is_given_back();

    let _ = fs::remove_file(folder.join("pids"));
    let mut terminal = start("300");
    let begun = Instant::now();
    let pid = loop {
        let text = fs::read_to_string(folder.join("pids")).unwrap_or_default();
        if let Some(pid) = text.trim().parse().ok().and_then(Pid::from_raw) {
            break pid;
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(is_running(pid));
    terminal.keys("q");
    terminal.shows(&["waiting for the --on-done command"]);
    terminal.signal(Signal::INT);
    terminal.ends(Duration::from_secs(5));
    assert!(all_ended(&[pid], Duration::from_secs(5)), "the command outlives the program");
    let _ = kill_process(pid, Signal::KILL);
}
