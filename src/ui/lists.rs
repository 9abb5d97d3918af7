//! Rows of the lists and their order: computed when data, filter or sorting change, not for each frame.

use std::collections::HashMap;

use super::columns::{self, Sort, conn};
use super::filter::Filter;
use super::focus::{ConnKey, Panel};
use super::history::History;
use crate::snapshot::{ChainSnapshot, ConnState, Level};

/// Rows of all lists.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Connections, as indices of their hop and of themselves in the snapshot.
    pub conns: Vec<(usize, usize)>,
    /// Number of connections, including hidden and omitted ones.
    pub conns_in_all: u64,
    /// Indices of transfers in the snapshot.
    pub transfers: Vec<usize>,
    /// Indices of log lines in the snapshot.
    pub log: Vec<usize>,
    /// Rows of the log that match its filter, while all other lines are shown as well.
    pub matches: Vec<usize>,
    show_all: bool,
    filters: [String; 3],
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
        let filter = Filter::new(self.filter(Panel::Transfers));
        let wanted = chain.transfers.iter().enumerate().filter(|(_, t)| {
            filter.keeps(&[("xfer", &format!("#{}", t.number)), ("file", t.name.as_str()), ("state", t.phase.label())])
        });
        self.transfers = wanted.map(|(at, _)| at).collect();
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

    fn refresh_conns(&mut self, chain: &ChainSnapshot, history: &History, scope: Option<usize>) {
        let filter = Filter::new(self.filter(Panel::Connections));
        let hops = chain.hops.iter().enumerate().filter(|(_, hop)| scope.is_none_or(|number| hop.number == number));
        let reports = hops
            .filter(|(_, hop)| hop.link.is_up() || hop.is_lost())
            .filter_map(|(at, hop)| Some((at, hop.node.as_ref()?)));
        self.conns.clear();
        self.conns_in_all = 0;
        for (hop, node) in reports {
            self.conns_in_all += node.connections.len() as u64 + node.omitted;
            let number = chain.hops[hop].number.to_string();
            // Connections that only request admin endpoints come last.
            for admin in [false, true] {
                let rows =
                    node.connections.iter().enumerate().filter(|(_, conn)| (conn.state == ConnState::Admin) == admin);
                let kept = rows.filter(|(_, conn)| {
                    filter.is_empty() || filter.keeps(&columns::fields(&number, &columns::transfer(chain, conn), conn))
                });
                self.conns.extend(kept.map(|(at, _)| (hop, at)));
            }
        }
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

fn slot(panel: Panel) -> Option<usize> {
    match panel {
        Panel::Connections => Some(0),
        Panel::Transfers => Some(1),
        Panel::Log => Some(2),
        Panel::Hops | Panel::Chart | Panel::Setup | Panel::Nodes => None,
    }
}
