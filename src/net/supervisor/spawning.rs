//! Start parameters of nodes.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::allow_list::AllowList;
use crate::faults::Faults;
use crate::secret::Secret;

/// Parameters that all nodes are started with.
#[derive(Clone, Debug)]
pub struct Spawning {
    /// The executable; this program's own, except in tests.
    pub program: PathBuf,
    /// The folder to serve.
    pub root: PathBuf,
    /// Token for reading their endpoints, also through the chain.
    pub read: ReadToken,
    /// Token for controlling them.
    pub control: Secret,
    /// Faults of each hop at start, hop 1 first; missing entries mean none.
    pub faults: Vec<Faults>,
    /// Addresses they may connect to in addition to loopback and the next hop.
    pub allow_next: Option<AllowList>,
    /// Drain limit; `flags` has the same value.
    pub drain: Duration,
    /// Further flags, the same for all: timeouts and the like.
    pub flags: Vec<OsString>,
}

/// Token with which this program reads the endpoints of its nodes.
#[derive(Clone, Debug)]
pub enum ReadToken {
    /// Configured by the user: required of every reader.
    Configured(Secret),
    /// Generated for this run: other readers do not need it.
    Made(Secret),
}

impl ReadToken {
    /// Returns the token itself.
    pub fn secret(&self) -> &Secret {
        match self {
            Self::Configured(secret) | Self::Made(secret) => secret,
        }
    }
}
