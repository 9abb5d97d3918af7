//! Recent figures of the kernel and the processor at each hop, as differences of its counters.

use crate::meter::{Difference, SlidingWindow};
use crate::snapshot::{ChainSnapshot, HopSnapshot, Load, TcpSnapshot};

/// Length of the window, in µs: several reports.
const WINDOW_US: u64 = 2_000_000;

/// Counters of one hop, or their differences.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// Time by the node's own clock, in µs.
    pub span_us: u64,
    /// Its sending sockets together.
    pub tcp: TcpSnapshot,
    /// CPU time and delays, if the system reports them.
    pub load: Option<Load>,
}

/// Windows over the counters of all hops, in the order of the snapshot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    hops: Vec<SlidingWindow<Counters>>,
}

impl Evidence {
    /// Adds the reports of a snapshot.
    pub(crate) fn observe(&mut self, chain: &ChainSnapshot) {
        self.hops.resize_with(chain.hops.len(), SlidingWindow::default);
        for (window, hop) in self.hops.iter_mut().zip(&chain.hops) {
            let Some(node) = hop.node.as_ref().filter(|_| hop.link.is_up()) else {
                *window = SlidingWindow::default();
                continue;
            };
            let counters = Counters { span_us: node.uptime_us, tcp: hop.tcp.unwrap_or_default(), load: node.load };
            window.feed(node.uptime_us, counters, WINDOW_US);
        }
    }

    /// Returns what the counters of a hop have grown by recently; `None` before its second report.
    pub(crate) fn of(&self, chain: &ChainSnapshot, hop: &HopSnapshot) -> Option<Counters> {
        let at = chain.hops.iter().position(|h| h.number == hop.number)?;
        self.hops.get(at)?.change().filter(|change| change.span_us > 0)
    }
}

impl Difference for Counters {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            span_us: self.span_us.saturating_sub(earlier.span_us),
            tcp: self.tcp.since(&earlier.tcp),
            load: self.load.map(|load| load.since(&earlier.load.unwrap_or_default())),
        }
    }

    fn grow(&mut self, by: &Self) {
        self.span_us = self.span_us.saturating_add(by.span_us);
        self.tcp.add(&by.tcp);
        self.load = by.load;
    }
}
