//! Log events of a running transfer: resumptions, restarts from zero, retries.

use super::chain::Level;
use super::connections::{ConnectionProgress, ConnectionsProgress, RouteState};
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
        if let Some(now) = &self.connections {
            now.route_events(before.connections.as_ref(), &mut events);
        }
        events
    }

    /// Returns each change of the number of connections since an earlier snapshot, and each connection that has failed
    /// since: the details of a transfer that a log has where it is to be complete.
    pub fn connection_events_since(&self, before: &Self) -> Vec<(Level, String)> {
        let Some(now) = &self.connections else { return Vec::new() };
        let before = before.connections.as_ref();
        let known = before.and_then(|before| before.steps.last());
        let new = now.steps.iter().rposition(|step| Some(step) == known).map_or(0, |at| at + 1);
        let mut events: Vec<_> = now.steps[new..].iter().map(|step| (Level::Info, now.sentence(step))).collect();
        // The error of a single connection is that of the transfer, and that of a route is logged with it.
        let is_single = now.routes.len() < 2 && now.connections.len() < 2;
        let is_of_route = |connection: &ConnectionProgress| {
            now.routes.len() > 1
                && now.routes.iter().any(|r| r.number == connection.route && r.error == connection.error)
        };
        for connection in now.connections.iter().filter(|connection| !is_single && !is_of_route(connection)) {
            let earlier = before.and_then(|before| before.connections.iter().find(|c| c.number == connection.number));
            let known = earlier.and_then(|earlier| earlier.error.as_ref());
            if let Some(error) = connection.error.as_ref().filter(|error| Some(*error) != known) {
                events.push((Level::Warn, format!("connection {}: {error}", connection.number)));
            }
        }
        events
    }
}

impl ConnectionsProgress {
    /// Adds why there is one connection only, and which routes have failed since an earlier snapshot.
    fn route_events(&self, before: Option<&Self>, events: &mut Vec<(Level, String)>) {
        let known = before.and_then(|before| before.note.as_ref());
        let note = self.note.as_ref().filter(|note| Some(*note) != known);
        events.extend(note.map(|note| (Level::Info, format!("one connection: {note}"))));
        // The errors of a single route are those of the transfer.
        for route in self.routes.iter().filter(|_| self.routes.len() > 1) {
            let earlier = before.and_then(|before| before.routes.iter().find(|r| r.number == route.number));
            let known = earlier.and_then(|earlier| earlier.error.as_ref());
            if let Some(error) = route.error.as_ref().filter(|error| Some(*error) != known) {
                let retrying = if route.state == RouteState::Waiting { ": retrying" } else { "" };
                events.push((Level::Warn, format!("route {}: {error}{retrying}", route.number)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{ConnectionsStep, RouteProgress};

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

    #[test]
    fn routes_steps_and_failed_connections_are_logged_once() {
        let route = |number, state, error: Option<&str>| RouteProgress {
            number,
            state,
            error: error.map(Into::into),
            ..RouteProgress::default()
        };
        let one = ConnectionsProgress {
            routes: vec![route(1, RouteState::Active, None), route(2, RouteState::Active, None)],
            note: Some("the origin does not support ranges".into()),
            ..ConnectionsProgress::default()
        };
        let with = |connections| TransferSnapshot { connections: Some(connections), ..TransferSnapshot::default() };
        let (start, begun) = (TransferSnapshot::default(), with(one.clone()));
        let note = (Level::Info, "one connection: the origin does not support ranges".to_owned());
        assert_eq!(begun.log_events_since(&start), [note]);
        assert_eq!((begun.log_events_since(&begun).len(), begun.connection_events_since(&start).len()), (0, 0));
        let mut more = one;
        more.routes[1] = route(2, RouteState::Waiting, Some("hop 1 (h:1): connection reset"));
        let step = |from, to, reason: &str| ConnectionsStep {
            route: 2,
            from,
            to,
            reason: reason.into(),
            ..Default::default()
        };
        more.record(step(1, 2, "link 3 to 2 loses packets: 2 connections"));
        let grown = with(more.clone());
        let failed = (Level::Warn, "route 2: hop 1 (h:1): connection reset: retrying".to_owned());
        assert_eq!(grown.log_events_since(&begun), [failed]);
        let first = (Level::Info, "route 2: link 3 to 2 loses packets: 2 connections".to_owned());
        assert_eq!(grown.connection_events_since(&begun), [first]);
        more.record(step(2, 1, "back to 1: 2 connections brought 1.1 x"));
        let error = Some("hop 2 (h:2): connection reset".into());
        more.connections = vec![ConnectionProgress { number: 7, error, ..ConnectionProgress::default() }];
        let after = with(more);
        let expected =
            ["route 2: back to 1: 2 connections brought 1.1 x", "connection 7: hop 2 (h:2): connection reset"];
        let texts: Vec<String> = after.connection_events_since(&grown).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, expected);
        assert!(after.connection_events_since(&after).is_empty() && after.log_events_since(&grown).is_empty());
    }
}
