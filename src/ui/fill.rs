//! Where the bytes are: what each stage holds, against one scale for all of them, so that a queue is seen to grow and
//! to walk upstream.

use crate::snapshot::{ChainSnapshot, HopLink};

/// What a full bar can stand for: in bytes, and as it reads above a column of bars that stands behind one of figures.
/// Steps of four: a bar that has just outgrown one scale is still seen on the next.
const SCALES: [(u64, &str); 9] = [
    (16_000, "/ 16 KB"),
    (64_000, "/ 64 KB"),
    (250_000, "/ 250 KB"),
    (1_000_000, "/ 1 MB"),
    (4_000_000, "/ 4 MB"),
    (16_000_000, "/ 16 MB"),
    (64_000_000, "/ 64 MB"),
    (250_000_000, "/ 250 MB"),
    (1_000_000_000, "/ 1 GB"),
];
/// A scale stays until all stages hold less than this part of it, so that bars do not jump while data flows.
const ROOMY: u64 = 20;

/// What a full bar stands for now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scale(usize);

impl Scale {
    /// Grows with what the fullest stage holds, and shrinks when that is far less.
    pub fn follow(&mut self, chain: &ChainSnapshot) {
        let most = (0..=chain.hops.len()).filter_map(|stage| buffered(chain, stage)).max().unwrap_or(0);
        let fits = SCALES.iter().position(|(full, _)| most <= *full).unwrap_or(SCALES.len() - 1);
        // A chain that holds nothing is between two transfers.
        if fits > self.0 || most > 0 && most < SCALES[self.0].0 / ROOMY {
            self.0 = fits;
        }
    }

    /// How it reads.
    pub fn name(self) -> &'static str {
        self.title().trim_start_matches("/ ")
    }

    /// How it reads above a column of bars.
    pub fn title(self) -> &'static str {
        SCALES[self.0].1
    }

    /// How many of so many parts of a bar are full; something shows as soon as anything is buffered.
    pub fn parts(self, buffered: u64, of: usize) -> usize {
        ((buffered as f64 / SCALES[self.0].0 as f64 * of as f64).ceil() as usize).min(of)
    }
}

/// Bytes that a stage holds: received and not yet given on, and those in its kernel queues. 0 is the client; `None` for
/// a hop that does not report.
pub(crate) fn buffered(chain: &ChainSnapshot, stage: usize) -> Option<u64> {
    let Some(at) = stage.checked_sub(1) else {
        let running = chain.transfers.iter().filter(|transfer| !transfer.phase.is_over());
        let inside = running.map(|transfer| transfer.flow.bytes_in.saturating_sub(transfer.flow.bytes_out));
        return Some(inside.fold(0, u64::saturating_add));
    };
    let hop = chain.hops.get(at).filter(|hop| !matches!(hop.link, HopLink::Down { .. }))?;
    hop.buffered.filter(|_| hop.node.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Flow, HopSnapshot, NodeSnapshot, Phase, TransferSnapshot};

    fn chain(buffered: &[u64]) -> ChainSnapshot {
        let hop = |buffered| HopSnapshot {
            buffered: Some(buffered),
            node: Some(NodeSnapshot::default()),
            ..HopSnapshot::default()
        };
        ChainSnapshot { hops: buffered.iter().copied().map(hop).collect(), ..ChainSnapshot::default() }
    }

    #[test]
    fn the_scale_fits_the_fullest_and_does_not_jump() {
        let mut scale = Scale::default();
        let mut after = |buffered: &[u64]| {
            scale.follow(&chain(buffered));
            scale.name()
        };
        assert_eq!([after(&[]), after(&[5, 60_000]), after(&[900_000])], ["16 KB", "64 KB", "1 MB"]);
        assert_eq!([after(&[50_000]), after(&[0, 0]), after(&[49_999])], ["1 MB", "1 MB", "64 KB"]);
        assert_eq!([after(&[u64::MAX]), after(&[40_000_000])], ["1 GB", "64 MB"]);
    }

    #[test]
    fn a_bar_shows_anything_and_ends_at_full() {
        let mut scale = Scale::default();
        scale.follow(&chain(&[4_000_000]));
        assert_eq!(
            [0, 1, 500_000, 500_001, 4_000_000, u64::MAX].map(|buffered| scale.parts(buffered, 8)),
            [0, 1, 1, 2, 8, 8]
        );
    }

    #[test]
    fn every_stage_holds_what_it_has_not_given_on() {
        let mut all = chain(&[7, 9]);
        all.hops[1].node = None;
        let flow = Flow { bytes_in: 10, bytes_out: 4, ..Flow::default() };
        let transfer = |phase| TransferSnapshot { phase, flow, ..TransferSnapshot::default() };
        all.transfers = vec![transfer(Phase::Streaming), transfer(Phase::Done)];
        assert_eq!([0, 1, 2, 3].map(|stage| buffered(&all, stage)), [Some(6), Some(7), None, None]);
    }
}
