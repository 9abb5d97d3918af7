//! One request and its reply on one connection, in either protocol.

use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::idle::idle_time;
use super::link::UpstreamConn;
use super::protocols::{SILENCE, probe};
use super::read_ahead::ReadAhead;
use super::{ExchangeStage, OnStage, Upstream, UpstreamReply};
use crate::limits::{HOP_GRACE, HOP_SHARE};
use crate::net::os::clock::ms_since;
use crate::net::os::deadline::{Deadline, within};
use crate::route::{Hop, Protocol};
use crate::wire::http::{ReplyHead, encode_request, parse_reply};
use crate::wire::{
    ConditionResult, FailedAction, FileValidators, Leg, Method, Problem, Reason, Reply, Request, legacy, problem,
};

/// Time for the rest of a size to arrive after its first digit: the legacy protocol has no end mark.
const REPLY_GAP: Duration = Duration::from_millis(5);
/// Extension of the wait by a `102`; an origin sends one every 5 s while it computes a digest.
const INTERIM_GRACE: Duration = Duration::from_secs(10);
/// Limit on the time of a digest, regardless of interim replies.
pub(in crate::net) const MAX_DIGEST_TIME: Duration = Duration::from_mins(10);

/// Limit on interim replies before the final one: the longest digest has 120. An endless series always leaves something
/// to read, so the deadline of a read would be checked far too rarely.
const MAX_INTERIM: usize = 256;

/// Why an exchange returned no reply head.
pub(super) enum ExchangeError {
    /// The connection was closed before a single byte.
    Unanswered(Problem),
    /// The hop turned out to use the legacy protocol.
    SpeaksLegacy,
    /// Anything else.
    Problem(Problem),
}

impl Upstream {
    pub(super) async fn request_http(
        &mut self,
        hop: &Hop,
        request: &mut Request,
        deadline: &mut Deadline,
        on_stage: OnStage<'_>,
    ) -> Result<UpstreamReply, Problem> {
        let protocol_unknown = request.ack;
        let encrypted: Option<Arc<[Hop]>> = hop.key.is_some().then(|| Arc::from([hop.clone()]));
        let (mut idle, mut resolved) = self.reuse(hop, encrypted.as_ref(), request.method, deadline, on_stage).await?;
        loop {
            // The protocol of an idle connection is known.
            let reused = idle.is_some();
            request.ack = protocol_unknown && !reused;
            let (mut head, mut sent) = (Vec::new(), 0);
            let (mut link, leg) = if let Some(link) = idle.take() {
                let resolve_ms = resolved.as_ref().map_or(0.0, |resolved| resolved.ms);
                (link, Leg { resolve_ms, ..Leg::default() })
            } else {
                head = encode_head(hop, request, deadline.left())?;
                let connecting = self.connect(hop, resolved.take(), Protocol::Http, deadline, &head, on_stage);
                // Boxed to keep the parent future small: most requests find an idle connection.
                let (link, leg, with_connect) = Box::pin(connecting).await?;
                sent = with_connect;
                (link, leg)
            };
            // A request not sent with the connect is encoded again: less time is left by now.
            let rest = (sent > 0).then(|| &head[sent..]);
            match self.exchange(&mut link, hop, request, deadline, rest, on_stage).await {
                // Some servers send this status when they close an idle connection: it is no reply to this request.
                Ok(reply) if reused && reply.status == 408 => {}
                Ok(reply) => return Ok(self.store_reply(link, reply, leg, request)),
                Err(ExchangeError::Unanswered(_)) if reused => {}
                Err(ExchangeError::Problem(problem) | ExchangeError::Unanswered(problem)) => return Err(problem),
                Err(ExchangeError::SpeaksLegacy) => {
                    drop(link);
                    self.links.remember(&hop.address, Protocol::Legacy);
                    return Box::pin(self.request_legacy(hop, request, deadline, on_stage)).await;
                }
            }
            // The hop closed the connection when it was idle, or restarts. Even if it has read some or all of the
            // request, that can be sent again: GET and HEAD change nothing, and no byte of a reply was passed on. Only
            // once, and over a new connection: that one was not idle.
            self.links.idle.closed_unanswered();
        }
    }

    pub(super) fn store_reply(
        &mut self,
        mut link: UpstreamConn,
        reply: Box<Reply>,
        leg: Leg,
        request: &Request,
    ) -> UpstreamReply {
        link.verification_pending = request.awaits_verification() && reply.status < 400 && reply.digests.is_empty();
        let (address, tunnel) = (link.peer.address, link.tunnel);
        let response = UpstreamReply { leg, protocol: link.protocol, address, tunnel, reply };
        self.link = Some(link);
        response
    }

    /// Sends a request, or the `rest` of it, and reads the reply head; also the body of an error reply.
    pub(super) async fn exchange(
        &self,
        link: &mut UpstreamConn,
        hop: &Hop,
        request: &mut Request,
        deadline: &mut Deadline,
        rest: Option<&[u8]>,
        on_stage: OnStage<'_>,
    ) -> Result<Box<Reply>, ExchangeError> {
        let sent_at = Instant::now();
        let head = match rest {
            Some(rest) => Cow::Borrowed(rest),
            None => Cow::Owned(encode_head(hop, request, deadline.left_at(sent_at)).map_err(ExchangeError::Problem)?),
        };
        let until = Deadline::since(sent_at, request.timeout.unwrap_or_default() + HOP_GRACE);
        let mut wait =
            ReplyWait { protocol_unknown: request.ack, ..ReplyWait::new(hop, request, sent_at, until, on_stage) };
        // A failed write is not final: the reason may be waiting to be read.
        let written = head.is_empty() || matches!(wait.until.bound(link.stream.write_all(&head)).await, Ok(Ok(())));
        if !written && link.read_ahead.is_empty() {
            wait.protocol_unknown = false;
        }
        on_stage(ExchangeStage::Waiting);
        let (mut reply, length) = self.read_head(link, &mut wait).await?;
        link.read_ahead.consume(length);
        link.idle_time = idle_time_after(&reply, request.method);
        if reply.status >= 300 && request.method == Method::Get {
            Box::pin(read_problem(link, &mut reply, &mut wait.until)).await;
        } else if request.method == Method::Get {
            link.begin_body(reply.length.unwrap_or_default());
        }
        Ok(reply)
    }

    /// Reads up to the end of the final head, which remains in the buffer; returns its length too.
    pub(super) async fn read_head(
        &self,
        link: &mut UpstreamConn,
        wait: &mut ReplyWait<'_>,
    ) -> Result<(Box<Reply>, usize), ExchangeError> {
        let mut silent = true;
        let mut interim = 0;
        loop {
            match parse_reply(link.read_ahead.bytes(), wait.method) {
                Err(error) => {
                    return Err(ExchangeError::Problem(wait.problem(Reason::BadResponse, &error.to_string())));
                }
                Ok(Some((ReplyHead::Final(reply), length))) => {
                    if wait.asked_protocol {
                        self.links.remember(&wait.hop.address, Protocol::Http);
                    }
                    return Ok((reply, length));
                }
                Ok(Some((ReplyHead::Interim(status, progress), length))) => {
                    interim += 1;
                    if interim > MAX_INTERIM {
                        let detail = format!("more than {MAX_INTERIM} interim replies");
                        return Err(ExchangeError::Problem(wait.problem(Reason::BadResponse, &detail)));
                    }
                    link.read_ahead.consume(length);
                    // The first 102 acknowledges our own request; later ones come from an origin that is still
                    // processing.
                    let ours = std::mem::take(&mut wait.protocol_unknown);
                    if status == 102 && !ours {
                        wait.extend();
                        (wait.on_stage)(ExchangeStage::Working(progress));
                    }
                    continue;
                }
                Ok(None) => {}
            }
            let read = if wait.protocol_unknown && silent {
                // Boxed to keep the parent future small, because it is rare.
                Box::pin(self.read_first(link, wait)).await?
            } else {
                read_some(link, wait).await.map_err(|problem| {
                    if silent && link.read_ahead.is_empty() && problem.reason == Reason::Closed {
                        ExchangeError::Unanswered(problem)
                    } else {
                        ExchangeError::Problem(problem)
                    }
                })?
            };
            silent &= read == 0;
        }
    }

    /// Waits for the first bytes of a hop whose protocol is unknown; on silence, probes it over the legacy protocol in
    /// parallel.
    async fn read_first(&self, link: &mut UpstreamConn, wait: &mut ReplyWait<'_>) -> Result<usize, ExchangeError> {
        let closed = match within(SILENCE, read_some(link, wait)).await {
            Ok(Ok(read)) => return Ok(read),
            Ok(Err(problem)) => Some(problem),
            Err(_) => None,
        };
        let (hop, left) = (wait.hop, wait.until.left());
        let filter = |address| self.check_address(hop, address);
        let limit = left.min(self.limits.connect);
        let mut probing = pin!(probe(&self.links.resolver, &hop.address, limit, &filter));
        if let Some(problem) = closed {
            // The legacy program drops a connection that it does not understand when the next one arrives: closing is
            // inconclusive.
            return match probing.await {
                Some(Protocol::Legacy) => Err(ExchangeError::SpeaksLegacy),
                _ => Err(ExchangeError::Problem(problem)),
            };
        }
        let mut closed = None;
        loop {
            tokio::select! {
                biased;
                read = read_some(link, wait), if closed.is_none() => match read {
                    Ok(read) => return Ok(read),
                    Err(problem) => closed = Some(problem),
                },
                protocol = &mut probing => {
                    return match (protocol, closed) {
                        (Some(Protocol::Legacy), _) => Err(ExchangeError::SpeaksLegacy),
                        (_, Some(problem)) => Err(ExchangeError::Problem(problem)),
                        (_, None) => {
                            wait.protocol_unknown = false;
                            Ok(0)
                        }
                    };
                }
            }
        }
    }

    pub(super) async fn request_legacy(
        &mut self,
        hop: &Hop,
        request: &Request,
        deadline: &mut Deadline,
        on_stage: OnStage<'_>,
    ) -> Result<UpstreamReply, Problem> {
        let text = legacy::encode_request(request, hop)?;
        let (mut link, connected, sent) = self.connect(hop, None, Protocol::Legacy, deadline, &text, on_stage).await?;
        let sent_at = Instant::now();
        let mut wait = ReplyWait::new(hop, request, sent_at, *deadline, on_stage);
        if !matches!(wait.until.bound(link.stream.write_all(&text[sent..])).await, Ok(Ok(()))) {
            return Err(wait.problem(Reason::Closed, ""));
        }
        on_stage(ExchangeStage::Waiting);
        read_some(&mut link, &mut wait).await?;
        // The reply has no end mark: it is complete when no more bytes arrive for a moment, or the peer closes.
        while link.read_ahead.bytes().len() < legacy::MAX_REPLY {
            match within(REPLY_GAP, read_some(&mut link, &mut wait)).await {
                Ok(Ok(_)) => {}
                Ok(Err(_)) | Err(_) => break,
            }
        }
        let wait_ms = ms_since(sent_at);
        let status = legacy::parse_status(link.read_ahead.bytes());
        link.read_ahead = ReadAhead::default();
        let size = match status {
            legacy::LegacyStatus::Size(size) => size,
            legacy::LegacyStatus::NotFound => {
                let origin = request.route.last().unwrap_or(hop);
                let away = request.route.len() as u32 + 1;
                let missing = Problem::next(Reason::NotFound, FailedAction::Open, &origin.address, "", wait_ms);
                return Err(Problem { hop: away, reporter: away, ..missing });
            }
            legacy::LegacyStatus::Text(text) => {
                return Err(legacy::problem_of_text(&text, &hop.address, &request.route, wait_ms));
            }
        };
        link.remaining = if request.method == Method::Get { size } else { 0 };
        // The protocol has no validators; conditions are evaluated without them.
        let status = match request.evaluate_conditions(&FileValidators::default()) {
            ConditionResult::Failed => {
                let detail = "the legacy protocol has no validators";
                return Err(wait.problem(Reason::Changed, detail));
            }
            ConditionResult::NotModified => 304,
            ConditionResult::Whole | ConditionResult::Part => 200,
        };
        let reply = Reply {
            status,
            length: Some(size),
            accept_ranges: Some(false),
            hops: Some(request.route.len() as u32),
            lines: "Cache-Control: no-cache\r\n".into(),
            ..Reply::default()
        };
        Ok(self.store_reply(link, Box::new(reply), connected, request))
    }
}

/// Returns how long a connection may be idle after this reply; zero if it cannot be used again.
fn idle_time_after(reply: &Reply, method: Method) -> Duration {
    // Some plain servers send a body where there may be none, such as one to HEAD. It may arrive after the next request
    // was sent, and would be taken for the reply to that.
    let has_no_body = method == Method::Head || matches!(reply.status, 204 | 304);
    let is_of_node = reply.hops.is_some() || reply.problem.is_some();
    if reply.keep_alive && (is_of_node || !has_no_body) { idle_time(reply.keep_alive_timeout) } else { Duration::ZERO }
}

/// Encodes the head of a request, including the time that the hop has: what is left, without this node's share.
fn encode_head(hop: &Hop, request: &mut Request, left: Duration) -> Result<Vec<u8>, Problem> {
    let passed = left.saturating_sub(HOP_SHARE);
    if passed.is_zero() {
        return Err(no_time());
    }
    request.timeout = Some(passed);
    let base = if request.route.is_empty() { hop.base.as_deref() } else { None };
    let mut head = Vec::with_capacity(512);
    encode_request(request, base, &mut head);
    Ok(head)
}

/// A hop without time left reports itself: the next hop has done nothing yet.
pub(super) fn no_time() -> Problem {
    Problem::here(Reason::TimedOut, FailedAction::Request, "", "no time left for a request")
}

/// The wait for a reply: its deadline, and what it is for.
pub(super) struct ReplyWait<'a> {
    pub(super) hop: &'a Hop,
    pub(super) method: Method,
    pub(super) sent_at: Instant,
    pub(super) until: Deadline,
    /// The request asks the hop to show its protocol.
    pub(super) asked_protocol: bool,
    /// The hop's protocol is still unknown.
    pub(super) protocol_unknown: bool,
    /// A 102 extends the wait.
    pub(super) extends: bool,
    pub(super) on_stage: OnStage<'a>,
}

impl<'a> ReplyWait<'a> {
    /// Creates the wait for the reply to a request for a file. A digest is waited for as long as the file takes, and
    /// the length of a folder's stream as long as its files take; no other reply is.
    fn new(hop: &'a Hop, request: &Request, sent_at: Instant, until: Deadline, on_stage: OnStage<'a>) -> Self {
        let digest = request.method == Method::Head && request.want_digest.is_some();
        Self {
            hop,
            method: request.method,
            sent_at,
            until,
            asked_protocol: request.ack,
            protocol_unknown: false,
            extends: digest || request.tar,
            on_stage,
        }
    }

    pub(super) fn problem(&self, reason: Reason, detail: &str) -> Problem {
        Problem::next(reason, FailedAction::Reply, &self.hop.address, detail, ms_since(self.sent_at))
    }

    fn extend(&mut self) {
        if self.extends {
            self.until.prolong(INTERIM_GRACE.min(MAX_DIGEST_TIME.saturating_sub(self.sent_at.elapsed())));
        }
    }
}

/// Reads more into the buffer; the end of the stream is a problem, because a reply is still expected.
async fn read_some(link: &mut UpstreamConn, wait: &mut ReplyWait<'_>) -> Result<usize, Problem> {
    let UpstreamConn { stream, timer, read_ahead, .. } = link;
    match timer.bound(&mut wait.until, poll_fn(|cx| read_ahead.poll_fill(cx, stream))).await {
        Err(_) => Err(wait.problem(Reason::TimedOut, "")),
        Ok(Ok(0) | Err(_)) => Err(wait.problem(Reason::Closed, "")),
        Ok(Ok(read)) => Ok(read),
    }
}

/// Reads the body of an error reply if it is short enough; otherwise the connection cannot be reused.
pub(super) async fn read_problem(link: &mut UpstreamConn, reply: &mut Reply, until: &mut Deadline) {
    let length = reply.length.filter(|length| *length <= problem::MAX_BODY as u64);
    let Some(length) = length.map(|length| length as usize) else {
        link.idle_time = Duration::ZERO;
        return;
    };
    let UpstreamConn { stream, read_ahead, .. } = link;
    while read_ahead.bytes().len() < length {
        match until.bound(poll_fn(|cx| read_ahead.poll_fill(cx, stream))).await {
            Ok(Ok(read)) if read > 0 => {}
            _ => {
                link.idle_time = Duration::ZERO;
                return;
            }
        }
    }
    if reply.content_type.as_deref() == Some(problem::MEDIA_TYPE) {
        reply.problem = Problem::from_json(&read_ahead.bytes()[..length]);
    }
    read_ahead.consume(length);
}
