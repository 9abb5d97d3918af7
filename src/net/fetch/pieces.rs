//! Which connection receives which bytes of a file: gaps, pieces, and pieces that another connection takes over.

mod spans;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::blocks::BLOCK;
use crate::snapshot::{MAX_RANGES, ReceivedRange};

pub(super) use spans::Spans;

/// Least time that dividing a piece has to save.
const LEAST_SAVED: Duration = Duration::from_millis(200);

/// The bytes that are missing of one file, and who receives them. Pieces begin and end at multiples of [`BLOCK`], or at
/// the end of the file.
#[derive(Debug)]
pub(super) struct PieceMap {
    /// Bytes that no connection receives.
    gaps: Spans,
    /// By the number of the connection.
    pieces: BTreeMap<u32, Piece>,
    /// Bytes of ended pieces, by route; 0 for those that were here before.
    arrived: BTreeMap<u8, Spans>,
}

/// The bytes that one connection receives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    /// The route that it comes by.
    route: u8,
    /// Its first byte.
    pub(super) from: u64,
    /// Its next byte.
    pub(super) at: u64,
    /// Its end, which moves closer when another connection takes a part of it.
    pub(super) end: u64,
    /// Up to where the body reaches that is being received: a piece can grow again up to there.
    reach: u64,
    /// Bytes per second, as measured last; 0 while unknown.
    rate: u64,
}

/// What a connection that asks for a piece brings along.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asking {
    /// Its number.
    pub(super) number: u32,
    /// The number of its route, from 1.
    pub(super) route: u8,
    /// The rate of its last piece, in bytes per second; 0 while unknown.
    pub(super) rate: u64,
    /// Time until its first byte would arrive.
    pub(super) setup: Duration,
    /// The most bytes that it may take.
    pub(super) most: Option<u64>,
}

impl PieceMap {
    /// Returns a map of a file of which some ranges are received.
    pub(super) fn new(size: u64, received: &[Range<u64>]) -> Self {
        let before: Spans = received.iter().cloned().collect();
        Self { gaps: before.gaps(size), pieces: BTreeMap::new(), arrived: BTreeMap::from([(0, before)]) }
    }

    /// Returns the number of bytes that have not arrived.
    pub(super) fn left(&self) -> u64 {
        self.gaps.total() + self.pieces.values().map(Piece::left).sum::<u64>()
    }

    /// Returns the number of bytes that no connection receives.
    pub(super) fn unassigned(&self) -> u64 {
        self.gaps.total()
    }

    /// Returns the piece of a connection.
    pub(super) fn piece(&self, number: u32) -> Option<&Piece> {
        self.pieces.get(&number)
    }

    /// Assigns the first gap, or a part of the piece that would end last; `None` if sharing would not end earlier.
    pub(super) fn assign(&mut self, asking: &Asking) -> Option<Range<u64>> {
        let range = if let Some(gap) = self.gaps.ranges().first() {
            let most = asking.most.map_or(gap.end, |most| (gap.start + most.next_multiple_of(BLOCK)).min(gap.end));
            gap.start..most
        } else {
            let (owner, range) = self.split(asking)?;
            if let Some(piece) = self.pieces.get_mut(&owner) {
                piece.end = range.start;
            }
            range
        };
        self.gaps.remove(&range);
        let Range { start, end } = range;
        let Asking { number, route, rate, .. } = *asking;
        self.pieces.insert(number, Piece { route, from: start, at: start, end, reach: end, rate });
        Some(range)
    }

    /// Records that the body of a connection reaches further than its piece.
    pub(super) fn reaches(&mut self, number: u32, reach: u64) {
        if let Some(piece) = self.pieces.get_mut(&number) {
            piece.reach = reach;
        }
    }

    /// Returns the piece that would end last, and what another connection takes of it.
    fn split(&self, asking: &Asking) -> Option<(u32, Range<u64>)> {
        let others = || self.pieces.iter().filter(|(number, piece)| **number != asking.number && piece.left() > 0);
        let known = others().map(|(_, piece)| piece.rate).filter(|rate| *rate > 0);
        let (sum, count) = known.fold((0_u64, 0_u64), |(sum, count), rate| (sum.saturating_add(rate), count + 1));
        // An unknown rate is taken for the average; if none is known, all are alike.
        let average = sum.checked_div(count).unwrap_or(1).max(1);
        let rate_of = |rate: u64| if rate > 0 { rate } else { average };
        let (owner, piece) =
            others().max_by_key(|(_, piece)| (u128::from(piece.left()) << 32) / u128::from(rate_of(piece.rate)))?;
        let (theirs, ours) = (rate_of(piece.rate), rate_of(asking.rate));
        // What arrives until the first byte of the other connection is not divided.
        let before = if count > 0 { (asking.setup.as_secs_f64() * theirs as f64) as u64 } else { 0 };
        let shared = piece.left().saturating_sub(before);
        let taken = (u128::from(shared) * u128::from(ours) / (u128::from(theirs) + u128::from(ours))) as u64;
        // With known rates, the owner would have received that in this time: dividing ends its body and starts another.
        let saved = if count > 0 { Duration::from_secs_f64(taken as f64 / theirs as f64) } else { Duration::MAX };
        if saved < LEAST_SAVED.max(asking.setup) {
            return None;
        }
        let taken = asking.most.map_or(taken, |most| taken.min(most));
        // The owner keeps at least the block that it is receiving.
        let first = (piece.end - taken).max(piece.at + 1).next_multiple_of(BLOCK);
        (first < piece.end).then_some((*owner, first..piece.end))
    }

    /// Counts bytes that have arrived; returns how many of them belong to the piece.
    pub(super) fn advance(&mut self, number: u32, read: u64) -> u64 {
        let Some(piece) = self.pieces.get_mut(&number) else { return 0 };
        let accepted = read.min(piece.left());
        piece.at += accepted;
        accepted
    }

    /// Returns what is here, and by which route it came, in ascending order.
    pub(super) fn received(&self) -> Vec<ReceivedRange> {
        let ended =
            self.arrived.iter().flat_map(|(route, spans)| spans.ranges().iter().map(|span| (*route, span.clone())));
        let running = self.pieces.values().map(|piece| (piece.route, piece.from..piece.at));
        let mut all: Vec<_> = ended.chain(running).filter(|(_, range)| !range.is_empty()).collect();
        all.sort_unstable_by_key(|(_, range)| range.start);
        let mut merged: Vec<ReceivedRange> = Vec::new();
        for (route, range) in all {
            match merged.last_mut().filter(|last| last.route == route && last.to == range.start) {
                Some(last) => last.to = range.end,
                None => merged.push(ReceivedRange { from: range.start, to: range.end, route }),
            }
        }
        merged.truncate(MAX_RANGES);
        merged
    }

    /// Records the rate of a connection.
    pub(super) fn measure(&mut self, number: u32, rate: u64) {
        if let Some(piece) = self.pieces.get_mut(&number) {
            piece.rate = rate;
        }
    }

    /// Ends the piece of a connection: what is missing of it, from the last whole block on, becomes a gap, or is left
    /// to the connection whose body reaches behind its own piece. Returns the piece as it was.
    pub(super) fn give_back(&mut self, number: u32) -> Option<Piece> {
        let ended = self.pieces.remove(&number)?;
        let end = if ended.left() > 0 { whole_blocks(ended.at) } else { ended.end };
        self.arrived.entry(ended.route).or_default().insert(ended.from..end);
        if ended.left() == 0 {
            return Some(ended);
        }
        self.gaps.insert(end..ended.end);
        for piece in self.pieces.values_mut().filter(|piece| piece.left() > 0) {
            let next = self.gaps.ranges().iter().find(|gap| gap.start == piece.end && gap.start < piece.reach).cloned();
            if let Some(gap) = next {
                let grown = gap.start..gap.end.min(piece.reach);
                piece.end = grown.end;
                self.gaps.remove(&grown);
            }
        }
        Some(ended)
    }
}

impl Piece {
    /// Returns the number of its bytes that have not arrived.
    pub(super) fn left(&self) -> u64 {
        self.end.saturating_sub(self.at)
    }
}

/// Returns the last multiple of a block that is not behind an offset.
fn whole_blocks(offset: u64) -> u64 {
    offset - offset % BLOCK
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asking(number: u32) -> Asking {
        Asking { number, ..Asking::default() }
    }

    fn blocks(range: Range<u64>) -> Range<u64> {
        range.start * BLOCK..range.end * BLOCK
    }

    #[test]
    fn gaps_come_first_then_the_largest_piece_is_halved() {
        let mut map = PieceMap::new(64 * BLOCK, &[blocks(0..16), blocks(32..48)]);
        let taken = [1, 2, 3, 4].map(|number| map.assign(&asking(number)).unwrap());
        assert_eq!(taken, [blocks(16..32), blocks(48..64), blocks(56..64), blocks(24..32)]);
        assert_eq!(map.left(), 32 * BLOCK);
    }

    #[test]
    fn a_piece_is_divided_so_that_both_ends_come_at_once() {
        let mut map = PieceMap::new(100 * BLOCK, &[]);
        map.assign(&asking(1)).unwrap();
        map.measure(1, BLOCK);
        // 100 s of work: 10 s until the first byte, then 90 blocks at 1 and 2 blocks a second.
        let fast = Asking { number: 2, route: 1, rate: 2 * BLOCK, setup: Duration::from_secs(10), most: None };
        assert_eq!(map.assign(&fast).unwrap(), blocks(40..100));
        let little = Asking { number: 3, most: Some(3 * BLOCK), ..Asking::default() };
        assert_eq!(map.assign(&little).unwrap(), blocks(37..40));
        // No share of the rest would arrive before the owner has received it.
        let slow = Asking { number: 4, route: 1, rate: 1, setup: Duration::from_secs(40), most: None };
        assert_eq!(map.assign(&slow), None);
    }

    #[test]
    fn a_piece_grows_again_as_far_as_its_body_reaches() {
        let mut map = PieceMap::new(8 * BLOCK, &[]);
        map.assign(&asking(1)).unwrap();
        map.reaches(1, 7 * BLOCK);
        assert_eq!(map.assign(&asking(2)), Some(blocks(4..8)));
        map.give_back(2);
        assert_eq!(map.piece(1).map(|piece| piece.end), Some(7 * BLOCK));
        assert_eq!(map.assign(&asking(2)), Some(blocks(7..8)), "nothing else is missing");
        // What has arrived in between stays, and the gap behind it is for a new body.
        assert_eq!(map.assign(&asking(3)), Some(blocks(4..7)));
        assert_eq!(map.advance(3, BLOCK + 5), BLOCK + 5);
        map.give_back(3);
        assert_eq!((map.piece(1).map(|piece| piece.end), map.left()), (Some(4 * BLOCK), 7 * BLOCK));
        assert_eq!(map.assign(&asking(4)), Some(blocks(5..7)));
    }

    proptest! {
        #[test]
        fn every_byte_is_received(
            size in 1_u64..40 * BLOCK,
            steps in prop::collection::vec((0_u32..6, 0_u8..8, 0_u64..4 * BLOCK), 1..200),
        ) {
            let mut map = PieceMap::new(size, &[]);
            let mut received = Spans::default();
            let mut receive = |map: &mut PieceMap, number, read| {
                if let Some(at) = map.piece(number).map(|piece| piece.at) {
                    received.insert(at..at + map.advance(number, read));
                }
            };
            for (number, step, amount) in steps {
                match step {
                    0 => drop(map.give_back(number)),
                    1 => map.measure(number, amount),
                    _ if map.piece(number).is_some_and(|piece| piece.left() > 0) => receive(&mut map, number, amount),
                    _ => {
                        map.give_back(number);
                        let most = (step == 2).then_some(amount + 1);
                        if let Some(given) = map.assign(&Asking { number, rate: amount, most, ..asking(number) }) {
                            prop_assert!(given.start.is_multiple_of(BLOCK) && !given.is_empty());
                            prop_assert!(given.end.is_multiple_of(BLOCK) || given.end == size);
                            map.reaches(number, if amount % 2 == 0 { size } else { given.end });
                        }
                    }
                }
            }
            for number in 0..7 {
                map.give_back(number);
            }
            while let Some(given) = map.assign(&asking(9)) {
                receive(&mut map, 9, given.end - given.start);
                map.give_back(9);
            }
            prop_assert_eq!((received.ranges().len(), map.left()), (1, 0));
            prop_assert_eq!(&received.ranges()[0], &(0..size));
        }
    }
}
