//! Bodies of requests, within bounds: of size, of time, of the memory that all of them take together.

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use updraft_base::{Clock, Sleep};
use updraft_model::{Error, ErrorKind};

use crate::{call::AnyBody, respond::BoxError};

/// The largest body of a request, in bytes; also of a message by gRPC.
pub(crate) const BODY_MAX: u64 = 10 << 20;
/// The bytes of all bodies that are being read and worked on.
pub(crate) const IN_FLIGHT_MAX: usize = 128 << 20;
/// How long a client may be silent in the middle of a body.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a client may take for a whole body.
pub(crate) const WHOLE_MAX: Duration = Duration::from_secs(120);
/// When to try again when all the memory is taken.
const CROWDED_RETRY: Duration = Duration::from_secs(1);

/// What a body may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    /// Its size, in bytes.
    pub(crate) size: u64,
    /// The time for all of it; `None` for uploads, which take as long as they take.
    pub(crate) whole: Option<Duration>,
    /// Is it kept in memory?
    pub(crate) kept: Kept,
}

/// Where a body goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// Into memory, which is shared.
    InMemory,
    /// Elsewhere, piece by piece.
    Elsewhere,
}

/// The memory for bodies. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Memory(Arc<Semaphore>);

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// It is larger than it may be.
    #[error("Request body is larger than {0} bytes.")]
    TooLarge(u64),
    /// Its client took too long.
    #[error("Request body did not come in time.")]
    TooSlow,
    /// Too many others are under way.
    #[error("The server is busy with the bodies of other requests; try again.")]
    Crowded,
    /// It broke off.
    #[error("Request body could not be read: {0}")]
    Broken(BoxError),
}

/// A body within bounds. What it took of the memory is given back when it is dropped.
pub(crate) struct Bounded<B> {
    inner: Pin<Box<B>>,
    allowance: Allowance,
    memory: Memory,
    held: Option<OwnedSemaphorePermit>,
    received: u64,
    clock: Clock,
    whole: Option<Sleep>,
    silence: Option<Sleep>,
}

// === impl Allowance ===

impl Allowance {
    /// Of a request.
    pub(crate) const REQUEST: Self = Self { size: BODY_MAX, whole: Some(WHOLE_MAX), kept: Kept::InMemory };

    /// Of an upload of this size.
    pub(crate) const fn upload(size: u64) -> Self {
        Self { size, whole: None, kept: Kept::Elsewhere }
    }
}

// === impl Memory ===

impl Memory {
    /// So many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }
}

// === impl BodyError ===

impl BodyError {
    /// The error of the call.
    pub(crate) fn to_error(&self) -> Error {
        match self {
            Self::TooLarge(_) | Self::Broken(_) => Error::new(ErrorKind::InvalidArgument, self.to_string()),
            Self::TooSlow => Error::new(ErrorKind::DeadlineExceeded, self.to_string()),
            Self::Crowded => Error::new(ErrorKind::Unavailable, self.to_string()).retry_after(CROWDED_RETRY),
        }
    }

    /// The HTTP code, where it says more than the error's kind.
    pub(crate) fn http_code(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Crowded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

// === impl Bounded ===

impl<B: AnyBody> Bounded<B> {
    pub(crate) fn new(body: B, allowance: Allowance, (memory, clock): (&Memory, &Clock)) -> Self {
        let whole = allowance.whole.map(|whole| clock.sleep(whole));
        Self {
            inner: Box::pin(body),
            allowance,
            memory: memory.clone(),
            held: None,
            received: 0,
            clock: clock.clone(),
            whole,
            silence: None,
        }
    }

    /// All of it, in memory. The memory is given back with the body, not with the bytes.
    ///
    /// # Errors
    /// [`BodyError`].
    pub(crate) async fn read(&mut self) -> Result<Bytes, BodyError> {
        // A client that says how much it will send need not send it to be refused.
        if self.inner.size_hint().lower() > self.allowance.size {
            return Err(BodyError::TooLarge(self.allowance.size));
        }
        let mut read = Vec::new();
        while let Some(frame) = self.frame().await {
            if let Ok(data) = frame?.into_data() {
                read.extend_from_slice(&data);
            }
        }
        Ok(read.into())
    }

    fn take(&mut self, bytes: usize) -> Result<(), BodyError> {
        self.received += bytes as u64;
        if self.received > self.allowance.size {
            return Err(BodyError::TooLarge(self.allowance.size));
        }
        if self.allowance.kept == Kept::Elsewhere {
            return Ok(());
        }
        let wanted = u32::try_from(bytes).map_err(|_| BodyError::Crowded)?;
        // Never waits: bodies that hold some and wait for more would wait for each other.
        let more = self.memory.0.clone().try_acquire_many_owned(wanted).map_err(|_| BodyError::Crowded)?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }

    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        let clock = &self.clock;
        let silence = self.silence.get_or_insert_with(|| clock.sleep(SILENCE_MAX));
        let timers = [Some(silence), self.whole.as_mut()];
        timers.into_iter().flatten().any(|timer| Pin::new(timer).poll(context).is_ready())
    }
}

impl<B: AnyBody> Body for Bounded<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = match self.inner.as_mut().poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(BodyError::Broken(error.into())))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending if self.is_late(context) => return Poll::Ready(Some(Err(BodyError::TooSlow))),
            Poll::Pending => return Poll::Pending,
        };
        self.silence = None;
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        Poll::Ready(Some(self.take(bytes).map(|()| frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use http_body_util::{Full, StreamBody};

    use super::*;

    fn of(bytes: usize) -> Full<Bytes> {
        Full::new(Bytes::from(vec![b' '; bytes]))
    }

    #[tokio::test]
    async fn a_body_that_is_too_large_is_refused_before_it_is_kept() {
        let (memory, clock) = (Memory::new(1 << 30), Clock::system());
        let read = |body| async { Bounded::new(body, Allowance::REQUEST, (&memory, &clock)).read().await };
        let largest = usize::try_from(BODY_MAX).expect("it fits");
        assert_eq!(read(of(largest)).await.expect("allowed").len(), largest);
        let refused = read(of(largest + 1)).await.expect_err("refused");
        assert_eq!(refused.http_code(), StatusCode::PAYLOAD_TOO_LARGE);
        // One that does not say how long it is.
        let pieces = (0..11).map(|_| Ok::<_, BoxError>(Frame::data(Bytes::from(vec![0; 1 << 20]))));
        let unannounced = StreamBody::new(futures::stream::iter(pieces));
        let refused = Bounded::new(unannounced, Allowance::REQUEST, (&memory, &clock)).read().await;
        assert!(matches!(refused, Err(BodyError::TooLarge(_))));
    }

    #[tokio::test]
    async fn all_bodies_together_take_no_more_than_there_is() {
        let (memory, clock) = (Memory::new(100), Clock::system());
        let mut first = Bounded::new(of(80), Allowance::REQUEST, (&memory, &clock));
        first.read().await.expect("there is room");
        let mut second = Bounded::new(of(80), Allowance::REQUEST, (&memory, &clock));
        let refused = second.read().await.expect_err("there is none");
        assert_eq!(refused.to_error().kind(), ErrorKind::Unavailable);
        assert!(refused.to_error().retry_delay().is_some());
        // An upload goes to the disk.
        Bounded::new(of(80), Allowance::upload(80), (&memory, &clock)).read().await.expect("takes none");
        drop((first, second));
        Bounded::new(of(80), Allowance::REQUEST, (&memory, &clock)).read().await.expect("given back");
    }

    #[tokio::test]
    async fn a_client_that_falls_silent_is_not_waited_for() {
        let memory = Memory::new(100);
        for (step, most) in [(SILENCE_MAX, 1), (Duration::from_secs(20), 7)] {
            let (clock, hand) = Clock::stopped_at(SystemTime::UNIX_EPOCH);
            let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, BoxError>>(1);
            let pieces =
                futures::stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) });
            let mut body = Bounded::new(StreamBody::new(Box::pin(pieces)), Allowance::REQUEST, (&memory, &clock));
            let mut reading = Box::pin(body.read());
            let mut steps = 0;
            let refused = loop {
                if let Poll::Ready(done) = futures::poll!(&mut reading) {
                    break done.expect_err("it never ends");
                }
                steps += 1;
                assert!(steps <= most, "it is still waited for after {steps} × {step:?}");
                hand.advance(step);
                // Time alone ends it, however steadily a byte comes.
                if step < SILENCE_MAX {
                    let _ = sender.try_send(Ok(Frame::data(Bytes::from_static(b"."))));
                }
            };
            assert_eq!(refused.http_code(), StatusCode::REQUEST_TIMEOUT);
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_the_clients_fault() {
        let (memory, clock) = (Memory::new(100), Clock::system());
        let broken = futures::stream::iter([Err::<Frame<Bytes>, BoxError>("gone".into())]);
        let refused = Bounded::new(StreamBody::new(broken), Allowance::REQUEST, (&memory, &clock)).read().await;
        assert_eq!(refused.expect_err("broken").to_error().kind(), ErrorKind::InvalidArgument);
    }
}
