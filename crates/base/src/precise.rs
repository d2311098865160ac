//! Timers of the kernel's own.

use std::{io, os::fd::OwnedFd, time::Duration};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::{Interest, unix::AsyncFd};

/// A timer that becomes readable after `duration`.
///
/// # Errors
/// When the process has no descriptor left for it.
#[expect(deprecated, reason = "what replaces it is unsafe, for types whose descriptor can change; an OwnedFd's cannot")]
pub(crate) fn arm(duration: Duration) -> io::Result<AsyncFd<OwnedFd>> {
    let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
    // A time of zero would disarm it.
    let duration = duration.max(Duration::from_nanos(1));
    let it_value = Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    };
    let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &once)?;
    AsyncFd::with_interest(timer, Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_timer_of_no_time_ends() {
        let timer = arm(Duration::ZERO).expect("a descriptor");
        assert!(timer.readable().await.is_ok());
    }
}
