//! The read token that requests for folders carry.

use super::spawning::ReadToken;
use super::{HopLinks, Supervisor};
use crate::secret::Secret;
use crate::snapshot::HopLink;

/// Read token of a route's origin, which this program may have started.
#[derive(Clone, Debug, Default)]
pub struct OriginToken {
    named: Option<Secret>,
    spawned: Option<(ReadToken, HopLinks)>,
}

impl OriginToken {
    /// Creates one from the token that the input file names, and that of the nodes that this program starts, if any.
    pub fn new(named: Option<Secret>, supervisor: Option<&Supervisor>) -> Self {
        let spawned = supervisor.map(|supervisor| (supervisor.spawning.read.clone(), supervisor.links()));
        Self { named, spawned }
    }

    /// Returns the token to send now. A random token of this run is never sent: hops on the way would see it, and the
    /// nodes that have it list without one. Nor is one of the user's nodes sent to a program that took the address.
    pub fn get(&self) -> Option<Secret> {
        let is_spawned = |links: &Vec<Option<HopLink>>| matches!(links.last(), Some(Some(HopLink::Spawned { .. })));
        match &self.spawned {
            Some((read, links)) if is_spawned(&links.borrow()) => match read {
                ReadToken::Configured(token) => Some(token.clone()),
                ReadToken::Made(_) => None,
            },
            _ => self.named.clone(),
        }
    }
}
