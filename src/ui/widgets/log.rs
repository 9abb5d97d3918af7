//! Log: the newest lines at the bottom, unless another line is selected; long lines can be wrapped.

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

/// Columns of the heading that are not for its remark.
const HEADED: u16 = 10;

/// Draws the log.
pub(crate) fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let (theme, lists) = (&state.theme, &state.lists);
    let focused = state.focus() == Panel::Log;
    let body = log_rows(state.tab, area);
    if body.y > area.y {
        heading::draw(theme, "Log", &remark(state, data, body), focused, area, buffer);
    }
    let selected = state.row_of(Panel::Log, data);
    let mut y = 0;
    for (row, at) in lists.log.iter().enumerate().skip(state.scrolled.log) {
        if y >= usize::from(body.height) {
            break;
        }
        let Some(line) = data.log.get(*at) else { continue };
        let first = row_of(body, y);
        for (n, piece) in state.log_pieces(line, area.width).iter().enumerate() {
            let kind = match n {
                0 if lists.matches.binary_search(&row).is_ok() => Piece::Match,
                0 => Piece::First,
                _ => Piece::Rest,
            };
            draw_line(theme, line, piece, kind, row_of(body, y), buffer);
            y += 1;
        }
        if focused && row == selected {
            heading::selection(theme, Some(true), first, buffer);
        }
    }
    if body.y == area.y {
        // Without a heading, the first line has the mark.
        let hidden = hidden(state, data, body);
        Row::new(buffer, row_of(body, 0)).put_right(&format!(" {hidden}"), theme.style(StyleRole::Dim));
    }
}

fn remark(state: &UiState, data: &ChainSnapshot, body: Rect) -> String {
    let filter = heading::filter_text(state.lists.filter(Panel::Log));
    let level = match state.level {
        Level::Info => String::new(),
        Level::Warn => "warnings and errors".to_owned(),
        Level::Error => "errors".to_owned(),
    };
    let all = data.log.len();
    let matches = &state.lists.matches;
    let at = matches.partition_point(|row| *row <= state.row_of(Panel::Log, data));
    let count = if !matches.is_empty() {
        format!("match {at} of {}", matches.len())
    } else if state.lists.log.len() == all {
        String::new()
    } else {
        format!("{} of {all}", state.lists.log.len())
    };
    let follows = if state.line().is_none() { "following" } else { "paused, G to follow" };
    let hidden = hidden(state, data, body);
    let words = [filter, follows.to_owned(), count, level];
    heading::joined(&words, &hidden, "   ", body.width.saturating_sub(HEADED))
}

/// Returns the lines above and below the visible ones.
fn hidden(state: &UiState, data: &ChainSnapshot, body: Rect) -> String {
    let rows = state.lists.log.iter().skip(state.scrolled.log).filter_map(|at| data.log.get(*at));
    let mut left = usize::from(body.height);
    let visible = rows.take_while(|line| {
        let fits = left > 0;
        left = left.saturating_sub(state.log_pieces(line, body.width).len());
        fits
    });
    heading::hidden_rows(&state.theme, state.scrolled.log, visible.count(), state.lists.log.len())
}

/// Part of a line that a row shows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// The first row of a line that matches the filter, while all lines are shown.
    Match,
    /// The first row of any other line.
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
    let flag = if line.level == Level::Info { " " } else { theme.glyphs.unfocused };
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
    if piece == Piece::Match {
        row.skip(1).put("*", theme.style(StyleRole::Selected));
    } else {
        row.skip(2);
    }
    row.put(text, theme.style(StyleRole::Plain));
}
