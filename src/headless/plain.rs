//! Dashboard run without a screen: starts or attaches nodes, fetches the file, prints every hop's part in it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::fetch::{RunResult, chains, outcome, report};
use super::{FinishedFetch, ProgressDisplay, VerdictSource, folder, on_one_thread};
use crate::cli::{FetchPlan, OutputOptions};
use crate::console::signals::stop_on_signals;
use crate::console::start_log;
use crate::error::{Error, KeptBytes};
use crate::net::supervisor::{ChildLine, OriginToken, Spawning, Supervisor, all_started};
use crate::net::watch::{Tokens, Watcher};
use crate::plan::ChainPlan;
use crate::route::Route;
use crate::snapshot::{self, Flow, HopLink, HopSnapshot, Timestamps};
use crate::units::{Bytes, HumanDuration, Rate};

/// Timeout of the first report of the hops, after which the fetch starts without it.
const IDENTIFY_TIMEOUT: Duration = Duration::from_secs(2);

/// Timeout of the last log lines of stopped nodes.
const LAST_LINES_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs the plan as plain lines; the exit code is that of the fetch.
///
/// # Errors
/// The first error that a transfer ended with, see `net::fetch::fetch`; `Error::Interrupted` if a signal ended the run;
/// `Error::Disk` if the log or the output cannot be written; `Error::Other` if the runtime cannot be started.
pub fn plain(plan: ChainPlan, options: &OutputOptions) -> Result<(), Error> {
    let mode = if plan.demo.is_some() { "demo" } else { "run" };
    let display = ProgressDisplay::new(options);
    let ran = start_log(options, Level::WARN).and_then(|_log| {
        folder::check_options(&plan.route, &plan.fetch)?;
        on_one_thread(run(plan, &display))
    });
    report(mode, ran, &display)
}

async fn run(mut plan: ChainPlan, display: &ProgressDisplay) -> Result<RunResult, Error> {
    let (stop, _signals) = stop_on_signals()?;
    let spawned = plan.spawning.as_ref().map(|spawning| spawning.read.secret().clone());
    let tokens = Tokens { hops: plan.tokens.clone(), spawned, identity: plan.fetch.identity.clone() };
    for (hop, text) in plan.describe_tokens() {
        display.note(&format!("hop {hop}: {text}"));
    }
    let mut nodes = plan.spawning.take().map(|spawning| SpawnedNodes::new(&plan.route, spawning));
    let links = nodes.as_ref().map(|nodes| nodes.supervisor.links());
    let watcher = Watcher::start(&plan.route, &tokens, links.as_ref());
    let supervisor = nodes.as_mut().map(|nodes| &mut nodes.supervisor);
    let ran = tokio::select! {
        ran = fetches(&plan, supervisor, watcher, display, &stop) => Ok(ran),
        () = timed_out_after_signal(&stop) => Err(Error::Interrupted { kept: KeptBytes::default() }),
    };
    if let Some(nodes) = nodes {
        nodes.end().await;
    }
    ran
}

/// Nodes that this run started. Their stderr goes to this run's log, with the level of each line.
struct SpawnedNodes {
    supervisor: Supervisor,
    logging: JoinSet<()>,
}

impl SpawnedNodes {
    /// Prepares the nodes, without starting them.
    fn new(route: &Route, spawning: Spawning) -> Self {
        let (supervisor, lines) = Supervisor::new(route, spawning);
        let mut logging = JoinSet::new();
        logging.spawn(log_lines(lines));
        Self { supervisor, logging }
    }

    /// Stops them, and waits for their last log lines.
    async fn end(self) {
        let Self { mut supervisor, mut logging } = self;
        supervisor.stop_all().await;
        // The channel of lines closes with its last sender.
        drop(supervisor);
        let _ = tokio::time::timeout(LAST_LINES_TIMEOUT, logging.join_next()).await;
    }
}

/// Logs the lines of the nodes, until all have exited.
async fn log_lines(mut lines: mpsc::Receiver<ChildLine>) {
    while let Some(ChildLine { hop, level, text }) = lines.recv().await {
        match level {
            snapshot::Level::Error => tracing::error!("hop {hop}: {text}"),
            snapshot::Level::Warn => tracing::warn!("hop {hop}: {text}"),
            snapshot::Level::Info => tracing::info!("hop {hop}: {text}"),
        }
    }
}

/// Completes some time after a signal, for work that does not react to it.
async fn timed_out_after_signal(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(IDENTIFY_TIMEOUT).await;
}

async fn fetches(
    plan: &ChainPlan,
    supervisor: Option<&mut Supervisor>,
    watcher: Watcher,
    display: &ProgressDisplay,
    stop: &CancellationToken,
) -> RunResult {
    let token = OriginToken::new(plan.named_token(), supervisor.as_deref());
    if let Some(supervisor) = supervisor {
        supervisor.start_all();
        all_started(&supervisor.links()).await;
    }
    let fetch = FetchPlan { token: token.get(), ..plan.fetch.clone() };
    let _ = tokio::time::timeout(IDENTIFY_TIMEOUT, watcher.all_known()).await;
    for hop in watcher.hops() {
        display.note(&format!("hop {} ({}): {}", hop.number, hop.address, how(&hop)));
    }
    let links = Arc::default();
    let source = VerdictSource::Watched(Arc::new(watcher));
    let (mut ended, chains) = chains(&plan.route, &fetch, (&source, display), stop, &links, 0).await;
    for transfer in &mut ended {
        if transfer.records.is_empty() && !transfer.snapshot.was_up_to_date() {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = transfer.request_records(&links) => {}
            }
        }
        print_hops(transfer, display);
    }
    let result = outcome(&ended, &chains, display);
    (ended, result)
}

/// Describes the relation of this program to a hop.
fn how(hop: &HopSnapshot) -> String {
    match &hop.link {
        HopLink::Spawned { pid } => format!("started, process {pid}"),
        HopLink::Attached => "attached to a running node".to_owned(),
        HopLink::Legacy => "a legacy node, which sends no reports".to_owned(),
        HopLink::Foreign => "speaks HTTP, sends no reports".to_owned(),
        HopLink::Detached => "not watched".to_owned(),
        HopLink::Down { reason } => format!("down: {reason}"),
        HopLink::Unknown | HopLink::Starting => "not known yet".to_owned(),
    }
}

/// Prints each hop's part in a transfer, and what limited it.
fn print_hops(transfer: &FinishedFetch, display: &ProgressDisplay) {
    for (hop, record) in transfer.job.route.hops().iter().zip(&transfer.records) {
        let label = hop.label();
        match record {
            None => display.note(&format!("  {label}: no report")),
            Some(record) => {
                let flow = record.flow;
                display.note(&format!(
                    "  {label}: {} in, {} out, {}; waited {} to read, {} to write{}{}",
                    Bytes(flow.bytes_in),
                    Bytes(flow.bytes_out),
                    Rate(rate(&flow)),
                    share(flow.starved_us, &flow),
                    share(flow.blocked_us, &flow),
                    record.faults.limit.map(|limit| format!(", limited to {}", Rate(limit))).unwrap_or_default(),
                    record.timestamps.as_ref().map(passed).unwrap_or_default(),
                ));
            }
        }
    }
    if let Some(verdict) = transfer.snapshot.verdict {
        display.note(&verdict.to_string());
    }
}

/// Formats when the body passed a hop, by its own clock, since its request.
fn passed(timestamps: &Timestamps) -> String {
    let span = |ms: f64| HumanDuration(Duration::from_secs_f64((ms / 1000.0).clamp(0.0, 1e9)));
    let moment = |name: &str, ms: Option<f64>| ms.map(|ms| format!("; {name} byte after {}", span(ms)));
    [moment("first", timestamps.first_ms), moment("last", timestamps.last_ms)].into_iter().flatten().collect()
}

fn rate(flow: &Flow) -> u64 {
    (flow.bytes_out as f64 * 1e6 / flow.active_us.max(1) as f64) as u64
}

fn share(blocked_us: u64, flow: &Flow) -> String {
    format!("{:.0}%", blocked_us as f64 * 100.0 / flow.active_us.max(1) as f64)
}
