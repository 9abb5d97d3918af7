//! The supervisor with a shell script in a node's place.

use std::fs;
use std::path::Path;
use std::time::Instant;

use tokio::net::TcpListener;

use super::*;
use crate::faults::Faults;
use crate::route::FileName;
use crate::secret::Secret;
use crate::snapshot::Level;

struct Stage {
    folder: tempfile::TempDir,
    supervisor: Supervisor,
    lines: mpsc::Receiver<ChildLine>,
    ports: Vec<u16>,
}

/// Returns free ports; they stay free because no port is bound twice within a test run.
async fn free_ports(count: usize) -> Vec<u16> {
    let mut listeners = Vec::new();
    for _ in 0..count {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

async fn stage(mode: &str, hops: &[&str], change: impl FnOnce(&mut Spawning)) -> Stage {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mode"), mode).unwrap();
    let ports = free_ports(hops.len()).await;
    let hop = |(host, port): (&&str, &u16)| Hop::new(HostPort { host: host.parse().unwrap(), port: *port });
    let route = Route::new(FileName::new(b"f").unwrap(), hops.iter().zip(&ports).map(hop).collect()).unwrap();
    let mut spawning = Spawning {
        program: Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/fake-node.sh"),
        root: folder.path().to_owned(),
        read: ReadToken::Configured(Secret::new("r").unwrap()),
        control: Secret::new("c").unwrap(),
        faults: Vec::new(),
        allow_next: None,
        drain: Duration::from_secs(1),
        flags: Vec::new(),
    };
    change(&mut spawning);
    let (supervisor, lines) = Supervisor::new(&route, spawning);
    Stage { folder, supervisor, lines, ports }
}

impl Stage {
    async fn started(&mut self) {
        self.supervisor.start_all();
        all_started(&self.supervisor.links()).await;
    }

    /// Waits until hop 1 is as wanted; returns its link state.
    async fn until(&self, wanted: impl Fn(Option<&HopLink>) -> bool) -> Option<HopLink> {
        let mut links = self.supervisor.links();
        links.wait_for(|links| wanted(links[0].as_ref())).await.unwrap()[0].clone()
    }

    fn links(&self) -> Vec<Option<HopLink>> {
        self.supervisor.links().borrow().clone()
    }

    fn read(&self, file: &str, hop: usize) -> Option<String> {
        fs::read_to_string(self.folder.path().join(format!("{file}.{}", self.ports[hop - 1]))).ok()
    }

    fn down(&self, hop: usize) -> String {
        match &self.links()[hop - 1] {
            Some(HopLink::Down { reason }) => reason.to_string(),
            other => panic!("hop {hop} is {other:?}"),
        }
    }
}

#[tokio::test]
async fn nodes_start_in_parallel_and_stop_at_the_end_of_their_input() {
    let mut stage = stage("good", &["127.0.0.1", "localhost", "127.0.0.1"], |spawning| {
        let slow = Faults { delay_ms: 5, fragment: Some(7), reject: true, ..Faults::default() };
        spawning.faults = vec![slow, Faults { limit: Some(2_000_000), ..Faults::default() }];
        spawning.flags = vec!["--idle-timeout".into(), "30s".into()];
    })
    .await;
    let began = Instant::now();
    stage.started().await;
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    assert!(stage.links().iter().all(|link| matches!(link, Some(HopLink::Spawned { pid }) if *pid > 0)));
    let expected = format!(
        "--node 127.0.0.1:{} --root {} --until-stdin-closes --allow-faults --limit 2000000 --host-name localhost \
         --idle-timeout 30s\n",
        stage.ports[1],
        stage.folder.path().display(),
    );
    assert_eq!(stage.read("args", 2), Some(expected));
    assert!(stage.read("args", 1).unwrap().contains(" --delay 5ms --fault fragment=7 --fault reject "));
    assert_eq!(stage.read("tokens", 3).as_deref(), Some("r c \n"));
    let mut received = Vec::new();
    while received.len() < 6 {
        received.push(stage.lines.recv().await.unwrap());
    }
    assert!(received.contains(&ChildLine { hop: 1, level: Level::Info, text: "a line".into() }));
    assert!(received.iter().any(|line| line.text.as_str() == "with \\u{1b}[2J in it"), "{received:?}");
    stage.supervisor.stop_all().await;
    // These ignore SIGTERM: the end of their input stopped them.
    assert!((1..=3).all(|hop| stage.read("eof", hop).is_some()));
}

fn is_up(link: Option<&HopLink>) -> bool {
    matches!(link, Some(HopLink::Spawned { .. }))
}

fn is_down(link: Option<&HopLink>) -> bool {
    matches!(link, Some(HopLink::Down { .. }))
}

fn is_leaving(link: Option<&HopLink>) -> bool {
    matches!(link, Some(HopLink::Down { reason }) if reason.as_str().starts_with("shutting down"))
}

#[tokio::test]
async fn a_crash_is_reported_with_its_status_and_the_node_restarts() {
    let mut stage = stage("brief", &["127.0.0.1"], |_| {}).await;
    let go = stage.folder.path().join("go");
    assert!(std::process::Command::new("mkfifo").arg(&go).status().unwrap().success());
    stage.started().await;
    assert!(is_up(stage.links()[0].as_ref()));
    tokio::task::spawn_blocking(move || fs::write(go, "now\n").unwrap()).await.unwrap();
    stage.until(is_down).await;
    assert_eq!(stage.down(1), "ended with exit status: 4: restarting in 1 s");
    fs::write(stage.folder.path().join("mode"), "good").unwrap();
    let first = stage.until(is_up).await;
    stage.supervisor.order(1, Order::Restart).unwrap();
    let second = stage.until(|link| is_up(link) && link != first.as_ref()).await;
    assert!(stage.supervisor.order(1, Order::Start).is_err(), "it runs");
    stage.supervisor.order(1, Order::Kill).unwrap();
    stage.until(is_down).await;
    assert_eq!(stage.down(1), "killed");
    stage.supervisor.order(1, Order::Start).unwrap();
    stage.until(|link| is_up(link) && link != second.as_ref()).await;
    stage.supervisor.stop_all().await;
    assert!(stage.supervisor.order(1, Order::Restart).is_err() && stage.supervisor.order(0, Order::Start).is_err());
}

#[tokio::test]
async fn a_node_that_keeps_crashing_is_not_restarted() {
    let mut stage = stage("brief", &["127.0.0.1"], |_| {}).await;
    fs::write(stage.folder.path().join("go"), "now\n").unwrap();
    stage.started().await;
    // Up and down four times, with pauses of 1, 2 and 4 seconds between.
    stage.until(|link| matches!(link, Some(HopLink::Down { reason }) if reason.as_str().contains("4th"))).await;
    assert_eq!(stage.down(1), "ended with exit status: 4, for the 4th time in a row: not restarted automatically");
    fs::write(stage.folder.path().join("mode"), "good").unwrap();
    stage.supervisor.order(1, Order::Start).unwrap();
    stage.until(is_up).await;
    stage.supervisor.stop_all().await;
}

#[tokio::test]
async fn a_stopped_node_has_time_to_drain_and_is_not_restarted() {
    let mut stage = stage("good", &["127.0.0.1"], |_| {}).await;
    stage.started().await;
    let began = Instant::now();
    // It ignores SIGTERM, as one whose transfers do not end.
    stage.supervisor.order(1, Order::Stop).unwrap();
    stage.until(is_down).await;
    assert_eq!(stage.down(1), DownReason::Stopping.as_str());
    assert!(stage.supervisor.order(1, Order::Start).is_err(), "it is still there");
    stage.until(|link| is_down(link) && !is_leaving(link)).await;
    assert!(began.elapsed() >= Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(stage.down(1), "killed: it did not exit in time");
    fs::write(stage.folder.path().join("mode"), "leaves").unwrap();
    stage.supervisor.order(1, Order::Start).unwrap();
    stage.until(is_up).await;
    stage.supervisor.order(1, Order::Stop).unwrap();
    stage.until(|link| is_down(link) && !is_leaving(link)).await;
    assert_eq!(stage.down(1), "stopped");
    stage.supervisor.stop_all().await;
}

#[tokio::test]
async fn a_node_that_does_not_listen_is_down_with_the_reason() {
    let mut wrong = stage("wrong", &["127.0.0.1"], |_| {}).await;
    wrong.started().await;
    assert_eq!(wrong.down(1), "printed \"hello\" instead of its address");
    let mut dies = stage("dies", &["::1"], |_| {}).await;
    dies.started().await;
    assert_eq!(dies.down(1), "ended with exit status: 3");
    let mut none = stage("good", &["127.0.0.1"], |spawning| spawning.program = "/nowhere/chainview".into()).await;
    none.started().await;
    assert!(none.down(1).starts_with("cannot be started: "));
}

#[tokio::test]
async fn a_node_that_does_not_exit_is_killed() {
    let mut stage = stage("stubborn", &["127.0.0.1"], |_| {}).await;
    stage.started().await;
    let Some(HopLink::Spawned { pid }) = stage.links()[0] else { panic!("not up") };
    let began = Instant::now();
    stage.supervisor.stop_all().await;
    assert!((1900..2900).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn only_vacant_hops_of_this_machine_are_started() {
    let mut stage = stage("good", &["127.0.0.1", "127.0.0.1", "192.0.2.7", "127.0.0.1"], |spawning| {
        spawning.allow_next = Some("10.0.0.0/8".parse().unwrap());
    })
    .await;
    let _taken = TcpListener::bind(("127.0.0.1", stage.ports[0])).await.unwrap();
    stage.started().await;
    let links = stage.links();
    assert!(links[0].is_none() && links[2].is_none() && links[3].is_none(), "{links:?}");
    assert!(matches!(links[1], Some(HopLink::Spawned { .. })));
    let list = format!(" --allow-next 10.0.0.0/8,192.0.2.7:{}\n", stage.ports[2]);
    assert!(stage.read("args", 2).unwrap().ends_with(&list));
    assert_eq!(stage.supervisor.order(1, Order::Restart), Err("it was not started by this program".to_owned()));
    assert!(stage.supervisor.order(3, Order::Start).is_err(), "it is elsewhere");
}

/// State letter of a process, such as `T` for a stopped one; `None` once it is gone.
fn process_state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next())
}

#[tokio::test]
async fn a_node_on_a_duty_cycle_is_continued_before_anything_else_happens_to_it() {
    // One node for each way in which a duty cycle ends.
    let mut stage = stage("leaves", &["127.0.0.1"; 5], |_| {}).await;
    stage.started().await;
    let links = stage.links();
    let pids: Vec<u32> =
        links.iter().map(|link| if let Some(HopLink::Spawned { pid }) = link { *pid } else { panic!("up") }).collect();
    // It would be stopped for longer than this test lasts.
    let cycle = DutyCycle { runs: Duration::from_millis(1), stopped: Duration::from_mins(10) };
    for hop in 1..=5 {
        stage.supervisor.order(hop, Order::SetDutyCycle(Some(cycle))).unwrap();
    }
    let settled = |pid: u32, wanted: fn(Option<char>) -> bool| async move {
        for _ in 0..500 {
            if wanted(process_state(pid)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("process {pid} is in state {:?}", process_state(pid));
    };
    for pid in &pids {
        settled(*pid, |state| state == Some('T')).await;
    }
    stage.supervisor.order(1, Order::SetDutyCycle(None)).unwrap();
    settled(pids[0], |state| state.is_some_and(|state| state != 'T')).await;
    stage.supervisor.order(2, Order::Restart).unwrap();
    settled(pids[1], |state| state.is_none()).await;
    stage.supervisor.order(3, Order::Stop).unwrap();
    settled(pids[2], |state| state.is_none()).await;
    stage.supervisor.order(4, Order::Detach).unwrap();
    settled(pids[3], |state| state.is_some_and(|state| state != 'T')).await;
    let pid = rustix::process::Pid::from_raw(pids[3].try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let began = Instant::now();
    stage.supervisor.stop_all().await;
    settled(pids[4], |state| state.is_none()).await;
    assert!(began.elapsed() < Duration::from_millis(1900), "it was killed, not ended: {:?}", began.elapsed());
}
