//! Moving: marks follow what they mark, not its row, and lists scroll no further than they must to keep them in sight.

use ratatui::layout::Rect;

use super::{Mode, UiState};
use crate::snapshot::ChainSnapshot;
use crate::ui::columns::conn;
use crate::ui::focus::{ConnKey, Focus, Panel, Tab, ViewMode};
use crate::ui::geometry::{connection_rows, hop_rows, in_sight, node_rows, over_area};
use crate::ui::keymap::help;
use crate::ui::keymap::search::matches;
use crate::ui::layout::{Regions, split};

impl UiState {
    /// Works out the rows of all lists, puts marks back on something that is there, and keeps them in sight. To be
    /// called whenever the shown snapshot, this state or the area has changed.
    pub fn settle(&mut self, chain: &ChainSnapshot) {
        let scope = match self.tab {
            Tab::Connections => None,
            _ => self.hop(chain).map(|hop| hop.number),
        };
        let mut lists = std::mem::take(&mut self.lists);
        let level = self.level;
        lists.refresh(chain, self.history(), scope, level);
        self.lists = lists;
        if !self.panels().contains(&self.panel) && self.tab == Tab::Chain && self.view_mode == ViewMode::Overview {
            self.panel = Panel::Hops;
        }
        if self.conn.is_some() {
            self.conn_was = self.conn_row(chain);
            self.conn = self.conn_at(chain, self.conn_was);
        }
        let regions = self.layout(self.area, chain.hops.len());
        self.scroll(chain, &regions);
    }

    /// The panels between which the keys can go, in the order of the screen.
    pub fn panels(&self) -> Vec<Panel> {
        if self.tab != Tab::Chain {
            return vec![self.focus()];
        }
        let regions = split(Focus::default(), self.area, 1);
        let all = [Panel::Hops, Panel::Connections, Panel::Chart, Panel::Setup, Panel::Transfers, Panel::Log];
        let seen = all.into_iter().filter(|panel| regions.of(*panel).height > 0);
        let panels: Vec<Panel> = seen.collect();
        if panels.is_empty() { vec![Panel::Hops, Panel::Transfers] } else { panels }
    }

    /// Rows of the list that has the keys.
    pub fn rows(&self, chain: &ChainSnapshot) -> usize {
        self.rows_of(self.focus(), chain)
    }

    /// The place of a panel's mark among its rows.
    pub fn row_of(&self, panel: Panel, chain: &ChainSnapshot) -> usize {
        match panel {
            Panel::Hops | Panel::Nodes | Panel::Chart => self.hop(chain).map_or(0, |hop| hop.number.saturating_sub(1)),
            Panel::Connections => self.conn_row(chain),
            Panel::Setup | Panel::Transfers => {
                let marked = self.transfer(chain).map(|t| t.number);
                let number = |at: &usize| chain.transfers.get(*at).map(|t| t.number);
                self.lists.transfers.iter().position(|at| number(at) == marked).unwrap_or(0)
            }
            Panel::Log => {
                let last = self.lists.log.len().saturating_sub(1);
                let number = |at: &usize| chain.log.get(*at).map(|line| line.number);
                let place = |wanted| self.lists.log.iter().position(|at| number(at) >= Some(wanted));
                self.line.map_or(last, |wanted| place(wanted).unwrap_or(last))
            }
        }
    }

    /// Puts a panel's mark on a row.
    pub fn mark(&mut self, panel: Panel, row: usize, chain: &ChainSnapshot) {
        let row = row.min(self.rows_of(panel, chain).saturating_sub(1));
        match panel {
            Panel::Hops | Panel::Nodes | Panel::Chart => self.hop = row + 1,
            Panel::Connections => self.conn = self.conn_at(chain, row),
            Panel::Setup | Panel::Transfers => {
                let at = self.lists.transfers.get(row);
                self.transfer = at.and_then(|at| chain.transfers.get(*at)).map(|t| t.number);
            }
            Panel::Log => {
                // On its last line a log follows what comes.
                let line = self.lists.log.get(row).and_then(|at| chain.log.get(*at)).map(|line| line.number);
                self.line = line.filter(|_| row + 1 < self.lists.log.len());
            }
        }
    }

    /// Moves what has the keys: a mark, or what lies over the screen.
    pub(super) fn go(&mut self, chain: &ChainSnapshot, to: impl Fn(usize) -> usize) {
        let choices = self.choices(chain);
        match &mut self.mode {
            Mode::Help { top } => *top = to(*top),
            Mode::Palette { at, .. } | Mode::Columns { at } | Mode::Faults { at, .. } | Mode::Settings { at } => {
                *at = to(*at).min(choices.saturating_sub(1));
            }
            Mode::Line(prompt) => prompt.choose(chain, to),
            Mode::Browse => {
                let panel = self.focus();
                let row = to(self.row_of(panel, chain));
                self.mark(panel, row, chain);
            }
            Mode::Leaving => {}
        }
        let furthest = help::furthest(&self.keymap, over_area(self.area));
        if let Mode::Help { top } = &mut self.mode {
            *top = (*top).min(furthest);
        }
    }

    /// Rows in half of what is in sight of the list that has the keys.
    pub(super) fn half_page(&self, chain: &ChainSnapshot) -> usize {
        let area = match self.mode {
            Mode::Help { .. } => over_area(self.area),
            _ => self.layout(self.area, chain.hops.len()).of(self.focus()),
        };
        usize::from(area.height / 2).max(1)
    }

    /// Lines of the list that lies over the screen or hangs on the line being typed.
    pub fn choices(&self, chain: &ChainSnapshot) -> usize {
        match &self.mode {
            Mode::Line(prompt) => prompt.entries(chain).len(),
            Mode::Palette { line, .. } => matches(&line.text()).len(),
            Mode::Columns { .. } => {
                self.table().map_or(0, |(_, columns)| columns.iter().filter(|c| c.drop > 0).count())
            }
            Mode::Faults { .. } => super::FAULTS.len(),
            Mode::Settings { .. } => super::SETTINGS.len(),
            Mode::Browse | Mode::Help { .. } | Mode::Leaving => 0,
        }
    }

    fn rows_of(&self, panel: Panel, chain: &ChainSnapshot) -> usize {
        match panel {
            Panel::Hops | Panel::Nodes | Panel::Chart => chain.hops.len(),
            Panel::Connections => self.lists.conns.len(),
            Panel::Setup | Panel::Transfers => self.lists.transfers.len(),
            Panel::Log => self.lists.log.len(),
        }
    }

    fn conn_key(&self, chain: &ChainSnapshot, row: usize) -> Option<ConnKey> {
        let place = *self.lists.conns.get(row)?;
        Some((chain.hops[place.0].number, conn(chain, place)?.id))
    }

    fn conn_at(&self, chain: &ChainSnapshot, row: usize) -> Option<ConnKey> {
        self.conn_key(chain, row.min(self.lists.conns.len().saturating_sub(1)))
    }

    /// The row of the marked connection; of one that has ended, the row it was last seen near.
    fn conn_row(&self, chain: &ChainSnapshot) -> usize {
        let found =
            self.conn.and_then(|key| (0..self.lists.conns.len()).find(|row| self.conn_key(chain, *row) == Some(key)));
        found.unwrap_or(self.conn_was)
    }

    fn scroll(&mut self, chain: &ChainSnapshot, regions: &Regions) {
        let keep = |top: usize, rows: usize, area: Rect, row: usize| in_sight(top, rows, usize::from(area.height), row);
        let hops = match regions.nodes.height {
            0 => hop_rows(regions.hops, regions.tall, chain.hops.len()),
            _ => node_rows(regions.nodes),
        };
        let hop = self.row_of(Panel::Hops, chain);
        self.tops.hops = keep(self.tops.hops, chain.hops.len(), hops, hop);
        let conn = self.conn_row(chain);
        let conns = connection_rows(regions.connections);
        self.tops.conns = keep(self.tops.conns, self.lists.conns.len(), conns, conn);
        self.tops.transfers = self.transfers_top(chain, regions.transfers);
        self.tops.log = self.log_top(chain, regions.log);
    }
}
