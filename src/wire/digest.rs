//! File digests and their algorithms.

use std::fmt::{self, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A digest algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// BLAKE3, 256 bits; the default.
    Blake3,
    /// SHA-256, for comparison with published checksums.
    #[serde(rename = "sha-256")]
    Sha256,
}

/// A digest of a whole file; both algorithms yield 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The value.
    pub value: [u8; 32],
}

impl Algorithm {
    /// Returns the name in `Repr-Digest` and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blake3 => "blake3",
            Self::Sha256 => "sha-256",
        }
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "blake3" => Ok(Self::Blake3),
            "sha-256" | "sha256" => Ok(Self::Sha256),
            _ => Err(format!("{text:?} is not a known digest algorithm: use blake3 or sha-256")),
        }
    }
}

impl Digest {
    /// Returns the value in hex.
    pub fn hex(&self) -> String {
        let mut hex = String::with_capacity(2 * self.value.len());
        for byte in self.value {
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = String;

    /// Parses `ALGO:HEX`.
    fn from_str(text: &str) -> Result<Self, String> {
        let (algorithm, hex) = text.split_once(':').ok_or("write ALGO:HEX, such as blake3:af13…")?;
        let algorithm = algorithm.parse()?;
        let mut value = [0; 32];
        // `from_str_radix` would accept a sign.
        if hex.len() != 64 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(format!("a {} digest has 64 hex digits", Algorithm::as_str(algorithm)));
        }
        for (byte, at) in value.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&hex[at..at + 2], 16).map_err(|_| "the digest is not hex".to_owned())?;
        }
        Ok(Self { algorithm, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_the_typed_form() {
        let digest = Digest { algorithm: Algorithm::Sha256, value: [7; 32] };
        assert_eq!(format!("{digest:?}"), format!("Digest(sha-256:{})", "07".repeat(32)));
    }

    #[test]
    fn digests_round_trip_and_invalid_ones_are_rejected() {
        let mut value = [0; 32];
        (0..).zip(&mut value).for_each(|(at, byte)| *byte = 0xf7_u8.wrapping_mul(at));
        for algorithm in [Algorithm::Blake3, Algorithm::Sha256] {
            let digest = Digest { algorithm, value };
            assert_eq!(digest.to_string().parse(), Ok(digest));
            assert_eq!(digest.to_string().to_uppercase().parse(), Ok(digest));
        }
        for digits in [&"0".repeat(63), &"0".repeat(65), &"+f".repeat(32), &"-0".repeat(32), &"é".repeat(32), "", "x"]
        {
            let error = format!("blake3:{digits}").parse::<Digest>().unwrap_err();
            assert_eq!(error, "a blake3 digest has 64 hex digits", "{digits}");
        }
        assert!(
            format!("md5:{}", "0".repeat(64)).parse::<Digest>().is_err() && "0".repeat(64).parse::<Digest>().is_err()
        );
    }
}
