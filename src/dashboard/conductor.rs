//! Carries out wishes and tells the screen what is: one task that owns the nodes, the transfers and the log.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::log::Log;
use super::plan::ChainPlan;
use super::transfers::{News, Transfers};
use crate::command::Command;
use crate::meter::FlowWindow;
use crate::net::clock::Clock;
use crate::net::supervisor::{Line, Supervisor};
use crate::net::watch::{Tokens, Watcher};
use crate::route::{FileName, Route};
use crate::snapshot::{ChainSnapshot, HopLink, HopSnapshot, Level};
use crate::text::SafeText;
use crate::verdict::{Verdict, judge};

/// Time between two looks at running transfers; the screen draws no more often for data.
const LOOK: Duration = Duration::from_millis(100);
/// How long hops may take to say who they are before a fetch that starts by itself goes on without knowing.
const KNOW_HOPS: Duration = Duration::from_secs(1);

/// One run over one chain.
pub(super) struct Conductor {
    plan: ChainPlan,
    screen: watch::Sender<Arc<ChainSnapshot>>,
    supervisor: Option<(Supervisor, mpsc::Receiver<Line>)>,
    tokens: Tokens,
    told: Told,
}

/// What the screen is told, and what it was told last.
struct Told {
    source: SafeText,
    folder: SafeText,
    route: Route,
    transfers: Transfers,
    log: Log,
    clock: Clock,
    flows: FlowWindow,
    verdict: Verdict,
    links: Vec<HopLink>,
    last: ChainSnapshot,
    /// Nodes are being started: that nobody listens yet is no news.
    starting: bool,
    leaving: bool,
}

impl Conductor {
    pub(super) fn new(mut plan: ChainPlan, screen: watch::Sender<Arc<ChainSnapshot>>) -> Self {
        let spawned = plan.spawning.as_ref().map(|spawning| spawning.read.clone());
        let tokens = Tokens { hops: plan.tokens.clone(), spawned };
        let supervisor = plan.spawning.take().map(|spawning| Supervisor::new(&plan.route, spawning));
        let told = Told {
            source: plan.source.clone(),
            folder: crate::error::shown(&plan.fetch.output),
            route: plan.route.clone(),
            transfers: Transfers::new(plan.fetch.clone()),
            log: Log::default(),
            clock: Clock::start(),
            flows: FlowWindow::default(),
            verdict: Verdict::default(),
            links: vec![HopLink::default(); plan.route.hops().len()],
            last: ChainSnapshot::default(),
            starting: true,
            leaving: false,
        };
        Self { plan, screen, supervisor, tokens, told }
    }

    /// Runs until `leave` is cancelled; the nodes it started and the transfers it runs end before it does.
    pub(super) async fn run(
        self,
        mut wishes: mpsc::Receiver<Command>,
        mut panics: mpsc::Receiver<String>,
        leave: CancellationToken,
    ) {
        let Self { plan, screen, supervisor, tokens, mut told } = self;
        let (mut supervisor, mut lines) = match supervisor {
            Some((supervisor, lines)) => (Some(supervisor), Some(lines)),
            None => (None, None),
        };
        let links = supervisor.as_ref().map(Supervisor::links);
        let mut watcher = Watcher::start(&plan.route, &tokens, links.as_ref());
        told.tell(&watcher, &screen);
        if let Some(supervisor) = &mut supervisor {
            let starting = supervisor.start_all();
            tokio::pin!(starting);
            loop {
                tokio::select! {
                    () = &mut starting => break,
                    () = watcher.changed() => told.tell(&watcher, &screen),
                    () = leave.cancelled() => break,
                }
            }
        }
        told.starting = false;
        if plan.fetch_at_once {
            // How the hops stand comes before what is asked of them.
            tokio::select! {
                _ = timeout(KNOW_HOPS, watcher.known()) => {}
                () = leave.cancelled() => {}
            }
            told.note(&watcher.hops());
            told.start(plan.route.clone());
        }
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = leave.cancelled() => break,
                Some(wish) = wishes.recv() => told.carry_out(wish, supervisor.as_ref(), &leave),
                Some(text) = panics.recv() => told.log.say(Level::Error, None, text),
                Some((hop, line)) = next_line(&mut lines) => told.log.node_said(hop, &line),
                Some(news) = told.transfers.news() => told.heard(news),
                () = watcher.changed() => {}
                _ = looks.tick(), if told.transfers.any_running() => told.look(&watcher),
            }
            told.tell(&watcher, &screen);
        }
        told.leaving = true;
        told.tell(&watcher, &screen);
        let stop_nodes = async {
            if let Some(supervisor) = &mut supervisor {
                supervisor.stop_all().await;
            }
        };
        tokio::join!(told.transfers.end(), stop_nodes);
        told.tell(&watcher, &screen);
        drop(plan.demo);
    }
}

async fn next_line(lines: &mut Option<mpsc::Receiver<Line>>) -> Option<Line> {
    lines.as_mut()?.recv().await
}

impl Told {
    fn carry_out(&mut self, wish: Command, supervisor: Option<&Supervisor>, leave: &CancellationToken) {
        match wish {
            Command::Fetch => self.start(self.route.clone()),
            Command::FetchName(name) => self.fetch_name(name),
            Command::Cancel(number) => self.transfers.cancel(number),
            Command::RestartNode(hop) => {
                let restarted =
                    supervisor.map_or_else(|| Err("no node was started".to_owned()), |all| all.restart(hop));
                match restarted {
                    Ok(()) => self.log.say(Level::Info, Some(hop), "restarting it"),
                    Err(why) => self.log.say(Level::Warn, Some(hop), why),
                }
            }
            Command::Quit { .. } => leave.cancel(),
            wish => self.log.say(Level::Warn, None, format!("cannot do this yet: {wish:?}")),
        }
    }

    fn fetch_name(&mut self, name: FileName) {
        self.start(self.route.with_file(name));
    }

    fn start(&mut self, route: Route) {
        let name = route.file.shown();
        match self.transfers.start(route) {
            Ok(number) => self.log.say(Level::Info, None, format!("#{number} {name}: asking")),
            Err(why) => self.log.say(Level::Warn, None, why),
        }
    }

    fn heard(&mut self, news: Result<News, String>) {
        match news {
            Ok(News::Ended(number, error)) => {
                match error {
                    Some(error) => self.log.say(Level::Error, error.hop(), format!("#{number} {error}")),
                    None => self.log.say(Level::Info, None, format!("#{number} is whole and in its place")),
                }
                self.flows = FlowWindow::default();
            }
            Ok(News::Judged(verdict)) if !self.transfers.any_running() => self.verdict = verdict,
            Ok(News::Judged(_)) => {}
            Err(why) => self.log.say(Level::Error, None, format!("a transfer failed inside: {why}")),
        }
    }

    /// Judges what is moving.
    fn look(&mut self, watcher: &Watcher) {
        self.flows.feed(self.clock.now_us(), self.transfers.flow());
        if let Some(flow) = self.flows.flow() {
            self.verdict = judge(&flow, &watcher.stages());
        }
    }

    /// Notes in the log how hops came and went.
    fn note(&mut self, hops: &[HopSnapshot]) {
        for (hop, before) in hops.iter().zip(&mut self.links) {
            if hop.link == *before {
                continue;
            }
            let before = std::mem::replace(before, hop.link.clone());
            match &hop.link {
                HopLink::Unknown | HopLink::Starting => {}
                HopLink::Spawned { pid } => {
                    self.log.say(Level::Info, Some(hop.number), format!("started, process {pid}"));
                }
                HopLink::Attached => self.log.say(Level::Info, Some(hop.number), "attached to a running node"),
                HopLink::Original => {
                    self.log.say(Level::Info, Some(hop.number), "an original program: it sends no reports");
                }
                HopLink::Detached => self.log.say(Level::Info, Some(hop.number), "not watched any more; it lives on"),
                HopLink::Foreign => self.log.say(Level::Info, Some(hop.number), "speaks HTTP, sends no reports"),
                HopLink::Down { reason } => {
                    let (level, how) = match before {
                        HopLink::Down { .. } => (Level::Warn, "still down"),
                        _ if before.is_up() => (Level::Error, "went down"),
                        _ => (Level::Warn, "down"),
                    };
                    self.log.say(level, Some(hop.number), format!("{how}: {reason}"));
                }
            }
        }
    }

    /// Gives the screen a picture, if it differs from the last one.
    fn tell(&mut self, watcher: &Watcher, screen: &watch::Sender<Arc<ChainSnapshot>>) {
        let hops = watcher.hops();
        if !self.starting {
            self.note(&hops);
        }
        let picture = ChainSnapshot {
            generation: self.last.generation,
            source: self.source.clone(),
            folder: self.folder.clone(),
            file: self.route.file.shown(),
            hops,
            transfers: self.transfers.snapshots(),
            verdict: self.verdict,
            log: self.log.lines(),
            listing: None,
            leaving: self.leaving,
        };
        if picture != self.last || self.last.generation == 0 {
            self.last = ChainSnapshot { generation: self.last.generation + 1, ..picture };
            screen.send_replace(Arc::new(self.last.clone()));
        }
    }
}
