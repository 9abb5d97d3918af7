//! Transfers of this run: what runs first, then what waits, with its progress; below, what has ended, with its
//! verification or the reason of its failure.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{heading, locked};
use crate::snapshot::{ChainSnapshot, ConnectionsProgress, FolderProgress, Phase, TransferSnapshot};
use crate::ui::action::{Action, TransferAction};
use crate::ui::focus::Panel;
use crate::ui::geometry::transfer_rows;
use crate::ui::layout::Regions;
use crate::ui::lists::rank;
use crate::ui::paint::{Row, cut_middle, row_of, width};
use crate::ui::state::UiState;
use crate::ui::state::wrap::{TransferPanel, has_sentence, indent, name_width, outcome, sentence};
use crate::ui::theme::{StyleRole, Theme};
use crate::ui::totals::Totals;
use crate::units::{Bytes, Count, Eta, Grouped, Rate};

/// From this width there is room for the rate limit, or for the number of connections or routes.
const WIDE: u16 = 100;
/// From this width a folder has room for its files beside its bytes.
const BOTH: u16 = 140;
/// Columns of the files of a folder, as many as received bytes and size take.
const FILES: u16 = 21;
/// Columns of a heading that are not for its remark: the title, and a piece of the rule.
const HEADED: u16 = 16;

/// Draws the panel of the transfers that have not ended, and that of the ended ones.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, regions: &Regions, buffer: &mut Buffer) {
    let [open, ended] = state.transfer_panels(regions);
    let focused = state.focus() == Panel::Transfers;
    if open.area.height > 0 {
        panel(state, data, "Transfers", &remark(state, data, &open), &open, focused, buffer);
        if open.rows.is_empty() {
            draw_hint(state, data, transfer_rows(open.area), buffer);
        }
    }
    if ended.area.height > 0 {
        let in_it = ended.rows.contains(&state.row_of(Panel::Transfers, data));
        panel(state, data, "Finished", &ended_remark(state, data, &ended), &ended, focused && in_it, buffer);
    }
}

fn panel(
    state: &UiState,
    data: &ChainSnapshot,
    title: &str,
    remark: &str,
    part: &TransferPanel,
    focused: bool,
    buffer: &mut Buffer,
) {
    let theme = &state.theme;
    heading::draw(theme, title, remark, focused, part.area, buffer);
    let selected = state.wrapped_transfer(data, part);
    let body = transfer_rows(part.area);
    for i in 0..usize::from(body.height) {
        let (row, piece) = selected.as_ref().map_or((part.top + i, 0), |selected| selected.row_at(part.top + i));
        let at = state.lists.transfers[part.rows.clone()].get(row);
        let Some(transfer) = at.and_then(|at| data.transfers.get(*at)) else { break };
        let area = row_of(body, i);
        match selected.as_ref().filter(|selected| selected.row == row) {
            Some(selected) => {
                heading::selection(theme, Some(focused), area, buffer);
                draw_line(state, data, transfer, &selected.pieces[piece], piece > 0, area, buffer);
            }
            None => draw_line(state, data, transfer, &sentence(transfer), false, area, buffer),
        }
    }
}

/// Draws why the list is empty, and the key that changes that.
fn draw_hint(state: &UiState, data: &ChainSnapshot, body: Rect, buffer: &mut Buffer) {
    let theme = &state.theme;
    let mut row = Row::new(buffer, row_of(body, 0));
    row.skip(2);
    let dim = theme.style(StyleRole::Dim);
    if !state.lists.filter(Panel::Transfers).trim().is_empty() {
        row.put("no matches", dim);
        return;
    }
    row.put(if data.transfers.is_empty() { "none yet:" } else { "none running:" }, dim).skip(1);
    let file = cut_middle(data.file.as_str(), name_width(body.width)).into_owned();
    let key = |action| state.keymap.key_of(Action::Transfer(action));
    let keys =
        [(TransferAction::Fetch, format!("fetch {file}")), (TransferAction::PromptName, "another file".to_owned())];
    for (action, what) in keys {
        row.put(&key(action), theme.style(StyleRole::Key)).skip(1).put(&what, dim).skip(2);
    }
}

fn draw_line(
    state: &UiState,
    data: &ChainSnapshot,
    transfer: &TransferSnapshot,
    text: &str,
    continued: bool,
    area: Rect,
    buffer: &mut Buffer,
) {
    let theme = &state.theme;
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
    } else if transfer.phase == Phase::Queued {
        let before = data.transfers.iter().take_while(|t| t.number != transfer.number);
        let position = 1 + before.filter(|t| t.phase == Phase::Queued).count();
        let text = if position == 1 { "queued, starts next".to_owned() } else { format!("queued, number {position}") };
        row.put(&text, theme.style(StyleRole::Dim));
    } else {
        progress(theme, transfer, area.width, &mut row);
    }
}

/// Returns the number of transfers in each state, the rows out of view, and the totals, as far as they fit.
fn remark(state: &UiState, data: &ChainSnapshot, part: &TransferPanel) -> String {
    let count = |wanted: fn(&TransferSnapshot) -> bool| data.transfers.iter().filter(|t| wanted(t)).count();
    let counts = [
        (count(|t| rank(t.phase) == 0), "running"),
        (count(|t| t.phase == Phase::Retrying), "retrying"),
        (count(|t| t.phase == Phase::Locked), "locked"),
        (count(|t| t.phase == Phase::Paused), "paused"),
        (count(|t| t.phase == Phase::Queued), "queued"),
    ];
    let totals = Totals::of(&data.transfers);
    let rate = state.history().client_rate(data);
    let mut open = data.transfers.iter().filter(|t| !t.phase.is_over());
    let eta = match (open.next(), open.next()) {
        // The estimates of one transfer and of the total would differ by their averages alone.
        (Some(only), None) => only.eta,
        _ => totals.eta(rate),
    };
    let mut parts = vec![heading::filter_text(state.lists.filter(Panel::Transfers)), counted(&counts)];
    if part.rows.len() > state.lists.open {
        parts.push(counted(&ended_counts(data)));
    }
    if state.lists.open > 0 {
        parts.extend([
            files_done(&totals),
            totals.percent().map_or_else(String::new, |percent| format!("{percent}%")),
            if rate > 0 { Rate(rate).to_string() } else { String::new() },
            eta.map_or_else(String::new, |eta| format!("ETA {}", Eta(Some(eta)))),
            if totals.unsized_count > 0 { format!("{} of unknown size", totals.unsized_count) } else { String::new() },
            if totals.count > 1 { format!("{} of {} done", totals.done, totals.count) } else { String::new() },
        ]);
    }
    let hidden = hidden(state, data, part);
    heading::joined(&parts, &hidden, between(&state.theme), part.area.width.saturating_sub(HEADED))
}

/// Returns how many files of the folders that run or wait are here; empty without such a folder.
fn files_done(totals: &Totals) -> String {
    let (here, total) = totals.files;
    if total == 0 { String::new() } else { format!("{} of {} files", Grouped(here), Grouped(total)) }
}

fn ended_remark(state: &UiState, data: &ChainSnapshot, part: &TransferPanel) -> String {
    let ended = data.transfers.iter().filter(|t| t.phase == Phase::Done && !t.was_up_to_date());
    let bytes = ended.map(|t| t.size.unwrap_or(t.received)).fold(0u64, u64::saturating_add);
    let bytes = if bytes > 0 { Bytes(bytes).to_string() } else { String::new() };
    let parts = [counted(&ended_counts(data)), bytes];
    heading::joined(&parts, &hidden(state, data, part), between(&state.theme), part.area.width.saturating_sub(HEADED))
}

fn ended_counts(data: &ChainSnapshot) -> [(usize, &'static str); 3] {
    let count = |phase| data.transfers.iter().filter(|t| t.phase == phase).count();
    [(count(Phase::Done), "done"), (count(Phase::Failed), "failed"), (count(Phase::Cancelled), "cancelled")]
}

fn counted(counts: &[(usize, &str)]) -> String {
    let counts = counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}"));
    counts.collect::<Vec<_>>().join(", ")
}

/// Returns the rows of a panel above and below the visible ones.
fn hidden(state: &UiState, data: &ChainSnapshot, part: &TransferPanel) -> String {
    let more = state.wrapped_transfer(data, part).map_or(0, |selected| selected.pieces.len() - 1);
    let room = usize::from(transfer_rows(part.area).height).saturating_sub(more);
    heading::hidden_rows(&state.theme, part.top, room, part.rows.len())
}

/// Returns what separates the parts of a heading.
fn between(theme: &Theme) -> &'static str {
    if theme.glyphs.braille { " · " } else { "  " }
}

/// Draws the number and the file name.
fn name(theme: &Theme, transfer: &TransferSnapshot, terminal: u16, row: &mut Row<'_>) {
    let number = format!("#{}", transfer.number);
    row.cell(4, &number, theme.style(StyleRole::Title)).skip(1);
    let columns = name_width(terminal);
    let name = locked(theme, !transfer.key.is_empty(), columns, |room| cut_middle(transfer.name.as_str(), room));
    row.cell(columns, &name, theme.style(StyleRole::Plain)).skip(1);
}

/// Draws the gauge, and from the right: rate limit, time left or phase, rate, bytes, percent.
fn progress(theme: &Theme, transfer: &TransferSnapshot, terminal: u16, row: &mut Row<'_>) {
    let moving = transfer.phase == Phase::Streaming;
    let (status, role) = status(transfer);
    let rate = if moving { Rate(transfer.rate).to_string() } else { "-".to_owned() };
    let percent = match transfer.size {
        Some(_) => format!("{}%", transfer.percent()),
        None => "-".to_owned(),
    };
    let plain = theme.style(StyleRole::Plain);
    let flow = theme.style(if moving { StyleRole::Flow } else { StyleRole::Dim });
    if terminal >= WIDE {
        let count = transfer.connections.as_ref().and_then(ConnectionsProgress::count);
        let limit = || transfer.rate_limit.map_or_else(String::new, |rate| format!("limit {}", Rate(rate)));
        // A limited transfer gains nothing from several connections.
        let (text, role) = match count.filter(|_| transfer.rate_limit.is_none()) {
            Some(count) => (count, StyleRole::Plain),
            None => (limit(), StyleRole::Warn),
        };
        row.put_right(&format!(" {text:<16} "), theme.style(role));
    }
    let columns = if terminal < 50 { 10 } else { 13 };
    row.put_right(&format!("{status:<columns$.columns$}"), theme.style(role));
    row.put_right(&format!("{rate:>10} "), flow);
    let folder = transfer.folder.as_ref().filter(|_| terminal >= 80);
    match folder {
        Some(folder) if terminal < BOTH => files(theme, folder, row),
        _ if terminal >= 80 => {
            let size = transfer.size.map_or("?".to_owned(), |size| Bytes(size).to_string());
            row.put_right(&format!(" {:>8} / {size:<8} ", Bytes(transfer.received)), plain);
        }
        _ => {}
    }
    row.put_right(&format!("{percent:>5} "), plain);
    if let Some(folder) = folder.filter(|_| terminal >= BOTH) {
        files(theme, folder, row);
        row.put_right(" ", plain);
    }
    let columns = row.room();
    // The last column is filled only once the file is complete.
    let full = ((transfer.share() * f64::from(columns)) as u16).min(columns.saturating_sub(1));
    row.repeat(theme.glyphs.full, full, flow);
    if transfer.share() > 0.0 {
        row.put(theme.glyphs.head, flow);
    }
    row.fill(theme.glyphs.rest, theme.style(StyleRole::Dim));
}

/// Draws from the right how many files of a folder are here, and how many failed, in as many columns as bytes take.
fn files(theme: &Theme, folder: &FolderProgress, row: &mut Row<'_>) {
    let (word, role) = match folder.failed {
        0 => ("files".to_owned(), StyleRole::Plain),
        failed => (format!("{} failed", Count(failed)), StyleRole::Bad),
    };
    let (count, room) = (folder.count(), usize::from(FILES - 2 - width(&word)));
    row.put_right(&format!("{word} "), theme.style(role));
    let count = if count.len() > room { String::new() } else { count };
    row.put_right(&format!("{count:>room$} "), theme.style(StyleRole::Plain));
}

/// Returns the status of a running transfer, in at most 13 columns.
fn status(transfer: &TransferSnapshot) -> (String, StyleRole) {
    match (transfer.phase, transfer.stall) {
        (Phase::Streaming, Some(stall)) => (format!("stalled {}", Eta(Some(stall.lasting))), StyleRole::Warn),
        (Phase::Streaming, None) if transfer.eta.is_some() => (format!("ETA {}", Eta(transfer.eta)), StyleRole::Plain),
        (Phase::Retrying, _) => match transfer.retry {
            Some(retry) => (format!("retry {} of {}", retry.number, retry.of), StyleRole::Warn),
            None => ("retrying".to_owned(), StyleRole::Warn),
        },
        (Phase::Paused, _) => ("paused".to_owned(), StyleRole::Warn),
        (phase, _) if transfer.attempt > 1 => (format!("{}, {}", phase.label(), transfer.attempt), StyleRole::Plain),
        (phase, _) => (phase.label().to_owned(), StyleRole::Plain),
    }
}
