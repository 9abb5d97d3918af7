//! Member `verdict` of a transfer or route in the JSON document.

use serde::Serialize;

use crate::snapshot::verdict::Verdict;

/// What limited a transfer.
#[derive(Debug, Serialize)]
pub(super) struct VerdictReport {
    sentence: String,
    #[serde(flatten)]
    verdict: Verdict,
}

impl VerdictReport {
    pub(super) fn new(verdict: Verdict) -> Self {
        Self { sentence: verdict.to_string(), verdict }
    }
}
