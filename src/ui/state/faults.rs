//! The faults of a hop as the list shows them: name, value, and what a typed value means.

use crate::faults::FaultChange;
use crate::snapshot::NodeSnapshot;
use crate::units::{Bytes, Rate, parse_bytes, parse_time};

/// How a change that is not turned reads.
pub(super) const OFF: &str = "off";

/// One change as the panel shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    /// The cap.
    Limit,
    /// The delay of each reply.
    Delay,
    /// How much the delay varies.
    Jitter,
    /// No more body bytes.
    Stall,
    /// Odd pieces.
    Fragment,
    /// Bodies that break off.
    Truncate,
    /// No files.
    Reject,
}

/// All faults, in the order of the panel.
pub const FAULTS: [Knob; 7] =
    [Knob::Limit, Knob::Delay, Knob::Jitter, Knob::Stall, Knob::Fragment, Knob::Truncate, Knob::Reject];

impl Knob {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Delay => "delay",
            Self::Jitter => "jitter",
            Self::Stall => "stall",
            Self::Fragment => "fragment",
            Self::Truncate => "truncate",
            Self::Reject => "reject",
        }
    }

    /// What it does, in words.
    pub fn help(self) -> &'static str {
        match self {
            Self::Limit => "bytes per second toward the client, such as 400K",
            Self::Delay => "hold each reply back, such as 250ms",
            Self::Jitter => "let the delay vary by up to this much",
            Self::Stall => "send no more body bytes, close nothing",
            Self::Fragment => "send bodies in odd pieces of at most so many bytes",
            Self::Truncate => "break each body off after so many bytes",
            Self::Reject => "refuse every request for a file",
        }
    }

    /// The value a node reports.
    pub fn value(self, node: &NodeSnapshot) -> String {
        let faults = &node.faults;
        let ms = |ms: u64| if ms == 0 { OFF.to_owned() } else { format!("{ms}ms") };
        let on = |on: bool| if on { "on".to_owned() } else { OFF.to_owned() };
        let bytes = |n: Option<u64>| n.map_or_else(|| OFF.to_owned(), |n| Bytes(n).to_string());
        match self {
            Self::Limit => faults.limit.map_or_else(|| OFF.to_owned(), |rate| Rate(rate).to_string()),
            Self::Delay => ms(faults.delay_ms),
            Self::Jitter => ms(faults.jitter_ms),
            Self::Stall => on(faults.stall),
            Self::Fragment => bytes(faults.fragment),
            Self::Truncate => bytes(faults.truncate),
            Self::Reject => on(faults.reject),
        }
    }

    /// The node reports anything but off.
    pub fn is_turned(self, node: &NodeSnapshot) -> bool {
        let mut faults = node.faults;
        faults.set(self.off());
        faults != node.faults
    }

    /// The turn of a change that is on or off; `None` for one that needs a value.
    pub fn toggled(self, node: &NodeSnapshot) -> Option<FaultChange> {
        match self {
            Self::Stall => Some(FaultChange::Stall(!node.faults.stall)),
            Self::Reject => Some(FaultChange::Reject(!node.faults.reject)),
            _ => None,
        }
    }

    /// The turn back to nothing.
    pub fn off(self) -> FaultChange {
        match self {
            Self::Limit => FaultChange::Limit(None),
            Self::Delay => FaultChange::Delay(0),
            Self::Jitter => FaultChange::Jitter(0),
            Self::Stall => FaultChange::Stall(false),
            Self::Fragment => FaultChange::Fragment(None),
            Self::Truncate => FaultChange::Truncate(None),
            Self::Reject => FaultChange::Reject(false),
        }
    }

    /// Reads a typed value.
    pub(super) fn parse(self, text: &str) -> Result<FaultChange, String> {
        if is_none(text) {
            return Ok(self.off());
        }
        let ms = |text| parse_time(text).map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        match self {
            Self::Limit => parse_bytes(text).map(|rate| FaultChange::Limit(Some(rate))),
            Self::Delay => ms(text).map(FaultChange::Delay),
            Self::Jitter => ms(text).map(FaultChange::Jitter),
            Self::Fragment => parse_bytes(text).map(|most| FaultChange::Fragment(Some(most))),
            Self::Truncate => parse_bytes(text).map(|at| FaultChange::Truncate(Some(at))),
            Self::Stall | Self::Reject => Err("it is on or off".to_owned()),
        }
    }
}

/// A word for no value.
pub(super) fn is_none(text: &str) -> bool {
    matches!(text, "" | "0" | "none" | OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_set_by_its_value_and_not_by_its_display() {
        let mut node = NodeSnapshot::default();
        assert!(FAULTS.iter().all(|change| !change.is_turned(&node)));
        node.faults.set(FaultChange::Delay(250));
        node.faults.set(FaultChange::Truncate(Some(0)));
        let turned: Vec<_> = FAULTS.into_iter().filter(|change| change.is_turned(&node)).collect();
        assert!(matches!(turned[..], [Knob::Delay, Knob::Truncate]), "{turned:?}");
    }
}
