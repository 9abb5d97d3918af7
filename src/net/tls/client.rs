//! The configuration of a client that knows the key of its server.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, PeerMisbehaved, SignatureScheme, version,
};

use super::{ALPN, TlsError, provider, raw_key};
use crate::keys::{Fingerprint, KeyPair, PublicKey};

/// A configuration that accepts one key.
#[derive(Clone, Debug)]
pub struct ClientTls(Arc<ClientConfig>);

/// The server has another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its key is {found}, expected {expected}")]
pub struct WrongKey {
    /// The key that was expected.
    pub expected: Fingerprint,
    /// The server's.
    pub found: Fingerprint,
}

impl ClientTls {
    /// Creates the configuration for a server with this key, of a client that has this identity.
    ///
    /// # Errors
    /// [`TlsError`] if the library refuses it.
    pub fn new(expected: Fingerprint, identity: Option<&KeyPair>) -> Result<Self, TlsError> {
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms;
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Pinned { expected, algorithms }));
        let mut config = match identity {
            Some(pair) => {
                config.with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(raw_key(pair)?)))
            }
            None => config.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        // The server is known by its key; a name would be in clear text.
        config.enable_sni = false;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// Returns the name to begin a handshake with; it is neither sent nor checked.
    pub fn name(&self) -> ServerName<'static> {
        ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
    }

    /// Returns the configuration.
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }
}

/// Accepts one raw public key.
#[derive(Debug)]
struct Pinned {
    expected: Fingerprint,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let key = PublicKey::from_spki(end_entity).ok_or(CertificateError::BadEncoding)?;
        let (expected, found) = (self.expected, key.fingerprint());
        if found != expected {
            return Err(CertificateError::Other(OtherError(Arc::new(WrongKey { expected, found }))).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // TLS 1.2 is not compiled in.
        Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl WrongKey {
    /// Returns the wrong key in the error of a handshake, if that is the cause.
    pub fn in_error(error: &std::io::Error) -> Option<Self> {
        match error.get_ref()?.downcast_ref::<rustls::Error>()? {
            rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
                other.0.downcast_ref::<Self>().copied()
            }
            _ => None,
        }
    }
}
