//! Duty cycle of a node's process: stopped and continued periodically, as if it got little of a processor.

use std::future::pending;
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::{Instant, sleep_until};

/// Parts of a period in which a process runs, and in which it is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DutyCycle {
    /// Time for which it runs.
    pub runs: Duration,
    /// Time for which it is then stopped.
    pub stopped: Duration,
}

/// State of a process under a duty cycle; without one it runs.
#[derive(Debug, Default)]
pub(super) struct DutyState {
    cycle: Option<DutyCycle>,
    /// Time of the next signal, and whether the process is stopped until then.
    next: Option<(Instant, bool)>,
}

impl DutyState {
    /// Begins or ends a duty cycle; returns the signal to send now.
    pub(super) fn set(&mut self, cycle: Option<DutyCycle>) -> Option<Signal> {
        let was_stopped = matches!(self.next, Some((_, true)));
        self.cycle = cycle;
        self.next = cycle.map(|cycle| (Instant::now() + cycle.stopped, true));
        match cycle {
            Some(_) => Some(Signal::STOP),
            None => was_stopped.then_some(Signal::CONT),
        }
    }

    /// Waits until the next signal is due, and returns it; never completes without a duty cycle. Cancel safe.
    pub(super) async fn next_signal(&mut self) -> Signal {
        let (Some(cycle), Some((due, stopped))) = (self.cycle, self.next) else { return pending().await };
        sleep_until(due).await;
        // From now on, not from when it was due: after a delay the process must not be left without its part.
        let lasts = if stopped { cycle.runs } else { cycle.stopped };
        self.next = Some((Instant::now() + lasts, !stopped));
        if stopped { Signal::CONT } else { Signal::STOP }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_process_is_continued_after_every_stop() {
        let cycle = DutyCycle { runs: Duration::from_millis(5), stopped: Duration::from_millis(245) };
        let mut duty = DutyState::default();
        assert_eq!(duty.set(None), None);
        let began = Instant::now();
        assert_eq!(duty.set(Some(cycle)), Some(Signal::STOP));
        let mut signals = Vec::new();
        for _ in 0..4 {
            let signal = duty.next_signal().await;
            signals.push((signal, began.elapsed().as_millis()));
        }
        let (stop, cont) = (Signal::STOP, Signal::CONT);
        assert_eq!(signals, [(cont, 245), (stop, 250), (cont, 495), (stop, 500)]);
        assert_eq!(duty.set(None), Some(cont));
        // It runs already.
        assert_eq!(duty.set(None), None);
        let more = tokio::time::timeout(Duration::from_secs(9), duty.next_signal()).await;
        assert!(more.is_err(), "{more:?}");
    }
}
