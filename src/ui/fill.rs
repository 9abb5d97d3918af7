//! Buffered bytes of each stage on one scale, so that the growth of a queue and its move upstream are visible.

use crate::snapshot::{ChainSnapshot, HopLink};

/// Values of a full bar: in bytes, and as the title of a column of bars that follows one of figures.
/// Steps of four: a bar that has just outgrown one scale is still visible on the next.
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
/// The scale shrinks once all stages buffer less than this part of it, so that bars do not jump while data flows.
const SHRINK_BELOW: u64 = 20;

/// Current value of a full bar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scale(usize);

impl Scale {
    /// Adapts to the fullest stage: grows immediately, and shrinks once that buffers far less.
    pub fn follow(&mut self, chain: &ChainSnapshot) {
        let most = (0..=chain.hops.len()).filter_map(|stage| buffered(chain, stage)).max().unwrap_or(0);
        let fits = SCALES.iter().position(|(full, _)| most <= *full).unwrap_or(SCALES.len() - 1);
        // A chain that buffers nothing is between two transfers.
        if fits > self.0 || most > 0 && most < SCALES[self.0].0 / SHRINK_BELOW {
            self.0 = fits;
        }
    }

    /// Returns its label.
    pub fn name(self) -> &'static str {
        self.title().trim_start_matches("/ ")
    }

    /// Returns the title of a column of bars.
    pub fn title(self) -> &'static str {
        SCALES[self.0].1
    }

    /// Returns how many of `of` parts of a bar are full: at least one as soon as anything is buffered.
    pub fn parts(self, buffered: u64, of: usize) -> usize {
        ((buffered as f64 / SCALES[self.0].0 as f64 * of as f64).ceil() as usize).min(of)
    }
}

/// Returns the bytes buffered at a stage: received but not forwarded, and in its socket queues. 0 is the client; `None`
/// for a hop that does not report.
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
    fn the_scale_fits_the_fullest_stage_without_jumping() {
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
    fn bars_show_small_values_and_are_clamped() {
        let mut scale = Scale::default();
        scale.follow(&chain(&[4_000_000]));
        assert_eq!(
            [0, 1, 500_000, 500_001, 4_000_000, u64::MAX].map(|buffered| scale.parts(buffered, 8)),
            [0, 1, 1, 2, 8, 8]
        );
    }

    #[test]
    fn stages_buffer_what_they_have_not_forwarded() {
        let mut all = chain(&[7, 9]);
        all.hops[1].node = None;
        let flow = Flow { bytes_in: 10, bytes_out: 4, ..Flow::default() };
        let transfer = |phase| TransferSnapshot { phase, flow, ..TransferSnapshot::default() };
        all.transfers = vec![transfer(Phase::Streaming), transfer(Phase::Done)];
        assert_eq!([0, 1, 2, 3].map(|stage| buffered(&all, stage)), [Some(6), Some(7), None, None]);
    }
}
