//! Sorting of the connections by a column.

use super::UiState;
use crate::snapshot::ChainSnapshot;
use crate::ui::columns::{Sort, is_number};
use crate::ui::geometry::connection_places;

impl UiState {
    /// Sorts by the next visible column; after the last, by order of arrival.
    pub(super) fn sort_next(&mut self, chain: &ChainSnapshot) {
        let area = self.layout(self.area, chain.hops.len()).connections;
        let places = connection_places(self.tab, self.hidden[1], area);
        let shown: Vec<usize> = (0..places.len()).filter(|column| places[*column].is_some()).collect();
        let next = match self.lists.sort() {
            None => shown.first(),
            Some(sort) => shown.iter().find(|column| **column > sort.column),
        };
        self.sort_by(next.copied());
    }

    /// Sorts by a column, numbers in descending order. Sorting by the same column again reverses the order.
    pub fn sort_by(&mut self, column: Option<usize>) {
        let sort = column.map(|column| match self.lists.sort() {
            Some(sort) if sort.column == column => Sort { down: !sort.down, ..sort },
            _ => Sort { column, down: is_number(column) },
        });
        self.lists.set_sort(sort);
    }
}
