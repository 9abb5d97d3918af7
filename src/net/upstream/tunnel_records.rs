//! Records of tunnels that several files use one after the other: which part of them is whose.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::snapshot::TransferRecord;
use crate::wire::{TransferId, TransferIds};

/// Tunnels whose last records are remembered: more than are idle at a time on most clients.
const MAX_TUNNELS: usize = 64;

/// The last records of each tunnel, the relays' in chain order; the tunnel used last is at the end.
#[derive(Debug, Default)]
pub(super) struct TunnelRecords(Mutex<VecDeque<(TransferId, Vec<Option<TransferRecord>>)>>);

impl TunnelRecords {
    /// Returns the records of one file, which took this long, from those of its tunnel: without what was counted up to
    /// the last call for that tunnel.
    pub(super) fn of_file(
        &self,
        ids: TransferIds,
        file_us: u64,
        mut records: Vec<Option<TransferRecord>>,
    ) -> Vec<Option<TransferRecord>> {
        let (Some(tunnel), Some((_origin, relays))) = (ids.tunnel, records.split_last_mut()) else { return records };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = known.iter().position(|(id, _)| *id == tunnel);
        let before = at.and_then(|at| known.remove(at)).map(|(_, before)| before).unwrap_or_default();
        known.push_back((tunnel, relays.to_vec()));
        if known.len() > MAX_TUNNELS {
            known.pop_front();
        }
        for (at, record) in relays.iter_mut().enumerate() {
            let Some(record) = record else { continue };
            // Its first byte is of the handshake, and its last one of another file.
            record.timestamps = None;
            if let Some(Some(before)) = before.get(at) {
                *record = record.since(before, file_us);
            }
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Flow;

    fn record(bytes: u64, limited_us: u64, starved_us: u64) -> TransferRecord {
        let active_us = limited_us + starved_us;
        let flow = Flow { bytes_in: bytes, bytes_out: bytes, limited_us, starved_us, active_us, ..Flow::default() };
        TransferRecord { flow, ..TransferRecord::default() }
    }

    #[test]
    fn each_file_has_what_was_counted_while_it_was_moved() {
        let tunnels = TunnelRecords::default();
        let ids = |tunnel| TransferIds { file: TransferId(1), tunnel };
        let part = |tunnel, file_us, relay| {
            let records = tunnels.of_file(ids(tunnel), file_us, vec![relay, Some(record(7, 7, 7))]);
            assert_eq!(records[1], Some(record(7, 7, 7)), "the origin's is that of the file");
            records[0].as_ref().map(|record| (record.flow.bytes_out, record.flow.limited_us, record.flow.active_us))
        };
        let tunnel = Some(TransferId(2));
        assert_eq!(part(tunnel, 900, Some(record(100, 800, 100))), Some((100, 800, 900)));
        // 9 ms of silence until the next file, which takes 400 µs.
        assert_eq!(part(tunnel, 400, Some(record(150, 1100, 9200))), Some((50, 300, 400)));
        assert_eq!(part(Some(TransferId(3)), 10, Some(record(5, 1, 1))), Some((5, 1, 2)), "another tunnel");
        assert_eq!(part(None, 10, Some(record(5, 1, 1))), Some((5, 1, 2)), "not encrypted");
        assert_eq!(part(tunnel, 10, None), None);
        assert_eq!(part(tunnel, 90, Some(record(150, 1100, 9200))), Some((150, 1100, 10_300)), "unknown before");
        for id in 10..10 + MAX_TUNNELS as u128 {
            part(Some(TransferId(id)), 1, None);
        }
        assert_eq!(tunnels.0.lock().unwrap().len(), MAX_TUNNELS);
    }
}
