//! Time as a value that is passed in, so that a test can own it.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::oneshot;

use crate::precise::PreciseTimer;

/// The source of time and timers. Cheap to clone; all clones agree.
#[derive(Clone)]
pub struct Clock(Kind);

#[derive(Clone)]
enum Kind {
    System,
    Virtual(Arc<VirtualClock>),
}

/// A clock that stands still until a test moves it.
#[derive(Debug)]
pub struct VirtualClock {
    start: SystemTime,
    origin: Instant,
    state: Mutex<VirtualState>,
}

#[derive(Debug, Default)]
struct VirtualState {
    elapsed: Duration,
    next_id: u64,
    timers: BinaryHeap<Reverse<Timer>>,
}

#[derive(Debug)]
struct Timer {
    at: Duration,
    id: u64,
    wake: oneshot::Sender<()>,
}

/// A timer of a [`Clock`]; ends when the clock has passed its deadline.
pub struct Sleep(SleepKind);

enum SleepKind {
    System(Pin<Box<tokio::time::Sleep>>),
    Virtual(oneshot::Receiver<()>),
    Over,
}

/// One who sleeps precisely, again and again; without a descriptor left for it, as precisely as [`Clock::sleep`].
#[derive(Debug)]
pub struct PreciseSleeper<'a> {
    clock: &'a Clock,
    timer: Option<PreciseTimer>,
}

/// The deadline of [`Clock::timeout`] passed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Elapsed;

// === impl Clock ===

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Self {
        Self(Kind::System)
    }

    /// A clock that starts at `start` and moves only by [`VirtualClock::advance`].
    #[expect(clippy::disallowed_methods, reason = "an arbitrary origin for readings that only differences are made of")]
    pub fn stopped_at(start: SystemTime) -> (Self, Arc<VirtualClock>) {
        let clock = Arc::new(VirtualClock { start, origin: Instant::now(), state: Mutex::default() });
        (Self(Kind::Virtual(clock.clone())), clock)
    }

    /// The time of day.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    pub fn now(&self) -> SystemTime {
        match &self.0 {
            Kind::System => SystemTime::now(),
            Kind::Virtual(clock) => clock.start + clock.elapsed(),
        }
    }

    /// A reading that never goes back, for durations.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    pub fn instant(&self) -> Instant {
        match &self.0 {
            Kind::System => Instant::now(),
            Kind::Virtual(clock) => clock.origin + clock.elapsed(),
        }
    }

    /// A timer that ends after `duration`.
    #[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
    pub fn sleep(&self, duration: Duration) -> Sleep {
        match &self.0 {
            Kind::System => Sleep(SleepKind::System(Box::pin(tokio::time::sleep(duration)))),
            Kind::Virtual(clock) => clock.sleep(duration),
        }
    }

    /// For waits that end to some tens of microseconds; [`Clock::sleep`] only ends at whole milliseconds. It holds a
    /// descriptor, and is for waits where a millisecond counts.
    pub fn precise_sleeper(&self) -> PreciseSleeper<'_> {
        let timer = match &self.0 {
            Kind::System => PreciseTimer::new().ok(),
            Kind::Virtual(_) => None,
        };
        PreciseSleeper { clock: self, timer }
    }

    /// A timer that ends at `deadline`, a reading of [`Clock::instant`].
    pub fn sleep_until(&self, deadline: Instant) -> Sleep {
        self.sleep(deadline.saturating_duration_since(self.instant()))
    }

    /// Runs `work` for at most `duration`.
    ///
    /// # Errors
    /// [`Elapsed`] when the time is over first; `work` is dropped then.
    pub async fn timeout<F: Future>(&self, duration: Duration, work: F) -> Result<F::Output, Elapsed> {
        tokio::select! {
            biased;
            output = work => Ok(output),
            () = self.sleep(duration) => Err(Elapsed),
        }
    }
}

// === impl PreciseSleeper ===

impl PreciseSleeper<'_> {
    /// Ends after `duration`. May be given up, and begun anew.
    pub async fn sleep(&mut self, duration: Duration) {
        if let Some(timer) = &mut self.timer
            && timer.wait(duration).await.is_ok()
        {
            return;
        }
        self.clock.sleep(duration).await;
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::System => f.write_str("Clock(system)"),
            Kind::Virtual(clock) => write!(f, "Clock(virtual, +{:?})", clock.elapsed()),
        }
    }
}

// === impl VirtualClock ===

impl VirtualClock {
    /// How far the clock has been moved since it was made.
    pub fn elapsed(&self) -> Duration {
        self.lock().elapsed
    }

    /// Moves time on by `duration` and wakes what was due, in order of deadline.
    pub fn advance(&self, duration: Duration) {
        let mut state = self.lock();
        state.elapsed += duration;
        while state.timers.peek().is_some_and(|Reverse(timer)| timer.at <= state.elapsed) {
            if let Some(Reverse(timer)) = state.timers.pop() {
                // The sleeper may have been dropped; then nobody waits.
                let _ = timer.wake.send(());
            }
        }
    }

    /// How long until the next timer that somebody still waits for, if there is one.
    pub fn next_timer(&self) -> Option<Duration> {
        let mut state = self.lock();
        while state.timers.peek().is_some_and(|Reverse(timer)| timer.wake.is_closed()) {
            state.timers.pop();
        }
        let elapsed = state.elapsed;
        state.timers.peek().map(|Reverse(timer)| timer.at.saturating_sub(elapsed))
    }

    fn sleep(&self, duration: Duration) -> Sleep {
        if duration.is_zero() {
            return Sleep(SleepKind::Over);
        }
        let mut state = self.lock();
        let (wake, woken) = oneshot::channel();
        let (at, id) = (state.elapsed.saturating_add(duration), state.next_id);
        state.next_id += 1;
        state.timers.push(Reverse(Timer { at, id, wake }));
        Sleep(SleepKind::Virtual(woken))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VirtualState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Sleep ===

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            SleepKind::System(sleep) => sleep.as_mut().poll(cx),
            SleepKind::Virtual(woken) => match Pin::new(woken).poll(cx) {
                Poll::Ready(Ok(())) => Poll::Ready(()),
                // The clock itself is gone: nothing will ever be due again.
                Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
            },
            SleepKind::Over => Poll::Ready(()),
        }
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sleep")
    }
}

// === impl Timer ===

impl PartialEq for Timer {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.id) == (other.at, other.id)
    }
}

impl Eq for Timer {}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timer {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.id).cmp(&(other.at, other.id))
    }
}

// === impl Elapsed ===

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadline exceeded")
    }
}

impl std::error::Error for Elapsed {}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_virtual_timer_ends_only_when_time_is_moved_past_it() {
        let (clock, hand) = Clock::stopped_at(SystemTime::UNIX_EPOCH);
        let mut early = Box::pin(clock.sleep(Duration::from_secs(1)));
        let mut late = Box::pin(clock.sleep(Duration::from_secs(3)));
        assert_eq!(hand.next_timer(), Some(Duration::from_secs(1)));
        hand.advance(Duration::from_secs(2));
        early.as_mut().await;
        assert!(futures_poll(&mut late).is_pending());
        assert_eq!(hand.next_timer(), Some(Duration::from_secs(1)));
        hand.advance(Duration::from_secs(1));
        late.await;
        assert_eq!(clock.now(), SystemTime::UNIX_EPOCH + Duration::from_secs(3));
    }

    #[tokio::test]
    async fn a_timeout_prefers_work_that_is_done() {
        let (clock, _hand) = Clock::stopped_at(SystemTime::UNIX_EPOCH);
        assert_eq!(clock.timeout(Duration::ZERO, async { 7 }).await, Ok(7));
        assert_eq!(clock.timeout(Duration::ZERO, std::future::pending::<()>()).await, Err(Elapsed));
    }

    fn futures_poll(sleep: &mut Pin<Box<Sleep>>) -> Poll<()> {
        let waker = std::task::Waker::noop();
        sleep.as_mut().poll(&mut Context::from_waker(waker))
    }
}
