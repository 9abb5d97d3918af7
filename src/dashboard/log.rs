//! The log pane's lines: numbered, timed, bounded, the newest kept.

use std::collections::VecDeque;

use crate::snapshot::{Level, LogLine};
use crate::text::SafeText;

/// Lines kept; a screen shows a few, a person scrolls through some more.
const KEPT: usize = 500;

/// What was said so far.
#[derive(Debug, Default)]
pub(super) struct Log {
    lines: VecDeque<LogLine>,
    said: u64,
}

impl Log {
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

    /// Adds what a node wrote to its standard error: its own time goes, its level stays.
    pub(super) fn node_said(&mut self, hop: usize, line: &SafeText) {
        let (level, text) = level_of(line.as_str());
        self.say(level, Some(hop), text);
    }

    /// The lines, oldest first.
    pub(super) fn lines(&self) -> Vec<LogLine> {
        self.lines.iter().cloned().collect()
    }
}

/// Takes `TIME LEVEL text` apart, as our own log writes it; anything else is text.
fn level_of(line: &str) -> (Level, &str) {
    let after_time = line.split_once('Z').filter(|(time, _)| time.starts_with(|c: char| c.is_ascii_digit()));
    let rest = after_time.map_or(line, |(_, rest)| rest).trim_start();
    for (word, level) in
        [("ERROR ", Level::Error), ("WARN ", Level::Warn), ("INFO ", Level::Info), ("DEBUG ", Level::Info)]
    {
        if let Some(text) = rest.strip_prefix(word) {
            return (level, text);
        }
    }
    (Level::Info, rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_own_line_keeps_its_level_and_loses_its_time() {
        let line = "2026-11-23T09:32:13.745868Z  WARN f for 127.0.0.1:9: short";
        assert_eq!(level_of(line), (Level::Warn, "f for 127.0.0.1:9: short"));
        assert_eq!(level_of("thread main panicked"), (Level::Info, "thread main panicked"));
        assert_eq!(level_of("Zebra"), (Level::Info, "Zebra"));
    }

    #[test]
    fn the_newest_lines_are_kept() {
        let mut log = Log::default();
        for number in 0..KEPT + 5 {
            log.say(Level::Info, None, format!("line {number}"));
        }
        let lines = log.lines();
        assert_eq!((lines.len(), lines[0].number, lines[KEPT - 1].number), (KEPT, 6, KEPT as u64 + 5));
    }
}
