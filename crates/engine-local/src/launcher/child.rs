//! What the new process does to itself, from its first instruction to the program's.
//!
//! It has a copy of the launcher's memory, one thread, and nobody to answer to but the status pipe.
//!
//! In a sandbox it makes first what is the same for every container, and then waits until it is told for which one:
//! in advance, so that little is left to do when a request comes. Until then it holds nothing of anybody. It never
//! goes back: a sandbox is used once.

mod rehearsal;
pub(super) mod shared;
mod user_namespace;
pub(super) mod volumes;

use std::{
    borrow::Cow,
    collections::VecDeque,
    ffi::CString,
    fs,
    io::{self, IoSliceMut, Read},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{OpenOptionsExt, PermissionsExt},
    },
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send},
    process::{Resource, Rlimit, Signal},
    thread::{CapabilitySet, CapabilitySets, LinkNameSpaceType},
};
use serde::{Deserialize, Serialize};
use updraft_base::Clock;

use crate::{
    fault::{Fault, Program},
    protocol::{Ahead, Launch, MOUNTS, Steps},
    sandbox::{
        capabilities,
        cgroups::{Hierarchy, Plan},
        entrypoint::{self, HEAD, Looks, Tried},
        isolation::Isolation,
        mounts::{anticipating, finishing, staging},
        process::{CORE, OPEN_FILES, STACK},
        seccomp::Instruction,
        step::Step,
        user::{self, Identity},
        users::Users,
    },
    sys::{cgroups, mounts, paths, process},
};

/// What the process needs; made before it is.
pub(super) struct Birth<'a> {
    pub(super) groups: &'a Plan,
    pub(super) place: Place<'a>,
    pub(super) filter: &'a [Instruction],
    pub(super) last_capability: u32,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) status: OwnedFd,
    pub(super) clock: &'a Clock,
}

/// Where it is to live.
pub(super) enum Place<'a> {
    /// In namespaces of its own.
    Sandbox {
        /// The network's.
        netns: OwnedFd,
        /// What it is made of.
        stage: Stage<'a>,
        /// Where it learns what to run; gone once it has.
        orders: Option<OwnedFd>,
    },
    /// In a copy of the image, which is its root.
    Root(&'a Launch, &'a Path),
    /// In a copy of the image, and the root is the host's.
    Folder(&'a Launch, &'a Path),
}

/// What is not the same for all sandboxes of all hosts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stage<'a> {
    /// Where to mount.
    pub(super) path: &'a str,
    /// The control groups to show.
    pub(super) hierarchies: &'a [Hierarchy],
    /// Who its users are.
    pub(super) users: Users,
    /// What its container will probably want.
    pub(super) ahead: &'a Ahead,
}

/// What is held open until it is needed.
#[derive(Debug, Default)]
struct Held {
    /// The copy of the image, where it is not the root.
    folder: Option<OwnedFd>,
    /// The user namespace, where there is one.
    users: Option<OwnedFd>,
}

/// What a sandbox says when it is made and waits.
pub(super) const MADE: &[u8] = b"M";

/// What comes through the status pipe: one line of JSON each. The pipe closes when the program is
/// executed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Word {
    /// Everything is made; the program is about to be executed.
    Ready(Steps),
    /// It ends here, for this reason.
    Failed(Fault),
}

/// Under memory pressure of the host, containers go before the server and what else runs there.
pub(super) const OOM_SCORE: &str = "500";

/// Runs in the new process; never returns.
pub(super) fn live(mut birth: Birth<'_>) -> ! {
    let outcome = catch_unwind(AssertUnwindSafe(|| prepare(&mut birth)));
    let cause = match outcome {
        Ok(Ok(never)) => match never {},
        Ok(Err(cause)) => cause,
        Err(_) => Fault::Sandbox("the launcher failed while it made the sandbox".to_owned()),
    };
    say(birth.status.as_fd(), &Word::Failed(cause));
    process::leave(127)
}

fn prepare(birth: &mut Birth<'_>) -> Result<std::convert::Infallible, Fault> {
    let clock = birth.clock;
    let since = |from: Instant| micros(clock.instant().saturating_duration_since(from));
    let mut steps = Steps::default();
    let begun = clock.instant();
    let Held { folder, users } = settle(birth)?;
    steps.join = since(begun);
    let (launch, volumes) = learn(birth)?;

    let begun = clock.instant();
    enter(birth, &launch, users.as_ref().map(AsFd::as_fd))?;
    // Before there are volumes: whatever lies over `/dev` then, it is opened by the host's root.
    standard_input()?;
    if let Place::Sandbox { stage, .. } = birth.place {
        volumes::show(&launch.mounts, &volumes, (stage.users, users.as_ref().map(AsFd::as_fd)))?;
    }
    drop(volumes);
    steps.mounts = since(begun);

    let begun = clock.instant();
    user_namespace::inhabit(birth, users)?;
    let identity = match &folder {
        Some(folder) => shared::identify(folder.as_fd(), &launch.user),
        None => identify(birth, &launch.user),
    };
    let identity = identity.map_err(Fault::Settings)?;
    enter_working_dir(&launch.working_dir, folder.as_ref().map(AsFd::as_fd))?;
    let (argv, env) = strings(&launch, &identity).map_err(Fault::Settings)?;
    match birth.place {
        Place::Sandbox { .. } => confine(birth, &identity)?,
        Place::Root(..) => shared::confine(birth, &identity, Isolation::Chroot)?,
        Place::Folder(..) => shared::confine(birth, &identity, Isolation::None)?,
    }
    steps.confine = since(begun);
    say(birth.status.as_fd(), &Word::Ready(steps));
    process::install_filter(birth.filter).map_err(failed("install the system call filter"))?;
    let program = match &folder {
        Some(folder) => shared::execute(&launch, folder.as_fd(), (&argv, &env)),
        None => execute(&launch, &argv, &env),
    };
    Err(Fault::Program(Box::new(program)))
}

/// What does not depend on what is run.
fn settle(birth: &Birth<'_>) -> Result<Held, String> {
    // The signals of the launcher are not the container's; until the program runs none may be lost.
    process::reset_signals();
    rustix::process::setsid().map_err(failed("setsid"))?;
    streams(birth)?;
    join_network(birth)?;
    let folder = match &birth.place {
        Place::Folder(_, folder) => Some(shared::open(folder).map_err(failed("open the copy of the image"))?),
        _ => None,
    };
    let mut kept: Vec<BorrowedFd<'_>> =
        [birth.status.as_fd()].into_iter().chain(folder.as_ref().map(AsFd::as_fd)).collect();
    if let Place::Sandbox { orders: Some(orders), .. } = &birth.place {
        kept.push(orders.as_fd());
    }
    // The control group, other instances' pipes, the server's socket: closed, and not only on exec. Before anything
    // that takes its time: what the launcher closes meanwhile would stay open here, and at its end be reported to the
    // launcher over and over, which it could do nothing about. From here on paths of the image are followed, and
    // `/proc/self/fd` leads to whatever is open.
    process::close_others(&kept).map_err(failed("close what is not the container's"))?;
    drop(kept);
    join(birth)?;
    bounds(birth)?;
    let Place::Sandbox { stage, .. } = &birth.place else { return Ok(Held { folder, users: None }) };
    apply(&staging(stage.path, stage.hierarchies, stage.users), None)?;
    apply(&anticipating(stage.ahead, stage.users), None)?;
    let users = match stage.users {
        Users::Hosts => None,
        Users::Mapped(first) => Some(user_namespace::found(first)?),
    };
    // What it will never have again; what it has now it needs until the end. A user namespace gives all of them anew.
    if users.is_none() {
        user_namespace::bound(birth)?;
    }
    rehearsal::rehearse(stage);
    Ok(Held { folder, users })
}

/// What is to be run, and its volumes. A sandbox waits here until it is told.
fn learn<'a>(birth: &mut Birth<'a>) -> Result<(Cow<'a, Launch>, Vec<OwnedFd>), String> {
    let orders = match &mut birth.place {
        Place::Sandbox { orders, .. } => orders.take(),
        Place::Root(launch, _) | Place::Folder(launch, _) => return Ok((Cow::Borrowed(launch), Vec::new())),
    };
    let Some(orders) = orders else { return Err("cannot make the sandbox: it has been used".to_owned()) };
    // Who has said what to run already does not listen any more.
    let _ = send(&orders, MADE, SendFlags::NOSIGNAL);
    let mut byte = [0u8; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1 + MOUNTS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(&orders, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            other => break other.map_err(failed("learn what to run"))?,
        }
    };
    let mut files: VecDeque<OwnedFd> = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(files) => Some(files),
            _ => None,
        })
        .flatten()
        .collect();
    match files.pop_front() {
        Some(file) => {
            let launch = Launch::read(file).map_err(failed("learn what to run"))?;
            Ok((Cow::Owned(launch), files.into()))
        }
        // Not needed any more, or the launcher is gone: nobody is to hear of it.
        None if received.bytes == 0 => process::leave(0),
        None => Err("cannot make the sandbox: it was not told what to run".to_owned()),
    }
}

fn apply(steps: &[Step], users: Option<BorrowedFd<'_>>) -> Result<(), String> {
    let one = |step| mounts::apply(step, users).map_err(|error| format!("cannot make the sandbox: {step}: {error}"));
    steps.iter().try_for_each(one)
}

/// From here on the root is the container's, if it has one.
fn enter(birth: &Birth<'_>, launch: &Launch, users: Option<BorrowedFd<'_>>) -> Result<(), String> {
    match birth.place {
        Place::Sandbox { stage, .. } => {
            rustix::system::sethostname(launch.hostname.as_bytes()).map_err(failed("set the host name"))?;
            apply(&finishing(launch, stage.users, stage.ahead), users)
        }
        Place::Root(_, root) => shared::enter_root(root),
        Place::Folder(_, folder) => shared::enter_folder(folder),
    }
}

fn streams(birth: &Birth<'_>) -> Result<(), String> {
    for (fd, number) in [(&birth.stdout, 0), (&birth.stdout, 1), (&birth.stderr, 2)] {
        process::become_stream(fd.as_fd(), number).map_err(failed("set up the standard streams"))?;
    }
    Ok(())
}

/// The container's own `/dev/null`: who has a descriptor of the host's could change its mode for the
/// whole host.
fn standard_input() -> Result<(), String> {
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let null = null.map_err(failed("open /dev/null"))?;
    process::become_stream(null.as_fd(), 0).map_err(failed("set up the standard streams"))
}

fn join(birth: &Birth<'_>) -> Result<(), String> {
    cgroups::join(birth.groups).map_err(failed("join the control groups"))?;
    match birth.place {
        Place::Sandbox { .. } => process::unshare_cgroup().map_err(failed("make a namespace of control groups")),
        Place::Root(..) | Place::Folder(..) => {
            cgroups::join_late(birth.groups).map_err(failed("join the control groups"))
        }
    }
}

fn join_network(birth: &Birth<'_>) -> Result<(), String> {
    let Place::Sandbox { netns, .. } = &birth.place else { return Ok(()) };
    rustix::thread::move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(failed("join the network namespace"))
}

/// The user, by the image's own accounts: read now that the image is the root.
fn identify(birth: &Birth<'_>, user: &str) -> Result<Identity, String> {
    let identity = user::resolve(user, &small_file("/etc/passwd"), &small_file("/etc/group"))?;
    if let Place::Sandbox { stage, .. } = &birth.place {
        stage.users.check(&identity)?;
    }
    Ok(identity)
}

/// The text of a file of the image.
fn small_file(path: &str) -> String {
    let open = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    open.map(paths::small_text).unwrap_or_default()
}

/// Limits and mask: the same for every container, and to be set as root.
fn bounds(birth: &Birth<'_>) -> Result<(), String> {
    limit_process()?;
    if matches!(birth.place, Place::Sandbox { .. }) {
        fs::write("/proc/self/oom_score_adj", OOM_SCORE).map_err(failed("write oom_score_adj"))?;
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    Ok(())
}

/// What a process may open, and how large its stack and its core may become.
pub(super) fn limit_process() -> Result<(), String> {
    let (files, stack, core) = (Some(OPEN_FILES), Some(STACK), Some(CORE));
    for (resource, soft, hard) in
        [(Resource::Nofile, files, files), (Resource::Stack, stack, None), (Resource::Core, core, core)]
    {
        let wanted = Rlimit { current: soft, maximum: hard };
        if rustix::process::setrlimit(resource, wanted).is_err() {
            // A host that keeps even root below that (no CAP_SYS_RESOURCE): as far as it lets us.
            let most = rustix::process::getrlimit(resource).maximum;
            let limit = Rlimit { current: least(soft, most), maximum: least(hard, most) };
            rustix::process::setrlimit(resource, limit).map_err(failed("set the limits of the process"))?;
        }
    }
    Ok(())
}

fn enter_working_dir(dir: &str, folder: Option<BorrowedFd<'_>>) -> Result<(), Fault> {
    let entered = match folder {
        Some(folder) => paths::enter_below(folder, dir),
        None => paths::enter(dir),
    };
    entered.map_err(|error| Fault::WorkingDir(dir.to_owned(), error.to_string()))
}

/// The lower of two limits, where `None` means no limit.
fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn strings(launch: &Launch, identity: &Identity) -> Result<(Vec<CString>, Vec<CString>), String> {
    let text =
        |text: String| CString::new(text).map_err(|_| "arguments and environment must not hold zero bytes".to_owned());
    let mut env: Vec<CString> =
        launch.env.iter().map(|(name, value)| text(format!("{name}={value}"))).collect::<Result<_, _>>()?;
    if !launch.env.iter().any(|(name, _)| name == "HOME") {
        env.push(text(format!("HOME={}", identity.home))?);
    }
    let argv = launch.argv.iter().map(|argument| text(argument.clone())).collect::<Result<_, _>>()?;
    Ok((argv, env))
}

/// Gives up everything that the container is not to have.
fn confine(birth: &Birth<'_>, identity: &Identity) -> Result<(), String> {
    shared::become_user(identity)?;
    rustix::thread::clear_ambient_capability_set().map_err(failed("drop capabilities"))?;
    let kept = if identity.uid == 0 { capabilities::kept() } else { CapabilitySet::empty() };
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(failed("drop capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("set no_new_privs"))?;
    tie(birth)
}

/// From here on it dies with who made it. Changes of user and capabilities clear that, so it comes after them.
fn tie(birth: &Birth<'_>) -> Result<(), String> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(failed("tie it to the launcher"))?;
    if orphaned(birth.status.as_fd()) {
        process::leave(127);
    }
    Ok(())
}

/// Did the launcher end before the signal of its death was asked for? Then nobody reads the pipe.
fn orphaned(status: BorrowedFd<'_>) -> bool {
    let mut polled = [rustix::event::PollFd::from_borrowed_fd(status, rustix::event::PollFlags::empty())];
    let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut polled, Some(&now)).is_ok() && polled[0].revents().contains(rustix::event::PollFlags::ERR)
}

/// Executes the program; returns why it could not.
fn execute(launch: &Launch, argv: &[CString], env: &[CString]) -> Program {
    let program = launch.argv.first().map(String::as_str).unwrap_or_default();
    let path = launch.env.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value.as_str());
    let mut closest: Option<Tried> = None;
    for candidate in entrypoint::candidates(program, path) {
        let Ok(file) = CString::new(candidate.as_str()) else { continue };
        let (error, looks) = if paths::is_magic(&candidate) {
            (rustix::io::Errno::LOOP.into(), Looks::Magic)
        } else {
            (process::execute(&file, argv, env), look(&candidate))
        };
        if closest.as_ref().is_none_or(|so_far| so_far.looks == Looks::Absent) {
            closest = Some(Tried { file: candidate, looks, error });
        }
    }
    let similar = match &closest {
        Some(Tried { looks: Looks::Absent, .. }) | None => entrypoint::similar(program, path, &files_in),
        Some(_) => Vec::new(),
    };
    entrypoint::explain((program, path), closest, similar)
}

/// What is in a directory: names, and whether each may be a program. Of a large one only a part.
fn files_in(dir: &str) -> Vec<String> {
    const MOST: usize = 4096;
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().take(MOST);
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_dir()));
    files.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn look(file: &str) -> Looks {
    let found = match fs::metadata(file) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Looks::Hidden,
        Err(_) => return Looks::Absent,
    };
    if found.is_dir() {
        return Looks::Directory;
    }
    let mode = found.permissions().mode();
    if mode & 0o111 == 0 || rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_err() {
        return Looks::NotExecutable(mode & 0o7777);
    }
    let mut head = vec![0; HEAD];
    let read = fs::File::open(file).and_then(|mut file| file.read(&mut head));
    head.truncate(read.unwrap_or(0));
    Looks::File(head)
}

pub(super) fn say(status: BorrowedFd<'_>, word: &Word) {
    let Ok(mut line) = serde_json::to_vec(word) else { return };
    line.push(b'\n');
    let mut left = line.as_slice();
    while let Ok(written @ 1..) = rustix::io::write(status, left) {
        left = &left[written..];
        if left.is_empty() {
            return;
        }
    }
}

pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

pub(super) fn failed<E: std::fmt::Display>(operation: &'static str) -> impl Fn(E) -> String {
    move |error| format!("cannot make the sandbox: {operation}: {error}")
}
