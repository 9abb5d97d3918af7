//! Page that explains the headline.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::snapshot::ChainSnapshot;
use crate::ui::headline;
use crate::ui::paint::{Row, row_of};
use crate::ui::state::UiState;
use crate::ui::why::{Source, lines};

/// Columns before and after the text.
const MARGIN: u16 = 2;

/// Draws the page, and returns its number of rows.
pub(super) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) -> u16 {
    let hints = headline::of(state, data).hints;
    let keys: Vec<_> = hints.into_iter().map(|hint| (hint.key, hint.label)).collect();
    let source = Source { chain: data, history: state.history(), theme: &state.theme };
    let lines = lines(&source, &keys, area.width.saturating_sub(2 * MARGIN));
    for (at, line) in lines.iter().enumerate() {
        let mut row = Row::new(buffer, row_of(area, at));
        row.skip(MARGIN);
        for part in line {
            row.put(&part.text, state.theme.style(part.role));
        }
    }
    u16::try_from(lines.len()).unwrap_or(u16::MAX)
}
