//! The log: the newest lines, newest at the bottom, unless the mark is elsewhere; lines can be broken where they are
//! long.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::heading;
use crate::snapshot::{ChainSnapshot, Level, LogLine};
use crate::ui::focus::Panel;
use crate::ui::geometry::log_rows;
use crate::ui::paint::{Row, row_of, width};
use crate::ui::state::UiState;
use crate::ui::state::wrap::{TIMED, log_indent};
use crate::ui::theme::{StyleRole, Theme};

/// Draws the pane.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let (theme, lists) = (&state.theme, &state.lists);
    let focused = state.focus() == Panel::Log;
    let body = log_rows(state.tab, area);
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
        for (n, piece) in state.log_pieces(line, area.width).iter().enumerate() {
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
    let (word, role) = match line.level {
        Level::Info => ("INFO", StyleRole::Dim),
        Level::Warn => ("WARN", StyleRole::Warn),
        Level::Error => ("ERROR", StyleRole::Bad),
    };
    let mut row = Row::new(buffer, area);
    let flag = if line.level == Level::Info { " " } else { theme.glyphs.pale };
    row.put(flag, theme.style(role));
    if piece == Piece::Rest {
        row.skip(log_indent(area.width) - width(flag)).put(text, theme.style(StyleRole::Plain));
        return;
    }
    if area.width >= TIMED {
        let s = line.second_of_day;
        let time = format!("{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60);
        row.put(&time, theme.style(StyleRole::Dim)).skip(1);
    }
    row.cell(5, word, theme.style(role)).skip(1);
    let hop = line.hop.map_or("c".to_owned(), |hop| hop.to_string());
    row.cell_right(2, &hop, theme.style(StyleRole::Dim));
    if piece == Piece::Hit {
        row.skip(1).put("*", theme.style(StyleRole::Mark));
    } else {
        row.skip(2);
    }
    row.put(text, theme.style(StyleRole::Plain));
}
