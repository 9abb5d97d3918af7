//! The configurations of a node.

use std::sync::{Arc, PoisonError, RwLock};

use rcgen::{CertificateParams, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{
    AlwaysResolvesServerRawPublicKeys, CertificateType, ClientHello, NoServerSessionStorage, ResolvesServerCert,
};
use rustls::sign::CertifiedKey;
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
    presented: Arc<Presented>,
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

/// The certificate for clients that cannot check raw keys, which can be replaced while nodes run.
#[derive(Debug)]
struct Presented(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Presented {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
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
        let presented = Arc::new(Presented(RwLock::new(Arc::new(own))));
        Ok(Self {
            raw: ForKeys::new(&(raw as _))?,
            certificate: ForKeys::new(&(Arc::clone(&presented) as _))?,
            presented,
            key: pair.public().fingerprint(),
        })
    }

    /// Presents this certificate, with those that lead to its authority, to clients that cannot check raw keys; both
    /// texts are in PEM. Handshakes that have begun keep the one before.
    ///
    /// # Errors
    /// [`TlsError`] if a text is not in this form, or the key is not that of the certificate.
    pub fn present(&self, certificates: &str, key: &str) -> Result<(), TlsError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(certificates.as_bytes()).collect::<Result<_, _>>()?;
        if chain.is_empty() {
            return Err(TlsError::Pem(pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        let certified = CertifiedKey::from_der(chain, key, &provider())?;
        *self.presented.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
        Ok(())
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
