//! Incremental computation of digests.

use crate::wire::{Algorithm, Digest};

/// Computes a digest of either algorithm incrementally.
#[derive(Clone, Debug)]
pub enum Hasher {
    /// BLAKE3; boxed, because its state is two kilobytes.
    Blake3(Box<blake3::Hasher>),
    /// SHA-256.
    Sha256(sha2::Sha256),
}

impl Hasher {
    /// Creates a hasher without input.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Blake3 => Self::Blake3(Box::default()),
            Algorithm::Sha256 => Self::Sha256(sha2::Digest::new()),
        }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
            Self::Sha256(hasher) => sha2::Digest::update(hasher, bytes),
        }
    }

    /// Returns the digest of the input so far; more can follow.
    pub fn so_far(&self) -> Digest {
        self.clone().finish()
    }

    /// Returns the digest of the whole input.
    pub fn finish(self) -> Digest {
        match self {
            Self::Blake3(hasher) => Digest { algorithm: Algorithm::Blake3, value: hasher.finalize().into() },
            Self::Sha256(hasher) => {
                Digest { algorithm: Algorithm::Sha256, value: sha2::Digest::finalize(hasher).into() }
            }
        }
    }
}
