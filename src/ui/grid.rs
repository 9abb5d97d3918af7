//! Table columns: which ones fit a width, and their positions. Widths depend only on the room.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::paint::Row;

/// Free columns between two columns of a table.
const GAP: u16 = 2;

/// One column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its heading.
    pub title: &'static str,
    /// Minimum width.
    pub width: u16,
    /// Maximum width; spare room goes to the first column that can grow.
    pub max_width: u16,
    /// Right-aligned, for numbers.
    pub right: bool,
    /// Columns with the highest value are dropped first when there is no room; 0 is never dropped.
    pub drop: u8,
}

/// Position of each column: offset and width; `None` for one that is not shown.
pub(crate) type ColumnPlaces = Vec<Option<(u16, u16)>>;

/// Makes a column of fixed width.
pub(crate) const fn fixed(title: &'static str, width: u16, right: bool, drop: u8) -> Column {
    Column { title, width, max_width: width, right, drop }
}

/// Makes a column that grows into spare room.
pub(crate) const fn growing(title: &'static str, width: u16, max_width: u16, drop: u8) -> Column {
    Column { title, width, max_width, right: false, drop }
}

/// Positions the columns that fit a width; those whose bit is set in `hidden` are omitted.
pub(crate) fn place(columns: &[Column], hidden: u32, room: u16) -> ColumnPlaces {
    let mut kept: Vec<bool> = (0..columns.len()).map(|i| hidden & (1 << i) == 0).collect();
    while needed(columns, &kept) > room {
        let last = (0..columns.len()).filter(|i| kept[*i] && columns[*i].drop > 0).max_by_key(|i| columns[*i].drop);
        let Some(last) = last else { break };
        kept[last] = false;
    }
    let mut spare = room.saturating_sub(needed(columns, &kept));
    let mut places = vec![None; columns.len()];
    let mut x = 0;
    for (i, column) in columns.iter().enumerate().filter(|(i, _)| kept[*i]) {
        let extra = spare.min(column.max_width.saturating_sub(column.width));
        spare -= extra;
        places[i] = Some((x, column.width + extra));
        x += column.width + extra + GAP;
    }
    places
}

/// Returns the column at this offset, for clicks on headings.
pub(crate) fn column_at(places: &ColumnPlaces, x: u16) -> Option<usize> {
    places.iter().position(|place| place.is_some_and(|(from, width)| (from..from + width + GAP).contains(&x)))
}

/// Draws the column titles; the one that the rows are sorted by is highlighted.
pub(crate) fn headings(
    buffer: &mut Buffer,
    area: Rect,
    columns: &[Column],
    places: &ColumnPlaces,
    sorted: Option<usize>,
    styles: [Style; 2],
) {
    for (i, (column, place)) in columns.iter().zip(places).enumerate() {
        cell(buffer, area, *column, *place, column.title, styles[usize::from(sorted == Some(i))]);
    }
}

/// Draws one cell, if its column is shown.
pub(crate) fn cell(
    buffer: &mut Buffer,
    row: Rect,
    column: Column,
    place: Option<(u16, u16)>,
    text: &str,
    style: Style,
) {
    let Some((x, width)) = place else { return };
    let mut cells = Row::new(buffer, row);
    cells.skip(x);
    if column.right {
        cells.cell_right(width, text, style);
    } else {
        cells.cell(width, text, style);
    }
}

fn needed(columns: &[Column], kept: &[bool]) -> u16 {
    let widths = columns.iter().zip(kept).filter(|(_, kept)| **kept).map(|(column, _)| column.width + GAP);
    widths.sum::<u16>().saturating_sub(GAP)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] =
        [fixed("#", 2, true, 0), growing("Node", 6, 10, 0), fixed("In", 5, true, 2), growing("60 s", 4, 20, 1)];

    #[test]
    fn columns_drop_by_priority_and_grow_in_order() {
        assert_eq!(place(&COLUMNS, 0, 23), [Some((0, 2)), Some((4, 6)), Some((12, 5)), Some((19, 4))]);
        assert_eq!(place(&COLUMNS, 0, 30), [Some((0, 2)), Some((4, 10)), Some((16, 5)), Some((23, 7))]);
        assert_eq!(place(&COLUMNS, 0, 22), [Some((0, 2)), Some((4, 10)), None, Some((16, 6))]);
        assert_eq!(place(&COLUMNS, 0, 11), [Some((0, 2)), Some((4, 7)), None, None]);
        assert_eq!(place(&COLUMNS, 0, 0), [Some((0, 2)), Some((4, 6)), None, None]);
    }

    #[test]
    fn room_of_hidden_columns_is_reused() {
        let places = place(&COLUMNS, 0b10, 23);
        assert_eq!(places, [Some((0, 2)), None, Some((4, 5)), Some((11, 12))]);
        assert_eq!(
            [0, 3, 4, 10, 11, 99].map(|x| column_at(&places, x)),
            [Some(0), Some(0), Some(2), Some(2), Some(3), None]
        );
    }
}
