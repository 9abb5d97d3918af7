//! The record of a request, from which reports are made.

use crate::audit::Failure;
use crate::faults::Faults;
use crate::snapshot::{BodyError, ConnRole, ConnState, TcpSnapshot};
use crate::text::SafeText;
use crate::wire::Leg;

/// How a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Outcome {
    /// Not recorded: it is being served, or it ended with its connection.
    #[default]
    Open,
    /// The reply was sent completely.
    Served,
    /// It failed.
    Failed(Failure),
    /// It was incomplete: more of it arrived, with which it is served as another request.
    Superseded,
}

/// What is recorded of a request beside its counters and its next hop. Every request writes one, and the last thousand
/// are kept: what few requests have is boxed.
#[derive(Debug, Default)]
pub struct RequestRecord {
    /// The requested file.
    pub name: SafeText,
    /// The name of a file whose request was encrypted, for readers that are, too; `name` is a substitute then.
    pub hidden_name: Option<Box<SafeText>>,
    /// The same without a limit of its length, if there is an audit.
    pub whole_name: Option<Box<SafeText>>,
    /// The request had a query.
    pub has_query: bool,
    /// The name of the key that signed it.
    pub key: Option<Box<SafeText>>,
    /// The rate limit of that key, in bytes per second.
    pub key_rate: Option<u64>,
    /// The role of the node.
    pub role: ConnRole,
    /// Its current or last state.
    pub state: ConnState,
    /// It has ended.
    pub ended: bool,
    /// How it ended.
    pub outcome: Outcome,
    /// The status sent downstream; 0 before that.
    pub status: u16,
    /// How it failed, if it did.
    pub error: Option<SafeText>,
    /// Reason of an incomplete body.
    pub body_error: Option<BodyError>,
    /// Set-up times of the leg to the next hop.
    pub leg: Option<Leg>,
    /// Size of the body, in bytes.
    pub size: Option<u64>,
    /// When the head of the reply was ready, in ms since the request was read.
    pub head_ms: Option<f64>,
    /// The node's faults and limits at the last change, if there were any.
    pub faults: Option<Box<Faults>>,
    /// The socket toward the client after a long body.
    pub tcp: Option<Box<TcpSnapshot>>,
}
