//! Signals: those ignored at the start stay ignored, and death by a signal looks like one.

use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};

use rustix::process::{Signal, kill_process_group};

use super::{Node, Running, by_shell, chainview, folder, in_folder, input, until};

/// More than a fetch keeps without a name until it is complete.
const LARGE: usize = 4_000_000;

/// An endless fetch that has begun: its first line is logged.
fn slow_fetch(mut command: Command, root: &std::path::Path) -> (Node, Running) {
    let node = Node::start(chainview(root), "--limit 10K -q");
    input(root, &[&node.address]);
    command.args(["--fetch", "-o", "out"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = Running::start(&mut command);
    let mut line = String::new();
    let mut stderr = BufReader::new(running.0.stderr.take().unwrap());
    stderr.read_line(&mut line).unwrap();
    assert_eq!(line, "data.bin: requested\n");
    std::thread::spawn(move || stderr.lines().count());
    (node, running)
}

#[test]
fn a_node_under_nohup_or_in_a_script_keeps_running() {
    let folder = folder(10, &[]);
    let mut node = Node::start(by_shell(folder.path(), "trap '' HUP INT QUIT TERM"), "-q");
    for signal in [Signal::HUP, Signal::INT, Signal::QUIT] {
        assert!(node.running.ignores(signal), "{signal:?}");
        node.running.signal(signal);
    }
    assert!(node.is_healthy());
    // SIGTERM always applies.
    node.running.signal(Signal::TERM);
    assert!(node.running.ends("SIGTERM").success());
    let node = Node::start(chainview(folder.path()), "-q");
    assert!(!node.running.ignores(Signal::HUP) && !node.running.ignores(Signal::INT));
}

#[test]
fn a_fetch_under_nohup_keeps_running() {
    let folder = folder(1_000_000, &[]);
    let (_node, mut fetch) = slow_fetch(by_shell(folder.path(), "trap '' HUP INT"), folder.path());
    assert!(fetch.ignores(Signal::HUP) && fetch.ignores(Signal::INT));
    fetch.signal(Signal::TERM);
    assert_eq!(fetch.ends("SIGTERM").signal(), Some(15));
}

#[test]
fn a_fetch_ends_by_its_signal_and_keeps_the_partial_file() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let folder = folder(LARGE, &[]);
        let (_node, mut fetch) = slow_fetch(chainview(folder.path()), folder.path());
        until("the first bytes", || folder.path().join("out/data.bin.part").exists());
        fetch.signal(signal);
        let status = fetch.ends("the signal");
        assert_eq!((status.code(), status.signal()), (None, Some(signal.as_raw())), "{signal:?}");
        assert!(folder.path().join("out/data.bin.part").exists());
    }
}

#[test]
fn ctrl_c_ends_the_loop_of_a_script_too() {
    // Not every system has it, and a shell that ends at the first ctrl-c whatever its child does tests nothing.
    if !std::path::Path::new("/bin/bash").exists() {
        return println!("SKIPPED: there is no bash");
    }
    let folder = folder(LARGE, &[]);
    let node = Node::start(chainview(folder.path()), "--limit 10K -q");
    input(folder.path(), &[&node.address]);
    let script = "for i in 1 2 3; do echo $i; \"$0\" --fetch -o out --force; done";
    let mut shell = in_folder(Command::new("/bin/bash"), folder.path());
    shell.args(["-c", script, env!("CARGO_BIN_EXE_chainview")]).process_group(0);
    let mut shell = Running::start(shell.stdout(Stdio::piped()).stderr(Stdio::null()));
    let rounds = BufReader::new(shell.0.stdout.take().unwrap()).lines();
    until("the first bytes", || folder.path().join("out/data.bin.part").exists());
    kill_process_group(shell.pid(), Signal::INT).unwrap();
    assert_eq!(shell.ends("ctrl-c").signal(), Some(2));
    assert_eq!(rounds.map(Result::unwrap).collect::<Vec<_>>(), ["1"]);
}

#[test]
fn a_shell_sees_128_plus_the_signal() {
    let folder = folder(LARGE, &[]);
    let node = Node::start(chainview(folder.path()), "--limit 10K -q");
    input(folder.path(), &[&node.address]);
    let script = "\"$0\" --fetch -o out & i=0; \
                  while ! test -e out/data.bin.part; do i=$((i+1)); test $i = 2000 && exit 1; sleep 0.01; done; \
                  kill -$1 $!; wait $!; echo $?";
    for (signal, code) in [("TERM", "143\n"), ("HUP", "129\n")] {
        let mut shell = in_folder(Command::new("/bin/sh"), folder.path());
        shell.args(["-c", script, env!("CARGO_BIN_EXE_chainview"), signal]).stderr(Stdio::null());
        assert_eq!(String::from_utf8(shell.output().unwrap().stdout).unwrap(), code);
    }
}

/// A hangup without a terminal reloads a service; that one has nothing to reload.
#[test]
fn a_node_without_a_terminal_survives_hangups_and_log_rotation() {
    let folder = folder(10, &[]);
    let mut command = chainview(folder.path());
    // Outside the tester's session, and so without a terminal.
    command = {
        let mut away = in_folder(Command::new("setsid"), folder.path());
        away.args(["--wait"]).arg(command.get_program());
        away
    };
    let node = Node::start(command, "-q");
    let pid = node_of(&node);
    for signal in [Signal::HUP, Signal::USR1] {
        rustix::process::kill_process(pid, signal).unwrap();
        assert!(node.is_healthy(), "{signal:?}");
    }
    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    let mut node = node;
    assert!(node.running.ends("SIGTERM").success());
}

/// The program itself, if it runs below a wrapper.
fn node_of(node: &Node) -> rustix::process::Pid {
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", node.running.0.id())).unwrap();
    let own = node.running.0.id().to_string();
    let pid = children.split_whitespace().next().unwrap_or(&own).parse().unwrap();
    rustix::process::Pid::from_raw(pid).unwrap()
}
