//! One file over several connections and routes: who receives which bytes, and the digest of all of them.

mod connection;
mod observe;
mod run;
mod same_file;
mod transfer_route;
mod written;

#[cfg(test)]
mod tests;

use super::blocks::MIN_SIZE;
use super::job::FetchJob;
use super::partial::ResumeCandidate;

pub(super) use run::receive;

/// Returns true if a file is received in parts: its origin supports that, and several connections may be used or ranges
/// are there already.
pub(super) fn can_receive(job: &FetchJob, candidate: &ResumeCandidate) -> bool {
    let Some(source) = &candidate.source else { return false };
    candidate.received.is_some() || (job.may_have_several() && source.size >= MIN_SIZE && candidate.offset == 0)
}
