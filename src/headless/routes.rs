//! Connections and routes of a transfer without a screen: their number while it runs, and what came by each route.

use crate::snapshot::{ConnectionsProgress, RouteProgress, TransferSnapshot};
use crate::units::{Bytes, Rate};

/// Returns `, 8 connections` or `, 2 routes`; empty for one of both.
pub(super) fn count(snapshot: &TransferSnapshot) -> String {
    let count = snapshot.connections.as_ref().and_then(ConnectionsProgress::count);
    count.map(|count| format!(", {count}")).unwrap_or_default()
}

/// Returns a line for each route of a transfer that had several.
pub(super) fn lines(snapshot: &TransferSnapshot) -> Vec<String> {
    let routes = snapshot.connections.as_ref().map_or(&[] as &[RouteProgress], |progress| &progress.routes);
    if routes.len() > 1 { routes.iter().map(line).collect() } else { Vec::new() }
}

fn line(route: &RouteProgress) -> String {
    let rate = if route.rate > 0 { format!(", {}", Rate(route.rate)) } else { String::new() };
    let why = match (&route.error, route.verdict) {
        (Some(error), _) => format!("; {error}"),
        (None, Some(verdict)) => format!("; {verdict}"),
        (None, None) => String::new(),
    };
    format!("  route {} ({}): {} received{rate}{why}", route.number, route.chain, Bytes(route.received))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{ConnectionProgress, ConnectionState, RouteState};

    #[test]
    fn several_routes_have_a_line_each() {
        let route = |number, received, error: Option<&str>| RouteProgress {
            number,
            chain: format!("h{number}:1").into(),
            received,
            rate: received / 2,
            state: RouteState::Active,
            error: error.map(Into::into),
            ..RouteProgress::default()
        };
        let connection = |route| ConnectionProgress { route, state: ConnectionState::Receiving, ..Default::default() };
        let progress = ConnectionsProgress {
            routes: vec![route(1, 41_200_000, None), route(2, 0, Some("hop 1 (h2:1): connection refused"))],
            connections: vec![connection(1), connection(2)],
            ..ConnectionsProgress::default()
        };
        let mut snapshot = TransferSnapshot { connections: Some(progress), ..TransferSnapshot::default() };
        let second = "  route 2 (h2:1): 0 B received; hop 1 (h2:1): connection refused";
        assert_eq!(lines(&snapshot), ["  route 1 (h1:1): 41.2 MB received, 20.6 MB/s", second]);
        assert_eq!(count(&snapshot), ", 2 routes");
        snapshot.connections.as_mut().unwrap().routes.truncate(1);
        assert!(lines(&snapshot).is_empty() && count(&TransferSnapshot::default()).is_empty());
    }
}
