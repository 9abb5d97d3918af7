//! Targets of the keys for nodes: the selected hop, where its node supports the action, else why it does not.

use super::{Refusal, UiState};
use crate::snapshot::{ChainSnapshot, HopLink, HopSnapshot};
use crate::ui::focus::Tab;

impl UiState {
    /// Returns the hop if its node can be started: one of this program's, and not up.
    pub(crate) fn startable(&self, chain: &ChainSnapshot) -> Result<usize, Refusal> {
        self.node(chain, |hop| match hop.link {
            _ if !hop.ours => Some(Refusal::NotStartedHere(hop.number)),
            HopLink::Down { .. } | HopLink::Unknown => None,
            HopLink::Starting => Some(Refusal::Starting(hop.number)),
            _ => Some(Refusal::Running(hop.number)),
        })
    }

    /// Returns the hop if its node can be stopped or killed: this program started it.
    pub(crate) fn stoppable(&self, chain: &ChainSnapshot) -> Result<usize, Refusal> {
        self.node(chain, |hop| match hop.link {
            HopLink::Spawned { .. } => None,
            HopLink::Down { .. } => Some(Refusal::NotRunning(hop.number)),
            HopLink::Starting => Some(Refusal::Starting(hop.number)),
            _ => Some(Refusal::NotStartedHere(hop.number)),
        })
    }

    /// Returns the hop if its node can be restarted: this program started it, even if it has exited since.
    pub(crate) fn restartable(&self, chain: &ChainSnapshot) -> Result<usize, Refusal> {
        self.node(chain, |hop| match hop.link {
            HopLink::Spawned { .. } => None,
            HopLink::Down { .. } if hop.ours => None,
            HopLink::Starting => Some(Refusal::Starting(hop.number)),
            _ => Some(Refusal::NotStartedHere(hop.number)),
        })
    }

    /// Returns the hop if its node can be drained.
    pub(crate) fn drainable(&self, chain: &ChainSnapshot) -> Result<usize, Refusal> {
        self.node(chain, |hop| match &hop.node {
            Some(node) if reports(hop) => node.draining.then_some(Refusal::Draining(hop.number)),
            _ => Some(Refusal::of_silent(hop)),
        })
    }

    /// Returns the hop if its faults can be set.
    pub(crate) fn fault_settable(&self, chain: &ChainSnapshot) -> Result<usize, Refusal> {
        self.node(chain, |hop| (!reports(hop)).then(|| Refusal::of_silent(hop)))
    }

    /// Returns the hop if it need not be watched; a node that this program started is then detached.
    pub(crate) fn detachable(&self, chain: &ChainSnapshot) -> Result<usize, Refusal> {
        self.node(chain, |hop| match hop.link {
            _ if hop.extra => None,
            HopLink::Spawned { .. } | HopLink::Attached => None,
            _ => Some(Refusal::of_silent(hop)),
        })
    }

    /// Returns the number of the selected hop unless there is a reason against it: on the tab of all connections, that
    /// of the selected connection.
    fn node(&self, chain: &ChainSnapshot, check: impl Fn(&HopSnapshot) -> Option<Refusal>) -> Result<usize, Refusal> {
        if chain.exiting {
            return Err(Refusal::ShuttingDown);
        }
        let of_conn = self.selected_conn(chain).filter(|_| self.tab == Tab::Connections).map(|(hop, _)| hop);
        let hop = of_conn.or_else(|| self.hop(chain)).ok_or(Refusal::NoHops)?;
        check(hop).map_or(Ok(hop.number), Err)
    }
}

fn reports(hop: &HopSnapshot) -> bool {
    hop.node.is_some() && matches!(hop.link, HopLink::Spawned { .. } | HopLink::Attached)
}
