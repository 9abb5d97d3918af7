//! Scheduling delay, measured as the lateness of a timer: a program that does not run moves no bytes, and no other
//! clock shows it.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::machine::Machine;

/// Probe interval: short against any noticeable time without the processor. Fifty wakeups a second take a fifth of a
/// hundredth of a core, which is little against sending a body.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
/// Tolerance: timers are rounded up to a ms, and other tasks may run for a few.
const TOLERANCE: Duration = Duration::from_millis(5);

/// The probe; runs until dropped.
#[derive(Debug)]
pub(crate) struct SchedDelayProbe(Option<JoinHandle<()>>);

impl SchedDelayProbe {
    /// Starts the probe, within a runtime; `on_delay` gets the delay of each late tick in µs.
    pub(in crate::net) fn start(machine: Machine, on_delay: impl Fn(u64) + Send + 'static) -> Self {
        if !machine.is_timed {
            return Self(None);
        }
        Self(Some(tokio::spawn(async move {
            loop {
                let due = Instant::now() + PROBE_INTERVAL;
                sleep_until(due).await;
                let by = due.elapsed();
                if by > TOLERANCE {
                    on_delay(by.as_micros() as u64);
                }
            }
        })))
    }
}

impl Drop for SchedDelayProbe {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_was_missed_counts_and_only_while_it_beats() {
        let sum = Arc::new(AtomicU64::new(0));
        let (sched_delay_us, counted) = (|| sum.load(Relaxed), Arc::clone(&sum));
        let pulse = SchedDelayProbe::start(Machine::default(), move |us| {
            counted.fetch_add(us, Relaxed);
        });
        sleep(Duration::from_secs(2)).await;
        assert_eq!(sched_delay_us(), 0);
        // Nothing runs while the clock is advanced in one step, as in a process that was stopped.
        for _ in 0..10 {
            advance(Duration::from_millis(200)).await;
            sleep(Duration::from_millis(1)).await;
        }
        assert!((1_700_000..2_000_000).contains(&sched_delay_us()), "{}", sched_delay_us());
        drop(pulse);
        let before = sched_delay_us();
        advance(Duration::from_secs(1)).await;
        sleep(Duration::from_secs(1)).await;
        assert_eq!(sched_delay_us(), before);
    }
}
