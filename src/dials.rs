//! What can be turned on a hop while it runs: caps, delays and faults, in the words of flags, pages and screens.

use serde::{Deserialize, Serialize};

/// How a node disturbs what it sends toward the client; the default is not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dials {
    /// Bytes per second it may send downstream, all connections together.
    pub limit: Option<u64>,
    /// The time it holds each reply back, in ms.
    pub delay_ms: u64,
    /// The most by which the delay varies at random, in ms.
    pub jitter_ms: u64,
    /// It sends no more body bytes, and closes nothing.
    pub stall: bool,
    /// It sends bodies in odd pieces of at most this many bytes.
    pub stammer: Option<u64>,
    /// It breaks each body off once this many of its bytes are out.
    pub cut: Option<u64>,
    /// It refuses every request for a file.
    pub refuse: bool,
}

/// One turn of one dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dial {
    /// The cap, in bytes per second; `None` lifts it.
    Limit(Option<u64>),
    /// The delay, in ms.
    Delay(u64),
    /// The jitter, in ms.
    Jitter(u64),
    /// Stall, or go on.
    Stall(bool),
    /// The largest piece; `None` ends the stammer.
    Stammer(Option<u64>),
    /// The byte at which bodies break off; `None` lets them be whole.
    Cut(Option<u64>),
    /// Refuse, or serve.
    Refuse(bool),
}

impl Dials {
    /// Turns one dial.
    pub fn turn(&mut self, dial: Dial) {
        match dial {
            Dial::Limit(rate) => self.limit = rate,
            Dial::Delay(ms) => self.delay_ms = ms,
            Dial::Jitter(ms) => self.jitter_ms = ms,
            Dial::Stall(on) => self.stall = on,
            Dial::Stammer(most) => self.stammer = most,
            Dial::Cut(at) => self.cut = at,
            Dial::Refuse(on) => self.refuse = on,
        }
    }

    /// Something is turned.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}
