//! What only the audit records: requests that were refused before they were counted, and parts of those that were not.

use super::record::Outcome;
use super::{ConnGuard, FileRequestGuard};
use crate::audit::{AuditEntry, AuditId, AuditName};
use crate::text::SafeText;
use crate::wire::{Problem, Reason, Request, TransferId, TunnelRequest};

/// Name of a file in reports, if its request was encrypted.
const ENCRYPTED_NAME: &str = "(encrypted)";

impl ConnGuard {
    /// Writes the audit line of a request that is refused before it is counted.
    pub fn audit_refused(&self, request: &Request, key: Option<&SafeText>, problem: &Problem) {
        let name = || (request.name.shown_whole(), request.query.is_some());
        self.audit_uncounted(request.transfer, request.method.as_str(), name, key, problem);
    }

    /// Writes the audit line of a tunnel that was refused before it was counted.
    pub fn audit_refused_tunnel(&self, request: &TunnelRequest, key: Option<&SafeText>, problem: &Problem) {
        let name = || (request.target.text().into(), false);
        self.audit_uncounted(request.transfer, "CONNECT", name, key, problem);
    }

    /// The same with the name, and whether that had a query.
    fn audit_uncounted(
        &self,
        transfer: Option<TransferId>,
        method: &str,
        name: impl FnOnce() -> (SafeText, bool),
        key: Option<&SafeText>,
        problem: &Problem,
    ) {
        let audit = self.registry.audit();
        let Some(entry) = audit.entry(self.peer()) else { return };
        let (name, has_query) = name();
        audit.write(&AuditEntry {
            key,
            transfer: transfer.map(AuditId),
            method: Some(method),
            name: Some(AuditName { name: &name, has_query }),
            status: Some(problem.status()),
            ..entry.failed(problem.into(), None)
        });
    }

    /// Writes the audit line of a request that could not be read, with the status of the reply if there was one.
    pub fn audit_unread(&self, reason: Reason, status: Option<u16>) {
        self.registry.audit().refused_connection(self.peer(), reason, status);
    }
}

impl FileRequestGuard<'_> {
    /// Records that the request has a query, which may contain a secret: names appear in logs and reports.
    pub fn hide_query(&self) {
        self.update(|record| {
            record.name = format!("{}?…", record.name).into();
            record.has_query = true;
        });
    }

    /// Records that the request is encrypted: its name is in no report that is read in clear text, and only in the
    /// audit among the logs.
    pub fn hide_name(&self) {
        self.update(|record| {
            let name = std::mem::replace(&mut record.name, ENCRYPTED_NAME.into());
            record.hidden_name = Some(Box::new(name));
        });
    }

    /// Records the name of the key that signed the request.
    pub fn signed_by(&self, key: &SafeText) {
        self.update(|record| record.key = Some(Box::new(key.clone())));
    }

    /// Records that more of the request arrived.
    pub fn superseded(&self) {
        self.update(|record| record.outcome = Outcome::Superseded);
    }
}
