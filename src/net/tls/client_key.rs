//! The key of a TLS client, raw or in a certificate: a node takes any, and its authorized keys say what that may do.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, PeerMisbehaved, SignatureScheme};

use super::provider;
use crate::keys::{Fingerprint, PublicKey};

/// Accepts every P-256 key that the client proves to have, and clients without one. Names, dates and issuers of
/// certificates mean nothing here.
#[derive(Debug)]
pub(super) struct AnyKey {
    raw: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AnyKey {
    /// Creates a verifier of raw keys, or of certificates.
    pub(super) fn new(raw: bool) -> Self {
        Self { raw, algorithms: provider().signature_verification_algorithms }
    }
}

impl ClientCertVerifier for AnyKey {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        key_of(end_entity).ok_or(CertificateError::BadEncoding)?;
        Ok(ClientCertVerified::assertion())
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
        if self.raw {
            let key = SubjectPublicKeyInfoDer::from(key.as_ref());
            return verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms);
        }
        verify_tls13_signature(message, key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.raw
    }
}

/// Returns the P-256 key that a client has proven in its handshake, if it has presented one.
pub fn client_key(presented: Option<&[CertificateDer<'_>]>) -> Option<Fingerprint> {
    key_of(presented?.first()?).map(|key| key.fingerprint())
}

/// Returns the key of a certificate, or one that is raw.
fn key_of(presented: &CertificateDer<'_>) -> Option<PublicKey> {
    PublicKey::from_spki(presented).or_else(|| {
        let certificate = ParsedCertificate::try_from(presented).ok()?;
        PublicKey::from_spki(&certificate.subject_public_key_info())
    })
}
