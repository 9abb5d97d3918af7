//! The share of one body in a rate limit, which all bodies of a node or of a key have in common.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::meter::{FairQueue, Place, Turn};
use crate::net::os::clock::Clock;

/// A rate limit, shared by all bodies of a node or of a key.
#[derive(Debug)]
pub(in crate::net) struct SharedLimit(Mutex<FairQueue<Arc<Notify>>>);

/// The share of one body.
#[derive(Debug)]
pub(in crate::net) struct Share {
    limit: Arc<SharedLimit>,
    woken: Arc<Notify>,
    /// Its tag in the queue.
    tag: u64,
    /// Bytes that it may send before it has to wait.
    granted: u64,
}

/// A body in the queue; it leaves when this is dropped.
struct Waiting<'a> {
    limit: &'a SharedLimit,
    place: Place,
}

impl SharedLimit {
    /// Creates a limit, in bytes per second.
    pub(in crate::net) fn new(rate: u64) -> Self {
        Self(Mutex::new(FairQueue::new(rate)))
    }

    fn queue(&self) -> MutexGuard<'_, FairQueue<Arc<Notify>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    /// Returns the share of a new body.
    pub(in crate::net) fn new(limit: Arc<SharedLimit>) -> Self {
        let tag = limit.queue().tag();
        Self { limit, woken: Arc::default(), tag, granted: 0 }
    }

    /// Returns true if it is a share of this limit.
    pub(in crate::net) fn is_of(&self, limit: &Arc<SharedLimit>) -> bool {
        Arc::ptr_eq(&self.limit, limit)
    }

    /// Returns how many bytes may be sent now; 0 if the body has to wait.
    pub(in crate::net) fn granted(&self) -> u64 {
        self.granted
    }

    /// Returns how many bytes the body can send at a time.
    pub(in crate::net) fn chunk(&self) -> u64 {
        if self.granted > 0 { self.granted } else { self.limit.queue().chunk() }
    }

    /// Takes bytes of what was granted.
    pub(in crate::net) fn spend(&mut self, bytes: u64) {
        self.granted = self.granted.saturating_sub(bytes);
    }

    /// Waits for the turn of this body, unless it may send already; `waits` is called before the first pause.
    /// Cancel-safe: the turn goes to the next body.
    pub(in crate::net) async fn turn(&mut self, clock: Clock, waits: impl Fn()) {
        if self.granted > 0 {
            return;
        }
        let place = self.limit.queue().wait(self.tag, Arc::clone(&self.woken));
        let _waiting = Waiting { limit: &self.limit, place };
        loop {
            let turn = self.limit.queue().turn(place, clock.now_us(), |woken| woken.notify_one());
            let due = match turn {
                Turn::Granted(bytes, tag) => {
                    (self.granted, self.tag) = (bytes, tag);
                    return;
                }
                Turn::Due(due) => Some(due),
                Turn::Later => None,
            };
            waits();
            match due {
                Some(due) => {
                    tokio::select! {
                        () = sleep(due) => {}
                        () = self.woken.notified() => {}
                    }
                }
                None => self.woken.notified().await,
            }
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.granted > 0 {
            self.limit.queue().put_back(self.granted);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.limit.queue().leave(self.place, |woken| woken.notify_one());
    }
}
