//! The tour of one run: the script, its clock, its files and its slow link.

use std::time::Duration;

use tokio::time::Instant;

use crate::net::slow_link::SlowLink;
use crate::plan::TourPlan;
use crate::route::FileName;
use crate::tour::Tour;

/// Time between two steps of a running tour.
pub(super) const STEP_INTERVAL: Duration = Duration::from_millis(200);

/// The tour of a run over the demo's chain.
pub(super) struct TourRun {
    pub(super) tour: Tour,
    pub(super) began: Instant,
    /// The files that its transfers fetch: the next one first.
    pub(super) files: [FileName; 2],
    /// Forwarder to the last hop, from its first use until the end of the run: transfers may still run over it.
    pub(super) link: Option<SlowLink>,
}

impl TourRun {
    pub(super) fn new(plan: TourPlan) -> Self {
        Self { tour: Tour::new(plan.pace), began: Instant::now(), files: plan.files, link: None }
    }

    /// Returns whether the tour has to be stepped.
    pub(super) fn is_running(&self) -> bool {
        self.tour.is_running()
    }
}
