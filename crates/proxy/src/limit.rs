//! The time limit of an answer that nobody asks for its body.
//!
//! The library asks a body for more only when it has somewhere to put it. A client that does not read, or gives a stream
//! no room, would so keep its place for ever: a body that is not asked cannot see that its time is over. What is asked in
//! any case is the task that serves it, of a connection of HTTP/1.1 or of a stream of HTTP/2. So that has the timer, from
//! the head of an answer to the end of its body, and when the body does not end in time, the task does.

use std::{
    cell::Cell,
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::Executor;
use hyper_util::rt::TokioExecutor;
use pin_project_lite::pin_project;
use updraft_base::Sleep;

tokio::task_local! {
    static LIMIT: Limit;
}

/// Of the answer that a task has under way: it has one at a time.
#[derive(Default)]
struct Limit(Cell<State>);

#[derive(Default)]
enum State {
    /// There is no body under way.
    #[default]
    None,
    Until(Sleep),
    Over,
}

pin_project! {
    /// Ends when its work does, or when the time of an answer is over and its body has not ended even so.
    struct Limited<F> {
        #[pin]
        work: F,
    }
}

/// Runs the streams of HTTP/2, each within its limit.
#[derive(Debug, Clone, Default)]
pub(crate) struct Streams(TokioExecutor);

/// Serves a connection or a stream, within the limit of each of its answers.
pub(crate) fn limited(work: impl Future<Output = ()>) -> impl Future<Output = ()> {
    LIMIT.scope(Limit::default(), Limited { work })
}

/// The body of an answer is on its way, until `timer` ends.
pub(crate) fn begin(timer: Sleep) {
    set(State::Until(timer));
}

/// Is the time of the body over?
pub(crate) fn is_over() -> bool {
    let is_over = |limit: &Limit| {
        let state = limit.0.take();
        let is_over = matches!(state, State::Over);
        limit.0.set(state);
        is_over
    };
    LIMIT.try_with(is_over).unwrap_or_default()
}

/// The body has ended, however.
pub(crate) fn end() {
    set(State::None);
}

fn set(state: State) {
    // Outside a task of [`limited`] nobody looks at the time, and nothing is served.
    let _ = LIMIT.try_with(|limit| limit.0.set(state));
}

// === impl Limit ===

impl Limit {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let State::Until(mut timer) = self.0.take() else { return Poll::Pending };
        let polled = Pin::new(&mut timer).poll(cx);
        self.0.set(if polled.is_ready() { State::Over } else { State::Until(timer) });
        polled
    }
}

// === impl Limited ===

impl<F: Future<Output = ()>> Future for Limited<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut work = self.project().work;
        if work.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Ok(Poll::Ready(())) = LIMIT.try_with(|limit| limit.poll(cx)) else { return Poll::Pending };
        // If the body can be asked, it ends in order: what is on its way still goes out. If not, this is the end of all.
        let polled = work.as_mut().poll(cx);
        if is_over() { Poll::Ready(()) } else { polled }
    }
}

// === impl Streams ===

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.0.execute(limited(stream));
    }
}
