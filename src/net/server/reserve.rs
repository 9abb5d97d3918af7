//! Reserved connections: admitted although the node is full, served if they request an endpoint, else refused.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::downstream::{Downstream, problem_message};
use crate::limits::{RESERVED_HEAD, RESERVED_WHOLE};
use crate::net::access::{Caller, Denied};
use crate::net::admin;
use crate::net::node::Node;
use crate::net::node::registry::ConnGuard;
use crate::net::os::deadline::within;
use crate::snapshot::ConnState;
use crate::wire::http::{RequestKind, is_http, parse_request};
use crate::wire::{FailedAction, Method, Problem, Reason, legacy};

/// Kind of the first request on a reserved connection.
enum ReservedUse {
    Endpoint(Result<Caller, Box<Denied>>),
    Other,
    Legacy,
    Nothing,
}

/// Serves one reserved connection to its end.
pub(in crate::net) async fn run(node: Arc<Node>, stream: TcpStream, conn: ConnGuard) {
    let mut down = Downstream::new(stream, node.config.limits);
    let first = tokio::select! {
        biased;
        first = within(RESERVED_HEAD, first(&node, &mut down)) => first.unwrap_or(ReservedUse::Other),
        // A newer connection needs the slot.
        _ = conn.closing() => ReservedUse::Other,
    };
    let problem = Problem::here(Reason::Busy, FailedAction::Request, node.address, "");
    let refusal = match first {
        ReservedUse::Nothing => return,
        ReservedUse::Endpoint(caller) => {
            conn.set_state(ConnState::Admin);
            let denied = node.admits(&down.stream, conn.peer()).err();
            let Downstream { stream, inbox, .. } = down;
            let address = conn.peer();
            let reader = admin::Requester { address, denied, caller, encrypted: false, relayed: false, proxied: false };
            // Longer requests are cut off: the few reserved connections are for current requests.
            let _ = timeout(RESERVED_WHOLE, admin::serve(&node, stream, inbox, reader)).await;
            return;
        }
        ReservedUse::Other => problem_message(&problem, Method::Get, false),
        ReservedUse::Legacy => legacy::encode_problem(&problem),
    };
    node.registry.refuse();
    conn.audit_unread(Reason::Busy, Some(problem.status()));
    conn.set_state(ConnState::Lingering);
    if down.write(&refusal).await.is_ok() {
        down.close().await;
    }
}

/// Reads until the kind of the request is known.
async fn first(node: &Node, down: &mut Downstream) -> ReservedUse {
    loop {
        if let Some(end) = down.inbox.iter().position(|byte| *byte == b'\n') {
            if !is_http(&down.inbox[..end]) {
                return ReservedUse::Legacy;
            }
            match parse_request(&down.inbox) {
                Ok(Some((RequestKind::Endpoint, length))) => {
                    return ReservedUse::Endpoint(node.caller_of(&down.inbox[..length], &down.stream, down.tls_key));
                }
                Ok(Some(_)) | Err(_) => return ReservedUse::Other,
                Ok(None) => {}
            }
        } else if down.inbox.len() > crate::wire::http::MAX_HEAD {
            return ReservedUse::Legacy;
        }
        if !matches!(down.fill().await, Ok(read) if read > 0) {
            return ReservedUse::Nothing;
        }
    }
}
