//! Deadlines that count only the time in which this program ran: what passed while it was stopped is no verdict on a
//! peer, whose bytes may be waiting in a socket.
//!
//! A program stops for a signal, a debugger, or with its virtual machine, and no clock of its own says so. When it goes
//! on, timers fire before the reactor has asked for readiness. So a limit is waited for in parts: one that ends far too
//! late was not waited for, and is waited for again. The last is followed by one more turn of the reactor.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};

/// Parts of a limit. A stop that ends within a part goes unnoticed, so that at most this share of a limit is lost; more
/// parts would wake idle connections more often.
const PARTS: u32 = 4;
/// A part that is late by more than half of itself was not waited for,
const LATE: u32 = 2;
/// but never for being late by less than this: a busy machine takes tens of ms, and a short limit has to end there,
/// too.
const BUSY: Duration = Duration::from_millis(100);

/// The time for something ran out while this program was running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

/// When something has to be over, unless this program does not run meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    due: Instant,
    part: Duration,
}

impl Deadline {
    /// The end of a limit that begins now.
    pub fn after(limit: Duration) -> Self {
        Self { due: Instant::now() + limit, part: limit / PARTS }
    }

    /// The time that is left.
    pub fn left(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    /// The same deadline, or one after this limit, if that comes first.
    #[must_use]
    pub fn at_most(self, limit: Duration) -> Self {
        let other = Self::after(limit);
        if other.due < self.due { other } else { self }
    }

    /// Waits for something; where this program stops meanwhile, the deadline moves.
    pub fn bound<F: Future>(&mut self, future: F) -> Bound<F, impl Future<Output = ()>> {
        Bound { future, end: self.passed() }
    }

    /// Ends when the deadline has passed. Cancel-safe; in a `select!`, what is waited for has to stand before it.
    pub async fn passed(&mut self) {
        loop {
            self.part_passed().await;
            if self.has_passed() {
                return;
            }
        }
    }

    /// Waits for something for a part of the limit.
    pub(in crate::net) fn part<F: Future>(&mut self, future: F) -> Bound<F, impl Future<Output = ()>> {
        Bound { future, end: self.part_passed() }
    }

    async fn part_passed(&mut self) {
        let since = Instant::now();
        let sleep = pin!(sleep_until(self.due.min(since + self.part)));
        part_over(sleep, since, self).await;
    }

    /// It lies at least this far ahead from now on.
    pub(in crate::net) fn prolong(&mut self, least: Duration) {
        self.due = self.due.max(Instant::now() + least);
    }

    /// Its time has come.
    pub(in crate::net) fn has_passed(&self) -> bool {
        self.left().is_zero()
    }
}

/// Waits for something for so long.
pub(crate) fn within<F: Future>(limit: Duration, future: F) -> Bound<F, impl Future<Output = ()>> {
    Bound { future, end: async move { Deadline::after(limit).passed().await } }
}

pin_project! {
    /// What is waited for, and the end of waiting. Not an `async fn`, which would have room for what it is given twice.
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

/// The same as a future of its own, for whoever polls by hand.
pub(in crate::net) type Passing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Ends when the limit has passed.
pub(in crate::net) fn passing(limit: Duration) -> Passing {
    Box::pin(async move { Deadline::after(limit).passed().await })
}

/// A limit on waits that follow each other closely: the runtime's timer is set once in a while, not for each of them.
#[derive(Debug)]
pub(in crate::net) struct Timer {
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    pub(in crate::net) fn new(limit: Duration) -> Self {
        Self { limit, sleep: None }
    }

    /// Ends when the limit has passed since then. After each part of it, `look` may say how much longer to wait at
    /// least. Cancel-safe.
    pub(in crate::net) async fn expired(&mut self, since: Instant, mut look: impl FnMut() -> Option<Duration>) {
        let mut deadline = Deadline { due: since + self.limit, part: self.limit / PARTS };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(since + deadline.part)));
        loop {
            part_over(sleep.as_mut(), since, &mut deadline).await;
            // A timer that was set for an earlier wait may have fired long ago.
            if sleep.deadline() > since
                && let Some(longer) = look()
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

/// Ends with this timer and a turn of the reactor after it, so that whoever is polled first has seen what is ready;
/// moves the deadline if this program did not run meanwhile.
async fn part_over(mut sleep: Pin<&mut Sleep>, since: Instant, deadline: &mut Deadline) {
    sleep.as_mut().await;
    yield_now().await;
    let now = Instant::now();
    let late = now.saturating_duration_since(sleep.deadline().max(since));
    if late > (deadline.part / LATE).max(BUSY) {
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
    async fn what_passed_while_this_program_was_stopped_does_not_count() {
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
    async fn what_came_meanwhile_is_taken_although_the_timer_fires_first() {
        let due = Instant::now() + LIMIT;
        let mut looked = false;
        // Like a socket whose readiness nobody has asked for when the timer fires.
        let ready = poll_fn(|_| {
            let is_due = Instant::now() >= due;
            if is_due && std::mem::replace(&mut looked, is_due) { Poll::Ready(()) } else { Poll::Pending }
        });
        assert_eq!(within(LIMIT, ready).await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_that_moved_stays_moved_for_what_is_waited_for_next() {
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
    async fn one_timer_serves_waits_that_follow_each_other_and_is_set_longer_where_something_moved() {
        let mut timer = Timer::new(LIMIT);
        for _ in 0..1000 {
            tokio::select! {
                () = timer.expired(Instant::now(), || None) => panic!("over"),
                () = sleep(LIMIT / 3) => {}
            }
        }
        // Nobody waits for a while, in which the timer fires.
        sleep(LIMIT * 5).await;
        let began = Instant::now();
        timer.expired(began, || None).await;
        assert!(
            began.elapsed() >= LIMIT && began.elapsed() < LIMIT + Duration::from_millis(10),
            "{:?}",
            began.elapsed()
        );
        let (began, looks) = (Instant::now(), Cell::new(0));
        let look = || {
            looks.set(looks.get() + 1);
            (looks.get() == 3).then_some(LIMIT)
        };
        timer.expired(began, look).await;
        let expected = LIMIT / PARTS * 3 + LIMIT;
        assert!(began.elapsed() >= expected && began.elapsed() < expected + LIMIT / PARTS, "{:?}", began.elapsed());
    }
}
