//! This run's transfers, oldest first: a gauge for what runs, the proof for what is done, the reason for what failed.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::heading;
use crate::snapshot::{ChainSnapshot, Phase, Proof, TransferSnapshot};
use crate::text::SafeText;
use crate::ui::paint::{Row, row_of};
use crate::ui::state::{Panel, UiState};
use crate::ui::theme::{Theme, Tone};
use crate::units::{Bytes, Eta, Rate, Span};

/// Digits of a digest that are enough to compare two by eye.
const DIGEST: usize = 16;

/// Draws the heading and as many transfers as there is room for; the newest, unless the mark is elsewhere.
pub fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    let theme = &state.theme;
    let focused = state.panel == Panel::Transfers;
    let room = usize::from(area.height).saturating_sub(1);
    let marked = state.transfer(data).map(|t| t.number);
    heading::draw(theme, "Transfers", &remark(data, room), focused, area, buffer);
    if data.transfers.is_empty() {
        Row::new(buffer, row_of(area, 1)).skip(2).put("none yet", theme.style(Tone::Dim));
    }
    let at = data.transfers.iter().position(|t| Some(t.number) == marked).unwrap_or(0);
    let first = heading::first_shown(data.transfers.len(), room, at);
    for (i, transfer) in data.transfers.iter().skip(first).take(room).enumerate() {
        let row = row_of(area, 1 + i);
        heading::mark(theme, (Some(transfer.number) == marked).then_some(focused), row, buffer);
        let mut row = Row::new(buffer, row);
        row.skip(2);
        name(theme, transfer, area.width, &mut row);
        if transfer.phase.is_over() {
            let (text, tone) = outcome(transfer);
            row.put(transfer.phase.word(), theme.style(tone)).skip(2);
            row.put(&text, theme.style(if tone == Tone::Bad { Tone::Bad } else { Tone::Plain }));
        } else {
            progress(theme, transfer, area.width, &mut row);
        }
    }
}

fn remark(data: &ChainSnapshot, room: usize) -> String {
    let count = |wanted: fn(&TransferSnapshot) -> bool| data.transfers.iter().filter(|t| wanted(t)).count();
    let parts = [
        (count(|t| !t.phase.is_over()), "running"),
        (count(|t| t.phase == Phase::Done), "done"),
        (count(|t| t.phase == Phase::Failed), "failed"),
        (data.transfers.len().saturating_sub(room), "out of sight"),
    ];
    let words: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    words.join("  ")
}

/// The number and the file's name, in columns that depend on the width of the terminal alone.
fn name(theme: &Theme, transfer: &TransferSnapshot, terminal: u16, row: &mut Row<'_>) {
    let columns = match terminal {
        ..60 => 10,
        60..100 => 14,
        100..140 => 22,
        140.. => 32,
    };
    let number = format!("#{}", transfer.number);
    row.cell(4, &number, theme.style(Tone::Title)).skip(1);
    row.cell(columns, transfer.name.as_str(), theme.style(Tone::Plain)).skip(2);
}

/// The gauge, and from the right: time left or the phase, rate, bytes, percent.
fn progress(theme: &Theme, transfer: &TransferSnapshot, terminal: u16, row: &mut Row<'_>) {
    let moving = transfer.phase == Phase::Streaming;
    let status = match (moving, transfer.eta) {
        (true, Some(_)) => format!("ETA {}", Eta(transfer.eta)),
        _ => transfer.phase.word().to_owned(),
    };
    let rate = if moving { Rate(transfer.rate).to_string() } else { "-".to_owned() };
    let percent = match transfer.size {
        Some(_) => format!("{}%", (transfer.share() * 100.0).floor()),
        None => "-".to_owned(),
    };
    let plain = theme.style(Tone::Plain);
    let tone = if moving { Tone::Flow } else { Tone::Dim };
    row.put_right(&format!(" {status:<10}"), plain);
    row.put_right(&format!(" {rate:>8} "), theme.style(tone));
    if terminal >= 80 {
        let size = transfer.size.map_or("?".to_owned(), |size| Bytes(size).to_string());
        row.put_right(&format!(" {:>6} / {size:<6}", Bytes(transfer.received)), plain);
    }
    row.put_right(&format!(" {percent:>4} "), plain);
    let columns = row.room();
    let full = (transfer.share() * f64::from(columns)).floor() as u16;
    row.repeat(theme.glyphs.full, full, theme.style(Tone::Flow));
    if transfer.share() > 0.0 {
        row.put(theme.glyphs.head, theme.style(Tone::Flow));
    }
    row.fill(theme.glyphs.rest, theme.style(Tone::Dim));
}

/// How a transfer ended: the sentence and its tone.
fn outcome(transfer: &TransferSnapshot) -> (String, Tone) {
    match transfer.phase {
        Phase::Failed => {
            let error = transfer.error.as_ref().map_or("for a reason unknown", SafeText::as_str);
            (error.to_owned(), Tone::Bad)
        }
        Phase::Cancelled => {
            let kept = format!("{} of it arrived and are kept", Bytes(transfer.received));
            (kept, Tone::Warn)
        }
        _ => (done(transfer), Tone::Good),
    }
}

/// What arrived and how sure it is; the least needed words last, as they are the first to be cut.
fn done(transfer: &TransferSnapshot) -> String {
    let size = Bytes(transfer.received.max(transfer.size.unwrap_or(0)));
    let proof = match &transfer.proof {
        Proof::Intact { digest } => format!("intact: digest equal  {}", short_digest(digest)),
        Proof::LengthOnly { reason, .. } => format!("length only: {reason}"),
        Proof::Pending => "not verified".to_owned(),
    };
    if transfer.was_there {
        return format!("{size} were there already  {proof}  {}", transfer.path);
    }
    let pace = format!("{size} in {} at {}", Span(transfer.elapsed), Rate(transfer.rate));
    format!("{pace}  {proof}  {}", transfer.path)
}

/// `ALGO:HEX` with fewer digits. It came over the wire, so it is made safe like all such text.
fn short_digest(digest: &str) -> String {
    let (algorithm, digits) = digest.split_once(':').unwrap_or(("", digest));
    let digits: String = digits.chars().take(DIGEST).collect();
    SafeText::new(&format!("{algorithm}:{digits}")).to_string()
}
