//! One line of text being typed: the characters, the cursor, and the usual editing keys.

use super::action::Edit;

/// Most characters a line takes: a file name has 1,024 bytes at most, and more is a slip of the paste key.
const LONGEST: usize = 1024;

/// The line and the place of the cursor, counted in characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineEdit {
    chars: Vec<char>,
    cursor: usize,
}

impl LineEdit {
    /// What was typed.
    pub fn text(&self) -> String {
        self.chars.iter().collect()
    }

    /// What stands before the cursor, and what stands at and behind it.
    pub fn halves(&self) -> (String, String) {
        let (before, after) = self.chars.split_at(self.cursor);
        (before.iter().collect(), after.iter().collect())
    }

    /// Makes one change; those that change nothing are allowed.
    pub fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::Insert(c) if self.chars.len() < LONGEST => {
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

    /// Where the word before the cursor starts; a slash ends a word, as names are mostly paths.
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
        let mut line = LineEdit::default();
        text.chars().for_each(|c| line.apply(Edit::Insert(c)));
        line
    }

    #[test]
    fn edits_in_the_middle() {
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
    fn cuts_words_and_ends() {
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
    fn stops_growing() {
        let line = typed(&"x".repeat(LONGEST + 10));
        assert_eq!(line.text().len(), LONGEST);
    }
}
