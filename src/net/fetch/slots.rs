//! How many transfers of one owner are under way at a time; those that only wait for a disk or for another fetch are
//! left out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Slots of an owner; clones share them.
#[derive(Clone, Debug)]
pub struct Slots(Arc<watch::Sender<Occupancy>>);

/// Number of slots, and how many are occupied.
#[derive(Clone, Copy, Debug)]
struct Occupancy {
    most: usize,
    occupied: usize,
}

/// The slot of a transfer, free again once its last clone is dropped; the default is that of a transfer without an
/// owner that counts it.
#[derive(Clone, Debug, Default)]
pub struct Slot(Option<Arc<Place>>);

#[derive(Debug)]
struct Place {
    slots: Slots,
    is_held: AtomicBool,
}

impl Slots {
    /// Creates slots for this many transfers at a time.
    pub fn new(most: usize) -> Self {
        Self(Arc::new(watch::Sender::new(Occupancy { most, occupied: 0 })))
    }

    /// Changes their number; those that are occupied beyond it stay so until they are free.
    pub fn limit(&self, most: usize) {
        self.0.send_if_modified(|now| std::mem::replace(&mut now.most, most) != most);
    }

    /// Occupies a slot, if one is free.
    pub fn take(&self) -> Option<Slot> {
        self.occupy().then(|| Slot(Some(Arc::new(Place { slots: self.clone(), is_held: true.into() }))))
    }

    /// Waits until a slot is free.
    pub async fn vacancy(&self) {
        // The sender exists as long as this does.
        let _ = self.0.subscribe().wait_for(|now| now.occupied < now.most).await;
    }

    fn occupy(&self) -> bool {
        self.0.send_if_modified(|now| {
            let free = now.occupied < now.most;
            now.occupied += usize::from(free);
            free
        })
    }
}

impl Slot {
    /// Frees the slot for another transfer while this one only waits.
    pub(super) fn release(&self) {
        if let Some(place) = &self.0 {
            place.release();
        }
    }

    /// Occupies a slot again, if this one was freed; at once if the transfer is stopped, which it then notices itself.
    pub(super) async fn regain(&self, stop: &CancellationToken) {
        let Some(place) = self.0.as_ref().filter(|place| !place.is_held.load(Relaxed)) else { return };
        while !place.slots.occupy() {
            tokio::select! {
                () = place.slots.vacancy() => {}
                () = stop.cancelled() => return,
            }
        }
        place.is_held.store(true, Relaxed);
    }
}

impl Place {
    fn release(&self) {
        if self.is_held.swap(false, Relaxed) {
            self.slots.0.send_modify(|now| now.occupied -= 1);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slot_is_free_while_its_transfer_waits() {
        let (slots, stop) = (Slots::new(1), CancellationToken::new());
        let first = slots.take().unwrap();
        assert!(slots.take().is_none());
        first.release();
        slots.vacancy().await;
        let second = slots.take().unwrap();
        let regaining = async {
            first.regain(&stop).await;
            slots.take().is_none()
        };
        let (is_held, ()) = tokio::join!(regaining, async { drop(second) });
        assert!(is_held, "the first has it again");
        slots.limit(2);
        assert!(slots.take().is_some());
        drop(first);
        assert!(slots.take().is_some());
        Slot::default().regain(&stop).await;
    }

    #[tokio::test]
    async fn a_stopped_transfer_waits_for_no_slot() {
        let (slots, stop) = (Slots::new(1), CancellationToken::new());
        let first = slots.take().unwrap();
        first.release();
        let _second = slots.take().unwrap();
        stop.cancel();
        first.regain(&stop).await;
        drop(first);
        assert!(slots.take().is_none(), "the slot of the second is not free");
    }
}
