//! Which rows the lists show, and in which order: worked out when data, filter or sorting change, never for a frame.

use std::collections::HashMap;

use super::columns::{self, Sort, conn};
use super::filter::Filter;
use super::focus::{ConnKey, Panel};
use super::history::History;
use crate::snapshot::{ChainSnapshot, ConnState, Level};

/// The rows.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Connections, as places of their hop and themselves in the snapshot.
    pub conns: Vec<(usize, usize)>,
    /// Connections there are, the filtered out and the unlisted among them.
    pub conns_in_all: u64,
    /// Places of transfers in the snapshot.
    pub transfers: Vec<usize>,
    /// Places of log lines in the snapshot.
    pub log: Vec<usize>,
    /// Rows of the log with the words of its filter, while the others are shown around them.
    pub hits: Vec<usize>,
    around: bool,
    filters: [String; 3],
    sort: Option<Sort>,
    /// The order that the last sorting gave. Rows keep their places in it while their figures change.
    order: Vec<ConnKey>,
}

impl Lists {
    /// What the rows of a panel must contain.
    pub fn filter(&self, panel: Panel) -> &str {
        slot(panel).map_or("", |slot| &self.filters[slot])
    }

    /// Narrows a panel's rows.
    pub fn set_filter(&mut self, panel: Panel, text: String) {
        if let Some(slot) = slot(panel) {
            self.filters[slot] = text;
        }
        self.around &= panel != Panel::Log;
    }

    /// Shows the log's other lines around those that its filter keeps, until that changes.
    pub fn show_around(&mut self) {
        self.around = true;
    }

    /// By what the connections are sorted; without it they stand in the order in which they came.
    pub fn sort(&self) -> Option<Sort> {
        self.sort
    }

    /// Sorts the connections, from the next `refresh` on.
    pub fn set_sort(&mut self, sort: Option<Sort>) {
        self.sort = sort;
        self.order.clear();
    }

    /// Works all rows out anew; `scope` is the hop whose connections are listed, or all hops.
    pub fn refresh(&mut self, chain: &ChainSnapshot, history: &History, scope: Option<usize>, level: Level) {
        self.refresh_conns(chain, history, scope);
        let filter = Filter::new(self.filter(Panel::Transfers));
        let wanted = chain.transfers.iter().enumerate().filter(|(_, t)| {
            filter.keeps(&[("xfer", &format!("#{}", t.number)), ("file", t.name.as_str()), ("state", t.phase.label())])
        });
        self.transfers = wanted.map(|(at, _)| at).collect();
        let filter = Filter::new(self.filter(Panel::Log));
        self.log.clear();
        self.hits.clear();
        for (at, line) in chain.log.iter().enumerate().filter(|(_, line)| line.level >= level) {
            let hop = line.hop.map_or("c".to_owned(), |hop| hop.to_string());
            let kept = filter.keeps(&[("hop", &hop), ("text", line.text.as_str())]);
            if kept && self.around {
                self.hits.push(self.log.len());
            }
            if kept || self.around {
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
            // Those that only read the node's pages come last.
            for pages in [false, true] {
                let rows =
                    node.connections.iter().enumerate().filter(|(_, conn)| (conn.state == ConnState::Admin) == pages);
                let kept = rows.filter(|(_, conn)| {
                    filter.is_empty() || filter.keeps(&columns::fields(&number, &columns::transfer(chain, conn), conn))
                });
                self.conns.extend(kept.map(|(at, _)| (hop, at)));
            }
        }
        let Some(sort) = self.sort else { return };
        let key = |place: &(usize, usize)| (chain.hops[place.0].number, conn(chain, *place).map_or(0, |conn| conn.id));
        let ranks: HashMap<ConnKey, usize> = self.order.iter().enumerate().map(|(rank, key)| (*key, rank)).collect();
        // A row that was there keeps its place among the others; new ones come behind, sorted among themselves.
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
