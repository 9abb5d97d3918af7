//! Audit lines of requests for endpoints: of those that change the node, and of those that it refuses.

use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use tokio::time::Instant;

use super::control::ControlRequest;
use super::reply::{EndpointBody, reads};
use crate::audit::{AuditEntry, AuditName, Ended, Failure};
use crate::net::node::Node;
use crate::text::SafeText;

/// What the audit line of a request has, taken from its head.
pub(super) struct Audited {
    method: Method,
    path: SafeText,
    has_query: bool,
    is_control: bool,
    began: Instant,
}

impl Audited {
    /// Copies from a head what the line of its request needs; `None` if there is no audit.
    pub(super) fn of(node: &Node, request: &Request<Incoming>) -> Option<Self> {
        let (method, uri) = (request.method(), request.uri());
        node.registry.audit().is_on().then(|| Self {
            method: method.clone(),
            path: SafeText::whole_name(uri.path().as_bytes()),
            has_query: uri.query().is_some(),
            is_control: !reads(method) && ControlRequest::find(uri.path()).is_some(),
            began: Instant::now(),
        })
    }

    /// Writes the line of a request with this reply; most endpoints only read, and have none.
    pub(super) fn write(
        self,
        node: &Node,
        (peer, key): (SocketAddr, Option<&SafeText>),
        reply: &Response<EndpointBody>,
    ) {
        let failure = reply.extensions().get::<Failure>().copied();
        if !self.is_control && !failure.is_some_and(|failure| failure.is_refusal) {
            return;
        }
        let audit = node.registry.audit();
        let Some(entry) = audit.entry(peer) else { return };
        let entry = match failure {
            Some(failure) => entry.failed(failure, None),
            None => AuditEntry { ended: Ended::Complete, ..entry },
        };
        audit.write(&AuditEntry {
            key,
            method: Some(self.method.as_str()),
            name: Some(AuditName { name: &self.path, has_query: self.has_query }),
            status: Some(reply.status().as_u16()),
            duration: self.began.elapsed(),
            ..entry
        });
    }
}
