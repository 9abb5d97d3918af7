//! Applies faults and limits to a body: when its next piece is sent, and how long that piece is.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::sleep;

use super::options::{CopyError, CopyOptions, EarlyInput, poll_early};
use super::reader::Reader;
use crate::faults::Faults;
use crate::meter::WaitKind;
use crate::net::access::KeyUsage;
use crate::net::faults::{FaultState, Share, SharedLimit};

/// One body that faults or limits apply to.
#[derive(Debug)]
pub(super) struct Shaper {
    changes: Changes,
    /// Its share of the node's rate limit, if there is one.
    share: Option<Share>,
    /// Its share of the rate limit of its key, if there is one.
    key_share: Option<Share>,
}

/// Changes of what applies to a body.
#[derive(Debug)]
struct Changes {
    faults: watch::Receiver<FaultState>,
    key: Option<watch::Receiver<Option<Arc<SharedLimit>>>>,
}

impl Changes {
    async fn changed(&mut self) {
        let of_key = async {
            match &mut self.key {
                Some(key) => key.changed().await,
                None => pending().await,
            }
        };
        // The senders are owned by the node, and by the caller of the request.
        tokio::select! {
            _ = self.faults.changed() => {}
            _ = of_key => {}
        }
    }
}

/// How a wait for the rate limit or for the end of a stall ended.
enum Paused {
    Passed,
    /// A fault or limit was changed.
    Changed,
}

impl Shaper {
    pub(super) fn new(options: CopyOptions<'_>) -> Self {
        let changes = Changes { faults: options.faults.subscribe(), key: options.key.map(KeyUsage::subscribe) };
        Self { changes, share: None, key_share: None }
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
        let max = self.shares().fold(max, |max, share| shorter(max, share.chunk()));
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
            if self.share.is_none() && self.key_share.is_none() {
                return Ok(max);
            }
            let waits = || options.meter.wait(WaitKind::RateLimit, options.clock.now_us());
            let (share, key_share) = (&mut self.share, &mut self.key_share);
            // Many bodies share a rate limit, so this one's turn may be far off.
            let turns = async {
                if let Some((share, key)) = key_share.as_mut().zip(options.key) {
                    share.turn(key.clock(), waits).await;
                }
                if let Some(share) = share {
                    share.turn(options.clock, waits).await;
                }
            };
            if let Paused::Passed = paused(turns, &mut self.changes, options, reader, early).await? {
                let piece = self.shares().fold(max, |max, share| shorter(max, share.granted()));
                for share in [&mut self.share, &mut self.key_share].into_iter().flatten() {
                    share.spend(piece as u64);
                }
                return Ok(piece);
            }
        }
    }

    fn shares(&self) -> impl Iterator<Item = &Share> {
        [&self.share, &self.key_share].into_iter().flatten()
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
        if let Some(key) = &mut self.changes.key {
            join(&mut self.key_share, key.borrow_and_update().as_ref());
        }
        let state = self.changes.faults.borrow_and_update();
        join(&mut self.share, state.limit.as_ref());
        state.faults
    }
}

/// Joins the current limit, unless this is a share of it.
fn join(share: &mut Option<Share>, limit: Option<&Arc<SharedLimit>>) {
    if !share.as_ref().zip(limit).is_some_and(|(share, limit)| share.is_of(limit)) {
        *share = limit.map(|limit| Share::new(Arc::clone(limit)));
    }
}

/// Waits for the end of a pause, or until a fault is changed.
async fn paused<D: Reader>(
    pause: impl Future<Output = ()>,
    changes: &mut Changes,
    options: CopyOptions<'_>,
    reader: &mut D,
    early: &mut EarlyInput<'_>,
) -> Result<Paused, CopyError> {
    let closed = poll_fn(|cx| poll_early(Pin::new(&mut *reader), cx, early, options));
    let ended = tokio::select! {
        biased;
        () = pause => Paused::Passed,
        () = changes.changed() => Paused::Changed,
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
