//! The audit of a node: makes the lines and passes them to a writer that never waits.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;

use crate::audit::{AuditEntry, Failure};
use crate::wire::Reason;

/// Writer of audit lines; it never blocks.
pub trait AuditWriter: Debug + Send + Sync {
    /// Queues a line.
    fn write(&self, line: &[u8]);
    /// Queues a line about a client without a request; there is any number of these, so a few are written per second,
    /// and the others are counted.
    fn write_limited(&self, line: &[u8]);
}

/// The audit of one node; without a writer there is none.
#[derive(Clone, Debug, Default)]
pub struct Audit(Option<(SocketAddr, Arc<dyn AuditWriter>)>);

impl Audit {
    /// Creates the audit of the node at an address.
    pub fn new(node: SocketAddr, writer: Option<Arc<dyn AuditWriter>>) -> Self {
        Self(writer.map(|writer| (node, writer)))
    }

    /// Returns whether lines are written.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Returns the beginning of an entry about a client; `None` if there is no audit.
    pub(in crate::net) fn entry(&self, peer: SocketAddr) -> Option<AuditEntry<'static>> {
        let (node, _) = self.0.as_ref()?;
        Some(AuditEntry::new(Timestamp::now(), *node, peer))
    }

    /// Writes the line of an entry.
    pub(in crate::net) fn write(&self, entry: &AuditEntry<'_>) {
        if let Some((_, writer)) = &self.0 {
            writer.write(&entry.to_line());
        }
    }

    /// Writes the line of a connection that was refused before a request was read from it, with the status of the reply
    /// if there was one.
    pub(in crate::net) fn refused_connection(&self, peer: SocketAddr, reason: Reason, status: Option<u16>) {
        if let (Some(entry), Some((_, writer))) = (self.entry(peer), &self.0) {
            let failure = Failure { reason, hop: 0, is_refusal: true };
            writer.write_limited(&AuditEntry { status, ..entry.failed(failure, None) }.to_line());
        }
    }
}
