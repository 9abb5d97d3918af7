//! Closes connections on request, by id or all together.

use std::sync::Arc;

use tokio::task::AbortHandle;

use super::conn::{Conn, lock};
use super::ending::Closing;
use super::{ConnGuard, FileRequestGuard, Registry};
use crate::snapshot::ConnState;

impl Registry {
    /// Closes a connection; false if there is none with this id.
    pub fn close(&self, id: u64) -> bool {
        let Some(conn) = lock(&self.live).get(&id).cloned() else { return false };
        if lock(&conn.now).state == ConnState::Streaming {
            // The task that sends a body ends it in the way that its protocol requires.
            conn.ending.wait.notify_one();
        } else {
            conn.ending.abort();
        }
        true
    }

    /// Ends every body.
    pub fn close_bodies(&self) {
        lock(&self.live).values().for_each(|conn| conn.ending.wait.notify_one());
    }
}

impl ConnGuard {
    /// Returns the connection, for the task that serves it.
    pub fn conn(&self) -> Arc<Conn> {
        Arc::clone(&self.conn)
    }

    /// Waits until the connection must end.
    pub async fn closing(&self) -> Closing {
        self.conn.ending.wait.notified().await;
        self.conn.ending.reason.get().copied().unwrap_or(Closing::Requested)
    }
}

impl Conn {
    /// Stores the task that serves it, which is aborted when the connection is closed.
    pub fn served_by(&self, session: AbortHandle) {
        // A connection has exactly one task.
        let _ = self.ending.session.set(session);
    }
}

impl FileRequestGuard<'_> {
    /// Waits until its body must end.
    pub async fn closing(&self) -> Closing {
        self.conn.closing().await
    }
}
