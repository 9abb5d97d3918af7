//! Closing of a connection by other tasks, with the reason.

use std::sync::OnceLock;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// The two ways to end a connection: a notification, or an abort of its task.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// Notified when its body, or its wait for a head, must end.
    pub(super) wait: Notify,
    /// The reason, unless a control request closed it.
    pub(super) reason: OnceLock<Closing>,
    /// The task that serves it.
    pub(super) session: OnceLock<AbortHandle>,
}

/// Reason why a connection is closed by another task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// A control request or a drain.
    Requested,
    /// Connections are short, and its body was the slowest.
    TooSlow,
    /// It was reserved, and a newer one needs its slot.
    Displaced,
}

impl Ending {
    /// Aborts the task of the connection; false if it has none yet.
    pub(super) fn abort(&self) -> bool {
        self.session.get().map(AbortHandle::abort).is_some()
    }

    /// Notifies the session, which then ends by itself, for this reason.
    pub(super) fn close(&self, reason: Closing) {
        let _ = self.reason.set(reason);
        self.wait.notify_one();
    }

    /// Returns whether a reason was set already.
    pub(super) fn is_closing(&self) -> bool {
        self.reason.get().is_some()
    }
}
