//! Random identifiers from the system: transfer ids, tokens, names of a node's run.

use std::cell::RefCell;

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
pub(super) fn random<const LENGTH: usize>() -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    // The system's generator is available from boot on; without it no id and no token could be trusted.
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    bytes
}

/// Bytes of one id.
const ID: usize = 16;

/// Returns random bytes for an id. The system is asked once for sixteen of them: each request without an id needs one.
pub(super) fn random_id() -> [u8; ID] {
    thread_local! {
        static STOCK: RefCell<([u8; 16 * ID], usize)> = const { RefCell::new(([0; 16 * ID], 0)) };
    }
    STOCK.with_borrow_mut(|(stock, left)| {
        if *left == 0 {
            (*stock, *left) = (random(), 16);
        }
        *left -= 1;
        let mut id = [0; ID];
        id.copy_from_slice(&stock[*left * ID..][..ID]);
        id
    })
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

    #[test]
    fn no_id_is_made_twice_in_any_thread() {
        let ids = || (0..100).map(|_| random_id()).collect::<Vec<_>>();
        let mut made = [std::thread::spawn(ids).join().unwrap(), ids()].concat();
        made.sort_unstable();
        made.dedup();
        assert_eq!(made.len(), 200);
    }
}
