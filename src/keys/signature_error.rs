//! Why a signature is not accepted.

use std::time::Duration;

use super::Fingerprint;
use crate::units::HumanDuration;

/// Largest difference between the time of a signature and the checking node's, in seconds: the longest setup of a chain
/// takes less, and clocks that are set over the network differ by less than a second.
pub const MAX_AGE: u64 = 120;

/// Error of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The request has no signature for this hop.
    #[error("the request is not signed for this hop")]
    Missing,
    /// The fields are not of the expected form.
    #[error("the signature is malformed: {0}")]
    Malformed(&'static str),
    /// A part of the request is not covered, or one that the request does not have is.
    #[error("the signature does not cover what it has to: {0}")]
    Components(&'static str),
    /// The signature is for a node with another key.
    #[error("signed for the node with the key {named}, and this node {}", own_key(*.own))]
    OtherNode {
        /// The key that the signature names.
        named: Fingerprint,
        /// The node's own.
        own: Option<Fingerprint>,
    },
    /// `Chain-Key` is not the key that the signature names.
    #[error("Chain-Key is not the key that the signature names")]
    Key,
    /// The signature is too old, by the checking node's clock.
    #[error(
        "signed {} ago by this node's clock, and {} are accepted: are both clocks right?",
        HumanDuration(Duration::from_secs(*.0)),
        HumanDuration(Duration::from_secs(MAX_AGE))
    )]
    Expired(u64),
    /// The signature is of a time to come, by the checking node's clock.
    #[error(
        "signed {} ahead of this node's clock, and {} are accepted: are both clocks right?",
        HumanDuration(Duration::from_secs(*.0)),
        HumanDuration(Duration::from_secs(MAX_AGE))
    )]
    Future(u64),
    /// The signature is that of another request, or of another key.
    #[error("the signature is not that of this request: was it changed on the way, or signed for another hop?")]
    Wrong,
}

fn own_key(key: Option<Fingerprint>) -> String {
    key.map_or_else(|| "has none".to_owned(), |key| format!("has {key}"))
}
