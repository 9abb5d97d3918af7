//! TLS 1.3 between client and origin: configurations of rustls for keys of this program.
//!
//! Between chainview programs the keys are raw public keys (RFC 7250). Other clients get a self-signed certificate of
//! the same key, which they check by its fingerprint, or the certificate of an authority. Sessions are never resumed: a
//! resumption would not look at the key again, and the tickets that allow it, unread by a client that only sends, turn
//! its close into a reset.

mod client;
mod client_key;
mod server;

use std::io;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use crate::keys::KeyPair;
pub use client::{ClientTls, WrongKey};
pub use client_key::client_key;
pub use server::ServerTls;

/// The protocol inside, as both ends name it in the handshake.
const ALPN: &[u8] = b"http/1.1";

/// Error in a key that is given to rustls.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// rustls does not accept the key.
    #[error("the key cannot be used for TLS: {0}")]
    Key(#[from] rustls::Error),
    /// A certificate or its key is not in PEM.
    #[error("not a certificate and its key in PEM: {0}")]
    Pem(#[from] rustls::pki_types::pem::Error),
    /// The certificate for other clients could not be made.
    #[error("no certificate could be made of the key: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// Returns true if a session failed because this end, or the other, received other bytes than were sent.
pub fn is_altered(error: &io::Error) -> bool {
    error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
}

/// Returns the key for handshakes in which it is presented raw.
fn raw_key(pair: &KeyPair) -> Result<Arc<CertifiedKey>, rustls::Error> {
    let pkcs8 = PrivatePkcs8KeyDer::from(pair.pkcs8().to_vec());
    let key = provider().key_provider.load_private_key(pkcs8.into())?;
    let spki = CertificateDer::from(pair.public().to_spki().to_vec());
    Ok(Arc::new(CertifiedKey::new(vec![spki], key)))
}

/// Returns the only provider of cryptography.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

#[cfg(test)]
pub(super) mod tests;
