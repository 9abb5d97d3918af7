//! What nodes are started with.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use crate::allow_list::AllowList;
use crate::faults::Faults;
use crate::secret::Secret;

/// What the nodes are started with.
#[derive(Clone, Debug)]
pub struct Spawning {
    /// The program; itself, but for tests.
    pub program: PathBuf,
    /// The folder they serve.
    pub root: PathBuf,
    /// Lets this program read their pages through a chain.
    pub read: ReadToken,
    /// Lets this program control them.
    pub control: Secret,
    /// How the faults of each hop stand, hop 1 first; those of hops behind the end are not turned.
    pub faults: Vec<Faults>,
    /// Whom they may connect to besides loopback and the next hop.
    pub allow_next: Option<AllowList>,
    /// How long they may take to let transfers finish when they are asked to leave; their flags say the same.
    pub drain: Duration,
    /// Further flags, the same for all: time limits and the like.
    pub flags: Vec<OsString>,
}

/// What lets this program read the pages of the nodes it starts.
#[derive(Clone, Debug)]
pub enum ReadToken {
    /// A person configured it: the nodes ask everybody for it.
    Configured(Secret),
    /// Made for this run: nobody else needs it.
    Made(Secret),
}

impl ReadToken {
    /// The token itself.
    pub fn secret(&self) -> &Secret {
        match self {
            Self::Configured(secret) | Self::Made(secret) => secret,
        }
    }
}
