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
use tokio_util::sync::CancellationToken;

const SEEDS: u64 = 300;
const FULL: u64 = 10_000;
/// The content of the user's own files.
const OWN: &[u8] = b"a person's own words";
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
    LeftOver,
    LeftOverSwapped,
}

const BEFORE: [Before; 6] =
    [Before::Nothing, Before::OwnPart, Before::OwnState, Before::LinkedPart, Before::LeftOver, Before::LeftOverSwapped];

struct World {
    folder: TempDir,
    input: PathBuf,
    route: Route,
    name: String,
    /// The user's own files, open: their content must stay the same, wherever they are.
    own: Vec<File>,
}

impl World {
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
            Before::LeftOver | Before::LeftOverSwapped => {
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
                if before == Before::LeftOverSwapped && fs::remove_file(self.path(".part")).is_ok() {
                    self.lay(".part");
                }
            }
        }
    }

    fn job(&self, rate: u64) -> FetchJob {
        let limits = Limits { stall: Duration::from_millis(700), ..Limits::default() };
        let mut job = FetchJob::new(1, self.route.clone(), self.folder.path().to_owned(), limits);
        (job.retries, job.cap) = (2, RateLimit::new(Some(rate)));
        job
    }

    /// Applies the change once the partial file exists and has this many bytes, or not at all; returns a file of the
    /// user.
    fn befall(&self, fault: Fault, at: u64, over: &AtomicBool) -> Option<File> {
        let (part, state) = (self.path(".part"), self.path(".part.state"));
        while !fs::metadata(&part).is_ok_and(|found| found.len() >= at) {
            if over.load(Relaxed) {
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

async fn one(world: &World, rate: u64, skip_proof: bool) -> Result<Fetched, Error> {
    let mut job = world.job(rate);
    if skip_proof {
        job.verify = VerifyMode::Skip;
    }
    let mut upstream = client(Arc::default(), job.limits, None);
    let (progress, stop) = (watch::channel(TransferSnapshot::default()).0, CancellationToken::new());
    fetch(&mut upstream, &mut job, &progress, &stop).await
}

/// Runs the same fetch in a process of its own; returns whether it reports success.
fn process(world: &World) -> bool {
    let mut command = chainview();
    command.arg("--fetch").arg(&world.input).arg("-o").arg(world.folder.path()).arg("-q");
    command.args(["--stall-timeout", "1s"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}

/// Runs one scenario from start to end; returns how many fetches succeeded.
async fn live(seed: u64, address: &str, contents: &[(String, Vec<u8>)]) -> u64 {
    let mut random = Seeded::new(seed);
    // Large files take most of the time.
    let which = if random.one_in(8) { 2 } else { random.below(2) as usize };
    let (name, content) = &contents[which];
    let (before, fault) = (random.pick(&BEFORE), random.pick(&FAULTS));
    let (at, rate) = (random.below(content.len() as u64), 20_000_000 + random.below(100_000_000));
    let (two, other_process) = (random.one_in(2), random.one_in(8));
    let said = format!("seed {seed}: {name}, {before:?}, {fault:?} at {at}, two {two}, process {other_process}");
    let route = Route::parse(format!("{name}\n{address} protocol=http\n").as_bytes()).unwrap();
    let mut world = World::new(&route, name, address);
    world.prepare(before, content.len()).await;
    let (over, shared) = (Arc::new(AtomicBool::new(false)), Arc::new(world));
    let faults = {
        let (over, world) = (Arc::clone(&over), Arc::clone(&shared));
        tokio::task::spawn_blocking(move || world.befall(fault, at, &over))
    };
    let second = {
        let world = Arc::clone(&shared);
        async move {
            match (two, other_process) {
                (false, _) => None,
                (true, true) => Some(tokio::task::spawn_blocking(move || process(&world)).await.unwrap()),
                (true, false) => Some(one(&world, rate, false).await.is_ok()),
            }
        }
    };
    let (first, second) = tokio::join!(one(&shared, rate, false), second);
    over.store(true, Relaxed);
    let theirs = faults.await.unwrap();
    let world = &*shared;
    let target = world.path("");
    let successes = u64::from(first.is_ok()) + u64::from(second == Some(true));
    if successes > 0 {
        assert!(fs::read(&target).is_ok_and(|found| found == *content), "a wrong success: {said}: {first:?}");
    } else {
        assert!(!target.exists(), "{said}: {first:?}");
    }
    // In every case the next fetch gets the file, and no files accumulate.
    let last = one(world, 1_000_000_000, false).await;
    assert!(last.is_ok(), "{said}: {last:?}, there are {:?}", world.names());
    assert!(fs::read(&target).unwrap() == *content && world.names().len() <= 8, "{said}: {:?}", world.names());
    // A fault may have removed what was there before; nothing else may.
    let removes = matches!(
        fault,
        Fault::Removed | Fault::Replaced | Fault::RenamedOver | Fault::StateRemoved | Fault::StateReplaced
    );
    let (before, during) = (world.own.iter().map(|file| (file, removes)), theirs.iter().map(|file| (file, false)));
    for (file, may_be_gone) in before.chain(during) {
        let found = file.metadata().unwrap();
        let mut holds = vec![0; OWN.len()];
        let read = file.read_at(&mut holds, 0).unwrap();
        assert!(
            found.len() == OWN.len() as u64 && read == OWN.len() && holds == OWN,
            "a person's file changed: {said}"
        );
        assert!(found.nlink() > 0 || may_be_gone, "a person's file is gone: {said}, there are {:?}", world.names());
        let stands = fs::metadata(&target).unwrap().ino();
        assert!(found.ino() != stands, "a person's file was taken for the result: {said}");
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
    let address = node.address().to_string();
    let asked = std::env::var("CHAINVIEW_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = asked.map_or(1..=if full { FULL } else { SEEDS }, |seed| seed..=seed);
    let (count, mut successes) = (seeds.clone().count(), 0);
    for seed in seeds {
        successes += live(seed, &address, &contents).await;
    }
    println!("{count} transfers under faults: {successes} successes, none of them wrong");
    assert!(successes > 0 || asked.is_some());
}
