//! How each stage spent the last minute, as a strip: in each column the largest of its waits, or busy.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::chart::{NAME, Window, more, stage_name, stages, times};
use super::heading;
use super::time_bar::legend;
use crate::snapshot::ChainSnapshot;
use crate::ui::history::ChartSpan;
use crate::ui::paint::{Row, row_of};
use crate::ui::state::UiState;
use crate::ui::theme::StyleRole;
use crate::ui::time_shares::TimeShares;

/// Draws the strips of the stages that fit.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    if area.height < 3 {
        return;
    }
    let theme = &state.theme;
    let (stages, others) = stages(state, data, usize::from(area.height - 2));
    let remark = heading::joined(&[legend(theme)], &more(others), "   ", area.width.saturating_sub(20));
    let window = Window::of(state, data, ChartSpan::Minute);
    heading::draw(theme, &format!("Time spent, {}", window.name(1)), &remark, false, area, buffer);
    let segments = TimeShares::segments(theme);
    for (line, stage) in stages.into_iter().enumerate() {
        let row = row_of(area, 1 + line);
        let hop = stage.checked_sub(1).and_then(|at| data.hops.get(at));
        let selected = hop.is_some_and(|hop| state.hop(data).is_some_and(|selected| selected.number == hop.number));
        let role = if selected { StyleRole::Selected } else { StyleRole::Plain };
        let mut cells = Row::new(buffer, row);
        cells.skip(2).cell(NAME - 3, &stage_name(hop), theme.style(role)).skip(1);
        let columns = usize::from(cells.room().saturating_sub(1));
        for shares in state.history().waits.columns(stage, columns, window.samples) {
            let Some([starved, blocked, limited]) = shares else {
                cells.skip(1);
                continue;
            };
            let all = TimeShares { starved, blocked, limited }.all();
            let largest = (0..all.len()).max_by(|one, other| all[*one].total_cmp(&all[*other])).unwrap_or(0);
            let (glyph, role, _) = segments[largest];
            cells.put(glyph, theme.style(role));
        }
    }
    let place = Rect { x: area.x + NAME, width: area.width.saturating_sub(NAME + 1), y: area.bottom() - 1, height: 1 };
    times(theme, &window, place, buffer);
}
