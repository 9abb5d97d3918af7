//! Log events of a running transfer: resumptions, restarts from zero, retries.

use super::chain::Level;
use super::transfer::{Phase, TransferSnapshot};
use crate::units::Bytes;

impl TransferSnapshot {
    /// Returns what has changed since an earlier snapshot of the same transfer, a sentence each, with its level.
    pub fn log_events_since(&self, before: &Self) -> Vec<(Level, String)> {
        let mut events = Vec::new();
        if let Some(why) = self.started_over.as_ref().filter(|_| self.started_over != before.started_over) {
            events.push((Level::Warn, format!("starts over: {why}")));
        }
        if self.resumed_from > 0 && self.resumed_from != before.resumed_from {
            let size = self.size.unwrap_or_default();
            let text = format!("resumes from {} of {}", Bytes(self.resumed_from), Bytes(size));
            events.push((Level::Info, text));
        }
        let stalled = matches!(self.phase, Phase::Streaming | Phase::Locked) && self.error != before.error;
        // Two fetches of one name run one after the other: no error.
        let level = if self.phase == Phase::Locked { Level::Info } else { Level::Warn };
        events.extend(self.error.as_ref().filter(|_| stalled).map(|error| (level, error.to_string())));
        let failed = self.phase == Phase::Retrying && (before.phase, before.attempt) != (self.phase, self.attempt);
        if let Some(error) = self.error.as_ref().filter(|_| failed) {
            events.push((Level::Warn, format!("{error}: retrying")));
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_is_logged_once() {
        let start = TransferSnapshot { attempt: 1, ..TransferSnapshot::default() };
        let error = Some("hop 2 (h:1): connection refused".into());
        let failedn = TransferSnapshot { phase: Phase::Retrying, error, ..start.clone() };
        assert_eq!(
            failedn.log_events_since(&start),
            [(Level::Warn, "hop 2 (h:1): connection refused: retrying".to_owned())]
        );
        let again = TransferSnapshot { attempt: 2, ..failedn.clone() };
        assert_eq!((again.log_events_since(&failedn).len(), again.log_events_since(&again).len()), (1, 0));
        let resumed = TransferSnapshot {
            phase: Phase::Streaming,
            resumed_from: 8_000_000,
            size: Some(41_200_000),
            error: None,
            ..again.clone()
        };
        assert_eq!(resumed.log_events_since(&again), [(Level::Info, "resumes from 8.0 MB of 41.2 MB".to_owned())]);
        let stalled = TransferSnapshot { error: Some("hop 2 (h:1): does not respond".into()), ..resumed.clone() };
        assert_eq!(stalled.log_events_since(&resumed), [(Level::Warn, "hop 2 (h:1): does not respond".to_owned())]);
        assert!(stalled.log_events_since(&stalled).is_empty() && resumed.log_events_since(&stalled).is_empty());
        let waits = TransferSnapshot { phase: Phase::Locked, error: Some("waits".into()), ..start.clone() };
        assert_eq!(waits.log_events_since(&start), [(Level::Info, "waits".to_owned())]);
        assert!(waits.log_events_since(&waits).is_empty());
        let over = TransferSnapshot { started_over: Some("it changed".into()), resumed_from: 0, ..resumed.clone() };
        assert_eq!(over.log_events_since(&resumed), [(Level::Warn, "starts over: it changed".to_owned())]);
    }
}
