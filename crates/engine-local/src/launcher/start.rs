//! Making a container: control groups, pipes, the process.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Instant,
};

use rustix::{
    fs::{Mode, OFlags, fcntl_setfl},
    pipe::{PipeFlags, pipe_with},
};
use updraft_base::Clock;

use super::child::{self, Birth};
use crate::{
    protocol::Launch,
    sandbox::{
        cgroups::{Layout, Limits, Plan},
        mounts, seccomp,
    },
    sys::{self, process::Forked},
};

/// What every start of this launcher has in common; made once.
#[derive(Debug)]
pub(super) struct Workshop {
    tag: String,
    layout: Layout,
    stage: String,
    filter: Vec<seccomp::Instruction>,
    last_capability: u32,
    clock: Clock,
}

/// A container that has just been made.
#[derive(Debug)]
pub(super) struct Born {
    pub(super) pidfd: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) status: OwnedFd,
    pub(super) groups: Plan,
    /// How many processes and threads it may have.
    pub(super) pids: u32,
    /// How long control groups and the clone took, in microseconds.
    pub(super) clone: u64,
    /// When the process was there.
    pub(super) at: Instant,
}

// === impl Workshop ===

impl Workshop {
    /// Sets up what containers share: a mount namespace, the place to mount at, the parents of the
    /// control groups.
    ///
    /// # Errors
    /// The host's.
    pub(super) fn open(tag: String, run_dir: &Path, clock: Clock) -> io::Result<Self> {
        let layout = sys::cgroups::layout()?;
        if !layout.missing.is_empty() {
            return Err(io::Error::other(format!("missing control group controllers: {}", layout.missing.join(", "))));
        }
        let stage: PathBuf = run_dir.join("stage");
        std::fs::create_dir_all(&stage)?;
        let stage = stage
            .into_os_string()
            .into_string()
            .map_err(|_| io::Error::other("the data directory's path is not UTF-8"))?;
        sys::process::unshare_mounts()?;
        // Not private: what the host unmounts must not stay busy because of us.
        rustix::mount::mount_change(
            "/",
            rustix::mount::MountPropagationFlags::DOWNSTREAM | rustix::mount::MountPropagationFlags::REC,
        )?;
        sys::cgroups::make_parents(&layout, &tag)?;
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")?;
        let last_capability = last.trim().parse().map_err(|_| io::Error::other("cap_last_cap is not a number"))?;
        let filter = seccomp::assemble(&seccomp::rules());
        Ok(Self { tag, layout, stage, filter, last_capability, clock })
    }

    /// Removes what [`Workshop::open`] made on the host.
    pub(super) fn close(&self) {
        // What is still busy is found by the next start.
        let _ = sys::cgroups::sweep(&self.layout, &self.tag);
    }

    /// Makes the container. Nothing is left when it fails.
    ///
    /// # Errors
    /// The host's.
    pub(super) fn make(&self, launch: &Launch, netns: OwnedFd) -> io::Result<Born> {
        let begun = self.clock.instant();
        let limits = Limits { cpu_millis: launch.cpu_millis, memory_bytes: launch.memory_bytes, pids: launch.pids };
        let groups = self.layout.plan(&self.tag, &launch.id, limits);
        sys::cgroups::create(&groups)?;
        let born = self.clone_into(launch, groups.clone(), netns, begun);
        if born.is_err() {
            let _ = sys::cgroups::remove(&groups);
        }
        born
    }

    fn clone_into(&self, launch: &Launch, groups: Plan, netns: OwnedFd, begun: Instant) -> io::Result<Born> {
        let (stdout, child_stdout) = pipe()?;
        let (stderr, child_stderr) = pipe()?;
        let (status, child_status) = pipe()?;
        let group = match groups.directories.first().filter(|_| groups.born_inside) {
            Some(dir) => {
                Some(rustix::fs::open(dir, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
            }
            None => None,
        };
        let mounts = mounts::plan(launch, &self.stage, &self.layout.hierarchies);
        let birth = Birth {
            launch,
            groups: &groups,
            mounts: &mounts,
            filter: &self.filter,
            last_capability: self.last_capability,
            netns,
            stdout: child_stdout,
            stderr: child_stderr,
            status: child_status,
            clock: &self.clock,
        };
        let pidfd = match sys::process::fork(group.as_ref().map(AsFd::as_fd))? {
            Forked::Child => child::live(&birth),
            Forked::Parent(pidfd) => pidfd,
        };
        drop(birth);
        let at = self.clock.instant();
        let clone = u64::try_from(at.saturating_duration_since(begun).as_micros()).unwrap_or(u64::MAX);
        Ok(Born { pidfd, stdout, stderr, status, groups, pids: launch.pids, clone, at })
    }
}

/// A pipe whose reading end never blocks. The writing end does: that is how a container is slowed
/// down.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&read, OFlags::NONBLOCK)?;
    Ok((read, write))
}
