//! The configurations of a node.

use std::sync::Arc;

use rcgen::{CertificateParams, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, CertificateType, ClientHello, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::{ConfigBuilder, ServerConfig, WantsVerifier, version};

use super::{ALPN, TlsError, provider};
use crate::keys::{Fingerprint, KeyPair};

/// Name in the certificate: clients check its key, not its name.
const CERTIFICATE_NAME: &str = "chainview";

/// The key of a node, for both kinds of clients.
#[derive(Debug)]
pub struct ServerTls {
    raw: Arc<ServerConfig>,
    certificate: Arc<ServerConfig>,
    key: Fingerprint,
}

impl ServerTls {
    /// Creates the configurations from a key.
    ///
    /// # Errors
    /// [`TlsError`] if the key cannot be used.
    pub fn new(pair: &KeyPair) -> Result<Self, TlsError> {
        let pkcs8 = PrivatePkcs8KeyDer::from(pair.pkcs8().to_vec());
        let key = provider().key_provider.load_private_key(pkcs8.clone_key().into())?;
        let spki = CertificateDer::from(pair.public().to_spki().to_vec());
        let raw = Arc::new(CertifiedKey::new(vec![spki], key));
        let raw =
            builder()?.with_no_client_auth().with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(raw)));
        let signing = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ECDSA_P256_SHA256)?;
        let own = CertificateParams::new([CERTIFICATE_NAME.to_owned()])?.self_signed(&signing)?;
        let certificate = builder()?.with_no_client_auth().with_single_cert(vec![own.der().clone()], pkcs8.into())?;
        let key = pair.public().fingerprint();
        Ok(Self { raw: Arc::new(without_resumption(raw)), certificate: Arc::new(without_resumption(certificate)), key })
    }

    /// Returns the fingerprint of the key.
    pub fn key(&self) -> Fingerprint {
        self.key
    }

    /// Returns the configuration for a client, by the kinds of keys that it can check.
    pub fn for_client(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let takes_raw = hello.server_cert_types().is_some_and(|kinds| kinds.contains(&CertificateType::RawPublicKey));
        Arc::clone(if takes_raw { &self.raw } else { &self.certificate })
    }
}

fn builder() -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, rustls::Error> {
    ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&version::TLS13])
}

fn without_resumption(mut config: ServerConfig) -> ServerConfig {
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}
