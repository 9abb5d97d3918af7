//! Why a key has no effect now, for the notice in the footer.

use std::fmt;

use crate::snapshot::{HopLink, HopSnapshot, Phase, TransferSnapshot};
use crate::ui::focus::{Panel, Set};

/// Why the condition of a binding does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The program is shutting down.
    ShuttingDown,
    /// There are no hops.
    NoHops,
    /// There is no transfer, or the filter hides all of them.
    NoTransfer,
    /// No transfer runs.
    NoneRunning,
    /// The phase of the transfer does not allow the action.
    WrongPhase {
        /// Its number.
        number: u64,
        /// Its phase.
        phase: Phase,
        /// Which transfers the action is for.
        only: &'static str,
    },
    /// The transfer has no rate limit.
    NoLimit(u64),
    /// The transfer is at that end of the queue.
    QueueEnd(u64),
    /// There is no connection, or the filter hides all of them.
    NoConnection,
    /// The node of this hop is not running.
    NotRunning(usize),
    /// The node of this hop is running.
    Running(usize),
    /// The node of this hop is being started.
    Starting(usize),
    /// The hop has not reported yet.
    Unreported(usize),
    /// The hop sends no reports, so it cannot be controlled either.
    NoReports(usize),
    /// The node of this hop is draining.
    Draining(usize),
    /// This program did not start the node of this hop.
    NotStartedHere(usize),
    /// The hop is not watched.
    NotWatched(usize),
    /// The selected fault is at its neutral value.
    FaultOff,
    /// No node was started by this program.
    NoOwnNodes,
    /// The row has no details, or they are shown already.
    NoDetail,
    /// No detail, zoom or filter is open.
    NothingOpen,
    /// The list has at most one row.
    OneRow,
    /// The connections are not sorted.
    NotSorted,
    /// The log has no filter, or no other line matches it.
    NoMatch,
    /// The tab has a single panel.
    OnePanel,
    /// No further hop reports the transfer.
    NoStage,
    /// Only panels of the first tab can be zoomed.
    NoZoom,
    /// The time span of the chart ends here.
    LastSpan,
    /// The row has no text for the clipboard.
    NothingToCopy,
    /// Nothing is typed before the cursor.
    NothingTyped,
    /// The list has no entries.
    NoEntries,
    /// The chain is not that of the demo.
    NoTour,
    /// The demo's tour is not running, and its summary is closed.
    TourStopped,
    /// The key acts only while one of these panels has the focus.
    OtherPanel(Set),
}

impl Refusal {
    pub(super) fn of_phase(transfer: &TransferSnapshot, only: &'static str) -> Self {
        Self::WrongPhase { number: transfer.number, phase: transfer.phase, only }
    }

    /// Returns why a hop without a reporting node cannot be controlled.
    pub(super) fn of_silent(hop: &HopSnapshot) -> Self {
        match hop.link {
            HopLink::Down { .. } => Self::NotRunning(hop.number),
            HopLink::Starting => Self::Starting(hop.number),
            HopLink::Legacy | HopLink::Foreign => Self::NoReports(hop.number),
            HopLink::Detached => Self::NotWatched(hop.number),
            HopLink::Unknown | HopLink::Spawned { .. } | HopLink::Attached => Self::Unreported(hop.number),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ShuttingDown => f.write_str("shutting down"),
            Self::NoHops => f.write_str("the chain has no hops"),
            Self::NoTransfer => f.write_str("no transfer is selected"),
            Self::NoneRunning => f.write_str("no transfer is running"),
            Self::WrongPhase { number, phase, only } => {
                write!(f, "#{number} is {}, only {only}", phase.label())
            }
            Self::NoLimit(number) => write!(f, "#{number} has no rate limit"),
            Self::QueueEnd(number) => write!(f, "#{number} is at that end of the queue"),
            Self::NoConnection => f.write_str("no connection is selected"),
            Self::NotRunning(hop) => write!(f, "hop {hop} is not running"),
            Self::Running(hop) => write!(f, "hop {hop} is already running"),
            Self::Starting(hop) => write!(f, "hop {hop} is starting"),
            Self::Unreported(hop) => write!(f, "hop {hop} has not reported yet"),
            Self::NoReports(hop) => write!(f, "hop {hop} sends no reports"),
            Self::Draining(hop) => write!(f, "hop {hop} is already draining"),
            Self::NotStartedHere(hop) => write!(f, "hop {hop} was not started by this program"),
            Self::NotWatched(hop) => write!(f, "hop {hop} is not watched"),
            Self::FaultOff => f.write_str("already off"),
            Self::NoOwnNodes => f.write_str("no node was started by this program"),
            Self::NoDetail => f.write_str("no further details"),
            Self::NothingOpen => f.write_str("nothing to close"),
            Self::OneRow => f.write_str("no other row"),
            Self::NotSorted => f.write_str("the rows are not sorted, s sorts"),
            Self::NoMatch => f.write_str("no match: / sets a filter"),
            Self::OnePanel => f.write_str("this tab has one panel"),
            Self::NoStage => f.write_str("no further hop reports this transfer"),
            Self::NoZoom => f.write_str("only panels of tab 1 can be zoomed"),
            Self::LastSpan => f.write_str("no other time span"),
            Self::NothingToCopy => f.write_str("nothing to copy"),
            Self::NothingTyped => f.write_str("nothing to delete"),
            Self::NoEntries => f.write_str("nothing matches"),
            Self::NoTour => f.write_str("only the demo without limits has a tour"),
            Self::TourStopped => f.write_str("the tour is not running"),
            Self::OtherPanel(panels) => {
                let names = Panel::ALL.into_iter().filter(|panel| panel.bit() & panels != 0).map(Panel::name);
                write!(f, "only in {}", names.collect::<Vec<_>>().join(", "))
            }
        }
    }
}
