//! One file to fetch, its result, and the threads for disk work.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::file_log::FileLog;
use super::group::Publisher;
use super::rate_limit::RateLimit;
use super::slots::Slot;
use crate::connections::Connections;
use crate::error::Error;
use crate::keys::{Fingerprint, KeyPair};
use crate::limits::Limits;
use crate::net::os::machine::Machine;
use crate::options::VerifyMode;
use crate::route::{Protocol, Route};
use crate::secret::Secret;
use crate::selection::Selection;
use crate::snapshot::{Flow, Integrity};
use crate::wire::{Digest, Leg, TransferId};

/// Parts of a folder that are received at a time by default: enough to cover the time between a reply and the next
/// request, while few compete for a bottleneck.
pub const DEFAULT_PARTS: usize = 4;

/// One file to fetch: what, from where, to where.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own, named as its flag is")]
pub struct FetchJob {
    /// Its number in this run, from 1.
    pub number: u64,
    /// Transfer id in the protocol: never reused, and the credential for querying the hops about the transfer. Each
    /// attempt has its own; this is the latest.
    pub id: TransferId,
    /// The file and the hops.
    pub route: Route,
    /// Other ways to the same file.
    pub routes: Vec<Route>,
    /// How many of the routes came before `route` as the user named them: since then they follow all others.
    pub passed: usize,
    /// How many connections receive the file, over all of these routes.
    pub connections: Connections,
    /// The file or folder to write to, or an [`Output`](super::Output).
    pub output: PathBuf,
    /// Replace an existing file.
    pub force: bool,
    /// Set the file's modification time to the one that the origin sends.
    pub times: bool,
    /// Allow its execution, unless it replaces a file: it is a file of a folder, and its owner may execute it at the
    /// origin.
    pub executable: bool,
    /// Check first whether the existing file is the same, and transfer nothing then; off when the user wants to watch
    /// the transfer itself.
    pub reuse: bool,
    /// Take an existing file of the same size and modification time as the same, as for the files of a folder.
    pub by_time: bool,
    /// Resume an earlier download, if the file is still the same.
    pub resume: bool,
    /// The files that are fetched, if it is a folder.
    pub selection: Arc<Selection>,
    /// Only find out which files of a folder would be received.
    pub dry_run: bool,
    /// Read token of the origin, sent with requests for folders; every hop on the way sees it.
    pub token: Option<Secret>,
    /// Key that signs the requests.
    pub identity: Option<Arc<KeyPair>>,
    /// Parts of a folder that are received at a time, each over its own chain.
    pub parts: usize,
    /// Receives the result of each file of a folder.
    pub files: FileLog,
    /// The largest size that is accepted.
    pub max_size: Option<u64>,
    /// Retries in a row that may make no progress, once the file has begun to arrive.
    pub retries: u32,
    /// What to verify the bytes with.
    pub verify: VerifyMode,
    /// The rate limit; any clone can change it during the transfer.
    pub rate_limit: RateLimit,
    /// Its slot among the transfers that run at a time.
    pub slot: Slot,
    /// Publishes small files, with those of other transfers.
    pub publisher: Publisher,
    /// The timeouts.
    pub limits: Limits,
    /// The clock, threads and ids to use.
    pub machine: Machine,
}

/// A published file.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetched {
    /// Its path.
    pub path: PathBuf,
    /// Its size.
    pub size: u64,
    /// How its content was verified.
    pub integrity: Integrity,
    /// The digest that the origin sent.
    pub origin: Option<Digest>,
    /// True if the same bytes were there already.
    pub already_present: bool,
    /// The protocol of the first hop.
    pub protocol: Protocol,
    /// Set-up time of each leg, the client's own first.
    pub legs: Vec<Leg>,
    /// Time from the first request to the published file.
    pub elapsed: Duration,
    /// Figures of the client's own stage.
    pub flow: Flow,
}

impl FetchJob {
    /// Returns a job with a new id that resumes an earlier download and is not retried.
    pub fn new(number: u64, route: Route, output: PathBuf, limits: Limits) -> Self {
        let machine = Machine::default();
        Self {
            number,
            id: machine.transfer_id(),
            route,
            routes: Vec::new(),
            passed: 0,
            connections: Connections::default(),
            output,
            force: false,
            times: true,
            executable: false,
            reuse: true,
            by_time: false,
            resume: true,
            selection: Arc::default(),
            dry_run: false,
            token: None,
            identity: None,
            parts: DEFAULT_PARTS,
            files: FileLog::default(),
            max_size: None,
            retries: 0,
            verify: VerifyMode::default(),
            rate_limit: RateLimit::default(),
            slot: Slot::default(),
            publisher: Publisher::default(),
            limits,
            machine,
        }
    }
}

impl FetchJob {
    /// Returns true if the user may expect more than one connection.
    pub(super) fn may_have_several(&self) -> bool {
        self.connections.most() > 1 || !self.routes.is_empty()
    }

    /// Returns the key of the origin, if every route is encrypted and leads to that key.
    pub(super) fn origin_key(&self) -> Option<Fingerprint> {
        let key = |route: &Route| route.hops().last()?.key;
        key(&self.route).filter(|first| self.routes.iter().all(|other| key(other) == Some(*first)))
    }

    /// Exchanges the route for the next of the others, which it follows as the last.
    pub(super) fn next_route(&mut self) {
        if !self.routes.is_empty() {
            let next = self.routes.remove(0);
            self.routes.push(std::mem::replace(&mut self.route, next));
            self.passed = (self.passed + 1) % (1 + self.routes.len());
        }
    }
}

/// Runs disk work that may take long on a thread of its own, so that it does not block any socket.
pub(super) async fn blocking<T: Send + 'static>(
    machine: Machine,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let working = machine.spawn_blocking(work);
    (machine.settle)(&|| working.is_finished());
    match working.await {
        Ok(result) => result,
        Err(error) => Err(Error::Other(format!("the disk thread failed: {error}"))),
    }
}
