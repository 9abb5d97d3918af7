//! Setup waterfall of the selected transfer: how long each stage connected and waited for a reply.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::heading;
use crate::snapshot::timing::{self, Step};
use crate::snapshot::{ChainSnapshot, TransferSnapshot};
use crate::ui::focus::Panel;
use crate::ui::geometry::scroll_into_view;
use crate::ui::paint::{Row, row_of};
use crate::ui::state::UiState;
use crate::ui::theme::StyleRole;
use crate::waterfall::{self, to_first_byte};

/// Width of the stage.
const STAGE: u16 = 7;
/// Width of the figures.
const FIGURES: usize = 17;
/// Word in place of the time to connect, for a stage that used a connection of an earlier request.
const KEPT: &str = "kept";

/// Draws the waterfall with its heading.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let (theme, g) = (&state.theme, &state.theme.glyphs);
    let transfer = state.transfer(data);
    let name = match transfer {
        Some(t) => format!("#{} setup, ms ({} connect {} wait)", t.number, g.connect, g.wait),
        None => "Setup".to_owned(),
    };
    let rows = transfer.map_or_else(Vec::new, rows);
    let bars = bars(&rows);
    // The scale is that of the sentence below, so that both show the same total.
    let whole = bars.iter().map(timing::WaterfallRow::end_ms).fold(to_first_byte(&rows), f64::max);
    let room = usize::from(area.height).saturating_sub(2);
    let stages = bars.iter().map(|bar| bar.stage + 1).max().unwrap_or(0);
    // The stage that takes the longest, which the sentence names, is always in view.
    let top = scroll_into_view(0, stages, room, longest(&rows).map_or(0, |row| row.stage));
    let hidden = heading::hidden_rows(theme, top, room, stages);
    let total = if bars.is_empty() { String::new() } else { figure(whole) };
    let remark = heading::joined(&[total], &hidden, "   ", area.width);
    heading::draw(theme, &name, &remark, state.focus() == Panel::Setup, area, buffer);
    if bars.is_empty() {
        Row::new(buffer, row_of(area, 1)).skip(2).put(no_data_reason(transfer), theme.style(StyleRole::Dim));
        return;
    }
    for stage in top..stages.min(top + room) {
        let own = || bars.iter().filter(move |bar| bar.stage == stage);
        let row = row_of(area, 1 + stage - top);
        let mut cells = Row::new(buffer, row);
        let name = if stage == 0 { "client".to_owned() } else { stage.to_string() };
        cells.skip(2).cell(STAGE, &name, theme.style(StyleRole::Plain));
        // A kept connection has no step before the wait.
        let connected =
            if own().any(|bar| bar.step != Step::Wait) { figure(spent(own(), false)) } else { KEPT.to_owned() };
        let text = format!("{connected} + {} ", figure(spent(own(), true)));
        cells.put_right(&format!("{text:>FIGURES$}"), theme.style(StyleRole::Dim));
        let (left, columns) = (row.x + 2 + STAGE, cells.room());
        for bar in own() {
            let at = |ms: f64| if whole > 0.0 { (ms / whole * f64::from(columns)).round() as u16 } else { 0 };
            let from = at(bar.offset_ms).min(columns.saturating_sub(1));
            // At least one column, however short the step was.
            let long = at(bar.offset_ms + bar.length_ms).saturating_sub(from).max(1).min(columns - from);
            let place = Rect { x: left + from, width: long, ..row };
            let (glyph, role) =
                if bar.step == Step::Wait { (g.wait, StyleRole::Flow) } else { (g.connect, StyleRole::Warn) };
            Row::new(buffer, place).fill(glyph, theme.style(role));
        }
    }
    let last = row_of(area, 1 + stages.min(room));
    Row::new(buffer, last).skip(2).put(&sentence(&rows), theme.style(StyleRole::Plain));
}

/// Returns the rows that the waterfall of a transfer needs, with its heading and its sentence.
pub(crate) fn needed(transfer: &TransferSnapshot) -> u16 {
    let stages = rows(transfer).iter().map(|row| row.stage + 1).max().unwrap_or(1);
    u16::try_from(stages).unwrap_or(u16::MAX).saturating_add(2)
}

/// Returns the waterfall of a transfer as the hops reported it, or else one built from its legs alone.
pub(crate) fn rows(transfer: &TransferSnapshot) -> Vec<timing::WaterfallRow> {
    if transfer.waterfall.is_empty() {
        waterfall::rows(&transfer.legs, &[], (None, None))
    } else {
        transfer.waterfall.clone()
    }
}

/// Returns the rows before the reply.
fn bars(rows: &[timing::WaterfallRow]) -> Vec<timing::WaterfallRow> {
    rows.iter().filter(|row| !matches!(row.step, Step::FirstByte | Step::LastByte)).copied().collect()
}

/// Returns why there is no waterfall.
fn no_data_reason(transfer: Option<&TransferSnapshot>) -> &'static str {
    match transfer {
        None => "no transfer yet",
        Some(t) if t.phase.is_over() => "no timing data",
        Some(_) => "not known before the first byte",
    }
}

/// Returns the milliseconds of the bars that are waits, or of the others. Added to 0.0, because the sum of no bars is
/// -0.0.
fn spent<'a>(bars: impl Iterator<Item = &'a timing::WaterfallRow>, wait: bool) -> f64 {
    bars.filter(|bar| (bar.step == Step::Wait) == wait).fold(0.0, |sum, bar| sum + bar.length_ms)
}

/// Returns the time to the first byte, and the longest part of it.
fn sentence(rows: &[timing::WaterfallRow]) -> String {
    let whole = to_first_byte(rows);
    let Some(most) = longest(rows) else { return String::new() };
    let share = if whole > 0.0 { most.own_ms / whole * 100.0 } else { 0.0 };
    let near = if most.stage == 0 { "client".to_owned() } else { most.stage.to_string() };
    let (what, far) = (most.step.label(), most.stage + 1);
    format!("{} ms to first byte; {share:.0}% is {what} {far}>{near}", figure(whole))
}

/// Returns the longest part of the time to the first byte.
fn longest(rows: &[timing::WaterfallRow]) -> Option<&timing::WaterfallRow> {
    let before = rows.iter().filter(|row| match row.step {
        Step::Resolve | Step::Connect | Step::Wait => true,
        Step::FirstByte => row.stage == 0,
        Step::LastByte => false,
    });
    before.max_by(|a, b| a.own_ms.total_cmp(&b.own_ms))
}

fn figure(ms: f64) -> String {
    if ms < 99.95 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

#[cfg(test)]
mod tests {
    use ratatui::buffer::Cell;

    use super::*;
    use crate::wire::Leg;

    #[test]
    fn the_longest_part_is_named() {
        let leg = |connect_ms, wait_ms| Leg { resolve_ms: 0.0, connect_ms, wait_ms };
        let rows = waterfall::rows(&[leg(1.0, 80.0), leg(0.4, 78.2), leg(38.4, 29.6)], &[], (None, None));
        assert_eq!(sentence(&rows), "81.0 ms to first byte; 47% is connect 3>2");
        let rows = waterfall::rows(&[leg(1.0, 8.0)], &[], (Some(30.0), None));
        assert_eq!(sentence(&rows), "30.0 ms to first byte; 70% is first byte 1>client");
        assert_eq!(sentence(&[]), "");
    }

    #[test]
    fn a_kept_connection_is_named() {
        let legs = [(1.0, 9.0), (0.0, 8.0)].map(|(connect_ms, wait_ms)| Leg { resolve_ms: 0.0, connect_ms, wait_ms });
        let transfer = TransferSnapshot { number: 1, legs: legs.to_vec(), ..TransferSnapshot::default() };
        let data = ChainSnapshot { transfers: vec![transfer], ..ChainSnapshot::default() };
        let area = Rect::new(0, 0, 60, 4);
        let mut buffer = Buffer::empty(area);
        draw(&UiState::default(), &data, area, &mut buffer);
        let rows = buffer.content().chunks(60).map(|row| row.iter().map(Cell::symbol).collect::<String>());
        let rows: Vec<String> = rows.collect();
        assert!(rows[1].ends_with("1.0 + 9.0 ") && rows[2].ends_with("kept + 8.0 "), "{rows:#?}");
        assert!(!rows[2].contains(UiState::default().theme.glyphs.connect), "{rows:#?}");
    }

    #[test]
    fn zero_has_no_sign() {
        assert_eq!([false, true].map(|wait| figure(spent([].iter(), wait))), ["0.0", "0.0"]);
        assert_eq!(figure(to_first_byte(&[])), "0.0");
    }
}
