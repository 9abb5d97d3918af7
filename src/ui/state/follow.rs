//! Following: one transfer from hop to hop, and the log's lines with the words of its filter.

use super::UiState;
use crate::snapshot::{ChainSnapshot, HopSnapshot};
use crate::ui::columns::{ours, same_id};
use crate::ui::focus::{ConnKey, Panel, Tab};

/// Where a transfer can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewStage {
    /// As the client has it, by its number.
    Client(u64),
    /// Its connection at a hop.
    Hop(ConnKey),
}

impl UiState {
    /// The next place toward the origin, or toward the client, at which the marked transfer, or that of the marked
    /// connection, can be looked at; hops that say nothing of it are passed over.
    pub fn next_stage(&self, chain: &ChainSnapshot, by: isize) -> Option<ViewStage> {
        let (at, id, number) = if self.focus() == Panel::Connections {
            let (hop, conn) = self.marked_conn(chain)?;
            (hop.number, conn.transfer.as_str(), ours(chain, conn))
        } else {
            let transfer = self.transfer(chain)?;
            (0, transfer.id.as_str(), Some(transfer.number))
        };
        let at_hop = |hop: &HopSnapshot| {
            let conns = &hop.node.as_ref().filter(|_| hop.link.is_up() && !hop.extra)?.connections;
            conns
                .iter()
                .find(|conn| same_id(conn.transfer.as_str(), id))
                .map(|conn| ViewStage::Hop((hop.number, conn.id)))
        };
        if by > 0 {
            return chain.hops.iter().filter(|hop| hop.number > at).find_map(at_hop);
        }
        let nearer = chain.hops.iter().rev().filter(|hop| hop.number < at).find_map(at_hop);
        nearer.or(number.map(ViewStage::Client))
    }

    /// Goes there, as deep as one is.
    pub(super) fn follow(&mut self, chain: &ChainSnapshot, by: isize) {
        match self.next_stage(chain, by) {
            Some(ViewStage::Client(number)) => {
                self.turn_to(Panel::Transfers, Tab::Transfers);
                self.transfer = Some(number);
            }
            Some(ViewStage::Hop(key)) => {
                self.turn_to(Panel::Connections, Tab::Connections);
                self.hop = key.0;
                self.conn = Some(key);
                self.settle(chain);
                if self.conn != Some(key) {
                    // The filter hides it, and whoever follows it wants to see it.
                    self.lists.set_filter(Panel::Connections, String::new());
                    self.conn = Some(key);
                }
            }
            None => {}
        }
    }

    /// Gives a panel the keys: on the first tab where it has a place there, else on its own.
    fn turn_to(&mut self, panel: Panel, tab: Tab) {
        if self.tab == Tab::Chain && self.panels().contains(&panel) {
            self.panel = panel;
        } else {
            self.tab = tab;
        }
    }

    /// Lines of the log have the words of its filter, and there is more to see: others around them, or a further hit.
    pub fn has_hits(&self) -> bool {
        let narrowed = self.lists.hits.is_empty() && !self.lists.log.is_empty();
        !self.lists.filter(Panel::Log).trim().is_empty() && (narrowed || self.lists.hits.len() > 1)
    }

    /// Marks the next line with these words, or the one before, among all other lines; from the last on to the first.
    pub(super) fn hit(&mut self, chain: &ChainSnapshot, by: isize) {
        let number = |state: &Self, row: usize| chain.log.get(*state.lists.log.get(row)?).map(|line| line.number);
        let marked = number(self, self.row_of(Panel::Log, chain));
        self.lists.show_around();
        self.settle(chain);
        let hits: Vec<_> = self.lists.hits.iter().map(|row| number(self, *row)).collect();
        let next = match by {
            1.. => hits.iter().position(|hit| *hit > marked).unwrap_or(0),
            _ => hits.iter().rposition(|hit| *hit < marked).unwrap_or(hits.len().saturating_sub(1)),
        };
        if let Some(row) = self.lists.hits.get(next).copied() {
            self.mark(Panel::Log, row, chain);
        }
    }
}
