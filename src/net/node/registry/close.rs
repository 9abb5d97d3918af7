//! Closing connections from outside, by their numbers or all at once.

use std::sync::Arc;

use tokio::task::AbortHandle;

use super::conn::{Conn, lock};
use super::ending::Closing;
use super::{ConnGuard, FileRequestGuard, Registry};
use crate::snapshot::ConnState;

impl Registry {
    /// Closes a connection; false if there is none of this number.
    pub fn close(&self, id: u64) -> bool {
        let Some(conn) = lock(&self.live).get(&id).cloned() else { return false };
        if lock(&conn.now).state == ConnState::Streaming {
            // A body is broken off by whoever sends it, in the way its reader understands.
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
    /// The connection, for whoever starts the task that serves it.
    pub fn conn(&self) -> Arc<Conn> {
        Arc::clone(&self.conn)
    }

    /// Waits until the connection is to end.
    pub async fn closing(&self) -> Closing {
        self.conn.ending.wait.notified().await;
        self.conn.ending.why.get().copied().unwrap_or(Closing::Told)
    }
}

impl Conn {
    /// Remembers the task that serves it, which ends when the connection is closed.
    pub fn served_by(&self, session: AbortHandle) {
        // A connection has one task in its life.
        let _ = self.ending.session.set(session);
    }
}

impl FileRequestGuard<'_> {
    /// Waits until its body is to end.
    pub async fn closing(&self) -> Closing {
        self.conn.closing().await
    }
}
