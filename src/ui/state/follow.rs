//! Navigation along one transfer from hop to hop, and along the log lines that match its filter.

use super::UiState;
use crate::snapshot::{ChainSnapshot, HopSnapshot};
use crate::ui::columns::ours;
use crate::ui::focus::{ConnKey, Panel, Tab};

/// Position on the path of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewStage {
    /// The transfer at the client, by its number.
    Client(u64),
    /// Its connection at a hop.
    Hop(ConnKey),
}

impl UiState {
    /// Returns the next position of the selected transfer, or of that of the selected connection, toward the origin or
    /// toward the client; hops that do not report it are skipped.
    pub fn next_stage(&self, chain: &ChainSnapshot, by: isize) -> Option<ViewStage> {
        let (at, id, number) = if self.focus() == Panel::Connections {
            let (hop, conn) = self.selected_conn(chain)?;
            (hop.number, conn.transfer.as_str(), ours(chain, conn))
        } else {
            let transfer = self.transfer(chain)?;
            (0, transfer.id.as_str(), Some(transfer.number))
        };
        let is_it = chain.has_request(id);
        let at_hop = |hop: &HopSnapshot| {
            let conns = &hop.node.as_ref().filter(|_| hop.link.is_up() && !hop.extra)?.connections;
            conns.iter().find(&is_it).map(|conn| ViewStage::Hop((hop.number, conn.id)))
        };
        if by > 0 {
            return chain.hops.iter().filter(|hop| hop.number > at).find_map(at_hop);
        }
        let nearer = chain.hops.iter().rev().filter(|hop| hop.number < at).find_map(at_hop);
        nearer.or(number.map(ViewStage::Client))
    }

    /// Selects the next position, in the current view mode.
    pub(super) fn follow(&mut self, chain: &ChainSnapshot, by: isize) {
        self.page_top = 0;
        match self.next_stage(chain, by) {
            Some(ViewStage::Client(number)) => {
                self.focus_on(Panel::Transfers, Tab::Transfers);
                self.transfer = Some(number);
            }
            Some(ViewStage::Hop(key)) => {
                self.focus_on(Panel::Connections, Tab::Connections);
                self.hop = Some(key.0);
                self.conn = Some(key);
                self.settle(chain);
                if self.conn != Some(key) {
                    // The filter hides the connection: clear it.
                    self.lists.set_filter(Panel::Connections, String::new());
                    self.conn = Some(key);
                }
            }
            None => {}
        }
    }

    /// Focuses a panel: on the first tab where that shows it, else on its own tab.
    fn focus_on(&mut self, panel: Panel, tab: Tab) {
        if self.tab == Tab::Chain && self.panels().contains(&panel) {
            self.panel = panel;
        } else {
            self.tab = tab;
        }
    }

    /// Returns whether log lines match the filter and selecting the next one would change the screen.
    pub fn has_matches(&self) -> bool {
        let narrowed = self.lists.matches.is_empty() && !self.lists.log.is_empty();
        !self.lists.filter(Panel::Log).trim().is_empty() && (narrowed || self.lists.matches.len() > 1)
    }

    /// Selects the next or previous line that matches, with all other lines shown; wraps around at the ends.
    pub(super) fn next_match(&mut self, chain: &ChainSnapshot, by: isize) {
        let number = |state: &Self, row: usize| chain.log.get(*state.lists.log.get(row)?).map(|line| line.number);
        let selected = number(self, self.row_of(Panel::Log, chain));
        self.lists.show_all_lines();
        self.settle(chain);
        let matches: Vec<_> = self.lists.matches.iter().map(|row| number(self, *row)).collect();
        let next = match by {
            1.. => matches.iter().position(|line| *line > selected).unwrap_or(0),
            _ => matches.iter().rposition(|line| *line < selected).unwrap_or(matches.len().saturating_sub(1)),
        };
        if let Some(row) = self.lists.matches.get(next).copied() {
            self.select(Panel::Log, row, chain);
        }
    }
}
