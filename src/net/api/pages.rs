//! The pages themselves: which there are, who may read them, what they say.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::events::{Events, interval};
use super::{PageBody, here, page, reads, stream_page};
use crate::net::ask::CHAIN_HOPS;
use crate::net::metrics;
use crate::net::node::Node;
use crate::snapshot::ConnSnapshot;
use crate::wire::{Reason, TransferId, problem};

const JSON: &str = "application/json";

/// The pages there are.
enum Page {
    Health,
    Metrics,
    Node,
    Events,
    Connections,
    Transfer(TransferId),
}

/// The body of `/v1/connections`.
#[derive(Serialize)]
struct Connections {
    connections: Vec<ConnSnapshot>,
    more: u64,
}

/// Answers a request for one of this node's own pages.
pub(super) fn answer<B>(node: &Arc<Node>, request: &Request<B>, peer: SocketAddr) -> Response<PageBody> {
    let path = request.uri().path();
    let Some(wanted) = Page::find(path) else {
        return here(node, Reason::NotFound, &format!("there is no page {path}"));
    };
    if !reads(request.method()) {
        return wrong_method();
    }
    if !wanted.is_free() && !node.config.access.may_read(peer, request.headers()) {
        return here(node, Reason::Unauthorized, "reading needs the node's read token");
    }
    let mut reply = show(node, &wanted, request);
    // Relays count themselves on top, so that the reader knows whose page it got.
    reply.headers_mut().insert(CHAIN_HOPS, HeaderValue::from_static("0"));
    reply
}

impl Page {
    fn find(path: &str) -> Option<Self> {
        match path {
            "/healthz" => Some(Self::Health),
            "/metrics" => Some(Self::Metrics),
            "/v1/node" => Some(Self::Node),
            "/v1/events" => Some(Self::Events),
            "/v1/connections" => Some(Self::Connections),
            _ => path.strip_prefix("/v1/transfers/")?.parse().ok().map(Self::Transfer),
        }
    }

    /// Needs no token: a transfer's id is the right to read about it, and health is for whoever checks it.
    fn is_free(&self) -> bool {
        matches!(self, Self::Health | Self::Transfer(_))
    }
}

fn show<B>(node: &Arc<Node>, wanted: &Page, request: &Request<B>) -> Response<PageBody> {
    match wanted {
        Page::Health if node.draining() => page(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "draining\n"),
        Page::Health => page(StatusCode::OK, "text/plain", "ok\n"),
        Page::Metrics => match metrics::render(node) {
            Ok(text) => page(StatusCode::OK, metrics::MEDIA_TYPE, text),
            Err(error) => here(node, Reason::Internal, &error.to_string()),
        },
        Page::Node => {
            // Who the node is and how much it does; the list has a page of its own.
            let mut snapshot = node.snapshot();
            snapshot.more += snapshot.connections.len() as u64;
            snapshot.connections.clear();
            json(node, &snapshot)
        }
        Page::Connections => {
            let snapshot = node.snapshot();
            json(node, &Connections { connections: snapshot.connections, more: snapshot.more })
        }
        Page::Transfer(id) => match node.registry.account(*id) {
            Some(account) => json(node, &account),
            None => here(node, Reason::NotFound, "this node knows of no such transfer, or no longer"),
        },
        Page::Events => match interval(request.uri().query()) {
            None => here(node, Reason::Malformed, "the interval is not a time: write interval=250ms"),
            Some(_) if request.method() == Method::HEAD => page(StatusCode::OK, "application/x-ndjson", ""),
            Some(every) => stream_page(StatusCode::OK, "application/x-ndjson", Events::new(Arc::clone(node), every)),
        },
    }
}

fn json(node: &Node, value: &impl Serialize) -> Response<PageBody> {
    match serde_json::to_vec(value) {
        Ok(body) => page(StatusCode::OK, JSON, body),
        Err(error) => here(node, Reason::Internal, &error.to_string()),
    }
}

/// A refusal that is HTTP's own and not one of a chain, so it has no hop.
fn wrong_method() -> Response<PageBody> {
    let body = r#"{"type":"about:blank","title":"Method Not Allowed","status":405,"detail":"pages are read with GET or HEAD"}"#;
    let mut reply = page(StatusCode::METHOD_NOT_ALLOWED, problem::MEDIA_TYPE, body);
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    reply
}
