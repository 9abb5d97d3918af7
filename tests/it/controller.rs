//! The controller of the dashboard: commands in, snapshots out, real nodes between.

use crate::support::free;
mod folders;
mod nodes;
mod numbers;
mod tour;
mod transfers;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use chainview::cli::{self, RunMode};
use chainview::command::Command;
use chainview::dashboard::{Controller, Leftovers};
use chainview::plan::ChainPlan;
use chainview::snapshot::{ChainSnapshot, HopLink, HopSnapshot, Phase, TransferSnapshot};
use free::Chain;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Far longer than any step of these tests takes, even on a loaded machine.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A dashboard without a screen.
struct Run {
    chain: Chain,
    snapshots: watch::Receiver<Arc<ChainSnapshot>>,
    commands: mpsc::Sender<Command>,
    cancel: CancellationToken,
    controlling: JoinHandle<Leftovers>,
    /// Kept, so that the receiver sees no end.
    _panics: mpsc::Sender<String>,
}

/// The plan that these flags make for a chain.
fn plan(chain: &Chain, flags: &str) -> ChainPlan {
    let input = chain.folder.path().join("input.txt");
    let fixed = [PathBuf::from("chainview"), input.clone(), "-o".into(), chain.fetched("")];
    let line = fixed.into_iter().chain(flags.split_whitespace().map(PathBuf::from));
    let RunMode::Dashboard { fetch, nodes, no_spawn, .. } = cli::read_from(line, None).unwrap().mode else {
        panic!("not the dashboard")
    };
    ours(ChainPlan::of_file(&input, &fetch, &nodes, no_spawn).unwrap())
}

/// The same, with the built program instead of the test binary.
fn ours(mut plan: ChainPlan) -> ChainPlan {
    if let Some(spawning) = &mut plan.spawning {
        spawning.program = env!("CARGO_BIN_EXE_chainview").into();
    }
    plan
}

impl Run {
    /// A dashboard over a chain of this many hops, all up; the file has this size.
    async fn up(hops: usize, size: usize, flags: &str) -> Self {
        let run = Self::start(Chain::new(hops, size), flags);
        run.until("all hops up", |chain| chain.hops.len() == hops && chain.hops.iter().all(reports)).await;
        run
    }

    fn start(chain: Chain, flags: &str) -> Self {
        let plan = plan(&chain, flags);
        Self::control(chain, plan)
    }

    fn control(chain: Chain, plan: ChainPlan) -> Self {
        let (screen, snapshots) = watch::channel(Arc::default());
        let (commands, wanted) = mpsc::channel(64);
        let (panics, reports) = mpsc::channel(1);
        let cancel = CancellationToken::new();
        let controller = Controller::new(plan, screen, cancel.clone());
        let controlling = tokio::spawn(controller.run(wanted, reports));
        Self { chain, snapshots, commands, cancel, controlling, _panics: panics }
    }

    async fn command(&self, command: Command) {
        self.commands.send(command).await.unwrap();
    }

    /// Waits for a snapshot that fulfills a condition.
    async fn until(&self, what: &str, wanted: impl Fn(&ChainSnapshot) -> bool) -> Arc<ChainSnapshot> {
        let mut snapshots = self.snapshots.clone();
        let waited = tokio::time::timeout(TIMEOUT, snapshots.wait_for(|chain| wanted(chain))).await;
        let Ok(chain) = waited else { panic!("not within {TIMEOUT:?}: {what}; the snapshot: {:#?}", self.now()) };
        Arc::clone(&chain.unwrap())
    }

    /// Waits until a transfer fulfills a condition.
    async fn transfer(&self, number: u64, what: &str, wanted: impl Fn(&TransferSnapshot) -> bool) -> TransferSnapshot {
        let one = |chain: &ChainSnapshot| chain.transfers.iter().find(|t| t.number == number).cloned();
        let what = format!("#{number} {what}");
        one(&*self.until(&what, |chain| one(chain).is_some_and(|t| wanted(&t))).await).unwrap()
    }

    async fn phase(&self, number: u64, phase: Phase) -> TransferSnapshot {
        self.transfer(number, phase.label(), |transfer| transfer.phase == phase).await
    }

    /// Waits until a hop fulfills a condition.
    async fn hop(&self, number: usize, what: &str, wanted: impl Fn(&HopSnapshot) -> bool) -> HopSnapshot {
        let what = format!("hop {number} {what}");
        let chain = self.until(&what, |chain| chain.hops.get(number - 1).is_some_and(&wanted)).await;
        chain.hops[number - 1].clone()
    }

    /// Waits for a line of the log.
    async fn logs(&self, hop: Option<usize>, text: &str) -> String {
        let fits = |chain: &ChainSnapshot| {
            let mut lines = chain.log.iter();
            lines.find(|line| line.hop == hop && line.text.as_str().contains(text)).map(|line| line.text.to_string())
        };
        fits(&*self.until(&format!("{hop:?} {text:?}"), |chain| fits(chain).is_some()).await).unwrap()
    }

    fn now(&self) -> Arc<ChainSnapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// Quits, and returns the nodes that keep running.
    async fn ends(self) -> Leftovers {
        self.cancel.cancel();
        tokio::time::timeout(TIMEOUT, self.controlling).await.expect("it shuts down").unwrap()
    }
}

/// Whether a hop is up and has reported.
fn reports(hop: &HopSnapshot) -> bool {
    hop.link.is_up() && hop.node.is_some()
}

fn down(hop: &HopSnapshot) -> Option<&str> {
    if let HopLink::Down { reason } = &hop.link { Some(reason.as_str()) } else { None }
}
