//! Chain line: the client at the left, the origin at the right, and the rate of every link. The stretch that the
//! headline is about states its cause; a chain that does not fit is folded to ranges of equal hops.

mod fold;
mod line;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use self::line::{Detail, Line, Span};
use crate::snapshot::ChainSnapshot;
use crate::ui::finding::{Finding, cause_word, route_hops};
use crate::ui::paint::{Row, width};
use crate::ui::state::UiState;
use crate::ui::theme::StyleRole;

/// Draws the chain line.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let (finding, theme) = (Finding::of(data), &state.theme);
    let hops = route_hops(data).collect();
    let line = Line { state, data, hops, place: finding.place(), cause: cause_word(&finding, data) };
    let details = [Detail::Full, Detail::Names, Detail::CauseName, Detail::Numbers];
    // One column is free at either end.
    let fits = |spans: &Vec<Span>| spans.iter().map(|span| width(&span.text)).sum::<u16>() + 2 <= area.width;
    let detailed = details.into_iter().map(|detail| line.spans(detail)).find(fits);
    let shows_fill = detailed.is_some();
    let spans = detailed.or_else(|| fold::forms(&line).find(fits)).unwrap_or_default();
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
