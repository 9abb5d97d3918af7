//! Chain line: the client at the left, the origin at the right, and the rate of every link. The stretch that the
//! headline is about states its cause; a chain that does not fit is folded to ranges of equal hops.

mod fold;
mod line;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use self::line::{Detail, Line, Span};
use crate::snapshot::ChainSnapshot;
use crate::ui::finding::{Finding, cause_word};
use crate::ui::paint::{Row, width};
use crate::ui::state::UiState;
use crate::ui::theme::StyleRole;

/// Draws the chain line.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let theme = &state.theme;
    let (spans, shows_fill) = spans(state, data, area.width);
    let mut row = Row::new(buffer, area);
    row.skip(1);
    for span in &spans {
        row.put(&span.text, theme.style(span.role));
    }
    if shows_fill {
        let full = theme.glyphs.bars[theme.glyphs.bars.len() - 1];
        row.put_right(&format!(" {full}={} ", state.history().scale.name()), theme.style(StyleRole::Dim));
    }
}

/// Returns the hop at this column.
pub(crate) fn hop_at(state: &UiState, data: &ChainSnapshot, area: Rect, column: u16) -> Option<usize> {
    let mut end = area.x + 1;
    let (spans, _) = spans(state, data, area.width);
    let found = spans.into_iter().find(|span| {
        end += width(&span.text);
        column < end
    });
    found.filter(|_| column > area.x)?.hop
}

/// Returns the line in the most detailed form that fits this width, and whether it shows buffered bytes.
fn spans(state: &UiState, data: &ChainSnapshot, columns: u16) -> (Vec<Span>, bool) {
    let finding = Finding::of(data);
    let hops = data.route_hops().collect();
    let line = Line { state, data, hops, place: finding.place(), cause: cause_word(&finding, data) };
    let details = [Detail::Full, Detail::Names, Detail::CauseName, Detail::Numbers];
    // One column is free at either end.
    let fits = |spans: &Vec<Span>| spans.iter().map(|span| width(&span.text)).sum::<u16>() + 2 <= columns;
    let detailed = details.into_iter().map(|detail| line.spans(detail)).find(fits);
    let shows_fill = detailed.is_some();
    (detailed.or_else(|| fold::forms(&line).find(fits)).unwrap_or_default(), shows_fill)
}
