//! Errors in the progress of a transfer: why it failed or is retried, and where.

use super::Tracker;
use crate::error::Error;
use crate::text::SafeText;

impl Tracker<'_> {
    /// Sets or clears the error of the last attempt.
    pub(super) fn set_error(&mut self, error: Option<&Error>) {
        self.snapshot.error = error.map(|error| error.to_string().into());
        self.snapshot.failed_hop = error.and_then(Error::hop);
        self.snapshot.refused = error.and_then(Error::refused);
    }

    /// Sets or clears the message about parts of a folder that do not move, and the hop at which they failed.
    pub(in crate::net::fetch) fn set_problem(&mut self, problem: Option<(SafeText, Option<usize>)>) {
        let problem = problem.map(|(error, hop)| (Some(error), hop));
        (self.snapshot.error, self.snapshot.failed_hop) = problem.unwrap_or_default();
    }
}
