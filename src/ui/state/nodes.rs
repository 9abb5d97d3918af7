//! Targets of the keys for nodes: the selected hop, where its node supports the action.

use super::UiState;
use crate::snapshot::{ChainSnapshot, HopLink, HopSnapshot};

impl UiState {
    /// Returns the hop if its node can be started: one of this program's, and not up.
    pub fn startable(&self, chain: &ChainSnapshot) -> Option<usize> {
        self.node(chain, |hop| hop.ours && matches!(hop.link, HopLink::Down { .. } | HopLink::Unknown))
    }

    /// Returns the hop if its node can be stopped or killed: this program started it.
    pub fn stoppable(&self, chain: &ChainSnapshot) -> Option<usize> {
        self.node(chain, |hop| matches!(hop.link, HopLink::Spawned { .. }))
    }

    /// Returns the hop if its node can be restarted: this program started it, even if it has exited since.
    pub fn restartable(&self, chain: &ChainSnapshot) -> Option<usize> {
        self.node(chain, |hop| match hop.link {
            HopLink::Spawned { .. } => true,
            HopLink::Down { .. } => hop.ours,
            _ => false,
        })
    }

    /// Returns the hop if its node can be drained.
    pub fn drainable(&self, chain: &ChainSnapshot) -> Option<usize> {
        self.node(chain, |hop| reports(hop) && hop.node.as_ref().is_some_and(|node| !node.draining))
    }

    /// Returns the hop if its faults can be set.
    pub fn fault_settable(&self, chain: &ChainSnapshot) -> Option<usize> {
        self.node(chain, reports)
    }

    /// Returns the hop if it need not be watched; a node that this program started is then detached.
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
