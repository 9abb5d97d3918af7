//! Carries out wishes and tells the screen what is: one task that owns the nodes, the transfers and the log.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::plan::ChainPlan;
use super::told::Told;
use crate::command::Command;
use crate::net::access::Secret;
use crate::net::supervisor::{Line, ReadToken, Supervisor, all_started};
use crate::net::watch::{Tokens, Watcher};
use crate::route::HostPort;
use crate::snapshot::{ChainSnapshot, Level, Listing};

/// Time between two looks at running transfers; the screen draws no more often for data.
const LOOK: Duration = Duration::from_millis(100);
/// Least time between two pictures: the screen looks half as often.
const PICTURE: Duration = Duration::from_millis(50);
/// Each picture is a copy of all there is, thousands of connections maybe; all of them together take no more than one
/// part in so many of a core.
const SHARE: u32 = 20;
/// How long hops may take to say who they are before a fetch that starts by itself goes on without knowing.
const KNOW_HOPS: Duration = Duration::from_secs(1);

/// One run over one chain.
pub struct Conductor {
    pub(super) plan: ChainPlan,
    pub(super) supervisor: Option<Supervisor>,
    pub(super) watcher: Watcher,
    /// The token that controls the nodes we start.
    pub(super) spawned_control: Option<Secret>,
    /// What lets it read their pages.
    pub(super) spawned_read: Option<ReadToken>,
    pub(super) told: Told,
    /// What takes longer than a moment and ends in a line of the log.
    pub(super) errands: JoinSet<Errand>,
    /// Nodes that we started and that live on without us.
    pub(super) let_go: Vec<(HostPort, u32)>,
    /// The nodes we started are to live on after us.
    pub(super) leave_nodes: bool,
    pub(super) leave: CancellationToken,
    lines: Option<mpsc::Receiver<Line>>,
    screen: watch::Sender<Arc<ChainSnapshot>>,
}

/// What came of an errand.
#[derive(Debug)]
pub(super) enum Errand {
    /// This is to be said, of a hop or of the client.
    Say(Level, Option<usize>, String),
    /// The origin offers this.
    List(Listing),
}

/// What a run leaves behind.
#[derive(Debug, Default)]
pub struct Remains {
    /// The nodes that live on, and their processes.
    pub nodes: Vec<(HostPort, u32)>,
    /// The demo's folder, where it is still needed.
    pub folder: Option<PathBuf>,
}

impl Conductor {
    /// Starts what the plan says and tells `screen` how it is; to be called within a runtime.
    pub fn new(mut plan: ChainPlan, screen: watch::Sender<Arc<ChainSnapshot>>, leave: CancellationToken) -> Self {
        let spawned_read = plan.spawning.as_ref().map(|spawning| spawning.read.clone());
        let spawned_control = plan.spawning.as_ref().map(|spawning| spawning.control.clone());
        let spawned = spawned_read.as_ref().map(|token| token.secret().clone());
        let tokens = Tokens { hops: plan.tokens.clone(), spawned };
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
        let mut told = Told::new(&plan);
        for (hop, text) in plan.tokens_shown() {
            told.log.say(Level::Info, Some(hop), text);
        }
        let errands = JoinSet::new();
        let (let_go, leave_nodes) = (Vec::new(), false);
        Self {
            plan,
            supervisor,
            watcher,
            spawned_control,
            spawned_read,
            told,
            errands,
            let_go,
            leave_nodes,
            leave,
            lines,
            screen,
        }
    }

    /// Carries out wishes until `leave` is cancelled; panics elsewhere in the program come as text and go to the log. The nodes it started and the transfers it runs end before it does, or live on
    /// where that was asked for.
    pub async fn run(mut self, mut wishes: mpsc::Receiver<Command>, mut panics: mpsc::Receiver<String>) -> Remains {
        let leave = self.leave.clone();
        let ready = self.ready();
        tokio::pin!(ready);
        let mut is_ready = false;
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut next_picture, mut stale) = (Instant::now(), false);
        self.tell();
        loop {
            tokio::select! {
                () = leave.cancelled() => break,
                () = &mut ready, if !is_ready => {
                    is_ready = true;
                    self.begin();
                }
                Some(wish) = wishes.recv() => self.carry_out(wish),
                Some(text) = panics.recv() => self.told.log.say(Level::Error, None, text),
                Some(line) = next_line(&mut self.lines) => self.told.log.node_said(line),
                Some(news) = self.told.transfers.news() => self.told.heard(news),
                Some(done) = self.errands.join_next() => self.told.ran(done),
                () = self.watcher.changed() => {}
                () = sleep_until(next_picture), if stale => {}
                _ = looks.tick(), if self.told.anything_moves() => self.told.look(&self.watcher),
            }
            let began = Instant::now();
            stale = began < next_picture;
            if !stale {
                self.tell();
                next_picture = began + PICTURE.max(began.elapsed() * SHARE);
            }
        }
        // The wish to leave may say how, and the screen leaves as soon as it has sent it.
        while let Ok(wish) = wishes.try_recv() {
            if let Command::Quit { leave_nodes } = wish {
                self.leave_nodes = leave_nodes;
            }
        }
        self.end().await
    }

    /// Ends when the nodes have started; where a fetch starts by itself, how the hops stand comes before it.
    fn ready(&self) -> impl Future<Output = ()> + use<> {
        let links = self.supervisor.as_ref().map(Supervisor::links);
        let known = self.plan.fetch_at_once.then(|| self.watcher.known());
        async move {
            if let Some(links) = links {
                all_started(&links).await;
            }
            if let Some(known) = known {
                let _ = timeout(KNOW_HOPS, known).await;
            }
        }
    }

    /// The chain is there to be asked.
    fn begin(&mut self) {
        self.told.starting = false;
        self.told.note(&self.watcher.hops());
        self.told.transfers.open();
        if self.plan.fetch_at_once {
            self.carry_out(Command::Fetch);
        }
    }

    async fn end(mut self) -> Remains {
        self.told.leaving = true;
        self.tell();
        let (leave_nodes, supervisor) = (self.leave_nodes, &mut self.supervisor);
        let end_nodes = async {
            match supervisor {
                Some(supervisor) if leave_nodes => supervisor.let_all_go().await,
                Some(supervisor) => {
                    supervisor.stop_all().await;
                    Vec::new()
                }
                None => Vec::new(),
            }
        };
        let ((), living) = tokio::join!(self.told.transfers.end(), end_nodes);
        self.tell();
        // Those that were let go before may have ended since.
        let mut nodes = self.let_go;
        nodes.retain(|(_, pid)| is_alive(*pid));
        nodes.extend(living);
        let folder = self.plan.demo.filter(|_| !nodes.is_empty()).map(super::plan::Demo::keep);
        Remains { nodes, folder }
    }

    fn tell(&mut self) {
        if let Some(picture) = self.told.picture(self.watcher.hops()) {
            self.screen.send_replace(picture);
        }
    }
}

fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

async fn next_line(lines: &mut Option<mpsc::Receiver<Line>>) -> Option<Line> {
    lines.as_mut()?.recv().await
}
