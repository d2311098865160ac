//! Making a sandbox, or a container without one: control groups, pipes, the process.

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
    child::{self, Birth, Place, Stage},
    keeper,
};
use crate::{
    protocol::{Ahead, Launch},
    sandbox::{
        cgroups::{Layout, Limits, Plan},
        devices,
        isolation::Isolation,
        seccomp,
        users::{Identities, Range, Ranges, Users},
    },
    sys::{
        self,
        process::{Forked, Kin},
    },
};

/// What every start of this launcher has in common; made once.
#[derive(Debug)]
pub(super) struct Workshop {
    pub(super) tag: String,
    isolation: Isolation,
    /// The OCI runtime that makes the sandboxes, if it is not us.
    runtime: Option<PathBuf>,
    layout: Layout,
    /// A directory to mount at; empty where nothing is.
    pub(super) stage: String,
    /// Users for sandboxes; `None` where the host's have to do.
    ranges: Option<Ranges>,
    filter: Vec<seccomp::Instruction>,
    last_capability: u32,
    pub(super) clock: Clock,
}

/// Who makes containers, and how.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Maker {
    /// How they are kept apart.
    pub(super) isolation: Isolation,
    /// Whether they have users of their own.
    pub(super) identities: Identities,
    /// The OCI runtime that makes the sandboxes, if it is not us.
    pub(super) runtime: Option<PathBuf>,
}

/// A sandbox that has just been made, or a container that has none.
#[derive(Debug)]
pub(super) struct Born {
    pub(super) pidfd: OwnedFd,
    /// The keeper's number and our end of its leash, where there is one.
    pub(super) keeper: Option<(u32, OwnedFd)>,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) status: OwnedFd,
    /// Where a sandbox is told what to run.
    pub(super) orders: Option<OwnedFd>,
    pub(super) groups: Plan,
    /// When its making began.
    pub(super) begun: Instant,
    /// Its users, where it does not have the host's.
    pub(super) range: Option<Range>,
}

// === impl Workshop ===

impl Workshop {
    /// Sets up what containers share: the parents of the control groups and, where containers have namespaces, one
    /// of mounts and the place to mount at.
    ///
    /// # Errors
    /// The host's.
    pub(super) fn open(
        tag: String,
        run_dir: &Path,
        Maker { isolation, identities, runtime }: Maker,
        clock: Clock,
    ) -> io::Result<Self> {
        if isolation.is_shared() || runtime.is_some() {
            // A keeper may be killed; what it kept is ours then.
            rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))?;
        }
        let (layout, stage) = match isolation {
            Isolation::Namespaces => Self::open_stage(run_dir)?,
            Isolation::Chroot | Isolation::None => (sys::cgroups::usable(&tag)?, String::new()),
        };
        let layout = if runtime.is_some() { sys::cgroups::whole_layout()? } else { layout };
        sys::cgroups::make_parents(&layout, &tag)?;
        // A runtime has lists and programs of its own, which ours would not let it have.
        if isolation == Isolation::Namespaces && runtime.is_none() {
            restrict_devices(&layout, &tag)
                .map_err(|error| io::Error::other(format!("devices cannot be restricted: {error}")))?;
        }
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")?;
        let last_capability = last.trim().parse().map_err(|_| io::Error::other("cap_last_cap is not a number"))?;
        let filter = seccomp::assemble(&seccomp::rules(isolation));
        let ranges = (identities == Identities::Own).then(|| Ranges::new(&tag));
        Ok(Self { tag, isolation, runtime, layout, stage, ranges, filter, last_capability, clock })
    }

    fn open_stage(run_dir: &Path) -> io::Result<(Layout, String)> {
        let layout = sys::cgroups::layout()?;
        if !layout.missing.is_empty() {
            return Err(io::Error::other(format!("missing control group controllers: {}", layout.missing.join(", "))));
        }
        let stage = stage(run_dir);
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

    /// Was it opened for this engine, and to make containers in this way?
    pub(super) fn is_for(&self, tag: &str, maker: &Maker) -> bool {
        let identities = if self.ranges.is_some() { Identities::Own } else { Identities::Hosts };
        let (isolation, runtime) = (self.isolation, self.runtime.clone());
        self.tag == tag && *maker == Maker { isolation, identities, runtime }
    }

    /// Do containers have a sandbox of our making here?
    pub(super) fn has_sandboxes(&self) -> bool {
        self.has_networks() && self.runtime.is_none()
    }

    /// Do containers have a network of their own here?
    pub(super) fn has_networks(&self) -> bool {
        self.isolation == Isolation::Namespaces
    }

    /// Makes a sandbox in the network namespace `netns`, with what can be done `ahead`. Nothing is left when it fails.
    ///
    /// # Errors
    /// The host's.
    pub(super) fn sandbox(&self, name: &str, netns: OwnedFd, ahead: &Ahead) -> io::Result<Born> {
        self.in_groups(name, |groups, begun| {
            if let Some(limits) = ahead.limits {
                sys::cgroups::allow(&self.layout.allowance(&self.tag, name, limits))?;
            }
            let (orders, child_orders) =
                socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            let range = match &self.ranges {
                Some(ranges) => Some(ranges.lease().ok_or_else(|| io::Error::other("no range of users is free"))?),
                None => None,
            };
            let users = range.as_ref().map_or(Users::Hosts, |range| Users::Mapped(range.first()));
            let stage = Stage { path: &self.stage, hierarchies: &self.layout.hierarchies, users, ahead };
            let place = Place::Sandbox { netns, stage, orders: Some(child_orders) };
            let (stdout, stderr, status) = (pipe()?, pipe()?, pipe()?);
            let birth = self.birth(groups, place, (stdout.1, stderr.1, status.1));
            let pidfd = sandboxed(birth)?;
            let (stdout, stderr, status, groups) = (stdout.0, stderr.0, status.0, groups.clone());
            Ok(Born { pidfd, keeper: None, stdout, stderr, status, orders: Some(orders), groups, begun, range })
        })
    }

    /// Makes a container that has no sandbox of ours; only that of a runtime has volumes. Nothing is left when it
    /// fails.
    ///
    /// # Errors
    /// The host's, and when what came along does not fit the isolation.
    pub(super) fn container(
        &self,
        (id, limits): (&str, Limits),
        (launch, netns): (OwnedFd, Option<OwnedFd>),
        volumes: Vec<OwnedFd>,
    ) -> io::Result<Born> {
        if let Some(runtime) = &self.runtime {
            let netns = netns.ok_or_else(|| io::Error::other("no network namespace came along"))?;
            return self.by_runtime(runtime, (id, limits), (launch, netns), volumes);
        }
        let launch = &Launch::read(launch)?;
        let root = launch.root.as_deref().ok_or_else(|| io::Error::other("there is no copy of the image"))?;
        let place = match self.isolation {
            Isolation::Namespaces => return Err(io::Error::other("no network namespace came along")),
            Isolation::Chroot => Place::Root(launch, root),
            Isolation::None => Place::Folder(launch, root),
        };
        self.in_groups(&launch.id, |groups, begun| {
            sys::cgroups::allow(&self.layout.allowance(&self.tag, &launch.id, launch.limits))?;
            // Without `/proc` a container opens its output by name as these pipes.
            let named = |name: &str| match self.isolation {
                Isolation::Chroot => named_pipe(&root.join("dev").join(name)),
                _ => pipe(),
            };
            let (stdout, stderr, status) = (named("stdout")?, named("stderr")?, pipe()?);
            let birth = self.birth(groups, place, (stdout.1, stderr.1, status.1));
            let (pidfd, keeper) = kept(birth, launch.limits.memory_bytes)?;
            let (stdout, stderr, status, groups) = (stdout.0, stderr.0, status.0, groups.clone());
            let keeper = Some(keeper);
            Ok(Born { pidfd, keeper, stdout, stderr, status, orders: None, groups, begun, range: None })
        })
    }

    /// Limits what a sandbox may use that has been limited to `so_far`. Waits for nothing in the kernel.
    ///
    /// # Errors
    /// The host's, with the path.
    pub(super) fn limit(&self, name: &str, so_far: Option<Limits>, limits: Limits) -> io::Result<()> {
        sys::cgroups::allow(&match so_far {
            Some(so_far) => self.layout.change((&self.tag, name), so_far, limits),
            None => self.layout.allowance(&self.tag, name, limits),
        })
    }

    pub(super) fn in_groups(
        &self,
        name: &str,
        make: impl FnOnce(&Plan, Instant) -> io::Result<Born>,
    ) -> io::Result<Born> {
        let begun = self.clock.instant();
        let groups = self.layout.plan(&self.tag, name);
        sys::cgroups::create(&groups)?;
        make(&groups, begun).inspect_err(|_| {
            let _ = sys::cgroups::remove(&groups);
        })
    }

    fn birth<'a>(
        &'a self,
        groups: &'a Plan,
        place: Place<'a>,
        (stdout, stderr, status): (OwnedFd, OwnedFd, OwnedFd),
    ) -> Birth<'a> {
        let (filter, last_capability, clock) = (self.filter.as_slice(), self.last_capability, &self.clock);
        Birth { groups, place, filter, last_capability, stdout, stderr, status, clock }
    }
}

/// Where sandboxes make their mounts, each in its own mount namespace: in the launcher's nothing is mounted there.
pub(super) fn stage(run_dir: &Path) -> PathBuf {
    run_dir.join("stage")
}

fn restrict_devices(layout: &Layout, tag: &str) -> io::Result<()> {
    sys::cgroups::restrict_devices(layout, tag)?;
    match layout.asks_about_devices(tag) {
        Some(group) => sys::devices::restrict(&group, &devices::program(devices::allowed())),
        None => Ok(()),
    }
}

fn sandboxed(birth: Birth<'_>) -> io::Result<OwnedFd> {
    let group = match &birth.groups.born {
        Some(dir) => Some(rustix::fs::open(dir, OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?),
        None => None,
    };
    match sys::process::fork(Kin::Apart, group.as_ref().map(AsFd::as_fd))? {
        Forked::Child => child::live(birth),
        Forked::Parent(pidfd, _) => Ok(pidfd),
    }
}

fn kept(birth: Birth<'_>, memory_limit: u64) -> io::Result<(OwnedFd, (u32, OwnedFd))> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    match sys::process::fork(Kin::Near, None)? {
        Forked::Child => keeper::keep(birth, memory_limit, theirs),
        Forked::Parent(pidfd, pid) => Ok((pidfd, (pid, ours))),
    }
}

/// A pipe whose reading end never blocks. The writing end does: that is how a container is slowed
/// down.
pub(super) fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
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
