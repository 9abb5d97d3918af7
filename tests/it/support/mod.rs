//! Code shared by the tests: a stand-in for the legacy program, child processes, chains of both, the matrix.
pub(crate) mod chain;
pub(crate) mod faulty;
pub(crate) mod free;
pub(crate) mod matrix;
pub(crate) mod process;
pub(crate) mod script;
pub(crate) mod snapshots;
pub(crate) mod standin;
pub(crate) mod terminal;

use std::fmt;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Far longer than any fetch of these tests takes, even on a loaded machine; after this it counts as stuck.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

/// Runs a check of each of these at the same time: most of a check is a wait.
pub(crate) fn at_once<T: Send>(items: impl IntoIterator<Item = T>, check: impl Fn(T) + Sync) {
    let check = &check;
    thread::scope(|scope| {
        for item in items {
            scope.spawn(move || check(item));
        }
    });
}

/// How fast a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pace {
    /// As fast as bytes arrive.
    Fast,
    /// A few MiB a second with long pauses, so that every sender in the chain meets a full window.
    Slow,
}

/// How a client of either program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Ended as after a success; whether the bytes are right is checked separately.
    Done,
    /// The file does not exist, by the reply.
    NotThere,
    /// The legacy client met a clean end before the last byte, and reads forever.
    Spins(u64),
    /// The connection was reset after this many bytes.
    Reset(u64),
    /// The legacy client got a text instead of a size, and stopped.
    NotASize(String),
    /// It did not end within the tests' timeout.
    Stuck,
    /// chainview's exit code and last line.
    Failed(i32, String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::NotThere => f.write_str("not there"),
            Self::Spins(received) => write!(f, "spins forever after {received} bytes"),
            Self::Reset(received) => write!(f, "reset after {received} bytes"),
            Self::NotASize(text) => write!(f, "not a size: {text:?}"),
            Self::Stuck => f.write_str("stuck"),
            Self::Failed(code, text) => write!(f, "exit {code}: {text}"),
        }
    }
}

/// Content of a file of this size, different at every offset, so that a lost or repeated chunk shows.
pub(crate) fn content(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ size as u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        // Xorshift: no two chunks of a file are alike, and every run has the same files.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

/// Accepts the next connection; without one the test fails instead of waiting forever.
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    let listener = listener.try_clone().unwrap();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(listener.accept()));
    let (stream, _) = receiver.recv_timeout(TIMEOUT).expect("a connection").unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}
