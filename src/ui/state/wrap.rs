//! Line wrapping in lists: the lines of a long row, and the first line to show.

use std::ops::Range;

use ratatui::layout::Rect;

use super::UiState;
use crate::snapshot::verdict::Limit;
use crate::snapshot::{ChainSnapshot, FolderProgress, Integrity, LogLine, Phase, TransferSnapshot};
use crate::text::SafeText;
use crate::ui::focus::Panel;
use crate::ui::geometry::{log_rows, scroll_into_view, transfer_rows};
use crate::ui::layout::Regions;
use crate::ui::paint::{split_words, width};
use crate::ui::theme::StyleRole;
use crate::units::{Bytes, HumanDuration, Rate};

/// Below this width the log omits the time of day, to leave room for the text.
pub(crate) const TIMED: u16 = 72;
/// Maximum number of lines of the selected transfer: the rest of the list must stay visible.
const MAX_TRANSFER_LINES: usize = 3;
/// Maximum number of lines of one log entry.
const MAX_LOG_LINES: usize = 6;

/// Selected row of a list, on several lines where needed, so that its whole sentence can be read.
pub(crate) struct WrappedRow {
    /// Its index in the list.
    pub row: usize,
    /// Its lines.
    pub pieces: Vec<String>,
}

/// Part of the list of transfers that a panel shows.
pub(crate) struct TransferPanel {
    /// Its region.
    pub area: Rect,
    /// Its rows of the list.
    pub rows: Range<usize>,
    /// Number of its lines that are scrolled off its top.
    pub top: usize,
}

impl WrappedRow {
    /// Returns the row on a line of the list, and which of its lines that is.
    pub(crate) fn row_at(&self, line: usize) -> (usize, usize) {
        let more = self.pieces.len() - 1;
        match line {
            _ if line < self.row => (line, 0),
            _ if line <= self.row + more => (self.row, line - self.row),
            _ => (line - more, 0),
        }
    }
}

impl UiState {
    /// Returns the panel of the transfers that have not ended and that of the ended ones. A screen without the second
    /// has all in the first.
    pub(crate) fn transfer_panels(&self, regions: &Regions) -> [TransferPanel; 2] {
        let (open, all) = (self.lists.open, self.lists.transfers.len());
        let first = if regions.finished.height > 0 { open } else { all };
        [
            TransferPanel { area: regions.transfers, rows: 0..first, top: self.scrolled.transfers },
            TransferPanel { area: regions.finished, rows: first..all, top: self.scrolled.finished },
        ]
    }

    /// Returns the selected transfer, wrapped to the width of its panel; `None` if it is in another.
    pub(crate) fn wrapped_transfer(&self, data: &ChainSnapshot, panel: &TransferPanel) -> Option<WrappedRow> {
        let row = self.row_of(Panel::Transfers, data);
        let pieces = panel.rows.contains(&row).then(|| self.transfer_pieces(data, row, panel.area.width))??;
        Some(WrappedRow { row: row - panel.rows.start, pieces })
    }

    /// Returns the number of lines that the selected transfer takes at this width.
    pub(super) fn transfer_lines(&self, data: &ChainSnapshot, terminal: u16) -> usize {
        self.transfer_pieces(data, self.row_of(Panel::Transfers, data), terminal).map_or(0, |pieces| pieces.len())
    }

    fn transfer_pieces(&self, data: &ChainSnapshot, row: usize, terminal: u16) -> Option<Vec<String>> {
        let transfer = data.transfers.get(*self.lists.transfers.get(row)?)?;
        let first = usize::from(terminal.saturating_sub(indent(terminal) + width(transfer.phase.label()) + 2));
        let rest = usize::from(terminal.saturating_sub(indent(terminal)));
        Some(split_words(&sentence(transfer), first, rest, MAX_TRANSFER_LINES))
    }

    /// Returns the first line of a panel to show, so that the whole selected transfer is visible.
    pub(super) fn transfers_top(&self, data: &ChainSnapshot, panel: &TransferPanel) -> usize {
        let room = usize::from(transfer_rows(panel.area).height);
        let Some(selected) = self.wrapped_transfer(data, panel) else {
            return panel.top.min(panel.rows.len().saturating_sub(room));
        };
        let more = selected.pieces.len() - 1;
        let lines = panel.rows.len() + more;
        let end = scroll_into_view(panel.top, lines, room, selected.row + more);
        scroll_into_view(end, lines, room, selected.row)
    }

    /// Returns the row of the list on this line of a panel, for clicks.
    pub(crate) fn transfer_at(&self, data: &ChainSnapshot, panel: &TransferPanel, line: usize) -> Option<usize> {
        let line = panel.top + line;
        let row = self.wrapped_transfer(data, panel).map_or(line, |selected| selected.row_at(line).0);
        Some(panel.rows.start + row).filter(|row| panel.rows.contains(row))
    }

    /// Returns the first row of the log to show.
    pub(super) fn log_top(&self, data: &ChainSnapshot, area: Rect) -> usize {
        let (rows, room) = (self.lists.log.len(), usize::from(log_rows(self.tab, area).height));
        let selected = self.row_of(Panel::Log, data);
        if !self.wraps_lines() {
            return scroll_into_view(self.scrolled.log, rows, room, selected);
        }
        // Wrapped lines are counted backward from the selected one, so that all of it is visible.
        let mut left = room;
        let mut top = selected;
        for row in (0..=selected.min(rows.saturating_sub(1))).rev() {
            let line = self.lists.log.get(row).and_then(|at| data.log.get(*at));
            let needed = line.map_or(0, |line| self.log_pieces(line, area.width).len());
            if needed > left {
                break;
            }
            left -= needed;
            top = row;
        }
        top
    }

    /// Returns the lines that a log entry takes.
    pub(crate) fn log_pieces(&self, line: &LogLine, terminal: u16) -> Vec<String> {
        if !self.wraps_lines() {
            return vec![line.text.to_string()];
        }
        let room = usize::from(terminal.saturating_sub(log_indent(terminal) + 1));
        split_words(line.text.as_str(), room, room, MAX_LOG_LINES)
    }

    fn wraps_lines(&self) -> bool {
        self.wrap && self.focus() == Panel::Log
    }
}

/// Returns the number of columns before the text.
pub(crate) fn log_indent(terminal: u16) -> u16 {
    let time = if terminal >= TIMED { 9 } else { 0 };
    1 + time + 6 + 4
}

/// Returns how a transfer ended, or why one has not started; empty for one that runs.
pub(crate) fn sentence(transfer: &TransferSnapshot) -> String {
    if has_sentence(transfer) { outcome(transfer).0 } else { String::new() }
}

/// Returns whether the transfer is shown as a sentence instead of its progress.
pub(crate) fn has_sentence(transfer: &TransferSnapshot) -> bool {
    transfer.phase.is_over() || transfer.phase == Phase::Locked
}

/// Returns the width of the file name column, which depends only on the width of the terminal.
pub(crate) fn name_width(terminal: u16) -> u16 {
    match terminal {
        ..50 => 7,
        50..60 => 10,
        60..100 => 14,
        100..140 => 22,
        140.. => 32,
    }
}

/// Returns the number of columns before the outcome: selection, number and name.
pub(crate) fn indent(terminal: u16) -> u16 {
    2 + 4 + 1 + name_width(terminal) + 1
}

/// Returns how a transfer ended, or what it waits for, with its style.
pub(crate) fn outcome(transfer: &TransferSnapshot) -> (String, StyleRole) {
    match transfer.phase {
        Phase::Locked => {
            let reason = transfer.error.as_ref().map_or("waiting for another fetch", SafeText::as_str);
            (reason.to_owned(), StyleRole::Warn)
        }
        Phase::Failed => {
            let error = transfer.error.as_ref().map_or("unknown error", SafeText::as_str);
            let files = received(transfer).map_or_else(String::new, |files| format!("; {files}"));
            (format!("{error}{files}"), StyleRole::Bad)
        }
        Phase::Cancelled if transfer.folder.is_some() => {
            let files = received(transfer).map_or_else(|| "nothing received".to_owned(), |files| files + ", kept");
            (files, StyleRole::Warn)
        }
        Phase::Cancelled if transfer.received == 0 => ("nothing received".to_owned(), StyleRole::Warn),
        Phase::Cancelled => (format!("{} received and kept, resumable", Bytes(transfer.received)), StyleRole::Warn),
        _ => (done(transfer), StyleRole::Good),
    }
}

/// Returns what has been received of a folder; `None` for a file, and for a folder without a result.
fn received(transfer: &TransferSnapshot) -> Option<String> {
    transfer.folder.as_ref().filter(|folder| folder.has_results()).map(FolderProgress::results)
}

/// Returns size, duration, rate, verification, verdict and path. The figures of several rows are below each other, and
/// the least needed parts come last, as they are truncated first.
fn done(transfer: &TransferSnapshot) -> String {
    let size = Bytes(transfer.received.max(transfer.size.unwrap_or(0))).to_string();
    let integrity = match (&transfer.folder, &transfer.integrity) {
        (Some(folder), _) => folder.results(),
        (None, Integrity::Verified { .. }) => "verified: digest equal".to_owned(),
        (None, Integrity::SizeChecked { reason, .. }) => format!("size-checked: {reason}"),
        (None, Integrity::Pending) => "not verified".to_owned(),
    };
    if transfer.already_present {
        return format!("{size:>8} already up to date  {integrity}  {}", transfer.path);
    }
    let time = HumanDuration(transfer.elapsed).to_string();
    let rate = format!("{size:>8} in {time:>7} at {:>10}", Rate(transfer.rate).to_string());
    let verdict = transfer.verdict.filter(|verdict| verdict.limit != Limit::Measuring);
    let verdict = verdict.map_or_else(String::new, |verdict| format!("  {verdict}"));
    format!("{rate}  {integrity}{verdict}  {}", transfer.path)
}
