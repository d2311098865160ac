//! What stands in for a PID namespace where there is none: a process for each container that all of
//! the container's descend from, and that ends them.
//!
//! A process cannot leave its tree: whatever loses its parent is adopted by the keeper
//! (`PR_SET_CHILD_SUBREAPER`), daemons that fork twice included. When the container's first process ends,
//! when the launcher says so and when the launcher is gone (the leash breaks), the keeper kills until it has
//! no child left, and then says how it went. Where no control group limits memory, it adds up what
//! the processes use, ten times a second, and ends a container that uses more than it may.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    process,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
    process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, wait},
};

use updraft_base::Clock;

use super::child::{self, Birth};
use crate::{
    protocol::Exit,
    sys::{
        process::{Forked, Kin, become_stream, child_events, close_others, fork, leave},
        tree,
    },
};

/// On the leash: the first process is to be asked to end.
pub(super) const TERMINATE: &[u8] = b"T";
/// On the leash: everything is to end.
pub(super) const KILL: &[u8] = b"K";

/// How often memory is added up.
const LOOK: Duration = Duration::from_millis(100);
/// How often it is looked for processes that are left, at the end.
const SWEEP: Duration = Duration::from_millis(5);

/// A container and who holds its leash.
pub(super) struct Keeper {
    leash: OwnedFd,
    events: OwnedFd,
    main: Pid,
    /// `None` where the kernel keeps to it.
    memory_limit: Option<u64>,
    exit: Option<Exit>,
    /// Children that have ended, as long as it is not known which of them will be the first process.
    early: Option<Vec<(Pid, Exit)>>,
    /// Is everything to end?
    ending: bool,
    clock: Clock,
    next_look: Instant,
}

/// Runs in a new process of the launcher's; never returns. `leash` is its end of a socket pair.
pub(super) fn keep(birth: Birth<'_>, memory_limit: u64, leash: OwnedFd) -> ! {
    match Keeper::start(birth, memory_limit, leash) {
        Ok(mut keeper) => {
            keeper.watch();
            let exit = keeper.end();
            keeper.say(&exit);
            leave(0)
        }
        // Without a word on the leash: the launcher sees to what is left.
        Err(_) => leave(1),
    }
}

/// Makes the launcher's copy a keeper that hears of its children's ends by what it returns, and has nothing open but
/// that, its leash and `kept`.
pub(super) fn settle(leash: &OwnedFd, kept: &[BorrowedFd<'_>]) -> rustix::io::Result<OwnedFd> {
    let _ = rustix::thread::set_name(c"updraft-keeper");
    let events = child_events().map_err(|_| Errno::INVAL)?;
    set_child_subreaper(Pid::from_raw(1))?;
    // The socket to the server and the leashes of others: as long as these were open here, nobody would
    // learn that the launcher is gone; nor that the server is, which we may outlive, where its standard error ends. The
    // standard output stays; it is the lock that says that something of this engine is still alive.
    let nothing = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty())?;
    for stream in [0, 2] {
        let _ = become_stream(nothing.as_fd(), stream);
    }
    drop(nothing);
    let kept: Vec<BorrowedFd<'_>> = kept.iter().copied().chain([leash.as_fd(), events.as_fd()]).collect();
    close_others(&kept).map_err(|_| Errno::BADF)?;
    Ok(events)
}

/// The last word on a leash.
pub(super) fn tell(leash: &OwnedFd, exit: &Exit) {
    if let Ok(word) = serde_json::to_vec(exit) {
        // Nobody listens when the launcher is gone.
        let _ = send(leash, &word, SendFlags::NOSIGNAL);
    }
}

// === impl Keeper ===

impl Keeper {
    fn start(birth: Birth<'_>, memory_limit: u64, leash: OwnedFd) -> rustix::io::Result<Self> {
        let events = settle(&leash, &[birth.stdout.as_fd(), birth.stderr.as_fd(), birth.status.as_fd()])?;
        let main = match fork(Kin::Near, None).map_err(|_| Errno::AGAIN)? {
            Forked::Child => child::live(birth),
            Forked::Parent(_, pid) => Pid::from_raw(pid.cast_signed()).ok_or(Errno::SRCH)?,
        };
        let memory_limit = birth.groups.memory.is_none().then_some(memory_limit);
        let clock = birth.clock.clone();
        let next_look = clock.instant();
        // Whoever waits for the ends of these pipes must not wait for us.
        drop(birth);
        Ok(Self { leash, events, main, memory_limit, exit: None, early: None, ending: false, clock, next_look })
    }

    /// One whose first process is an OCI runtime at first, and later what that has made. `events` is of [`settle`].
    pub(super) fn of_runtime((leash, events): (OwnedFd, OwnedFd), runtime: Pid, clock: Clock) -> Self {
        let (next_look, early) = (clock.instant(), Some(Vec::new()));
        Self { leash, events, main: runtime, memory_limit: None, exit: None, early, ending: false, clock, next_look }
    }

    /// From now on `main` is the first process; it may have ended already. Takes how the one before it ended.
    pub(super) fn turn_to(&mut self, main: Pid) {
        let early = self.early.take().unwrap_or_default();
        self.exit = early.into_iter().find(|(pid, _)| *pid == main).map(|(_, exit)| exit);
        self.main = main;
    }

    /// Until the first process has ended, or is to end with all others. How it ended, in the first case.
    pub(super) fn watch(&mut self) -> Option<Exit> {
        while self.exit.is_none() {
            self.wait(self.memory_limit.map(|_| LOOK));
            if !self.obey() {
                return None;
            }
            self.reap();
            if let Some(used) = self.excess() {
                self.exit.get_or_insert(Exit::OutOfMemory { used });
            }
        }
        self.exit.clone()
    }

    /// Ends what is left. How the first process ended.
    pub(super) fn end(&mut self) -> Exit {
        self.ending = true;
        while self.reap() {
            for member in tree::descendants(process::id()) {
                tree::kill(member);
            }
            self.wait(Some(SWEEP));
        }
        self.exit.take().unwrap_or(Exit::Signal(Signal::KILL.as_raw()))
    }

    /// The last word. Everything is over then.
    pub(super) fn say(&self, exit: &Exit) {
        tell(&self.leash, exit);
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Waits for a child to end, so long at most; for who has ended everything else.
    pub(super) fn rest(&self, limit: Duration) {
        self.wait(Some(limit));
    }

    fn wait(&self, limit: Option<Duration>) {
        let limit = limit.map(|limit| Timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) });
        let fds = [&self.leash, &self.events].map(|fd| PollFd::new(fd, PollFlags::IN));
        // A broken leash is always readable: at the end only children are waited for.
        let mut fds = if self.ending { fds[1..].to_vec() } else { fds.to_vec() };
        let _ = poll(&mut fds, limit.as_ref());
        // Which child it was says `wait`; signals of one kind melt into one.
        let mut drained = [0u8; 128];
        let _ = rustix::io::read(&self.events, &mut drained);
    }

    /// Does what the launcher says. False when everything is to end.
    fn obey(&self) -> bool {
        let mut words = [0u8; 16];
        let length = match recv(&self.leash, &mut words, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return false,
            Ok((length, _)) => length,
            Err(Errno::AGAIN | Errno::INTR) => return true,
            Err(_) => return false,
        };
        if words[..length].contains(&KILL[0]) {
            return false;
        }
        if words[..length].contains(&TERMINATE[0]) {
            // Not waited for yet, so the number is still its own.
            let _ = kill_process(self.main, Signal::TERM);
        }
        true
    }

    /// Takes the exits of those that have ended. False when there is no child any more.
    fn reap(&mut self) -> bool {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => {
                    let exit = match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Exit::Code(code),
                        (None, signal) => Exit::Signal(signal.unwrap_or(Signal::KILL.as_raw())),
                    };
                    if pid == self.main {
                        self.exit.get_or_insert(exit);
                    } else if let Some(early) = &mut self.early {
                        early.push((pid, exit));
                    }
                }
                Err(Errno::INTR) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// The memory in use, when it is more than may be.
    fn excess(&mut self) -> Option<u64> {
        let limit = self.memory_limit?;
        let now = self.clock.instant();
        if now < self.next_look {
            return None;
        }
        self.next_look = now + LOOK;
        let pids: Vec<u32> = tree::descendants(process::id()).into_iter().map(|member| member.pid).collect();
        let used: u64 = pids.iter().map(|&pid| tree::memory(pid)).sum();
        if used <= limit {
            return None;
        }
        // Pages that processes share after a fork were counted in each. The exact figure is dear, so
        // it is asked for only now; a process that we may not ask counts in full.
        let used = pids.iter().map(|&pid| tree::fair_memory(pid).unwrap_or_else(|| tree::memory(pid))).sum();
        (used > limit).then_some(used)
    }
}
