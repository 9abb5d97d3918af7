//! Lines of text in several styles.

use crate::ui::paint::split_words;
use crate::ui::theme::StyleRole;

/// Most lines of one paragraph.
const PARAGRAPH: usize = 6;

/// Part of a line in one style.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    /// Its text.
    pub text: String,
    /// Its style.
    pub role: StyleRole,
}

/// One line of the page.
pub(crate) type WhyLine = Vec<Span>;

/// Makes a part of a line.
pub(super) fn span(text: impl Into<String>, role: StyleRole) -> Span {
    Span { text: text.into(), role }
}

/// Adds a text in as many lines as it needs, with a name before the first; nothing for an empty text.
pub(super) fn paragraph(all: &mut Vec<WhyLine>, name: &str, text: &str, role: StyleRole, width: u16) {
    if text.is_empty() {
        return;
    }
    let room = usize::from(width).saturating_sub(name.len()).max(1);
    for (at, piece) in split_words(text, room, room, PARAGRAPH).into_iter().enumerate() {
        let name = if at == 0 { name.to_owned() } else { " ".repeat(name.len()) };
        all.push(vec![span(name, StyleRole::Dim), span(piece, role)]);
    }
}
