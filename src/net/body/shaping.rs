//! Applies faults and limits to a body: when its next piece is sent, and how long that piece is.

use std::future::poll_fn;
use std::pin::Pin;

use tokio::sync::watch;
use tokio::time::sleep;

use super::options::{CopyError, CopyOptions, EarlyInput, poll_early};
use super::reader::Reader;
use crate::faults::Faults;
use crate::meter::WaitKind;
use crate::net::faults::{FaultState, Share};

/// One body that faults or limits apply to.
#[derive(Debug)]
pub(super) struct Shaper {
    changes: watch::Receiver<FaultState>,
    /// Its share of the rate limit, if there is one.
    share: Option<Share>,
}

/// How a wait for the rate limit or for the end of a stall ended.
enum Paused {
    Passed,
    /// A fault or limit was changed.
    Changed,
}

impl Shaper {
    pub(super) fn new(options: CopyOptions<'_>) -> Self {
        Self { changes: options.faults.subscribe(), share: None }
    }

    /// Returns how many bytes to read now; waits while the body is stalled, and ends it at the truncation offset.
    pub(super) async fn readable_len<D: Reader>(
        &mut self,
        max: usize,
        options: CopyOptions<'_>,
        reader: &mut D,
        early: &mut EarlyInput<'_>,
    ) -> Result<usize, CopyError> {
        let faults = self.wait_not_stalled(options, reader, early).await?;
        let max = self.share.as_ref().map_or(max, |share| shorter(max, share.chunk()));
        Ok(untruncated(faults, options, max))
    }

    /// Waits until a piece may be sent; returns its length. A change applies to bodies that already wait, and a reader
    /// that disconnects meanwhile is detected.
    pub(super) async fn admit<D: Reader>(
        &mut self,
        max: usize,
        options: CopyOptions<'_>,
        reader: &mut D,
        early: &mut EarlyInput<'_>,
    ) -> Result<usize, CopyError> {
        loop {
            let faults = self.wait_not_stalled(options, reader, early).await?;
            let max = fragment_len(faults, options, max);
            let Some(share) = &mut self.share else { return Ok(max) };
            // Many bodies share the rate limit, so this one's turn may be far off.
            let turn = share.turn(options.clock, || options.meter.wait(WaitKind::RateLimit, options.clock.now_us()));
            if let Paused::Passed = paused(turn, &mut self.changes, options, reader, early).await? {
                let piece = shorter(max, share.granted());
                share.spend(piece as u64);
                return Ok(piece);
            }
        }
    }

    /// Waits until the body is not stalled by a fault; returns the faults at that time.
    async fn wait_not_stalled<D: Reader>(
        &mut self,
        options: CopyOptions<'_>,
        reader: &mut D,
        early: &mut EarlyInput<'_>,
    ) -> Result<Faults, CopyError> {
        loop {
            let faults = self.update();
            if let Some(at) = faults.truncate.filter(|at| options.meter.sent() >= *at) {
                return Err(CopyError::Truncated(at));
            }
            if !faults.stall {
                return Ok(faults);
            }
            // A pause that an injected fault makes counts as rate-limited: this node causes it, not its neighbors.
            options.meter.wait(WaitKind::RateLimit, options.clock.now_us());
            let pause = sleep(options.stall);
            if let Paused::Passed = paused(pause, &mut self.changes, options, reader, early).await? {
                return Err(CopyError::StalledByFault(options.stall));
            }
        }
    }

    /// Returns the current faults, and joins a rate limit that was set meanwhile.
    fn update(&mut self) -> Faults {
        let state = self.changes.borrow_and_update();
        if !self.share.as_ref().zip(state.limit.as_ref()).is_some_and(|(share, limit)| share.is_of(limit)) {
            self.share = state.limit.clone().map(Share::new);
        }
        state.faults
    }
}

/// Waits for the end of a pause, or until a fault is changed.
async fn paused<D: Reader>(
    pause: impl Future<Output = ()>,
    changes: &mut watch::Receiver<FaultState>,
    options: CopyOptions<'_>,
    reader: &mut D,
    early: &mut EarlyInput<'_>,
) -> Result<Paused, CopyError> {
    let closed = poll_fn(|cx| poll_early(Pin::new(&mut *reader), cx, early, options));
    let ended = tokio::select! {
        biased;
        () = pause => Paused::Passed,
        // The sender is owned by the node.
        _ = changes.changed() => Paused::Changed,
        closed = closed => return Err(closed),
    };
    options.meter.resume(|| options.clock.now_us());
    Ok(ended)
}

/// Returns the length of the next piece, without the rate limit.
fn fragment_len(faults: Faults, options: CopyOptions<'_>, max: usize) -> usize {
    let max = untruncated(faults, options, max);
    let Some(longest) = faults.fragment else { return max };
    let longest = longest.min(max as u64).max(1);
    // Any hash will do: irregular lengths, which are the same in every run.
    let mixed = (options.meter.sent() ^ 0x5bd1_e995).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (mixed % longest) as usize + 1
}

/// Limits a length to the truncation offset.
fn untruncated(faults: Faults, options: CopyOptions<'_>, max: usize) -> usize {
    faults.truncate.map_or(max, |at| shorter(max, at.saturating_sub(options.meter.sent())))
}

fn shorter(max: usize, limit: u64) -> usize {
    usize::try_from(limit).map_or(max, |limit| max.min(limit))
}

#[cfg(test)]
mod tests;
