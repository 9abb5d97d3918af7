//! What limits a route: the hops' records of one of its connections, requested while a decision depends on it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::growth::LinkState;
use crate::keys::KeyPair;
use crate::net::diagnose::{reach, transfer_records};
use crate::route::Route;
use crate::snapshot::verdict::{Limit, Verdict};
use crate::snapshot::{TransferRecord, TransferSnapshot};
use crate::verdict::Rolling;

/// Evaluates the connections of all routes.
#[derive(Debug)]
pub(super) struct Observer {
    queries: JoinSet<Answer>,
    identity: Option<Arc<KeyPair>>,
    /// By the position of the route.
    routes: Vec<Observed>,
}

/// The hops' records of one connection.
#[derive(Debug)]
struct Answer {
    route: usize,
    connection: u32,
    records: Vec<Option<TransferRecord>>,
}

#[derive(Debug)]
struct Observed {
    rolling: Rolling,
    /// The connection that is evaluated.
    connection: u32,
    pending: bool,
    next: Instant,
}

/// The latest verdict on a route.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    /// The limit before debouncing, which would delay each step by half a second.
    pub(super) limit: Limit,
    /// Round trips of the limiting link, if it is one.
    pub(super) link: Option<LinkState>,
}

impl Observer {
    pub(super) fn new(routes: usize, identity: Option<Arc<KeyPair>>) -> Self {
        let observed = || Observed { rolling: Rolling::default(), connection: 0, pending: false, next: Instant::now() };
        Self { queries: JoinSet::new(), identity, routes: std::iter::repeat_with(observed).take(routes).collect() }
    }

    /// Requests the records of a connection, if none are requested and the pause since the last request is over.
    pub(super) fn query(
        &mut self,
        at: usize,
        route: &Route,
        (connection, transfer): (u32, &TransferSnapshot),
        pause: Duration,
    ) {
        let Some(observed) = self.routes.get_mut(at).filter(|observed| !observed.pending) else { return };
        let Some(ids) = transfer.ids.filter(|_| Instant::now() >= observed.next) else { return };
        let reach = reach(transfer.legs.len(), transfer.protocol);
        if reach == 0 {
            return;
        }
        if observed.connection != connection {
            (observed.rolling, observed.connection) = (Rolling::default(), connection);
        }
        (observed.pending, observed.next) = (true, Instant::now() + pause);
        let (route, identity) = (route.clone(), self.identity.clone());
        self.queries.spawn(async move {
            let records = transfer_records(&route, reach, ids, identity.as_ref()).await;
            Answer { route: at, connection, records }
        });
    }

    /// Waits for the next records: returns the position of their route and the connection. Cancel-safe.
    pub(super) async fn answered(&mut self) -> Option<(usize, u32, Vec<Option<TransferRecord>>)> {
        let answer = self.queries.join_next().await?.ok()?;
        if let Some(observed) = self.routes.get_mut(answer.route) {
            observed.pending = false;
        }
        Some((answer.route, answer.connection, answer.records))
    }

    /// Evaluates records with the connection's own figures.
    pub(super) fn evaluate(
        &mut self,
        now_us: u64,
        (at, connection): (usize, u32),
        records: &[Option<TransferRecord>],
        transfer: &TransferSnapshot,
    ) -> Option<Finding> {
        let observed = self.routes.get_mut(at).filter(|observed| observed.connection == connection)?;
        let verdict = observed.rolling.update_from_records(now_us, records, transfer);
        let (limit, link) = observed.rolling.latest();
        Some(Finding { verdict, limit, link })
    }
}
