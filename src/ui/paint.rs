//! Drawing of one row into a buffer: clamped to its area, truncated where it is too long, never wrapped.

use std::borrow::Cow;

use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_width::UnicodeWidthStr;

/// Shows that text was truncated; ASCII, as the ellipsis is two columns wide in some fonts.
const CUT: &str = "~";

/// Returns the width of a text in columns.
pub(crate) fn width(text: &str) -> u16 {
    u16::try_from(text.width()).unwrap_or(u16::MAX)
}

/// Shortens a name to this many columns by dropping its middle, as versions and extensions are at the end.
pub(crate) fn cut_middle(name: &str, columns: u16) -> Cow<'_, str> {
    if width(name) <= columns {
        return Cow::Borrowed(name);
    }
    let room = columns.saturating_sub(width(CUT));
    let fits = |text: &str, room: u16| width(text) <= room;
    let ends = || name.char_indices().map(|(at, _)| at).chain([name.len()]);
    let head = ends().rev().map(|at| &name[..at]).find(|head| fits(head, room - room / 2)).unwrap_or_default();
    let tail = ends().map(|at| &name[at..]).find(|tail| fits(tail, room - width(head))).unwrap_or_default();
    Cow::Owned(if columns == 0 { String::new() } else { format!("{head}{CUT}{tail}") })
}

/// Returns the cells of a row that are drawn, each with its column and width; the cell after a wide character is part
/// of that.
pub(crate) fn drawn(cells: &[Cell]) -> impl Iterator<Item = (usize, usize, &Cell)> {
    let mut covered = 0;
    cells.iter().enumerate().filter_map(move |(column, cell)| {
        if column < covered {
            return None;
        }
        let columns = usize::from(width(cell.symbol()).max(1));
        covered = column + columns;
        Some((column, columns, cell))
    })
}

/// Free part of one screen row: drawn from the left with `put`, from the right with `put_right`.
pub(crate) struct Row<'a> {
    buffer: &'a mut Buffer,
    x: u16,
    end: u16,
    y: u16,
}

impl<'a> Row<'a> {
    /// Returns the first row of this area; one without room draws nothing.
    pub(crate) fn new(buffer: &'a mut Buffer, area: Rect) -> Self {
        let area = area.intersection(buffer.area);
        let end = if area.height == 0 { area.x } else { area.right() };
        Self { buffer, x: area.x, end, y: area.y }
    }

    /// Returns the number of free columns.
    pub(crate) fn room(&self) -> u16 {
        self.end.saturating_sub(self.x)
    }

    /// Skips columns.
    pub(crate) fn skip(&mut self, columns: u16) -> &mut Self {
        self.x = self.x.saturating_add(columns).min(self.end);
        self
    }

    /// Draws text at the left end, truncated with a sign where it does not fit.
    pub(crate) fn put(&mut self, text: &str, style: Style) -> &mut Self {
        let columns = width(text).min(self.room());
        self.cell(columns, text, style)
    }

    /// Draws text at the right end, if all of it fits.
    pub(crate) fn put_right(&mut self, text: &str, style: Style) -> &mut Self {
        let columns = width(text);
        if columns > 0 && columns <= self.room() {
            self.end -= columns;
            self.buffer.set_stringn(self.end, self.y, text, usize::from(columns), style);
        }
        self
    }

    /// Draws left-aligned text in this many columns.
    pub(crate) fn cell(&mut self, columns: u16, text: &str, style: Style) -> &mut Self {
        let columns = columns.min(self.room());
        if columns == 0 {
            return self;
        }
        let fits = width(text) <= columns;
        let kept = if fits { columns } else { columns - 1 };
        self.buffer.set_stringn(self.x, self.y, text, usize::from(kept), style);
        if !fits {
            self.buffer.set_stringn(self.x + columns - 1, self.y, CUT, 1, style);
        }
        self.skip(columns)
    }

    /// Draws right-aligned text in this many columns.
    pub(crate) fn cell_right(&mut self, columns: u16, text: &str, style: Style) -> &mut Self {
        let spare = columns.saturating_sub(width(text));
        self.skip(spare).cell(columns - spare, text, style)
    }

    /// Fills the free columns with one glyph.
    pub(crate) fn fill(&mut self, glyph: &str, style: Style) -> &mut Self {
        let room = self.room();
        self.repeat(glyph, room, style)
    }

    /// Draws one glyph this many times.
    pub(crate) fn repeat(&mut self, glyph: &str, times: u16, style: Style) -> &mut Self {
        let times = times.min(self.room());
        let text = glyph.repeat(usize::from(times));
        self.cell(times, &text, style)
    }
}

/// Returns the row of an area at this offset; without height where there is none.
pub(crate) fn row_of(area: Rect, offset: usize) -> Rect {
    let offset = u16::try_from(offset).unwrap_or(u16::MAX);
    let height = u16::from(offset < area.height);
    Rect { y: area.y.saturating_add(offset.min(area.height)), height, ..area }
}

/// Wraps a sentence between words, into a first line and further ones of these widths; after `most` lines the rest
/// stays in the last.
pub(crate) fn split_words(text: &str, first: usize, rest: usize, most: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for mut word in text.split(' ') {
        let last = pieces.len() - 1;
        let room = if last == 0 { first } else { rest };
        let glue = usize::from(!pieces[last].is_empty());
        let taken = usize::from(width(&pieces[last])) + glue + usize::from(width(word));
        if taken > room && !pieces[last].is_empty() && pieces.len() < most {
            pieces.push(String::new());
        } else {
            pieces[last].push_str(&" ".repeat(glue));
        }
        // A word longer than a line, such as a path, is split anywhere.
        while usize::from(width(word)) > rest.max(1) && pieces.len() < most && word.len() > rest {
            let end = word
                .char_indices()
                .map(|(at, c)| at + c.len_utf8())
                .take_while(|end| usize::from(width(&word[..*end])) <= rest);
            let (head, tail) = word.split_at(end.last().unwrap_or(word.len()));
            pieces.last_mut().into_iter().for_each(|piece| piece.push_str(head));
            pieces.push(String::new());
            word = tail;
        }
        pieces.last_mut().into_iter().for_each(|piece| piece.push_str(word));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_both_ends() {
        let cut = |columns| cut_middle("archive-2.4.1.tar.gz", columns).into_owned();
        assert_eq!((cut(20).as_str(), cut(14).as_str()), ("archive-2.4.1.tar.gz", "archive~tar.gz"));
        assert_eq!((cut(3).as_str(), cut(2).as_str(), cut(1).as_str(), cut(0).as_str()), ("a~z", "a~", "~", ""));
        for columns in 0..30 {
            let name = "文書-版2.4.tar";
            assert!(width(&cut_middle(name, columns)) <= columns, "{columns}");
        }
    }

    fn shown(columns: u16, paint: impl for<'a, 'b> Fn(&'a mut Row<'b>) -> &'a mut Row<'b>) -> String {
        let area = Rect::new(0, 0, columns, 1);
        let mut buffer = Buffer::empty(area);
        paint(&mut Row::new(&mut buffer, area));
        buffer.content().iter().map(ratatui::buffer::Cell::symbol).collect()
    }

    #[test]
    fn truncation_is_shown() {
        let plain = Style::new();
        assert_eq!(shown(8, |row| row.put("12345678", plain)), "12345678");
        assert_eq!(shown(8, |row| row.put("123456789", plain)), "1234567~");
        assert_eq!(shown(8, |row| row.cell_right(4, "ab", plain).put("|", plain)), "  ab|   ");
        assert_eq!(shown(8, |row| row.put_right("end", plain).put("longer", plain)), "long~end");
    }

    #[test]
    fn lines_wrap_between_words() {
        assert_eq!(split_words("one two three four", 7, 10, 3), ["one two", "three four"]);
        assert_eq!(split_words("one two three four", 3, 3, 3), ["one", "two", "three four"]);
        assert_eq!(split_words("", 3, 3, 3), [""]);
        assert_eq!(split_words("to /a/long/path", 6, 6, 9), ["to", "/a/lon", "g/path"]);
        assert_eq!(split_words("/a/long/path", 6, 6, 1), ["/a/long/path"], "what is left stays in the last");
    }

    #[test]
    fn wide_characters_are_not_split() {
        assert_eq!(shown(4, |row| row.put("文件名", Style::new())).trim_end(), "文  ~");
    }

    #[test]
    fn nothing_is_drawn_without_room() {
        assert_eq!(shown(2, |row| row.skip(9).put("x", Style::new()).put_right("y", Style::new())), "  ");
        let area = Rect::new(0, 0, 3, 1);
        let mut buffer = Buffer::empty(area);
        Row::new(&mut buffer, row_of(area, 5)).put("below", Style::new());
        assert_eq!(buffer, Buffer::empty(area));
    }
}
