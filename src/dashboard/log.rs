//! The log pane's lines: numbered, timed, bounded, the newest kept.

use std::collections::VecDeque;

use crate::net::supervisor::ChildLine;
use crate::snapshot::{Level, LogLine};
use crate::text::SafeText;

/// Number of lines kept; the screen shows a few, the user scrolls through some more.
const KEPT: usize = 500;

/// Log of the run.
#[derive(Debug, Default)]
pub(super) struct RunLog {
    lines: VecDeque<LogLine>,
    said: u64,
}

impl RunLog {
    /// Adds a line about a hop, or about the client where there is none; `--log` keeps it, too.
    pub(super) fn say(&mut self, level: Level, hop: Option<usize>, text: impl Into<SafeText>) {
        let text = text.into();
        let who = hop.map_or_else(|| "client".to_owned(), |hop| format!("hop {hop}"));
        match level {
            Level::Error => tracing::error!("{who}: {text}"),
            Level::Warn => tracing::warn!("{who}: {text}"),
            Level::Info => tracing::info!("{who}: {text}"),
        }
        self.said += 1;
        let now = jiff::Zoned::now();
        let second_of_day = i64::from(now.hour()) * 3600 + i64::from(now.minute()) * 60 + i64::from(now.second());
        let second_of_day = u32::try_from(second_of_day).unwrap_or_default();
        self.lines.push_back(LogLine { number: self.said, second_of_day, level, hop, text });
        if self.lines.len() > KEPT {
            self.lines.pop_front();
        }
    }

    /// Adds what a node wrote to its standard error.
    pub(super) fn node_said(&mut self, line: ChildLine) {
        self.say(line.level, Some(line.hop), line.text);
    }

    /// The lines, oldest first.
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
        for number in 0..KEPT + 5 {
            log.say(Level::Info, None, format!("line {number}"));
        }
        let lines = log.lines();
        assert_eq!((lines.len(), lines[0].number, lines[KEPT - 1].number), (KEPT, 6, KEPT as u64 + 5));
    }
}
