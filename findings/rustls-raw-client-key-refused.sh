#!/usr/bin/env bash
# rustls 0.23.46: a client that has a raw public key (RFC 7250) cannot connect to a server that asks for no key at all.
# A client whose resolver says only_raw_public_keys() offers nothing else in client_certificate_type, and a server
# whose verifier does not require raw keys refuses that ClientHello, also if client authentication is off or optional.
#
# A server that takes clients with raw keys, with certificates and with none needs a configuration for each of them,
# and has to choose among these by the ClientHello (Acceptor, then client_cert_types()).
#
# Seen with rustc 1.95, TLS 1.3, provider ring:
#   no client authentication: refused: PeerIncompatible(IncorrectCertificateTypeExtension)
#   optional, certificates: refused: PeerIncompatible(IncorrectCertificateTypeExtension)
#   optional, raw keys: done, with the client's key
#
# Needs cargo. Fails if this has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat >"$folder/Cargo.toml" <<'TOML'
[package]
name = "raw"
version = "0.0.0"
edition = "2024"

[dependencies]
rustls = { version = "=0.23.46", default-features = false, features = ["ring", "std"] }
rcgen = { version = "=0.14.10", default-features = false, features = ["ring"] }
TOML
cat >"$folder/src/main.rs" <<'RUST'
use rcgen::{CertificateParams, KeyPair, PublicKeyData};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, ServerConnection,
    SignatureScheme,
};
use std::sync::Arc;

type Checked = Result<HandshakeSignatureValid, Error>;

/// Accepts every key; `raw` is the answer to whether keys have to be raw.
#[derive(Debug)]
struct Any {
    raw: bool,
}

impl ClientCertVerifier for Any {
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }
    fn verify_client_cert(&self, _: &CertificateDer, _: &[CertificateDer], _: UnixTime) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer, _: &DigitallySignedStruct) -> Checked {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(&self, _: &[u8], _: &CertificateDer, _: &DigitallySignedStruct) -> Checked {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
    fn requires_raw_public_keys(&self) -> bool {
        self.raw
    }
}

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer,
        _: &[CertificateDer],
        _: &ServerName,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer, _: &DigitallySignedStruct) -> Checked {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(&self, _: &[u8], _: &CertificateDer, _: &DigitallySignedStruct) -> Checked {
        Ok(HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// Runs a handshake in memory: the client has a raw key, and the server's demand for one is this.
fn outcome(demand: Option<bool>) -> String {
    let provider = Arc::new(default_provider());
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(["server".to_owned()]).unwrap().self_signed(&key).unwrap();
    let pkcs8 = || PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13]).unwrap();
    let builder = match demand {
        Some(raw) => builder.with_client_cert_verifier(Arc::new(Any { raw })),
        None => builder.with_no_client_auth(),
    };
    let server = builder.with_single_cert(vec![own.der().clone()], pkcs8()).unwrap();
    let signing = provider.key_provider.load_private_key(pkcs8()).unwrap();
    let raw = CertifiedKey::new(vec![CertificateDer::from(key.subject_public_key_info())], signing);
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Any { raw: false }))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::new(raw))));
    let mut client = ClientConnection::new(Arc::new(client), ServerName::try_from("server").unwrap()).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    for _ in 0..4 {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).unwrap();
        }
        let mut left = &bytes[..];
        while !left.is_empty() {
            server.read_tls(&mut left).unwrap();
            if let Err(error) = server.process_new_packets() {
                return format!("refused: {error:?}");
            }
        }
        let mut bytes = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut bytes).unwrap();
        }
        let mut left = &bytes[..];
        while !left.is_empty() {
            client.read_tls(&mut left).unwrap();
            if let Err(error) = client.process_new_packets() {
                return format!("the client refused: {error:?}");
            }
        }
    }
    match server.peer_certificates() {
        _ if server.is_handshaking() => "unfinished".to_owned(),
        Some(_) => "done, with the client's key".to_owned(),
        None => "done, without a key".to_owned(),
    }
}

fn main() {
    println!("no client authentication: {}", outcome(None));
    println!("optional, certificates: {}", outcome(Some(false)));
    println!("optional, raw keys: {}", outcome(Some(true)));
}
RUST
seen=$(cargo run --quiet --manifest-path "$folder/Cargo.toml" --target-dir "$folder/target")
expected="no client authentication: refused: PeerIncompatible(IncorrectCertificateTypeExtension)
optional, certificates: refused: PeerIncompatible(IncorrectCertificateTypeExtension)
optional, raw keys: done, with the client's key"
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed" >&2; exit 1; }
