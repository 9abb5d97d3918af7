//! Progress of a file that is received over several connections.

use super::{Active, Run};
use crate::connections::MAX_CONNECTIONS;
use crate::snapshot::{ConnectionProgress, ConnectionState, ConnectionsProgress, MAX_LISTED, Phase, Wait};
use crate::text::SafeText;

impl Run<'_, '_> {
    /// Publishes what all connections have moved.
    pub(super) fn publish(&mut self) {
        let mut flow = self.ended;
        self.active.values().for_each(|active| flow.add(&active.news.borrow().flow));
        let (left, map) = self.shared.with_map(|map| (map.left(), map.received()));
        let routes =
            (0..self.routes.len()).map(|at| self.routes[at].progress(self.received(at), self.rate(at))).collect();
        let connections = self.ended_connections.iter().cloned();
        let connections =
            connections.chain(self.active.iter().map(|(number, active)| self.connection(*number, active)));
        let connections = connections.collect();
        let progress = ConnectionsProgress { routes, connections, map, ..self.steps.clone() };
        // What the hops record of one connection stands for all.
        if let Some(id) = self.active.values().next().and_then(|active| active.news.borrow().transfer_id) {
            self.tracker.follow(id);
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

    /// Keeps what an ended connection has brought; of many, the last ones.
    pub(super) fn keep_ended(&mut self, number: u32, active: &Active) {
        let connection =
            ConnectionProgress { state: ConnectionState::Ended, rate: 0, ..self.connection(number, active) };
        if self.ended_connections.len() + MAX_CONNECTIONS * self.routes.len() >= MAX_LISTED {
            self.ended_connections.pop_front();
        }
        self.ended_connections.push_back(connection);
    }

    fn connection(&self, number: u32, active: &Active) -> ConnectionProgress {
        let news = active.news.borrow();
        let piece = self.shared.with_map(|map| map.piece(number).cloned()).unwrap_or_default();
        let state = match news.phase {
            Phase::Streaming => ConnectionState::Receiving,
            _ => ConnectionState::Connecting,
        };
        ConnectionProgress {
            number: number as usize,
            route: usize::from(self.routes[active.route].number),
            id: news.id.clone(),
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
