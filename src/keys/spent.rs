//! Signed requests that a node has served: each is served once.

use std::collections::BTreeMap;

use super::signature::SignedId;
use super::signature_error::MAX_AGE;

/// Most requests that are remembered, in some 50 MB: those of two minutes at 8,000 a second.
pub const MAX_SPENT: usize = 1_000_000;

/// The signed requests of the last minutes. Older ones, and those of the time before this table, are refused by their
/// age.
#[derive(Debug)]
pub struct SpentIds {
    since: u64,
    max: usize,
    ids: BTreeMap<Id, Use>,
}

/// A signed request: when it was signed, a part of its key, and its number. The part of the key keeps one key from
/// using up the numbers of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    created: u64,
    key: u64,
    nonce: u128,
}

/// How often a signed request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Once; no byte of a reply was sent.
    Once,
    /// A reply was sent, or it has come for the second time.
    Spent,
}

/// Reason for which a signed request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpentError {
    /// It was served already.
    #[error("this signed request was served already: each is served once")]
    Replayed,
    /// It was signed before this table, which would contain it.
    #[error("signed before this node was started: sign it again")]
    BeforeStart,
    /// Too many requests are remembered.
    #[error("too many signed requests in the last minutes")]
    Full,
}

impl SpentIds {
    /// Returns an empty table that refuses what was signed before this time, in seconds since 1970: one before it may
    /// have contained that.
    pub fn new(since: u64) -> Self {
        Self { since, max: MAX_SPENT, ids: BTreeMap::new() }
    }

    /// Admits a signed request that has come at this time. Until [`Self::spend`] it may come once more: a relay that
    /// finds an idle connection closed sends it again over another.
    ///
    /// # Errors
    /// [`SpentError`] if it was served before, may have been, or cannot be remembered.
    pub fn admit(&mut self, id: SignedId, now: u64) -> Result<(), SpentError> {
        let oldest = Id { created: now.saturating_sub(MAX_AGE), key: 0, nonce: 0 };
        if self.ids.first_key_value().is_some_and(|(first, _)| *first < oldest) {
            self.ids = self.ids.split_off(&oldest);
        }
        if id.created < self.since {
            return Err(SpentError::BeforeStart);
        }
        let full = self.ids.len() >= self.max;
        match self.ids.get_mut(&Id::of(id)) {
            Some(Use::Spent) => Err(SpentError::Replayed),
            Some(once) => {
                *once = Use::Spent;
                Ok(())
            }
            None if full => Err(SpentError::Full),
            None => {
                self.ids.insert(Id::of(id), Use::Once);
                Ok(())
            }
        }
    }

    /// Records that a reply to a request begins.
    pub fn spend(&mut self, id: SignedId) {
        if let Some(once) = self.ids.get_mut(&Id::of(id)) {
            *once = Use::Spent;
        }
    }
}

impl Id {
    fn of(id: SignedId) -> Self {
        let key = id.key.as_bytes().first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        Self { created: id.created, key, nonce: id.nonce }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Fingerprint;

    const NOW: u64 = 1_800_000_000;

    fn id(created: u64, nonce: u128) -> SignedId {
        SignedId { created, nonce, key: Fingerprint::new([1; 32]) }
    }

    #[test]
    fn a_request_is_served_once() {
        let mut spent = SpentIds::new(NOW);
        assert_eq!(spent.admit(id(NOW, 1), NOW), Ok(()));
        spent.spend(id(NOW, 1));
        assert_eq!(spent.admit(id(NOW, 1), NOW), Err(SpentError::Replayed));
        assert_eq!(spent.admit(id(NOW, 2), NOW), Ok(()));
        let other = SignedId { key: Fingerprint::new([2; 32]), ..id(NOW, 1) };
        assert_eq!(spent.admit(other, NOW), Ok(()), "another key has numbers of its own");
    }

    #[test]
    fn before_a_reply_it_may_come_once_more() {
        let mut spent = SpentIds::new(NOW);
        assert_eq!([1, 2, 3].map(|_| spent.admit(id(NOW, 1), NOW)), [Ok(()), Ok(()), Err(SpentError::Replayed)]);
        spent.spend(id(NOW, 9));
        assert_eq!(spent.admit(id(NOW, 9), NOW), Ok(()), "nothing to spend");
    }

    #[test]
    fn what_was_signed_before_the_start_is_refused() {
        let mut spent = SpentIds::new(NOW);
        assert_eq!(spent.admit(id(NOW - 1, 1), NOW), Err(SpentError::BeforeStart));
        assert_eq!(spent.admit(id(NOW, 1), NOW), Ok(()));
    }

    #[test]
    fn the_table_is_bounded_and_forgets_what_is_too_old_anyway() {
        let mut spent = SpentIds { max: 2, ..SpentIds::new(NOW) };
        for nonce in [1, 2] {
            assert_eq!(spent.admit(id(NOW + u64::try_from(nonce).unwrap(), nonce), NOW), Ok(()));
        }
        assert_eq!(spent.admit(id(NOW + 3, 3), NOW + 121), Err(SpentError::Full));
        assert_eq!(spent.admit(id(NOW + 1, 1), NOW + 121), Ok(()), "it is remembered as long as it can come");
        assert_eq!(spent.admit(id(NOW + 1, 1), NOW + 121), Err(SpentError::Replayed));
        assert_eq!(spent.admit(id(NOW + 3, 3), NOW + 122), Ok(()));
        assert_eq!(spent.ids.len(), 2);
    }
}
