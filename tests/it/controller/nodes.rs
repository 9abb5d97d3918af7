//! Nodes started, stopped, changed, watched, detached, and kept running.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, Instant};

use chainview::cli::{self, RunMode};
use chainview::command::Command;
use chainview::faults::FaultChange;
use chainview::plan::ChainPlan;
use chainview::route::Hop;
use chainview::snapshot::{ConnState, HopLink, HopSnapshot, Level, Phase};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::free::{Chain, Survivors};
use super::{Run, down, ours, reports};

/// A node that another program started, on a port of its own.
struct Other {
    child: Child,
    address: String,
}

impl Other {
    fn start(root: &Path, address: &str, flags: &[&str]) -> Self {
        let mut command = Process::new(env!("CARGO_BIN_EXE_chainview"));
        command.env_clear().args(["--node", address, "--root"]).arg(root).args(flags);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut first = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
        let address = first.trim_end().strip_prefix("listening ").unwrap().to_owned();
        Self { child, address }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pid(link: &HopLink) -> Pid {
    let HopLink::Spawned { pid } = link else { panic!("not spawned: {link:?}") };
    Pid::from_raw(i32::try_from(*pid).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn five_nodes_are_up_soon() {
    let began = Instant::now();
    let run = Run::up(5, 10, "").await;
    // The figure is informative only: on a machine with other load it varies.
    println!("five nodes up and reporting after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_stopped_started_killed_and_restarted() {
    let run = Run::up(2, 3_000_000, "--limit 2=1M").await;
    let first = pid(&run.now().hops[1].link);
    run.command(Command::Fetch).await;
    run.transfer(1, "under way", |transfer| transfer.received > 100_000).await;
    // Gracefully: the transfer finishes well before the node exits.
    run.command(Command::StopNode(2)).await;
    run.logs(Some(2), "stopping once its transfers have ended").await;
    run.phase(1, Phase::Done).await;
    run.hop(2, "stopped", |hop| down(hop) == Some("stopped")).await;
    assert!(test_kill_process(first).is_err());
    run.command(Command::StartNode(2)).await;
    let second = pid(&run.hop(2, "up again", reports_up).await.link);
    run.command(Command::StartNode(2)).await;
    run.logs(Some(2), "it is already running").await;
    run.command(Command::KillNode(2)).await;
    run.hop(2, "killed", |hop| down(hop) == Some("killed")).await;
    run.command(Command::RestartNode(2)).await;
    let third = pid(&run.hop(2, "up once more", reports_up).await.link);
    assert!(first != second && second != third);
    run.command(Command::StopNode(7)).await;
    run.logs(Some(7), "this program cannot run a node there").await;
    run.ends().await;
}

fn reports_up(hop: &chainview::snapshot::HopSnapshot) -> bool {
    matches!(hop.link, HopLink::Spawned { .. }) && reports(hop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_is_reported_immediately() {
    let run = Run::up(3, 10, "").await;
    let victim = pid(&run.now().hops[1].link);
    let killed = Instant::now();
    kill_process(victim, Signal::KILL).unwrap();
    run.hop(2, "down", |hop| down(hop).is_some()).await;
    println!("a death is in the snapshot after {:?}", killed.elapsed());
    let hop = run.hop(2, "and why", |hop| down(hop) == Some("ended with signal: 9 (SIGKILL): restarting in 1 s")).await;
    assert!(hop.node.is_some(), "its last report can still be read");
    run.hop(2, "up again by itself", reports_up).await;
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn started_nodes_take_faults_drain_and_close_connections() {
    let run = Run::up(2, 6_000_000, "--limit 2=1M --retries 0").await;
    run.command(Command::SetFault { hop: 1, change: FaultChange::Limit(Some(200_000)) }).await;
    run.logs(Some(1), "limit=200000B/s").await;
    run.hop(1, "rate-limited", |hop| hop.node.as_ref().is_some_and(|node| node.faults.limit == Some(200_000))).await;
    run.command(Command::Fetch).await;
    run.transfer(1, "rate-limited", |t| t.received > 100_000 && t.rate > 0 && t.rate < 300_000).await;
    let busy = |hop: &chainview::snapshot::HopSnapshot| {
        let mut connections = hop.node.iter().flat_map(|node| &node.connections);
        connections.find(|connection| connection.state == ConnState::Streaming).map(|connection| connection.id)
    };
    let id = busy(&run.hop(1, "streaming", |hop| busy(hop).is_some()).await).unwrap();
    run.command(Command::CloseConnection { hop: 1, id }).await;
    run.logs(Some(1), &format!("connection {id} closed")).await;
    run.phase(1, Phase::Failed).await;
    run.command(Command::DrainNode(1)).await;
    run.logs(Some(1), "draining on request").await;
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_node_stays_visible_and_ends_without_error() {
    for command in [Command::DrainNode(2), Command::StopNode(2)] {
        let run = Run::up(2, 4_000_000, "--limit 1=2M").await;
        run.command(Command::Fetch).await;
        run.transfer(1, "on its way", |t| t.received > 0).await;
        run.command(command).await;
        let drains = |hop: &HopSnapshot| hop.node.as_ref().is_some_and(|node| node.draining);
        let hop = run.hop(2, "draining", drains).await;
        let sent = hop.node.as_ref().unwrap().totals.flow.bytes_out;
        assert!(hop.link.is_up(), "{:?}", hop.link);
        run.phase(1, Phase::Done).await;
        let hop = run.hop(2, "stopped", |hop| down(hop) == Some("stopped")).await;
        assert!(hop.node.as_ref().unwrap().totals.flow.bytes_out > sent, "its figures went on");
        let log =
            &run.until("it is logged", |chain| chain.log.iter().any(|line| line.text.as_str() == "stopped")).await.log;
        let of_hop: Vec<_> = log.iter().filter(|line| line.hop == Some(2)).collect();
        assert!(of_hop.iter().any(|line| line.text.as_str() == "draining, 1 transfer left"), "{of_hop:#?}");
        assert!(of_hop.iter().all(|line| line.level == Level::Info), "{of_hop:#?}");
        run.ends().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_asked_to_end_has_not_failed() {
    let run = Run::up(3, 10, "").await;
    let first = pid(&run.now().hops[1].link);
    run.command(Command::RestartNode(2)).await;
    run.hop(2, "up again", |hop| reports_up(hop) && pid(&hop.link) != first).await;
    run.command(Command::KillNode(2)).await;
    run.hop(2, "killed", |hop| down(hop) == Some("killed")).await;
    run.command(Command::StartNode(2)).await;
    run.hop(2, "up once more", reports_up).await;
    let snapshots = run.snapshots.clone();
    run.ends().await;
    let failures: Vec<_> = snapshots.borrow().log.iter().filter(|line| line.level != Level::Info).cloned().collect();
    assert!(failures.is_empty(), "{failures:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn attached_nodes_obey_only_their_token() {
    let chain = Chain::new(1, 10);
    let token = chain.folder.path().join("token");
    std::fs::write(&token, "s3cret").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let flag = ["--control-token-file", token.to_str().unwrap()];
    let _other = Other::start(chain.folder.path(), &chain.address(1), &flag);
    let run = Run::start(chain, "");
    run.hop(1, "attached", |hop| hop.link == HopLink::Attached).await;
    for command in [Command::StopNode(1), Command::KillNode(1), Command::RestartNode(1)] {
        run.command(command).await;
    }
    run.logs(Some(1), "it was not started by this program").await;
    run.command(Command::SetFault { hop: 1, change: FaultChange::Delay(3) }).await;
    run.logs(Some(1), "unknown control token: set it with --control-token-file").await;
    let Run { chain, cancel, controlling, .. } = run;
    cancel.cancel();
    controlling.await.unwrap();
    let run = Run::start(chain, &flag.join(" "));
    run.hop(1, "attached", |hop| hop.link == HopLink::Attached).await;
    run.command(Command::SetFault { hop: 1, change: FaultChange::Delay(3) }).await;
    run.logs(Some(1), "delay=3ms").await;
    run.hop(1, "fault set", |hop| hop.node.as_ref().is_some_and(|node| node.faults.delay_ms == 3)).await;
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn further_nodes_can_be_watched_and_unwatched() {
    let run = Run::up(2, 10, "").await;
    let other = Other::start(run.chain.folder.path(), "127.0.0.1:0", &[]);
    run.command(Command::Attach(Hop::parse_line(&other.address).unwrap())).await;
    let hop = run.hop(3, "watched", |hop| hop.link == HopLink::Attached && hop.node.is_some()).await;
    assert!(hop.extra && !hop.origin && !hop.ours, "{hop:?}");
    run.command(Command::Attach(Hop::parse_line(&other.address).unwrap())).await;
    run.logs(None, &format!("hop 3 is {} already", other.address)).await;
    run.command(Command::Fetch).await;
    run.phase(1, Phase::Done).await;
    run.command(Command::Detach(3)).await;
    run.until("two hops", |chain| chain.hops.len() == 2).await;
    run.ends().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_node_outlives_the_controller() {
    let run = Run::up(2, 10, "").await;
    let let_go = Survivors(vec![pid(&run.now().hops[1].link)]);
    run.command(Command::Detach(2)).await;
    run.hop(2, "detached", |hop| hop.link == HopLink::Detached && !hop.ours).await;
    run.command(Command::Fetch).await;
    run.phase(1, Phase::Done).await;
    let address = run.chain.address(2);
    let remains = run.ends().await;
    assert_eq!(remains.nodes.iter().map(|(address, _)| address.to_string()).collect::<Vec<_>>(), [address]);
    assert!(let_go.all_run());
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_can_be_left_running() {
    let run = Run::up(3, 10, "").await;
    let nodes = Survivors(run.now().hops.iter().map(|hop| pid(&hop.link)).collect());
    // The screen closes as soon as it has sent the command: both events may be pending.
    run.commands.try_send(Command::Quit { keep_nodes: true }).unwrap();
    let addresses: Vec<String> = (1..=3).map(|hop| run.chain.address(hop)).collect();
    let remains = run.ends().await;
    let left: Vec<String> = remains.nodes.iter().map(|(address, _)| address.to_string()).collect();
    assert_eq!(left, addresses);
    assert!(nodes.all_run());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nodes_of_the_demo_keep_their_files() {
    let RunMode::Demo { fetch, nodes } = cli::read_from(["chainview", "--demo"], None).unwrap().mode else {
        panic!("not the demo")
    };
    let run = Run::control(Chain::new(1, 10), ours(ChainPlan::demo(&fetch, &nodes).unwrap()));
    run.until("all hops up", |chain| chain.hops.len() == 3 && chain.hops.iter().all(reports)).await;
    let nodes = Survivors(run.now().hops.iter().map(|hop| pid(&hop.link)).collect());
    run.transfer(1, "under way by itself", |transfer| transfer.received > 0).await;
    run.command(Command::Quit { keep_nodes: true }).await;
    let remains = run.ends().await;
    assert!(nodes.all_run() && remains.nodes.len() == 3);
    let folder = remains.folder.unwrap();
    assert!(folder.join("served/demo.bin").exists());
    std::fs::remove_dir_all(folder).unwrap();
}
