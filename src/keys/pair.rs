//! Key pairs and the text of their files: PKCS#8 in PEM, which other programs read, too.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

use super::PublicKey;

/// Largest key file read, in bytes; one has about 300, and other programs may put comments before the key.
pub const MAX_KEY_FILE: usize = 8 * 1024;
/// Bytes of a signature: two numbers.
pub(super) const SIGNATURE: usize = 64;

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// Begins the other kinds of private keys in PEM, such as encrypted ones.
const BEGIN_OTHER: &str = "-----BEGIN ";
/// Columns of the base64 in PEM (RFC 7468).
const COLUMNS: usize = 64;

/// A key pair; `Debug` shows the public key only.
pub struct KeyPair {
    pair: EcdsaKeyPair,
    public: PublicKey,
    pkcs8: Vec<u8>,
}

/// Error of a key file or of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no private key in the file.
    #[error("contains no private key: make one with --new-key")]
    Missing,
    /// The key is in another form.
    #[error("contains a key in another form, maybe encrypted: write it with \"openssl pkcs8 -topk8 -nocrypt\"")]
    Form,
    /// A line of the key is not base64, or the end is missing.
    #[error("line {line}: the key is damaged there")]
    Damaged {
        /// The line, from 1.
        line: usize,
    },
    /// The key is not one of the curve P-256.
    #[error("contains a key of another kind: P-256 is needed, as --new-key makes it")]
    Kind,
    /// The system has no random numbers.
    #[error("the system has no random numbers")]
    Random,
}

impl KeyPair {
    /// Generates a key pair; returns the text of its file, which begins with the fingerprint.
    ///
    /// # Errors
    /// [`KeyError::Random`] if the system has no random numbers.
    pub fn generate() -> Result<String, KeyError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
        let pkcs8 = pkcs8.map_err(|_| KeyError::Random)?;
        let public = Self::from_pkcs8(pkcs8.as_ref())?.public;
        let coded = STANDARD.encode(pkcs8.as_ref());
        let mut text = format!("chainview key {}\n{BEGIN}\n", public.fingerprint());
        for line in coded.as_bytes().chunks(COLUMNS) {
            text.extend(line.iter().copied().map(char::from));
            text.push('\n');
        }
        Ok(text + END + "\n")
    }

    /// Parses the text of a key file.
    ///
    /// # Errors
    /// [`KeyError`] if it is not the file of a P-256 key pair that is not encrypted.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut lines = text.lines().zip(1..);
        if !lines.any(|(line, _)| line.trim_end() == BEGIN) {
            let other = text.lines().any(|line| line.starts_with(BEGIN_OTHER));
            return Err(if other { KeyError::Form } else { KeyError::Missing });
        }
        let (mut coded, mut last) = (String::new(), 0);
        for (line, number) in lines {
            let line = line.trim_end();
            if line == END {
                let pkcs8 = STANDARD.decode(coded).map_err(|_| KeyError::Damaged { line: last })?;
                return Self::from_pkcs8(&pkcs8);
            }
            if !line.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')) {
                return Err(KeyError::Damaged { line: number });
            }
            coded.push_str(line);
            last = number;
        }
        Err(KeyError::Damaged { line: last })
    }

    fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new());
        let pair = pair.map_err(|_| KeyError::Kind)?;
        let public = PublicKey::from_point(pair.public_key().as_ref()).ok_or(KeyError::Kind)?;
        Ok(Self { pair, public, pkcs8: pkcs8.to_vec() })
    }

    /// Returns the public key.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Returns the private key in PKCS#8, for TLS.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// Signs a message; see [`PublicKey::verifies`].
    ///
    /// # Errors
    /// [`KeyError::Random`] if the system has no random numbers.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE], KeyError> {
        let signature = self.pair.sign(&SystemRandom::new(), message).map_err(|_| KeyError::Random)?;
        signature.as_ref().try_into().map_err(|_| KeyError::Random)
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyPair").field(&self.public.fingerprint()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256`; openssl computed the fingerprint, too.
    const OPENSSL: &str = "\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgfpYjeor3dzKi5tGe
GRtEFssQ9h7yAXeHYkNtqO1kq5ahRANCAAQtyxXsE07ru1ZsHPzT+PVt/SaEHbsa
MraTWjX1tECWuZqMh7NWn2O6+0LLxMAmYvT6P+pomBMRRHl/4SHZNgkz
-----END PRIVATE KEY-----
";
    const OPENSSL_FINGERPRINT: &str = "sha256:xghOvMfq1muC/F2cIjr0EZzAT2GmuAnYYt/W0dq2sNI=";

    #[test]
    fn a_generated_key_is_read_from_its_file() {
        let text = KeyPair::generate().unwrap();
        let pair = KeyPair::parse(&text).unwrap();
        assert!(text.starts_with(&format!("chainview key {}\n{BEGIN}\n", pair.public().fingerprint())), "{text}");
        assert!(text.lines().all(|line| line.len() <= COLUMNS + 2), "{text}");
        let signature = pair.sign(b"message").unwrap();
        assert!(pair.public().verifies(b"message", &signature) && !pair.public().verifies(b"massage", &signature));
        assert_ne!(KeyPair::generate().unwrap(), text);
        assert_eq!(format!("{pair:?}"), format!("KeyPair({})", pair.public().fingerprint()));
        assert!(KeyPair::parse(&text.replace('\n', "\r\n")).is_ok());
    }

    #[test]
    fn a_key_of_another_program_has_the_same_fingerprint() {
        let pair = KeyPair::parse(OPENSSL).unwrap();
        assert_eq!(pair.public().fingerprint().to_string(), OPENSSL_FINGERPRINT);
    }

    #[test]
    fn other_files_are_explained() {
        let error = |text: &str| KeyPair::parse(text).unwrap_err();
        for none in ["", "secret\n", "-----BEGIN PRIVATE KEY----"] {
            assert!(matches!(error(none), KeyError::Missing | KeyError::Form), "{none:?}");
        }
        for kind in ["EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "CERTIFICATE"] {
            assert_eq!(error(&format!("-----BEGIN {kind}-----\n")), KeyError::Form);
        }
        let lines: Vec<&str> = OPENSSL.lines().collect();
        let with = |at: usize, line: &str| {
            let mut lines = lines.clone();
            lines[at] = line;
            error(&lines.join("\n"))
        };
        assert_eq!(with(2, "not base64"), KeyError::Damaged { line: 3 });
        assert_eq!(with(3, "AAA"), KeyError::Damaged { line: 4 });
        assert_eq!(error(&lines[..3].join("\n")), KeyError::Damaged { line: 3 });
        assert_eq!(error(BEGIN), KeyError::Damaged { line: 0 });
        assert_eq!(with(1, ""), KeyError::Kind);
        // A key of Ed25519.
        let other = "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF";
        assert_eq!(error(&format!("{BEGIN}\n{other}\n{END}\n")), KeyError::Kind);
    }
}
