//! Closing connections from outside, by their numbers or all at once.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::{Conn, ConnGuard, JobGuard, Registry, lock};
use crate::snapshot::ConnState;

/// The two ways in which a connection can be ended.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// Its body is to end.
    body: Notify,
    /// The task that serves it.
    session: OnceLock<AbortHandle>,
}

impl Registry {
    /// Closes a connection; false if there is none of this number.
    pub fn close(&self, id: u64) -> bool {
        let Some(conn) = lock(&self.live).get(&id).cloned() else { return false };
        if lock(&conn.now).state == ConnState::Streaming {
            // A body is broken off by whoever sends it, in the way its reader understands.
            conn.ending.body.notify_one();
        } else if let Some(session) = conn.ending.session.get() {
            session.abort();
        }
        true
    }

    /// Ends every body.
    pub fn close_bodies(&self) {
        lock(&self.live).values().for_each(|conn| conn.ending.body.notify_one());
    }
}

impl ConnGuard {
    /// The connection, for whoever starts the task that serves it.
    pub fn conn(&self) -> Arc<Conn> {
        Arc::clone(&self.conn)
    }
}

impl Conn {
    /// Remembers the task that serves it, which ends when the connection is closed.
    pub fn served_by(&self, session: AbortHandle) {
        // A connection has one task in its life.
        let _ = self.ending.session.set(session);
    }
}

impl JobGuard<'_> {
    /// Waits until its body is to end.
    pub async fn closing(&self) {
        self.conn.conn.ending.body.notified().await;
    }
}
