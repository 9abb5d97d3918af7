//! The log: the newest lines, newest at the bottom, unless the mark is elsewhere; lines can be broken where they are
//! long.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::heading;
use crate::snapshot::{ChainSnapshot, Level, LogLine};
use crate::ui::focus::{Panel, Tab};
use crate::ui::paint::{Row, row_of, split_words, width};
use crate::ui::state::{UiState, in_sight};
use crate::ui::theme::{Theme, Tone};

/// Narrower than this the time of day is left out: the words are worth more.
const TIMED: u16 = 72;
/// Lower than this the pane has no heading.
const TITLED: u16 = 4;
/// Most rows of one broken line.
const MOST_ROWS: usize = 6;

/// Draws the pane.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let (theme, lists) = (&state.theme, &state.lists);
    let focused = state.focus() == Panel::Log;
    let body = body(state, area);
    if body.y > area.y {
        heading::draw(theme, "Log", &remark(state, data), focused, area, buffer);
    }
    let marked = state.row_of(Panel::Log, data);
    let mut y = 0;
    for (row, at) in lists.log.iter().enumerate().skip(state.tops.log) {
        if y >= usize::from(body.height) {
            break;
        }
        let Some(line) = data.log.get(*at) else { continue };
        let first = row_of(body, y);
        for (n, piece) in pieces(state, line, area.width).iter().enumerate() {
            let kind = match n {
                0 if lists.hits.binary_search(&row).is_ok() => Piece::Hit,
                0 => Piece::First,
                _ => Piece::Rest,
            };
            draw_line(theme, line, piece, kind, row_of(body, y), buffer);
            y += 1;
        }
        if focused && row == marked {
            heading::mark(theme, Some(true), first, buffer);
        }
    }
}

/// The first line to show.
pub(crate) fn top(state: &UiState, data: &ChainSnapshot, area: Rect) -> usize {
    let (rows, room) = (state.lists.log.len(), usize::from(body(state, area).height));
    let marked = state.row_of(Panel::Log, data);
    if !breaks(state) {
        return in_sight(state.tops.log, rows, room, marked);
    }
    // Broken lines are counted backward from the marked one, so that all of it is in sight.
    let mut left = room;
    let mut top = marked;
    for row in (0..=marked.min(rows.saturating_sub(1))).rev() {
        let line = state.lists.log.get(row).and_then(|at| data.log.get(*at));
        let needed = line.map_or(0, |line| pieces(state, line, area.width).len());
        if needed > left {
            break;
        }
        left -= needed;
        top = row;
    }
    top
}

/// Where the lines stand.
fn body(state: &UiState, area: Rect) -> Rect {
    let titled = u16::from(area.height >= TITLED || state.tab == Tab::Log).min(area.height);
    Rect { y: area.y + titled, height: area.height - titled, ..area }
}

fn breaks(state: &UiState) -> bool {
    state.wrap && state.focus() == Panel::Log
}

fn remark(state: &UiState, data: &ChainSnapshot) -> String {
    let filter = heading::filter_words(state.lists.filter(Panel::Log));
    let level = match state.level {
        Level::Info => String::new(),
        Level::Warn => "warnings and errors".to_owned(),
        Level::Error => "errors".to_owned(),
    };
    let all = data.log.len();
    let hits = &state.lists.hits;
    let hit = hits.partition_point(|row| *row <= state.row_of(Panel::Log, data));
    let some = if !hits.is_empty() {
        format!("hit {hit} of {}", hits.len())
    } else if state.lists.log.len() == all {
        String::new()
    } else {
        format!("{} of {all}", state.lists.log.len())
    };
    let follows = if state.line().is_none() { "follows" } else { "held: G follows again" };
    let words = [filter.as_str(), &level, &some, follows];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("   ")
}

fn pieces(state: &UiState, line: &LogLine, terminal: u16) -> Vec<String> {
    if !breaks(state) {
        return vec![line.text.to_string()];
    }
    let room = usize::from(terminal.saturating_sub(indent(terminal) + 1));
    split_words(line.text.as_str(), room, room, MOST_ROWS)
}

/// Columns before the words.
fn indent(terminal: u16) -> u16 {
    let time = if terminal >= TIMED { 9 } else { 0 };
    1 + time + 6 + 4
}

/// What a row of the pane is of its line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// Its first or only row, of a line with the words of the filter, while others are shown around it.
    Hit,
    /// The same of any other line.
    First,
    /// A further row.
    Rest,
}

fn draw_line(theme: &Theme, line: &LogLine, text: &str, piece: Piece, area: Rect, buffer: &mut Buffer) {
    let (word, tone) = match line.level {
        Level::Info => ("INFO", Tone::Dim),
        Level::Warn => ("WARN", Tone::Warn),
        Level::Error => ("ERROR", Tone::Bad),
    };
    let mut row = Row::new(buffer, area);
    let flag = if line.level == Level::Info { " " } else { theme.glyphs.pale };
    row.put(flag, theme.style(tone));
    if piece == Piece::Rest {
        row.skip(indent(area.width) - width(flag)).put(text, theme.style(Tone::Plain));
        return;
    }
    if area.width >= TIMED {
        let s = line.second_of_day;
        let time = format!("{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60);
        row.put(&time, theme.style(Tone::Dim)).skip(1);
    }
    row.cell(5, word, theme.style(tone)).skip(1);
    let hop = line.hop.map_or("c".to_owned(), |hop| hop.to_string());
    row.cell_right(2, &hop, theme.style(Tone::Dim));
    if piece == Piece::Hit {
        row.skip(1).put("*", theme.style(Tone::Mark));
    } else {
        row.skip(2);
    }
    row.put(text, theme.style(Tone::Plain));
}
