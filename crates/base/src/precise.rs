//! A timer of the kernel's own.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

/// A timer that can be set again and again: one descriptor for many waits.
#[derive(Debug)]
pub(crate) struct PreciseTimer(AsyncFd<OwnedFd>);

// === impl PreciseTimer ===

impl PreciseTimer {
    /// A timer that is not set.
    ///
    /// # Errors
    /// When the process has no descriptor left for it.
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe, for types whose descriptor can change; an OwnedFd's cannot"
    )]
    pub(crate) fn new() -> io::Result<Self> {
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        AsyncFd::with_interest(timer, Interest::READABLE).map(Self)
    }

    /// Ends after `duration`. What an earlier wait that was given up left behind is forgotten.
    ///
    /// # Errors
    /// None that a timer of [`Self::new`] is known to give.
    pub(crate) async fn wait(&mut self, duration: Duration) -> io::Result<()> {
        // A time of zero would disarm it.
        let duration = duration.max(Duration::from_nanos(1));
        let it_value = Timespec {
            tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(duration.subsec_nanos()),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        loop {
            // That it is readable may be old news: only the count that is read tells that this time has come.
            let ended = self.0.readable().await?.try_io(|timer| {
                let mut count = [0; 8];
                rustix::io::read(timer, &mut count).map_err(Into::into)
            });
            if let Ok(ended) = ended {
                return ended.map(drop);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_of_no_time_ends() {
        let mut timer = PreciseTimer::new().expect("a descriptor");
        for _ in 0..3 {
            timer.wait(Duration::ZERO).await.expect("a wait");
        }
    }

    /// Polls once, and gives the wait up.
    async fn is_over(wait: impl Future<Output = io::Result<()>>) -> bool {
        tokio::select! {
            biased;
            ended = wait => ended.map(|()| true).expect("a wait"),
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn a_wait_after_one_that_was_given_up_lasts_its_own_time() {
        let mut timer = PreciseTimer::new().expect("a descriptor");
        assert!(!is_over(timer.wait(Duration::from_millis(1))).await);
        // That one is over by now, and the runtime has been told.
        drop(timer.0.readable().await.expect("readable"));
        assert!(!is_over(timer.wait(Duration::from_secs(3600))).await);
    }
}
