//! Running a container by an OCI runtime, as `docs/runtime.md` describes it.
//!
//! A keeper of its own, in a mount namespace of its own, makes the root directory, writes the bundle, has the runtime
//! create and start the container, and then stands where the runtime stood: what the runtime made is its child
//! (`PR_SET_CHILD_SUBREAPER`), so that it learns how the container ended and can end everything of it. Bundle,
//! mounts and the runtime's own state are on a tmpfs that only this mount namespace has: when the keeper and its
//! container are gone, by whatever way, so are these. What a runtime leaves elsewhere are control groups, which
//! carry our tag.

use std::{
    ffi::CString,
    fs, io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant},
};

use rustix::{
    mount::{MountPropagationFlags, mount_change},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::{Pid, Resource, Rlimit, Signal, WaitOptions, getrlimit, kill_process, waitpid},
};
use updraft_base::Clock;

use super::{
    child::{self, OOM_SCORE, Word, failed, limit_process, micros, say, shared},
    instance::judge,
    keeper::{self, Keeper},
    start::{Born, Workshop, pipe},
};
use crate::{
    fault::Fault,
    protocol::{Exit, Launch, Steps},
    sandbox::{
        bundle::{self, Place, ROOT},
        cgroups::{Limits, Plan},
        mounts,
        user::Identity,
    },
    sys::{
        self, paths,
        process::{Forked, Kin, fork},
    },
};

/// What the keeper needs.
struct Order<'a> {
    runtime: &'a Path,
    /// An empty directory to mount at.
    stage: &'a str,
    /// The container's control group, from the root of every hierarchy.
    group: String,
    groups: &'a Plan,
    limits: Limits,
    /// What to run, unread.
    launch: OwnedFd,
    netns: OwnedFd,
    /// What it is to see of the instance's, in the order of its mounts.
    volumes: Vec<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
    status: OwnedFd,
    clock: &'a Clock,
}

/// A container that is ready for the runtime.
struct Ready {
    launch: Launch,
    /// The root directory.
    folder: OwnedFd,
}

/// How long the runtime may take to remove what it keeps of a container that is over.
const REMOVED_WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
/// What the new process says when the runtime cannot be executed.
const NOT_EXECUTED: i32 = 127;
/// Of what a container's mounts hide or replace: nothing there is the image's.
const PSEUDO: [&str; 3] = ["proc", "sys", "dev"];

// === impl Workshop ===

impl Workshop {
    /// Makes a container by the runtime `runtime`. Nothing is left when it fails.
    ///
    /// # Errors
    /// The host's.
    pub(super) fn by_runtime(
        &self,
        runtime: &Path,
        (id, limits): (&str, Limits),
        (launch, netns): (OwnedFd, OwnedFd),
        volumes: Vec<OwnedFd>,
    ) -> io::Result<Born> {
        self.in_groups(id, |groups, begun| {
            self.limit(id, None, limits)?;
            let (stdout, stderr, status) = (pipe()?, pipe()?, pipe()?);
            let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
            let order = Order {
                runtime,
                stage: &self.stage,
                group: format!("/updraft-{}/{id}", self.tag),
                groups,
                limits,
                launch,
                netns,
                volumes,
                stdout: stdout.1,
                stderr: stderr.1,
                status: status.1,
                clock: &self.clock,
            };
            match fork(Kin::Near, None)? {
                Forked::Child => keep(order, theirs),
                Forked::Parent(pidfd, pid) => {
                    let (stdout, stderr, status, groups) = (stdout.0, stderr.0, status.0, groups.clone());
                    let keeper = Some((pid, ours));
                    Ok(Born { pidfd, keeper, stdout, stderr, status, orders: None, groups, begun, range: None })
                }
            }
        })
    }
}

/// Runs in a new process of the launcher's; never returns. `leash` is its end of a socket pair.
fn keep(order: Order<'_>, leash: OwnedFd) -> ! {
    // Nothing may come back from here: the caller's memory is the launcher's.
    let done = catch_unwind(AssertUnwindSafe(|| attend(order, leash)));
    // Without a word on the leash the launcher sees to what is left.
    sys::process::leave(if matches!(done, Ok(Ok(()))) { 0 } else { 1 })
}

/// From the first step to the last.
fn attend(order: Order<'_>, leash: OwnedFd) -> rustix::io::Result<()> {
    let kept = [&order.stdout, &order.stderr, &order.status, &order.launch, &order.netns];
    let kept: Vec<BorrowedFd<'_>> = kept.into_iter().chain(&order.volumes).map(AsFd::as_fd).collect();
    let events = keeper::settle(&leash, &kept)?;
    let Order { runtime, stage, group, groups, limits, launch, netns, volumes, stdout, stderr, status, clock } = order;
    let fail = |status: BorrowedFd<'_>, fault| say(status, &Word::Failed(fault));
    let since = |from: Instant| micros(clock.instant().saturating_duration_since(from));

    let begun = clock.instant();
    let place = format!("/proc/{}/fd/{}", std::process::id(), netns.as_raw_fd());
    let ready = match prepare((launch, volumes), stage, (&place, &group)) {
        Ok(ready) => ready,
        Err(fault) => {
            fail(status.as_fd(), fault);
            keeper::tell(&leash, &Exit::Code(NOT_EXECUTED));
            return Ok(());
        }
    };
    let mut steps = Steps { mounts: since(begun), ..Steps::default() };

    let begun = clock.instant();
    let id = ready.launch.id.as_str();
    let run = ["run", "--detach", "--pid-file", "pid", "--bundle", ".", id];
    let pid = execute(runtime, &run, (stdout.as_fd(), stderr.as_fd())).map_err(|_| rustix::io::Errno::AGAIN)?;
    // Whoever waits for the ends of these pipes must not wait for us.
    drop((stdout, stderr));
    let mut keeper = Keeper::of_runtime((leash, events), pid, clock.clone());
    let main = match keeper.watch() {
        Some(Exit::Code(0)) => first_process(),
        Some(exit) => Err(blame(&ready, runtime, &exit)),
        // It is not wanted any more.
        None => Err(Fault::Sandbox("it was ended while the runtime started it".to_owned())),
    };
    match main {
        Ok(main) => {
            keeper.turn_to(main);
            steps.confine = since(begun);
            say(status.as_fd(), &Word::Ready(steps));
            // Only now is it known to run.
            drop((status, netns));
            keeper.watch();
        }
        Err(fault) => {
            fail(status.as_fd(), fault);
            drop((status, netns));
        }
    }
    let ended = keeper.end();
    // The runtime removes the control groups, with what they counted.
    let exit = judge(ended, None, (groups, limits.pids));
    remove(runtime, id, &mut keeper);
    keeper.say(&exit);
    Ok(())
}

/// Root directory, bundle, and everything that can be known to be wrong. The stage is the current directory then.
fn prepare(
    (launch, volumes): (OwnedFd, Vec<OwnedFd>),
    stage: &str,
    (netns, group): (&str, &str),
) -> Result<Ready, Fault> {
    let launch = Launch::read(launch).map_err(failed("learn what to run"))?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    sys::process::unshare_mounts().map_err(failed("make a namespace of mounts"))?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
        .map_err(failed("make a namespace of mounts"))?;
    for step in mounts::bare(stage, &launch) {
        sys::mounts::apply(&step, None).map_err(|error| format!("cannot make the sandbox: {step}: {error}"))?;
    }
    let folder = shared::open(Path::new(ROOT)).map_err(failed("open the root directory"))?;
    // Tried out by ourselves: as far as this host lets us, as everywhere.
    limit_process()?;
    let identity = shared::identify(folder.as_fd(), &launch.user).map_err(Fault::Settings)?;
    child::volumes::mount(&launch.mounts, &volumes, |place| paths::mount_point(Some(folder.as_fd()), place, None))
        .map_err(Fault::Settings)?;
    check_working_dir(&launch.working_dir, stage, folder.as_fd())?;
    if let Some(program) = shared::foresee(&launch, folder.as_fd()) {
        return Err(Fault::Program(Box::new(program)));
    }
    write_bundle(&launch, &identity, (netns, group)).map_err(failed("write the bundle"))?;
    Ok(Ready { launch, folder })
}

fn write_bundle(launch: &Launch, identity: &Identity, (netns, group): (&str, &str)) -> io::Result<()> {
    let limit = |resource| {
        let Rlimit { current, maximum } = getrlimit(resource);
        (current, maximum)
    };
    let place = Place {
        netns,
        group,
        oom_score: OOM_SCORE.parse().unwrap_or_default(),
        open_files: limit(Resource::Nofile),
        stack: limit(Resource::Stack),
        core: limit(Resource::Core),
    };
    let config = bundle::config(launch, identity, &place);
    fs::write("config.json", serde_json::to_vec(&config)?)
}

/// Makes the working directory, in the image's tree: a runtime that enters it by a path through `/proc` may find
/// itself outside of the container (CVE-2024-21626).
fn check_working_dir(dir: &str, stage: &str, folder: BorrowedFd<'_>) -> Result<(), Fault> {
    let refused = |cause: String| Fault::WorkingDir(dir.to_owned(), cause);
    paths::enter_below(folder, dir).map_err(|error| refused(error.to_string()))?;
    let entered = rustix::process::getcwd(Vec::new());
    rustix::process::chdir(stage).map_err(failed("go back to the stage"))?;
    let entered = entered.map_err(|error| refused(error.to_string()))?;
    let root = Path::new(stage).join(ROOT);
    let below = Path::new(std::ffi::OsStr::from_bytes(entered.as_bytes())).strip_prefix(&root).map(Path::to_owned);
    match below {
        Ok(path) if PSEUDO.iter().any(|pseudo| path.starts_with(pseudo)) => {
            Err(refused("it is in a directory that is not the image's".to_owned()))
        }
        Ok(_) => Ok(()),
        Err(_) => Err(refused("it is outside of the container".to_owned())),
    }
}

/// Starts the runtime with these arguments. Its state and its log are on the stage.
fn execute(runtime: &Path, command: &[&str], (stdout, stderr): (BorrowedFd<'_>, BorrowedFd<'_>)) -> io::Result<Pid> {
    let program = CString::new(runtime.as_os_str().as_bytes())?;
    let own = ["--root", "state", "--log", "log", "--log-format", "json"];
    let arguments = own.iter().chain(command).map(|&word| CString::new(word));
    let argv = std::iter::once(Ok(program.clone())).chain(arguments).collect::<Result<Vec<_>, _>>()?;
    match fork(Kin::Near, None)? {
        Forked::Child => {
            // What the launcher ignores neither the runtime nor the container is to ignore.
            sys::process::reset_signals();
            let streams = [(stdout, 1), (stderr, 2)];
            let placed = streams.into_iter().try_for_each(|(fd, number)| sys::process::become_stream(fd, number));
            if placed.is_ok() && sys::process::close_others(&[]).is_ok() {
                sys::process::execute(&program, &argv, &[]);
            }
            sys::process::leave(NOT_EXECUTED)
        }
        Forked::Parent(_, pid) => Pid::from_raw(pid.cast_signed()).ok_or_else(|| io::ErrorKind::NotFound.into()),
    }
}

/// The first process of the container, as the runtime has noted it.
fn first_process() -> Result<Pid, Fault> {
    let text = fs::read_to_string("pid").map_err(failed("read the number of the container's process"))?;
    let pid = text.trim().parse().ok().and_then(Pid::from_raw);
    pid.ok_or_else(|| Fault::Sandbox(format!("the runtime says that the container's process is '{text}'")))
}

/// Why the runtime failed.
fn blame(ready: &Ready, runtime: &Path, exit: &Exit) -> Fault {
    let said = fs::read_to_string("log").unwrap_or_default().lines().rev().find_map(error_in);
    let runtime = runtime.display();
    let Some(said) = said else {
        let how = match exit {
            Exit::Code(NOT_EXECUTED) => "could not be executed, or ended with code 127".to_owned(),
            Exit::Code(code) => format!("ended with code {code}"),
            Exit::Signal(signal) => format!("was ended by signal {signal}"),
            other => format!("ended: {other:?}"),
        };
        return Fault::Sandbox(format!("the runtime '{runtime}' {how} and did not say why"));
    };
    let program = ready.launch.argv.first().map(String::as_str).unwrap_or_default();
    if said.contains(program) && said.to_lowercase().contains("permission denied") {
        return Fault::Program(Box::new(shared::forbidden(&ready.launch, ready.folder.as_fd())));
    }
    Fault::Sandbox(format!("the runtime '{runtime}' failed: {said}"))
}

/// The error that a line of the runtime's log tells of.
fn error_in(line: &str) -> Option<String> {
    let line: serde_json::Value = serde_json::from_str(line).ok()?;
    let is_error = matches!(line["level"].as_str(), Some("error" | "fatal") | None);
    line["msg"].as_str().filter(|_| is_error).map(str::to_owned)
}

/// Has the runtime remove what it keeps. What it does not remove in time, a sweep finds.
fn remove(runtime: &Path, id: &str, keeper: &mut Keeper) {
    let nothing = rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR, rustix::fs::Mode::empty());
    let Ok(nothing) = nothing else { return };
    let Ok(pid) = execute(runtime, &["delete", "--force", id], (nothing.as_fd(), nothing.as_fd())) else { return };
    let deadline = keeper.clock().instant() + REMOVED_WITHIN;
    while let Ok(None) = waitpid(Some(pid), WaitOptions::NOHANG) {
        if keeper.clock().instant() >= deadline {
            let _ = kill_process(pid, Signal::KILL);
        }
        keeper.rest(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_runtime_says_is_found_in_its_log() {
        let log =
            "{\"level\":\"warning\",\"msg\":\"a\"}\n{\"level\":\"error\",\"msg\":\"b \\\"c\\\"\",\"time\":\"x\"}\n";
        assert_eq!(log.lines().rev().find_map(error_in).as_deref(), Some("b \"c\""));
        assert_eq!("no json\n{\"level\":\"debug\",\"msg\":\"a\"}".lines().rev().find_map(error_in), None);
        assert_eq!(error_in("{\"msg\":\"of crun\"}").as_deref(), Some("of crun"));
    }
}
