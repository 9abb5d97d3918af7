//! Deadlines that count only the time in which this program ran: time during which it was stopped is no evidence
//! against a peer, whose bytes may be waiting in a socket.
//!
//! A program stops for a signal, a debugger, or with its virtual machine, and no clock of its own shows that. When it
//! continues, timers fire before the reactor has polled for readiness. So a limit is waited for in parts: a part that
//! ends far too late does not count, and is waited for again. The last is followed by one more turn of the reactor.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};

/// Parts of a limit. A stop that ends within a part goes unnoticed, so that at most this share of a limit is lost; more
/// parts would wake idle connections more often.
const PARTS: u32 = 4;
/// A part that is late by more than half of its length does not count,
const LATE_DIVISOR: u32 = 2;
/// unless it is late by less than this: a busy machine takes tens of ms, and a short limit must end there, too.
const MIN_LATENESS: Duration = Duration::from_millis(100);

/// Error of a time limit that passed while this program was running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// Point in time by which something must be done; moves when this program was stopped.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    due: Instant,
    part: Duration,
}

impl Deadline {
    /// Creates a deadline this long from now.
    pub fn after(limit: Duration) -> Self {
        Self::since(Instant::now(), limit)
    }

    /// Creates a deadline this long from a moment that has just passed.
    pub(in crate::net) fn since(began: Instant, limit: Duration) -> Self {
        Self { due: began + limit, part: limit / PARTS }
    }

    /// Returns the remaining time.
    pub fn left(&self) -> Duration {
        self.left_at(Instant::now())
    }

    /// Returns the remaining time at a moment that has just passed.
    pub(in crate::net) fn left_at(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }

    /// Returns this deadline, or one after this limit, whichever is earlier.
    #[must_use]
    pub fn at_most(self, limit: Duration) -> Self {
        let other = Self::after(limit);
        if other.due < self.due { other } else { self }
    }

    /// Waits for a future; the deadline moves if this program is stopped meanwhile.
    pub fn bound<F: Future>(&mut self, future: F) -> Bound<F, impl Future<Output = ()>> {
        Bound { future, end: self.passed() }
    }

    /// Completes when the deadline has passed. Cancel-safe; in a `select!`, the awaited future must be listed before
    /// it.
    pub async fn passed(&mut self) {
        loop {
            self.part_passed().await;
            if self.has_passed() {
                return;
            }
        }
    }

    /// Waits for a future for a part of the limit.
    pub(in crate::net) fn part<F: Future>(&mut self, future: F) -> Bound<F, impl Future<Output = ()>> {
        Bound { future, end: self.part_passed() }
    }

    async fn part_passed(&mut self) {
        let since = Instant::now();
        let sleep = pin!(sleep_until(self.due.min(since + self.part)));
        part_over(sleep, since, self).await;
    }

    /// Moves the deadline to at least this long from now.
    pub(in crate::net) fn prolong(&mut self, least: Duration) {
        self.due = self.due.max(Instant::now() + least);
    }

    /// Returns whether the deadline has passed.
    pub(in crate::net) fn has_passed(&self) -> bool {
        self.left().is_zero()
    }
}

/// Waits for a future, at most this long.
pub(crate) fn within<F: Future>(limit: Duration, future: F) -> Bound<F, impl Future<Output = ()>> {
    Bound { future, end: async move { Deadline::after(limit).passed().await } }
}

pin_project! {
    /// A future with a deadline. Not an `async fn`, whose state would contain its arguments twice.
    #[derive(Debug)]
    pub struct Bound<F, E> {
        #[pin]
        future: F,
        #[pin]
        end: E,
    }
}

impl<F: Future, E: Future<Output = ()>> Future for Bound<F, E> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.future.poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => this.end.poll(cx).map(|()| Err(Elapsed)),
        }
    }
}

/// A deadline as a boxed future, for manual polling.
pub(in crate::net) type Passing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Completes when the limit has passed.
pub(in crate::net) fn passing(limit: Duration) -> Passing {
    Box::pin(async move { Deadline::after(limit).passed().await })
}

/// A limit on waits that follow each other closely: the runtime's timer is set only once in a while, not for each of
/// them.
#[derive(Debug)]
pub(in crate::net) struct Timer {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    pub(in crate::net) fn new(limit: Duration) -> Self {
        Self { limit, sleep: None }
    }

    /// Completes when the limit has passed since `since`. After each part of it, `check` may return a minimum for the
    /// remaining time. Cancel-safe.
    pub(in crate::net) async fn expired(&mut self, since: Instant, mut check: impl FnMut() -> Option<Duration>) {
        let mut deadline = Deadline { due: since + self.limit, part: self.limit / PARTS };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(since + deadline.part)));
        loop {
            part_over(sleep.as_mut(), since, &mut deadline).await;
            // A timer that was set for an earlier wait may have fired long ago.
            if sleep.deadline() > since
                && let Some(longer) = check()
            {
                deadline.prolong(longer);
            }
            if deadline.has_passed() {
                return;
            }
            sleep.as_mut().reset(deadline.due.min(Instant::now() + deadline.part));
        }
    }
}

/// A timer for waits that rarely last: it is set again only after it has fired, or for an earlier time. To set and to
/// remove one for each wait takes longer than most of these waits.
#[derive(Debug, Default)]
pub(in crate::net) struct ReusedTimer(Option<Pin<Box<Sleep>>>);

impl ReusedTimer {
    /// Waits for a future until a deadline, as [`Deadline::bound`] does.
    pub(in crate::net) fn bound<F: Future>(
        &mut self,
        deadline: &mut Deadline,
        future: F,
    ) -> Bound<F, impl Future<Output = ()>> {
        Bound { future, end: self.passed(deadline) }
    }

    async fn passed(&mut self, deadline: &mut Deadline) {
        loop {
            let since = Instant::now();
            let end = deadline.due.min(since + deadline.part);
            let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(end)));
            if sleep.is_elapsed() || sleep.deadline() > end {
                sleep.as_mut().reset(end);
            }
            part_over(sleep.as_mut(), since, deadline).await;
            if deadline.has_passed() {
                return;
            }
        }
    }
}

/// Completes with this timer and a turn of the reactor after it, so that a future polled first has seen what is ready;
/// moves the deadline if this program did not run meanwhile.
async fn part_over(mut sleep: Pin<&mut Sleep>, since: Instant, deadline: &mut Deadline) {
    sleep.as_mut().await;
    yield_now().await;
    let now = Instant::now();
    let late = now.saturating_duration_since(sleep.deadline().max(since));
    if late > (deadline.part / LATE_DIVISOR).max(MIN_LATENESS) {
        deadline.due = (deadline.due + late).max(now + deadline.part);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, poll_fn};

    use tokio::time::{advance, sleep};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(2);

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_kept_to_the_millisecond_while_this_program_runs() {
        for limit in [Duration::ZERO, Duration::from_millis(5), LIMIT, Duration::from_mins(5)] {
            let began = Instant::now();
            assert_eq!(within(limit, pending::<()>()).await, Err(Elapsed));
            assert!(began.elapsed() <= limit + Duration::from_millis(PARTS.into()), "{limit:?}: {:?}", began.elapsed());
            assert!(began.elapsed() >= limit);
        }
        assert_eq!(within(Duration::ZERO, async { 7 }).await, Ok(7), "what is there is taken");
    }

    /// Polls a wait once, so that its timer is set, then lets time pass in which nothing is polled.
    async fn stopped<F: Future>(waiting: Pin<&mut F>, running: Duration, stopped: Duration) {
        tokio::select! {
            biased;
            _ = waiting => panic!("it is over before its time"),
            () = sleep(running) => {}
        }
        advance(stopped).await;
    }

    #[tokio::test(start_paused = true)]
    async fn time_while_stopped_does_not_count() {
        for (running, gap) in [(0, 2_000), (100, 60_000), (1_900, 4_000), (1_000, 1_000)] {
            let (running, gap) = (Duration::from_millis(running), Duration::from_millis(gap));
            let began = Instant::now();
            let mut waiting = pin!(within(LIMIT, pending::<()>()));
            stopped(waiting.as_mut(), running, gap).await;
            assert_eq!(waiting.await, Err(Elapsed));
            let counted = began.elapsed().saturating_sub(gap);
            // A part may be lost, or one be added; the runtime counts in whole ms.
            let part = LIMIT / PARTS + Duration::from_millis(10);
            assert!(counted + part >= LIMIT && counted <= LIMIT + part, "{running:?}: {counted:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_result_that_arrived_meanwhile_beats_the_timer() {
        let due = Instant::now() + LIMIT;
        let mut looked = false;
        // Like a socket whose readiness was not polled when the timer fires.
        let ready = poll_fn(|_| {
            let is_due = Instant::now() >= due;
            if is_due && std::mem::replace(&mut looked, is_due) { Poll::Ready(()) } else { Poll::Pending }
        });
        assert_eq!(within(LIMIT, ready).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_moved_deadline_applies_to_the_next_wait() {
        let mut deadline = Deadline::after(LIMIT);
        assert!(deadline.at_most(LIMIT / 2).left() == LIMIT / 2 && deadline.at_most(LIMIT * 2).left() == LIMIT);
        {
            let mut waiting = pin!(deadline.bound(sleep(LIMIT * 2)));
            stopped(waiting.as_mut(), Duration::ZERO, LIMIT * 3).await;
            assert_eq!(waiting.await, Ok(()));
        }
        let mut deadline = Deadline::after(LIMIT);
        {
            let mut waiting = pin!(deadline.bound(pending::<()>()));
            stopped(waiting.as_mut(), Duration::ZERO, LIMIT * 3).await;
            tokio::select! { biased; _ = waiting => panic!("over"), () = sleep(LIMIT / 4) => {} }
        }
        assert!(deadline.left() > LIMIT / 4, "{:?}", deadline.left());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reused_timer_keeps_each_limit_and_counts_no_time_while_stopped() {
        let mut timer = ReusedTimer::default();
        // Longer and shorter limits follow each other, after waits that ended early and after one that did not.
        for limit in [LIMIT, LIMIT * 20, LIMIT / 10, LIMIT * 3, Duration::ZERO, LIMIT] {
            for _ in 0..100 {
                let early = timer.bound(&mut Deadline::after(limit * 2), sleep(limit / 3)).await;
                assert_eq!(early, Ok(()), "{limit:?}");
            }
            let began = Instant::now();
            assert_eq!(timer.bound(&mut Deadline::after(limit), pending::<()>()).await, Err(Elapsed));
            let ms = Duration::from_millis(2 * u64::from(PARTS));
            assert!(began.elapsed() >= limit && began.elapsed() <= limit + ms, "{limit:?}: {:?}", began.elapsed());
        }
        let (began, mut deadline) = (Instant::now(), Deadline::after(LIMIT));
        {
            let mut waiting = pin!(timer.bound(&mut deadline, pending::<()>()));
            stopped(waiting.as_mut(), Duration::from_millis(100), LIMIT * 30).await;
            assert_eq!(waiting.await, Err(Elapsed));
        }
        let counted = began.elapsed().saturating_sub(LIMIT * 30);
        assert!(counted + LIMIT / PARTS >= LIMIT && counted <= LIMIT * 2, "{counted:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn one_timer_serves_consecutive_waits_and_is_extended_on_progress() {
        let mut timer = Timer::new(LIMIT);
        for _ in 0..1000 {
            tokio::select! {
                () = timer.expired(Instant::now(), || None) => panic!("over"),
                () = sleep(LIMIT / 3) => {}
            }
        }
        // The timer fires in a pause between two waits.
        sleep(LIMIT * 5).await;
        let began = Instant::now();
        timer.expired(began, || None).await;
        assert!(
            began.elapsed() >= LIMIT && began.elapsed() < LIMIT + Duration::from_millis(10),
            "{:?}",
            began.elapsed()
        );
        let (began, looks) = (Instant::now(), Cell::new(0));
        let check = || {
            looks.set(looks.get() + 1);
            (looks.get() == 3).then_some(LIMIT)
        };
        timer.expired(began, check).await;
        let expected = LIMIT / PARTS * 3 + LIMIT;
        assert!(began.elapsed() >= expected && began.elapsed() < expected + LIMIT / PARTS, "{:?}", began.elapsed());
    }
}
