//! How many connections this program has open to each origin, over all transfers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::connections::MAX_CONNECTIONS;
use crate::route::{HostPort, Route};

/// Connections to each origin, shared by all transfers of a client: an origin that others use, too, must not be
/// occupied by one of them.
#[derive(Clone, Debug, Default)]
pub(in crate::net) struct OriginSlots(Arc<Mutex<BTreeMap<HostPort, usize>>>);

/// A connection that is counted for its origin while this exists.
#[derive(Debug)]
pub(in crate::net) struct OriginSlot {
    slots: OriginSlots,
    origin: HostPort,
}

impl OriginSlots {
    /// Counts a first connection, which every transfer may have, or one more unless there are too many.
    pub(in crate::net) fn take(&self, route: &Route, is_first: bool) -> Option<OriginSlot> {
        let origin = route.hops().last()?.address.clone();
        let mut counts = self.lock();
        let count = counts.entry(origin.clone()).or_default();
        if !is_first && *count >= MAX_CONNECTIONS {
            return None;
        }
        *count += 1;
        Some(OriginSlot { slots: self.clone(), origin })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<HostPort, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OriginSlot {
    fn drop(&mut self) {
        let mut counts = self.slots.lock();
        if let Some(count) = counts.get_mut(&self.origin) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_all_transfers_to_one_origin_are_counted_together() {
        let slots = OriginSlots::default();
        let route = |text: &str| Route::parse(text.as_bytes()).unwrap();
        let (one, same, other) = (route("a\nr 1\no 2\n"), route("b\no 2\n"), route("a\no 3\n"));
        let mut held: Vec<_> = (0..MAX_CONNECTIONS).map(|_| slots.clone().take(&one, false).unwrap()).collect();
        assert!(slots.take(&same, false).is_none() && slots.take(&other, false).is_some());
        let first = slots.take(&same, true);
        assert!(first.is_some(), "every transfer may begin");
        held.pop();
        assert!(slots.take(&same, false).is_none(), "there are still as many");
        drop((first, held));
        assert!(slots.lock().is_empty());
    }
}
