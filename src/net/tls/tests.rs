//! Handshakes over real connections.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::keys::{Fingerprint, KeyPair};
use crate::net::os::socket::Socket;

pub(in crate::net) fn pair() -> KeyPair {
    KeyPair::parse(&KeyPair::generate().unwrap()).unwrap()
}

/// Connects a client that expects this key with a server that has that one, which reads some bytes before.
pub(in crate::net) async fn connected(
    expected: &KeyPair,
    server: &KeyPair,
    early: usize,
) -> (io::Result<Socket>, io::Result<Socket>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = ClientTls::new(expected.public().fingerprint(), None).unwrap();
    let server = ServerTls::new(server).unwrap();
    let connecting = async {
        let mut stream = Socket::new(TcpStream::connect(address).await.unwrap());
        let handshake = stream.begin_tls(client.config(), ServerName::IpAddress(address.ip().into())).unwrap();
        stream.write_all(handshake.hello()).await.unwrap();
        // A tunnel's reply may bring the first bytes of the handshake.
        let mut received = vec![0; early];
        stream.read_exact(&mut received).await.unwrap();
        handshake.complete(received).await
    };
    let accepting = async {
        let mut stream = Socket::new(listener.accept().await.unwrap().0);
        let mut received = vec![0; early];
        stream.read_exact(&mut received).await.unwrap();
        stream.accept_tls(received, |hello| server.for_client(hello, true)).await
    };
    tokio::join!(connecting, accepting)
}

#[tokio::test]
async fn bytes_of_every_size_arrive_both_ways_without_a_flush() {
    let key = pair();
    for early in [0, 1, 5, 60] {
        let (near, far) = connected(&key, &key, early).await;
        let (mut near, mut far) = (near.unwrap(), far.unwrap());
        assert!(!near.is_plain() && near.handshake(|session| session.alpn_protocol() == Some(ALPN)) == Some(true));
        let _held = (near.held(), far.held());
        let content: Vec<u8> = (0..3_000_000).map(|at| (at % 251) as u8).collect();
        let sent = content.clone();
        let sending = async move {
            near.write_all(&sent[..7]).await.unwrap();
            let first = near.write_vectored(&[io::IoSlice::new(&sent[7..9]), io::IoSlice::new(&sent[9..99])]).await;
            near.write_all(&sent[7 + first.unwrap()..]).await.unwrap();
            // The last bytes arrive although nothing follows them.
            let mut answer = [0; 5];
            near.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"whole");
            near.shutdown().await.unwrap();
            assert_eq!(near.read(&mut answer).await.unwrap(), 0, "a clean end");
        };
        let receiving = async move {
            let mut received = vec![0; content.len()];
            far.read_exact(&mut received).await.unwrap();
            assert!(received == content);
            far.write_all(b"whole").await.unwrap();
            assert_eq!(far.read(&mut received).await.unwrap(), 0, "a clean end");
            far.shutdown().await.unwrap();
        };
        tokio::join!(sending, receiving);
    }
}

#[tokio::test]
async fn another_key_is_refused_and_named() {
    let (expected, other) = (pair(), pair());
    let (near, far) = connected(&expected, &other, 0).await;
    let error = near.unwrap_err();
    let wrong = WrongKey { expected: expected.public().fingerprint(), found: other.public().fingerprint() };
    assert_eq!(WrongKey::in_error(&error), Some(wrong), "{error}");
    assert!(far.is_err());
}

#[tokio::test]
async fn a_connection_that_is_cut_does_not_end_cleanly() {
    let key = pair();
    let (near, far) = connected(&key, &key, 0).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    near.write_all(b"part").await.unwrap();
    // The end of TCP without that of TLS.
    rustix::net::shutdown(&*near, rustix::net::Shutdown::Write).unwrap();
    let mut received = Vec::new();
    assert_eq!(far.read_to_end(&mut received).await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(received, b"part");
}

#[tokio::test]
async fn what_a_record_brought_is_ready_without_another_packet() {
    let key = pair();
    let (near, far) = connected(&key, &key, 0).await;
    let (mut near, mut far) = (near.unwrap(), far.unwrap());
    near.write_all(b"two bytes").await.unwrap();
    for expected in b"two bytes" {
        std::future::poll_fn(|cx| far.poll_read_ready(cx)).await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), *expected);
    }
}

#[tokio::test]
async fn a_client_without_raw_keys_gets_a_certificate_of_the_same_key() {
    let key = pair();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = ServerTls::new(&key).unwrap();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let accepting = async {
        let stream = Socket::new(listener.accept().await.unwrap().0);
        stream.accept_tls(Vec::new(), |hello| server.for_client(hello, true)).await
    };
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Recorder(Arc::clone(&seen))))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), ALPN.to_vec()];
    let connecting = async {
        let mut stream = Socket::new(TcpStream::connect(address).await.unwrap());
        let handshake = stream.begin_tls(Arc::new(config), ServerName::IpAddress(address.ip().into())).unwrap();
        stream.write_all(handshake.hello()).await.unwrap();
        handshake.complete(Vec::new()).await
    };
    let (near, far) = tokio::join!(connecting, accepting);
    near.unwrap();
    far.unwrap();
    let spki = key.public().to_spki();
    let certificate = seen.lock().unwrap().clone();
    assert!(certificate.windows(spki.len()).any(|part| part == spki), "the certificate has the key");
}

/// Connects a client with a configuration to a server, which asks for keys, or does not; returns the key that the
/// server has seen.
async fn key_at(server: &ServerTls, config: Arc<rustls::ClientConfig>, asks: bool) -> Option<Fingerprint> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = async {
        let stream = Socket::new(listener.accept().await.unwrap().0);
        stream.accept_tls(Vec::new(), |hello| server.for_client(hello, asks)).await.unwrap()
    };
    let connecting = async {
        let mut stream = Socket::new(TcpStream::connect(address).await.unwrap());
        let handshake = stream.begin_tls(config, ServerName::IpAddress(address.ip().into())).unwrap();
        stream.write_all(handshake.hello()).await.unwrap();
        handshake.complete(Vec::new()).await.unwrap()
    };
    let (_near, far) = tokio::join!(connecting, accepting);
    far.handshake(|session| client_key(session.peer_certificates())).unwrap()
}

#[tokio::test]
async fn a_client_may_present_its_key_raw_or_in_a_certificate() {
    let (server, client) = (pair(), pair());
    let tls = ServerTls::new(&server).unwrap();
    let own = Some(client.public().fingerprint());
    let expected = server.public().fingerprint();
    for asks in [true, false] {
        assert_eq!(key_at(&tls, ClientTls::new(expected, Some(&client)).unwrap().config(), asks).await, own);
        assert_eq!(key_at(&tls, ClientTls::new(expected, None).unwrap().config(), asks).await, None);
    }
    let pkcs8 = PrivatePkcs8KeyDer::from(client.pkcs8().to_vec());
    let signing = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = rcgen::CertificateParams::new(["anyone".to_owned()]).unwrap();
    // Dates mean nothing: the operator removes a key from the file.
    params.not_after = rcgen::date_time_ymd(2001, 1, 1);
    let certificate = params.self_signed(&signing).unwrap().der().clone();
    let other = || {
        rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Recorder(Arc::default())))
    };
    let with = Arc::new(other().with_client_auth_cert(vec![certificate], pkcs8.into()).unwrap());
    assert_eq!(key_at(&tls, Arc::clone(&with), true).await, own);
    assert_eq!(key_at(&tls, with, false).await, None, "it was not asked");
    assert_eq!(key_at(&tls, Arc::new(other().with_no_client_auth()), true).await, None);
}

/// Accepts every certificate, and records it.
#[derive(Debug)]
struct Recorder(Arc<std::sync::Mutex<Vec<u8>>>);

impl rustls::client::danger::ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap() = end_entity.to_vec();
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        panic!("TLS 1.2")
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
