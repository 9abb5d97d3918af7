//! Sorting of the connections: the menu of columns, and the order.

use super::{Mode, UiState};
use crate::ui::columns::{CONN_HOP, CONN_KEY, CONNS, Sort, is_number};
use crate::ui::edit::LineEdit;
use crate::ui::focus::Tab;
use crate::ui::glossary::TABLES;

/// Name of the order without sorting.
pub(crate) const ARRIVAL: &str = "arrival";

impl UiState {
    /// Returns the columns of connections that are not shown: those that the user hid, and that of keys if no request
    /// has one.
    pub fn hidden_conn_columns(&self) -> u32 {
        self.hidden[1] | if self.lists.conns_with_key { 0 } else { 1 << CONN_KEY }
    }

    /// Opens the menu, with the current column selected: accepting it reverses the order.
    pub(super) fn open_sort_menu(&mut self) {
        let column = self.lists.sort().map(|sort| sort.column);
        let entries = self.sort_entries("");
        let at = column.and_then(|column| entries.iter().position(|entry| *entry == Some(column)));
        self.mode = Mode::Sort { line: LineEdit::default(), at: at.unwrap_or(0) };
    }

    /// Returns the columns to sort by that match the typed text, by title first and then by meaning; `None` is the
    /// order of arrival.
    pub(crate) fn sort_entries(&self, typed: &str) -> Vec<Option<usize>> {
        let typed = typed.trim().to_lowercase();
        let all = (0..CONNS.len()).filter(|column| *column != CONN_HOP || self.tab == Tab::Connections);
        let rank = |entry: &Option<usize>| {
            let (title, meaning) = sort_texts(*entry);
            let title = title.to_lowercase();
            match () {
                () if title.starts_with(&typed) => Some(0),
                () if title.contains(&typed) => Some(1),
                () if meaning.to_lowercase().contains(&typed) => Some(2),
                () => None,
            }
        };
        let mut entries: Vec<_> = all.map(Some).chain([None]).filter(|entry| rank(entry).is_some()).collect();
        entries.sort_by_key(rank);
        entries
    }

    /// Sorts by a column, numbers in descending order. Sorting by the same column again reverses the order.
    pub fn sort_by(&mut self, column: Option<usize>) {
        let sort = column.map(|column| match self.lists.sort() {
            Some(sort) if sort.column == column => Sort { down: !sort.down, ..sort },
            _ => Sort { column, down: is_number(column) },
        });
        self.lists.set_sort(sort);
        let (title, meaning) = sort_texts(column);
        self.notice = Some(format!("sorted by {title}: {meaning}"));
    }
}

/// Returns the title of an entry of the menu, and its meaning.
pub(crate) fn sort_texts(column: Option<usize>) -> (&'static str, &'static str) {
    match column.and_then(|column| CONNS.get(column)) {
        Some(column) => (column.title, TABLES[1].meaning(column.title)),
        None => (ARRIVAL, "in the order in which the connections were opened, hop by hop"),
    }
}
