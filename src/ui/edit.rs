//! Line editor: the characters, the cursor, and the usual editing keys.

use super::action::Edit;

/// Maximum length of a line: a file name has at most 1,024 bytes, and longer text was pasted by mistake.
const MAX_CHARS: usize = 1024;

/// Line with a cursor, whose position is counted in characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineEdit {
    chars: Vec<char>,
    cursor: usize,
}

impl LineEdit {
    /// Returns a line with this text, and the cursor at its end.
    pub fn with(text: &str) -> Self {
        let mut line = Self::default();
        text.chars().for_each(|c| line.apply(Edit::Insert(c)));
        line
    }

    /// Returns the text.
    pub fn text(&self) -> String {
        self.chars.iter().collect()
    }

    /// Returns the text before the cursor, and that from the cursor on.
    pub fn halves(&self) -> (String, String) {
        let (before, after) = self.chars.split_at(self.cursor);
        (before.iter().collect(), after.iter().collect())
    }

    /// Applies one edit, which may have no effect.
    pub fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::Insert(c) if self.chars.len() < MAX_CHARS => {
                self.chars.insert(self.cursor, c);
                self.cursor += 1;
            }
            Edit::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                self.chars.remove(self.cursor);
            }
            Edit::Delete if self.cursor < self.chars.len() => {
                self.chars.remove(self.cursor);
            }
            Edit::Insert(_) | Edit::Backspace | Edit::Delete => {}
            Edit::Left => self.cursor = self.cursor.saturating_sub(1),
            Edit::Right => self.cursor = (self.cursor + 1).min(self.chars.len()),
            Edit::Home => self.cursor = 0,
            Edit::End => self.cursor = self.chars.len(),
            Edit::CutBefore => self.cut_from(0),
            Edit::CutAfter => self.chars.truncate(self.cursor),
            Edit::CutWord => self.cut_from(self.word_start()),
        }
    }

    fn cut_from(&mut self, start: usize) {
        self.chars.drain(start..self.cursor);
        self.cursor = start;
    }

    /// Returns the start of the word before the cursor; a slash ends a word, as names are mostly paths.
    fn word_start(&self) -> usize {
        let ends = |c: char| c == ' ' || c == '/';
        let mut start = self.cursor;
        while start > 0 && ends(self.chars[start - 1]) {
            start -= 1;
        }
        while start > 0 && !ends(self.chars[start - 1]) {
            start -= 1;
        }
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> LineEdit {
        LineEdit::with(text)
    }

    #[test]
    fn edits_apply_at_the_cursor() {
        let mut line = typed("a.tx");
        line.apply(Edit::Insert('t'));
        line.apply(Edit::Home);
        line.apply(Edit::Insert('é'));
        line.apply(Edit::Right);
        line.apply(Edit::Delete);
        assert_eq!(line.text(), "éatxt");
        line.apply(Edit::Backspace);
        assert_eq!(line.halves(), ("é".to_owned(), "txt".to_owned()));
    }

    #[test]
    fn words_and_ends_are_deleted() {
        let mut line = typed("dir/sub/big file.iso");
        line.apply(Edit::CutWord);
        assert_eq!(line.text(), "dir/sub/big ");
        line.apply(Edit::CutWord);
        line.apply(Edit::CutWord);
        assert_eq!(line.text(), "dir/");
        line.apply(Edit::Left);
        line.apply(Edit::CutAfter);
        assert_eq!(line.text(), "dir");
        line.apply(Edit::CutBefore);
        assert_eq!(line.text(), "");
        line.apply(Edit::Backspace);
        line.apply(Edit::CutWord);
        assert_eq!(line, LineEdit::default());
    }

    #[test]
    fn the_length_is_limited() {
        let line = typed(&"x".repeat(MAX_CHARS + 10));
        assert_eq!(line.text().len(), MAX_CHARS);
    }
}
