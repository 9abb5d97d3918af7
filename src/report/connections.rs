//! Member `connections` of a transfer in the JSON document.

use serde::Serialize;

use super::verdict::VerdictReport;
use crate::connections::Connections;
use crate::snapshot::{ConnectionProgress, ConnectionState, ConnectionsProgress, ConnectionsStep};
use crate::snapshot::{RouteProgress, RouteState};
use crate::text::SafeText;

/// Connections and routes of a transfer.
#[derive(Debug, Serialize)]
pub(super) struct ConnectionsReport {
    most: Connections,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<SafeText>,
    routes: Vec<RouteReport>,
    connections: Vec<ConnectionReport>,
    steps: Vec<StepReport>,
}

/// One route.
#[derive(Debug, Serialize)]
struct RouteReport {
    route: usize,
    chain: SafeText,
    state: RouteState,
    received: u64,
    rate: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<VerdictReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<SafeText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_hop: Option<usize>,
}

/// One connection and its last range.
#[derive(Debug, Serialize)]
struct ConnectionReport {
    connection: usize,
    route: usize,
    id: SafeText,
    state: ConnectionState,
    received: u64,
    from: u64,
    at: u64,
    end: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<SafeText>,
}

/// One change of the number of connections.
#[derive(Debug, Serialize)]
struct StepReport {
    seconds: f64,
    route: usize,
    from: usize,
    to: usize,
    reason: SafeText,
}

impl ConnectionsReport {
    /// Converts the progress at the end of a transfer.
    pub(super) fn new(progress: &ConnectionsProgress) -> Self {
        Self {
            most: progress.most,
            note: progress.note.clone(),
            routes: progress.routes.iter().map(RouteReport::new).collect(),
            connections: progress.connections.iter().map(ConnectionReport::new).collect(),
            steps: progress.steps.iter().map(StepReport::new).collect(),
        }
    }
}

impl RouteReport {
    fn new(route: &RouteProgress) -> Self {
        Self {
            route: route.number,
            chain: route.chain.clone(),
            state: route.state,
            received: route.received,
            rate: route.rate,
            verdict: route.verdict.map(VerdictReport::new),
            error: route.error.clone(),
            failed_hop: route.failed_hop,
        }
    }
}

impl ConnectionReport {
    fn new(connection: &ConnectionProgress) -> Self {
        Self {
            connection: connection.number,
            route: connection.route,
            id: connection.id.clone(),
            state: connection.state,
            received: connection.received,
            from: connection.from,
            at: connection.at,
            end: connection.end,
            error: connection.error.clone(),
        }
    }
}

impl StepReport {
    fn new(step: &ConnectionsStep) -> Self {
        Self {
            // Further digits are noise.
            seconds: (step.at.as_secs_f64() * 1e3).round() / 1e3,
            route: step.route,
            from: step.from,
            to: step.to,
            reason: step.reason.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::snapshot::verdict::{Limit, Verdict};

    #[test]
    fn routes_connections_and_steps_are_reported() {
        let verdict = Verdict { limit: Limit::Balanced, ..Verdict::default() };
        let failed = RouteProgress {
            number: 2,
            state: RouteState::Failed,
            error: Some("hop 1 (h2:1): connection refused".into()),
            failed_hop: Some(1),
            ..RouteProgress::default()
        };
        let used = RouteProgress {
            number: 1,
            chain: "h1:1".into(),
            received: 7,
            state: RouteState::Active,
            verdict: Some(verdict),
            ..RouteProgress::default()
        };
        let mut progress = ConnectionsProgress { routes: vec![used, failed], ..ConnectionsProgress::default() };
        progress.connections.push(ConnectionProgress { number: 3, route: 1, end: 7, ..ConnectionProgress::default() });
        progress.record(ConnectionsStep {
            at: Duration::from_micros(1_234_567),
            route: 1,
            from: 1,
            to: 2,
            reason: "link 2 to 1 loses packets".into(),
        });
        let json = serde_json::to_value(ConnectionsReport::new(&progress)).unwrap();
        assert_eq!((json["most"].as_str(), json.get("note")), (Some("auto"), None));
        let route = |at: usize, member: &str| json["routes"][at][member].to_string();
        assert_eq!(
            (route(0, "route"), route(0, "state"), route(0, "received")),
            ("1".into(), "\"active\"".into(), "7".into())
        );
        assert_eq!(json["routes"][0]["verdict"]["limit"].as_str(), Some("balanced"));
        assert_eq!((route(1, "state"), route(1, "failed_hop")), ("\"failed\"".into(), "1".into()));
        assert_eq!(json["connections"][0]["connection"], 3);
        let step = r#"{"from":1,"reason":"link 2 to 1 loses packets","route":1,"seconds":1.235,"to":2}"#;
        assert_eq!(json["steps"][0].to_string(), step);
    }
}
