//! Keys of nodes and users: ECDSA over P-256, their fingerprints and their files.
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

mod fingerprint;
mod pair;
mod public;

pub use fingerprint::{Fingerprint, FingerprintError};
pub use pair::{KeyError, KeyPair, MAX_KEY_FILE};
pub use public::PublicKey;
