//! To the instance and back.

use std::{
    fmt, io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body::{Body as _, Frame, SizeHint};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use updraft_base::Sleep;
use updraft_fleet::{Affinity, Slot};
use updraft_model::{instance::Exit, revision::Protocol};

use crate::{
    admit::Admitted,
    body::BoxError,
    client::Client,
    headers::{self, Upgrade},
    inbound::{HTTP1_MAX, Inbound, blame},
    limit,
    pool::{Lease, Pool, Stream},
    record::Trip,
    respond::Rejection,
    websocket::Tunnel,
};

/// A request as the container will get it.
pub(crate) struct Outgoing {
    pub(crate) request: Request<Inbound>,
    pub(crate) protocol: Protocol,
    /// The client's side of an upgrade, if it wants one.
    pub(crate) client: Option<OnUpgrade>,
    /// The upgrade is a stream of HTTP/2 for the client.
    tunnel: Option<Tunnel>,
}

/// An answer of an instance, with the place it is answered from.
pub(crate) struct Answered {
    pub(crate) response: Response<Incoming>,
    pub(crate) client: Option<OnUpgrade>,
    pub(crate) tunnel: Option<Tunnel>,
    pub(crate) held: Held,
    /// The instance that the client is to stay with from now on, if it is to be told of one.
    pub(crate) affinity: Option<Affinity>,
}

/// What an answer holds until its end. The fields are dropped in this order: the connection is free
/// before the place is.
pub(crate) struct Held {
    lease: Option<Lease>,
    _stream: Option<Stream>,
    _slot: Slot,
}

/// Why there is no answer.
pub(crate) enum Failure {
    /// Nobody could be connected to and nothing was sent: another instance may do it.
    Unreachable(Box<Outgoing>),
    /// The instance may have done the work; this is the answer.
    Final(Rejection),
}

/// How often a request is offered to connections of HTTP/2 that turn out to be closed.
const TRIES: u32 = 3;

/// How long after a connection broke the engine may take to say that the instance ended.
const EXIT_PATIENCE: Duration = Duration::from_millis(500);

/// The body of an answer on its way through.
pub(crate) struct Upstream {
    incoming: Incoming,
    /// Until the end of the body, however it ends; as long as its task looks at the time.
    held: Option<(Held, Trip)>,
    /// How it broke off. Told a moment later: the library throws away what it has not written when it is told, the head
    /// of the answer for one.
    broken: Option<BoxError>,
}

/// The body was cut because the request took longer than it may.
#[derive(Debug, thiserror::Error)]
#[error("the request has been terminated because it has reached the maximum request timeout")]
struct Cut;

/// Sends the request and waits for the head of the answer.
pub(crate) async fn forward(
    admitted: Admitted,
    outgoing: Box<Outgoing>,
    make_pool: impl FnOnce() -> Pool,
) -> Result<Answered, Failure> {
    let slot = admitted.into_slot();
    let pool = slot.attached(make_pool);
    match outgoing.protocol {
        Protocol::Http1 => http1(slot, &pool, outgoing).await,
        Protocol::H2c => http2(slot, &pool, outgoing).await,
    }
}

async fn http1(slot: Slot, pool: &Arc<Pool>, mut outgoing: Box<Outgoing>) -> Result<Answered, Failure> {
    // A new connection may be that of the startup probe, which has rested too: of two, one is not.
    let mut may_have_rested = true;
    loop {
        let pooled = pool.take(&slot);
        let reused = pooled.is_some();
        let mut lease = match pooled {
            Some(lease) => lease,
            None => match pool.connect(&slot).await {
                Ok(lease) => lease,
                Err(error) => return Err(unreachable(slot, outgoing, &error)),
            },
        };
        let is_sent = outgoing.request.body().watch();
        match lease.wire().send(outgoing.request).await {
            // Not that to HEAD, which has no body whatever it says. The rest of it is not read: the connection is closed.
            Ok(response) if response.body().size_hint().exact().is_some_and(|said| said > HTTP1_MAX) => {
                return Err(Failure::Final(Rejection::ResponseTooLarge));
            }
            Ok(response) => {
                // From here on only who reads the answer drives the connection. A client that reads nothing before it
                // has sent everything would wait for itself; bytes that are not HTTP are nobody's answer.
                if !is_sent() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
                    lease.set_going();
                }
                let held = Held { lease: Some(lease), _stream: None, _slot: slot };
                return Ok(Answered {
                    response,
                    client: outgoing.client,
                    tunnel: outgoing.tunnel,
                    held,
                    affinity: None,
                });
            }
            Err(mut error) => match error.take_message() {
                // The instance closed a connection that rested; nothing of the request was sent.
                Some(request) if reused || std::mem::take(&mut may_have_rested) => outgoing.request = request,
                _ => return Err(broken(&slot, error.error()).await),
            },
        }
    }
}

async fn http2(slot: Slot, pool: &Arc<Pool>, mut outgoing: Box<Outgoing>) -> Result<Answered, Failure> {
    let mut tries = 1..=TRIES;
    loop {
        let is_last = tries.next() == Some(TRIES);
        let mut shared = match pool.shared(&slot).await {
            Ok(shared) => shared,
            Err(error) => return Err(unreachable(slot, outgoing, &error)),
        };
        match shared.sender.try_send_request(outgoing.request).await {
            Ok(response) => {
                let held = Held { lease: None, _stream: Some(shared.into_stream()), _slot: slot };
                return Ok(Answered { response, client: outgoing.client, tunnel: None, held, affinity: None });
            }
            Err(mut error) => match error.take_message() {
                Some(request) if shared.sender.is_closed() && !is_last => outgoing.request = request,
                _ => return Err(broken(&slot, error.error()).await),
            },
        }
    }
}

fn unreachable(slot: Slot, outgoing: Box<Outgoing>, error: &io::Error) -> Failure {
    if !speaks_of_instance(error) {
        tracing::warn!(instance = %slot.instance(), %error, "no connection to an instance can be made here");
        return Failure::Final(Rejection::Broken);
    }
    tracing::debug!(instance = %slot.instance(), %error, "an instance could not be connected to");
    slot.give_up();
    Failure::Unreachable(outgoing)
}

/// Is it the instance's doing that it cannot be connected to? All else, such as too many open files, too many ports in
/// use or no memory, is this machine's, and would end every instance that is asked for in the meantime.
fn speaks_of_instance(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(
        error.kind(),
        K::ConnectionRefused
            | K::ConnectionReset
            | K::ConnectionAborted
            | K::BrokenPipe
            | K::NotFound
            | K::HostUnreachable
            | K::NetworkUnreachable
            | K::TimedOut
    )
}

async fn broken(slot: &Slot, error: &hyper::Error) -> Failure {
    if let Some(rejection) = blame(error) {
        return Failure::Final(rejection);
    }
    tracing::debug!(instance = %slot.instance(), %error, "the connection to an instance broke");
    match slot.ended(EXIT_PATIENCE).await {
        Some(Exit::OutOfMemory { .. }) => Failure::Final(Rejection::OutOfMemory),
        _ => Failure::Final(Rejection::Broken),
    }
}

// === impl Outgoing ===

impl Outgoing {
    /// Makes the request of a client into one for a container.
    pub(crate) fn new(request: Request<Incoming>, client: Client, protocol: Protocol) -> Result<Self, Rejection> {
        let (mut parts, body) = request.into_parts();
        let body = Inbound::new(body, protocol)?;
        let tunnel = parts.extensions.remove::<Tunnel>();
        if tunnel.is_some() {
            // From here on it is an upgrade, which only this version has.
            parts.version = Version::HTTP_11;
        }
        let upgrade = headers::prepare(&mut parts, client, protocol);
        let mut request = Request::from_parts(parts, body);
        // Taken out in any case: the instance's connection must not see the client's.
        let client = Some(hyper::upgrade::on(&mut request)).filter(|_| upgrade == Upgrade::Wanted);
        Ok(Self { request, protocol, client, tunnel })
    }

    /// Is it a tunnel towards a container that gives none? Served without one, a client of HTTP/2 would take the page
    /// that it gets for a WebSocket.
    pub(crate) fn leads_nowhere(&self) -> bool {
        self.tunnel.is_some() && self.client.is_none()
    }

    /// Another revision is to get it, which may speak another protocol.
    pub(crate) fn retarget(self, protocol: Protocol) -> Result<Self, Rejection> {
        if protocol == self.protocol {
            return Ok(self);
        }
        let (mut parts, body) = self.request.into_parts();
        let body = body.retarget(protocol)?;
        headers::retarget(&mut parts, protocol);
        let request = Request::from_parts(parts, body);
        Ok(Self { request, protocol, client: None, tunnel: self.tunnel })
    }
}

// === impl Answered ===

impl Answered {
    /// Does the instance agree to an upgrade?
    pub(crate) fn is_upgrade(&self) -> bool {
        self.response.status() == StatusCode::SWITCHING_PROTOCOLS
    }
}

// === impl Held ===

impl Held {
    /// After the end of the answer: the connection goes back.
    fn finish(mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

// === impl Upstream ===

impl Upstream {
    /// To be served by the task that this is called in, which sees when `timer` ends ([`limit`]).
    pub(crate) fn new(incoming: Incoming, timer: Sleep, held: Held, trip: Trip) -> Self {
        let mut stream = Self { incoming, held: Some((held, trip)), broken: None };
        stream.look_for_end();
        if stream.held.is_some() {
            limit::begin(timer);
        }
        stream
    }

    /// An end that is known is acted on at once: nobody polls a body that says it has ended.
    fn look_for_end(&mut self) {
        if self.incoming.is_end_stream() {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if let Some((held, _trip)) = self.let_go() {
            held.finish();
        }
    }

    /// The answer has ended, well or not.
    fn let_go(&mut self) -> Option<(Held, Trip)> {
        let held = self.held.take()?;
        limit::end();
        Some(held)
    }

    /// It took longer than it may.
    fn cut(&mut self) {
        if let Some((_, mut trip)) = self.let_go() {
            trip.access().note = Rejection::Timeout.note();
        }
    }

    pub(crate) fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let polled = self.poll_next(cx);
        if let Poll::Ready(Some(Err(error))) = polled {
            self.broken = Some(error);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        polled
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.held.is_some() && limit::is_over() {
            self.cut();
            return Poll::Ready(Some(Err(Cut.into())));
        }
        let incoming = Pin::new(&mut self.incoming);
        let polled = match self.held.as_mut().and_then(|(held, _)| held.lease.as_mut()) {
            Some(lease) => lease.wire().feed(cx, |cx| incoming.poll_frame(cx)),
            None => incoming.poll_frame(cx),
        };
        match &polled {
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => self.finish(),
            Poll::Ready(Some(Ok(frame))) => {
                if let (Some((_, trip)), Some(data)) = (&mut self.held, frame.data_ref()) {
                    trip.access().response_bytes += data.len() as u64;
                }
                self.look_for_end();
            }
            Poll::Ready(Some(Err(error))) => {
                if let Some((_, mut trip)) = self.let_go() {
                    // Its status is what the client was told before.
                    trip.access().note = blame(error).unwrap_or(Rejection::Broken).note();
                }
            }
            Poll::Ready(None) => self.finish(),
            Poll::Pending => {}
        }
        polled.map_err(Into::into)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.broken.is_none() && self.incoming.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        if self.held.is_some() && limit::is_over() {
            self.cut();
        }
        drop(self.let_go());
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upstream")
    }
}
