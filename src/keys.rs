//! Keys of nodes and users: ECDSA over P-256, their fingerprints and their files, and signatures of requests.
//!
//! ```
//! use chainview::keys::{Fingerprint, KeyPair};
//!
//! let file = KeyPair::generate()?;
//! let pair = KeyPair::parse(&file)?;
//! let shown = pair.public().fingerprint().to_string();
//! assert!(shown.starts_with("sha256:"));
//! assert_eq!(shown.parse::<Fingerprint>()?, pair.public().fingerprint());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod authorized;
mod dictionary;
mod pair;
mod params;
mod public;
mod signature;
mod signature_error;
mod spent;

pub use crate::fingerprint::{Fingerprint, FingerprintError};
pub use authorized::{AuthorizedKeys, AuthorizedKeysError, Granted, KeyLimits, MAX_AUTHORIZED};
pub use pair::{KeyError, KeyPair, MAX_KEY_FILE};
pub use public::PublicKey;
pub use signature::{Claim, Covered, Signatures, SignedId, content_digest};
pub use signature_error::{MAX_AGE, SignatureError};
pub use spent::{MAX_SPENT, SpentError, SpentIds};
