//! The name of a transfer on every hop.

use std::fmt;
use std::str::FromStr;

/// 128 random bits that name one transfer on every hop; knowing them is the right to read about it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TransferId(pub u128);

impl TransferId {
    /// The first 8 of 32 digits: enough to tell transfers apart, not enough to read about one.
    pub fn short(self) -> String {
        format!("{:08x}", (self.0 >> 96) as u32)
    }
}

impl fmt::Display for TransferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TransferId {
    /// A log is read by more people than may read about a transfer.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TransferId({}…)", self.short())
    }
}

impl FromStr for TransferId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        u128::from_str_radix(text, 16)
            .ok()
            .filter(|_| digits)
            .map(Self)
            .ok_or_else(|| "a transfer id has 32 hex digits".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_tells_less_of_an_id_than_reading_about_it_takes() {
        let id: TransferId = "6f1c00000000000000000000000000ff".parse().unwrap();
        assert_eq!((id.short(), format!("{id:?}")), ("6f1c0000".to_owned(), "TransferId(6f1c0000…)".to_owned()));
    }
}
