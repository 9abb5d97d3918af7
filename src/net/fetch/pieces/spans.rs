//! Sets of byte ranges, ascending and merged.

use std::ops::Range;

/// Byte ranges that do not touch each other, in ascending order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::net::fetch) struct Spans(Vec<Range<u64>>);

impl Spans {
    /// Returns the ranges.
    pub(in crate::net::fetch) fn ranges(&self) -> &[Range<u64>] {
        &self.0
    }

    /// Returns the number of bytes in all of them.
    pub(in crate::net::fetch) fn total(&self) -> u64 {
        self.0.iter().map(|span| span.end - span.start).sum()
    }

    /// Adds a range.
    pub(in crate::net::fetch) fn insert(&mut self, added: Range<u64>) {
        if added.is_empty() {
            return;
        }
        let first = self.0.partition_point(|span| span.end < added.start);
        let last = self.0.partition_point(|span| span.start <= added.end);
        let touched = &self.0[first..last];
        let start = touched.first().map_or(added.start, |span| span.start.min(added.start));
        let end = touched.last().map_or(added.end, |span| span.end.max(added.end));
        self.0.splice(first..last, std::iter::once(start..end));
    }

    /// Removes a range.
    pub(in crate::net::fetch) fn remove(&mut self, removed: &Range<u64>) {
        let kept = self.0.iter().flat_map(|span| {
            [span.start..span.end.min(removed.start).max(span.start), removed.end.clamp(span.start, span.end)..span.end]
        });
        self.0 = if removed.is_empty() { return } else { kept.filter(|span| !span.is_empty()).collect() };
    }

    /// Returns what is missing of the first `size` bytes.
    pub(in crate::net::fetch) fn gaps(&self, size: u64) -> Self {
        let mut gaps = Self::default();
        gaps.insert(0..size);
        self.0.iter().for_each(|span| gaps.remove(span));
        gaps
    }
}

impl FromIterator<Range<u64>> for Spans {
    fn from_iter<I: IntoIterator<Item = Range<u64>>>(ranges: I) -> Self {
        let mut spans = Self::default();
        ranges.into_iter().for_each(|range| spans.insert(range));
        spans
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_a_set_of_bytes(steps in prop::collection::vec((any::<bool>(), 0_u64..64, 0_u64..16), 0..40)) {
            let (mut spans, mut bytes) = (Spans::default(), [false; 80]);
            for (add, start, length) in steps {
                let range = start..start + length;
                for at in range.clone() {
                    bytes[at as usize] = add;
                }
                if add { spans.insert(range) } else { spans.remove(&range) }
                let held: Vec<u64> = spans.ranges().iter().cloned().flatten().collect();
                let expected: Vec<u64> = (0..80).filter(|at| bytes[*at as usize]).collect();
                prop_assert_eq!(&held, &expected);
                prop_assert_eq!(spans.total(), expected.len() as u64);
                let apart = spans.ranges().windows(2).all(|pair| pair[0].end < pair[1].start);
                prop_assert!(apart && spans.ranges().iter().all(|span| !span.is_empty()));
                let gaps: Vec<u64> = spans.gaps(80).ranges().iter().cloned().flatten().collect();
                prop_assert_eq!(gaps, (0..80).filter(|at| !bytes[*at as usize]).collect::<Vec<_>>());
            }
        }
    }
}
