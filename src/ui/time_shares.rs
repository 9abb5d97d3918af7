//! Shares of the time of a stage: waiting for input, waiting to send, waiting for its own rate limit, busy.

use super::columns::{MainWait, main_wait};
use super::theme::{StyleRole, Theme};

/// Shares of the time of a stage, 0 to 1; the rest is busy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct TimeShares {
    /// Waiting for input.
    pub starved: f64,
    /// Waiting to send.
    pub blocked: f64,
    /// Waiting for its own rate limit.
    pub limited: f64,
}

impl TimeShares {
    /// Returns the shares, if all are known.
    pub(crate) fn of(starved: Option<f64>, blocked: Option<f64>, limited: Option<f64>) -> Option<Self> {
        Some(Self { starved: starved?, blocked: blocked?, limited: limited? })
    }

    /// Returns the main wait.
    pub(crate) fn main(self) -> MainWait {
        main_wait(self.starved, self.blocked, self.limited, false)
    }

    /// Returns all four shares, which sum to 1: starved, blocked, limited, busy.
    pub(crate) fn all(self) -> [f64; 4] {
        let waits = [self.starved, self.blocked, self.limited].map(|share| share.clamp(0.0, 1.0));
        // The counters are not read atomically, so their sum can slightly exceed the whole.
        let sum = waits.iter().sum::<f64>();
        let [starved, blocked, limited] = waits.map(|share| share / sum.max(1.0));
        [starved, blocked, limited, (1.0 - sum).max(0.0)]
    }

    /// Returns how many of these columns each share has; together all of them.
    pub(crate) fn columns(self, columns: u16) -> [u16; 4] {
        let exact = self.all().map(|share| share * f64::from(columns));
        let mut whole = exact.map(|columns| columns.floor() as u16);
        // What is left goes to the largest remainders.
        for _ in whole.iter().sum::<u16>()..columns {
            let rest = |at: &usize| exact[*at] - f64::from(whole[*at]);
            if let Some(most) = (0..4).max_by(|one, other| rest(one).total_cmp(&rest(other))) {
                whole[most] += 1;
            }
        }
        whole
    }

    /// Returns the glyph and the style of each share, in the order of [`Self::all`], with its name.
    pub(crate) fn segments(theme: &Theme) -> [(&'static str, StyleRole, &'static str); 4] {
        let g = &theme.glyphs;
        [
            (g.starved, StyleRole::Dim, "starved"),
            (g.blocked, StyleRole::Flow, "blocked"),
            (g.limited, StyleRole::Warn, "limited"),
            (g.busy, StyleRole::Good, "busy"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_full_and_its_parts_have_their_shares() {
        let columns = |starved, blocked, limited, of| TimeShares { starved, blocked, limited }.columns(of);
        assert_eq!(columns(0.96, 0.02, 0.0, 12), [12, 0, 0, 0]);
        assert_eq!(columns(0.05, 0.06, 0.88, 12), [1, 1, 10, 0]);
        assert_eq!(columns(0.25, 0.25, 0.25, 8), [2, 2, 2, 2]);
        assert_eq!(columns(0.0, 0.0, 0.0, 4), [0, 0, 0, 4]);
        assert_eq!(columns(0.7, 0.7, 0.0, 10), [5, 5, 0, 0], "more than the whole");
        for of in 0..40 {
            assert_eq!(columns(0.31, 0.17, 0.29, of).iter().sum::<u16>(), of);
        }
    }
}
