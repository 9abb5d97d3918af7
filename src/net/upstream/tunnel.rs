//! Opens a tunnel through the next hop, or to a server of any kind at its end.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::connect::connect_with;
use super::encrypted::connect_tls;
use super::exchange::{ExchangeError, ReplyWait, no_time, read_problem};
use super::link::UpstreamConn;
use super::policy::NotPermitted;
use super::{ExchangeStage, OnStage, Upstream, UpstreamReply};
use crate::allow_list::Purpose;
use crate::limits::{HOP_GRACE, HOP_SHARE};
use crate::net::os::clock::ms_since;
use crate::net::os::deadline::Deadline;
use crate::net::os::socket::Socket;
use crate::route::{Hop, Protocol};
use crate::wire::http::encode_tunnel;
use crate::wire::problem::ForeignServer;
use crate::wire::{FailedAction, Leg, Method, Problem, Reason, Reply, TunnelRequest};

/// What the end of a tunnel has to be, for the errors of one that is not.
const TARGETS: &str = "a tunnel ends at a chainview node, or at an address that --allow-connect lists";

/// A tunnel whose next hop has opened it; it belongs to no other request, before and after.
#[derive(Debug)]
pub struct OpenTunnel {
    /// The hop's reply.
    pub reply: UpstreamReply,
    /// The connection.
    pub socket: Socket,
    /// Bytes from inside the tunnel that came with the reply.
    pub early: Vec<u8>,
    /// The bytes that were to follow the request have been sent.
    pub followed: bool,
    /// The round-trip time is known to be low.
    pub low_rtt: bool,
}

impl Upstream {
    /// Opens a tunnel through `next`; `request.route` holds the hops after it, the target last. The reply must arrive
    /// within `limit`.
    ///
    /// If `next` is the target, `is_plain` decides on its address: a tunnel to any server is a plain connection, and
    /// one to a node is requested from it. `following` are bytes from inside the tunnel that came with the request: a
    /// node gets them with its own, which saves the time of a reply, and keeps them until the tunnel is open.
    ///
    /// # Errors
    /// The problem of the hop, or of one behind it, that cannot be reached or does not open the tunnel.
    pub async fn open_tunnel(
        &self,
        next: &Hop,
        (mut request, following): (Box<TunnelRequest>, &[u8]),
        limit: Duration,
        is_plain: &(dyn Fn(SocketAddr) -> bool + Send + Sync),
        on_stage: OnStage<'_>,
    ) -> Result<OpenTunnel, Problem> {
        let began = Instant::now();
        let mut deadline = Deadline::since(began, limit);
        let is_target = request.route.as_ref().is_none_or(Vec::is_empty);
        let purpose = if is_target { Purpose::TunnelTarget } else { Purpose::files(None) };
        let filter = |address| {
            (self.filter)(address, purpose)?;
            self.caller.may_connect(address, purpose).map_err(|denied| NotPermitted::of_caller(*denied))
        };
        on_stage(ExchangeStage::Connecting);
        let (resolver, limit) = (&self.links.resolver, limit.min(self.limits.connect));
        let connected = connect_with(resolver, &next.address, limit, &filter, b"", self.limits.sockbuf).await?;
        self.links.idle.opened();
        let (address, resolve_ms) = (connected.address, connected.resolve_ms);
        let mut link = UpstreamConn::new(address, Protocol::Http, connected.stream, connected.connect_ms);
        if let Some(key) = next.key {
            let stream = link.stream.another();
            link.stream =
                Box::pin(connect_tls(stream, &next.address, key, self.identity.as_deref(), &mut deadline)).await?;
        }
        let connect_ms = (ms_since(began) - resolve_ms).max(0.0);
        let followed = !(is_target && is_plain(address));
        let reply = if followed {
            let opened = self.request_tunnel(&mut link, next, &mut request, &mut deadline, following, on_stage).await;
            opened.map_err(|problem| if is_target { describe_target(problem) } else { problem })?
        } else {
            Box::new(Reply { status: 200, ..Reply::default() })
        };
        let wait_ms = (ms_since(began) - resolve_ms - connect_ms).max(0.0);
        let leg = Leg { resolve_ms, connect_ms, wait_ms };
        link.handed_over = true;
        let (protocol, low_rtt, early) = (link.protocol, link.low_rtt, link.read_ahead.bytes().to_vec());
        let reply = UpstreamReply { reply, leg, protocol, address, tunnel: None };
        Ok(OpenTunnel { reply, socket: link.stream.another(), early, followed, low_rtt })
    }

    /// Requests the tunnel over a new connection, and reads the reply; what follows that stays in the buffer. `early`
    /// is the beginning of what goes into the tunnel: the hops keep it until the tunnel is open.
    pub(super) async fn request_tunnel(
        &self,
        link: &mut UpstreamConn,
        next: &Hop,
        request: &mut TunnelRequest,
        deadline: &mut Deadline,
        early: &[u8],
        on_stage: OnStage<'_>,
    ) -> Result<Box<Reply>, Problem> {
        let known = next.protocol().or(self.protocol).or_else(|| self.links.known(&next.address));
        let sent_at = Instant::now();
        let unsupported = || {
            let detail = "the legacy protocol has no tunnels";
            Problem::next(Reason::Unsupported, FailedAction::Request, &next.address, detail, ms_since(sent_at))
        };
        if known == Some(Protocol::Legacy) {
            return Err(unsupported());
        }
        let passed = deadline.left_at(sent_at).saturating_sub(HOP_SHARE);
        if passed.is_zero() {
            return Err(no_time());
        }
        request.host = Some(next.address.clone());
        request.timeout = Some(passed);
        request.ack = known.is_none();
        let mut head = Vec::with_capacity(512);
        encode_tunnel(request, &mut head);
        head.extend_from_slice(early);
        let mut wait = ReplyWait {
            hop: next,
            // For the form of the reply: an error has a body.
            method: Method::Get,
            sent_at,
            until: Deadline::since(sent_at, passed + HOP_GRACE),
            asked_protocol: request.ack,
            protocol_unknown: request.ack,
            extends: false,
            on_stage,
        };
        // A failed write is not final: the reason may be waiting to be read.
        let _ = wait.until.bound(link.stream.write_all(&head)).await;
        on_stage(ExchangeStage::Waiting);
        let (mut reply, length) = match self.read_head(link, &mut wait).await {
            Ok(head) => head,
            Err(ExchangeError::SpeaksLegacy) => {
                self.links.remember(&next.address, Protocol::Legacy);
                return Err(unsupported());
            }
            Err(ExchangeError::Problem(problem) | ExchangeError::Unanswered(problem)) => {
                self.links.forget(&next.address);
                return Err(problem);
            }
        };
        link.read_ahead.consume(length);
        let hops = request.route.as_ref().map_or(0, Vec::len);
        match reply.status {
            // A reply without the count comes from another kind of proxy, which opens the tunnel by itself.
            200..=299 if reply.hops.is_some_and(|counted| counted as usize == hops) => Ok(reply),
            200..=299 => Err(wait.problem(Reason::BadResponse, "it opened a tunnel without following the route")),
            status => {
                read_problem(link, &mut reply, &mut wait.until).await;
                Err(reply.problem.take().map_or_else(
                    || Problem {
                        server: Some(Box::new(ForeignServer { status, ..ForeignServer::default() })),
                        ..wait.problem(Reason::of_status(status), &format!("status {status} to CONNECT"))
                    },
                    Problem::relayed,
                ))
            }
        }
    }
}

/// Adds to a failure of the target's reply what it has to be; a problem of a node is complete.
fn describe_target(problem: Problem) -> Problem {
    if problem.hop != 1 || problem.reporter != 0 || problem.action != FailedAction::Reply {
        return problem;
    }
    let detail = match problem.detail.as_str() {
        "" => TARGETS.to_owned(),
        detail => format!("{detail}; {TARGETS}"),
    };
    Problem { detail: detail.into(), ..problem }
}
