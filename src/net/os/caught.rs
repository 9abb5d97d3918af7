//! Containment of panics: a panic ends only the request that caused it.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// Error of a request that panicked, which the panic hook has reported.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::net) struct Panicked;

/// Runs a future to its end, or to the panic in it.
///
/// Borrowed state is used afterwards; state shared by sessions is changed under locks that leave no change half-made,
/// or by atomic steps.
pub(in crate::net) async fn caught<F: Future + ?Sized>(mut work: Pin<Box<F>>) -> Result<F::Output, Panicked> {
    poll_fn(move |cx| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_the_future_and_nothing_else() {
        let mut count = 0;
        let ended = caught(Box::pin(async {
            count += 1;
            tokio::task::yield_now().await;
            assert!(count == 0, "on purpose");
        }))
        .await;
        assert_eq!((ended, count), (Err(Panicked), 1));
        assert_eq!(caught(Box::pin(async { 7 })).await, Ok(7));
    }
}
