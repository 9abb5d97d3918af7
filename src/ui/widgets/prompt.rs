//! The line in which a name is typed, with its cursor, and why the name cannot be taken if it cannot.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Clear, Widget};

use crate::text::SafeText;
use crate::ui::paint::{Row, width};
use crate::ui::state::{Mode, UiState};
use crate::ui::theme::Tone;

/// Draws the prompt on one row. A line that is too long scrolls, so that the cursor is always in sight.
pub fn draw(state: &UiState, area: Rect, buffer: &mut Buffer) {
    let Mode::Prompt { line, error } = &state.mode else { return };
    let theme = &state.theme;
    Clear.render(area.intersection(buffer.area), buffer);
    let question = if area.width < 40 { "? " } else { " fetch which file? " };
    let mut row = Row::new(buffer, area);
    row.put(question, theme.style(Tone::Title));
    if let Some(error) = error {
        row.put_right(&format!("  {error} "), theme.style(Tone::Bad));
    }
    let (before, after) = line.halves();
    let mut shown: Vec<char> = safe(&before).chars().collect();
    // One column is the cursor's.
    let room = row.room().saturating_sub(1);
    while !shown.is_empty() && width(&shown.iter().collect::<String>()) > room {
        shown.remove(0);
    }
    row.put(&shown.iter().collect::<String>(), theme.style(Tone::Plain));
    let mut rest = after.chars();
    let under = rest.next().map_or(" ".to_owned(), |c| safe(&c.to_string()));
    row.put(&under, theme.style(Tone::Cursor));
    let rest = safe(rest.as_str());
    row.put(&rest, theme.style(Tone::Plain));
}

/// Typed text can be pasted text, which comes from anywhere. A piece at a time, as a safe text has a greatest length.
fn safe(text: &str) -> String {
    text.chars().map(|c| SafeText::new(c.encode_utf8(&mut [0; 4])).to_string()).collect()
}
