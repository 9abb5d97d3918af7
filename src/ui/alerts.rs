//! What the terminal shows outside the screen: the window title, the progress of the task bar, and an announcement at
//! the end of transfers that ran for long. Pure: `terminal` writes it.

use std::time::Duration;

use super::finding::{Finding, sentences};
use super::osc::TaskbarProgress;
use crate::snapshot::verdict::Limit;
use crate::snapshot::{ChainSnapshot, Phase, TransferSnapshot};
use crate::units::{Bytes, HumanDuration};

/// Shortest activity whose end is announced: the user is still looking at the end of a shorter one.
const MIN_ANNOUNCED: Duration = Duration::from_secs(10);

/// Observes when transfers begin and end.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndTracker {
    /// When the first of the transfers that run now began.
    active_since: Option<Duration>,
    /// Numbers of the transfers that had ended by the last snapshot.
    ended: Vec<u64>,
    /// Transfers that are done and that failed since nothing ran.
    done: usize,
    failed: usize,
}

impl EndTracker {
    /// Takes a snapshot; returns the announcement of a failure, or of the end of the last running transfer.
    pub(crate) fn observe(&mut self, chain: &ChainSnapshot, now: Duration) -> Option<String> {
        let active = chain.transfers.iter().any(is_active);
        let ended = || chain.transfers.iter().filter(|transfer| transfer.phase.is_over());
        let new: Vec<&TransferSnapshot> = ended().filter(|transfer| !self.ended.contains(&transfer.number)).collect();
        if active && self.active_since.is_none() {
            (self.active_since, self.done, self.failed) = (Some(now), 0, 0);
        }
        let lasted = self.active_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        if !active {
            self.active_since = None;
        }
        let of = |phase| new.iter().copied().filter(move |transfer| transfer.phase == phase);
        self.done += of(Phase::Done).count();
        self.failed += of(Phase::Failed).count();
        let failure = of(Phase::Failed).next_back();
        // A transfer that the user cancelled is not announced.
        let last = failure.or_else(|| of(Phase::Done).next_back().filter(|_| !active));
        let text = last.filter(|_| lasted >= MIN_ANNOUNCED).map(|last| self.sentence(last, active, lasted));
        if !new.is_empty() {
            self.ended = ended().map(|transfer| transfer.number).collect();
        }
        text
    }

    fn sentence(&self, last: &TransferSnapshot, active: bool, lasted: Duration) -> String {
        match last.phase {
            Phase::Failed if active || self.done + self.failed == 1 => {
                let why = last.error.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
                format!("{} failed{why}", last.name)
            }
            _ if self.done == 1 && self.failed == 0 => {
                format!("{} done: {} in {}", last.name, Bytes(last.received), HumanDuration(last.elapsed))
            }
            _ => format!("{} done, {} failed, in {}", self.done, self.failed, HumanDuration(lasted)),
        }
    }
}

/// Returns the window title: percent, file and cause while a transfer runs.
pub(crate) fn title(chain: &ChainSnapshot) -> String {
    let active: Vec<&TransferSnapshot> = chain.transfers.iter().filter(|transfer| is_active(transfer)).collect();
    let what = match active.as_slice() {
        [] => return idle_title(chain),
        [one] => one.name.to_string(),
        several => format!("{} transfers", several.len()),
    };
    let percent = percent(&active).map(|percent| format!("{percent}% ")).unwrap_or_default();
    let cause = cause(chain).map(|cause| format!(" · {cause}")).unwrap_or_default();
    format!("{percent}{what}{cause}")
}

fn idle_title(chain: &ChainSnapshot) -> String {
    match chain.transfers.last() {
        Some(last) if last.phase.is_over() => format!("{} {} · chainview", last.phase.label(), last.name),
        _ if chain.source.as_str().is_empty() => "chainview".to_owned(),
        _ => format!("{} · chainview", chain.source),
    }
}

/// Returns the progress for the task bar.
pub(crate) fn progress(chain: &ChainSnapshot) -> TaskbarProgress {
    let active: Vec<&TransferSnapshot> = chain.transfers.iter().filter(|transfer| is_active(transfer)).collect();
    match (percent(&active), chain.transfers.last()) {
        (Some(percent), _) => TaskbarProgress::Percent(percent),
        (None, _) if !active.is_empty() => TaskbarProgress::Unknown,
        (None, Some(last)) if last.phase == Phase::Failed => TaskbarProgress::Failed(last.percent()),
        (None, _) => TaskbarProgress::Clear,
    }
}

fn is_active(transfer: &TransferSnapshot) -> bool {
    !transfer.phase.is_over() && transfer.phase != Phase::Paused
}

/// Returns the percentage of all transfers whose size is known; `None` without any. Below 100 while they are active.
fn percent(active: &[&TransferSnapshot]) -> Option<u8> {
    let sized = || active.iter().filter_map(|transfer| Some((transfer.received, transfer.size?)));
    let (received, size) = sized().fold((0, 0), |sum, one| (sum.0 + u128::from(one.0), sum.1 + u128::from(one.1)));
    sized().next()?;
    let percent = (received * 100).checked_div(size).unwrap_or(0);
    Some(u8::try_from(percent).unwrap_or(99).min(99))
}

/// Returns what limits or breaks the transfers, in the fewest words of the headline.
fn cause(chain: &ChainSnapshot) -> Option<String> {
    let finding = Finding::of(chain);
    match &finding {
        Finding::Verdict { verdict, .. } if matches!(verdict.limit, Limit::Measuring | Limit::Balanced) => None,
        _ => sentences(&finding, chain).pop(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::verdict::Verdict;

    fn transfer(number: u64, phase: Phase, received: u64, size: Option<u64>) -> TransferSnapshot {
        let elapsed = Duration::from_secs(12);
        TransferSnapshot {
            number,
            name: "demo.bin".into(),
            phase,
            received,
            size,
            elapsed,
            ..TransferSnapshot::default()
        }
    }

    fn chain(transfers: Vec<TransferSnapshot>) -> ChainSnapshot {
        ChainSnapshot { source: "input.txt".into(), transfers, ..ChainSnapshot::default() }
    }

    #[test]
    fn the_title_has_percent_file_and_cause() {
        assert_eq!(title(&chain(Vec::new())), "input.txt · chainview");
        let mut one = chain(vec![transfer(1, Phase::Streaming, 42_999, Some(100_000))]);
        one.verdict = Verdict { limit: Limit::RateLimit { hop: 2, rate: 5 }, ..Verdict::default() };
        assert_eq!(title(&one), "42% demo.bin · hop 2: rate limit 5 B/s");
        assert_eq!(progress(&one), TaskbarProgress::Percent(42));
        one.verdict = Verdict::default();
        one.transfers[0].received = 100_000;
        assert_eq!(title(&one), "99% demo.bin", "not yet verified");
        one.transfers.push(transfer(2, Phase::Queued, 0, None));
        assert_eq!(title(&one), "99% 2 transfers");
        assert_eq!(title(&chain(vec![transfer(1, Phase::Done, 5, Some(5))])), "done demo.bin · chainview");
    }

    #[test]
    fn progress_of_the_task_bar_is_truthful() {
        for (one, expected) in [
            (transfer(1, Phase::Waiting, 0, None), TaskbarProgress::Unknown),
            (transfer(1, Phase::Streaming, 0, Some(0)), TaskbarProgress::Percent(0)),
            (transfer(1, Phase::Verifying, 7, Some(7)), TaskbarProgress::Percent(99)),
            (transfer(1, Phase::Failed, 50, Some(100)), TaskbarProgress::Failed(50)),
            (transfer(1, Phase::Paused, 50, Some(100)), TaskbarProgress::Clear),
            (transfer(1, Phase::Done, 7, Some(7)), TaskbarProgress::Clear),
        ] {
            assert_eq!(progress(&chain(vec![one.clone()])), expected, "{one:?}");
        }
    }

    #[test]
    fn only_ends_after_a_while_are_announced_and_once() {
        let mut tracker = EndTracker::default();
        let mut at = |seconds, transfers: &[(u64, Phase)]| {
            let list = transfers.iter().map(|(number, phase)| transfer(*number, *phase, 24_000_000, None)).collect();
            tracker.observe(&chain(list), Duration::from_secs(seconds))
        };
        assert_eq!(at(0, &[(1, Phase::Streaming)]), None);
        assert_eq!(at(9, &[(1, Phase::Done)]), None, "too short");
        assert_eq!(at(20, &[(1, Phase::Done), (2, Phase::Streaming)]), None);
        let one = at(32, &[(1, Phase::Done), (2, Phase::Done)]);
        assert_eq!(one.as_deref(), Some("demo.bin done: 24.0 MB in 12.0 s"));
        assert_eq!(at(33, &[(1, Phase::Done), (2, Phase::Done)]), None, "announced once");
        assert_eq!(at(40, &[(3, Phase::Streaming), (4, Phase::Queued)]), None);
        assert_eq!(at(55, &[(3, Phase::Failed), (4, Phase::Streaming)]).as_deref(), Some("demo.bin failed"));
        let all = at(60, &[(3, Phase::Failed), (4, Phase::Done)]);
        assert_eq!(all.as_deref(), Some("1 done, 1 failed, in 20.0 s"));
        assert_eq!(at(61, &[(5, Phase::Streaming)]), None);
        assert_eq!(at(99, &[(5, Phase::Cancelled)]), None, "the user cancelled it");
    }
}
