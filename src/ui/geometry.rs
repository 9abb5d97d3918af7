//! Geometry within a region: the rows of its list, its columns, a popup over the screen. Drawing, scrolling and clicks
//! use the same functions.

use ratatui::layout::Rect;

use super::columns::{CONN_HOP, CONNS};
use super::focus::Tab;
use super::grid::{ColumnPlaces, place};
use super::layout::is_small;
use crate::snapshot::TourSnapshot;

/// From this height an act of the demo has a second row, and its summary a row for each act.
const CAPTIONED: u16 = 20;
/// Rows of the demo's summary that are not acts: the heading, and what to do next.
const AROUND_ACTS: usize = 2;

/// Columns before the first of a table, for the selection.
pub(crate) const MARGIN: u16 = 2;
/// Widths of the help with one and with two columns: each fits nearly all explanations on one line.
pub(crate) const HELP_WIDTHS: [u16; 2] = [96, 184];
/// From this width the help has two columns.
const HELP_WIDE: u16 = 118;
/// Below this height the log has no heading.
const TITLED: u16 = 4;

/// Returns the area of popups: all but the footer, which continues to show the keys.
pub(crate) fn popup_area(area: Rect) -> Rect {
    if is_small(area) { area } else { Rect { height: area.height - 1, ..area } }
}

/// Returns the number of columns of the help.
pub(crate) fn help_columns(area: Rect) -> usize {
    if area.width < HELP_WIDE { 1 } else { 2 }
}

/// Returns the outer and the inner rectangle of a popup, which are equal where there is no room for a border.
pub(crate) fn popup(area: Rect, columns: u16, rows: usize) -> (Rect, Rect) {
    // A margin too narrow to show legible text would only distract.
    let width = if area.width < columns.saturating_add(16) { area.width } else { columns };
    let height = u16::try_from(rows).unwrap_or(u16::MAX).saturating_add(2).min(area.height);
    let (x, y) = (area.x + (area.width - width) / 2, area.y + (area.height - height) / 2);
    let outer = Rect { x, y, width, height };
    if width < 20 || height < 4 {
        return (outer, outer);
    }
    (outer, Rect { x: x + 2, y: y + 1, width: width - 4, height: height - 2 })
}

/// Returns the rows of the hops. Where the chain has to scroll, the row of the client is used for a hop.
pub(crate) fn hop_rows(area: Rect, titled: bool, hops: usize) -> Rect {
    let above = 1 + u16::from(titled);
    let rows = area.height.saturating_sub(above);
    below(area, above + u16::from(usize::from(rows) > hops))
}

/// Returns the indices of the visible rows of a list that scrolls: from `top` on, and always the pinned one, in place
/// of the nearest row other than the selected one.
pub(crate) fn visible_rows(top: usize, room: usize, rows: usize, pinned: Option<usize>, selected: usize) -> Vec<usize> {
    let mut visible: Vec<usize> = (top.min(rows)..rows.min(top.saturating_add(room))).collect();
    let Some(pinned) = pinned.filter(|row| *row < rows && visible.len() > 1 && !visible.contains(row)) else {
        return visible;
    };
    let last = visible.len() - 1;
    if pinned < visible[0] {
        visible.remove(if visible[0] == selected { last } else { 0 });
        visible.insert(0, pinned);
    } else {
        visible.remove(if visible[last] == selected { 0 } else { last });
        visible.push(pinned);
    }
    visible
}

/// Returns the rows of the nodes, below the heading and the column titles.
pub(crate) fn node_rows(area: Rect) -> Rect {
    below(area, 2)
}

/// Returns the rows of the connections, below the heading and the column titles.
pub(crate) fn connection_rows(area: Rect) -> Rect {
    below(area, 2)
}

/// Returns the positions of the visible columns of the connections.
pub(crate) fn connection_places(tab: Tab, hidden: u32, area: Rect) -> ColumnPlaces {
    let hop = if tab == Tab::Connections { 0 } else { 1 << CONN_HOP };
    place(&CONNS, hidden | hop, area.width.saturating_sub(MARGIN + 1))
}

/// Returns the rows of the transfers, below the heading.
pub(crate) fn transfer_rows(area: Rect) -> Rect {
    below(area, 1)
}

/// Returns the rows of the log.
pub(crate) fn log_rows(tab: Tab, area: Rect) -> Rect {
    below(area, u16::from(area.height >= TITLED || tab == Tab::Log))
}

/// Returns an area without its first rows.
fn below(area: Rect, rows: u16) -> Rect {
    let rows = rows.min(area.height);
    Rect { y: area.y + rows, height: area.height - rows, ..area }
}

/// Returns a popup without its first row, the line being typed.
pub(crate) fn below_line(inner: Rect) -> Rect {
    below(inner, 1)
}

/// Returns the first entry to show of a popup's list, so that the selected one is visible.
pub(crate) fn first_row(inner: Rect, at: usize) -> usize {
    (at + 1).saturating_sub(usize::from(inner.height))
}

/// Returns the first row to show of a list: unchanged if the selected row is visible, else moved as little as possible.
pub(crate) fn scroll_into_view(top: usize, rows: usize, room: usize, row: usize) -> usize {
    let last = rows.saturating_sub(room);
    let top = top.min(last);
    if row < top { row } else { top.max((row + 1).saturating_sub(room)).min(last) }
}

/// Returns the number of rows of the caption on a screen of this height.
pub(crate) fn caption_rows(tour: Option<&TourSnapshot>, height: u16) -> u16 {
    match tour {
        None | Some(TourSnapshot::Stopped) => 0,
        Some(_) if height < CAPTIONED => 1,
        Some(TourSnapshot::Act(_)) => 2,
        Some(TourSnapshot::Over(acts)) => u16::try_from(acts.len() + AROUND_ACTS).unwrap_or(u16::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_row_replaces_the_nearest_one_but_not_the_selected_one() {
        let rows = |top, pinned, selected| visible_rows(top, 4, 9, pinned, selected);
        assert_eq!(rows(2, None, 2), [2, 3, 4, 5]);
        assert_eq!(rows(2, Some(3), 2), [2, 3, 4, 5]);
        assert_eq!((rows(2, Some(0), 4), rows(2, Some(0), 2)), (vec![0, 3, 4, 5], vec![0, 2, 3, 4]));
        assert_eq!((rows(2, Some(8), 4), rows(2, Some(8), 5)), (vec![2, 3, 4, 8], vec![3, 4, 5, 8]));
        assert_eq!((rows(2, Some(9), 4), visible_rows(5, 1, 9, Some(0), 5)), (vec![2, 3, 4, 5], vec![5]));
        assert!(visible_rows(3, 4, 0, Some(0), 0).is_empty());
    }

    #[test]
    fn a_list_scrolls_as_little_as_possible() {
        assert_eq!(scroll_into_view(0, 10, 4, 3), 0);
        assert_eq!(scroll_into_view(0, 10, 4, 4), 1);
        assert_eq!(scroll_into_view(6, 10, 4, 7), 6);
        assert_eq!(scroll_into_view(6, 10, 4, 2), 2);
        assert_eq!(scroll_into_view(9, 5, 4, 4), 1, "a list that shrank fills its panel");
        assert_eq!(scroll_into_view(0, 0, 0, 0), 0);
    }
}
