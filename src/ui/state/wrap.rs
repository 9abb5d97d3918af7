//! Line wrapping in lists: the lines of a long row, and the first line to show.

use ratatui::layout::Rect;

use super::UiState;
use crate::snapshot::{ChainSnapshot, Integrity, LogLine, Phase, TransferSnapshot};
use crate::text::SafeText;
use crate::ui::focus::Panel;
use crate::ui::geometry::{log_rows, scroll_into_view, transfer_rows};
use crate::ui::paint::{split_words, width};
use crate::ui::theme::StyleRole;
use crate::units::{Bytes, HumanDuration, Rate};

/// Below this width the log omits the time of day, to leave room for the text.
pub(crate) const TIMED: u16 = 72;
/// Displayed digits of a digest, enough to compare two by eye.
const DIGEST: usize = 16;
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
    /// Returns the selected transfer, wrapped to this width.
    pub(crate) fn wrapped_transfer(&self, data: &ChainSnapshot, terminal: u16) -> Option<WrappedRow> {
        let row = self.row_of(Panel::Transfers, data);
        let transfer = data.transfers.get(*self.lists.transfers.get(row)?)?;
        let first = usize::from(terminal.saturating_sub(indent(terminal) + width(transfer.phase.label()) + 2));
        let rest = usize::from(terminal.saturating_sub(indent(terminal)));
        Some(WrappedRow { row, pieces: split_words(&sentence(transfer), first, rest, MAX_TRANSFER_LINES) })
    }

    /// Returns the first line to show, so that the whole selected transfer is visible.
    pub(super) fn transfers_top(&self, data: &ChainSnapshot, area: Rect) -> usize {
        let Some(selected) = self.wrapped_transfer(data, area.width) else { return 0 };
        let room = usize::from(transfer_rows(area).height);
        let lines = self.lists.transfers.len() + selected.pieces.len() - 1;
        let end = scroll_into_view(self.scrolled.transfers, lines, room, selected.row + selected.pieces.len() - 1);
        scroll_into_view(end, lines, room, selected.row)
    }

    /// Returns the row of the list on this line of the panel, for clicks.
    pub(crate) fn transfer_at(&self, data: &ChainSnapshot, area: Rect, line: usize) -> Option<usize> {
        self.wrapped_transfer(data, area.width).map(|selected| selected.row_at(self.scrolled.transfers + line).0)
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
            (error.to_owned(), StyleRole::Bad)
        }
        Phase::Cancelled if transfer.received == 0 => ("nothing received".to_owned(), StyleRole::Warn),
        Phase::Cancelled => (format!("{} received and kept, resumable", Bytes(transfer.received)), StyleRole::Warn),
        _ => (done(transfer), StyleRole::Good),
    }
}

/// Returns size, rate, verification and path. The least needed parts come last, as they are truncated first.
fn done(transfer: &TransferSnapshot) -> String {
    let size = Bytes(transfer.received.max(transfer.size.unwrap_or(0)));
    let integrity = match &transfer.integrity {
        Integrity::Verified { digest } => format!("verified: digest equal  {}", short_digest(digest)),
        Integrity::SizeChecked { reason, .. } => format!("size-checked: {reason}"),
        Integrity::Pending => "not verified".to_owned(),
    };
    if transfer.already_present {
        return format!("{size} already up to date  {integrity}  {}", transfer.path);
    }
    let rate = format!("{size} in {} at {}", HumanDuration(transfer.elapsed), Rate(transfer.rate));
    format!("{rate}  {integrity}  {}", transfer.path)
}

/// Returns `ALGO:HEX` with fewer digits. It came over the network, so it is sanitized like all such text.
fn short_digest(digest: &str) -> String {
    let (algorithm, digits) = digest.split_once(':').unwrap_or(("", digest));
    let digits: String = digits.chars().take(DIGEST).collect();
    SafeText::new(&format!("{algorithm}:{digits}")).to_string()
}
