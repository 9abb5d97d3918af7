//! Rates of single connections between two snapshots, by connection id, on the clock of the reporting node.

use std::collections::HashMap;

use crate::snapshot::{ChainSnapshot, ConnSnapshot, HopSnapshot};

/// Minimum time between two samples, so that the rate is steady enough to read.
const WINDOW_US: u64 = 1_000_000;
/// The same for the first rate of a connection, which is shown sooner.
const FIRST_US: u64 = 200_000;

/// Rates of all connections, by hop and connection id.
#[derive(Clone, Debug, Default)]
pub struct ConnRates {
    seen: HashMap<(usize, u64), Sample>,
    runs: HashMap<usize, String>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at_us: u64,
    bytes_in: u64,
    bytes_out: u64,
    rate: Option<(u64, u64)>,
    round: u64,
}

impl ConnRates {
    /// Records a snapshot; connections that are no longer in it are dropped.
    pub fn observe(&mut self, chain: &ChainSnapshot) {
        for hop in &chain.hops {
            let Some(node) = &hop.node else { continue };
            let known = self.runs.get(&hop.number).is_some_and(|run| run == node.node.as_str());
            if !known {
                // A node that was restarted counts its connections from the start again.
                self.seen.retain(|(number, _), _| *number != hop.number);
                self.runs.insert(hop.number, node.node.as_str().to_owned());
            }
            for conn in &node.connections {
                self.take(hop.number, node.uptime_us, chain.generation, conn);
            }
        }
        self.seen.retain(|_, sample| sample.round == chain.generation);
    }

    /// Returns bytes per second in and out, once there are two samples.
    pub fn of(&self, hop: &HopSnapshot, conn: &ConnSnapshot) -> Option<(u64, u64)> {
        self.seen.get(&(hop.number, conn.id)).and_then(|sample| sample.rate)
    }

    fn take(&mut self, hop: usize, at_us: u64, round: u64, conn: &ConnSnapshot) {
        let (bytes_in, bytes_out) = (conn.flow.bytes_in, conn.flow.bytes_out);
        let fresh = Sample { at_us, bytes_in, bytes_out, rate: None, round };
        let sample = self.seen.entry((hop, conn.id)).or_insert(fresh);
        sample.round = round;
        let passed = at_us.saturating_sub(sample.at_us);
        let enough = if sample.rate.is_some() { WINDOW_US } else { FIRST_US };
        if passed >= enough {
            let rate = |now: u64, then: u64| {
                let moved = u128::from(now.saturating_sub(then)) * 1_000_000 / u128::from(passed);
                u64::try_from(moved).unwrap_or(u64::MAX)
            };
            let rates = (rate(bytes_in, sample.bytes_in), rate(bytes_out, sample.bytes_out));
            *sample = Sample { rate: Some(rates), ..fresh };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Flow, NodeSnapshot};

    fn chain(generation: u64, run: &str, uptime_us: u64, bytes: u64) -> ChainSnapshot {
        let flow = Flow { bytes_in: bytes, bytes_out: bytes / 2, ..Flow::default() };
        let conn = ConnSnapshot { id: 7, flow, ..ConnSnapshot::default() };
        let node = NodeSnapshot { node: run.into(), uptime_us, connections: vec![conn], ..NodeSnapshot::default() };
        let hop = HopSnapshot { number: 1, node: Some(node), ..HopSnapshot::default() };
        ChainSnapshot { generation, hops: vec![hop], ..ChainSnapshot::default() }
    }

    fn rate(rates: &ConnRates) -> Option<(u64, u64)> {
        let conn = ConnSnapshot { id: 7, ..ConnSnapshot::default() };
        rates.of(&HopSnapshot { number: 1, ..HopSnapshot::default() }, &conn)
    }

    #[test]
    fn rates_use_the_clock_of_the_node() {
        let mut rates = ConnRates::default();
        rates.observe(&chain(1, "a", 1_000_000, 0));
        assert_eq!(rate(&rates), None);
        rates.observe(&chain(2, "a", 1_250_000, 1_000));
        assert_eq!(rate(&rates), Some((4_000, 2_000)));
        rates.observe(&chain(3, "a", 1_500_000, 9_000));
        assert_eq!(rate(&rates), Some((4_000, 2_000)), "a quarter of a second is too short for a new rate");
        rates.observe(&chain(4, "a", 2_250_000, 9_000));
        assert_eq!(rate(&rates), Some((8_000, 4_000)));
    }

    #[test]
    fn ended_connections_and_previous_runs_are_dropped() {
        let mut rates = ConnRates::default();
        rates.observe(&chain(1, "a", 0, 0));
        rates.observe(&chain(2, "a", 1_000_000, 500));
        rates.observe(&chain(3, "b", 100_000, 10));
        assert_eq!(rate(&rates), None);
        rates.observe(&ChainSnapshot { generation: 4, ..ChainSnapshot::default() });
        assert!(rates.seen.is_empty());
    }
}
