//! The transfers of one run: started, followed, cancelled, and what the hops say of them afterwards.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cli::FetchPlan;
use crate::error::Error;
use crate::net::accounts::{accounts, reach};
use crate::net::fetch::{self, FetchJob};
use crate::net::link::Links;
use crate::route::Route;
use crate::snapshot::{Flow, Phase, TransferSnapshot};
use crate::verdict::{Stage, Verdict, judge};

/// Transfers that may run at once; more are refused, for each is a whole chain of connections.
const AT_ONCE: usize = 16;
/// Transfers that are kept for the screen after they ended.
const KEPT: usize = 100;

/// All transfers of one run.
#[derive(Debug)]
pub(super) struct Transfers {
    plan: FetchPlan,
    links: Arc<Links>,
    started: u64,
    list: Vec<Transfer>,
    running: JoinSet<Ended>,
    judging: JoinSet<(u64, Verdict)>,
}

/// One transfer, running or not.
#[derive(Debug)]
struct Transfer {
    number: u64,
    news: watch::Receiver<TransferSnapshot>,
    stop: CancellationToken,
    verdict: Option<Verdict>,
}

/// What becomes known of a transfer at its end.
#[derive(Debug)]
pub(super) enum News {
    /// It is over; how it failed, if it did.
    Ended(u64, Option<Error>),
    /// The hops were asked, or had no more time to answer: what limited it.
    Judged(Verdict),
}

/// A transfer that is over and not judged yet.
#[derive(Debug)]
struct Ended {
    job: FetchJob,
    error: Option<Error>,
    flow: Flow,
    /// How many hops can say something of it; none is asked about one that never reached them, or was cancelled.
    reach: Option<usize>,
}

impl Transfers {
    pub(super) fn new(plan: FetchPlan) -> Self {
        Self {
            plan,
            links: Arc::default(),
            started: 0,
            list: Vec::new(),
            running: JoinSet::new(),
            judging: JoinSet::new(),
        }
    }

    /// Starts one; the answer is its number, or why not.
    pub(super) fn start(&mut self, route: Route) -> Result<u64, String> {
        if self.running.len() >= AT_ONCE {
            return Err(format!("{AT_ONCE} transfers run already: wait for one to end, or cancel one"));
        }
        self.started += 1;
        let number = self.started;
        let plan = &self.plan;
        let job = plan.job(number, route);
        let first = TransferSnapshot { number, name: job.route.file.shown(), ..TransferSnapshot::default() };
        let (progress, news) = watch::channel(first);
        let stop = CancellationToken::new();
        self.list.push(Transfer { number, news, stop: stop.clone(), verdict: None });
        let upstream = fetch::client(Arc::clone(&self.links), plan.limits, plan.wire);
        self.running.spawn(transfer(job, upstream, progress, stop));
        let over = |transfer: &Transfer| transfer.news.borrow().phase.is_over();
        if self.list.len() > KEPT
            && let Some(oldest) = self.list.iter().position(over)
        {
            self.list.remove(oldest);
        }
        Ok(number)
    }

    /// Cancels one that runs.
    pub(super) fn cancel(&self, number: u64) {
        if let Some(transfer) = self.list.iter().find(|transfer| transfer.number == number) {
            transfer.stop.cancel();
        }
    }

    /// Cancels all and waits for them.
    pub(super) async fn end(&mut self) {
        self.list.iter().for_each(|transfer| transfer.stop.cancel());
        while self.running.join_next().await.is_some() {}
    }

    /// The next news; `None` where none can come. Cancel-safe.
    ///
    /// That a transfer is over is told at once: a hop that answers no question would hold it back for a second.
    pub(super) async fn news(&mut self) -> Option<Result<News, String>> {
        let news = tokio::select! {
            biased;
            Some(ended) = self.running.join_next() => ended.map(|Ended { job, error, flow, reach }| {
                let number = job.number;
                self.judging.spawn(async move {
                    let accounts = match reach {
                        Some(reach) => accounts(&job.route, reach, job.id).await,
                        None => Vec::new(),
                    };
                    (number, judge(&flow, &Stage::of(&accounts)))
                });
                News::Ended(number, error)
            }),
            Some(judged) = self.judging.join_next() => judged.map(|(number, verdict)| {
                if let Some(transfer) = self.list.iter_mut().find(|transfer| transfer.number == number) {
                    transfer.verdict = Some(verdict);
                }
                News::Judged(verdict)
            }),
            else => return None,
        };
        Some(news.map_err(|error| error.to_string()))
    }

    /// Something is on its way.
    pub(super) fn any_running(&self) -> bool {
        !self.running.is_empty()
    }

    /// All of them, oldest first.
    pub(super) fn snapshots(&self) -> Vec<TransferSnapshot> {
        let copy = |transfer: &Transfer| {
            let snapshot = transfer.news.borrow().clone();
            TransferSnapshot { verdict: transfer.verdict.or(snapshot.verdict), ..snapshot }
        };
        self.list.iter().map(copy).collect()
    }

    /// What the client's own stage has done in all transfers whose bodies are moving.
    pub(super) fn flow(&self) -> Flow {
        let mut sum = Flow::default();
        for transfer in &self.list {
            let snapshot = transfer.news.borrow();
            if snapshot.phase == Phase::Streaming {
                sum.add(&snapshot.flow);
            }
        }
        sum
    }
}

async fn transfer(
    mut job: FetchJob,
    mut upstream: crate::net::upstream::Upstream,
    progress: watch::Sender<TransferSnapshot>,
    stop: CancellationToken,
) -> Ended {
    let result = fetch::fetch(&mut upstream, &mut job, &progress, &stop).await;
    let wire = result.as_ref().ok().map(|fetched| fetched.wire);
    let (flow, legs) = {
        let last = progress.borrow();
        (last.flow, last.legs.len())
    };
    let reach = (legs > 0 && !stop.is_cancelled()).then(|| reach(legs, wire));
    Ended { job, error: result.err(), flow, reach }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::net::fetch::ProofWish;
    use crate::net::limits::Limits;

    #[tokio::test]
    async fn the_end_of_a_transfer_is_told_before_the_hops_are_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // It sends the file; what it is asked afterwards, it leaves without an answer.
        let origin = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let read = stream.read(&mut head).await.unwrap();
            assert!(head[..read].ends_with(b"\r\n\r\n"));
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc").await.unwrap();
            (stream, listener.accept().await.unwrap())
        });
        let folder = tempfile::tempdir().unwrap();
        let mut transfers = Transfers::new(FetchPlan {
            file: None,
            output: folder.path().to_owned(),
            number: 1,
            jobs: 1,
            force: false,
            proof: ProofWish::Skip,
            wire: None,
            limits: Limits::default(),
        });
        let route = Route::parse(format!("f\n127.0.0.1 {port} wire=http\n").as_bytes()).unwrap();
        let number = transfers.start(route).unwrap();
        assert!(matches!(transfers.news().await, Some(Ok(News::Ended(1, None)))));
        let done = |transfers: &Transfers| transfers.snapshots()[0].clone();
        assert_eq!((number, done(&transfers).phase, done(&transfers).verdict), (1, Phase::Done, None));
        let asked = origin.await.unwrap();
        drop(asked);
        assert!(matches!(transfers.news().await, Some(Ok(News::Judged(_)))));
        assert!(done(&transfers).verdict.is_some() && transfers.news().await.is_none());
    }
}
