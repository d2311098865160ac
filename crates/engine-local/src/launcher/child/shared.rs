//! The same without namespaces: what a host still lets us do. And what is the same with them.

use std::{
    ffi::CString,
    fs, io,
    io::Read as _,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{Dir, FileType, Gid, Mode, OFlags, Uid},
    io::Errno,
    thread::{CapabilitySet, CapabilitySets},
};

use super::{Birth, OOM_SCORE, failed, tie};
use crate::{
    fault::Program,
    protocol::Launch,
    sandbox::{
        capabilities,
        entrypoint::{self, HEAD, Looks, Tried},
        isolation::Isolation,
        user::{self, Identity},
    },
    sys::{landlock, paths, process},
};

/// The copy of the image, to find things in it.
pub(in crate::launcher) fn open(folder: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(folder, flags, Mode::empty()).map_err(Into::into)
}

pub(super) fn enter_root(root: &Path) -> Result<(), String> {
    prefer_for_killing();
    rustix::process::chdir(root).map_err(failed("enter the copy of the image"))?;
    rustix::process::chroot(".").map_err(failed("change the root directory"))?;
    rustix::process::chdir("/").map_err(failed("enter the root directory"))
}

pub(super) fn enter_folder(folder: &Path) -> Result<(), String> {
    prefer_for_killing();
    rustix::process::chdir(folder).map_err(failed("enter the copy of the image"))
}

/// A host may forbid it, and then the kernel picks whom it likes.
fn prefer_for_killing() {
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
}

/// The user, by the accounts of the image in `folder`.
pub(in crate::launcher) fn identify(folder: BorrowedFd<'_>, user: &str) -> Result<Identity, String> {
    let text = |path: &str| {
        let file =
            paths::open_below(folder, path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).map(fs::File::from);
        file.map(paths::small_text).unwrap_or_default()
    };
    user::resolve(user, &text("etc/passwd"), &text("etc/group"))
}

/// Gives up what can be given up. What a container has no use for anyway may stay when the host does not let
/// us drop it: who may not drop capabilities has few.
pub(super) fn confine(birth: &Birth<'_>, identity: &Identity, isolation: Isolation) -> Result<(), String> {
    let kept = capabilities::kept_under(isolation);
    for one in capabilities::dropped(kept, birth.last_capability) {
        let _ = rustix::thread::remove_capability_from_bounding_set(one);
    }
    if rustix::process::geteuid().is_root() {
        become_user(identity)?;
    }
    // Unknown to kernels before 4.3, and refused by some filters.
    let _ = rustix::thread::clear_ambient_capability_set();
    let own = rustix::thread::capabilities(None).map_err(failed("read the capabilities"))?;
    let is_root = rustix::process::geteuid().is_root();
    let kept = if is_root { kept & own.permitted } else { CapabilitySet::empty() };
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(failed("drop capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("set no_new_privs"))?;
    if isolation == Isolation::Chroot {
        keep_inside()?;
    }
    tie(birth)
}

/// A root directory alone is left with a descriptor of a directory outside of it, which another instance can hand over.
/// Where the kernel has no Landlock that stays so: docs/isolation.md.
fn keep_inside() -> Result<(), String> {
    match landlock::version() {
        0 => Ok(()),
        version => landlock::keep_below(Path::new("/"), version).map_err(failed("keep it in its root directory")),
    }
}

/// Root of the user namespace that was just entered, in no other group.
pub(super) fn become_root() -> Result<(), String> {
    let (user, group) = (Uid::ROOT, Gid::ROOT);
    rustix::thread::set_thread_groups(&[]).map_err(failed("set the groups"))?;
    rustix::thread::set_thread_res_gid(group, group, group).map_err(failed("set the group"))?;
    rustix::thread::set_thread_res_uid(user, user, user).map_err(failed("set the user"))
}

/// The user of the image, who gets the standard streams.
pub(super) fn become_user(identity: &Identity) -> Result<(), String> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    if identity.uid != 0 {
        // So that `/dev/stdout` can be opened by who it was given to.
        for stream in [io::stdout().as_fd(), io::stderr().as_fd()] {
            rustix::fs::fchown(stream, Some(uid), Some(gid)).map_err(failed("hand over the standard streams"))?;
        }
    }
    let groups: Vec<Gid> = identity.groups.iter().map(|&group| Gid::from_raw(group)).collect();
    rustix::thread::set_thread_groups(&groups).map_err(failed("set the groups"))?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(failed("set the group"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(failed("set the user"))
}

/// Executes the program of the image in `folder`; returns why it could not.
pub(super) fn execute(launch: &Launch, folder: BorrowedFd<'_>, (argv, env): (&[CString], &[CString])) -> Program {
    let (program, path) = searched(launch);
    let mut closest: Option<Tried> = None;
    for candidate in entrypoint::candidates(program, path) {
        let place = entrypoint::in_directory(&launch.working_dir, &candidate);
        let (error, looks) = match paths::open_below(folder, &place, OFlags::PATH) {
            Ok(file) => (process::execute_file(file.as_fd(), argv, env), look(folder, &place)),
            Err(Errno::ACCESS) => (Errno::ACCESS.into(), Looks::Hidden),
            Err(error) => (error.into(), Looks::Absent),
        };
        if closest.as_ref().is_none_or(|so_far| so_far.looks == Looks::Absent) {
            closest = Some(Tried { file: candidate, looks, error });
        }
    }
    explain(launch, folder, closest)
}

fn explain(launch: &Launch, folder: BorrowedFd<'_>, closest: Option<Tried>) -> Program {
    let (program, path) = searched(launch);
    let similar = match &closest {
        Some(Tried { looks: Looks::Absent, .. }) | None => {
            let dir = launch.working_dir.as_str();
            entrypoint::similar(program, path, &|place| files_in(folder, &entrypoint::in_directory(dir, place)))
        }
        Some(_) => Vec::new(),
    };
    entrypoint::explain((program, path), closest, similar)
}

/// The program, and where it is looked for.
fn searched(launch: &Launch) -> (&str, &str) {
    let path = launch.env.iter().find(|(name, _)| name == "PATH").map_or("", |(_, value)| value.as_str());
    (launch.argv.first().map(String::as_str).unwrap_or_default(), path)
}

/// What is wrong with the program of the image in `folder`, as far as it can be seen without executing it. `None` when
/// nothing is.
pub(in crate::launcher) fn foresee(launch: &Launch, folder: BorrowedFd<'_>) -> Option<Program> {
    let is_there = |name: &str| {
        paths::open_below(folder, &entrypoint::in_directory(&launch.working_dir, name), OFlags::PATH).is_ok()
    };
    examine(launch, folder, |looks| match looks {
        Looks::File(head) => entrypoint::refusal(head, is_there),
        Looks::Absent => Some(Errno::NOENT.into()),
        _ => Some(Errno::ACCESS.into()),
    })
}

/// What is wrong with a program that its user may not execute.
pub(in crate::launcher) fn forbidden(launch: &Launch, folder: BorrowedFd<'_>) -> Program {
    let outcome = examine(launch, folder, |_| Some(Errno::ACCESS.into()));
    outcome.unwrap_or_else(|| explain(launch, folder, None))
}

/// Goes through the files that may be the program until `refuse` has nothing against one; what is wrong, otherwise.
fn examine(
    launch: &Launch,
    folder: BorrowedFd<'_>,
    mut refuse: impl FnMut(&Looks) -> Option<io::Error>,
) -> Option<Program> {
    let (program, path) = searched(launch);
    let mut closest: Option<Tried> = None;
    for candidate in entrypoint::candidates(program, path) {
        let looks = look(folder, &entrypoint::in_directory(&launch.working_dir, &candidate));
        let error = refuse(&looks)?;
        if closest.as_ref().is_none_or(|so_far| so_far.looks == Looks::Absent) {
            closest = Some(Tried { file: candidate, looks, error });
        }
    }
    Some(explain(launch, folder, closest))
}

/// What is in a directory of the image and may be a program. Of a large one only a part.
fn files_in(folder: BorrowedFd<'_>, dir: &str) -> Vec<String> {
    const MOST: usize = 4096;
    let Ok(opened) = paths::open_below(folder, dir, OFlags::RDONLY | OFlags::DIRECTORY) else { return Vec::new() };
    let entries = Dir::read_from(opened).into_iter().flatten().flatten().take(MOST);
    let files = entries.filter(|entry| entry.file_type() != FileType::Directory);
    files.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned)).collect()
}

fn look(folder: BorrowedFd<'_>, path: &str) -> Looks {
    let Ok(found) = paths::open_below(folder, path, OFlags::PATH).and_then(rustix::fs::fstat) else {
        return Looks::Absent;
    };
    if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
        return Looks::Directory;
    }
    let mode = found.st_mode & 0o7777;
    let file = paths::open_below(folder, path, OFlags::RDONLY | OFlags::NONBLOCK).map(fs::File::from);
    let (true, Ok(file)) = (mode & 0o111 != 0, file) else { return Looks::NotExecutable(mode) };
    let mut head = Vec::new();
    let _ = file.take(HEAD as u64).read_to_end(&mut head);
    Looks::File(head)
}
