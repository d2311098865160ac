//! Futures on the heap.

use futures::future::BoxFuture;

/// Makes a future where it takes no room of the caller's. Whoever chooses among many of them would have room for each in
/// its frame, in a build without optimisation, which can be more than a thread has.
#[inline(never)]
pub fn boxed<'a, F>(make: impl FnOnce() -> F) -> BoxFuture<'a, F::Output>
where
    F: Future + Send + 'a,
{
    Box::pin(make())
}
