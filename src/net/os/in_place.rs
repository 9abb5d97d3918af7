//! Futures made in their box.

use std::pin::Pin;

/// Boxes the future that `make` returns.
///
/// Unlike with `Box::pin`, the memory is there before the future is made. The compiler can then write the arguments of
/// an `async fn` right into it; it does not copy the whole future, of which the arguments are a small part.
pub(in crate::net) fn boxed<F: Future>(make: impl FnOnce() -> F) -> Pin<Box<F>> {
    let memory = Box::new_uninit();
    Box::into_pin(Box::write(memory, make()))
}
