//! Options that flags set and several layers read.

use crate::wire::{Algorithm, Digest};

/// What the bytes are to be compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyMode {
    /// The origin's digest, where it offers one.
    #[default]
    Origin,
    /// This digest, whatever the chain says.
    Expect(Digest),
    /// Nothing but the length.
    Skip,
}

impl VerifyMode {
    /// The digest to compute.
    pub fn algorithm(self) -> Option<Algorithm> {
        match self {
            Self::Origin => Some(Algorithm::Blake3),
            Self::Expect(digest) => Some(digest.algorithm),
            Self::Skip => None,
        }
    }
}

/// Who may use a node over loopback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalUsers {
    /// The user that it runs as, and root.
    #[default]
    Own,
    /// Every user of this machine.
    Any,
}
