//! How a connection is ended from outside, and why.

use std::sync::OnceLock;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// The two ways in which a connection can be ended.
#[derive(Debug, Default)]
pub(super) struct Ending {
    /// Its body, or its wait for a head, is to end.
    pub(super) wait: Notify,
    /// Why, where control did not say so.
    pub(super) why: OnceLock<Closing>,
    /// The task that serves it.
    pub(super) session: OnceLock<AbortHandle>,
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
