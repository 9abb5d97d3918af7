//! Files over several connections and routes, of which any may fail at any byte: whatever arrives is the file, and
//! whatever was kept is continued by a later fetch.

#[path = "parts/origin.rs"]
mod origin;
#[path = "parts/world.rs"]
mod world;

use std::env;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use chainview::error::Error;
use chainview::limits::Limits;
use chainview::net::fetch::{FetchJob, Fetched, RateLimit, client, fetch};
use chainview::options::VerifyMode;
use chainview::snapshot::{Integrity, TransferSnapshot};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{Before, RELEASE, all, full, short};
use world::{Run, World};

/// Seeds by default, and of the long version.
const SEEDS: u64 = 30;
const FULL: u64 = 1000;
/// A fetch with all its retries, under load.
const LONGEST_FETCH: Duration = Duration::from_mins(2);
/// The name of the threads of this runtime.
const THREAD: &str = "parts";
const WORKERS: usize = 2;

/// What was seen in all runs.
#[derive(Debug, Default)]
struct Tally {
    runs: usize,
    /// First fetches that succeeded.
    arrived: usize,
    /// Those that received bytes over several connections, and over several routes.
    several_connections: usize,
    several_routes: usize,
    /// Later fetches that had bytes of the first one.
    resumed: usize,
    /// First fetches without a digest to verify them by: with `--no-verify`, or because faults have hidden it.
    unverified: usize,
    violations: Vec<u64>,
}

impl Tally {
    /// Adds the run of a seed; `None` if it has panicked.
    fn add(&mut self, seed: u64, run: Option<Self>) {
        let Some(run) = run else { return self.violations.push(seed) };
        self.runs += run.runs;
        self.arrived += run.arrived;
        self.several_connections += run.several_connections;
        self.several_routes += run.several_routes;
        self.resumed += run.resumed;
        self.unverified += run.unverified;
    }
}

impl Run {
    /// Fetches under faults, then without them until the file is there; returns what it adds to the tally.
    async fn run(&self) -> Tally {
        let what = &self.description;
        let began = Instant::now();
        let (first, progress) = self.fetch(&self.job(0), self.cancelled_at).await;
        assert!(began.elapsed() < LONGEST_FETCH, "{:?}: {what}: {first:?}", began.elapsed());
        self.assert_valid(&first);
        self.faults_end.cancel();
        let seen = progress.connections.as_ref();
        let connections = seen.map_or(0, |seen| seen.connections.iter().filter(|one| one.received > 0).count());
        let routes = seen.map_or(0, |seen| seen.routes.iter().filter(|route| route.received > 0).count());
        let mut tally = Tally {
            runs: 1,
            arrived: usize::from(first.is_ok()),
            several_connections: usize::from(connections > 1),
            several_routes: usize::from(routes > 1),
            unverified: usize::from(
                first.as_ref().is_ok_and(|first| !matches!(first.integrity, Integrity::Verified { .. })),
            ),
            ..Tally::default()
        };
        if first.is_ok() {
            return tally;
        }
        let mut job = self.job(1);
        (job.limits, job.retries, job.rate_limit) = (Limits::default(), 3, RateLimit::default());
        let (mut last, resumed) = self.fetch(&job, None).await;
        // What an altered byte is a part of is found at the end, and received again by the next fetch.
        if self.alters && matches!(last, Err(Error::Altered { .. } | Error::Changed { .. })) {
            (last, _) = self.fetch(&job, None).await;
        }
        assert!(last.is_ok(), "not completed: {what}: after {first:?}: {last:?}");
        self.assert_valid(&last);
        let is_same = self.routes.len() == 1 && !self.alters && !self.false_heads;
        let resumable = progress.resumable.is_some() && is_same;
        assert!(
            !resumable || resumed.resumed_from > 0,
            "nothing was resumed, {:?}: {what}: after {first:?}",
            resumed.started_over
        );
        tally.resumed = usize::from(resumed.resumed_from > 0);
        tally
    }

    fn job(&self, number: usize) -> FetchJob {
        let mut routes = self.routes.clone();
        // Other routes on resume; with one origin the same.
        if number == 1 {
            routes.rotate_left(1);
        }
        let output = self.folder.path().join("f");
        let mut job = FetchJob::new(1, routes.remove(0), output, short());
        (job.routes, job.connections) = (routes, self.connections[number].parse().unwrap());
        (job.retries, job.verify, job.rate_limit) = (self.retries, self.verify, RateLimit::new(self.rate));
        job
    }

    async fn fetch(&self, job: &FetchJob, cancelled_at: Option<u64>) -> (Result<Fetched, Error>, TransferSnapshot) {
        let (progress, stop) = (watch::channel(TransferSnapshot::default()).0, CancellationToken::new());
        let mut upstream = client(Arc::default(), job.limits, None);
        let mut job = job.clone();
        let mut seen = progress.subscribe();
        let cancelling = async {
            let Some(at) = cancelled_at else { return };
            let _ = seen.wait_for(|now| now.received >= at || now.phase.is_over()).await;
            stop.cancel();
        };
        // On the heap: all futures of the test are in one list.
        let fetching = Box::pin(fetch(&mut upstream, &mut job, &progress, &stop));
        let (fetched, ()) = tokio::join!(fetching, cancelling);
        let last = progress.borrow().clone();
        (fetched, last)
    }

    /// Checks that a success is the file, and that a failure has left nothing under its name.
    fn assert_valid(&self, fetched: &Result<Fetched, Error>) {
        let what = &self.description;
        let names = names(self.folder.path());
        let Ok(fetched) = fetched else {
            assert!(!names.iter().any(|name| name == "f"), "a failure that left a file: {what}: {fetched:?}");
            return;
        };
        let found = fs::read(&fetched.path).unwrap();
        let is_version = |version: usize| found == *self.versions[version].0;
        let verified = matches!(fetched.integrity, Integrity::Verified { .. });
        let expects = matches!(self.verify, VerifyMode::Expect(_));
        assert!(verified || !expects, "not verified: {what}");
        // A further fault may hide the origin's digest: then the user is warned that only the size is verified.
        let excused = self.alters && !verified;
        assert!(
            is_version(0) || (self.changes && is_version(1)) || excused,
            "a wrong success, {:?}, {:?}: {what}",
            fetched.integrity,
            differences(&found, &self.versions[0].0)
        );
        assert_eq!(names, ["f"], "{what}");
    }
}

/// Returns the ranges in which two files differ, the first few.
fn differences(found: &[u8], expected: &[u8]) -> (usize, Vec<usize>) {
    let blocks = found.chunks(4096).zip(expected.chunks(4096)).enumerate();
    let differing = blocks.filter(|(_, (found, expected))| found != expected);
    (found.len(), differing.map(|(number, _)| number * 4096).take(8).collect())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Returns the number of threads of this process with a name.
fn threads(name: &str) -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks.filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)).count()
}

#[test]
fn parts_under_faults_never_make_a_false_success() {
    let seeds = match env::var("CHAINVIEW_SEED") {
        Ok(seed) => seed.parse().unwrap()..=seed.parse().unwrap(),
        Err(_) => 1..=if full() { FULL } else { SEEDS },
    };
    // Threads for disks end soon after their last work, so that one that is still busy is seen.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name(THREAD)
        .thread_keep_alive(Duration::from_millis(100))
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let before = Before::now().await;
        let world = Arc::new(World::new().await);
        let total = Arc::new(Mutex::new(Tally::default()));
        all(seeds.clone().map(|seed| {
            let (world, total) = (Arc::clone(&world), Arc::clone(&total));
            async move {
                // A task of its own: the other seeds run, too, if this one panics.
                let ended = tokio::spawn(async move { Box::pin(world.run(seed).await.run()).await }).await;
                total.lock().unwrap().add(seed, ended.ok());
            }
        }))
        .await;
        let total = std::mem::take(&mut *total.lock().unwrap());
        println!("{total:?}");
        assert!(total.violations.is_empty(), "CHAINVIEW_SEED={:?}", total.violations);
        let few = seeds.count() < 10;
        assert!(few || (total.several_connections * 2 > total.runs && total.resumed > 0), "{total:?}");
        before.is_back(Arc::into_inner(world).unwrap().chain).await;
        let ended = Instant::now();
        while threads(THREAD) > WORKERS || threads("sync") > 0 {
            assert!(ended.elapsed() < RELEASE, "{} threads are left", threads(THREAD));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}
