//! Rows of a transfer's waterfall: plain data, computed by `crate::waterfall`.

use serde::{Deserialize, Serialize};

use crate::units::whole_us;

/// One bar of the waterfall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WaterfallRow {
    /// The stage: a hop from 1, or 0 for this program.
    pub stage: usize,
    /// The step.
    pub step: Step,
    /// Start, in ms since the start of the transfer.
    #[serde(serialize_with = "whole_us")]
    pub offset_ms: f64,
    /// Duration, in ms.
    #[serde(serialize_with = "whole_us")]
    pub length_ms: f64,
    /// The part of the duration that is in no other row, in ms: for a wait, the way to the next hop and back, and that
    /// hop's work other than resolving, connecting and waiting.
    #[serde(serialize_with = "whole_us")]
    pub own_ms: f64,
}

/// Step of a transfer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Resolving the next hop's name.
    #[default]
    Resolve,
    /// Connecting to it.
    Connect,
    /// From the request sent to the reply head: includes everything further upstream.
    Wait,
    /// From there to the first byte of the body.
    FirstByte,
    /// From there to the last byte of the body.
    LastByte,
}

impl WaterfallRow {
    /// Returns its end, in ms since the start of the transfer.
    pub fn end_ms(&self) -> f64 {
        self.offset_ms + self.length_ms
    }
}

impl Step {
    /// Returns the label for a table cell.
    pub fn label(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Wait => "wait",
            Self::FirstByte => "first byte",
            Self::LastByte => "last byte",
        }
    }
}
