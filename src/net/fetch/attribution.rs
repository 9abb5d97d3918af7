//! Attribution of a body failure to a hop.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::body::address_of;
use super::job::FetchJob;
use super::tracker::Tracker;
use crate::error::{BodyFailure, Error, KeptBytes};
use crate::net::diagnose::{Blame, blame, query_hops};
use crate::route::Protocol;
use crate::wire::TransferIds;

/// Attributes a body failure to a hop, by querying the hops both through the chain, up to where it is interrupted, and
/// directly.
pub(super) async fn attributed(
    job: &FetchJob,
    (protocol, tracker): (Protocol, &Tracker<'_>),
    error: Error,
    stop: &CancellationToken,
) -> Error {
    let Error::Short { received, size, how, .. } = error else { return error };
    // Altered bytes leave no trace at the hops.
    if protocol == Protocol::Legacy || how == BodyFailure::Altered {
        return error;
    }
    let (reach, identity) = (job.route.hops().len(), job.identity.as_ref());
    let ids = tracker.ids().unwrap_or(TransferIds::of(job.id));
    let querying = query_hops(job.machine, &job.route, reach, ids, identity, ATTRIBUTION_TIMEOUT);
    let findings = tokio::select! {
        findings = querying => findings,
        () = stop.cancelled() => return error,
    };
    let Blame { hop, reporter, how } = blame(&findings, how);
    if how == BodyFailure::Changed {
        return Error::Changed { file: job.route.file.shown(), kept: KeptBytes::default() };
    }
    Error::Short { hop, address: address_of(job, hop), how, reporter, received, size, kept: KeptBytes::default() }
}

/// Time allowed for querying the hops about a body failure: the error has to be reported within a second.
const ATTRIBUTION_TIMEOUT: Duration = Duration::from_millis(700);
