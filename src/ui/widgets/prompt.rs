//! Prompt: the line being typed, with its cursor, and an error if it is invalid.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Clear, Widget};

use crate::text::SafeText;
use crate::ui::edit::LineEdit;
use crate::ui::filter::filter_fields;
use crate::ui::paint::{Row, width};
use crate::ui::state::{Mode, PromptKind, UiState};
use crate::ui::theme::{StyleRole, Theme};

/// Draws the prompt on one row.
pub(crate) fn draw(state: &UiState, area: Rect, buffer: &mut Buffer) {
    let Mode::Line(prompt) = &state.mode else { return };
    let question = if area.width < 40 { "? ".to_owned() } else { format!(" {} ", prompt.question()) };
    line(&state.theme, &question, &prompt.line, prompt.error.as_deref(), area, buffer);
    if let PromptKind::Filter(panel) = prompt.kind {
        // The cursor and two blanks are between the text and the hint.
        let taken = width(&question) + width(&prompt.line.text()) + 3;
        let mut rest = Row::new(buffer, area);
        rest.skip(taken);
        // As many fields as fit.
        let fields = filter_fields(panel);
        let shown = (1..=fields.len()).rev().map(|count| format!("{} ", fields[..count].join(" ")));
        let fits = shown.into_iter().find(|text| width(text) <= rest.room());
        rest.put_right(&fits.unwrap_or_default(), state.theme.style(StyleRole::Dim));
    }
}

/// Draws a line with its question. A long line scrolls, so that the cursor is always visible.
pub(crate) fn line(
    theme: &Theme,
    question: &str,
    line: &LineEdit,
    error: Option<&str>,
    area: Rect,
    buffer: &mut Buffer,
) {
    let area = area.intersection(buffer.area);
    Clear.render(area, buffer);
    buffer.set_style(area, theme.base());
    let mut row = Row::new(buffer, area);
    row.put(question, theme.style(StyleRole::Title));
    if let Some(error) = error {
        row.put_right(&format!("  {error} "), theme.style(StyleRole::Bad));
    }
    let (before, after) = line.halves();
    let mut shown: Vec<char> = safe(&before).chars().collect();
    // One column is for the cursor.
    let room = row.room().saturating_sub(1);
    while !shown.is_empty() && width(&shown.iter().collect::<String>()) > room {
        shown.remove(0);
    }
    row.put(&shown.iter().collect::<String>(), theme.style(StyleRole::Plain));
    let mut rest = after.chars();
    let under = rest.next().map_or(" ".to_owned(), |c| safe(&c.to_string()));
    row.put(&under, theme.style(StyleRole::Cursor));
    let rest = safe(rest.as_str());
    row.put(&rest, theme.style(StyleRole::Plain));
}

/// Sanitizes typed text, which may be pasted from any source; by character, as a safe text has a maximum length.
fn safe(text: &str) -> String {
    text.chars().map(|c| SafeText::new(c.encode_utf8(&mut [0; 4])).to_string()).collect()
}
