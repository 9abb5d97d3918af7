//! Targets of the keys for transfers and connections, or why there is none.

use super::{Refusal, UiState, running};
use crate::command::Command;
use crate::snapshot::{ChainSnapshot, ConnSnapshot, HopSnapshot, Phase, TransferSnapshot};
use crate::ui::columns::{CONNS, HOPS, NODES, conn, ours};
use crate::ui::focus::{Panel, ViewMode};
use crate::ui::grid::Column;

impl UiState {
    /// Returns the transfer that `Cancel` would cancel: the selected row where it has the focus, else the one that the
    /// user selected or the first that runs, but never one that merely waits.
    pub(crate) fn cancellable(&self, chain: &ChainSnapshot) -> Result<u64, Refusal> {
        let target = match self.focus() {
            Panel::Transfers | Panel::Setup | Panel::Files => Some(self.selected(chain)?),
            _ => self.chosen(chain).or_else(|| active(chain)),
        };
        match target {
            _ if chain.exiting => Err(Refusal::ShuttingDown),
            None => Err(Refusal::NoneRunning),
            Some(t) if t.phase.is_over() => Err(Refusal::of_phase(t, "open transfers can be cancelled")),
            Some(t) => Ok(t.number),
        }
    }

    /// Returns the command that `Pause` would send.
    pub(crate) fn pausable(&self, chain: &ChainSnapshot) -> Result<Command, Refusal> {
        let transfer = self.selected(chain)?;
        match transfer.phase {
            Phase::Paused => Ok(Command::Resume(transfer.number)),
            Phase::Connecting | Phase::Waiting | Phase::Streaming | Phase::Retrying | Phase::Locked => {
                Ok(Command::Pause(transfer.number))
            }
            Phase::Queued | Phase::Verifying | Phase::Done | Phase::Failed | Phase::Cancelled => {
                Err(Refusal::of_phase(transfer, "running transfers can be paused"))
            }
        }
    }

    /// Returns the transfer that `Retry` would fetch again.
    pub(crate) fn retryable(&self, chain: &ChainSnapshot) -> Result<u64, Refusal> {
        let transfer = self.selected(chain)?;
        let only = "ended transfers can be retried";
        if transfer.phase.is_over() { Ok(transfer.number) } else { Err(Refusal::of_phase(transfer, only)) }
    }

    /// Returns the transfer whose rate can be limited.
    pub(crate) fn limitable<'a>(&self, chain: &'a ChainSnapshot) -> Result<&'a TransferSnapshot, Refusal> {
        let transfer = self.selected(chain)?;
        let ended = transfer.phase.is_over() || transfer.phase == Phase::Verifying;
        if ended { Err(Refusal::of_phase(transfer, "open transfers can be limited")) } else { Ok(transfer) }
    }

    /// The same, where its rate is limited.
    pub(crate) fn limited<'a>(&self, chain: &'a ChainSnapshot) -> Result<&'a TransferSnapshot, Refusal> {
        let transfer = self.limitable(chain)?;
        if transfer.rate_limit.is_some() { Ok(transfer) } else { Err(Refusal::NoLimit(transfer.number)) }
    }

    /// Returns the transfer that can move in the queue by this many positions.
    pub(crate) fn reorderable(&self, chain: &ChainSnapshot, by: isize) -> Result<u64, Refusal> {
        let selected = self.selected(chain)?;
        let queued: Vec<u64> = chain.transfers.iter().filter(|t| t.phase == Phase::Queued).map(|t| t.number).collect();
        let Some(at) = queued.iter().position(|number| *number == selected.number) else {
            return Err(Refusal::of_phase(selected, "queued transfers can be moved"));
        };
        let to = at.checked_add_signed(by).filter(|to| *to < queued.len());
        to.map(|_| selected.number).ok_or(Refusal::QueueEnd(selected.number))
    }

    /// Returns the connection that can be closed: its hop and its id.
    pub(crate) fn closable(&self, chain: &ChainSnapshot) -> Result<(usize, u64), Refusal> {
        let (hop, conn) = self.selected_conn(chain).ok_or(Refusal::NoConnection)?;
        match () {
            () if chain.exiting => Err(Refusal::ShuttingDown),
            () if !hop.link.is_up() => Err(Refusal::NotRunning(hop.number)),
            () => Ok((hop.number, conn.id)),
        }
    }

    /// Returns the selected connection and its hop.
    pub fn selected_conn<'a>(&self, chain: &'a ChainSnapshot) -> Option<(&'a HopSnapshot, &'a ConnSnapshot)> {
        let row = self.row_of(Panel::Connections, chain);
        let place = *self.lists.conns.get(row)?;
        Some((chain.hops.get(place.0)?, conn(chain, place)?))
    }

    /// Returns whether the selected row has details.
    pub fn has_detail(&self, chain: &ChainSnapshot) -> bool {
        if self.view_mode == ViewMode::Detail {
            return false;
        }
        match self.focus() {
            Panel::Hops | Panel::Nodes | Panel::Chart => !chain.hops.is_empty(),
            Panel::Connections => self.selected_conn(chain).is_some(),
            Panel::Setup | Panel::Transfers => self.visible_transfer(chain).is_some(),
            Panel::Log | Panel::Files => false,
        }
    }

    /// Returns the focused table: its index in `hidden`, and its columns.
    pub fn table(&self) -> Option<(usize, &'static [Column])> {
        match self.focus() {
            Panel::Hops => Some((0, &HOPS)),
            Panel::Connections => Some((1, &CONNS)),
            Panel::Nodes => Some((2, &NODES)),
            Panel::Chart | Panel::Setup | Panel::Transfers | Panel::Log | Panel::Files => None,
        }
    }

    /// Returns the transfer that the keys act on: that of the selected connection where it has the focus, else the
    /// selected one.
    fn selected<'a>(&self, chain: &'a ChainSnapshot) -> Result<&'a TransferSnapshot, Refusal> {
        if chain.exiting {
            return Err(Refusal::ShuttingDown);
        }
        self.focused_transfer(chain).ok_or(Refusal::NoTransfer)
    }

    /// The same, even while the program shuts down.
    pub(super) fn focused_transfer<'a>(&self, chain: &'a ChainSnapshot) -> Option<&'a TransferSnapshot> {
        let of_conn = match self.focus() {
            Panel::Connections => self.selected_conn(chain).and_then(|(_, conn)| ours(chain, conn)),
            _ => None,
        };
        let of_conn = of_conn.and_then(|number| chain.transfer(number));
        of_conn.or_else(|| self.visible_transfer(chain))
    }

    /// Returns the selected transfer, unless a filter hides all of them.
    fn visible_transfer<'a>(&self, chain: &'a ChainSnapshot) -> Option<&'a TransferSnapshot> {
        if self.focus() == Panel::Transfers && self.lists.transfers.is_empty() {
            return None;
        }
        self.transfer(chain)
    }
}

/// Returns the first transfer that runs, not one that waits for its turn or for the user.
pub(super) fn active(chain: &ChainSnapshot) -> Option<&TransferSnapshot> {
    running(chain).filter(|t| !matches!(t.phase, Phase::Queued | Phase::Paused))
}
