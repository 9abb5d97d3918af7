//! A reserved connection: let in although there is no room, to be answered if it asks for an endpoint, and told so if
//! not.

use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::downstream::{Downstream, problem_message};
use crate::limits::{RESERVED_HEAD, RESERVED_WHOLE};
use crate::net::admin;
use crate::net::node::Node;
use crate::net::node::registry::ConnGuard;
use crate::net::os::deadline::within;
use crate::snapshot::ConnState;
use crate::wire::http::{RequestKind, is_http, parse_request};
use crate::wire::{FailedAction, Method, Problem, Reason, legacy};

/// What the first words on a reserved connection are.
enum ReservedUse {
    Endpoint,
    Other,
    Legacy,
    Nothing,
}

/// Serves one reserved connection to its end.
pub(in crate::net) async fn run(node: Arc<Node>, stream: TcpStream, conn: ConnGuard) {
    let mut down = Downstream::new(stream, node.config.limits);
    let first = tokio::select! {
        biased;
        first = within(RESERVED_HEAD, first(&mut down)) => first.unwrap_or(ReservedUse::Other),
        // A newer one needs the place.
        _ = conn.closing() => ReservedUse::Other,
    };
    let problem = Problem::here(Reason::Busy, FailedAction::Request, node.address, "");
    let refusal = match first {
        ReservedUse::Nothing => return,
        ReservedUse::Endpoint => {
            conn.set_state(ConnState::Admin);
            let stranger = node.admits(&down.stream, conn.peer()).err();
            let Downstream { stream, inbox, .. } = down;
            let reader = admin::Requester { address: conn.peer(), stranger };
            // Whoever takes longer has to ask again: these few are for those who ask now.
            let _ = timeout(RESERVED_WHOLE, admin::serve(&node, stream, inbox, reader)).await;
            return;
        }
        ReservedUse::Other => problem_message(&problem, Method::Get, false),
        ReservedUse::Legacy => legacy::encode_problem(&problem),
    };
    node.registry.refuse();
    conn.set_state(ConnState::Lingering);
    if down.write(&refusal).await.is_ok() {
        down.close().await;
    }
}

/// Reads until it is known what is asked for.
async fn first(down: &mut Downstream) -> ReservedUse {
    loop {
        if let Some(end) = down.inbox.iter().position(|byte| *byte == b'\n') {
            if !is_http(&down.inbox[..end]) {
                return ReservedUse::Legacy;
            }
            match parse_request(&down.inbox) {
                Ok(Some((RequestKind::Endpoint, _))) => return ReservedUse::Endpoint,
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
