//! Closing connections from outside, by their numbers or all at once.

use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::{Conn, ConnGuard, JobGuard, Registry, lock};
use crate::snapshot::ConnState;

/// The two ways in which a connection can be ended.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// Its body, or its wait for a head, is to end.
    wait: Notify,
    /// Why, where control did not say so.
    why: OnceLock<Closing>,
    /// The task that serves it.
    session: OnceLock<AbortHandle>,
}

/// Why a connection is closed from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// Control, or a drain, wants it.
    Told,
    /// Connections are short, and its body was the slowest.
    TooSlow,
    /// It was reserved, and a newer one needs its place.
    MakesWay,
}

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

impl Ending {
    /// Ends whatever the connection does; false where it is not served yet.
    pub(super) fn abort(&self) -> bool {
        self.session.get().map(AbortHandle::abort).is_some()
    }

    /// Lets the session end by itself, for this reason.
    pub(super) fn tell(&self, why: Closing) {
        let _ = self.why.set(why);
        self.wait.notify_one();
    }

    /// A reason was given already.
    pub(super) fn is_told(&self) -> bool {
        self.why.get().is_some()
    }
}

impl JobGuard<'_> {
    /// Waits until its body is to end.
    pub async fn closing(&self) -> Closing {
        self.conn.closing().await
    }
}
