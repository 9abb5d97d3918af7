//! Transfer ids.

use std::fmt;
use std::str::FromStr;

/// 128 random bits that identify one transfer on every hop; knowing them grants read access to its record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransferId(pub u128);

impl TransferId {
    /// Returns the first 8 of 32 digits: enough to distinguish transfers, not enough to read a record.
    pub fn short(self) -> String {
        format!("{:08x}", (self.0 >> 96) as u32)
    }
}

/// Ids under which the hops have records of one transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransferIds {
    /// The id of the request for the file.
    pub file: TransferId,
    /// The id of the tunnel that an encrypted request runs through, the only one that the relays see.
    pub tunnel: Option<TransferId>,
}

impl TransferIds {
    /// Returns the ids of a transfer whose request every hop reads.
    pub fn of(file: TransferId) -> Self {
        Self { file, tunnel: None }
    }

    /// Returns the id under which a hop has its record; the origin ends the tunnel, and reads the request.
    pub fn at(self, is_origin: bool) -> TransferId {
        self.tunnel.filter(|_| !is_origin).unwrap_or(self.file)
    }
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TransferId {
    /// Shortened: more users read logs than may read transfer records.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransferId({}…)", self.short())
    }
}

impl FromStr for TransferId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Two 64-bit halves are faster than one u128, and every request carries an id.
        let half = |digits: &[u8]| {
            let digit = |value: u64, digit: &u8| Some(value << 4 | u64::from(char::from(*digit).to_digit(16)?));
            digits.iter().try_fold(0, digit).map(u128::from)
        };
        let value = match text.as_bytes().split_at_checked(16) {
            Some((high, low)) if low.len() == 16 => half(high).zip(half(low)),
            _ => None,
        };
        value.map(|(high, low)| Self(high << 64 | low)).ok_or_else(|| "a transfer id has 32 hex digits".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relays_of_an_encrypted_transfer_have_the_id_of_the_tunnel() {
        let (file, tunnel) = (TransferId(1), Some(TransferId(2)));
        assert_eq!([false, true].map(|is_origin| TransferIds::of(file).at(is_origin).0), [1, 1]);
        assert_eq!([false, true].map(|is_origin| TransferIds { file, tunnel }.at(is_origin).0), [2, 1]);
    }

    #[test]
    fn ids_have_exactly_32_hex_digits() {
        let digits = "0123456789abcdefFEDCBA9876543210";
        assert_eq!(digits.parse(), Ok(TransferId(0x0123_4567_89ab_cdef_fedc_ba98_7654_3210)));
        for none in ["", &digits[1..], &format!("{digits}0"), &format!("+{}", &digits[1..]), &digits.replace('f', "g")]
        {
            assert!(none.parse::<TransferId>().is_err(), "{none:?}");
        }
    }

    #[test]
    fn debug_output_shortens_ids() {
        let id: TransferId = "6f1c00000000000000000000000000ff".parse().unwrap();
        assert_eq!((id.short(), format!("{id:?}")), ("6f1c0000".to_owned(), "TransferId(6f1c0000…)".to_owned()));
    }
}
