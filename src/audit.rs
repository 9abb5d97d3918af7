//! The audit of a node: who requested what, one JSON object a line; summary  what these lines add up to.

pub mod summary;

use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use crate::snapshot::BodyError;
use crate::text::SafeText;
use crate::wire::{Problem, Reason, TransferId};

/// The audit line of a request for a file, of a request that changes the node, or of a refusal.
#[derive(Clone, Debug, Serialize)]
pub struct AuditEntry<'a> {
    /// When it ended.
    #[serde(serialize_with = "rfc3339")]
    pub time: Timestamp,
    /// The node's address.
    pub node: SocketAddr,
    /// The client's address.
    pub peer: SocketAddr,
    /// Name of the client's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<&'a SafeText>,
    /// Id of the transfer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfer: Option<AuditId>,
    /// Method of the request; absent if no request could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'a str>,
    /// The requested file, or the path of an endpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<AuditName<'a>>,
    /// The hop that the request was relayed to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<SafeText>,
    /// Status of the reply; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes of the body that were sent, or in a tunnel to the client.
    pub bytes: u64,
    /// Bytes that were sent to the next hop in a tunnel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_bytes: Option<u64>,
    /// Duration from the end of the request's head.
    #[serde(rename = "seconds", serialize_with = "whole_us")]
    pub duration: Duration,
    /// How it ended.
    pub ended: Ended,
    /// Why, unless it is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
    /// The hop where it failed, counted from this node; `None` is this node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop: Option<u32>,
}

/// Id of a transfer, in full: other output has the beginning alone, because an id is the right to read a record.
#[derive(Clone, Copy, Debug)]
pub struct AuditId(pub TransferId);

/// A requested name, in full: its beginning can be chosen such that the rest, which matters, is cut off.
#[derive(Clone, Debug)]
pub struct AuditName<'a> {
    /// The name.
    pub name: &'a SafeText,
    /// It had a query, which may contain a secret.
    pub has_query: bool,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// The whole reply was sent.
    Complete,
    /// This node refused it by its own rules or limits.
    Refused,
    /// It failed, here or at a further hop.
    Failed,
    /// Its connection ended before its reply was complete.
    Interrupted,
    /// An end of a newer version.
    #[serde(other)]
    Other,
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason.
    pub reason: Reason,
    /// The hop that failed, counted from this node.
    pub hop: u32,
    /// This node refused the request.
    pub is_refusal: bool,
}

/// Why a request did not end completely; that of a body is more precise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum EndReason {
    /// The reason of a failed request.
    Request(Reason),
    /// The reason of an incomplete body.
    Body(BodyError),
}

/// The line that stands for lines that were dropped, because they did not fit or could not be written.
#[derive(Clone, Debug, Serialize)]
pub struct DroppedEntry {
    /// When this was noticed.
    #[serde(serialize_with = "rfc3339")]
    pub time: Timestamp,
    /// Number of lines.
    pub dropped: u64,
}

impl AuditEntry<'_> {
    /// Creates an entry of a request that has not ended in any other way than with its connection.
    pub fn new(time: Timestamp, node: SocketAddr, peer: SocketAddr) -> Self {
        Self {
            time,
            node,
            peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
            key: None,
            transfer: None,
            method: None,
            name: None,
            next: None,
            status: None,
            bytes: 0,
            upstream_bytes: None,
            duration: Duration::ZERO,
            ended: Ended::Interrupted,
            reason: None,
            hop: None,
        }
    }

    /// Returns the entry of a request that failed.
    #[must_use]
    pub fn failed(self, failure: Failure, body: Option<BodyError>) -> Self {
        Self {
            ended: if failure.is_refusal { Ended::Refused } else { Ended::Failed },
            reason: Some(body.map_or(EndReason::Request(failure.reason), EndReason::Body)),
            hop: Some(failure.hop).filter(|hop| *hop > 0),
            ..self
        }
    }

    /// Returns the line of the entry, with its newline.
    pub fn to_line(&self) -> Vec<u8> {
        line(self)
    }
}

impl DroppedEntry {
    /// Returns the line of the entry, with its newline.
    pub fn to_line(&self) -> Vec<u8> {
        line(self)
    }
}

impl From<&Problem> for Failure {
    fn from(problem: &Problem) -> Self {
        Self { reason: problem.reason, hop: problem.hop, is_refusal: problem.is_refusal() }
    }
}

impl Serialize for AuditId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl Serialize for AuditName<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.has_query { to.collect_str(&format_args!("{}?…", self.name)) } else { self.name.serialize(to) }
    }
}

fn line(entry: &impl Serialize) -> Vec<u8> {
    // Such a value, with names as keys, can always be represented.
    let mut line = serde_json::to_vec(entry).unwrap_or_default();
    line.push(b'\n');
    line
}

fn rfc3339<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{time:.6}"))
}

/// Serializes a duration as seconds with whole µs.
fn whole_us<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(duration.as_micros() as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::FailedAction;

    #[test]
    fn a_line_has_what_is_known_and_no_query() {
        let time: Timestamp = "2026-11-30T21:02:11.5Z".parse().unwrap();
        let (node, peer) = ("10.0.0.2:9101".parse().unwrap(), "[::ffff:10.0.0.7]:5555".parse().unwrap());
        let name = SafeText::new("a\n\"b\".txt");
        let entry = AuditEntry {
            transfer: Some(AuditId(TransferId(0xff))),
            method: Some("GET"),
            name: Some(AuditName { name: &name, has_query: true }),
            next: Some("10.0.0.3:9101".into()),
            status: Some(200),
            bytes: 1 << 40,
            duration: Duration::from_nanos(123_456_789),
            ended: Ended::Complete,
            ..AuditEntry::new(time, node, peer)
        };
        let expected = concat!(
            r#"{"time":"2026-11-30T21:02:11.500000Z","node":"10.0.0.2:9101","peer":"10.0.0.7:5555","#,
            r#""transfer":"000000000000000000000000000000ff","method":"GET","name":"a\\n\"b\".txt?…","#,
            r#""next":"10.0.0.3:9101","status":200,"bytes":1099511627776,"seconds":0.123456,"ended":"complete"}"#,
            "\n"
        );
        assert_eq!(String::from_utf8(entry.to_line()).unwrap(), expected);
        let line = |problem: &Problem, body| {
            let entry = AuditEntry::new(time, node, peer).failed(problem.into(), body);
            String::from_utf8(entry.to_line()).unwrap().split_once("\"ended\"").unwrap().1.to_owned()
        };
        let here = |reason, action| Problem::here(reason, action, node, "");
        let policy = here(Reason::Policy, FailedAction::Request);
        assert_eq!(line(&policy, None), ":\"refused\",\"reason\":\"policy\"}\n");
        assert_eq!(line(&policy.relayed(), None), ":\"failed\",\"reason\":\"policy\",\"hop\":1}\n");
        let short = here(Reason::Short, FailedAction::Body);
        assert_eq!(line(&short, Some(BodyError::SourceEnded)), ":\"failed\",\"reason\":\"source-ended\"}\n");
        let dropped = DroppedEntry { time, dropped: 7 }.to_line();
        assert_eq!(dropped, b"{\"time\":\"2026-11-30T21:02:11.500000Z\",\"dropped\":7}\n");
    }
}
