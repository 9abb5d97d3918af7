//! Pauses of a transfer, such as that between a failed attempt and the next one.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::retry::{PlannedRetry, RetryPolicy};
use super::tracker::Tracker;
use crate::error::{Error, KeptBytes};

/// Waits until the next attempt is due.
///
/// # Errors
/// The error of the transfer, if no other attempt follows.
pub(super) async fn next_attempt(
    policy: &mut RetryPolicy,
    (error, progressed): (Error, bool),
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let Some(retry) = policy.after(&error, progressed).filter(|_| !stop.is_cancelled()) else { return Err(error) };
    let waited = wait_to_retry(&error, retry, tracker, stop).await;
    if waited { Ok(()) } else { Err(Error::Interrupted { kept: KeptBytes::default() }) }
}

/// Waits for the pause before a retry to pass; false if cancelled.
pub(super) async fn wait_to_retry(
    error: &Error,
    retry: PlannedRetry,
    tracker: &mut Tracker<'_>,
    stop: &CancellationToken,
) -> bool {
    tracker.retrying(error, retry);
    wait(retry.pause, tracker, stop).await
}

/// Waits for this time to pass, and publishes progress meanwhile; false if cancelled.
pub(super) async fn wait(time: Duration, tracker: &mut Tracker<'_>, stop: &CancellationToken) -> bool {
    let until = Instant::now() + time;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            () = sleep_until(until) => return true,
            () = tracker.due() => tracker.publish(),
        }
    }
}
