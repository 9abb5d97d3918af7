//! Controller: one task that owns the nodes, the transfers and the log, executes commands and publishes snapshots.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::publisher::{Publisher, TaskResult};
use super::queue::QueueEvent;
use super::tour::{STEP_INTERVAL, TourRun};
use crate::command::{Command, TourCommand};
use crate::error::Error;
use crate::net::supervisor::{ChildLine, OriginToken, Supervisor, all_started};
use crate::net::watch::{Tokens, Watcher};
use crate::on_done::{self, DoneReport, OnDone};
use crate::plan::ChainPlan;
use crate::route::HostPort;
use crate::secret::Secret;
use crate::snapshot::{ChainSnapshot, Level};

/// Time between two evaluations of running transfers; the screen draws no more often for data.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Time between two checks for expired idle connections.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);
/// Minimum time between two snapshots: the screen reads half as often.
const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(50);
/// Denominator of the share of a core that snapshots may take: each may copy thousands of connections.
const SNAPSHOT_SHARE: u32 = 20;
/// Time that hops have to identify themselves before a fetch at startup begins without that.
const IDENTIFY_TIMEOUT: Duration = Duration::from_secs(1);

/// Controller of one run over one chain.
pub struct Controller {
    pub(super) plan: ChainPlan,
    pub(super) supervisor: Option<Supervisor>,
    pub(super) watcher: Watcher,
    /// Control token of the nodes that this program starts.
    pub(super) spawned_control: Option<Secret>,
    /// Read token for listings of the origin.
    pub(super) origin_token: OriginToken,
    pub(super) publisher: Publisher,
    /// Tour of the demo.
    pub(super) tour: Option<TourRun>,
    /// Background tasks, whose results go to the publisher.
    pub(super) tasks: JoinSet<TaskResult>,
    /// The user's command at the end of a transfer.
    on_done: Option<OnDone>,
    /// Its runs, which return lines for the log.
    commands: JoinSet<Vec<(Level, String)>>,
    /// Nodes that this program started and that keep running without it.
    pub(super) detached: Vec<(HostPort, u32)>,
    /// Keeps the nodes running after this program.
    pub(super) keep_nodes: bool,
    pub(super) quit: CancellationToken,
    lines: Option<mpsc::Receiver<ChildLine>>,
    screen: watch::Sender<Arc<ChainSnapshot>>,
}

/// Processes and files that remain after a run.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// Nodes that keep running, with their process ids.
    pub nodes: Vec<(HostPort, u32)>,
    /// Demo folder, where a node still serves from it.
    pub folder: Option<PathBuf>,
    /// Numbers of the transfers that the user had cancelled before quitting.
    pub cancelled: BTreeSet<u64>,
    /// Last output of the user's commands, which came too late for the log.
    pub output: Vec<String>,
}

impl Controller {
    /// Starts the nodes of a plan and the watcher; snapshots go to `screen`. Must be called within a runtime.
    pub fn new(mut plan: ChainPlan, screen: watch::Sender<Arc<ChainSnapshot>>, quit: CancellationToken) -> Self {
        let spawned_control = plan.spawning.as_ref().map(|spawning| spawning.control.clone());
        let spawned = plan.spawning.as_ref().map(|spawning| spawning.read.secret().clone());
        let tokens = Tokens { hops: plan.tokens.clone(), spawned, identity: plan.fetch.identity.clone() };
        let (mut supervisor, lines) = match plan.spawning.take() {
            Some(spawning) => {
                let (supervisor, lines) = Supervisor::new(&plan.route, spawning);
                (Some(supervisor), Some(lines))
            }
            None => (None, None),
        };
        if let Some(supervisor) = &mut supervisor {
            supervisor.start_all();
        }
        let links = supervisor.as_ref().map(Supervisor::links);
        let watcher = Watcher::start(&plan.route, &tokens, links.as_ref());
        let origin_token = OriginToken::new(plan.named_token(), supervisor.as_ref());
        let mut publisher = Publisher::new(&plan, origin_token.clone());
        for (hop, text) in plan.describe_tokens() {
            publisher.log.push(Level::Info, Some(hop), text);
        }
        let on_done = plan.fetch.on_done.clone().map(|command| OnDone::new(command, on_done::LIMIT));
        let (tasks, commands) = (JoinSet::new(), JoinSet::new());
        let tour = plan.tour.take().map(TourRun::new);
        let (detached, keep_nodes) = (Vec::new(), false);
        Self {
            plan,
            supervisor,
            watcher,
            spawned_control,
            origin_token,
            publisher,
            tour,
            tasks,
            on_done,
            commands,
            detached,
            keep_nodes,
            quit,
            lines,
            screen,
        }
    }

    /// Adds a warning to the log.
    pub fn warn(&mut self, text: String) {
        self.publisher.log.push(Level::Warn, None, text);
    }

    /// Returns the user's command at the end of a transfer, if any.
    pub fn on_done(&self) -> Option<OnDone> {
        self.on_done.clone()
    }

    /// Executes commands until `quit` is cancelled; panics elsewhere in the program arrive as text and are logged.
    /// Nodes and transfers end before it returns; the nodes keep running where the user chose that.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>, mut panics: mpsc::Receiver<String>) -> Leftovers {
        let quit = self.quit.clone();
        let ready = self.ready();
        tokio::pin!(ready);
        let mut is_ready = false;
        let mut polls = interval(POLL_INTERVAL);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut expiries = interval(EXPIRY_INTERVAL);
        expiries.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut connections_idle = false;
        let mut tour_steps = interval(STEP_INTERVAL);
        tour_steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut next_snapshot, mut stale) = (Instant::now(), false);
        self.publish();
        loop {
            tokio::select! {
                () = quit.cancelled() => break,
                () = &mut ready, if !is_ready => {
                    is_ready = true;
                    self.begin();
                }
                Some(command) = commands.recv() => self.execute(command),
                Some(text) = panics.recv() => self.publisher.log.push(Level::Error, None, text),
                Some(line) = next_line(&mut self.lines) => self.publisher.log.push_node_line(line),
                Some(event) = self.publisher.queue.next_event() => {
                    connections_idle = true;
                    self.transfer_changed(event);
                }
                Some(ended) = self.commands.join_next() => self.command_ended(ended),
                Some(done) = self.tasks.join_next() => self.publisher.task_ended(done),
                () = self.watcher.changed() => {}
                () = sleep_until(next_snapshot), if stale => {}
                _ = tour_steps.tick(), if self.tour.as_ref().is_some_and(TourRun::is_running) => self.step_tour(),
                _ = expiries.tick(), if connections_idle => {
                    connections_idle = self.publisher.queue.close_expired();
                }
                _ = polls.tick(), if self.publisher.any_transfer_runs() => self.publisher.evaluate(&self.watcher),
            }
            let began = Instant::now();
            stale = began < next_snapshot;
            if !stale {
                self.publish();
                next_snapshot = began + SNAPSHOT_INTERVAL.max(began.elapsed() * SNAPSHOT_SHARE);
            }
        }
        // The screen exits as soon as it has sent `Quit`, which may still be in the queue.
        while let Ok(command) = commands.try_recv() {
            if let Command::Quit { keep_nodes } = command {
                self.keep_nodes = keep_nodes;
            }
        }
        self.end().await
    }

    /// Completes when the nodes have started; with a fetch at startup, also waits until the hops are known.
    fn ready(&self) -> impl Future<Output = ()> + use<> {
        let links = self.supervisor.as_ref().map(Supervisor::links);
        let known = self.plan.fetch_at_startup.then(|| self.watcher.all_known());
        async move {
            if let Some(links) = links {
                all_started(&links).await;
            }
            if let Some(known) = known {
                let _ = timeout(IDENTIFY_TIMEOUT, known).await;
            }
        }
    }

    /// Opens the queue, now that the chain has started.
    fn begin(&mut self) {
        self.publisher.starting = false;
        self.publisher.log_links(&self.watcher.hops());
        self.publisher.queue.open();
        if self.tour.is_some() {
            self.command_tour(TourCommand::Next);
        } else if self.plan.fetch_at_startup {
            self.execute(Command::Fetch);
        }
    }

    /// Takes an event of the queue; runs the user's command at the end of a transfer, once all is known about it.
    fn transfer_changed(&mut self, event: QueueEvent) {
        if let QueueEvent::Evaluated(_, report) = &event {
            self.run_on_done(report);
        }
        self.publisher.transfer_changed(event);
    }

    fn run_on_done(&mut self, report: &DoneReport) {
        if let Some(on_done) = self.on_done.clone() {
            let report = report.clone();
            self.commands.spawn(async move { on_done.run(&report).await });
        }
    }

    fn command_ended(&mut self, ended: Result<Vec<(Level, String)>, JoinError>) {
        match ended {
            Ok(lines) => lines.into_iter().for_each(|(level, text)| self.publisher.log.push(level, None, text)),
            Err(error) => self.publisher.task_ended(Err(error)),
        }
    }

    /// Runs the user's command for transfers that had ended before the user quit, and waits for all of its runs.
    async fn end_commands(&mut self) -> Vec<String> {
        if self.on_done.is_none() {
            return Vec::new();
        }
        while let Some(event) = self.publisher.queue.next_event().await {
            match event {
                QueueEvent::Evaluated(_, report) if !matches!(report.error, Some(Error::Interrupted { .. })) => {
                    self.run_on_done(&report);
                }
                _ => {}
            }
        }
        let mut output = Vec::new();
        while let Some(ended) = self.commands.join_next().await {
            output.extend(ended.into_iter().flatten().map(|(_, text)| text));
        }
        output
    }

    async fn end(mut self) -> Leftovers {
        self.publisher.exiting = true;
        let cancelled = self.publisher.queue.cancelled();
        self.publisher.queue.close_idle();
        self.publish();
        let (keep_nodes, supervisor) = (self.keep_nodes, &mut self.supervisor);
        let end_nodes = async {
            match supervisor {
                Some(supervisor) if keep_nodes => supervisor.detach_all().await,
                Some(supervisor) => {
                    supervisor.stop_all().await;
                    Vec::new()
                }
                None => Vec::new(),
            }
        };
        let ((), running) = tokio::join!(self.publisher.queue.end(), end_nodes);
        self.publish();
        let output = self.end_commands().await;
        // Nodes detached earlier may have ended since.
        let mut nodes = self.detached;
        nodes.retain(|(_, pid)| is_running(*pid));
        nodes.extend(running);
        let folder = self.plan.demo.filter(|_| !nodes.is_empty()).map(crate::plan::Demo::keep);
        Leftovers { nodes, folder, cancelled, output }
    }

    /// Sends a snapshot to the screen if anything has changed.
    fn publish(&mut self) {
        if let Some(snapshot) = self.publisher.snapshot(self.watcher.hops()) {
            self.screen.send_replace(snapshot);
        }
    }
}

fn is_running(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

async fn next_line(lines: &mut Option<mpsc::Receiver<ChildLine>>) -> Option<ChildLine> {
    lines.as_mut()?.recv().await
}
