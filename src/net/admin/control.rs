//! Control endpoints: need the control token or a key with the right, and a client without a proxy in between.

use std::sync::Arc;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, Response};
use serde_json::{Value, json};

use super::endpoints::json as json_page;
use super::reply::{EndpointBody, here, wrong_method};
use crate::faults::parse_changes;
use crate::keys::content_digest;
use crate::net::access::{Caller, is_proxied};
use crate::net::http_client::CONTENT_DIGEST;
use crate::net::node::Node;
use crate::net::os::deadline::within;
use crate::wire::Reason;
use crate::wire::http::MAX_REQUEST_BODY;

/// A control request.
pub(super) enum ControlRequest {
    Faults,
    Close(u64),
    Drain,
    Stop,
}

impl ControlRequest {
    /// Returns the control request of a path.
    pub(super) fn find(path: &str) -> Option<Self> {
        match path {
            "/v1/faults" => Some(Self::Faults),
            "/v1/drain" => Some(Self::Drain),
            "/v1/stop" => Some(Self::Stop),
            _ => {
                let id = path.strip_prefix("/v1/connections/")?.strip_suffix("/close")?;
                id.bytes().all(|digit| digit.is_ascii_digit()).then(|| id.parse().ok().map(Self::Close))?
            }
        }
    }
}

/// Serves a control request; authorized before its body is read.
pub(super) async fn serve(
    node: &Arc<Node>,
    control: &ControlRequest,
    request: Request<Incoming>,
    caller: &Caller,
) -> Response<EndpointBody> {
    if request.method() != Method::POST {
        return wrong_method("POST", "control is a POST");
    }
    let access = &node.config.access;
    if is_proxied(request.headers()) {
        return here(node, Reason::Policy, "control is never relayed: send it to the node itself");
    }
    if access.control.is_none() && access.keys.is_none() {
        return here(node, Reason::Policy, "control is off: start the node with --control-token-file");
    }
    let by_token = access.may_control(request.headers());
    if !by_token && !caller.controls() {
        let detail = "control needs the node's control token, or a key with the right control";
        return here(node, Reason::Unauthorized, detail);
    }
    let (head, body) = request.into_parts();
    let body = Limited::new(body, MAX_REQUEST_BODY as usize).collect();
    let body = match within(node.config.limits.head, body).await {
        Err(_) => return here(node, Reason::HeadTimeout, "the body did not arrive in time"),
        Ok(Err(_)) => return here(node, Reason::Malformed, "the body is too long, or was cut off"),
        Ok(Ok(body)) => body.to_bytes(),
    };
    // A signature covers the digest of the body.
    let is_digest = |digest: &HeaderValue| digest.as_bytes() == content_digest(&body).as_bytes();
    if !by_token && !body.is_empty() && !head.headers.get(CONTENT_DIGEST).is_some_and(is_digest) {
        return here(node, Reason::BadSignature, "Content-Digest is not the SHA-256 of the body");
    }
    match execute(node, control, &body) {
        Ok(outcome) => json_page(node, &outcome),
        Err((reason, detail)) => here(node, reason, &detail),
    }
}

/// Executes a control request, completely or not at all.
fn execute(node: &Arc<Node>, control: &ControlRequest, body: &[u8]) -> Result<Value, (Reason, String)> {
    if !matches!(control, ControlRequest::Faults) && !matches!(body.trim_ascii(), b"" | b"{}") {
        return Err((Reason::Malformed, "this takes no body".to_owned()));
    }
    match control {
        ControlRequest::Faults => set_faults(node, body),
        ControlRequest::Close(id) if node.registry.close(*id) => {
            tracing::info!("{}: connection {id} closed by a control request", node.address);
            Ok(json!({ "closed": id }))
        }
        ControlRequest::Close(id) => Err((Reason::NotFound, format!("there is no connection {id}"))),
        ControlRequest::Drain => {
            tracing::info!("{}: draining, by a control request", node.address);
            node.drain().stop_accepting();
            Ok(json!({ "draining": true }))
        }
        ControlRequest::Stop => {
            tracing::info!("{}: shutting down, by a control request", node.address);
            node.drain().begin();
            Ok(json!({ "exiting": true }))
        }
    }
}

/// Sets faults; returns the resulting ones.
fn set_faults(node: &Node, body: &[u8]) -> Result<Value, (Reason, String)> {
    let changes = parse_changes(body).map_err(|why| (Reason::Malformed, why))?;
    if changes.iter().any(|change| change.is_disruptive()) && !node.config.access.allow_faults {
        return Err((Reason::Policy, "faults are off: start the node with --allow-faults".to_owned()));
    }
    let faults = node.faults.apply(&changes);
    let changed: Vec<String> = changes.iter().map(ToString::to_string).collect();
    tracing::info!("{}: faults set by a control request: {}", node.address, changed.join(", "));
    Ok(json!(faults))
}
