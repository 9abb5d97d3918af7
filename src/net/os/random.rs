//! Random identifiers from the system: transfer ids, tokens, names of a node's run.

use crate::secret::Secret;
use crate::wire::TransferId;

/// Returns a new transfer id.
pub fn transfer_id() -> TransferId {
    TransferId(u128::from_le_bytes(random()))
}

/// Returns a new token.
pub fn secret() -> Secret {
    Secret::from_bits(u128::from_le_bytes(random()))
}

/// Returns 32 random hex digits, for names of runs.
pub fn word() -> String {
    transfer_id().to_string()
}

/// Returns random bytes of the system.
pub(super) fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    // The system's generator is available from boot on; without it no id and no token could be trusted.
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_made_twice() {
        let secret = secret();
        assert_eq!(secret.reveal().len(), 32);
        assert_ne!(secret.reveal(), super::secret().reveal());
    }
}
