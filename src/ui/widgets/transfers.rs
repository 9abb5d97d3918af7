//! This run's transfers, oldest first: a gauge for what runs, the proof for what is done, the reason for what failed.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::heading;
use crate::snapshot::{ChainSnapshot, Phase, Proof, TransferSnapshot};
use crate::text::SafeText;
use crate::ui::paint::{Row, row_of, width};
use crate::ui::state::{Panel, UiState};
use crate::ui::theme::{Theme, Tone};
use crate::units::{Bytes, Eta, Rate, Span};

/// Digits of a digest that are enough to compare two by eye.
const DIGEST: usize = 16;
/// Most rows of the marked transfer: the rest of the list must stay in sight.
const MOST_ROWS: usize = 3;

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
    let lines = lines(data, marked, area.width);
    let at = lines.iter().position(|line| Some(line.transfer.number) == marked).unwrap_or(0);
    // Where the marked one takes several rows, the last of them counts, so that all are in sight.
    let end = lines.iter().rposition(|line| Some(line.transfer.number) == marked).unwrap_or(0);
    let first = heading::first_shown(lines.len(), room, at).max((end + 1).saturating_sub(room)).min(at);
    for (i, line) in lines[first..].iter().take(room).enumerate() {
        let row = row_of(area, 1 + i);
        heading::mark(theme, (Some(line.transfer.number) == marked).then_some(focused), row, buffer);
        draw_line(theme, line, row, buffer);
    }
}

/// One row of the list; the marked transfer can take several, so that its whole sentence can be read.
struct Line<'a> {
    transfer: &'a TransferSnapshot,
    text: String,
    continued: bool,
}

fn lines(data: &ChainSnapshot, marked: Option<u64>, terminal: u16) -> Vec<Line<'_>> {
    let mut lines = Vec::with_capacity(data.transfers.len() + 2);
    for transfer in &data.transfers {
        let text = if transfer.phase.is_over() { outcome(transfer).0 } else { String::new() };
        let first = usize::from(terminal.saturating_sub(indent(terminal) + width(transfer.phase.word()) + 2));
        let rest = usize::from(terminal.saturating_sub(indent(terminal)));
        let pieces = match Some(transfer.number) == marked {
            true => split_words(&text, first, rest),
            false => vec![text],
        };
        for (i, text) in pieces.into_iter().enumerate() {
            lines.push(Line { transfer, text, continued: i > 0 });
        }
    }
    lines
}

/// Breaks a sentence between words, into a first piece and further ones of these widths.
fn split_words(text: &str, first: usize, rest: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for word in text.split(' ') {
        let room = if pieces.len() == 1 { first } else { rest };
        let last = pieces.len() - 1;
        let glue = usize::from(!pieces[last].is_empty());
        let taken = usize::from(width(&pieces[last])) + glue + usize::from(width(word));
        if taken > room && !pieces[last].is_empty() && pieces.len() < MOST_ROWS {
            pieces.push(word.to_owned());
        } else {
            pieces[last].push_str(&" ".repeat(glue));
            pieces[last].push_str(word);
        }
    }
    pieces
}

fn draw_line(theme: &Theme, line: &Line<'_>, area: Rect, buffer: &mut Buffer) {
    let transfer = line.transfer;
    let mut row = Row::new(buffer, area);
    if line.continued {
        let style = if transfer.phase == Phase::Failed { Tone::Bad } else { Tone::Plain };
        row.skip(indent(area.width)).put(&line.text, theme.style(style));
        return;
    }
    row.skip(2);
    name(theme, transfer, area.width, &mut row);
    if transfer.phase.is_over() {
        let tone = outcome(transfer).1;
        row.put(transfer.phase.word(), theme.style(tone)).skip(2);
        row.put(&line.text, theme.style(if tone == Tone::Bad { Tone::Bad } else { Tone::Plain }));
    } else {
        progress(theme, transfer, area.width, &mut row);
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

/// Columns of a file's name; they depend on the width of the terminal alone.
fn name_width(terminal: u16) -> u16 {
    match terminal {
        ..60 => 7,
        60..100 => 14,
        100..140 => 22,
        140.. => 32,
    }
}

/// Columns before the outcome: mark, number and name.
fn indent(terminal: u16) -> u16 {
    2 + 4 + 1 + name_width(terminal) + 1
}

/// The number and the file's name.
fn name(theme: &Theme, transfer: &TransferSnapshot, terminal: u16, row: &mut Row<'_>) {
    let number = format!("#{}", transfer.number);
    row.cell(4, &number, theme.style(Tone::Title)).skip(1);
    row.cell(name_width(terminal), transfer.name.as_str(), theme.style(Tone::Plain)).skip(1);
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
    row.put_right(&format!("{status:<10}"), plain);
    row.put_right(&format!("{rate:>8} "), theme.style(tone));
    if terminal >= 80 {
        let size = transfer.size.map_or("?".to_owned(), |size| Bytes(size).to_string());
        row.put_right(&format!(" {:>6} / {size:<6}", Bytes(transfer.received)), plain);
    }
    row.put_right(&format!("{percent:>5} "), plain);
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
