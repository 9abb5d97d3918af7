//! Panics, kept to the request that they come from.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// Its request came to an end by a panic, which the panic hook has reported.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::net) struct Panicked;

/// Runs a future to its end, or to the panic in it.
///
/// What it only borrows is used on afterwards; everything that sessions share is changed under locks that leave nothing
/// half-changed, or by atomic steps.
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
