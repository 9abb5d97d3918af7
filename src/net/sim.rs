//! A world inside one thread, for tests alone: sockets that lead to whatever a test says, and time that passes only
//! while nothing moves.
//!
//! Sockets are pairs of local ones, so that everything above them is the program as it is: system calls, pipes, closes
//! and all. Such a pair delivers within the call that sends; what is left is to keep the paused clock from jumping
//! while something that was delivered has not been looked at, and while the disk works. So a run depends on nothing but
//! its seed. What TCP alone has, a reset that nothing unread provoked, is for the tests with real connections.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use super::os::machine::Machine;
use super::os::version::Version;
use faulty::Seeded;

#[path = "../../tests/it/support/faulty.rs"]
pub(crate) mod faulty;
mod tests;

/// Rounds without news after which nothing is on its way any more: from one socket to the next it takes one.
const SETTLED: u32 = 3;
/// No disk takes so long, in real time.
const STUCK: Duration = Duration::from_secs(20);

/// Where a connected to address leads.
type Connector = Box<dyn Fn(SocketAddr) -> io::Result<OwnedFd>>;

struct World {
    connector: Connector,
    random: Seeded,
    /// The versions of files that were met, in that order.
    versions: Vec<Version>,
    /// Everything that moved, and when: two runs that are alike have the same.
    trace: u64,
    began: Option<tokio::time::Instant>,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    static ROUNDS: Cell<u32> = const { Cell::new(0) };
    static LOOKS: Cell<bool> = const { Cell::new(false) };
    static LOOK_AGAIN: Arc<Notify> = Arc::default();
}

/// Threads for disks: those of the world's own runtime would hold its clock for as long as they live.
static DISKS: LazyLock<Runtime> = LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).build().unwrap());

/// Runs a world of this seed to the end of `main`; with the answer comes the trace.
fn run<F: Future>(seed: u64, connector: Connector, main: impl FnOnce() -> F) -> (F::Output, u64) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .on_thread_park(before_time_passes)
        .on_thread_unpark(after_time_passed)
        .build()
        .unwrap();
    WORLD.set(Some(World { connector, random: Seeded::new(!seed), versions: Vec::new(), trace: 0, began: None }));
    let output = runtime.block_on(async {
        tokio::spawn(async {
            let again = LOOK_AGAIN.with(Arc::clone);
            loop {
                again.notified().await;
            }
        });
        main().await
    });
    drop(runtime);
    let world = WORLD.take();
    (output, world.map_or(0, |world| world.trace))
}

/// There may be more to see: time has to wait.
fn news() {
    ROUNDS.set(0);
}

/// Called when nothing is left to do but to let time pass. With something to do after all, the runtime looks at every
/// socket and does not wait: so it is given that, a few times.
fn before_time_passes() {
    let looks = ROUNDS.get() < SETTLED;
    LOOKS.set(looks);
    if looks {
        ROUNDS.set(ROUNDS.get() + 1);
        LOOK_AGAIN.with(|again| again.notify_one());
    }
}

fn after_time_passed() {
    if !LOOKS.get() {
        news();
    }
}

/// So many bytes moved.
fn moved(bytes: usize) {
    news();
    let now = tokio::time::Instant::now();
    WORLD.with_borrow_mut(|world| {
        if let Some(world) = world {
            let since = now.duration_since(*world.began.get_or_insert(now));
            world.trace = (world.trace ^ since.as_micros() as u64 ^ (bytes as u64) << 40).wrapping_mul(0x100_0000_01b3);
        }
    });
}

/// The machine of the world that this thread is. What a run costs is no part of what its seed decides, so that it has
/// no load and is never late; a thread that waits for work as long as it lives is none of its clock's.
const MACHINE: Machine = Machine {
    connect: open,
    random,
    etag,
    load: || None,
    is_timed: false,
    disks: || DISKS.handle().clone(),
    settle: wait,
};

/// A connection to an address.
fn open(address: SocketAddr, _buffers: Option<u32>) -> io::Result<OwnedFd> {
    WORLD.with_borrow(|world| (world.as_ref().expect("a world").connector)(address))
}

/// Numbers for names.
fn random() -> [u8; 16] {
    WORLD.with_borrow_mut(|world| {
        let random = &mut world.as_mut().expect("a world").random;
        let (high, low) = (random.next(), random.next());
        (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
    })
}

/// The validator of a file: how many versions of files were met before this one, which is what it is apart from when
/// and where. Faults alter it, and what comes of that depends on what it was.
fn etag(version: &Version) -> String {
    let ordinal = WORLD.with_borrow_mut(|world| {
        let versions = &mut world.as_mut().expect("a world").versions;
        versions.iter().position(|known| known == version).unwrap_or_else(|| {
            versions.push(*version);
            versions.len() - 1
        })
    });
    format!("\"{ordinal:032x}-{:x}\"", version.size)
}

/// Lets the disk do what it was given, in real time, before anything else happens in this world: else it would depend
/// on the disk what comes first.
fn wait(done: &dyn Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < STUCK, "the disk does not answer");
        thread::sleep(Duration::from_micros(10));
    }
}

/// Two ends of one connection: the one that connected to, and the other.
fn pair() -> io::Result<(OwnedFd, TcpStream)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (near, far) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok((near, TcpStream::from_std(far.into())?))
}
