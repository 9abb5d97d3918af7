//! Verdict on a transfer whose body was too short to measure: its setup may have taken most of the time.

use super::stage::Stage;
use crate::snapshot::Flow;
use crate::snapshot::verdict::{Confidence, Limit, SetupStep, Verdict};
use crate::wire::Leg;

/// Share of the whole time from which on a step is reported.
const MOST: f64 = 0.5;

/// Returns the setup step that took most of a transfer's time; `legs` are the client's own and each relay's, hop 1
/// first.
pub fn evaluate_setup(client: &Flow, legs: &[Leg], hops: &[Stage]) -> Option<Verdict> {
    let whole_ms = client.active_us.saturating_add(client.reply_us) as f64 / 1000.0;
    let reached = (1..)
        .zip(legs)
        .flat_map(|(hop, leg)| [(hop, SetupStep::Resolve, leg.resolve_ms), (hop, SetupStep::Connect, leg.connect_ms)]);
    let delayed = hops.iter().filter(|hop| hop.reports);
    let delayed = delayed.map(|hop| (hop.number, SetupStep::Delay, hop.flow.reply_us as f64 / 1000.0));
    // Reported values may be NaN.
    let steps = reached.chain(delayed).filter(|(_, _, ms)| ms.is_finite());
    let (hop, step, ms) = steps.max_by(|one, other| one.2.total_cmp(&other.2))?;
    // Each hop measures by its own clock.
    let share = (ms / whole_ms.max(f64::MIN_POSITIVE)).min(1.0);
    let limit = Limit::Setup { hop, step };
    (share >= MOST).then_some(Verdict { limit, share, confidence: Confidence::High, since_ms: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_step_of_a_short_transfer_is_reported() {
        let client = Flow { active_us: 2_000, reply_us: 98_000, ..Flow::default() };
        let leg = |resolve_ms, connect_ms| Leg { resolve_ms, connect_ms, wait_ms: 1.0 };
        let found = |legs: &[Leg], held_us: u64| {
            let flow = Flow { reply_us: held_us, ..Flow::default() };
            let hops = [Stage::default(), Stage { number: 2, reports: true, flow, ..Stage::default() }];
            evaluate_setup(&client, legs, &hops).map(|verdict| (verdict.limit, verdict.share))
        };
        let named = |hop, step, share| Some((Limit::Setup { hop, step }, share));
        assert_eq!(found(&[leg(0.0, 1.0), leg(2.0, 80.0)], 0), named(2, SetupStep::Connect, 0.8));
        assert_eq!(found(&[leg(60.0, 1.0), leg(2.0, 3.0)], 0), named(1, SetupStep::Resolve, 0.6));
        assert_eq!(found(&[leg(0.0, 1.0), leg(0.0, 1.0)], 90_000), named(2, SetupStep::Delay, 0.9));
        assert_eq!(found(&[leg(0.0, 30.0), leg(0.0, 30.0)], 30_000), None, "none of them took most of it");
        assert_eq!(found(&[leg(0.0, f64::NAN)], 0), None);
        assert_eq!(evaluate_setup(&Flow::default(), &[], &[]), None);
    }
}
