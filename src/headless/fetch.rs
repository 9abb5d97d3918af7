//! `--fetch`: each input in turn, so often and so many at once as asked, and one result for all.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use super::{Show, on_one_thread, say, start_log, stop_on_signals};
use crate::cli::{FetchPlan, Talk, config};
use crate::error::{Error, Kept};
use crate::net::accounts::{accounts, reach};
use crate::net::fetch::{self, FetchJob, Fetched};
use crate::net::link::Links;
use crate::net::upstream::Upstream;
use crate::report::{Report, TransferReport};
use crate::route::Route;
use crate::snapshot::{TransferAccount, TransferSnapshot};
use crate::verdict::{Stage, judge};

/// A body that took less says nothing about what limits it, and is not worth a question to every hop.
const WORTH_JUDGING_US: u64 = 1_000_000;

/// A transfer that is over.
#[derive(Debug)]
pub struct Ended {
    /// What was to be done.
    pub job: FetchJob,
    /// The last that was told of it.
    pub snapshot: TransferSnapshot,
    /// What came of it.
    pub result: Result<Fetched, Error>,
    /// What the hops say of it, in chain order; empty where they were not asked.
    pub accounts: Vec<Option<TransferAccount>>,
}

/// Fetches without a screen; the error is the first that a transfer ended with.
pub fn fetch(inputs: &[PathBuf], plan: &FetchPlan, talk: &Talk) -> Result<(), Error> {
    let mut ended = Vec::new();
    let result = start_log(talk, Level::WARN).and_then(|()| {
        let routes: Vec<Route> = inputs.iter().map(|input| read(input, plan)).collect::<Result<_, _>>()?;
        on_one_thread(all(&routes, plan, &Show::new(talk), &mut ended))
    });
    if talk.json {
        let transfers = ended.iter().map(Ended::report).collect();
        say(&Report::of_transfers("fetch", transfers, result.as_ref().err()).to_json());
    }
    result
}

/// An input file as a route, with another file name where one was given.
pub(super) fn read(input: &std::path::Path, plan: &FetchPlan) -> Result<Route, Error> {
    let route = config::read_route(input)?;
    Ok(plan.file.as_ref().map_or_else(|| route.clone(), |file| route.with_file(file.clone())))
}

/// Runs one transfer, shows it as it goes, and asks the hops about it where that is worth something.
pub async fn one_transfer(upstream: &mut Upstream, job: FetchJob, show: &Show, stop: &CancellationToken) -> Ended {
    let (progress, news) = watch::channel(TransferSnapshot::default());
    // Both end together: the last thing that a transfer tells is that it is over.
    let (result, ()) = tokio::join!(fetch::fetch(upstream, &job, &progress, stop), show.follow(news));
    let snapshot = progress.borrow().clone();
    let mut ended = Ended { job, snapshot, result, accounts: Vec::new() };
    let judged = ended.result.is_ok() && show.is_talking() && ended.snapshot.flow.active_us >= WORTH_JUDGING_US;
    if (show.is_json() || judged) && !stop.is_cancelled() {
        ended.ask_hops().await;
    }
    if ended.result.is_ok() {
        show.done(&ended.snapshot);
    }
    ended
}

impl Ended {
    /// Asks the hops what they know of it, and judges from that what limited it.
    pub(super) async fn ask_hops(&mut self) {
        let wire = self.result.as_ref().ok().map(|fetched| fetched.wire);
        let reach = reach(self.snapshot.legs.len(), wire);
        self.accounts = accounts(&self.job.route, reach, self.job.id).await;
        let stages = Stage::of(&self.accounts);
        self.snapshot.verdict = Some(judge(&self.snapshot.flow, &stages));
    }

    /// The transfer as a part of the JSON document.
    pub fn report(&self) -> TransferReport {
        TransferReport::new(
            &self.job.route,
            self.job.id,
            &self.snapshot,
            self.result.as_ref().err(),
            self.accounts.clone(),
        )
    }
}

async fn all(routes: &[Route], plan: &FetchPlan, show: &Show, ended: &mut Vec<Ended>) -> Result<(), Error> {
    let (stop, _signals) = stop_on_signals()?;
    let links = Arc::new(Links::default());
    for route in routes {
        if stop.is_cancelled() {
            return Err(Error::Interrupted { kept: Kept::default() });
        }
        let first = ended.len();
        chains(route, plan, show, &stop, &links, ended).await?;
        ended[first..].sort_by_key(|ended| ended.snapshot.number);
    }
    let failed = ended.iter().filter_map(|ended| ended.result.as_ref().err());
    // Several may have failed; the first of them is the exit code, and all but it have to be said here.
    let mut failed: Vec<&Error> = failed.collect();
    if failed.is_empty() {
        return Ok(());
    }
    let first = failed.remove(0).clone();
    for error in failed {
        show.tell(&format!("chainview: {error}"));
    }
    Err(first)
}

/// As many chains at once as asked for, each for as many fetches as asked for.
async fn chains(
    route: &Route,
    plan: &FetchPlan,
    show: &Show,
    stop: &CancellationToken,
    links: &Arc<Links>,
    ended: &mut Vec<Ended>,
) -> Result<(), Error> {
    let begun = ended.len() as u64;
    let mut running = JoinSet::new();
    for chain in 0..u64::from(plan.jobs) {
        let jobs = (0..u64::from(plan.number)).map(|turn| {
            let number = begun + chain * u64::from(plan.number) + turn + 1;
            let job = FetchJob::new(number, route.clone(), plan.output.clone(), plan.limits);
            FetchJob { force: plan.force, proof: plan.proof, ..job }
        });
        let jobs: Vec<FetchJob> = jobs.collect();
        let mut upstream = fetch::client(Arc::clone(links), plan.limits, plan.wire);
        let (show, stop) = (show.clone(), stop.clone());
        running.spawn(async move {
            let mut ended = Vec::new();
            for job in jobs {
                let transfer = one_transfer(&mut upstream, job, &show, &stop).await;
                let failed = transfer.result.is_err();
                ended.push(transfer);
                if failed {
                    break;
                }
            }
            ended
        });
    }
    while let Some(chain) = running.join_next().await {
        ended.extend(chain.map_err(|error| Error::Other(format!("a transfer failed inside: {error}")))?);
    }
    Ok(())
}
