//! Nodes of the dashboard: restarted, killed and restarted automatically, and those that the dashboard did not start.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::free::Chain;
use super::terminal::{TIMEOUT, Terminal, chainview, is_running};
use super::{quit, up};

/// The process that the table of nodes shows for a running hop.
fn pid_of(screen: &str, hop: &str) -> Option<Pid> {
    let row = screen.lines().find(|line| line.contains(hop) && line.contains(" up "))?;
    let digits = row.split_whitespace().skip_while(|word| *word != "up").nth(1)?;
    Pid::from_raw(digits.parse().ok()?)
}

/// The dashboard with hop 2 selected, and that hop's process.
fn second_hop_selected(chain: &Chain) -> (Terminal, Pid) {
    let mut terminal = up(chain, "", 120, 40);
    terminal.keys("4j");
    let screen = terminal.shows(&["Nodes", "R restart", "Hop 2 "]);
    let process = pid_of(&screen, &chain.address(2)).unwrap();
    (terminal, process)
}

#[test]
fn restart_restarts_the_selected_node() {
    let chain = Chain::new(3, 100_000);
    let hop = chain.address(2);
    let (mut terminal, old) = second_hop_selected(&chain);
    terminal.keys("R");
    terminal.shows(&["R again to restart hop 2"]);
    terminal.keys("R");
    terminal.until("another process, up", |screen| {
        let text = screen.contents();
        pid_of(&text, &hop).is_some_and(|pid| pid != old) && text.contains("3/3 up")
    });
    assert!(!is_running(old));
    terminal.keys("5");
    terminal.shows(&["restarting"]);
    terminal.keys("1");
    terminal.keys("f");
    terminal.shows(&["1 done", "verified"]);
    quit(&mut terminal);
}

#[test]
fn a_transfer_resumes_when_its_killed_node_is_back() {
    let chain = Chain::new(3, 3_000_000);
    let mut terminal = up(&chain, "--limit 3=1M", 120, 40);
    terminal.keys("4j");
    let screen = terminal.shows(&["Nodes", "R restart", "Hop 2 "]);
    let process = pid_of(&screen, &chain.address(2)).unwrap();
    terminal.keys("1f");
    let part = chain.fetched("data.bin.part");
    terminal.until("some of it is there", |_| std::fs::metadata(&part).is_ok_and(|part| part.len() > 300_000));
    kill_process(process, Signal::KILL).unwrap();
    terminal.keys("5");
    terminal.shows(&["#1 resumes from", "of 3.0 MB"]);
    terminal.keys("1");
    terminal.shows(&["1 done", "verified"]);
    assert_eq!(std::fs::read(chain.fetched("data.bin")).unwrap(), chain.content);
    quit(&mut terminal);
}

#[test]
fn a_killed_node_is_shown_down_and_restarted() {
    let chain = Chain::new(3, 100_000);
    let (mut terminal, old) = second_hop_selected(&chain);
    let killed = Instant::now();
    kill_process(old, Signal::KILL).unwrap();
    terminal.within(Duration::from_secs(2), "hop 2 is down", |screen| screen.contents().contains("2/3 up"));
    println!("a killed node is shown down after {:?}", killed.elapsed());
    terminal.keys("5");
    // Its connection and its process end at the same time: either may be reported first as the reason.
    terminal.shows(&["went down: ", "ended with signal: 9 (SIGKILL): restarting in 1 s", "3/3 up"]);
    assert!(!is_running(old));
    terminal.keys("1");
    terminal.keys("f");
    terminal.shows(&["1 done", "verified"]);
    quit(&mut terminal);
}

/// A node that another program started.
pub(crate) struct Other(Child);

impl Other {
    pub(crate) fn start(chain: &Chain, hop: usize) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chainview"));
        command.env_clear().args(["--node", &chain.address(hop), "--root"]).arg(chain.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert_eq!(first.trim_end(), format!("listening {}", chain.address(hop)));
        Self(child)
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.0)
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn only_attached_nodes_outlive_the_dashboard() {
    let chain = Chain::new(3, 100_000);
    let mut others = [Other::start(&chain, 1), Other::start(&chain, 3)];
    let mut terminal = up(&chain, "", 120, 40);
    assert_eq!(terminal.children().len(), 1, "only hop 2 was free");
    let screen = terminal.shows(&["attached to a running node", "started, process"]);
    assert!(!screen.contains("R restart"), "hop 1 is not ours to restart:\n{screen}");
    terminal.keys("j");
    terminal.shows(&["R restart"]);
    terminal.keys("f");
    terminal.shows(&["1 done", "verified"]);
    quit(&mut terminal);
    assert!(others.iter_mut().all(Other::is_running));
}

#[test]
fn without_spawning_absent_nodes_are_down_and_come_up_when_started() {
    let chain = Chain::new(2, 100_000);
    let command = chainview(chain.folder.path(), "-o out --no-spawn");
    let mut terminal = Terminal::start(command, 120, 40);
    terminal.shows(&["0/2 up", "NO REPORTS", "connection refused"]);
    terminal.keys("f");
    terminal.shows(&["1 failed", &format!("hop 1 ({}): connection refused", chain.address(1))]);
    let _others = [Other::start(&chain, 1), Other::start(&chain, 2)];
    terminal.within(TIMEOUT, "both up", |screen| screen.contents().contains("2/2 up"));
    terminal.keys("f");
    terminal.shows(&["1 done", "verified"]);
    quit(&mut terminal);
}
