//! Public keys: points of P-256.

use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use sha2::{Digest, Sha256};

use super::Fingerprint;

/// `SubjectPublicKeyInfo` of every uncompressed P-256 key up to its point: the types `id-ecPublicKey` and `prime256v1`,
/// and the length of the point.
const SPKI_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// Bytes of an uncompressed point: a marker and two coordinates.
const POINT: usize = 65;
/// Marks an uncompressed point.
const UNCOMPRESSED: u8 = 4;
/// Bytes of a `SubjectPublicKeyInfo`.
pub(super) const SPKI: usize = SPKI_PREFIX.len() + POINT;

/// A public key; whether its point is on the curve shows when a signature is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; POINT]);

impl PublicKey {
    /// Creates a key from its uncompressed point; `None` for anything else.
    pub(super) fn from_point(point: &[u8]) -> Option<Self> {
        point.try_into().ok().filter(|point: &[u8; POINT]| point[0] == UNCOMPRESSED).map(Self)
    }

    /// Parses a `SubjectPublicKeyInfo`; `None` if it is not that of a P-256 key with an uncompressed point.
    pub fn from_spki(spki: &[u8]) -> Option<Self> {
        Self::from_point(spki.strip_prefix(&SPKI_PREFIX)?)
    }

    /// Returns the `SubjectPublicKeyInfo`.
    pub fn to_spki(&self) -> [u8; SPKI] {
        let mut spki = [0; SPKI];
        spki[..SPKI_PREFIX.len()].copy_from_slice(&SPKI_PREFIX);
        spki[SPKI_PREFIX.len()..].copy_from_slice(&self.0);
        spki
    }

    /// Returns the fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::new(Sha256::digest(self.to_spki()).into())
    }

    /// Returns whether this is the key's signature of a message: SHA-256, both numbers with 32 bytes.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.0).verify(message, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    /// The key `test-key-ecc-p256` of RFC 9421, B.1.3.
    const RFC_KEY: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lfw0EkjqF7xB4FivAxzic30tMM4GF\
                           +hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==";

    #[test]
    fn the_example_of_rfc_9421_verifies() {
        let spki = STANDARD.decode(RFC_KEY).unwrap();
        let key = PublicKey::from_spki(&spki).unwrap();
        assert_eq!(key.to_spki().as_slice(), spki);
        // RFC 9421, B.2.4.
        let base = concat!(
            "\"@status\": 200\n",
            "\"content-type\": application/json\n",
            "\"content-digest\": sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4\
             l5aGgfLQ==:\n",
            "\"content-length\": 23\n",
            "\"@signature-params\": (\"@status\" \"content-type\" \"content-digest\" \"content-length\")\
             ;created=1618884473;keyid=\"test-key-ecc-p256\"",
        );
        let signature = "wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==";
        let mut signature = STANDARD.decode(signature).unwrap();
        assert!(key.verifies(base.as_bytes(), &signature));
        assert!(!key.verifies(&base.as_bytes()[1..], &signature));
        signature[63] ^= 1;
        assert!(!key.verifies(base.as_bytes(), &signature));
        assert!(!key.verifies(base.as_bytes(), b""));
    }

    #[test]
    fn other_keys_are_not_parsed() {
        let spki = PublicKey::from_point(&[UNCOMPRESSED; POINT]).unwrap().to_spki();
        assert!(PublicKey::from_spki(&spki).is_some());
        for other in [&spki[1..], &spki[..90], &[&spki[..], &[0]].concat(), b""] {
            assert_eq!(PublicKey::from_spki(other), None);
        }
        let mut compressed = spki;
        compressed[26] = 2;
        assert_eq!(PublicKey::from_spki(&compressed), None);
    }
}
