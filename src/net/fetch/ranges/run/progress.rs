//! Progress of a file that is received over several connections.

use super::{Active, Ended, Run};
use crate::connections::MAX_CONNECTIONS;
use crate::error::Error;
use crate::net::fetch::pieces::Piece;
use crate::snapshot::{
    ConnectionProgress, ConnectionState, ConnectionsProgress, MAX_LISTED, Phase, RouteProgress, Wait,
};
use crate::text::SafeText;

impl Run<'_, '_> {
    /// Publishes what all connections have moved.
    pub(super) fn publish(&mut self) {
        let mut flow = self.ended;
        self.active.values().for_each(|active| flow.add(&active.news.borrow().flow));
        let (left, map) = self.shared.with_map(|map| (map.left(), map.received()));
        let mut routes: Vec<RouteProgress> =
            (0..self.routes.len()).map(|at| self.routes[at].progress(self.received(at), self.rate(at))).collect();
        routes.sort_unstable_by_key(|route| route.number);
        let connections = self.ended_connections.iter().cloned();
        let connections = connections.chain(self.active.iter().map(|(number, active)| self.running(*number, active)));
        let connections = connections.collect();
        let progress = ConnectionsProgress { routes, connections, map, ..self.steps.clone() };
        // What the hops record of one connection stands for all: one of the first route, whose hops are watched.
        let first = self.active.values().min_by_key(|active| active.route);
        if let Some(ids) = first.and_then(|active| active.news.borrow().ids) {
            self.tracker.follow(ids);
        }
        self.tracker.set_waiting(self.waiting());
        self.tracker.record_connections(flow, self.shared.size - left, progress);
    }

    /// Returns what the first connection waits for, and the message about it, if no connection moves.
    fn waiting(&self) -> Option<(Wait, Option<SafeText>)> {
        let all = || self.active.values().map(|active| active.news.borrow());
        if all().any(|news| news.wait.is_none()) {
            return None;
        }
        all().find_map(|news| Some((news.wait?, news.error.clone())))
    }

    /// Keeps what an ended connection has brought, and why it failed; of many, the last ones.
    pub(super) fn keep_ended(&mut self, ended: &Ended, active: &Active) {
        let last = self.connection(ended.number, active, &ended.piece);
        let failed = ended.result.as_ref().err().filter(|error| !matches!(error, Error::Interrupted { .. }));
        let error = failed.map(|error| error.to_string().into()).or(last.error);
        let connection = ConnectionProgress { state: ConnectionState::Ended, rate: 0, error, ..last };
        if self.ended_connections.len() + MAX_CONNECTIONS * self.routes.len() >= MAX_LISTED {
            self.ended_connections.pop_front();
        }
        self.ended_connections.push_back(connection);
    }

    fn running(&self, number: u32, active: &Active) -> ConnectionProgress {
        let piece = self.shared.with_map(|map| map.piece(number).cloned()).unwrap_or_default();
        self.connection(number, active, &piece)
    }

    fn connection(&self, number: u32, active: &Active, piece: &Piece) -> ConnectionProgress {
        let news = active.news.borrow();
        let state = match news.phase {
            // The sentence names the hop that is silent.
            _ if news.error.is_some() => ConnectionState::Waiting,
            Phase::Streaming => ConnectionState::Receiving,
            _ => ConnectionState::Connecting,
        };
        ConnectionProgress {
            number: number as usize,
            route: usize::from(self.routes[active.route].number),
            id: news.id.clone(),
            tunnel: news.tunnel.clone(),
            state,
            from: piece.from,
            at: piece.at,
            end: piece.end,
            received: news.flow.bytes_in,
            rate: if state == ConnectionState::Receiving { news.rate } else { 0 },
            error: news.error.clone(),
        }
    }
}
