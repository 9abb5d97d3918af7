//! Limit of a node's bodies, from its own figures alone: a label of its metrics.

use super::stage::Stage;
use crate::snapshot::verdict::FaultKind;

/// What limits a node's bodies, by its own figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalLimit {
    /// Nothing moved, or not for long enough.
    Measuring,
    /// Its own rate limit.
    RateLimit,
    /// An injected fault.
    Fault,
    /// They wait for input: the cause is upstream, or its disk.
    Input,
    /// They wait to be sent: the cause is downstream.
    Output,
    /// They do not wait much for either: its CPU, or nothing in particular.
    Own,
}

impl LocalLimit {
    /// All values, in the order of the metrics.
    pub const ALL: [Self; 6] = [Self::Measuring, Self::RateLimit, Self::Fault, Self::Input, Self::Output, Self::Own];

    /// Returns the value of the label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Measuring => "measuring",
            Self::RateLimit => "rate-limit",
            Self::Fault => "fault",
            Self::Input => "input",
            Self::Output => "output",
            Self::Own => "own",
        }
    }

    /// Evaluates the figures of a node.
    pub fn of(stage: &Stage) -> Self {
        let flow = stage.flow;
        let whole = flow.active_us.saturating_add(flow.reply_us);
        // At least half of the time is most of it; less than a tenth of a second is not evaluated.
        let most = |us: u64, of: u64| us >= of.div_ceil(2);
        match stage.active_fault() {
            _ if whole < 100_000 => Self::Measuring,
            _ if most(flow.reply_us, whole) => Self::Fault,
            Some(FaultKind::Stall) => Self::Fault,
            _ if most(flow.limited_us, flow.active_us) => Self::RateLimit,
            _ if most(flow.starved_us, flow.active_us) => Self::Input,
            _ if most(flow.blocked_us, flow.active_us) => Self::Output,
            Some(_) => Self::Fault,
            None => Self::Own,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Faults;
    use crate::snapshot::Flow;

    #[test]
    fn a_node_names_what_it_waits_for() {
        let of = |read, write, limited, faults| {
            let (starved_us, blocked_us, limited_us) = (read, write, limited);
            let flow = Flow { starved_us, blocked_us, limited_us, active_us: 1_000_000, ..Flow::default() };
            LocalLimit::of(&Stage { flow, faults, ..Stage::default() }).label()
        };
        let (none, stall) = (Faults::default(), Faults { stall: true, ..Faults::default() });
        let found = [of(900_000, 0, 0, none), of(0, 600_000, 0, none), of(5, 5, 5, none), of(0, 0, 500_000, none)];
        assert_eq!(found, ["input", "output", "own", "rate-limit"]);
        // A stall is counted as a rate limit.
        assert_eq!((of(0, 0, 900_000, stall), LocalLimit::of(&Stage::default()).label()), ("fault", "measuring"));
        let fragment = Faults { fragment: Some(7), ..Faults::default() };
        assert_eq!([of(9, 9, 0, fragment), of(900_000, 0, 0, fragment)], ["fault", "input"]);
        let delayed = |reply_us| {
            let flow = Flow { reply_us, starved_us: 300_000, active_us: 300_000, ..Flow::default() };
            LocalLimit::of(&Stage { flow, ..Stage::default() }).label()
        };
        assert_eq!([delayed(200_000), delayed(300_000)], ["input", "fault"]);
    }
}
