//! Faults of a hop as the list shows them: name, help, value, and parsing of typed values.

use crate::faults::FaultChange;
use crate::snapshot::NodeSnapshot;
use crate::units::{Bytes, Rate, parse_bytes, parse_time};

/// Display of a fault that is not set.
pub(super) const OFF: &str = "off";

/// One fault as the list shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultField {
    /// Rate limit.
    Limit,
    /// Delay of each reply.
    Delay,
    /// Variation of the delay.
    Jitter,
    /// Stalled bodies.
    Stall,
    /// Bodies in small pieces.
    Fragment,
    /// Truncated bodies.
    Truncate,
    /// Rejected requests.
    Reject,
}

/// All faults, in the order of the list.
pub const FAULTS: [FaultField; 7] = [
    FaultField::Limit,
    FaultField::Delay,
    FaultField::Jitter,
    FaultField::Stall,
    FaultField::Fragment,
    FaultField::Truncate,
    FaultField::Reject,
];

impl FaultField {
    /// Returns its name.
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

    /// Returns its description.
    pub fn help(self) -> &'static str {
        match self {
            Self::Limit => "bytes per second toward the client, such as 400K",
            Self::Delay => "delay each reply, such as 250ms",
            Self::Jitter => "vary the delay by up to this much",
            Self::Stall => "stop sending body bytes, keep connections open",
            Self::Fragment => "send bodies in pieces of at most this many bytes",
            Self::Truncate => "truncate each body after this many bytes",
            Self::Reject => "reject every request for a file",
        }
    }

    /// Returns the value that a node reports.
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

    /// Returns whether the node reports it as set.
    pub fn is_set(self, node: &NodeSnapshot) -> bool {
        let mut faults = node.faults;
        faults.set(self.off());
        faults != node.faults
    }

    /// Returns the change that toggles a fault; `None` for one that needs a value.
    pub fn toggle(self, node: &NodeSnapshot) -> Option<FaultChange> {
        match self {
            Self::Stall => Some(FaultChange::Stall(!node.faults.stall)),
            Self::Reject => Some(FaultChange::Reject(!node.faults.reject)),
            _ => None,
        }
    }

    /// Returns the change that turns it off.
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

    /// Parses a typed value.
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

/// Returns whether the text means no value.
pub(super) fn is_none(text: &str) -> bool {
    matches!(text, "" | "0" | "none" | OFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_set_by_its_value_and_not_by_its_display() {
        let mut node = NodeSnapshot::default();
        assert!(FAULTS.iter().all(|fault| !fault.is_set(&node)));
        node.faults.set(FaultChange::Delay(250));
        node.faults.set(FaultChange::Truncate(Some(0)));
        let set: Vec<_> = FAULTS.into_iter().filter(|fault| fault.is_set(&node)).collect();
        assert!(matches!(set[..], [FaultField::Delay, FaultField::Truncate]), "{set:?}");
    }
}
