//! Making a container: control groups, pipes, the process.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::Instant,
};

use rustix::{
    fs::{Mode, OFlags, fcntl_setfl},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    pipe::{PipeFlags, pipe_with},
};
use updraft_base::Clock;

use super::{
    child::{self, Birth, Place},
    keeper,
};
use crate::{
    protocol::Launch,
    sandbox::{
        cgroups::{Layout, Limits, Plan},
        isolation::Isolation,
        mounts, seccomp,
    },
    sys::{
        self,
        process::{Forked, Kin},
    },
};

/// What every start of this launcher has in common; made once.
#[derive(Debug)]
pub(super) struct Workshop {
    tag: String,
    isolation: Isolation,
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
    /// The keeper's number and our end of its leash, where there is one.
    pub(super) keeper: Option<(u32, OwnedFd)>,
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
    /// Sets up what containers share: the parents of the control groups and, where containers have namespaces, one
    /// of mounts and the place to mount at.
    ///
    /// # Errors
    /// The host's.
    pub(super) fn open(tag: String, run_dir: &Path, isolation: Isolation, clock: Clock) -> io::Result<Self> {
        let (layout, stage) = match isolation {
            Isolation::Namespaces => Self::open_stage(run_dir)?,
            Isolation::Chroot | Isolation::None => {
                // A keeper may be killed; what it kept is ours then.
                rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))?;
                (sys::cgroups::usable(&tag)?, String::new())
            }
        };
        sys::cgroups::make_parents(&layout, &tag)?;
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")?;
        let last_capability = last.trim().parse().map_err(|_| io::Error::other("cap_last_cap is not a number"))?;
        let filter = seccomp::assemble(&seccomp::rules(isolation));
        Ok(Self { tag, isolation, layout, stage, filter, last_capability, clock })
    }

    fn open_stage(run_dir: &Path) -> io::Result<(Layout, String)> {
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
        Ok((layout, stage))
    }

    /// Removes what [`Workshop::open`] made on the host.
    pub(super) fn close(&self) {
        // What is still busy is found by the next start.
        let _ = sys::cgroups::sweep(&self.layout, &self.tag);
    }

    /// Makes the container; `netns` is the network namespace that came along. Nothing is left when it fails.
    ///
    /// # Errors
    /// The host's, and when what came along does not fit the isolation.
    pub(super) fn make(&self, launch: &Launch, netns: Option<OwnedFd>) -> io::Result<Born> {
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

    fn clone_into(&self, launch: &Launch, groups: Plan, netns: Option<OwnedFd>, begun: Instant) -> io::Result<Born> {
        let mounts = match self.isolation {
            Isolation::Namespaces => mounts::plan(launch, &self.stage, &self.layout.hierarchies),
            Isolation::Chroot | Isolation::None => Vec::new(),
        };
        let place = match (self.isolation, &launch.root, netns) {
            (Isolation::Namespaces, _, Some(netns)) => Place::Sandbox(netns, &mounts),
            (Isolation::Namespaces, _, None) => return Err(io::Error::other("no network namespace came along")),
            (Isolation::Chroot, Some(root), _) => Place::Root(root),
            (Isolation::None, Some(folder), _) => Place::Folder(folder),
            (Isolation::Chroot | Isolation::None, None, _) => {
                return Err(io::Error::other("there is no copy of the image"));
            }
        };
        // Without `/proc` a container opens its output by name as these pipes.
        let named = |name: &str| match &place {
            Place::Root(root) => named_pipe(&root.join("dev").join(name)),
            _ => pipe(),
        };
        let (stdout, child_stdout) = named("stdout")?;
        let (stderr, child_stderr) = named("stderr")?;
        let (status, child_status) = pipe()?;
        let birth = Birth {
            launch,
            groups: &groups,
            place,
            filter: &self.filter,
            last_capability: self.last_capability,
            stdout: child_stdout,
            stderr: child_stderr,
            status: child_status,
            clock: &self.clock,
        };
        let (pidfd, keeper) = match self.isolation {
            Isolation::Namespaces => (sandboxed(birth)?, None),
            Isolation::Chroot | Isolation::None => {
                let (pidfd, pid, leash) = kept(birth)?;
                (pidfd, Some((pid, leash)))
            }
        };
        let at = self.clock.instant();
        let clone = u64::try_from(at.saturating_duration_since(begun).as_micros()).unwrap_or(u64::MAX);
        Ok(Born { pidfd, keeper, stdout, stderr, status, groups, pids: launch.pids, clone, at })
    }
}

fn sandboxed(birth: Birth<'_>) -> io::Result<OwnedFd> {
    let group = match birth.groups.directories.first().filter(|_| birth.groups.born_inside) {
        Some(dir) => Some(rustix::fs::open(dir, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?),
        None => None,
    };
    match sys::process::fork(Kin::Apart, group.as_ref().map(AsFd::as_fd))? {
        Forked::Child => child::live(&birth),
        Forked::Parent(pidfd, _) => Ok(pidfd),
    }
}

fn kept(birth: Birth<'_>) -> io::Result<(OwnedFd, u32, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    match sys::process::fork(Kin::Near, None)? {
        Forked::Child => keeper::keep(birth, theirs),
        Forked::Parent(pidfd, pid) => Ok((pidfd, pid, ours)),
    }
}

/// A pipe whose reading end never blocks. The writing end does: that is how a container is slowed
/// down.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&read, OFlags::NONBLOCK)?;
    Ok((read, write))
}

/// The same as a file of the container, so that it can be opened by name.
fn named_pipe(path: &Path) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let read = rustix::fs::open(path, flags | OFlags::RDONLY | OFlags::NONBLOCK, Mode::empty())?;
    let write = rustix::fs::open(path, flags | OFlags::WRONLY, Mode::empty())?;
    Ok((read, write))
}
