//! The body of a request on its way to a container, and how large it may be.

use std::{
    error::Error as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use updraft_model::revision::Protocol;

use crate::{body::BoxError, respond::Rejection};

/// The largest body to an HTTP/1 container, and the largest from one that says its length, in bytes. Source: Cloud Run's
/// quotas; there is no limit for containers that speak HTTP/2.
pub(crate) const HTTP1_MAX: u64 = 32 << 20;

/// A body that does not get larger than it may.
#[derive(Debug)]
pub(crate) struct Inbound {
    incoming: Incoming,
    /// So many bytes may follow in a body that does not say how long it is.
    left: Option<u64>,
    /// Let go of when nothing of the body is left to send.
    unsent: Option<Arc<()>>,
}

/// Ends the request to the container.
#[derive(Debug, thiserror::Error)]
#[error("the body is larger than {HTTP1_MAX} bytes")]
struct TooLarge;

// === impl Inbound ===

impl Inbound {
    /// `incoming` for a container that speaks `protocol`.
    ///
    /// # Errors
    /// [`Rejection::RequestTooLarge`] when it says that it is too large: nothing is started for it, and a client that
    /// waits for a 100 gets none.
    pub(crate) fn new(incoming: Incoming, protocol: Protocol) -> Result<Self, Rejection> {
        let left = match (protocol, incoming.size_hint().exact()) {
            (Protocol::Http1, Some(said)) if said > HTTP1_MAX => return Err(Rejection::RequestTooLarge),
            (Protocol::Http1, None) => Some(HTTP1_MAX),
            // Both parsers see to it that no more comes than was said.
            (Protocol::Http1, Some(_)) | (Protocol::H2c, _) => None,
        };
        let unsent = (!incoming.is_end_stream()).then(Arc::default);
        Ok(Self { incoming, left, unsent })
    }

    /// Tells later whether the library has let go of the body, as it does when it has sent it.
    pub(crate) fn watch(&self) -> impl Fn() -> bool + use<> {
        let unsent = self.unsent.as_ref().map(Arc::downgrade);
        move || unsent.as_ref().is_none_or(|unsent| unsent.strong_count() == 0)
    }

    /// The same for a container that speaks another protocol. Nothing of it was read yet.
    ///
    /// # Errors
    /// Those of [`Inbound::new`].
    pub(crate) fn retarget(self, protocol: Protocol) -> Result<Self, Rejection> {
        Self::new(self.incoming, protocol)
    }
}

/// The answer when a connection to a container failed because the client's body did: it was too large, it broke off, or
/// it was not what it said. The container is not to blame, and nobody has to wait for what became of it.
pub(crate) fn blame(error: &hyper::Error) -> Option<Rejection> {
    let cause = error.source().filter(|_| error.is_user())?;
    if cause.is::<TooLarge>() {
        return Some(Rejection::RequestTooLarge);
    }
    // What comes from [`Incoming`].
    cause.is::<hyper::Error>().then_some(Rejection::Body)
}

impl http_body::Body for Inbound {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        if let (Poll::Ready(Some(Ok(frame))), Some(left)) = (&polled, &mut self.left)
            && let Some(data) = frame.data_ref()
        {
            match left.checked_sub(data.len() as u64) {
                Some(rest) => *left = rest,
                None => return Poll::Ready(Some(Err(TooLarge.into()))),
            }
        }
        polled.map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
