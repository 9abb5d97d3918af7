//! Evidence of one hop over the evaluated time: its counters, its faults and the kernel's figures.

use crate::faults::Faults;
use crate::snapshot::verdict::FaultKind;
use crate::snapshot::{Flow, Load, TcpSnapshot, TransferRecord};

/// Largest piece, in bytes, whose overhead exceeds its content; larger fragments do not limit a transfer.
const SMALL_PIECE: u64 = 4096;

/// One hop's evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// The hop's number, from 1.
    pub number: usize,
    /// It sends reports; otherwise the other fields have no meaning.
    pub reports: bool,
    /// Counters of its bodies over that time.
    pub flow: Flow,
    /// Kernel figures of its sending sockets over that time, if known.
    pub tcp: Option<TcpSnapshot>,
    /// CPU time and delays over that time, if known.
    pub load: Option<Load>,
    /// Bytes received but not read, at its last report.
    pub unread: u64,
    /// Its faults and limits.
    pub faults: Faults,
    /// Rate limit of the key of the transfers, in bytes per second.
    pub key_rate: Option<u64>,
}

impl Stage {
    /// Returns the evidence of a whole transfer, from the hops' records, hop 1 first.
    pub fn of(records: &[Option<TransferRecord>]) -> Vec<Self> {
        let stage = |(at, record): (usize, &Option<TransferRecord>)| match record {
            None => Self { number: at + 1, ..Self::default() },
            Some(record) => Self {
                number: at + 1,
                reports: true,
                flow: record.flow,
                tcp: record.tcp,
                load: None,
                unread: record.queued_in,
                faults: record.faults,
                key_rate: record.key_rate,
            },
        };
        records.iter().enumerate().map(stage).collect()
    }

    /// Returns the fault that can limit a body, other than a rate limit.
    pub(super) fn active_fault(&self) -> Option<FaultKind> {
        match self.faults {
            Faults { stall: true, .. } => Some(FaultKind::Stall),
            Faults { fragment: Some(..=SMALL_PIECE), .. } => Some(FaultKind::Fragment),
            _ => None,
        }
    }
}
