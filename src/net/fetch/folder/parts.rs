//! The parts of a folder, several at a time: streams and single files, while the next page of the listing is read.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;

use super::part::{Ended, Outcome, receive_file, receive_run};
use super::publishing::Publishing;
use super::results::Results;
use super::select::{Batch, Walk, Work};
use super::tree::TreePath;
use crate::error::Error;
use crate::net::fetch::job::FetchJob;
use crate::net::fetch::pause::next_attempt;
use crate::net::fetch::retry::{RetryPolicy, is_transient};
use crate::net::fetch::slots::{Slot, Slots};
use crate::net::fetch::tracker::Tracker;
use crate::net::upstream::Upstream;
use crate::snapshot::{Flow, Phase, TransferSnapshot};
use crate::text::SafeText;
use crate::wire::Reason;

/// Most parts at a time: each has a chain of connections, and a thread that writes.
const MAX_PARTS: usize = 64;
/// Most parts at a time together with those that wait for a disk or for another fetch: each may keep two files open,
/// and a program usually has 1,024.
const MAX_TASKS: usize = 80;

/// A running part.
struct Active {
    news: watch::Receiver<TransferSnapshot>,
    /// Its bytes, until its reply announces them.
    expected: u64,
}

impl Active {
    /// Returns how many bytes it has received and will receive; not those that an earlier fetch has received.
    fn size(&self) -> u64 {
        let news = self.news.borrow();
        news.size.map_or(self.expected, |size| news.flow.bytes_in + size.saturating_sub(news.received))
    }
}

/// The transfer of a folder in parts.
struct Parts<'a, 'b> {
    job: Arc<FetchJob>,
    path: TreePath,
    publishing: Publishing,
    tracker: &'a mut Tracker<'b>,
    stop: CancellationToken,
    /// Chains without a request.
    idle: Vec<Upstream>,
    queue: VecDeque<Work>,
    slots: Slots,
    running: JoinSet<Ended>,
    active: HashMap<Id, Active>,
    /// The part whose connections stand for the whole transfer.
    shown: Option<Id>,
    /// Sum over the ended parts.
    ended: Flow,
    /// Selected files so far.
    files: u64,
    /// No stream of all has counted what is left out.
    counts_omitted: bool,
    outcome: Outcome,
}

/// The next page of the walk, as it is requested and compared.
type NextPage = Pin<Box<dyn Future<Output = (Walk, Result<Batch, Error>)> + Send>>;

/// Receives what is missing of a folder, after this path or from its beginning.
///
/// # Errors
/// The error of the listing, or of a part that failed with the chain; the error of a file alone is in the outcome.
pub(super) async fn receive(
    upstream: &mut Upstream,
    job: &Arc<FetchJob>,
    walk: Walk,
    (path, publishing): (&TreePath, &Publishing),
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<Outcome, Error> {
    let another = upstream.another();
    let mut parts = Parts {
        job: Arc::clone(job),
        path: path.clone(),
        publishing: publishing.clone(),
        tracker,
        stop: stop.child_token(),
        idle: vec![std::mem::replace(upstream, another)],
        queue: VecDeque::new(),
        slots: Slots::new(0),
        running: JoinSet::new(),
        active: HashMap::new(),
        shown: None,
        ended: Flow::default(),
        files: publishing.results().ended(),
        counts_omitted: !walk.is_rest(),
        outcome: Outcome::default(),
    };
    let result = parts.run(walk, upstream).await;
    if result.is_ok() {
        // With the sizes of all parts as they have been.
        parts.publish();
    } else {
        // Each part that is cancelled keeps what is proven, and its partial file.
        parts.stop.cancel();
        while parts.running.join_next().await.is_some() {}
        parts.count();
    }
    if parts.tracker.has_begun() {
        parts.tracker.end();
    }
    if let Some(kept) = parts.idle.pop() {
        *upstream = kept;
    }
    result.map(|()| parts.outcome)
}

impl Parts<'_, '_> {
    async fn run(&mut self, walk: Walk, chain: &Upstream) -> Result<(), Error> {
        let mut policy = RetryPolicy::new(self.job.retries);
        let (mut waiting, mut page): (Option<Walk>, Option<NextPage>) = (Some(walk), None);
        loop {
            self.slots.limit(self.most());
            while self.may_start()
                && let Some(slot) = self.slots.take()
            {
                self.start(slot, chain);
            }
            // The next page is requested while the last parts of this one are received.
            if self.queue.len() < self.most()
                && let Some(walk) = waiting.take_if(|walk| !walk.is_over())
            {
                page = Some(Box::pin(walk.next(self.stop.clone())));
            }
            if self.running.is_empty() && page.is_none() {
                return Ok(());
            }
            tokio::select! {
                biased;
                Some(ended) = self.running.join_next_with_id() => {
                    let panicked = |error| Error::Other(format!("internal error in a transfer: {error}"));
                    let (id, ended) = ended.map_err(panicked)?;
                    self.end(id, ended)?;
                }
                Some((walk, batch)) = next_page(&mut page) => {
                    waiting = Some(match batch {
                        Ok(batch) => {
                            self.add(batch, &walk);
                            walk
                        }
                        Err(error) => self.without_page(walk, error, &mut policy).await?,
                    });
                }
                () = self.slots.vacancy(), if self.may_start() => {}
                () = self.tracker.due() => self.publish(),
            }
        }
    }

    fn results(&self) -> &Results {
        self.publishing.results()
    }

    /// Returns true if a part waits for nothing but a slot.
    fn may_start(&self) -> bool {
        !self.queue.is_empty() && self.running.len() < MAX_TASKS
    }

    /// Returns the most parts at a time.
    fn most(&self) -> usize {
        // The limit is one of each stream, and means the whole transfer.
        if self.job.rate_limit.get().is_some() { 1 } else { self.job.parts.clamp(1, MAX_PARTS) }
    }

    /// Decides what follows a page that did not come: another attempt, or the names of the list.
    async fn without_page(&mut self, mut walk: Walk, error: Error, policy: &mut RetryPolicy) -> Result<Walk, Error> {
        match next_attempt(policy, (error, self.files > 0), self.tracker, &self.stop).await {
            Ok(()) => Ok(walk),
            // Whatever the reason: the requests for the files have their own errors.
            Err(error @ Error::Hop(_)) if self.files == 0 && !is_transient(&error) && walk.by_names() => Ok(walk),
            Err(error) => Err(without_folders(error)),
        }
    }

    /// Adds what a page contains.
    fn add(&mut self, batch: Batch, walk: &Walk) {
        self.files += batch.files;
        if self.counts_omitted {
            self.results().omitted(batch.omitted);
        }
        self.queue.extend(batch.work);
        for (result, error) in batch.results {
            self.results().record(result);
            if let Some(error) = error {
                self.outcome.failures.add(error);
            }
        }
        if walk.is_over() {
            self.results().all_known(self.files);
        }
        self.publish();
    }

    /// Starts the next part over an idle chain, or another one.
    fn start(&mut self, slot: Slot, chain: &Upstream) {
        let Some(work) = self.queue.pop_front() else { return };
        let upstream = self.idle.pop().unwrap_or_else(|| chain.another());
        let (progress, news) = watch::channel(TransferSnapshot::default());
        let job = FetchJob { id: self.job.machine.transfer_id(), slot, ..FetchJob::clone(&self.job) };
        let expected = expected(&work);
        let stop = self.stop.clone();
        let handle = match work {
            Work::Run(run) => {
                let publishing = self.publishing.clone();
                self.running.spawn(receive_run(upstream, job, publishing, run, progress, stop))
            }
            Work::File(item) => {
                let (path, results) = (self.path.clone(), self.results().clone());
                self.running.spawn(receive_file(upstream, job, path, item, results, progress, stop))
            }
        };
        self.active.insert(handle.id(), Active { news, expected });
    }

    fn end(&mut self, id: Id, ended: Ended) -> Result<(), Error> {
        if let Some(active) = self.active.remove(&id) {
            let news = active.news.borrow();
            self.ended.add(&news.flow);
            self.outcome.largest = self.outcome.largest.max(news.ids.map(|ids| (news.flow.bytes_in, ids)));
        }
        self.idle.push(ended.upstream);
        let outcome = ended.result?;
        if let (None, Some((protocol, legs))) = (&self.outcome.chain, &outcome.chain) {
            self.tracker.chain(*protocol, legs);
        }
        self.outcome.append(outcome);
        Ok(())
    }

    /// Counts what all parts have moved, and how long they have waited.
    fn count(&mut self) {
        let mut flow = self.ended;
        self.active.values().for_each(|part| flow.add(&part.news.borrow().flow));
        self.tracker.record_parts(flow);
    }

    fn publish(&mut self) {
        self.count();
        self.show_largest();
        let size = self.results().total().map(|_| {
            let active = self.active.values().map(Active::size);
            self.ended.bytes_in + active.sum::<u64>() + self.queue.iter().map(expected).sum::<u64>()
        });
        self.tracker.size(size);
        self.tracker.set_problem(self.problem());
        self.tracker.publish();
    }

    /// Names the largest of the running parts to the hops' reports, until that ends: they tell what limits it.
    fn show_largest(&mut self) {
        if self.shown.is_none_or(|id| !self.active.contains_key(&id)) {
            self.shown = self.active.iter().max_by_key(|(_, part)| part.size()).map(|(id, _)| *id);
        }
        let Some(part) = self.shown.and_then(|id| self.active.get(&id)) else { return };
        let news = part.news.borrow();
        if let Some(ids) = news.ids {
            self.tracker.follow(ids);
        }
        if let (None, Some(protocol)) = (&self.outcome.chain, news.protocol) {
            self.tracker.chain(protocol, &news.legs);
            self.outcome.chain = Some((protocol, news.legs.clone()));
        }
    }

    /// Returns why no part moves, if one is retried.
    fn problem(&self) -> Option<(SafeText, Option<usize>)> {
        let parts = || self.active.values().map(|part| part.news.borrow());
        if parts().any(|part| part.phase == Phase::Streaming) {
            return None;
        }
        let failed = parts().find(|part| part.phase == Phase::Retrying)?;
        Some((format!("{}: retrying", failed.error.as_ref()?).into(), failed.failed_hop))
    }
}

/// Waits for the page that is requested; `None` if there is none.
async fn next_page(page: &mut Option<NextPage>) -> Option<(Walk, Result<Batch, Error>)> {
    let next = page.as_mut()?.await;
    *page = None;
    Some(next)
}

/// Returns about how many bytes a part has.
fn expected(work: &Work) -> u64 {
    match work {
        Work::Run(run) => run.bytes,
        Work::File(item) => item.size.unwrap_or_default(),
    }
}

/// Returns the error of a request for a folder, with the way out if the origin does not serve folders.
pub(super) fn without_folders(error: Error) -> Error {
    let Error::Hop(mut fault) = error else { return error };
    let unknown = match fault.problem.reason {
        Reason::Unsupported | Reason::BadResponse | Reason::Method => true,
        // Our own origins say so in a document of their own.
        Reason::NotFound | Reason::Policy | Reason::Unauthorized => fault.problem.server.is_some(),
        _ => false,
    };
    if unknown {
        let detail = format!("{}: name the files of a folder with --list-from", fault.problem.detail);
        fault.problem.detail = detail.trim_start_matches(": ").into();
    }
    Error::Hop(fault)
}
