//! Transfers of this run, oldest first: the progress, the verification or the reason of the failure.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::heading;
use crate::snapshot::{ChainSnapshot, Phase, TransferSnapshot};
use crate::ui::focus::Panel;
use crate::ui::geometry::transfer_rows;
use crate::ui::paint::{Row, cut_middle, row_of};
use crate::ui::state::UiState;
use crate::ui::state::wrap::{has_sentence, indent, name_width, outcome, sentence};
use crate::ui::theme::{StyleRole, Theme};
use crate::units::{Bytes, Eta, Rate};

/// From this width there is room for the rate limit.
const WIDE: u16 = 100;

/// Draws the heading and the transfers that fit.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let theme = &state.theme;
    let focused = state.focus() == Panel::Transfers;
    let body = transfer_rows(area);
    heading::draw(theme, "Transfers", &remark(state, data, usize::from(body.height)), focused, area, buffer);
    if state.lists.transfers.is_empty() {
        let words = if data.transfers.is_empty() { "none yet" } else { "no matches" };
        Row::new(buffer, row_of(body, 0)).skip(2).put(words, theme.style(StyleRole::Dim));
    }
    let Some(selected) = state.wrapped_transfer(data, area.width) else { return };
    for i in 0..usize::from(body.height) {
        let (row, piece) = selected.row_at(state.scrolled.transfers + i);
        let Some(transfer) = state.lists.transfers.get(row).and_then(|at| data.transfers.get(*at)) else { break };
        let area = row_of(body, i);
        if row == selected.row {
            heading::selection(theme, Some(focused), area, buffer);
            draw_line(theme, transfer, &selected.pieces[piece], piece > 0, area, buffer);
        } else {
            draw_line(theme, transfer, &sentence(transfer), false, area, buffer);
        }
    }
}

fn draw_line(theme: &Theme, transfer: &TransferSnapshot, text: &str, continued: bool, area: Rect, buffer: &mut Buffer) {
    let mut row = Row::new(buffer, area);
    if continued {
        let style = if transfer.phase == Phase::Failed { StyleRole::Bad } else { StyleRole::Plain };
        row.skip(indent(area.width)).put(text, theme.style(style));
        return;
    }
    row.skip(2);
    name(theme, transfer, area.width, &mut row);
    if has_sentence(transfer) {
        let role = outcome(transfer).1;
        row.put(transfer.phase.label(), theme.style(role)).skip(2);
        row.put(text, theme.style(if role == StyleRole::Bad { StyleRole::Bad } else { StyleRole::Plain }));
    } else {
        progress(theme, transfer, area.width, &mut row);
    }
}

fn remark(state: &UiState, data: &ChainSnapshot, room: usize) -> String {
    let count = |wanted: fn(&TransferSnapshot) -> bool| data.transfers.iter().filter(|t| wanted(t)).count();
    let parts = [
        (count(|t| !t.phase.is_over() && !matches!(t.phase, Phase::Queued | Phase::Paused)), "running"),
        (count(|t| t.phase == Phase::Queued), "queued"),
        (count(|t| t.phase == Phase::Paused), "paused"),
        (count(|t| t.phase == Phase::Done), "done"),
        (count(|t| t.phase == Phase::Failed), "failed"),
        (count(|t| t.phase == Phase::Cancelled), "cancelled"),
        (state.lists.transfers.len().saturating_sub(room), "more"),
    ];
    let counts = parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}"));
    let filter = heading::filter_text(state.lists.filter(Panel::Transfers));
    (!filter.is_empty()).then_some(filter).into_iter().chain(counts).collect::<Vec<_>>().join("  ")
}

/// Draws the number and the file name.
fn name(theme: &Theme, transfer: &TransferSnapshot, terminal: u16, row: &mut Row<'_>) {
    let number = format!("#{}", transfer.number);
    row.cell(4, &number, theme.style(StyleRole::Title)).skip(1);
    let columns = name_width(terminal);
    row.cell(columns, &cut_middle(transfer.name.as_str(), columns), theme.style(StyleRole::Plain)).skip(1);
}

/// Draws the gauge, and from the right: rate limit, time left or phase, rate, bytes, percent.
fn progress(theme: &Theme, transfer: &TransferSnapshot, terminal: u16, row: &mut Row<'_>) {
    let moving = transfer.phase == Phase::Streaming;
    let (status, role) = status(transfer);
    let rate = if moving { Rate(transfer.rate).to_string() } else { "-".to_owned() };
    let percent = match transfer.size {
        Some(_) => format!("{}%", (transfer.share() * 100.0).floor()),
        None => "-".to_owned(),
    };
    let plain = theme.style(StyleRole::Plain);
    let flow = theme.style(if moving { StyleRole::Flow } else { StyleRole::Dim });
    if terminal >= WIDE {
        let limit = transfer.rate_limit.map_or_else(String::new, |rate| format!("limit {}", Rate(rate)));
        row.put_right(&format!(" {limit:<16} "), theme.style(StyleRole::Warn));
    }
    let columns = if terminal < 50 { 9 } else { 13 };
    row.put_right(&format!("{status:<columns$.columns$}"), theme.style(role));
    row.put_right(&format!("{rate:>10} "), flow);
    if terminal >= 80 {
        let size = transfer.size.map_or("?".to_owned(), |size| Bytes(size).to_string());
        row.put_right(&format!(" {:>8} / {size:<8} ", Bytes(transfer.received)), plain);
    }
    row.put_right(&format!("{percent:>5} "), plain);
    let columns = row.room();
    let full = (transfer.share() * f64::from(columns)).floor() as u16;
    row.repeat(theme.glyphs.full, full, flow);
    if transfer.share() > 0.0 {
        row.put(theme.glyphs.head, flow);
    }
    row.fill(theme.glyphs.rest, theme.style(StyleRole::Dim));
}

/// Returns the status of a running transfer, in at most 13 columns.
fn status(transfer: &TransferSnapshot) -> (String, StyleRole) {
    match (transfer.phase, transfer.stall) {
        (Phase::Streaming, Some(stall)) => (format!("stalled {}", Eta(Some(stall.lasting))), StyleRole::Warn),
        (Phase::Streaming, None) if transfer.eta.is_some() => (format!("ETA {}", Eta(transfer.eta)), StyleRole::Plain),
        (Phase::Retrying, _) => (format!("retrying, {}", transfer.attempt.max(1)), StyleRole::Warn),
        (Phase::Paused, _) => ("paused".to_owned(), StyleRole::Warn),
        (phase, _) if transfer.attempt > 1 => (format!("{}, {}", phase.label(), transfer.attempt), StyleRole::Plain),
        (phase, _) => (phase.label().to_owned(), StyleRole::Plain),
    }
}
