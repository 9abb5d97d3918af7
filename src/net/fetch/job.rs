//! One file to fetch, what came of it, and the threads for its disk.

use std::path::PathBuf;
use std::time::Duration;

use super::rate_limit::RateLimit;
use crate::error::Error;
use crate::limits::Limits;
use crate::net::os::machine::Machine;
use crate::options::VerifyMode;
use crate::route::{Protocol, Route};
use crate::snapshot::{Flow, Integrity};
use crate::wire::{Digest, Leg, TransferId};

/// One file to fetch: what, from where, to where.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own, named as its flag is")]
pub struct FetchJob {
    /// Its number in this run, from 1.
    pub number: u64,
    /// Its id on the wire: never used twice, and the right to ask the hops about it. Each try has its own; this is the
    /// latest.
    pub id: TransferId,
    /// The file and the hops.
    pub route: Route,
    /// The file or folder to write to, or an [`Output`](super::Output).
    pub output: PathBuf,
    /// Replace a file that is there already.
    pub force: bool,
    /// Give the file the modification time that the origin tells.
    pub times: bool,
    /// Ask first whether the file that is there already is the same, and move nothing then; not where the transfer
    /// itself is what a person wants to see.
    pub reuse: bool,
    /// Go on with what an earlier fetch left of the file, where it is the same file still.
    pub resume: bool,
    /// The largest file that is taken.
    pub max_size: Option<u64>,
    /// Further tries in a row that may bring nothing, once the file has begun to arrive.
    pub retries: u32,
    /// What to compare the bytes with.
    pub verify: VerifyMode,
    /// The most it takes; whoever has a clone can turn it while the transfer runs.
    pub cap: RateLimit,
    /// The waits.
    pub limits: Limits,
    /// Where it runs.
    pub machine: Machine,
}

/// A file that is in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub size: u64,
    /// How sure we are of its content.
    pub integrity: Integrity,
    /// The digest that the origin gave.
    pub origin: Option<Digest>,
    /// The same bytes were there already.
    pub already_present: bool,
    /// The wire that the first hop speaks.
    pub protocol: Protocol,
    /// What each leg's set-up took, the client's own first.
    pub legs: Vec<Leg>,
    /// From the question to the file in its place.
    pub elapsed: Duration,
    /// What the client's own stage did.
    pub flow: Flow,
}

impl FetchJob {
    /// A job with a new id that goes on with what is there, and is tried once.
    pub fn new(number: u64, route: Route, output: PathBuf, limits: Limits) -> Self {
        let machine = Machine::default();
        Self {
            number,
            id: machine.transfer_id(),
            route,
            output,
            force: false,
            times: true,
            reuse: true,
            resume: true,
            max_size: None,
            retries: 0,
            verify: VerifyMode::default(),
            cap: RateLimit::default(),
            limits,
            machine,
        }
    }
}

/// Disk work that may take long has a thread of its own, so that it holds up no socket.
pub(super) async fn blocking<T: Send + 'static>(
    machine: Machine,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let working = tokio::task::spawn_blocking(work);
    (machine.settle)(&|| working.is_finished());
    match working.await {
        Ok(result) => result,
        Err(error) => Err(Error::Other(format!("the disk thread failed: {error}"))),
    }
}
