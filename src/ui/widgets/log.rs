//! The log pane: the newest lines, newest at the bottom.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::heading;
use crate::snapshot::{ChainSnapshot, Level, LogLine};
use crate::ui::paint::{Row, row_of};
use crate::ui::state::UiState;
use crate::ui::theme::{Theme, Tone};

/// Narrower than this the time of day is left out: the words are worth more.
const TIMED: u16 = 72;

/// Draws the pane; `titled` gives it a heading.
pub fn draw(state: &UiState, data: &ChainSnapshot, area: Rect, titled: bool, buffer: &mut Buffer) {
    let skip = usize::from(titled);
    if titled {
        heading::draw(&state.theme, "Log", "newest last", false, area, buffer);
    }
    let room = usize::from(area.height).saturating_sub(skip);
    let first = data.log.len().saturating_sub(room);
    for (i, line) in data.log[first..].iter().enumerate() {
        draw_line(&state.theme, line, row_of(area, skip + i), buffer);
    }
}

fn draw_line(theme: &Theme, line: &LogLine, area: Rect, buffer: &mut Buffer) {
    let (word, tone) = match line.level {
        Level::Info => ("INFO", Tone::Dim),
        Level::Warn => ("WARN", Tone::Warn),
        Level::Error => ("ERROR", Tone::Bad),
    };
    let timed = area.width >= TIMED;
    let mut row = Row::new(buffer, area);
    let flag = if line.level == Level::Info { " " } else { theme.glyphs.pale };
    row.put(flag, theme.style(tone));
    if timed {
        let s = line.second_of_day;
        let time = format!("{:02}:{:02}:{:02}", s / 3600 % 24, s / 60 % 60, s % 60);
        row.put(&time, theme.style(Tone::Dim)).skip(1);
    }
    row.cell(5, word, theme.style(tone)).skip(1);
    let hop = line.hop.map_or("c".to_owned(), |hop| hop.to_string());
    row.cell_right(2, &hop, theme.style(Tone::Dim)).skip(2).put(line.text.as_str(), theme.style(Tone::Plain));
}
