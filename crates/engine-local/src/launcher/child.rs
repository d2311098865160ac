//! What the new process does to itself, from its first instruction to the program's.
//!
//! It has a copy of the launcher's memory, one thread, and nobody to answer to but the status pipe.

mod shared;

use std::{
    ffi::CString,
    fs,
    io::{self, Read},
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
    process::{Resource, Rlimit, Signal},
    thread::{CapabilitySet, CapabilitySets, LinkNameSpaceType},
};
use serde::{Deserialize, Serialize};
use updraft_base::Clock;

use crate::{
    fault::{Fault, Program},
    protocol::{Launch, Steps},
    sandbox::{
        capabilities,
        cgroups::Plan,
        entrypoint::{self, HEAD, Looks, Tried},
        isolation::Isolation,
        mounts::Step,
        process::{OPEN_FILES, STACK},
        seccomp::Instruction,
        user::{self, Identity},
    },
    sys::{cgroups, mounts, paths, process},
};

/// What the process needs; made before it is.
pub(super) struct Birth<'a> {
    pub(super) launch: &'a Launch,
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
    /// In namespaces of its own: the network's, and what is mounted.
    Sandbox(OwnedFd, &'a [Step]),
    /// In a copy of the image, which is its root.
    Root(&'a Path),
    /// In a copy of the image, and the root is the host's.
    Folder(&'a Path),
}

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
const OOM_SCORE: &str = "500";

/// Runs in the new process; never returns.
pub(super) fn live(birth: &Birth<'_>) -> ! {
    let outcome = catch_unwind(AssertUnwindSafe(|| prepare(birth)));
    let cause = match outcome {
        Ok(Ok(never)) => match never {},
        Ok(Err(cause)) => cause,
        Err(_) => Fault::Sandbox("the launcher failed while it made the sandbox".to_owned()),
    };
    say(birth.status.as_fd(), &Word::Failed(cause));
    process::leave(127)
}

fn prepare(birth: &Birth<'_>) -> Result<std::convert::Infallible, Fault> {
    let begun = birth.clock.instant();
    let since = |from: Instant| micros(birth.clock.instant().saturating_duration_since(from));
    let mut steps = Steps::default();
    // The signals of the launcher are not the container's; until the program runs none may be lost.
    process::reset_signals();
    rustix::process::setsid().map_err(failed("setsid"))?;
    streams(birth)?;
    join(birth)?;
    let folder = match birth.place {
        Place::Folder(folder) => Some(shared::open(folder).map_err(failed("open the copy of the image"))?),
        _ => None,
    };
    let kept: Vec<BorrowedFd<'_>> =
        [birth.status.as_fd()].into_iter().chain(folder.as_ref().map(AsFd::as_fd)).collect();
    // The control group, other instances' pipes, the server's socket: closed, and not only on exec.
    // From here on paths of the image are followed, and `/proc/self/fd` leads to whatever is open.
    process::close_others(&kept).map_err(failed("close what is not the container's"))?;
    steps.join = since(begun);

    let begun = birth.clock.instant();
    enter(birth)?;
    standard_input()?;
    steps.mounts = since(begun);

    let begun = birth.clock.instant();
    let identity = match &folder {
        Some(folder) => shared::identify(folder.as_fd(), &birth.launch.user),
        None => identify(&birth.launch.user),
    };
    let identity = identity.map_err(Fault::Settings)?;
    surroundings(birth, folder.as_ref().map(AsFd::as_fd))?;
    let (argv, env) = strings(birth.launch, &identity).map_err(Fault::Settings)?;
    match birth.place {
        Place::Sandbox(..) => confine(birth, &identity)?,
        Place::Root(_) => shared::confine(birth, &identity, Isolation::Chroot)?,
        Place::Folder(_) => shared::confine(birth, &identity, Isolation::None)?,
    }
    steps.confine = since(begun);
    say(birth.status.as_fd(), &Word::Ready(steps));
    process::install_filter(birth.filter).map_err(failed("install the system call filter"))?;
    let program = match &folder {
        Some(folder) => shared::execute(birth.launch, folder.as_fd(), (&argv, &env)),
        None => execute(birth.launch, &argv, &env),
    };
    Err(Fault::Program(Box::new(program)))
}

/// From here on the root is the container's, if it has one.
fn enter(birth: &Birth<'_>) -> Result<(), String> {
    match birth.place {
        Place::Sandbox(_, steps) => steps.iter().try_for_each(|step| {
            mounts::apply(step).map_err(|error| format!("cannot make the sandbox: {step}: {error}"))
        }),
        Place::Root(root) => shared::enter_root(root),
        Place::Folder(folder) => shared::enter_folder(folder),
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
    if !birth.groups.born_inside || !matches!(birth.place, Place::Sandbox(..)) {
        cgroups::join(birth.groups).map_err(failed("join the control groups"))?;
    }
    let Place::Sandbox(netns, _) = &birth.place else { return Ok(()) };
    process::unshare_cgroup().map_err(failed("make a namespace of control groups"))?;
    rustix::thread::move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(failed("join the network namespace"))?;
    rustix::system::sethostname(birth.launch.hostname.as_bytes()).map_err(failed("set the host name"))
}

/// The user, by the image's own accounts: read now that the image is the root.
fn identify(user: &str) -> Result<Identity, String> {
    user::resolve(user, &small_file("/etc/passwd"), &small_file("/etc/group"))
}

/// The text of a file of the image.
fn small_file(path: &str) -> String {
    let open = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    open.map(paths::small_text).unwrap_or_default()
}

/// Limits, mask, working directory: all that has to be done as root.
fn surroundings(birth: &Birth<'_>, folder: Option<BorrowedFd<'_>>) -> Result<(), Fault> {
    let (files, stack) = (Some(OPEN_FILES), Some(STACK));
    for (resource, soft, hard) in [(Resource::Nofile, files, files), (Resource::Stack, stack, None)] {
        let wanted = Rlimit { current: soft, maximum: hard };
        if rustix::process::setrlimit(resource, wanted).is_err() {
            // A host that keeps even root below that (no CAP_SYS_RESOURCE): as far as it lets us.
            let most = rustix::process::getrlimit(resource).maximum;
            let limit = Rlimit { current: least(soft, most), maximum: least(hard, most) };
            rustix::process::setrlimit(resource, limit).map_err(failed("set the limits of the process"))?;
        }
    }
    // A core would be written by the host, where its core_pattern says.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).map_err(failed("set the limits of the process"))?;
    if matches!(birth.place, Place::Sandbox(..)) {
        fs::write("/proc/self/oom_score_adj", OOM_SCORE).map_err(failed("write oom_score_adj"))?;
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let dir = birth.launch.working_dir.as_str();
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
    for one in capabilities::dropped(capabilities::kept(), birth.last_capability) {
        rustix::thread::remove_capability_from_bounding_set(one).map_err(failed("drop capabilities"))?;
    }
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

fn say(status: BorrowedFd<'_>, word: &Word) {
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

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn failed<E: std::fmt::Display>(operation: &'static str) -> impl Fn(E) -> String {
    move |error| format!("cannot make the sandbox: {operation}: {error}")
}
