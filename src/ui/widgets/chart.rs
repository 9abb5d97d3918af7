//! Throughput: the selected hop's send rate, with its rate limit and the client's rate; on a wide screen a chart of
//! each stage, all on one scale.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::plot::{self, Plot};
use super::{heading, hop_table};
use crate::snapshot::{ChainSnapshot, HopLink, HopSnapshot};
use crate::ui::action::{Action, NodeAction, TransferAction};
use crate::ui::finding::Finding;
use crate::ui::focus::Panel;
use crate::ui::history::ChartSpan;
use crate::ui::paint::{Row, row_of};
use crate::ui::state::UiState;
use crate::ui::theme::{StyleRole, Theme};
use crate::units::Rate;

/// From this height the chart has a heading.
const TITLED: u16 = 3;
/// From this height the last row shows the times.
const TIMED: u16 = 8;
/// Width of the names beside the charts and strips of all stages: fits a number and an address.
pub(crate) const NAME: u16 = 20;
/// Minimum number of lines of each of them.
const LINES: u16 = 2;
/// Columns of a heading that are not for its remark.
const HEADED: u16 = 34;

/// Draws the send rate of the selected hop.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let (theme, hop) = (&state.theme, state.hop(data));
    let number = hop.map_or(0, |hop| hop.number);
    let titled = u16::from(area.height >= TITLED);
    let timed = u16::from(area.height >= TIMED);
    let rows = area.height.saturating_sub(titled + timed);
    let plot =
        Rect { x: area.x + 1.min(area.width), y: area.y + titled, width: area.width.saturating_sub(2), height: rows };
    let columns = plot::columns(theme, plot.width);
    let window = Window::of(state, data, state.span);
    let of = |stage| plot::means(&state.history().samples_of(data, stage, state.span), window.samples, columns);
    let (values, behind) = (of(number), if number == 0 { Vec::new() } else { of(0) });
    let limit = hop.and_then(rate_limit);
    let top = plot::scale(values.iter().chain(&behind), limit);
    if titled > 0 {
        let focused = state.focus() == Panel::Chart;
        let name = format!("Throughput out of hop {number}, {}", window.name(1));
        let limit = limit.map_or_else(String::new, |limit| format!("{} limit {}", theme.glyphs.rest, Rate(limit)));
        let parts = [scale_text(top, &values), limit];
        let remark = heading::joined(&parts, "", "  ", area.width.saturating_sub(HEADED));
        heading::draw(theme, &name, &remark, focused, area, buffer);
    }
    if top > 0 {
        let style = theme.style(StyleRole::Flow);
        plot::draw(theme, &Plot { values: &values, behind: &behind, top, line: limit }, style, plot, buffer);
    } else if rows > 0 {
        let no_metrics = hop.is_some_and(|hop| matches!(hop.link, HopLink::Legacy | HopLink::Foreign));
        let words = if no_metrics { "no metrics" } else { "no traffic yet" };
        hint(state, data, words, plot, buffer);
    }
    if timed > 0 {
        times(theme, &window, Rect { y: area.bottom() - 1, height: 1, ..plot }, buffer);
    }
}

/// Draws why the chart is empty, and where there is room, the keys that fill it.
fn hint(state: &UiState, data: &ChainSnapshot, words: &str, plot: Rect, buffer: &mut Buffer) {
    let theme = &state.theme;
    let key = |action| state.keymap.key_of(action);
    let fetch = format!("{} fetch {}", key(Action::Transfer(TransferAction::Fetch)), data.file);
    let faults = format!("{} set a rate limit or another fault at a hop", key(Action::Node(NodeAction::Faults)));
    let lines = [words.to_owned(), fetch, faults];
    let idle = data.transfers.iter().all(|t| t.phase.is_over());
    let shown = if plot.height >= 5 && idle && !data.exiting { &lines[..] } else { &lines[..1] };
    let first = usize::from(plot.height).saturating_sub(shown.len()) / 2;
    for (line, text) in shown.iter().enumerate() {
        Row::new(buffer, row_of(plot, first + line)).skip(1).put(text, theme.style(StyleRole::Dim));
    }
}

/// Draws the rates of the client and of all hops that fit, below each other and on one scale.
pub(crate) fn draw_all(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let theme = &state.theme;
    let timed = u16::from(area.height >= TIMED);
    let rows = area.height.saturating_sub(1 + timed);
    let (stages, others) = stages(state, data, usize::from((rows / LINES).max(1)));
    let place = Rect { x: area.x + NAME, width: area.width.saturating_sub(NAME + 1), ..area };
    let columns = plot::columns(theme, place.width);
    let window = Window::of(state, data, state.span);
    let of = |stage| plot::means(&state.history().samples_of(data, stage, state.span), window.samples, columns);
    let series: Vec<Vec<f64>> = stages.iter().copied().map(of).collect();
    let top = plot::scale(series.iter().flatten(), None);
    let name = format!("Throughput of all stages, {}, one scale", window.name(1));
    let parts = [series.first().map_or_else(String::new, |_| scale_text(top, &series.concat()))];
    let remark = heading::joined(&parts, &more(others), "  ", area.width.saturating_sub(HEADED + 10));
    heading::draw(theme, &name, &remark, state.focus() == Panel::Chart, area, buffer);
    if top == 0 {
        return hint(state, data, "no traffic yet", Rect { y: area.y + 1, height: rows, ..area }, buffer);
    }
    let cause = Finding::of(data).hop();
    let count = stages.len();
    for (at, (stage, values)) in stages.iter().copied().zip(&series).enumerate() {
        let from = |at: usize| (usize::from(rows) * at / count) as u16;
        let (y, lines) = (area.y + 1 + from(at), from(at + 1) - from(at));
        let hop = stage.checked_sub(1).and_then(|at| data.hops.get(at));
        let limit = hop.and_then(rate_limit);
        let role = if stage > 0 && cause == Some(stage) { StyleRole::Warn } else { StyleRole::Flow };
        let chart = Rect { y, height: lines, ..place };
        plot::draw(theme, &Plot { values, behind: &[], top, line: limit }, theme.style(role), chart, buffer);
        let rate = hop.map_or_else(|| state.history().client_rate(data), |hop| hop.rate_out);
        let rate = if rate > 0 { Rate(rate).to_string() } else { "-".to_owned() };
        let limit = limit.map_or_else(String::new, |limit| format!("limit {}", Rate(limit)));
        let texts = [stage_name(hop), rate, limit];
        for (line, text) in texts.iter().enumerate().take(usize::from(chart.height)) {
            let role = if line == 0 { role } else { StyleRole::Dim };
            let row = Rect { x: area.x, width: NAME - 1, y: y + line as u16, height: 1 };
            Row::new(buffer, row).skip(2).put(text, theme.style(role));
        }
    }
    times(theme, &window, Rect { y: area.bottom() - timed, height: timed, ..place }, buffer);
}

/// Returns the stages that a panel of all of them has room for, 0 being the client, and the number of the others. The
/// selected hop and that of the headline are always among them, where there is room for two.
pub(crate) fn stages(state: &UiState, data: &ChainSnapshot, room: usize) -> (Vec<usize>, usize) {
    let all = data.route_hops().count() + 1;
    let selected = state.hop(data).map_or(0, |hop| hop.number).min(all - 1);
    let start = (selected + 1).saturating_sub(room.max(1)).min(all.saturating_sub(room));
    let mut rows: Vec<usize> = (start..all.min(start + room)).collect();
    let cause = Finding::of(data).hop().filter(|hop| *hop < all && !rows.contains(hop));
    if let (Some(cause), 2..) = (cause, rows.len()) {
        // It takes the place of the stage at that end which is not the selected one.
        let last = rows.len() - 1;
        let at = if cause < start && rows[0] != selected || rows[last] == selected { 0 } else { last };
        rows[at] = cause;
        rows.sort_unstable();
    }
    let others = all - rows.len();
    (rows, others)
}

/// Returns the remark on stages that have no room.
pub(crate) fn more(others: usize) -> String {
    if others > 0 { format!("{others} more") } else { String::new() }
}

/// Returns the name of a stage, short enough for the column of names.
pub(crate) fn stage_name(hop: Option<&HopSnapshot>) -> String {
    hop.map_or_else(|| "c client".to_owned(), |hop| format!("{} {}", hop.number, hop_table::name(hop, NAME - 4)))
}

/// Returns the rate limit that is set at a hop.
fn rate_limit(hop: &HopSnapshot) -> Option<u64> {
    hop.node.as_ref()?.faults.limit
}

/// Returns the rate of the full height, and the highest value where that is clipped.
fn scale_text(top: u64, values: &[f64]) -> String {
    let highest = values.iter().copied().fold(0.0, f64::max);
    match top {
        0 => String::new(),
        top if highest > top as f64 => format!("0-{}, peak {}", Rate(top), Rate(highest as u64)),
        top => format!("0-{}", Rate(top)),
    }
}

/// Time that a chart shows.
pub(crate) struct Window {
    /// Number of samples.
    pub samples: usize,
    span: ChartSpan,
}

impl Window {
    /// Returns the time that a chart of a span shows now.
    pub(crate) fn of(state: &UiState, data: &ChainSnapshot, span: ChartSpan) -> Self {
        Self { samples: state.history().window(data, span), span }
    }

    /// Returns a part of it, for a heading.
    pub(crate) fn name(&self, part: usize) -> String {
        if self.span == ChartSpan::TenMinutes {
            return format!("{} min", 10 / part);
        }
        // Four samples are a second.
        let tenths = self.samples * 10 / 4 / part;
        if tenths.is_multiple_of(10) {
            format!("{} s", tenths / 10)
        } else {
            format!("{}.{} s", tenths / 10, tenths % 10)
        }
    }
}

/// Draws the times below a chart.
pub(crate) fn times(theme: &Theme, window: &Window, area: Rect, buffer: &mut Buffer) {
    let dim = theme.style(StyleRole::Dim);
    Row::new(buffer, area).put(&format!("-{}", window.name(1)), dim).put_right("now", dim);
    if area.width >= 40 {
        Row::new(buffer, area).skip(area.width / 2 - 2).put(&format!("-{}", window.name(2)), dim);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_samples() {
        let names = |samples, span| [1, 2].map(|part| Window { samples, span }.name(part));
        assert_eq!(names(4, ChartSpan::Second), ["1 s", "0.5 s"]);
        assert_eq!(names(120, ChartSpan::Minute), ["30 s", "15 s"]);
        assert_eq!(names(240, ChartSpan::Minute), ["60 s", "30 s"]);
        assert_eq!(names(240, ChartSpan::TenMinutes), ["10 min", "5 min"]);
    }
}
