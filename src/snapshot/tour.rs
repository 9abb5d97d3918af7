//! Snapshot of the demo's tour: the current act, or the summary.

use std::time::Duration;

use super::verdict::Verdict;
use crate::text::SafeText;

/// State of the tour.
#[derive(Clone, Debug, PartialEq)]
pub enum TourSnapshot {
    /// It can be started.
    Stopped,
    /// An act is running.
    Act(ActCaption),
    /// All acts are over, and how each of them went.
    Over(Vec<ActOutcome>),
}

/// Caption of the running act.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActCaption {
    /// Its number, from 1.
    pub number: usize,
    /// Number of acts.
    pub acts: usize,
    /// Title.
    pub title: &'static str,
    /// What happens: what the demo has done to the chain.
    pub text: String,
    /// What the user can do now; `{id}` is the key of that binding.
    pub hint: &'static str,
    /// Time left, in whole seconds.
    pub left: Duration,
    /// Time until the verdict named the cause, once it has.
    pub named: Option<Duration>,
}

/// Cause as the dashboard named it.
#[derive(Clone, Debug, PartialEq)]
pub enum NamedCause {
    /// By this verdict.
    Verdict(Verdict),
    /// By a hop that is down while a transfer waits to be retried.
    Interrupted {
        /// The hop.
        hop: usize,
        /// The error of the transfer.
        error: SafeText,
        /// The byte at which it resumed, once it is complete and verified.
        resumed_from: Option<u64>,
    },
}

/// Outcome of one act.
#[derive(Clone, Debug, PartialEq)]
pub struct ActOutcome {
    /// Title of the act.
    pub title: &'static str,
    /// How the dashboard named the cause, and after what time; `None` if it did not before the act ended.
    pub named: Option<(NamedCause, Duration)>,
    /// The user ended it early.
    pub skipped: bool,
}
