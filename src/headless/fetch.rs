//! `--fetch`: the inputs one after the other, each with repeated and concurrent fetches, and one result for all.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::{Observation, ProgressDisplay, VerdictSource, folder, on_threads, reported};
use crate::cli::{FetchPlan, OutputOptions};
use crate::console::signals::stop_on_signals;
use crate::console::start_log;
use crate::error::{Error, KeptBytes, shown};
use crate::net::diagnose::{reach, transfer_records};
use crate::net::fetch::{self, FetchJob, Fetched, FileLog, Output, Publisher};
use crate::net::upstream::Upstream;
use crate::net::upstream::protocols::UpstreamShared;
use crate::on_done::{self, DoneReport, OnDone};
use crate::plan::fetch_job;
use crate::report::{Report, TransferReport};
use crate::route::Route;
use crate::snapshot::verdict::Limit;
use crate::snapshot::{FileResult, TransferRecord, TransferSnapshot};
use crate::verdict::{Stage, evaluate, evaluate_setup};
use crate::wire::TransferIds;

/// Shortest evaluated transfer: a shorter one has too little evidence to request a record from every hop.
const MIN_EVALUATED_US: u64 = 1_000_000;

/// An ended transfer.
#[derive(Debug)]
pub(super) struct FinishedFetch {
    /// Its job.
    pub(super) job: FetchJob,
    /// Its last snapshot.
    pub(super) snapshot: TransferSnapshot,
    /// Its result.
    pub(super) result: Result<Fetched, Error>,
    /// The hops' records of it, in chain order; empty if not requested.
    pub(super) records: Vec<Option<TransferRecord>>,
    /// Results of the files of a folder: all of them if they are reported, else the failed ones.
    pub(super) files: Vec<FileResult>,
}

/// Fetches without a screen; the error is the first that a transfer ended with.
///
/// # Errors
/// `Error::Usage` if `-j` means several transfers to one output; `Error::Input` if an input file is invalid; else
/// the first error that a transfer ended with, see [`fetch::fetch`]. The others are printed.
pub fn fetch(inputs: &[PathBuf], plan: &FetchPlan, options: &OutputOptions) -> Result<(), Error> {
    let output = Output::of(&plan.output);
    let display = ProgressDisplay::new(options);
    let display = if output == Some(Output::Stdout) { display.beside_data() } else { display };
    let ran = start_log(options, Level::WARN).and_then(|_log| {
        if output.is_some() && plan.jobs.is_some_and(|jobs| jobs > 1) {
            let path = shown(&plan.output);
            return Err(Error::Usage(format!("-o {path}: accepts one transfer at a time: remove -j")));
        }
        let plan = &plan.with_list()?;
        let runs: Vec<(Route, FetchPlan)> = inputs
            .iter()
            .map(|input| {
                let route = plan.read_route(input)?;
                folder::check_options(&route, plan)?;
                let plan = plan.with_routes(&route)?.with_token(&route, input)?;
                Ok((route, plan))
            })
            .collect::<Result<_, _>>()?;
        let threads = runs.iter().map(|(route, plan)| folder::disk_threads(route, plan)).max().unwrap_or(1);
        on_threads(threads, all(&runs, &display))
    });
    report("fetch", ran, &display)
}

/// Result of a run: the ended transfers, in order, and the error that ended it.
pub(super) type RunResult = (Vec<FinishedFetch>, Result<(), Error>);

/// Writes the JSON document of a run, if requested; returns the result of the program.
pub(super) fn report(
    mode: &'static str,
    ran: Result<RunResult, Error>,
    display: &ProgressDisplay,
) -> Result<(), Error> {
    let (ended, result) = ran.unwrap_or_else(|error| (Vec::new(), Err(error)));
    if display.is_json() {
        let transfers = ended.iter().map(FinishedFetch::report).collect();
        display.document(&Report::of_transfers(mode, transfers, result.as_ref().err()).to_json());
    }
    reported(result, display.written())
}

/// Runs one transfer, displays its progress, and requests the hops' records if there is something to evaluate.
async fn one_transfer(
    upstream: &mut Upstream,
    mut job: FetchJob,
    source: &VerdictSource,
    display: &ProgressDisplay,
    stop: &CancellationToken,
) -> FinishedFetch {
    let (progress, news) = watch::channel(TransferSnapshot::default());
    // Both end together: the last snapshot of a transfer is its end.
    let (mut observation, route) = (Observation::default(), job.route.clone());
    let finished =
        async { tokio::join!(fetch::fetch(upstream, &mut job, &progress, stop), display.follow(news.clone())) };
    let watched = source.follow(&route, news.clone(), display, &mut observation);
    let (result, ()) = tokio::select! {
            biased;
            finished = finished => finished,
    // A query in progress must not delay the end.
            never = watched => match never {},
        };
    let snapshot =
        TransferSnapshot { verdict: observation.verdict, stall: observation.stall, ..progress.borrow().clone() };
    let files = job.files.take();
    let mut ended = FinishedFetch { job, snapshot, result, records: Vec::new(), files };
    // Printed first: a hop that does not respond would delay it by a second.
    display.files(&ended.snapshot, &ended.files);
    if ended.result.is_ok() || ended.snapshot.folder.is_some() {
        display.done(&ended.snapshot);
    }
    let evaluated = ended.result.is_ok() && display.is_verbose() && ended.snapshot.flow.whole_us() >= MIN_EVALUATED_US;
    // The hops have no record of a file that was not transferred.
    if (display.is_json() || evaluated) && !ended.snapshot.was_up_to_date() && !stop.is_cancelled() {
        ended.request_records(upstream.shared()).await;
    }
    if ended.result.is_ok() {
        display.print_verdict(&ended.snapshot);
    }
    ended
}

impl FinishedFetch {
    /// Requests the hops' records, and evaluates what limited the transfer.
    pub(super) async fn request_records(&mut self, links: &UpstreamShared) {
        let protocol = self.result.as_ref().ok().map(|fetched| fetched.protocol);
        let reach = reach(self.snapshot.legs.len(), protocol);
        let ids = self.snapshot.ids.unwrap_or(TransferIds::of(self.job.id));
        let records = transfer_records(&self.job.route, reach, ids, self.job.identity.as_ref()).await;
        self.records = links.records_of_file(ids, self.snapshot.flow.whole_us(), records);
        let stages = Stage::of(&self.records);
        let mut whole = evaluate(&self.snapshot.flow, &stages);
        if whole.limit == Limit::Measuring {
            let set_up = evaluate_setup(&self.snapshot.flow, &self.snapshot.legs, &stages);
            whole = set_up.unwrap_or(whole);
        }
        if whole.limit != Limit::Measuring || self.snapshot.verdict.is_none() {
            self.snapshot.verdict = Some(whole);
        }
    }

    /// Runs the user's command, unless a signal ends this run, and prints its output.
    async fn run_on_done(&self, on_done: &OnDone, display: &ProgressDisplay, stop: &CancellationToken) {
        let report = DoneReport {
            file: OsStr::from_bytes(self.job.route.file.as_bytes()).to_owned(),
            path: self.result.as_ref().ok().map(|fetched| fetched.path.clone()),
            error: self.result.as_ref().err().cloned(),
            snapshot: self.snapshot.clone(),
            verdict: self.snapshot.verdict,
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            lines = on_done.run(&report) => lines.iter().for_each(|(_, line)| display.err(line)),
        }
    }

    /// Returns the transfer's part of the JSON document.
    pub(super) fn report(&self) -> TransferReport {
        TransferReport::new(
            &self.job.route,
            self.snapshot.ids.unwrap_or(TransferIds::of(self.job.id)),
            &self.snapshot,
            self.result.as_ref().err(),
            self.records.clone(),
        )
        .with_files(&self.snapshot, self.files.clone())
    }
}

async fn all(runs: &[(Route, FetchPlan)], display: &ProgressDisplay) -> Result<RunResult, Error> {
    let (stop, _signals) = stop_on_signals()?;
    let links = Arc::new(UpstreamShared::default());
    let mut ended = Vec::new();
    for (route, plan) in runs {
        if stop.is_cancelled() {
            let result = outcome(&ended, &Err(Error::Interrupted { kept: KeptBytes::default() }), display);
            return Ok((ended, result));
        }
        let source = VerdictSource::Queried(plan.identity.clone());
        let (more, result) = chains(route, plan, (&source, display), &stop, &links, ended.len()).await;
        ended.extend(more);
        // In a stream, bytes after an incomplete file would be taken for a part of it.
        let incomplete = Output::of(&plan.output).is_some() && ended.iter().any(|ended| ended.result.is_err());
        if result.is_err() || incomplete {
            let result = outcome(&ended, &result, display);
            return Ok((ended, result));
        }
    }
    let result = outcome(&ended, &Ok(()), display);
    Ok((ended, result))
}

/// Returns the first error of a run: of a transfer, else of the run. It determines the exit code; the others are
/// printed here.
pub(super) fn outcome(
    ended: &[FinishedFetch],
    run: &Result<(), Error>,
    display: &ProgressDisplay,
) -> Result<(), Error> {
    let mut failed = ended.iter().filter_map(|ended| ended.result.as_ref().err()).chain(run.as_ref().err());
    let first = failed.next();
    failed.for_each(|error| display.err(&format!("chainview: {error}")));
    first.map_or(Ok(()), |error| Err(error.clone()))
}

/// Runs `jobs` chains concurrently, each for `number` fetches, or up to its first failure. A chain that panics is the
/// error of the run, beside the transfers of all others. `begun` transfers were started before these.
pub(super) async fn chains(
    route: &Route,
    plan: &FetchPlan,
    (source, display): (&VerdictSource, &ProgressDisplay),
    stop: &CancellationToken,
    links: &Arc<UpstreamShared>,
    begun: usize,
) -> RunResult {
    let number = u64::from(plan.number);
    let (mut running, publisher) = (JoinSet::new(), Publisher::default());
    let on_done = plan.on_done.clone().map(|command| OnDone::new(command, on_done::LIMIT));
    // Of a folder, several parts are received at a time in one transfer.
    let jobs = if route.file.names_folder() { 1 } else { plan.jobs.unwrap_or(1) };
    for chain in 0..u64::from(jobs) {
        let first = begun as u64 + chain * number + 1;
        let mut upstream =
            fetch::client(Arc::clone(links), plan.limits, plan.protocol).signed_by(plan.identity.clone());
        let (route, plan, stop) = (route.clone(), plan.clone(), stop.clone());
        let (source, display, on_done) = (source.clone(), display.clone(), on_done.clone());
        let publisher = publisher.clone();
        running.spawn(async move {
            let mut ended = Vec::new();
            for number in first..first + number {
                let mut job = FetchJob { publisher: publisher.clone(), ..fetch_job(&plan, number, route.clone()) };
                if display.is_json() || job.dry_run {
                    job.files = FileLog::of_all();
                }
                let transfer = one_transfer(&mut upstream, job, &source, &display, &stop).await;
                if let Some(on_done) = &on_done {
                    transfer.run_on_done(on_done, &display, &stop).await;
                }
                let failed = transfer.result.is_err();
                ended.push(transfer);
                if failed {
                    break;
                }
            }
            ended
        });
    }
    tokio::select! {
        biased;
        result = gathered(running) => result,
        never = links.keep_closing_expired() => match never {},
    }
}

/// Collects the results of all chains.
async fn gathered(mut running: JoinSet<Vec<FinishedFetch>>) -> RunResult {
    let (mut ended, mut result) = (Vec::new(), Ok(()));
    while let Some(chain) = running.join_next().await {
        match chain {
            Ok(transfers) => ended.extend(transfers),
            Err(error) => result = Err(Error::Other(format!("internal error in a transfer: {error}"))),
        }
    }
    ended.sort_by_key(|ended| ended.snapshot.number);
    (ended, result)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    #[tokio::test]
    async fn a_panicking_chain_keeps_the_results_of_the_others() {
        let transfer = |number| {
            let job = FetchJob::new(number, Route::parse(b"f\nh 1\n").unwrap(), PathBuf::new(), Limits::default());
            let snapshot = TransferSnapshot { number, ..TransferSnapshot::default() };
            let result = Err(Error::Other(format!("number {number}")));
            FinishedFetch { job, snapshot, result, records: Vec::new(), files: Vec::new() }
        };
        let mut running = JoinSet::new();
        running.spawn(async move { vec![transfer(3)] });
        running.spawn(async { panic!("a fault in the program") });
        running.spawn(async move { vec![transfer(1), transfer(2)] });
        let (ended, result) = gathered(running).await;
        assert_eq!(ended.iter().map(|ended| ended.snapshot.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(result.unwrap_err().to_string().contains("a fault in the program"));
    }
}
