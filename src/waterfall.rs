//! Waterfall of a transfer's setup: which stage spent which time, without synchronized clocks.
//!
//! Each hop reports durations only, by its own clock. They nest: hop 2 works while hop 1 waits for it. So a hop's rows
//! are centered within the wait of the stage before it, as the split of the rest into the ways there and back is
//! unknown.

use crate::snapshot::timing::{Step, WaterfallRow};
use crate::snapshot::{Timestamps, TransferRecord};
use crate::wire::Leg;

/// Returns the rows of a transfer in the order of their start: this program's, hop 1's, and so on, then the body's.
///
/// `legs` are the client's own and each relay's, hop 1 first; `timestamps` are the hops' timestamps of their bodies,
/// hop 1 first; `body` are the times of the client's first and last byte, in ms since the start.
pub fn rows(legs: &[Leg], timestamps: &[Option<Timestamps>], body: (Option<f64>, Option<f64>)) -> Vec<WaterfallRow> {
    let mut rows = Vec::new();
    let (mut offset, mut within) = (0.0, f64::INFINITY);
    let mut began = Vec::new();
    let totals: Vec<f64> = legs.iter().map(total).collect();
    for (stage, leg) in legs.iter().enumerate() {
        began.push(offset);
        let [resolve, connect, wait] = [leg.resolve_ms, leg.connect_ms, leg.wait_ms].map(sanitized);
        // No stage spends more time on a request than the stage that waits for it; drifting clocks may claim so.
        let [resolve, connect, wait] = shrunk([resolve, connect, wait], within);
        let inner = totals.get(stage + 1).copied().unwrap_or_default().min(wait);
        let mut row = |step, length_ms: f64, own_ms: f64| {
            if length_ms > 0.0 {
                rows.push(WaterfallRow { stage, step, offset_ms: offset, length_ms, own_ms });
                offset += length_ms;
            }
        };
        row(Step::Resolve, resolve, resolve);
        row(Step::Connect, connect, connect);
        row(Step::Wait, wait, wait - inner);
        offset -= wait;
        // The origin has no leg; if it reports when its reply was ready, its rows are centered like the others.
        let next = match timestamps.get(stage).copied().flatten() {
            Some(own) if stage + 1 == legs.len() => sanitized(own.head_ms).min(wait),
            _ => inner,
        };
        offset += (wait - next) / 2.0;
        within = inner;
    }
    began.push(offset);
    for (hop, own) in (1..).zip(timestamps) {
        if let (Some(own), Some(began)) = (own, began.get(hop)) {
            body_rows(&mut rows, hop, *began, sanitized(own.head_ms), (own.first_ms, own.last_ms));
        }
    }
    body_rows(&mut rows, 0, 0.0, totals.first().copied().unwrap_or_default(), body);
    rows
}

/// Returns the rows of a transfer with the timestamps of the hops' records, hop 1 first; `drawn` are the rows without
/// them.
pub fn with_timestamps(legs: &[Leg], records: &[Option<TransferRecord>], drawn: &[WaterfallRow]) -> Vec<WaterfallRow> {
    let timestamps: Vec<_> = records.iter().map(|record| record.as_ref()?.timestamps).collect();
    let end = |step| drawn.iter().find(|row| (row.stage, row.step) == (0, step)).map(WaterfallRow::end_ms);
    rows(legs, &timestamps, (end(Step::FirstByte), end(Step::LastByte)))
}

/// Returns the sum of the rows up to the client's first byte, in ms: the time to first byte.
pub fn to_first_byte(rows: &[WaterfallRow]) -> f64 {
    let set_up = |row: &&WaterfallRow| match row.step {
        Step::Resolve | Step::Connect | Step::Wait => true,
        Step::FirstByte => row.stage == 0,
        Step::LastByte => false,
    };
    // The sum of no floats would be -0.0.
    rows.iter().filter(set_up).fold(0.0, |sum, row| sum + row.own_ms)
}

fn body_rows(rows: &mut Vec<WaterfallRow>, stage: usize, began: f64, head: f64, body: (Option<f64>, Option<f64>)) {
    let Some(first) = body.0.map(sanitized).filter(|first| *first >= head) else { return };
    let mut row = |step, from: f64, to: f64| {
        let length_ms = to - from;
        rows.push(WaterfallRow { stage, step, offset_ms: began + from, length_ms, own_ms: length_ms });
    };
    row(Step::FirstByte, head, first);
    if let Some(last) = body.1.map(sanitized).filter(|last| *last >= first) {
        row(Step::LastByte, first, last);
    }
}

fn total(leg: &Leg) -> f64 {
    sanitized(leg.resolve_ms) + sanitized(leg.connect_ms) + sanitized(leg.wait_ms)
}

/// Clamps a reported time to a drawable range.
fn sanitized(ms: f64) -> f64 {
    // Longer than any timeout of a setup or a stalled body.
    if ms.is_finite() { ms.clamp(0.0, 1e9) } else { 0.0 }
}

/// Scales the three times down to fit.
fn shrunk(times: [f64; 3], within: f64) -> [f64; 3] {
    let sum: f64 = times.iter().sum();
    if sum <= within { times } else { times.map(|time| time * within / sum) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leg(resolve_ms: f64, connect_ms: f64, wait_ms: f64) -> Leg {
        Leg { resolve_ms, connect_ms, wait_ms }
    }

    #[test]
    fn legs_nest_and_add_up() {
        let rows = rows(&[leg(1.0, 2.0, 20.0), leg(0.0, 4.0, 10.0)], &[], (Some(25.0), Some(125.0)));
        let values: Vec<_> =
            rows.iter().map(|row| (row.stage, row.step, row.offset_ms, row.length_ms, row.own_ms)).collect();
        assert_eq!(
            values,
            [
                (0, Step::Resolve, 0.0, 1.0, 1.0),
                (0, Step::Connect, 1.0, 2.0, 2.0),
                (0, Step::Wait, 3.0, 20.0, 6.0),
                // 6 ms of the wait are not hop 1's: half of them is the way there.
                (1, Step::Connect, 6.0, 4.0, 4.0),
                (1, Step::Wait, 10.0, 10.0, 10.0),
                (0, Step::FirstByte, 23.0, 2.0, 2.0),
                (0, Step::LastByte, 25.0, 100.0, 100.0),
            ]
        );
        assert!((to_first_byte(&rows) - 25.0).abs() < 1e-9);
    }

    #[test]
    fn a_hop_with_timestamps_has_body_rows() {
        let origin = Timestamps { head_ms: 4.0, first_ms: Some(5.0), last_ms: Some(9.0) };
        let origin = TransferRecord { timestamps: Some(origin), ..TransferRecord::default() };
        let legs = [leg(0.0, 1.0, 10.0)];
        let rows = with_timestamps(&legs, &[Some(origin)], &rows(&legs, &[], (Some(12.0), Some(20.0))));
        let of = |stage: usize| rows.iter().filter(move |row| row.stage == stage).map(|row| (row.step, row.offset_ms));
        // It is centered in the wait of 10 ms, of which 6 ms are others'.
        assert_eq!(of(1).collect::<Vec<_>>(), [(Step::FirstByte, 8.0), (Step::LastByte, 9.0)]);
        let of = |stage: usize| rows.iter().filter(move |row| row.stage == stage).map(WaterfallRow::end_ms);
        assert_eq!(of(0).collect::<Vec<_>>(), [1.0, 11.0, 12.0, 20.0]);
        assert!((to_first_byte(&rows) - 12.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn rows_stay_within_the_clients_own_times(
            claims in proptest::collection::vec((any::<f64>(), any::<f64>(), -5.0..50.0), 0..6),
            reported in proptest::collection::vec((any::<f64>(), any::<f64>()), 0..6),
        ) {
            let legs: Vec<Leg> = std::iter::once(leg(1.0, 2.0, 30.0))
                .chain(claims.iter().map(|(resolve, connect, wait)| leg(*resolve, *connect, *wait)))
                .collect();
            let timestamps: Vec<_> = reported
                .iter()
                .map(|(head, first)| Some(Timestamps { head_ms: *head, first_ms: Some(*first), last_ms: None }))
                .collect();
            let rows = rows(&legs, &timestamps, (Some(40.0), Some(50.0)));
            let set_up = rows.iter().filter(|row| matches!(row.step, Step::Resolve | Step::Connect | Step::Wait));
            for row in set_up {
                prop_assert!(row.own_ms >= -1e-9 && row.length_ms >= row.own_ms, "{row:?}");
                prop_assert!(row.offset_ms >= -1e-9 && row.offset_ms + row.length_ms <= 33.0 + 1e-6, "{row:?}");
            }
            prop_assert!(rows.iter().all(|row| row.offset_ms.is_finite() && row.length_ms.is_finite()));
        }
    }
}
