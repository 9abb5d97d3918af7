//! Selection and scrolling: selections follow their item, not its row, and lists scroll just enough to show them.

use ratatui::layout::Rect;

use super::{Mode, UiState};
use crate::snapshot::{ChainSnapshot, Phase, TourSnapshot};
use crate::ui::columns::conn;
use crate::ui::finding::Finding;
use crate::ui::focus::{ConnKey, Focus, Panel, Tab, ViewMode};
use crate::ui::geometry::{
    caption_rows, connection_rows, hop_rows, node_rows, popup_area, scroll_into_view, visible_rows,
};
use crate::ui::keymap::help;
use crate::ui::layout::{Regions, Wants, split};

impl UiState {
    /// Computes the rows of all lists, moves selections to items that exist, and scrolls them into view. Must be
    /// called whenever the shown snapshot, this state or the area has changed.
    pub fn settle(&mut self, chain: &ChainSnapshot) {
        if let Some(hop) = Finding::of(chain).hop() {
            self.hop_of_headline = hop;
        }
        self.caption_rows = caption_rows(chain.tour.as_ref(), self.area.height);
        if let Some(TourSnapshot::Act(act)) = &chain.tour
            && act.number != std::mem::replace(&mut self.act, act.number)
        {
            // The keys in the caption are for the hop of this act.
            self.hop = None;
        }
        let scope = match self.tab {
            Tab::Connections => None,
            _ => self.hop(chain).map(|hop| hop.number),
        };
        let mut lists = std::mem::take(&mut self.lists);
        let level = self.level;
        lists.refresh(chain, self.history(), scope, level);
        self.lists = lists;
        self.settle_files(chain);
        if !self.panels().contains(&self.panel) && self.tab == Tab::Chain && self.view_mode == ViewMode::Overview {
            self.panel = Panel::Hops;
        }
        if self.conn.is_some() {
            self.conn_was = self.conn_row(chain);
            self.conn = self.conn_at(chain, self.conn_was);
        }
        if !self.view_mode.is_page() {
            self.page_top = 0;
        }
        let now = (self.tab, self.area);
        let before = if self.wants_of == now { self.wants } else { Wants::default() };
        (self.wants, self.wants_of) = (before.max(self.wants_now(chain)), now);
        let regions = self.layout(self.area, chain.hops.len());
        self.scroll(chain, &regions);
    }

    /// Returns the rows that the lists have now.
    fn wants_now(&self, chain: &ChainSnapshot) -> Wants {
        let rows = |rows: usize| u16::try_from(rows).unwrap_or(u16::MAX);
        let lists = &self.lists;
        let runs = |at: &&usize| chain.transfers.get(**at).is_some_and(|t| t.phase != Phase::Queued);
        let more = self.transfer_lines(chain, self.area.width).saturating_sub(1);
        let ended = self.row_of(Panel::Transfers, chain) >= lists.open;
        // On the first tab, idle connections need no room of other panels.
        let idle = if self.tab == Tab::Chain { lists.conns_idle.saturating_sub(1) } else { 0 };
        let connections = lists.conns.len() - idle;
        Wants {
            hops: rows(chain.hops.len()),
            // The selected row may take several lines.
            ended: rows(lists.transfers.len() - lists.open + if ended { more } else { 0 }),
            running: rows(lists.transfers[..lists.open].iter().filter(runs).count()),
            open: rows(lists.open + if ended { 0 } else { more }).max(1),
            connections: rows(connections).max(1),
            log: rows(lists.log.len()),
        }
    }

    /// Returns the panels that can have the focus, in the order of the screen.
    pub fn panels(&self) -> Vec<Panel> {
        if self.tab != Tab::Chain {
            return vec![self.focus()];
        }
        let regions = split(Focus::default(), self.area, &self.wants, self.caption_rows);
        let all = [Panel::Hops, Panel::Transfers, Panel::Connections, Panel::Chart, Panel::Setup, Panel::Log];
        let visible = all.into_iter().filter(|panel| regions.of(*panel).height > 0);
        let panels: Vec<Panel> = visible.collect();
        if panels.is_empty() { vec![Panel::Hops, Panel::Transfers] } else { panels }
    }

    /// Returns the number of rows of the focused list.
    pub fn rows(&self, chain: &ChainSnapshot) -> usize {
        self.rows_of(self.focus(), chain)
    }

    /// Returns the selected row of a panel.
    pub fn row_of(&self, panel: Panel, chain: &ChainSnapshot) -> usize {
        match panel {
            Panel::Hops | Panel::Nodes | Panel::Chart => self.hop(chain).map_or(0, |hop| hop.number.saturating_sub(1)),
            Panel::Connections => self.conn_row(chain),
            Panel::Setup | Panel::Transfers => {
                let selected = self.transfer(chain).map(|t| t.number);
                let number = |at: &usize| chain.transfers.get(*at).map(|t| t.number);
                self.lists.transfers.iter().position(|at| number(at) == selected).unwrap_or(0)
            }
            Panel::Files => self.file_row(chain).unwrap_or(0),
            Panel::Log => {
                let last = self.lists.log.len().saturating_sub(1);
                let number = |at: &usize| chain.log.get(*at).map(|line| line.number);
                let place = |wanted| self.lists.log.iter().position(|at| number(at) >= Some(wanted));
                self.line.map_or(last, |wanted| place(wanted).unwrap_or(last))
            }
        }
    }

    /// Selects a row of a panel.
    pub fn select(&mut self, panel: Panel, row: usize, chain: &ChainSnapshot) {
        let row = row.min(self.rows_of(panel, chain).saturating_sub(1));
        match panel {
            Panel::Hops | Panel::Nodes | Panel::Chart => self.hop = Some(row + 1),
            Panel::Connections => {
                self.keep_hop(chain);
                self.conn = self.conn_at(chain, row);
            }
            Panel::Setup | Panel::Transfers => {
                let at = self.lists.transfers.get(row);
                self.transfer = at.and_then(|at| chain.transfers.get(*at)).map(|t| t.number);
            }
            Panel::Files => self.files.selected = self.file_at(chain, row).map(|result| result.path.clone()),
            Panel::Log => {
                // With its last line selected, the log follows new lines.
                let line = self.lists.log.get(row).and_then(|at| chain.log.get(*at)).map(|line| line.number);
                self.line = line.filter(|_| row + 1 < self.lists.log.len());
            }
        }
    }

    /// Selects the current hop as if by the user, so that it stays selected.
    pub(super) fn keep_hop(&mut self, chain: &ChainSnapshot) {
        if self.tab != Tab::Connections {
            self.hop = self.hop(chain).map(|hop| hop.number);
        }
    }

    /// Returns the indices of the hops in the visible rows of the hop table: that of the headline is always among them.
    pub(crate) fn visible_hops(&self, chain: &ChainSnapshot, room: usize) -> Vec<usize> {
        let pinned = Finding::of(chain).hop().map(|hop| hop - 1);
        visible_rows(self.scrolled.hops, room, chain.hops.len(), pinned, self.row_of(Panel::Hops, chain))
    }

    /// Returns the selected entry of the open popup or of the list of a prompt.
    pub fn chosen_entry(&self, chain: &ChainSnapshot) -> Option<usize> {
        match &self.mode {
            Mode::Line(prompt) => prompt.selected(chain),
            Mode::Palette { at, .. }
            | Mode::Sort { at, .. }
            | Mode::Columns { at }
            | Mode::Faults { at, .. }
            | Mode::Settings { at }
            | Mode::Copy { at } => Some(*at),
            Mode::Browse | Mode::Help { .. } | Mode::ConfirmQuit => None,
        }
    }

    /// Selects an entry of the open popup or of the list of a prompt.
    pub fn choose_entry(&mut self, entry: usize, chain: &ChainSnapshot) {
        self.move_selection(chain, |_| entry);
    }

    /// Moves the selection of the focused list or popup.
    pub(super) fn move_selection(&mut self, chain: &ChainSnapshot, to: impl Fn(usize) -> usize) {
        if self.mode == Mode::Browse && self.focus() == Panel::Files {
            return self.move_file(chain, to);
        }
        let (choices, max_scroll) = (self.choices(chain), self.help_scroll());
        match &mut self.mode {
            Mode::Help { top, .. } => *top = to(*top).min(max_scroll),
            Mode::Palette { at, .. }
            | Mode::Sort { at, .. }
            | Mode::Columns { at }
            | Mode::Faults { at, .. }
            | Mode::Settings { at }
            | Mode::Copy { at } => {
                *at = to(*at).min(choices.saturating_sub(1));
            }
            Mode::Line(prompt) => prompt.select(chain, to),
            Mode::Browse => {
                self.page_top = 0;
                let panel = self.focus();
                let row = to(self.row_of(panel, chain));
                self.select(panel, row, chain);
            }
            Mode::ConfirmQuit => {}
        }
    }

    /// Returns half the height of the focused list or popup, in rows.
    pub(super) fn half_page(&self, chain: &ChainSnapshot) -> usize {
        let area = match self.mode {
            Mode::Help { .. } => popup_area(self.area),
            _ if self.view_mode.is_page() => self.layout(self.area, chain.hops.len()).detail,
            _ => self.layout(self.area, chain.hops.len()).of(self.focus()),
        };
        usize::from(area.height / 2).max(1)
    }

    /// Returns how far the open help can be scrolled.
    fn help_scroll(&self) -> usize {
        let Mode::Help { line, .. } = &self.mode else { return 0 };
        help::page(&self.keymap, self.focus(), &line.text(), popup_area(self.area)).max_scroll
    }

    /// Returns the number of entries of the open popup or of the list of a prompt.
    pub fn choices(&self, chain: &ChainSnapshot) -> usize {
        match &self.mode {
            Mode::Line(prompt) => prompt.entries(chain).len(),
            Mode::Palette { line, .. } => self.commands(&line.text(), chain).len(),
            Mode::Sort { line, .. } => self.sort_entries(&line.text()).len(),
            Mode::Columns { .. } => {
                self.table().map_or(0, |(_, columns)| columns.iter().filter(|c| c.drop > 0).count())
            }
            Mode::Faults { .. } => super::FAULTS.len(),
            Mode::Settings { .. } => super::SETTINGS.len(),
            Mode::Copy { .. } => self.copy_items(chain).len(),
            Mode::Browse | Mode::Help { .. } | Mode::ConfirmQuit => 0,
        }
    }

    fn rows_of(&self, panel: Panel, chain: &ChainSnapshot) -> usize {
        match panel {
            Panel::Hops | Panel::Nodes | Panel::Chart => chain.hops.len(),
            Panel::Connections => self.lists.conns.len(),
            Panel::Setup | Panel::Transfers => self.lists.transfers.len(),
            Panel::Log => self.lists.log.len(),
            Panel::Files => self.lists.files.len(),
        }
    }

    fn conn_key(&self, chain: &ChainSnapshot, row: usize) -> Option<ConnKey> {
        let place = *self.lists.conns.get(row)?;
        Some((chain.hops[place.0].number, conn(chain, place)?.id))
    }

    fn conn_at(&self, chain: &ChainSnapshot, row: usize) -> Option<ConnKey> {
        self.conn_key(chain, row.min(self.lists.conns.len().saturating_sub(1)))
    }

    /// Returns the row of the selected connection, or its last row if it has ended.
    fn conn_row(&self, chain: &ChainSnapshot) -> usize {
        let found =
            self.conn.and_then(|key| (0..self.lists.conns.len()).find(|row| self.conn_key(chain, *row) == Some(key)));
        found.unwrap_or(self.conn_was)
    }

    fn scroll(&mut self, chain: &ChainSnapshot, regions: &Regions) {
        let keep = |top: usize, rows: usize, area: Rect, row: usize| {
            scroll_into_view(top, rows, usize::from(area.height), row)
        };
        let hops = match regions.nodes.height {
            0 => hop_rows(regions.hops, regions.hops_titled, chain.hops.len()),
            _ => node_rows(regions.nodes),
        };
        let hop = self.row_of(Panel::Hops, chain);
        self.scrolled.hops = keep(self.scrolled.hops, chain.hops.len(), hops, hop);
        let conn = self.conn_row(chain);
        let conns = connection_rows(regions.connections);
        self.scrolled.conns = keep(self.scrolled.conns, self.lists.conns.len(), conns, conn);
        let [open, ended] = self.transfer_panels(regions);
        self.scrolled.transfers = self.transfers_top(chain, &open);
        self.scrolled.finished = self.transfers_top(chain, &ended);
        self.scrolled.log = self.log_top(chain, regions.log);
    }
}
