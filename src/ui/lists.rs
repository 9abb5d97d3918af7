//! Rows of the lists and their order: computed when data, filter or sorting change, not for each frame.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::columns::{self, Sort, conn};
use super::filter::Filter;
use super::focus::{ConnKey, Panel};
use super::history::History;
use crate::snapshot::{ChainSnapshot, ConnState, FileOutcome, FolderProgress, Level, Phase, TransferSnapshot};
use crate::text::SafeText;

/// Rows of all lists.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Connections, as indices of their hop and of themselves in the snapshot.
    pub conns: Vec<(usize, usize)>,
    /// Number of connections, including hidden and omitted ones.
    pub conns_in_all: u64,
    /// A listed connection has the request of an authorized key.
    pub conns_with_key: bool,
    /// Number of listed connections that are idle between two requests.
    pub conns_idle: usize,
    /// Number of hidden connections that only request admin endpoints.
    pub admin_hidden: u64,
    /// Connections that only request admin endpoints, such as those of this program, are listed too.
    pub show_admin: bool,
    /// Indices of transfers in the snapshot: first those that run, then those that are retried or paused, then queued
    /// ones in the order of their start; last those that have ended, the newest first.
    pub transfers: Vec<usize>,
    /// Number of them that have not ended.
    pub open: usize,
    /// Indices of results of files in the folder of the selected transfer: failures first, then the newest first.
    pub files: Vec<usize>,
    /// Indices of log lines in the snapshot.
    pub log: Vec<usize>,
    /// Rows of the log that match its filter, while all other lines are shown as well.
    pub matches: Vec<usize>,
    show_all: bool,
    filters: [String; 4],
    sort: Option<Sort>,
    /// Order of the last sorting. Rows keep their position in it while their figures change.
    order: Vec<ConnKey>,
}

impl Lists {
    /// Returns the filter of a panel.
    pub fn filter(&self, panel: Panel) -> &str {
        slot(panel).map_or("", |slot| &self.filters[slot])
    }

    /// Sets the filter of a panel.
    pub fn set_filter(&mut self, panel: Panel, text: String) {
        if let Some(slot) = slot(panel) {
            self.filters[slot] = text;
        }
        self.show_all &= panel != Panel::Log;
    }

    /// Shows all lines of the log, not only those that match, until the filter changes.
    pub fn show_all_lines(&mut self) {
        self.show_all = true;
    }

    /// Returns the sorting of the connections; `None` is by order of arrival.
    pub fn sort(&self) -> Option<Sort> {
        self.sort
    }

    /// Sets the sorting of the connections, from the next `refresh` on.
    pub fn set_sort(&mut self, sort: Option<Sort>) {
        self.sort = sort;
        self.order.clear();
    }

    /// Computes all rows; `scope` is the hop whose connections are listed, or all hops.
    pub fn refresh(&mut self, chain: &ChainSnapshot, history: &History, scope: Option<usize>, level: Level) {
        self.refresh_conns(chain, history, scope);
        self.refresh_transfers(chain, history);
        let filter = Filter::new(self.filter(Panel::Log));
        self.log.clear();
        self.matches.clear();
        for (at, line) in chain.log.iter().enumerate().filter(|(_, line)| line.level >= level) {
            let hop = line.hop.map_or("c".to_owned(), |hop| hop.to_string());
            let is_match = filter.keeps(&[("hop", &hop), ("text", line.text.as_str())]);
            if is_match && self.show_all {
                self.matches.push(self.log.len());
            }
            if is_match || self.show_all {
                self.log.push(at);
            }
        }
    }

    fn refresh_transfers(&mut self, chain: &ChainSnapshot, history: &History) {
        let filter = Filter::new(self.filter(Panel::Transfers));
        let keeps = |t: &TransferSnapshot| {
            let number = format!("#{}", t.number);
            filter.keeps(&[("xfer", &number), ("file", t.name.as_str()), ("state", t.phase.label())])
        };
        self.transfers.clear();
        self.transfers
            .extend((0..chain.transfers.len()).filter(|at| filter.is_empty() || keeps(&chain.transfers[*at])));
        // The sort is stable: running and queued transfers keep the order of the snapshot.
        self.transfers.sort_by_key(|at| {
            let t = &chain.transfers[*at];
            let ended = t.phase.is_over().then(|| (history.ended_at(t.number).unwrap_or_default(), t.number));
            (rank(t.phase), Reverse(ended))
        });
        self.open = self.transfers.partition_point(|at| !chain.transfers[*at].phase.is_over());
    }

    /// Computes the rows of the files of a folder; without one there are none.
    pub(crate) fn refresh_files(&mut self, folder: Option<&FolderProgress>) {
        let filter = Filter::new(self.filter(Panel::Files));
        let recent = folder.map_or(&[][..], |folder| &folder.recent);
        let is_kept = |at: &usize| {
            let result = &recent[*at];
            let error = result.error.as_ref().map_or("", SafeText::as_str);
            filter.keeps(&[("file", result.path.as_str()), ("state", result.outcome.label()), ("error", error)])
        };
        self.files.clear();
        self.files.extend((0..recent.len()).rev().filter(is_kept));
        self.files.sort_by_key(|at| recent[*at].outcome != FileOutcome::Failed);
    }

    fn refresh_conns(&mut self, chain: &ChainSnapshot, history: &History, scope: Option<usize>) {
        let filter = Filter::new(self.filter(Panel::Connections));
        let hops = chain.hops.iter().enumerate().filter(|(_, hop)| scope.is_none_or(|number| hop.number == number));
        let reports = hops
            .filter(|(_, hop)| hop.link.is_up() || hop.is_lost())
            .filter_map(|(at, hop)| Some((at, hop.node.as_ref()?)));
        self.conns.clear();
        (self.conns_in_all, self.conns_idle, self.admin_hidden) = (0, 0, 0);
        self.conns_with_key = false;
        for (hop, node) in reports {
            self.conns_in_all += node.connections.len() as u64 + node.omitted;
            let number = chain.hops[hop].number.to_string();
            // A filter may ask for connections that only request admin endpoints.
            let shows_admin = self.show_admin || !filter.is_empty();
            for (at, conn) in node.connections.iter().enumerate() {
                if conn.state == ConnState::Admin && !shows_admin {
                    self.admin_hidden += 1;
                } else if filter.is_empty()
                    || filter.keeps(&columns::fields(&number, &columns::transfer(chain, conn), conn))
                {
                    self.conns_idle += usize::from(conn.state == ConnState::Idle);
                    self.conns_with_key |= !conn.key.is_empty();
                    self.conns.push((hop, at));
                }
            }
        }
        // Those with a request come first, then idle ones, and those that only request admin endpoints last.
        self.conns.sort_by_key(|place| match conn(chain, *place).map(|conn| conn.state) {
            Some(ConnState::Idle) => 1,
            Some(ConnState::Admin) => 2,
            _ => 0,
        });
        let Some(sort) = self.sort else { return };
        let key = |place: &(usize, usize)| (chain.hops[place.0].number, conn(chain, *place).map_or(0, |conn| conn.id));
        let ranks: HashMap<ConnKey, usize> = self.order.iter().enumerate().map(|(rank, key)| (*key, rank)).collect();
        // Known rows keep their position; new ones follow, sorted among themselves.
        let unranked = ranks.len();
        self.conns.sort_by_cached_key(|place| {
            let rank = ranks.get(&key(place)).copied().unwrap_or(unranked);
            let value = if rank == unranked {
                columns::sort_key(chain, history, *place, sort)
            } else {
                columns::SortKey::default()
            };
            (rank, value)
        });
        self.order.clear();
        self.order.extend(self.conns.iter().map(key));
    }
}

/// Returns the position of a phase in the list.
pub(crate) fn rank(phase: Phase) -> u8 {
    match phase {
        Phase::Connecting | Phase::Waiting | Phase::Streaming | Phase::Verifying => 0,
        Phase::Retrying | Phase::Locked | Phase::Paused => 1,
        Phase::Queued => 2,
        Phase::Done | Phase::Failed | Phase::Cancelled => 3,
    }
}

fn slot(panel: Panel) -> Option<usize> {
    match panel {
        Panel::Connections => Some(0),
        Panel::Transfers => Some(1),
        Panel::Log => Some(2),
        Panel::Files => Some(3),
        Panel::Hops | Panel::Chart | Panel::Setup | Panel::Nodes => None,
    }
}
