//! What a refused request lacks, and whose key it was: the part of a problem from which a program states what helps.

use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;

/// A refusal by the authorized keys of a node. It names nothing but the request's own key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// What the request lacks.
    pub lack: Lack,
    /// The fingerprint of the key that signed the request; `None` if none did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Fingerprint>,
}

/// What a refused request lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lack {
    /// The right to fetch the file or folder.
    Fetch,
    /// The right to be relayed, or to be relayed there.
    Relay,
    /// A time by the clock of the node: one of the two clocks is wrong.
    Time,
    /// An id that the node has not served yet: the same request came twice.
    NewId,
    /// The address by which the node was reached: its own name is another.
    Address,
    /// A signature that holds: the request was changed on the way, or signed for another hop or node.
    Signature,
    /// A free place among the transfers that the key may have at a time.
    Transfers,
    /// Bytes that are left of what the key may move in a day.
    Bytes,
    /// A lack of a newer version.
    #[default]
    #[serde(other)]
    Other,
}
