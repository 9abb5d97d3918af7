//! Parser of log lines that a child node wrote to standard error.

use crate::snapshot::Level;
use crate::text::SafeText;

/// A line of a node's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildLine {
    /// The node's hop, from 1.
    pub hop: usize,
    /// Log level.
    pub level: Level,
    /// Message, without time and level.
    pub text: SafeText,
}

impl ChildLine {
    /// Parses `TIME LEVEL text`, as our own log writes it; anything else is text.
    pub(super) fn read(hop: usize, line: &SafeText) -> Self {
        let line = line.as_str();
        let after_time = line.split_once('Z').filter(|(time, _)| time.starts_with(|c: char| c.is_ascii_digit()));
        let rest = after_time.map_or(line, |(_, rest)| rest).trim_start();
        let levels =
            [("ERROR ", Level::Error), ("WARN ", Level::Warn), ("INFO ", Level::Info), ("DEBUG ", Level::Info)];
        let known = levels.into_iter().find_map(|(name, level)| Some((level, rest.strip_prefix(name)?)));
        let (level, text) = known.unwrap_or((Level::Info, rest));
        Self { hop, level, text: text.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nodes_own_line_keeps_its_level_and_loses_its_time() {
        for (line, level, text) in [
            ("2026-11-23T09:32:13.745868Z  WARN f for 127.0.0.1:9: short", Level::Warn, "f for 127.0.0.1:9: short"),
            ("thread main panicked", Level::Info, "thread main panicked"),
            ("Zebra", Level::Info, "Zebra"),
        ] {
            assert_eq!(ChildLine::read(2, &line.into()), ChildLine { hop: 2, level, text: text.into() });
        }
    }
}
