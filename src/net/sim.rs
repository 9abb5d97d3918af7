//! A simulated world in one thread, for tests: sockets that lead where a test decides, and a clock that advances only
//! while nothing moves.
//!
//! Sockets are local socket pairs, so that everything above them is the real program: system calls, pipes, closes and
//! all. Such a pair delivers within the call that sends; what remains is to keep the paused clock from jumping while
//! something that was delivered has not been read, and while the disk works. So a run depends only on its seed.
//! Behavior that only TCP has, such as a reset without unread data, is left to the tests with real connections.

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

mod chain;
#[path = "../../tests/it/support/faulty.rs"]
pub(crate) mod faulty;
mod shared;
mod tests;

/// Rounds without activity after which nothing is in flight: from one socket to the next it takes one.
const SETTLED: u32 = 3;
/// Timeout of the disk, in real time.
const DISK_TIMEOUT: Duration = Duration::from_secs(20);

/// Opens the connection to an address.
type Connector = Box<dyn Fn(SocketAddr) -> io::Result<OwnedFd>>;

struct World {
    connector: Connector,
    random: Seeded,
    /// Versions of files, in order of first use.
    versions: Vec<Version>,
    /// Everything that moved: µs since the first move, and bytes. Equal for equal runs.
    trace: Vec<(u64, usize)>,
    began: Option<tokio::time::Instant>,
}

thread_local! {
    static WORLD: RefCell<Option<World>> = const { RefCell::new(None) };
    static ROUNDS: Cell<u32> = const { Cell::new(0) };
    static POLLING: Cell<bool> = const { Cell::new(false) };
    static POLL_AGAIN: Arc<Notify> = Arc::default();
}

/// Threads for disks: those of the world's own runtime would stop its clock for as long as they run.
static DISKS: LazyLock<Runtime> = LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).build().unwrap());

/// Runs a world with this seed to the end of `main`; returns the output and the trace.
fn run<F: Future>(seed: u64, connector: Connector, main: impl FnOnce() -> F) -> (F::Output, Vec<(u64, usize)>) {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .on_thread_park(before_time_passes)
        .on_thread_unpark(after_time_passed)
        .build()
        .unwrap();
    WORLD.set(Some(World {
        connector,
        random: Seeded::new(!seed),
        versions: Vec::new(),
        trace: Vec::new(),
        began: None,
    }));
    let output = runtime.block_on(async {
        tokio::spawn(async {
            let again = POLL_AGAIN.with(Arc::clone);
            loop {
                again.notified().await;
            }
        });
        main().await
    });
    drop(runtime);
    let world = WORLD.take();
    (output, world.map_or_else(Vec::new, |world| world.trace))
}

/// Resets the rounds: there may be more to do before time may pass.
fn activity() {
    ROUNDS.set(0);
}

/// Called when the runtime would let time pass. If a task is ready then, the runtime polls every socket and does not
/// wait: so one is woken, a few times.
fn before_time_passes() {
    let polls = ROUNDS.get() < SETTLED;
    POLLING.set(polls);
    if polls {
        ROUNDS.set(ROUNDS.get() + 1);
        POLL_AGAIN.with(|again| again.notify_one());
    }
}

fn after_time_passed() {
    if !POLLING.get() {
        activity();
    }
}

/// Records that bytes moved.
fn moved(bytes: usize) {
    activity();
    let now = tokio::time::Instant::now();
    WORLD.with_borrow_mut(|world| {
        if let Some(world) = world {
            let since = now.duration_since(*world.began.get_or_insert(now));
            world.trace.push((since.as_micros() as u64, bytes));
        }
    });
}

/// The machine of this thread's world. Real time must not affect a run, so it has no load and no scheduling delay; its
/// blocking threads belong to another runtime.
const MACHINE: Machine = Machine {
    connect: open,
    random,
    etag,
    load: || None,
    is_timed: false,
    disks: || DISKS.handle().clone(),
    settle: wait,
};

/// Opens a connection to an address.
fn open(address: SocketAddr, _buffers: Option<u32>) -> io::Result<OwnedFd> {
    WORLD.with_borrow(|world| (world.as_ref().expect("a world").connector)(address))
}

/// Returns seeded random numbers.
fn random() -> [u8; 16] {
    WORLD.with_borrow_mut(|world| {
        let random = &mut world.as_mut().expect("a world").random;
        let (high, low) = (random.next(), random.next());
        (u128::from(high) << 64 | u128::from(low)).to_le_bytes()
    })
}

/// Returns the validator of a file: the number of versions used before it, independent of time and place. Faults alter
/// it, and the consequences depend on its value.
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

/// Waits in real time until the disk has finished, before anything else happens in this world: otherwise the order of
/// events would depend on the disk.
fn wait(done: &dyn Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < DISK_TIMEOUT, "the disk does not finish");
        thread::sleep(Duration::from_micros(10));
    }
}

/// Creates two ends of one connection: the connecting one, and the other.
fn pair() -> io::Result<(OwnedFd, TcpStream)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (near, far) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    Ok((near, TcpStream::from_std(far.into())?))
}
