//! The configurations of a node.

use std::sync::Arc;

use rcgen::{CertificateParams, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::{
    AlwaysResolvesServerRawPublicKeys, CertificateType, ClientHello, NoServerSessionStorage, ResolvesServerCert,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ConfigBuilder, ServerConfig, WantsVerifier, version};

use super::client_key::AnyKey;
use super::{ALPN, TlsError, provider, raw_key};
use crate::keys::{Fingerprint, KeyPair};

/// Name in the certificate: clients check its key, not its name.
const CERTIFICATE_NAME: &str = "chainview";

/// The key of a node, for all kinds of clients.
#[derive(Debug)]
pub struct ServerTls {
    raw: ForKeys,
    certificate: ForKeys,
    key: Fingerprint,
}

/// Configurations with one form of the node's key, by the keys of clients.
#[derive(Debug)]
struct ForKeys {
    /// For those that have none.
    none: Arc<ServerConfig>,
    /// For those that present a raw key.
    raw: Arc<ServerConfig>,
    /// For those that may present a certificate.
    certificate: Arc<ServerConfig>,
}

impl ServerTls {
    /// Creates the configurations from a key.
    ///
    /// # Errors
    /// [`TlsError`] if the key cannot be used.
    pub fn new(pair: &KeyPair) -> Result<Self, TlsError> {
        let raw = Arc::new(AlwaysResolvesServerRawPublicKeys::new(raw_key(pair)?));
        let pkcs8 = PrivatePkcs8KeyDer::from(pair.pkcs8().to_vec());
        let signing = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ECDSA_P256_SHA256)?;
        let own = CertificateParams::new([CERTIFICATE_NAME.to_owned()])?.self_signed(&signing)?;
        let key = provider().key_provider.load_private_key(pkcs8.into())?;
        let own = CertifiedKey::new(vec![own.der().clone()], key);
        Ok(Self {
            raw: ForKeys::new(&(raw as _))?,
            certificate: ForKeys::new(&(Arc::new(SingleCertAndKey::from(own)) as _))?,
            key: pair.public().fingerprint(),
        })
    }

    /// Returns the fingerprint of the key.
    pub fn key(&self) -> Fingerprint {
        self.key
    }

    /// Returns the configuration for a client, by the kinds of keys that it can check and present. `asks` is true if
    /// the node has a use for the key of a client that does not offer one by itself: a browser shows its user a choice
    /// of certificates then.
    pub fn for_client(&self, hello: &ClientHello<'_>, asks: bool) -> Arc<ServerConfig> {
        let has_raw = |kinds: Option<&[CertificateType]>| {
            kinds.is_some_and(|kinds| kinds.contains(&CertificateType::RawPublicKey))
        };
        let takes_raw = has_raw(hello.server_cert_types());
        let configs = if takes_raw { &self.raw } else { &self.certificate };
        Arc::clone(if has_raw(hello.client_cert_types()) {
            &configs.raw
        } else if asks && !takes_raw {
            &configs.certificate
        } else {
            // Programs of this kind offer their key, if they have one.
            &configs.none
        })
    }
}

impl ForKeys {
    fn new(own: &Arc<dyn ResolvesServerCert>) -> Result<Self, rustls::Error> {
        let config = |verifier: Option<AnyKey>| {
            let builder = builder()?;
            let builder = match verifier {
                Some(verifier) => builder.with_client_cert_verifier(Arc::new(verifier)),
                None => builder.with_no_client_auth(),
            };
            Ok::<_, rustls::Error>(Arc::new(without_resumption(builder.with_cert_resolver(Arc::clone(own)))))
        };
        Ok(Self {
            none: config(None)?,
            raw: config(Some(AnyKey::new(true)))?,
            certificate: config(Some(AnyKey::new(false)))?,
        })
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
