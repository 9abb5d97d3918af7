//! Log of the run: numbered lines with a time, of which the newest are kept.

use std::collections::VecDeque;

use crate::net::supervisor::ChildLine;
use crate::snapshot::{Level, LogLine};
use crate::text::SafeText;

/// Maximum number of lines: more than a screen, so that the user can scroll back.
const MAX_LINES: usize = 500;

/// Log of the run.
#[derive(Debug, Default)]
pub(super) struct RunLog {
    lines: VecDeque<LogLine>,
    count: u64,
}

impl RunLog {
    /// Adds a line about a hop, or about the client where there is none; it goes to `--log` as well.
    pub(super) fn push(&mut self, level: Level, hop: Option<usize>, text: impl Into<SafeText>) {
        let text = text.into();
        let source = hop.map_or_else(|| "client".to_owned(), |hop| format!("hop {hop}"));
        match level {
            Level::Error => tracing::error!("{source}: {text}"),
            Level::Warn => tracing::warn!("{source}: {text}"),
            Level::Info => tracing::info!("{source}: {text}"),
        }
        self.count += 1;
        let now = jiff::Zoned::now();
        let second_of_day = i64::from(now.hour()) * 3600 + i64::from(now.minute()) * 60 + i64::from(now.second());
        let second_of_day = u32::try_from(second_of_day).unwrap_or_default();
        self.lines.push_back(LogLine { number: self.count, second_of_day, level, hop, text });
        if self.lines.len() > MAX_LINES {
            self.lines.pop_front();
        }
    }

    /// Adds a line that a node wrote to its standard error.
    pub(super) fn push_node_line(&mut self, line: ChildLine) {
        self.push(line.level, Some(line.hop), line.text);
    }

    /// Returns the lines, oldest first.
    pub(super) fn lines(&self) -> Vec<LogLine> {
        self.lines.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept() {
        let mut log = RunLog::default();
        for number in 0..MAX_LINES + 5 {
            log.push(Level::Info, None, format!("line {number}"));
        }
        let lines = log.lines();
        assert_eq!((lines.len(), lines[0].number, lines[MAX_LINES - 1].number), (MAX_LINES, 6, MAX_LINES as u64 + 5));
    }
}
