//! One connection of HTTP/1.1 to an instance.
//!
//! The library wants somebody to drive a connection: to write what is to be sent and to read what comes. That is the
//! request that has it, in its own task: a task for each connection would have to be woken for every request and would
//! have to wake it in turn, across processors at worst. A task is given to a connection that has work to do for which
//! nobody waits ([`Wire::hand_over`]), and keeps it then.

use std::{
    fmt,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{TrySendError, http1},
};

use tokio::{sync::oneshot, task::coop::has_budget_remaining};

use crate::inbound::Inbound;

/// What does the work of a connection.
pub(crate) type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A connection, one request at a time.
pub(crate) struct Wire {
    sender: http1::SendRequest<Inbound>,
    /// `None` once a task has it, or it has ended.
    driver: Option<Driver>,
    /// Dropped with this, it ends the task that has the driver, whatever that still had to do.
    kept: Option<oneshot::Sender<()>>,
}

// === impl Wire ===

impl Wire {
    pub(crate) fn new(
        sender: http1::SendRequest<Inbound>,
        driver: impl Future<Output = hyper::Result<()>> + Send + 'static,
    ) -> Self {
        Self { sender, driver: Some(Box::pin(driver)), kept: None }
    }

    /// Sends a request, now, and waits for the head of its answer once it is awaited.
    pub(crate) fn send(
        &mut self,
        request: Request<Inbound>,
    ) -> impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Inbound>>>> {
        let Self { sender, driver, .. } = self;
        // Here, and not in the future: that would have room for the request besides.
        let sent = sender.try_send_request(request);
        async move {
            let mut answer = pin!(sent);
            poll_fn(|cx| fed(driver, cx, |cx| answer.as_mut().poll(cx))).await
        }
    }

    /// Does what there is to do now, and then asks for what comes of it.
    pub(crate) fn feed<T>(&mut self, cx: &mut Context<'_>, ask: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        fed(&mut self.driver, cx, ask)
    }

    /// The work that is to be done from now on, unless a task has it already, and what tells that task to end: it is to
    /// do so with this.
    pub(crate) fn hand_over(&mut self) -> Option<(Driver, oneshot::Receiver<()>)> {
        let driver = self.driver.take()?;
        let (kept, gone) = oneshot::channel();
        self.kept = Some(kept);
        Some((driver, gone))
    }

    /// Has it a task, or has it ended?
    pub(crate) fn has_task(&self) -> bool {
        self.driver.is_none()
    }

    /// Is it free, as far as is known? If the instance has closed it since and that has come here by the time that the
    /// next request is sent, nothing of that goes out, and it comes back.
    pub(crate) fn seems_free(&self) -> bool {
        self.sender.is_ready()
    }

    /// May the next request be sent?
    pub(crate) fn is_free(&mut self) -> bool {
        // Nobody else does its work: whether it stays open after an answer shows only then.
        drive(&mut self.driver, &mut Context::from_waker(Waker::noop()));
        self.seems_free()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Waits until the next request may be sent, or says that none may ever be.
    pub(crate) async fn freed(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }
}

/// Asks for what only the driver can bring, after driving it. If there is nothing yet, the driver will wake this task: to
/// be woken by what it brings as well would be once too often for every request.
fn fed<T>(driver: &mut Option<Driver>, cx: &mut Context<'_>, ask: impl FnOnce(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
    drive(driver, cx);
    match driver {
        // Of a task that has had its turn, a channel says nothing but to ask again: that must not get lost.
        Some(_) if has_budget_remaining() => ask(&mut Context::from_waker(Waker::noop())),
        Some(_) => ask(cx),
        // A task has it, or this is the end of it.
        None => ask(cx),
    }
}

fn drive(driver: &mut Option<Driver>, cx: &mut Context<'_>) {
    // How it ended is told to its request, if it has one.
    if let Some(Poll::Ready(_)) = driver.as_mut().map(|driver| driver.as_mut().poll(cx)) {
        *driver = None;
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("has_task", &self.has_task()).finish_non_exhaustive()
    }
}
