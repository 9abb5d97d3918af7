//! Replies of the endpoints: problems, whole bodies and streams, with their common headers.

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, VARY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Response, StatusCode};

use super::html;
use crate::audit::Failure;
use crate::net::node::Node;
use crate::wire::{FailedAction, Problem, Reason, problem};

/// The body of an endpoint's reply, of any kind.
pub(super) type EndpointBody = UnsyncBoxBody<Bytes, EndpointBodyError>;
/// Error that ends a body early; the library only needs to know that there was one.
pub(super) type EndpointBodyError = Box<dyn std::error::Error + Send + Sync>;

pub(super) fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Encodes a failure of this node itself.
pub(super) fn here(node: &Node, reason: Reason, detail: &str) -> Response<EndpointBody> {
    from_problem(&Problem::here(reason, FailedAction::Request, node.address, detail))
}

/// Encodes a failure as a reply.
pub(super) fn from_problem(problem: &Problem) -> Response<EndpointBody> {
    let status = StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut reply = page(status, problem::MEDIA_TYPE, problem.to_json());
    // For the audit line.
    reply.extensions_mut().insert(Failure::from(problem));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        reply.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status == StatusCode::UNAUTHORIZED {
        reply.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    reply
}

/// Encodes a refusal by HTTP's rules rather than the chain's, so it has no hop.
pub(super) fn wrong_method(allow: &'static str, detail: &str) -> Response<EndpointBody> {
    let body = format!(r#"{{"type":"about:blank","title":"Method Not Allowed","status":405,"detail":"{detail}"}}"#);
    let mut reply = page(StatusCode::METHOD_NOT_ALLOWED, problem::MEDIA_TYPE, body);
    reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    reply.extensions_mut().insert(Failure { reason: Reason::Method, hop: 0, is_refusal: true });
    reply
}

/// Creates a reply with a complete body.
pub(super) fn page(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<EndpointBody> {
    stream_page(status, kind, Full::new(body.into()).map_err(|never| match never {}))
}

/// Creates a reply with a streamed body.
pub(super) fn stream_page<B>(status: StatusCode, kind: &'static str, body: B) -> Response<EndpointBody>
where
    B: Body<Data = Bytes, Error = EndpointBodyError> + Send + 'static,
{
    let mut reply = Response::new(body.boxed_unsync());
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    set_common_headers(reply.headers_mut());
    reply
}

/// Sets the headers of every reply, also of relayed ones: it is valid for the moment only, its content must never be
/// executed, and it depends on the route.
pub(super) fn set_common_headers(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(html::POLICY));
    headers.insert(VARY, HeaderValue::from_static("Chain-Route"));
}
