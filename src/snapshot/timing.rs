//! The time that each stage spent on a transfer, as bars: plain data, computed by `crate::waterfall`.

use serde::{Deserialize, Serialize};

use crate::units::whole_us;

/// One bar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WaterfallRow {
    /// Who spent the time: a hop from 1, or 0 for this program.
    pub stage: usize,
    /// On what.
    pub step: Step,
    /// When it began, in ms since the transfer did.
    #[serde(serialize_with = "whole_us")]
    pub offset_ms: f64,
    /// How long it took, in ms.
    #[serde(serialize_with = "whole_us")]
    pub length_ms: f64,
    /// The part of it that is in no other row, in ms: for a wait, what the way to the next hop and back took, and what
    /// that hop did besides resolving, connecting and waiting itself.
    #[serde(serialize_with = "whole_us")]
    pub own_ms: f64,
}

/// What a row's time was spent on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Looking up the next hop's name.
    #[default]
    Resolve,
    /// Connecting to it.
    Connect,
    /// From the request sent to its answer, which says the size: all that lies further upstream is within.
    Wait,
    /// From there to the first byte of the body.
    FirstByte,
    /// From there to the last byte of the body.
    LastByte,
}

impl WaterfallRow {
    /// When it ended, in ms since the transfer began.
    pub fn end_ms(&self) -> f64 {
        self.offset_ms + self.length_ms
    }
}

impl Step {
    /// One word or two for a table cell.
    pub fn words(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Wait => "wait",
            Self::FirstByte => "first byte",
            Self::LastByte => "last byte",
        }
    }
}
