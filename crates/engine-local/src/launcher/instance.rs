//! One container, as its launcher sees it.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use rustix::{
    io::Errno,
    net::{RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, send, sendmsg},
    process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid},
};

use super::{
    backlog::Backlog,
    child::{Word, micros},
    keeper,
    lines::Lines,
    start::Born,
};
use crate::{
    fault::Fault,
    protocol::{Exit, MOUNTS, Report, Steps, Stream},
    sandbox::{
        cgroups::{Limits, Plan},
        users::Range,
    },
    sys,
};

/// A container.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) id: String,
    /// What its control groups are called: it may have been made before there was an id.
    pub(super) leaf: String,
    pidfd: OwnedFd,
    /// The number of its keeper, and our end of the leash, where it has one; then the process is the keeper.
    keeper: Option<(u32, OwnedFd)>,
    /// Where a sandbox is told what to run, until it has been.
    orders: Option<OwnedFd>,
    /// Is it a sandbox that is made and waits?
    waiting: bool,
    /// Has the keeper ended without saying how it went? Then what it kept may be left.
    pub(super) abandoned: bool,
    pipes: [Option<Pipe>; 2],
    status: Option<Status>,
    /// Output that the server has not dealt with.
    pub(super) backlog: Backlog,
    /// What the next server has to know of it; `None` for a sandbox that waits, or is being made.
    pub(super) memo: Option<String>,
    /// Is the reading of output stopped until the server has taken some?
    pub(super) paused: bool,
    groups: Plan,
    /// What it has been limited to.
    pub(super) limits: Option<Limits>,
    /// Its users, where it does not have the host's: nobody else gets them as long as it is there.
    _range: Option<Range>,
    /// How long it took until the process knew, or could know, what to run, in microseconds.
    clone: u64,
    /// What it did before it was needed, in the same unit, is not a part of its start.
    join: Option<u64>,
    /// When the start began.
    begun: Instant,
    running: bool,
    /// Where the time of its start went, once its program runs.
    pub(super) steps: Option<Steps>,
    failure: Option<Fault>,
    ended: Option<Exit>,
    ended_at: Option<SystemTime>,
    verdict: Option<Exit>,
}

#[derive(Debug)]
struct Pipe {
    fd: OwnedFd,
    lines: Lines,
}

#[derive(Debug)]
struct Status {
    fd: OwnedFd,
    bytes: Vec<u8>,
    steps: Steps,
}

/// The descriptors of an instance that are polled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// Its end.
    Process,
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
    /// Its start.
    Status,
    /// Its wait for something to run.
    Orders,
}

/// What became of a descriptor after it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// There may be more.
    Open,
    /// It has ended and is to be forgotten.
    Closed,
}

// === impl Instance ===

impl Instance {
    pub(super) fn new(id: String, born: Born) -> Self {
        let pipe = |fd| Some(Pipe { fd, lines: Lines::default() });
        Self {
            leaf: id.clone(),
            id,
            pidfd: born.pidfd,
            keeper: born.keeper,
            orders: born.orders,
            waiting: false,
            abandoned: false,
            pipes: [pipe(born.stdout), pipe(born.stderr)],
            status: Some(Status { fd: born.status, bytes: Vec::new(), steps: Steps::default() }),
            backlog: Backlog::default(),
            memo: None,
            paused: false,
            groups: born.groups,
            limits: None,
            _range: born.range,
            clone: 0,
            join: None,
            begun: born.begun,
            running: false,
            steps: None,
            failure: None,
            ended: None,
            ended_at: None,
            verdict: None,
        }
    }

    /// The descriptor of `source`, while it is open.
    pub(super) fn fd(&self, source: Source) -> Option<BorrowedFd<'_>> {
        match source {
            Source::Process => self.ended.is_none().then(|| self.pidfd.as_fd()),
            Source::Stdout => self.pipes[0].as_ref().map(|pipe| pipe.fd.as_fd()),
            Source::Stderr => self.pipes[1].as_ref().map(|pipe| pipe.fd.as_fd()),
            Source::Status => self.status.as_ref().map(|status| status.fd.as_fd()),
            Source::Orders => self.orders.as_ref().map(AsFd::as_fd),
        }
    }

    /// The process, ended or not.
    pub(super) fn process_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Takes note of what a sandbox says; true when it is made and waits.
    pub(super) fn read_orders(&mut self) -> bool {
        let Some(orders) = &self.orders else { return false };
        let mut word = [0; 8];
        match recv(orders, &mut word, RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => false,
            Ok((1.., _)) => {
                self.waiting = true;
                true
            }
            // It has ended: that is seen elsewhere.
            Ok((0, _)) | Err(_) => {
                self.orders = None;
                false
            }
        }
    }

    /// Tells a sandbox what to run, and gives it its volumes.
    ///
    /// # Errors
    /// When it has ended, or runs something already.
    pub(super) fn run(&mut self, launch: &OwnedFd, volumes: &[OwnedFd]) -> io::Result<()> {
        let gone = || io::Error::other("its sandbox has ended");
        let orders = self.orders.take().ok_or_else(gone)?;
        let files: Vec<BorrowedFd<'_>> = std::iter::once(launch).chain(volumes).map(AsFd::as_fd).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1 + MOUNTS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&files));
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        sendmsg(&orders, &[IoSlice::new(b"R")], &mut control, flags).map_err(|_| gone())?;
        Ok(())
    }

    /// Ends it for this reason, before its program runs.
    pub(super) fn fail(&mut self, error: &io::Error) {
        self.failure = Some(Fault::Sandbox(format!("cannot make the sandbox: {error}")));
        self.kill();
    }

    /// Its start began, and now it knows what to run, within these limits.
    pub(super) fn note(&mut self, (begun, now): (Instant, Instant), limits: Limits) {
        if self.waiting {
            self.begun = begun;
            self.join = Some(0);
        }
        self.clone = micros(now.saturating_duration_since(self.begun));
        self.limits = Some(limits);
    }

    /// Asks the main process to end. Before the program runs there is nobody to ask.
    pub(super) fn terminate(&self) {
        match &self.keeper {
            _ if !self.running => return self.kill(),
            Some(_) => self.say(keeper::TERMINATE),
            None => self.signal(Signal::TERM),
        }
        self.thaw();
    }

    /// Gives it its CPU back, if it was frozen.
    pub(super) fn thaw(&self) {
        sys::cgroups::thaw(&self.groups);
    }

    /// Ends every process: the main process is the first of its PID namespace, and the kernel ends
    /// the others with it; or there is a keeper, who does.
    pub(super) fn kill(&self) {
        match &self.keeper {
            Some(_) => self.say(keeper::KILL),
            None => self.signal(Signal::KILL),
        }
        // It may be frozen, and not by us. After the signal, so that it does nothing more.
        self.thaw();
    }

    fn say(&self, word: &[u8]) {
        if let Some((_, leash)) = &self.keeper {
            // One that has ended has no ears, and needs none.
            let _ = send(leash, word, SendFlags::NOSIGNAL | SendFlags::DONTWAIT);
        }
    }

    /// The number of its keeper, while that is alive.
    pub(super) fn keeper(&self) -> Option<u32> {
        self.keeper.as_ref().filter(|_| self.ended.is_none()).map(|(pid, _)| *pid)
    }

    fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            // It may have ended and not been waited for yet: then there is nothing to do.
            let _ = pidfd_send_signal(&self.pidfd, signal);
        }
    }

    /// What is told of it to a server that did not start it.
    pub(super) fn introduction(&self) -> Report {
        let Self { id, leaf, memo, steps, .. } = self;
        Report::Kept { id: id.clone(), leaf: leaf.clone(), memo: memo.clone(), steps: *steps, keeper: self.keeper() }
    }

    /// Reads one piece of output.
    pub(super) fn read_output(&mut self, source: Source, report: &mut dyn FnMut(&Report)) -> After {
        let (index, stream) = match source {
            Source::Stdout => (0, Stream::Stdout),
            _ => (1, Stream::Stderr),
        };
        let Some(pipe) = self.pipes[index].as_mut() else { return After::Closed };
        // Touched only as far as it is filled: what is written to here is copied again after each fork.
        let mut buffer = [MaybeUninit::<u8>::uninit(); 16 << 10];
        let (lines, after) = match rustix::io::read(&pipe.fd, &mut buffer) {
            Ok(([], _)) => (pipe.lines.finish().into_iter().collect(), After::Closed),
            Ok((bytes, _)) => (pipe.lines.push(bytes), After::Open),
            Err(Errno::AGAIN | Errno::INTR) => return After::Open,
            Err(_) => (pipe.lines.finish().into_iter().collect(), After::Closed),
        };
        if after == After::Closed {
            self.pipes[index] = None;
        }
        if !lines.is_empty() {
            report(self.backlog.push(&self.id, stream, lines));
        }
        after
    }

    /// Reads how the start is going. `now` is the time of the reading.
    pub(super) fn read_status(&mut self, now: Instant, report: &mut dyn FnMut(&Report)) -> After {
        let Some(status) = self.status.as_mut() else { return After::Closed };
        let mut buffer = [0; 4096];
        match rustix::io::read(&status.fd, &mut buffer) {
            Err(Errno::AGAIN | Errno::INTR) => return After::Open,
            Ok(length @ 1..) => {
                status.bytes.extend_from_slice(&buffer[..length]);
                return After::Open;
            }
            Ok(0) | Err(_) => {}
        }
        for line in status.bytes.split(|&byte| byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(Word::Ready(steps)) => {
                    status.steps = steps;
                    self.running = true;
                }
                Ok(Word::Failed(cause)) => self.failure = Some(cause),
                Err(_) => {}
            }
        }
        if self.failure.is_some() || !self.running {
            self.running = false;
        } else {
            let join = self.join.unwrap_or(status.steps.join);
            let mut steps = Steps { clone: self.clone, join, ..status.steps };
            let whole = micros(now.saturating_duration_since(self.begun));
            steps.exec = whole.saturating_sub(steps.clone + steps.join + steps.mounts + steps.confine);
            self.steps = Some(steps);
            report(&Report::Running { id: self.id.clone(), steps, keeper: self.keeper() });
        }
        self.status = None;
        After::Closed
    }

    /// Takes the exit status, if the process has ended.
    ///
    /// # Errors
    /// Those of waitid(2).
    pub(super) fn reap(&mut self, now: SystemTime) -> io::Result<After> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let Some(status) = waitid(WaitId::PidFd(self.pidfd.as_fd()), options)? else { return Ok(After::Open) };
        // Not when everything of it is gone: what it wrote may have to wait for a server that reads it.
        self.ended_at = Some(now);
        if self.keeper.is_some() {
            let verdict = self.last_word();
            self.abandoned = verdict.is_none();
            self.ended = Some(verdict.unwrap_or(Exit::Signal(libc::SIGKILL)));
            return Ok(After::Closed);
        }
        self.ended = Some(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Signal(libc::SIGKILL),
        });
        Ok(After::Closed)
    }

    /// When it ended, in microseconds since 1970.
    pub(super) fn ended_at(&self) -> u64 {
        let since = self.ended_at.and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    /// What the keeper said before it ended.
    fn last_word(&self) -> Option<Exit> {
        let (_, leash) = self.keeper.as_ref()?;
        let mut word = [0; 256];
        let (length, _) = recv(leash, &mut word, RecvFlags::DONTWAIT).ok()?;
        serde_json::from_slice(word.get(..length)?).ok()
    }

    /// Has everything been read that there will ever be?
    pub(super) fn is_over(&self) -> bool {
        self.ended.is_some() && self.status.is_none() && self.pipes.iter().all(Option::is_none)
    }

    /// Removes the control groups and says how it ended. `None` while the kernel still empties them.
    pub(super) fn bury(&mut self) -> Option<Exit> {
        // Judged before the groups go, and once: they may go one by one.
        let exit = match &self.verdict {
            Some(exit) => exit.clone(),
            None => self.verdict.insert(self.judge()).clone(),
        };
        match sys::cgroups::remove(&self.groups) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => None,
            // Anything else will not get better by waiting; a sweep finds it.
            _ => Some(exit),
        }
    }

    fn judge(&self) -> Exit {
        let ended = self.ended.clone().unwrap_or(Exit::Signal(libc::SIGKILL));
        judge(ended, self.failure.as_ref(), (&self.groups, self.limits.map_or(0, |limits| limits.pids)))
    }
}

/// How a container ended that ended as `ended`, by what the kernel has counted in its control groups and by why it
/// did not start.
pub(super) fn judge(ended: Exit, failure: Option<&Fault>, (groups, pids): (&Plan, u32)) -> Exit {
    if sys::cgroups::memory_kills(groups) > 0 && ended != Exit::Code(0) {
        return Exit::OutOfMemory { used: sys::cgroups::memory_peak(groups) };
    }
    if let Some(cause) = failure {
        return Exit::NotStarted { cause: cause.clone() };
    }
    let status = match ended {
        Exit::Code(code) => code,
        Exit::Signal(signal) => 128 + signal,
        _ => 0,
    };
    // Killed from outside it did not end for what it was refused.
    if status != 0 && ended != Exit::Signal(libc::SIGKILL) && sys::cgroups::forks_refused(groups) > 0 {
        return Exit::OutOfProcesses { limit: pids, status };
    }
    ended
}
