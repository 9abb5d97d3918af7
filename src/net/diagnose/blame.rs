//! Who broke a transfer: the first hop, seen from the client, whose account does not put it on the next.

use super::ProbeResult;
use crate::error::BodyFailure;
use crate::route::Protocol;
use crate::snapshot::{BodyError, ConnRole};

/// A hop and what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blame {
    /// The hop, from 1.
    pub hop: usize,
    /// The hop that says so, where it is not seen from here; 0 is this program.
    pub reporter: usize,
    /// What it did.
    pub how: BodyFailure,
}

/// Judges what the hops of a chain answered, hop 1 first, after a body broke off in this way before this program.
pub(crate) fn blame(findings: &[ProbeResult], ended: BodyFailure) -> Blame {
    // What the hop before, or this program, says that this one did.
    let mut before = ended;
    for (hop, finding) in (1..).zip(findings) {
        let seen = |how| Blame { hop, reporter: 0, how };
        let told = |how| Blame { hop, reporter: hop - 1, how };
        let account = match finding {
            ProbeResult::Gone => return seen(BodyFailure::Gone),
            ProbeResult::Forgot => return seen(BodyFailure::Restarted),
            // Whoever ended a connection did so, although it has nothing to say afterwards.
            ProbeResult::Silent if matches!(before, BodyFailure::Closed | BodyFailure::Reset) => return told(before),
            ProbeResult::Silent => return seen(BodyFailure::Silent),
            ProbeResult::Unknown => return told(before),
            ProbeResult::Account(account) => account,
        };
        let relays = account.role != ConnRole::Origin;
        // It waits still, or did until the hop before waited no longer.
        let waited = account.body_error.is_none() || before == BodyFailure::Silent;
        let next = match account.body_error {
            Some(BodyError::SourceEnded) if relays => BodyFailure::Closed,
            Some(BodyError::SourceFailed) if relays => BodyFailure::Reset,
            Some(BodyError::SourceSilent) if relays => BodyFailure::Silent,
            Some(BodyError::SourceEnded | BodyError::SourceChanged) => return seen(BodyFailure::Changed),
            Some(BodyError::SourceFailed | BodyError::SourceSilent) => return seen(BodyFailure::Unreadable),
            Some(BodyError::Stopped) => return seen(BodyFailure::Stopped),
            Some(BodyError::TooSlow) => return seen(BodyFailure::TooSlow),
            Some(BodyError::ReaderStuck) => return seen(BodyFailure::Unheard),
            None | Some(BodyError::ReaderLeft) if waited && account.faults.stall => return seen(BodyFailure::Silent),
            // It waits itself, for somebody further up.
            None | Some(BodyError::ReaderLeft) if before == BodyFailure::Silent && relays => BodyFailure::Silent,
            // It did its part as far as it knows, so it is the connection between it and the hop before that broke.
            Some(BodyError::ReaderLeft | BodyError::Other) | None => {
                return told(before);
            }
        };
        if account.upstream_protocol == Some(Protocol::Legacy) {
            // The next hop cannot be asked: the question is one of HTTP.
            return Blame { hop: hop + 1, reporter: hop, how: next };
        }
        before = next;
    }
    Blame { hop: findings.len().max(1), reporter: findings.len(), how: before }
}

/// The first hop that does not answer although nothing says that it is gone in order, while a body stands still: those
/// before it are innocent.
pub(crate) fn suspect(findings: &[ProbeResult]) -> Option<Blame> {
    for (hop, finding) in (1..).zip(findings) {
        let how = match finding {
            ProbeResult::Gone => BodyFailure::Gone,
            ProbeResult::Forgot => BodyFailure::Restarted,
            ProbeResult::Silent => BodyFailure::Silent,
            ProbeResult::Unknown => return None,
            ProbeResult::Account(account) if account.upstream_protocol == Some(Protocol::Legacy) => return None,
            ProbeResult::Account(_) => continue,
        };
        return Some(Blame { hop, reporter: 0, how });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::TransferRecord;

    fn relay(body_error: Option<BodyError>) -> ProbeResult {
        let (role, upstream_protocol) = (ConnRole::Relay, Some(Protocol::Http));
        ProbeResult::Account(Box::new(TransferRecord {
            role,
            body_error,
            upstream_protocol,
            ..TransferRecord::default()
        }))
    }

    fn origin(body_error: Option<BodyError>) -> ProbeResult {
        ProbeResult::Account(Box::new(TransferRecord {
            role: ConnRole::Origin,
            body_error,
            ..TransferRecord::default()
        }))
    }

    fn found(findings: &[ProbeResult]) -> (usize, usize, BodyFailure) {
        let blame = blame(findings, BodyFailure::Closed);
        (blame.hop, blame.reporter, blame.how)
    }

    #[test]
    fn a_hop_that_is_gone_is_found_behind_those_that_say_their_next_one_closed() {
        let (closed, left) = (relay(Some(BodyError::SourceEnded)), relay(Some(BodyError::ReaderLeft)));
        let origin = origin(Some(BodyError::ReaderLeft));
        for (how, finding) in [(BodyFailure::Gone, ProbeResult::Gone), (BodyFailure::Restarted, ProbeResult::Forgot)] {
            let chain = [closed.clone(), closed.clone(), finding.clone(), origin.clone()];
            assert_eq!(found(&chain), (3, 0, how));
            assert_eq!(found(&[finding, left.clone(), left.clone(), origin.clone()]), (1, 0, how));
        }
    }

    #[test]
    fn what_an_origin_says_of_its_file_is_its_own() {
        let closed = relay(Some(BodyError::SourceEnded));
        for (how, body_error) in [
            (BodyFailure::Changed, BodyError::SourceEnded),
            (BodyFailure::Changed, BodyError::SourceChanged),
            (BodyFailure::Unreadable, BodyError::SourceFailed),
            (BodyFailure::Stopped, BodyError::Stopped),
        ] {
            assert_eq!(found(&[closed.clone(), origin(Some(body_error))]), (2, 0, how));
        }
    }

    #[test]
    fn a_broken_connection_between_two_hops_that_live_is_put_on_the_farther_one() {
        let (reset, left) = (relay(Some(BodyError::SourceFailed)), origin(Some(BodyError::ReaderLeft)));
        assert_eq!(found(&[reset.clone(), left]), (2, 1, BodyFailure::Reset));
        // A foreign server gives no account, and an original program is not asked.
        assert_eq!(found(&[reset.clone(), ProbeResult::Unknown]), (2, 1, BodyFailure::Reset));
        let ProbeResult::Account(account) = relay(Some(BodyError::SourceSilent)) else { panic!("not an account") };
        let legacy =
            ProbeResult::Account(Box::new(TransferRecord { upstream_protocol: Some(Protocol::Legacy), ..*account }));
        assert_eq!(found(&[legacy.clone(), ProbeResult::Silent]), (2, 1, BodyFailure::Silent));
        assert_eq!(suspect(&[legacy, ProbeResult::Silent]), None);
    }

    #[test]
    fn a_silence_is_followed_to_the_hop_that_it_comes_from() {
        let (silent, waits) = (relay(Some(BodyError::SourceSilent)), relay(None));
        let chain = [silent.clone(), waits.clone(), ProbeResult::Silent, origin(None)];
        assert_eq!(found(&chain), (3, 0, BodyFailure::Silent));
        let ProbeResult::Account(account) = waits.clone() else { panic!("not an account") };
        let faults = crate::faults::Faults { stall: true, ..Default::default() };
        let stalls = ProbeResult::Account(Box::new(TransferRecord { faults, ..*account }));
        assert_eq!(found(&[silent.clone(), stalls, origin(None)]), (2, 0, BodyFailure::Silent));
        assert_eq!(found(&[silent.clone(), waits, origin(None)]), (3, 2, BodyFailure::Silent));
        // The limits are the same at every hop: the one before may have run out of patience first, and left.
        let left = relay(Some(BodyError::ReaderLeft));
        assert_eq!(found(&[silent.clone(), left.clone(), ProbeResult::Silent]), (3, 0, BodyFailure::Silent));
        let ProbeResult::Account(account) = left else { panic!("not an account") };
        let stalls = ProbeResult::Account(Box::new(TransferRecord { faults, ..*account }));
        assert_eq!(found(&[silent, stalls, origin(None)]), (2, 0, BodyFailure::Silent));
    }

    #[test]
    fn the_nearest_is_named_where_nobody_knows_more() {
        let nearest = (1, 0, BodyFailure::Closed);
        assert_eq!(found(&[]), nearest);
        assert_eq!(found(&[ProbeResult::Unknown, ProbeResult::Gone]), nearest);
        assert_eq!(found(&[relay(Some(BodyError::ReaderLeft)), ProbeResult::Gone]), nearest);
    }

    #[test]
    fn whoever_closed_early_did_so_although_it_answers_no_question_afterwards() {
        let (closed, reset) = (relay(Some(BodyError::SourceEnded)), relay(Some(BodyError::SourceFailed)));
        assert_eq!(found(&[ProbeResult::Silent, closed.clone()]), (1, 0, BodyFailure::Closed));
        assert_eq!(found(&[closed.clone(), ProbeResult::Silent]), (2, 1, BodyFailure::Closed));
        assert_eq!(found(&[closed, reset, ProbeResult::Silent]), (3, 2, BodyFailure::Reset));
    }

    #[test]
    fn while_a_body_stands_still_the_first_that_does_not_answer_is_named() {
        let fine = relay(None);
        let found = |findings: &[ProbeResult]| suspect(findings).map(|blame| (blame.hop, blame.how));
        assert_eq!(found(&[fine.clone(), ProbeResult::Silent, ProbeResult::Silent]), Some((2, BodyFailure::Silent)));
        assert_eq!(found(&[fine.clone(), fine.clone(), origin(None)]), None);
        assert_eq!(found(&[fine, ProbeResult::Unknown, ProbeResult::Silent]), None);
    }
}
