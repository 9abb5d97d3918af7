//! Pairs of a name and a value, in one or two columns.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::ui::paint::{Row, row_of, split_words};
use crate::ui::theme::{StyleRole, Theme};

/// Width of a name.
const NAME: u16 = 16;
/// From this width fields are in two columns.
const TWO_COLUMNS: u16 = 90;
/// Maximum number of rows of one value.
const MAX_ROWS: usize = 4;

/// One field of a detail page.
pub(crate) struct DetailField {
    name: &'static str,
    value: String,
    role: StyleRole,
}

/// Makes a field in plain style; an empty value is shown as a dash.
pub(crate) fn field(name: &'static str, value: impl Into<String>) -> DetailField {
    let value = value.into();
    match value.as_str() {
        "" => DetailField { name, value: "-".to_owned(), role: StyleRole::Dim },
        "-" => DetailField { name, value, role: StyleRole::Dim },
        _ => DetailField { name, value, role: StyleRole::Plain },
    }
}

impl DetailField {
    /// Returns the field in another style.
    pub(crate) fn with_role(self, role: StyleRole) -> Self {
        Self { role, ..self }
    }
}

/// Draws fields from the top of the area and returns the number of rows used.
pub(crate) fn draw(theme: &Theme, fields: &[DetailField], area: Rect, buffer: &mut Buffer) -> u16 {
    let columns = if area.width >= TWO_COLUMNS { 2 } else { 1 };
    let per_column = fields.len().div_ceil(columns);
    let width = area.width / columns as u16;
    let mut tallest = 0;
    for (c, column) in fields.chunks(per_column.max(1)).enumerate() {
        let area = Rect { x: area.x + c as u16 * width, width, ..area };
        tallest = tallest.max(draw_column(theme, column, area, buffer));
    }
    tallest
}

fn draw_column(theme: &Theme, fields: &[DetailField], area: Rect, buffer: &mut Buffer) -> u16 {
    let room = usize::from(area.width.saturating_sub(NAME + 4));
    let mut y = 0;
    for field in fields {
        for (i, piece) in split_words(&field.value, room, room, MAX_ROWS).iter().enumerate() {
            let row = row_of(area, usize::from(y));
            if row.height == 0 {
                return y;
            }
            let row = Rect { width: row.width.saturating_sub(1), ..row };
            let mut cells = Row::new(buffer, row);
            let name = if i == 0 { field.name } else { "" };
            cells.skip(2).cell(NAME, name, theme.style(StyleRole::Dim)).skip(1).put(piece, theme.style(field.role));
            y += 1;
        }
    }
    y
}
