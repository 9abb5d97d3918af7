//! What the keys for nodes would act on now: the marked hop's node, where what they ask of it can be done.

use super::UiState;
use crate::snapshot::{ChainSnapshot, HopLink, HopSnapshot};

impl UiState {
    /// The hop whose node can be started: ours, and not up.
    pub fn startable(&self, chain: &ChainSnapshot) -> Option<usize> {
        self.node(chain, |hop| hop.ours && matches!(hop.link, HopLink::Down { .. } | HopLink::Unknown))
    }

    /// The hop whose node can be stopped or killed: we started it.
    pub fn stoppable(&self, chain: &ChainSnapshot) -> Option<usize> {
        self.node(chain, |hop| matches!(hop.link, HopLink::Spawned { .. }))
    }

    /// The hop whose node can be started anew: one that we started, also where it has died since.
    pub fn restartable(&self, chain: &ChainSnapshot) -> Option<usize> {
        self.node(chain, |hop| match hop.link {
            HopLink::Spawned { .. } => true,
            HopLink::Down { .. } => hop.ours,
            _ => false,
        })
    }

    /// The hop whose node can be asked to take no new work.
    pub fn drainable(&self, chain: &ChainSnapshot) -> Option<usize> {
        self.node(chain, |hop| reports(hop) && hop.node.as_ref().is_some_and(|node| !node.draining))
    }

    /// The hop whose faults can be turned.
    pub fn turnable(&self, chain: &ChainSnapshot) -> Option<usize> {
        self.node(chain, reports)
    }

    /// The hop that need not be watched; a node that we started is then let go.
    pub fn detachable(&self, chain: &ChainSnapshot) -> Option<usize> {
        self.node(chain, |hop| hop.extra || matches!(hop.link, HopLink::Spawned { .. } | HopLink::Attached))
    }

    fn node(&self, chain: &ChainSnapshot, can: impl Fn(&HopSnapshot) -> bool) -> Option<usize> {
        self.hop(chain).filter(|hop| !chain.exiting && can(hop)).map(|hop| hop.number)
    }
}

fn reports(hop: &HopSnapshot) -> bool {
    hop.node.is_some() && matches!(hop.link, HopLink::Spawned { .. } | HopLink::Attached)
}
