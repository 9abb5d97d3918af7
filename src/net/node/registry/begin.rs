//! Registers requests on their connection.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::conn::{FileRequest, Requested, lock};
use super::record::RequestRecord;
use super::{ConnGuard, FileRequestGuard};
use crate::meter::Meter;
use crate::route::{FileName, HostPort, Protocol};
use crate::snapshot::ConnRole;
use crate::text::SafeText;
use crate::wire::{Method, TransferId};

impl ConnGuard {
    /// Registers a file request on this connection.
    pub fn begin_job(
        &self,
        id: TransferId,
        method: Method,
        name: &FileName,
        protocol: Protocol,
    ) -> FileRequestGuard<'_> {
        let record = RequestRecord { name: name.shown(), ..RequestRecord::default() };
        self.begin(id, Requested::File(method), Meter::default(), record, || name.shown_whole(), protocol)
    }

    /// Registers a request for a tunnel to `target` on this connection. A direction that is silent for longer than
    /// this does not wait: nothing is in transfer.
    pub fn begin_tunnel(&self, id: TransferId, target: &HostPort, silent_after: Duration) -> FileRequestGuard<'_> {
        let name = SafeText::from(target.text());
        let record = RequestRecord { name: name.clone(), role: ConnRole::Tunnel, ..RequestRecord::default() };
        let meter = || Meter::of_tunnel(silent_after);
        self.begin(id, Requested::Tunnel(Box::new(meter())), meter(), record, || name, Protocol::Http)
    }

    fn begin(
        &self,
        id: TransferId,
        requested: Requested,
        meter: Meter,
        mut record: RequestRecord,
        whole_name: impl FnOnce() -> SafeText,
        protocol: Protocol,
    ) -> FileRequestGuard<'_> {
        record.whole_name = self.registry.audit.is_on().then(|| Box::new(whole_name()));
        let began_us = self.registry.clock.now_us();
        let job = Arc::new(FileRequest {
            id,
            requested,
            protocol,
            meter,
            record: Mutex::new(record),
            next: Mutex::default(),
            began_us,
            sockets: Mutex::default(),
        });
        lock(&self.conn.now).job = Some(Arc::clone(&job));
        self.registry.jobs.fetch_add(1, Relaxed);
        FileRequestGuard { conn: self, job }
    }
}
