//! The evidence of one hop: what it did, what it was told, and what the kernel says, during the time that is judged.

use crate::faults::Faults;
use crate::snapshot::verdict::FaultKind;
use crate::snapshot::{Flow, Load, TcpSnapshot, TransferRecord};

/// Pieces of at most so many bytes cost more than what is in them; a fragment in longer ones holds nobody up.
const SMALL_PIECE: u64 = 4096;

/// One hop's evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// The hop's number, from 1.
    pub number: usize,
    /// It sends reports; of a hop that does not, nothing else counts.
    pub seen: bool,
    /// What its bodies did, counted from the start of that time.
    pub flow: Flow,
    /// What the kernel says of its sending sockets over that time, where it says anything.
    pub tcp: Option<TcpSnapshot>,
    /// What it got of its machine over that time, where its system says.
    pub load: Option<Load>,
    /// Bytes that had arrived at it and waited to be read, when it said so last.
    pub unread: u64,
    /// What was turned on it, its cap among that.
    pub faults: Faults,
}

impl Stage {
    /// The evidence of a transfer's whole life, from what its hops say of it afterwards, hop 1 first.
    pub fn of(accounts: &[Option<TransferRecord>]) -> Vec<Self> {
        let stage = |(at, account): (usize, &Option<TransferRecord>)| match account {
            None => Self { number: at + 1, ..Self::default() },
            Some(account) => Self {
                number: at + 1,
                seen: true,
                flow: account.flow,
                tcp: account.tcp,
                load: None,
                unread: account.queued_in,
                faults: account.faults,
            },
        };
        accounts.iter().enumerate().map(stage).collect()
    }

    /// What of its faults can make a body slow, caps apart.
    pub(super) fn active_fault(&self) -> Option<FaultKind> {
        match self.faults {
            Faults { stall: true, .. } => Some(FaultKind::Stall),
            Faults { fragment: Some(..=SMALL_PIECE), .. } => Some(FaultKind::Fragment),
            _ => None,
        }
    }
}
