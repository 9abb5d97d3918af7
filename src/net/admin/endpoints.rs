//! Endpoints that read the node's state: their paths, permissions and contents.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::body::{Body, Incoming};
use hyper::header::{ACCEPT, HeaderMap, HeaderValue, VARY};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::events::{EventStream, interval};
use super::html;
use super::metrics::{self, Format};
use super::reply::{EndpointBody, from_problem, here, page, reads, stream_page, wrong_method};
use crate::net::access::{Caller, NO_LISTING, NO_LISTING_TOKEN, bearer, is_foreign_proxied};
use crate::net::http_client::CHAIN_HOPS;
use crate::net::node::Node;
use crate::net::node::folder_work::FolderSlot;
use crate::net::node::root::OpenError;
use crate::net::upstream::connect::is_shortage;
use crate::route::{DEFAULT_BASE, FileName, WalkRange};
use crate::snapshot::{ConnSnapshot, Listing};
use crate::wire::http::{HeadError, Preference, decode_name, preference};
use crate::wire::tar::walk_range;
use crate::wire::{Algorithm, FailedAction, Problem, Reason, TransferId};

/// Path of the stream of events.
pub(super) const EVENTS: &str = "/v1/events";
/// Error detail when the limit of readers of events is reached, in total or per address.
pub(super) const TOO_MANY_READERS: &str = "too many readers of events";
/// Path of the health check, which needs no permission.
pub(super) const HEALTH: &str = "/healthz";
const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";
/// `Vary` of an endpoint with several forms.
pub(super) const ANY_FORM: HeaderValue = HeaderValue::from_static("Chain-Route, Accept");

/// The endpoints.
enum Endpoint {
    About,
    Health,
    Metrics,
    Node,
    Events,
    Connections,
    Transfer(TransferId),
    /// A folder's files; `None` is the root. Not under the path of the files themselves: its text is generated per
    /// request, without validator, range or digest, and its length is unknown until it is complete.
    Folder(Option<FileName>),
}

/// The body of `/v1/connections`.
#[derive(Serialize)]
struct Connections {
    connections: Vec<ConnSnapshot>,
    omitted: u64,
}

/// Serves a request for one of this node's own endpoints.
pub(super) async fn serve(
    node: &Arc<Node>,
    request: &Request<Incoming>,
    peer: SocketAddr,
    caller: &Caller,
) -> Response<EndpointBody> {
    let endpoint = match Endpoint::find(request.uri().path()) {
        Ok(endpoint) => endpoint,
        Err((reason, detail)) => return here(node, reason, &detail),
    };
    if !reads(request.method()) {
        return wrong_method("GET, HEAD", "endpoints are read with GET or HEAD");
    }
    let access = &node.config.access;
    if let Endpoint::Folder(folder) = &endpoint {
        if !access.may_list(is_foreign_proxied(request.headers())) {
            return here(node, Reason::Policy, NO_LISTING);
        }
        if let Err(denied) = caller.may_fetch(folder.as_ref().unwrap_or(&FileName::root())) {
            return from_problem(&denied.problem(node.address));
        }
        if !access.may_list_own(bearer(request.headers())) {
            return here(node, Reason::Unauthorized, NO_LISTING_TOKEN);
        }
    }
    if !endpoint.is_public() && !caller.reads() && !access.may_read(peer, request.headers()) {
        return here(node, Reason::Unauthorized, "reading needs the node's read token, or a key with the right read");
    }
    let mut reply = respond(node, &endpoint, request, peer).await;
    if endpoint.has_forms() {
        reply.headers_mut().insert(VARY, ANY_FORM);
    }
    // Relays add themselves, so that the client can check which node replied.
    reply.headers_mut().insert(CHAIN_HOPS, HeaderValue::from_static("0"));
    reply
}

impl Endpoint {
    fn find(path: &str) -> Result<Self, (Reason, String)> {
        match path {
            "/" => Ok(Self::About),
            HEALTH => Ok(Self::Health),
            "/metrics" => Ok(Self::Metrics),
            "/v1/node" => Ok(Self::Node),
            EVENTS => Ok(Self::Events),
            "/v1/connections" => Ok(Self::Connections),
            DEFAULT_BASE => Ok(Self::Folder(None)),
            _ => {
                if let Some(folder) = path.strip_prefix(DEFAULT_BASE).filter(|path| path.ends_with('/')) {
                    let folder = decode_name(folder).map_err(|error| (error.reason, error.detail))?;
                    return Ok(Self::Folder(folder.as_folder()));
                }
                let id = path.strip_prefix("/v1/transfers/").and_then(|id| id.parse().ok());
                id.map(Self::Transfer).ok_or_else(|| (Reason::NotFound, format!("there is no endpoint {path}")))
            }
        }
    }

    /// Returns whether it needs no token: a transfer's id is the right to read its record, the health check is open to
    /// all, and the first page reveals nothing about this node; listing folders is checked separately.
    fn is_public(&self) -> bool {
        matches!(self, Self::About | Self::Health | Self::Transfer(_) | Self::Folder(_))
    }

    /// Returns whether its form depends on the request's `Accept`.
    fn has_forms(&self) -> bool {
        matches!(self, Self::About | Self::Metrics | Self::Folder(_))
    }
}

/// Marks a request whose reply is encrypted up to its reader: the names of encrypted transfers may be in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct SeesNames;

async fn respond(
    node: &Arc<Node>,
    endpoint: &Endpoint,
    request: &Request<Incoming>,
    peer: SocketAddr,
) -> Response<EndpointBody> {
    let sees_names = request.extensions().get::<SeesNames>().is_some();
    match endpoint {
        Endpoint::Health if node.draining() => page(StatusCode::SERVICE_UNAVAILABLE, "text/plain", "draining\n"),
        Endpoint::Health => match node.config.root.missing() {
            Some(missing) => page(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{missing}\n")),
            None => page(StatusCode::OK, "text/plain", "ok\n"),
        },
        Endpoint::About if prefers_html(request.headers(), "text/plain") => html_page(node, html::about()),
        Endpoint::About => page(StatusCode::OK, PLAIN, html::about_as_text()),
        Endpoint::Metrics => match metrics::render(node, format(request.headers())) {
            Ok(text) => page(StatusCode::OK, format(request.headers()).media_type(), text),
            Err(error) => here(node, Reason::Internal, &error.to_string()),
        },
        Endpoint::Node => {
            // Identity and totals; the connections have an endpoint of their own.
            let mut snapshot = node.snapshot();
            snapshot.omitted += snapshot.connections.len() as u64;
            snapshot.connections.clear();
            json(node, &snapshot)
        }
        Endpoint::Connections => {
            let mut snapshot = node.snapshot();
            if sees_names {
                snapshot.reveal_names();
            }
            json(node, &Connections { connections: snapshot.connections, omitted: snapshot.omitted })
        }
        Endpoint::Transfer(id) => match node.record(*id) {
            Some(mut record) => {
                if sees_names {
                    record.reveal_name();
                }
                json(node, &record)
            }
            None => here(node, Reason::NotFound, "this node has no record of such a transfer, or no longer"),
        },
        Endpoint::Folder(folder) => {
            let part = match ListedPart::of(request.uri().query()) {
                Ok(part) => part,
                Err(error) => return here(node, error.reason, &error.detail),
            };
            let is_walk = matches!(part, ListedPart::Walk(_));
            let (listing, slot) = match list(node, folder.clone(), part, peer.ip()).await {
                Ok(listed) => listed,
                Err(problem) => return from_problem(&problem),
            };
            let mut reply = if !is_walk && prefers_html(request.headers(), JSON) {
                html_page(node, html::folder(folder.as_ref(), &listing))
            } else {
                json(node, &listing)
            };
            let length = reply.body().size_hint().exact().unwrap_or(u64::MAX);
            if let Some(slot) = slot.keep_if_large(length) {
                reply.extensions_mut().insert(Arc::new(slot));
            }
            reply
        }
        Endpoint::Events => match interval(request.uri().query()) {
            None => here(node, Reason::Malformed, "the interval is not a duration: write interval=250ms"),
            Some(_) if request.method() == Method::HEAD => page(StatusCode::OK, "application/x-ndjson", ""),
            Some(every) => match node.registry.begin_reader(peer.ip()) {
                None => here(node, Reason::Busy, TOO_MANY_READERS),
                Some(reader) => {
                    let events = EventStream::new(Arc::clone(node), every, reader, sees_names);
                    stream_page(StatusCode::OK, "application/x-ndjson", events)
                }
            },
        },
    }
}

/// The part of a folder that is listed on one page.
enum ListedPart {
    /// Its own names after this one.
    Names(Option<FileName>),
    /// Everything below it, in the order of a tar stream.
    Walk(WalkRange),
}

impl ListedPart {
    /// Parses a query; parameters other than `next`, `after` and `until` are ignored.
    fn of(query: Option<&str>) -> Result<Self, HeadError> {
        let value = |key| query.into_iter().flat_map(|query| query.split('&')).find_map(|part| part.strip_prefix(key));
        if value("after=").is_some() {
            return walk_range(query).map(Self::Walk);
        }
        value("next=").filter(|name: &&str| !name.is_empty()).map(decode_name).transpose().map(Self::Names)
    }
}

/// Lists a page of a folder, on a thread that may block on the disk.
async fn list(
    node: &Arc<Node>,
    folder: Option<FileName>,
    part: ListedPart,
    source: IpAddr,
) -> Result<(Listing, FolderSlot), Problem> {
    let failed = |reason, detail: String| Err(Problem::here(reason, FailedAction::Open, node.address, detail));
    let Some(slot) = node.listings.acquire(source, node.config.limits.setup).await else {
        return failed(Reason::Busy, "too many folders are being listed".to_owned());
    };
    let listing = Arc::clone(node);
    // The job owns the slot: it runs even if the client closes the connection meanwhile.
    let read = move || {
        let (root, folder) = (&listing.config.root, folder.as_ref());
        let digest = |version| listing.digests.ready(version, Algorithm::Blake3);
        let page = match part {
            ListedPart::Names(next) => root.list(folder, next.as_ref()),
            ListedPart::Walk(range) => root.list_walk(folder, range, digest),
        };
        page.map(|page| (page, slot))
    };
    let read = match node.listings.run(read) {
        Ok(reading) => reading.await,
        Err(error) => return failed(Reason::Busy, error.to_string()),
    };
    match read {
        Ok(Ok(listed)) => Ok(listed),
        Ok(Err(OpenError::NotFound | OpenError::Folder)) => {
            let missing = node.config.root.missing().map(|missing| missing.to_string());
            failed(Reason::NotFound, missing.unwrap_or_else(|| "there is no such folder".to_owned()))
        }
        Ok(Err(OpenError::Failed(error))) if is_shortage(&error) => failed(Reason::Busy, error.to_string()),
        Ok(Err(OpenError::Failed(error))) | Err(error) => failed(Reason::Internal, error.to_string()),
    }
}

/// Returns a client's preference for a media type.
fn preferred(headers: &HeaderMap, kind: &str) -> Preference {
    preference(headers.get_all(ACCEPT).iter().filter_map(|line| line.to_str().ok()), kind)
}

/// True if the client prefers HTML, as browsers do; a client that accepts everything equally gets the other form.
fn prefers_html(headers: &HeaderMap, other: &str) -> bool {
    preferred(headers, "text/html").quality > preferred(headers, other).quality
}

/// `OpenMetrics` only for clients that name it: many readers of the older format refuse the endpoint.
fn format(headers: &HeaderMap) -> Format {
    let open = preferred(headers, "application/openmetrics-text");
    if open.is_wanted() && open.quality >= preferred(headers, "text/plain").quality {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    }
}

fn html_page(node: &Node, text: Result<String, std::fmt::Error>) -> Response<EndpointBody> {
    match text {
        Ok(text) => page(StatusCode::OK, html::MEDIA_TYPE, text),
        Err(error) => here(node, Reason::Internal, &error.to_string()),
    }
}

pub(super) fn json(node: &Node, value: &impl Serialize) -> Response<EndpointBody> {
    match serde_json::to_vec(value) {
        Ok(body) => page(StatusCode::OK, JSON, body),
        Err(error) => here(node, Reason::Internal, &error.to_string()),
    }
}
