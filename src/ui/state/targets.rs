//! Targets of the keys for transfers, connections and the clipboard; `None` where a key is not available.

use super::{UiState, running};
use crate::command::Command;
use crate::snapshot::{ChainSnapshot, ConnSnapshot, HopSnapshot, Phase, TransferSnapshot};
use crate::ui::columns::conn;
use crate::ui::columns::{CONNS, HOPS, NODES};
use crate::ui::focus::{Panel, ViewMode};
use crate::ui::grid::Column;

impl UiState {
    /// Returns the transfer that `Cancel` would cancel: the selected one while its panel is focused, else the one that
    /// the user selected or the newest that runs.
    pub fn cancellable(&self, chain: &ChainSnapshot) -> Option<u64> {
        let target = match self.focus() {
            Panel::Transfers | Panel::Setup => self.selected(chain),
            _ => self.chosen(chain).or_else(|| running(chain)),
        };
        target.filter(|t| !chain.exiting && !t.phase.is_over()).map(|t| t.number)
    }

    /// Returns the command that `Pause` would send.
    pub fn pausable(&self, chain: &ChainSnapshot) -> Option<Command> {
        let transfer = self.selected(chain).filter(|_| !chain.exiting)?;
        match transfer.phase {
            Phase::Paused => Some(Command::Resume(transfer.number)),
            Phase::Connecting | Phase::Waiting | Phase::Streaming | Phase::Retrying | Phase::Locked => {
                Some(Command::Pause(transfer.number))
            }
            Phase::Queued | Phase::Verifying | Phase::Done | Phase::Failed | Phase::Cancelled => None,
        }
    }

    /// Returns the transfer that `Retry` would fetch again.
    pub fn retryable(&self, chain: &ChainSnapshot) -> Option<u64> {
        self.selected(chain).filter(|t| t.phase.is_over() && !chain.exiting).map(|t| t.number)
    }

    /// Returns the transfer whose rate can be limited.
    pub fn limitable<'a>(&self, chain: &'a ChainSnapshot) -> Option<&'a TransferSnapshot> {
        self.selected(chain).filter(|t| !t.phase.is_over() && t.phase != Phase::Verifying && !chain.exiting)
    }

    /// The same, where its rate is limited.
    pub fn limited<'a>(&self, chain: &'a ChainSnapshot) -> Option<&'a TransferSnapshot> {
        self.limitable(chain).filter(|t| t.rate_limit.is_some())
    }

    /// Returns the transfer that can move in the queue by this many positions.
    pub fn reorderable(&self, chain: &ChainSnapshot, by: isize) -> Option<u64> {
        let selected = self.selected(chain).filter(|t| t.phase == Phase::Queued && !chain.exiting)?;
        let queued: Vec<u64> = chain.transfers.iter().filter(|t| t.phase == Phase::Queued).map(|t| t.number).collect();
        let at = queued.iter().position(|number| *number == selected.number)?;
        at.checked_add_signed(by).filter(|to| *to < queued.len()).map(|_| selected.number)
    }

    /// Returns the connection that can be closed: its hop and its id.
    pub fn closable(&self, chain: &ChainSnapshot) -> Option<(usize, u64)> {
        let (hop, conn) = self.selected_conn(chain)?;
        (hop.link.is_up() && !chain.exiting).then_some((hop.number, conn.id))
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
            Panel::Setup | Panel::Transfers => self.selected(chain).is_some(),
            Panel::Log => false,
        }
    }

    /// Returns the text for the clipboard: sanitized, as it is on the screen.
    pub fn copyable(&self, chain: &ChainSnapshot) -> Option<String> {
        match self.focus() {
            Panel::Hops | Panel::Nodes | Panel::Chart => self.hop(chain).map(|hop| hop.address.to_string()),
            Panel::Connections => self.selected_conn(chain).map(|(_, conn)| conn.peer.to_string()),
            Panel::Setup | Panel::Transfers => {
                let transfer = self.selected(chain)?;
                let path = Some(&transfer.path).filter(|path| !path.as_str().is_empty());
                Some(transfer.error.as_ref().or(path).unwrap_or(&transfer.name).to_string())
            }
            Panel::Log => {
                let at = *self.lists.log.get(self.row_of(Panel::Log, chain))?;
                chain.log.get(at).map(|line| line.text.to_string())
            }
        }
    }

    /// Returns the focused table: its index in `hidden`, and its columns.
    pub fn table(&self) -> Option<(usize, &'static [Column])> {
        match self.focus() {
            Panel::Hops => Some((0, &HOPS)),
            Panel::Connections => Some((1, &CONNS)),
            Panel::Nodes => Some((2, &NODES)),
            Panel::Chart | Panel::Setup | Panel::Transfers | Panel::Log => None,
        }
    }

    /// Returns the selected transfer, unless a filter hides all of them.
    fn selected<'a>(&self, chain: &'a ChainSnapshot) -> Option<&'a TransferSnapshot> {
        if self.focus() == Panel::Transfers && self.lists.transfers.is_empty() {
            return None;
        }
        self.transfer(chain)
    }
}
