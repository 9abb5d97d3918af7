//! Failure attribution: finds the first hop, seen from the client, whose record does not attribute the failure to the
//! next.

use super::QueryResult;
use crate::error::BodyFailure;
use crate::route::Protocol;
use crate::snapshot::{BodyError, ConnRole};

/// A hop and its failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Blame {
    /// The hop, from 1.
    pub hop: usize,
    /// The hop that reported it, if it was not observed from here; 0 is this program.
    pub reporter: usize,
    /// How it failed.
    pub how: BodyFailure,
}

/// Evaluates the results of all hops, hop 1 first, after a body failed in this way at this program.
pub(crate) fn blame(results: &[QueryResult], ended: BodyFailure) -> Blame {
    // What the previous hop, or this program, observed about this one.
    let mut before = ended;
    for (hop, result) in (1..).zip(results) {
        let seen = |how| Blame { hop, reporter: 0, how };
        let reported = |how| Blame { hop, reporter: hop - 1, how };
        let record = match result {
            QueryResult::Refused => return seen(BodyFailure::Gone),
            QueryResult::NotFound => return seen(BodyFailure::Restarted),
            // A hop that closed a connection did so, even if it does not reply afterwards.
            QueryResult::TimedOut if matches!(before, BodyFailure::Closed | BodyFailure::Reset) => {
                return reported(before);
            }
            QueryResult::TimedOut => return seen(BodyFailure::Silent),
            QueryResult::Inconclusive => return reported(before),
            QueryResult::Record(record) => record,
        };
        let relays = record.role != ConnRole::Origin;
        // It is still waiting, or was until the previous hop gave up.
        let waited = record.body_error.is_none() || before == BodyFailure::Silent;
        let next = match record.body_error {
            Some(BodyError::SourceEnded) if relays => BodyFailure::Closed,
            Some(BodyError::SourceFailed) if relays => BodyFailure::Reset,
            Some(BodyError::SourceSilent) if relays => BodyFailure::Silent,
            Some(BodyError::SourceEnded | BodyError::SourceChanged) => return seen(BodyFailure::Changed),
            Some(BodyError::SourceFailed | BodyError::SourceSilent) => return seen(BodyFailure::Unreadable),
            Some(BodyError::Stopped) => return seen(BodyFailure::Stopped),
            Some(BodyError::DailyLimit) => return seen(BodyFailure::DailyLimit),
            Some(BodyError::TooSlow) => return seen(BodyFailure::TooSlow),
            Some(BodyError::ReaderStuck) => return seen(BodyFailure::Unheard),
            None | Some(BodyError::ReaderLeft) if waited && record.faults.stall => return seen(BodyFailure::Silent),
            // It waits for a hop further upstream.
            None | Some(BodyError::ReaderLeft) if before == BodyFailure::Silent && relays => BodyFailure::Silent,
            // It did its part as far as it knows, so the connection between it and the previous hop failed.
            Some(BodyError::ReaderLeft | BodyError::Other) | None => {
                return reported(before);
            }
        };
        if record.upstream_protocol == Some(Protocol::Legacy) {
            // The next hop cannot be queried: the request needs HTTP.
            return Blame { hop: hop + 1, reporter: hop, how: next };
        }
        before = next;
    }
    Blame { hop: results.len().max(1), reporter: results.len(), how: before }
}

/// Finds the first hop that does not reply while a body is stalled; hops before it are not at fault.
pub(crate) fn suspect(results: &[QueryResult]) -> Option<Blame> {
    for (hop, result) in (1..).zip(results) {
        let how = match result {
            QueryResult::Refused => BodyFailure::Gone,
            QueryResult::NotFound => BodyFailure::Restarted,
            QueryResult::TimedOut => BodyFailure::Silent,
            QueryResult::Inconclusive => return None,
            QueryResult::Record(record) if record.upstream_protocol == Some(Protocol::Legacy) => return None,
            QueryResult::Record(_) => continue,
        };
        return Some(Blame { hop, reporter: 0, how });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::TransferRecord;

    fn relay(body_error: Option<BodyError>) -> QueryResult {
        let (role, upstream_protocol) = (ConnRole::Relay, Some(Protocol::Http));
        QueryResult::Record(Box::new(TransferRecord {
            role,
            body_error,
            upstream_protocol,
            ..TransferRecord::default()
        }))
    }

    fn origin(body_error: Option<BodyError>) -> QueryResult {
        QueryResult::Record(Box::new(TransferRecord {
            role: ConnRole::Origin,
            body_error,
            ..TransferRecord::default()
        }))
    }

    fn found(results: &[QueryResult]) -> (usize, usize, BodyFailure) {
        let blame = blame(results, BodyFailure::Closed);
        (blame.hop, blame.reporter, blame.how)
    }

    #[test]
    fn finds_a_dead_hop_behind_relays_that_report_a_closed_upstream() {
        let (closed, left) = (relay(Some(BodyError::SourceEnded)), relay(Some(BodyError::ReaderLeft)));
        let origin = origin(Some(BodyError::ReaderLeft));
        for (how, result) in
            [(BodyFailure::Gone, QueryResult::Refused), (BodyFailure::Restarted, QueryResult::NotFound)]
        {
            let chain = [closed.clone(), closed.clone(), result.clone(), origin.clone()];
            assert_eq!(found(&chain), (3, 0, how));
            assert_eq!(found(&[result, left.clone(), left.clone(), origin.clone()]), (1, 0, how));
        }
    }

    #[test]
    fn an_origins_file_error_is_attributed_to_it() {
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
    fn a_failed_connection_between_live_hops_is_attributed_to_the_farther_one() {
        let (reset, left) = (relay(Some(BodyError::SourceFailed)), origin(Some(BodyError::ReaderLeft)));
        assert_eq!(found(&[reset.clone(), left]), (2, 1, BodyFailure::Reset));
        // A foreign server has no record, and the legacy program is not queried.
        assert_eq!(found(&[reset.clone(), QueryResult::Inconclusive]), (2, 1, BodyFailure::Reset));
        let QueryResult::Record(record) = relay(Some(BodyError::SourceSilent)) else { panic!("not a record") };
        let legacy =
            QueryResult::Record(Box::new(TransferRecord { upstream_protocol: Some(Protocol::Legacy), ..*record }));
        assert_eq!(found(&[legacy.clone(), QueryResult::TimedOut]), (2, 1, BodyFailure::Silent));
        assert_eq!(suspect(&[legacy, QueryResult::TimedOut]), None);
    }

    #[test]
    fn silence_is_traced_to_its_hop() {
        let (silent, waits) = (relay(Some(BodyError::SourceSilent)), relay(None));
        let chain = [silent.clone(), waits.clone(), QueryResult::TimedOut, origin(None)];
        assert_eq!(found(&chain), (3, 0, BodyFailure::Silent));
        let QueryResult::Record(record) = waits.clone() else { panic!("not a record") };
        let faults = crate::faults::Faults { stall: true, ..Default::default() };
        let stalls = QueryResult::Record(Box::new(TransferRecord { faults, ..*record }));
        assert_eq!(found(&[silent.clone(), stalls, origin(None)]), (2, 0, BodyFailure::Silent));
        assert_eq!(found(&[silent.clone(), waits, origin(None)]), (3, 2, BodyFailure::Silent));
        // The limits are the same at every hop: the previous one may have timed out first, and disconnected.
        let left = relay(Some(BodyError::ReaderLeft));
        assert_eq!(found(&[silent.clone(), left.clone(), QueryResult::TimedOut]), (3, 0, BodyFailure::Silent));
        let QueryResult::Record(record) = left else { panic!("not a record") };
        let stalls = QueryResult::Record(Box::new(TransferRecord { faults, ..*record }));
        assert_eq!(found(&[silent, stalls, origin(None)]), (2, 0, BodyFailure::Silent));
    }

    #[test]
    fn attributes_to_the_nearest_hop_without_more_evidence() {
        let nearest = (1, 0, BodyFailure::Closed);
        assert_eq!(found(&[]), nearest);
        assert_eq!(found(&[QueryResult::Inconclusive, QueryResult::Refused]), nearest);
        assert_eq!(found(&[relay(Some(BodyError::ReaderLeft)), QueryResult::Refused]), nearest);
    }

    #[test]
    fn an_early_close_is_attributed_even_without_a_later_reply() {
        let (closed, reset) = (relay(Some(BodyError::SourceEnded)), relay(Some(BodyError::SourceFailed)));
        assert_eq!(found(&[QueryResult::TimedOut, closed.clone()]), (1, 0, BodyFailure::Closed));
        assert_eq!(found(&[closed.clone(), QueryResult::TimedOut]), (2, 1, BodyFailure::Closed));
        assert_eq!(found(&[closed, reset, QueryResult::TimedOut]), (3, 2, BodyFailure::Reset));
    }

    #[test]
    fn suspects_the_first_silent_hop_while_a_body_is_stalled() {
        let fine = relay(None);
        let found = |results: &[QueryResult]| suspect(results).map(|blame| (blame.hop, blame.how));
        assert_eq!(
            found(&[fine.clone(), QueryResult::TimedOut, QueryResult::TimedOut]),
            Some((2, BodyFailure::Silent))
        );
        assert_eq!(found(&[fine.clone(), fine.clone(), origin(None)]), None);
        assert_eq!(found(&[fine, QueryResult::Inconclusive, QueryResult::TimedOut]), None);
    }
}
