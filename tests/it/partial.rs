//! Fetches whose partial file is removed, replaced, moved, linked, locked or shared during the transfer: after a
//! success the final name holds the file, and no file of the user is changed.

use crate::support;
use crate::support::faulty;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use chainview::error::Error;
use chainview::limits::Limits;
use chainview::net::fetch::{FetchJob, Fetched, RateLimit, client, fetch};
use chainview::options::VerifyMode;
use chainview::route::Route;
use chainview::snapshot::TransferSnapshot;
use faulty::Seeded;
use rustix::fs::{FlockOperation, flock};
use support::content;
use support::process::{Node, chainview};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const SEEDS: u64 = 300;
const FULL: u64 = 10_000;
/// Scenarios at a time: most of one is a wait.
const PARALLEL: usize = 4;
/// The content of the user's own files.
const OWN: &[u8] = b"a file of the user";
/// Without a name while they are filled, with one, and with resume points.
const SIZES: [usize; 3] = [200_000, 1_500_000, 15_000_000];

/// What happens to the partial file.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Nothing,
    Removed,
    Replaced,
    RenamedOver,
    MovedAway,
    HardLinked,
    WritableByAll,
    StateRemoved,
    StateReplaced,
    LockedForAWhile,
}

const FAULTS: [Fault; 10] = [
    Fault::Nothing,
    Fault::Removed,
    Fault::Replaced,
    Fault::RenamedOver,
    Fault::MovedAway,
    Fault::HardLinked,
    Fault::WritableByAll,
    Fault::StateRemoved,
    Fault::StateReplaced,
    Fault::LockedForAWhile,
];

/// What exists before the fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    OwnPart,
    OwnState,
    LinkedPart,
    Partial,
    PartialSwapped,
}

const BEFORE: [Before; 6] =
    [Before::Nothing, Before::OwnPart, Before::OwnState, Before::LinkedPart, Before::Partial, Before::PartialSwapped];

struct Scenario {
    folder: TempDir,
    input: PathBuf,
    route: Route,
    name: String,
    /// The user's own files, open: their content must stay the same, wherever they are.
    own: Vec<File>,
}

impl Scenario {
    fn new(route: &Route, name: &str, address: &str) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let input = folder.path().join("input.txt");
        fs::write(&input, format!("{name}\n{address} protocol=http\n")).unwrap();
        Self { folder, input, route: route.clone(), name: name.to_owned(), own: Vec::new() }
    }

    fn path(&self, suffix: &str) -> PathBuf {
        self.folder.path().join(format!("{}{suffix}", self.name))
    }

    /// Creates a file of the user.
    fn lay(&mut self, suffix: &str) {
        let path = self.path(suffix);
        fs::write(&path, OWN).unwrap();
        self.own.push(File::open(path).unwrap());
    }

    async fn prepare(&mut self, before: Before, size: usize) {
        match before {
            Before::Nothing => {}
            Before::OwnPart => self.lay(".part"),
            Before::OwnState => self.lay(".part.state"),
            Before::LinkedPart => {
                self.lay(".precious");
                symlink(self.path(".precious"), self.path(".part")).unwrap();
            }
            Before::Partial | Before::PartialSwapped => {
                let (progress, stop) = (watch::channel(TransferSnapshot::default()).0, CancellationToken::new());
                let mut seen = progress.subscribe();
                let halfway = async {
                    let _ = seen.wait_for(|now| now.received > size as u64 / 3 || now.phase.is_over()).await;
                    stop.cancel();
                };
                let mut job = self.job(40_000_000);
                let mut upstream = client(Arc::default(), job.limits, None);
                let fetching = fetch(&mut upstream, &mut job, &progress, &stop);
                let (_, ()) = tokio::join!(fetching, halfway);
                if before == Before::PartialSwapped && fs::remove_file(self.path(".part")).is_ok() {
                    self.lay(".part");
                }
            }
        }
    }

    fn job(&self, rate: u64) -> FetchJob {
        let limits = Limits { stall: Duration::from_millis(700), ..Limits::default() };
        let mut job = FetchJob::new(1, self.route.clone(), self.folder.path().to_owned(), limits);
        (job.retries, job.rate_limit) = (2, RateLimit::new(Some(rate)));
        job
    }

    /// Applies the change once the partial file exists and has this many bytes, or not at all; returns a file of the
    /// user.
    fn apply(&self, fault: Fault, at: u64, done: &AtomicBool) -> Option<File> {
        let (part, state) = (self.path(".part"), self.path(".part.state"));
        while !fs::metadata(&part).is_ok_and(|found| found.len() >= at) {
            if done.load(Relaxed) {
                return None;
            }
            thread::sleep(Duration::from_micros(100));
        }
        let made = |path: &Path| {
            let file = File::options().read(true).write(true).create_new(true).open(path).ok()?;
            file.write_all_at(OWN, 0).unwrap();
            Some(file)
        };
        match fault {
            Fault::Nothing => None,
            Fault::Removed => fs::remove_file(&part).err().and(None),
            Fault::Replaced => fs::remove_file(&part).ok().and_then(|()| made(&part)),
            Fault::RenamedOver => {
                let file = made(&self.path(".new"))?;
                fs::rename(self.path(".new"), &part).unwrap();
                Some(file)
            }
            Fault::MovedAway => fs::rename(&part, self.path(".moved")).err().and(None),
            Fault::HardLinked => fs::hard_link(&part, self.path(".second")).err().and(None),
            Fault::WritableByAll => {
                fs::set_permissions(&part, std::os::unix::fs::PermissionsExt::from_mode(0o666)).err().and(None)
            }
            Fault::StateRemoved => fs::remove_file(&state).err().and(None),
            Fault::StateReplaced => fs::remove_file(&state).ok().and_then(|()| made(&state)),
            Fault::LockedForAWhile => {
                // Another open file, as another process would have it.
                let file = File::open(&part).ok()?;
                let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
                thread::sleep(Duration::from_millis(20));
                None
            }
        }
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "input.txt")
            .collect();
        names.sort();
        names
    }
}

async fn one(scenario: &Scenario, rate: u64, skip_digest: bool) -> Result<Fetched, Error> {
    let mut job = scenario.job(rate);
    if skip_digest {
        job.verify = VerifyMode::Skip;
    }
    let mut upstream = client(Arc::default(), job.limits, None);
    let (progress, stop) = (watch::channel(TransferSnapshot::default()).0, CancellationToken::new());
    fetch(&mut upstream, &mut job, &progress, &stop).await
}

/// Runs the same fetch in a process of its own; returns whether it reports success.
fn process(scenario: &Scenario) -> bool {
    let mut command = chainview();
    command.arg("--fetch").arg(&scenario.input).arg("-o").arg(scenario.folder.path()).arg("-q");
    command.args(["--stall-timeout", "1s"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}

/// Runs one scenario from start to end; returns how many fetches succeeded.
async fn run(seed: u64, address: &str, contents: &[(String, Vec<u8>)]) -> u64 {
    let mut random = Seeded::new(seed);
    // Large files take most of the time.
    let which = if random.one_in(8) { 2 } else { random.below(2) as usize };
    let (name, content) = &contents[which];
    let (before, fault) = (random.pick(&BEFORE), random.pick(&FAULTS));
    let (at, rate) = (random.below(content.len() as u64), 20_000_000 + random.below(100_000_000));
    let (two, other_process) = (random.one_in(2), random.one_in(8));
    let description = format!("seed {seed}: {name}, {before:?}, {fault:?} at {at}, two {two}, process {other_process}");
    let route = Route::parse(format!("{name}\n{address} protocol=http\n").as_bytes()).unwrap();
    let mut scenario = Scenario::new(&route, name, address);
    scenario.prepare(before, content.len()).await;
    let (done, shared) = (Arc::new(AtomicBool::new(false)), Arc::new(scenario));
    let faults = {
        let (done, scenario) = (Arc::clone(&done), Arc::clone(&shared));
        tokio::task::spawn_blocking(move || scenario.apply(fault, at, &done))
    };
    let second = {
        let scenario = Arc::clone(&shared);
        async move {
            match (two, other_process) {
                (false, _) => None,
                (true, true) => Some(tokio::task::spawn_blocking(move || process(&scenario)).await.unwrap()),
                (true, false) => Some(one(&scenario, rate, false).await.is_ok()),
            }
        }
    };
    let (first, second) = tokio::join!(one(&shared, rate, false), second);
    done.store(true, Relaxed);
    let theirs = faults.await.unwrap();
    let scenario = &*shared;
    let target = scenario.path("");
    let successes = u64::from(first.is_ok()) + u64::from(second == Some(true));
    if successes > 0 {
        assert!(fs::read(&target).is_ok_and(|found| found == *content), "a false success: {description}: {first:?}");
    } else {
        assert!(!target.exists(), "{description}: {first:?}");
    }
    // In every case the next fetch gets the file, and no files accumulate.
    let last = one(scenario, 1_000_000_000, false).await;
    assert!(last.is_ok(), "{description}: {last:?}, there are {:?}", scenario.names());
    assert!(
        fs::read(&target).unwrap() == *content && scenario.names().len() <= 8,
        "{description}: {:?}",
        scenario.names()
    );
    // A fault may have removed what was there before; nothing else may.
    let removes = matches!(
        fault,
        Fault::Removed | Fault::Replaced | Fault::RenamedOver | Fault::StateRemoved | Fault::StateReplaced
    );
    let (before, during) = (scenario.own.iter().map(|file| (file, removes)), theirs.iter().map(|file| (file, false)));
    for (file, may_be_removed) in before.chain(during) {
        let found = file.metadata().unwrap();
        let mut holds = vec![0; OWN.len()];
        let read = file.read_at(&mut holds, 0).unwrap();
        assert!(
            found.len() == OWN.len() as u64 && read == OWN.len() && holds == OWN,
            "a file of the user changed: {description}"
        );
        assert!(
            found.nlink() > 0 || may_be_removed,
            "a file of the user was removed: {description}, there are {:?}",
            scenario.names()
        );
        let published = fs::metadata(&target).unwrap().ino();
        assert!(found.ino() != published, "a file of the user was taken for the result: {description}");
    }
    successes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tampering_with_a_partial_file_never_makes_a_false_success() {
    let full = std::env::var_os("CHAINVIEW_FAULTS").is_some_and(|value| value == "full");
    let served = tempfile::tempdir().unwrap();
    let contents: Vec<(String, Vec<u8>)> = SIZES.iter().map(|size| (format!("file-{size}"), content(*size))).collect();
    for (name, content) in &contents {
        fs::write(served.path().join(name), content).unwrap();
        // A file that has not changed recently has a cached digest.
        let old = std::time::SystemTime::now() - Duration::from_hours(1);
        File::options().write(true).open(served.path().join(name)).unwrap().set_modified(old).unwrap();
    }
    let node = Node::chainview(served.path(), &[]);
    let given = Arc::new((node.address().to_string(), contents));
    let requested = std::env::var("CHAINVIEW_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = requested.map_or(1..=if full { FULL } else { SEEDS }, |seed| seed..=seed);
    let (count, mut successes, mut running) = (seeds.clone().count(), 0, JoinSet::new());
    for seed in seeds {
        if running.len() == PARALLEL {
            successes += running.join_next().await.unwrap().unwrap();
        }
        let given = Arc::clone(&given);
        running.spawn(async move { run(seed, &given.0, &given.1).await });
    }
    successes += running.join_all().await.iter().sum::<u64>();
    println!("{count} transfers under faults: {successes} successes, none of them wrong");
    assert!(successes > 0 || requested.is_some());
}
