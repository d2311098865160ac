//! A panic ends one pass, not the control plane.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

/// Carries out `work`; its panic becomes the error, with the message of the panic. What the work shared
/// with others has to bear an end at any await or panic: here that is the store, which is transactional,
/// and state behind locks that are taken over when poisoned.
pub(crate) async fn caught<F: Future>(work: F) -> Result<F::Output, String> {
    let mut work = pin!(work);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(payload) => Poll::Ready(Err(message(&*payload))),
    })
    .await
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str).or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_error_also_after_an_await() {
        let work = async {
            tokio::task::yield_now().await;
            panic!("expected by the test");
        };
        assert_eq!(caught::<_>(work).await.map(|()| 0), Err("expected by the test".to_owned()));
        assert_eq!(caught(async { 7 }).await, Ok(7));
    }
}
