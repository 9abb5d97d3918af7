//! `--tls-cert`: a certificate of an authority, for clients that compare no key.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::{chainview, said};
use crate::support::process::Node;

fn pem(label: &str, der: &[u8]) -> String {
    let lines: Vec<String> =
        STANDARD.encode(der).as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Writes the certificate of a new authority, and one of it for loopback with its key.
fn write_certificates(dir: &Path, name: &str) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.distinguished_name.push(DnType::CommonName, name);
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    fs::write(dir.join(format!("{name}.ca")), pem("CERTIFICATE", authority.self_signed(&key).unwrap().der())).unwrap();
    let authority = Issuer::new(authority, key);
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    fs::write(dir.join("node.pem"), pem("CERTIFICATE", own.der())).unwrap();
    fs::write(dir.join("node.key"), pem("PRIVATE KEY", &key.serialize_der())).unwrap();
    fs::set_permissions(dir.join("node.key"), fs::Permissions::from_mode(0o600)).unwrap();
}

fn curl(node: &Node, dir: &Path, authority: &str) -> Output {
    let url = format!("https://{}/files/f", node.address());
    let ca = dir.join(authority);
    Command::new("curl").args(["-sS", "-m", "20", "--cacert", ca.to_str().unwrap(), &url]).output().unwrap()
}

#[test]
fn a_client_checks_the_certificate_of_an_authority_also_after_its_renewal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    fs::create_dir(path.join("root")).unwrap();
    fs::write(path.join("root/f"), "content").unwrap();
    let key = String::from_utf8(chainview(path, "--new-key key").stdout).unwrap().trim_end().to_owned();
    write_certificates(path, "first");
    let [identity, cert, cert_key] = ["key", "node.pem", "node.key"].map(|name| path.join(name).display().to_string());
    let flags = ["--identity", &identity, "--tls-cert", &cert, "--tls-key", &cert_key];
    let node = Node::chainview(&path.join("root"), &flags);
    let first = curl(&node, path, "first.ca");
    assert_eq!(first.stdout, b"content", "{}", said(&first));
    // Our own clients compare the key.
    fs::write(path.join("in.txt"), format!("f\n{} key={key}\n", node.address())).unwrap();
    let fetched = chainview(path, "--fetch in.txt -o got -q");
    assert_eq!(fetched.status.code(), Some(0), "{}", said(&fetched));

    write_certificates(path, "second");
    let renewed = fs::read(path.join("node.pem")).unwrap();
    let reload = |word: &str| {
        let lines = node.stderr().matches(word).count();
        rustix::process::kill_process(node.pid(), rustix::process::Signal::HUP).unwrap();
        while node.stderr().matches(word).count() == lines {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    };
    reload("certificate read again");
    assert_eq!(curl(&node, path, "second.ca").stdout, b"content");
    // 60: not the authority that is trusted.
    assert_eq!(curl(&node, path, "first.ca").status.code(), Some(60));
    fs::write(path.join("node.pem"), "no certificate").unwrap();
    reload("the certificate of before remains");
    assert_eq!(curl(&node, path, "second.ca").stdout, b"content");

    let start = |flags: &str| chainview(path, &format!("--node 127.0.0.1:0 --root root {flags}"));
    let all = format!("--identity {identity} --tls-cert {cert} --tls-key {cert_key}");
    let wrong = start(&all);
    assert!(wrong.status.code() == Some(3) && said(&wrong).contains("node.pem"), "{}", said(&wrong));
    fs::write(path.join("node.pem"), renewed).unwrap();
    fs::write(path.join("node.key"), pem("PRIVATE KEY", &KeyPair::generate().unwrap().serialize_der())).unwrap();
    let other_key = start(&all);
    assert!(other_key.status.code() == Some(3) && said(&other_key).contains("node.pem"), "{}", said(&other_key));
    fs::set_permissions(path.join("node.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let readable = start(&all);
    assert!(said(&readable).contains("other users can read this key"), "{}", said(&readable));
    let alone = start(&format!("--tls-cert {cert} --tls-key {cert_key}"));
    assert!(alone.status.code() == Some(2) && said(&alone).contains("--identity"), "{}", said(&alone));
}
