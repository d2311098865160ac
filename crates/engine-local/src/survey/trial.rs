//! Which isolation this host allows: tried out, not guessed from what is said about privileges.
//!
//! Everything happens in a thread or a process of its own, whose namespaces and identity end with it.

use std::{
    ffi::CString,
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, chown},
    },
    path::{Path, PathBuf},
    thread,
};

use rustix::{
    fs::{Gid, Uid},
    io::Errno,
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
};

use super::Possible;
use crate::{
    net,
    sandbox::{devices, isolation::Isolation, seccomp, users::LOWEST},
    sys,
};

/// Somebody who owns nothing.
const NOBODY: u32 = 65_534;
/// What the names of directories begin with that are made for trying.
const SCRATCH: &str = "trial-";

/// Every isolation and whether it is possible here, the strongest first. What has to be made for trying is made
/// in `dir` and removed. Blocks for some milliseconds.
pub fn isolations(dir: &Path) -> Vec<Possible> {
    Isolation::ALL.map(|isolation| Possible { isolation, outcome: try_out(isolation, dir) }).into()
}

/// Is this isolation possible here?
///
/// # Errors
/// What is in the way, as a sentence without an end.
pub(crate) fn try_out(isolation: Isolation, dir: &Path) -> Result<(), String> {
    let scratch = Scratch::make(dir)?;
    let place = scratch.0.clone();
    let tried = thread::spawn(move || match isolation {
        Isolation::Namespaces => namespaces(&place),
        Isolation::Chroot => chroot(&place),
        Isolation::None => none(),
    });
    tried.join().unwrap_or_else(|_| Err("the trial failed".to_owned()))
}

/// Can instances have users of their own, with images in the directory `images`? `dir` is as above.
///
/// # Errors
/// What is in the way, as a sentence without an end.
pub(crate) fn identities(images: &Path, dir: &Path) -> Result<(), String> {
    let scratch = Scratch::make(dir)?;
    let (place, images) = (scratch.0.clone(), images.to_owned());
    let tried = thread::spawn(move || {
        root()?;
        sys::process::unshare_mounts()
            .map_err(|error| format!("namespaces cannot be made: {error} (CAP_SYS_ADMIN)"))?;
        mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)
            .map_err(|error| format!("nothing can be mounted: {error}"))?;
        sys::users::try_out(&images, &place, LOWEST)
    });
    tried.join().unwrap_or_else(|_| Err("the trial failed".to_owned()))
}

/// Removes what trials in `dir` left that were killed; none may be under way there.
///
/// # Errors
/// Those of the file system.
pub(crate) fn remove_dead(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(SCRATCH.as_bytes()) {
            // Nothing is mounted there: mounts ended with their namespace.
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// A directory that is removed in the end.
struct Scratch(PathBuf);

// === impl Scratch ===

impl Scratch {
    fn make(dir: &Path) -> Result<Self, String> {
        let place = dir.join(format!("{SCRATCH}{}-{:?}", std::process::id(), thread::current().id()));
        let made = fs::DirBuilder::new().mode(0o700).create(&place);
        made.map_err(|error| format!("cannot write to '{}': {error}", dir.display()))?;
        Ok(Self(place))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What was mounted there was mounted in the thread's own namespace.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn namespaces(place: &Path) -> Result<(), String> {
    root()?;
    // Before this thread has a namespace of PIDs for its children: then it can make no other thread.
    let network = net::try_out().map_err(|cause| format!("no network can be made: {cause}"));
    sys::process::unshare_all().map_err(|error| format!("namespaces cannot be made: {error} (CAP_SYS_ADMIN)"))?;
    mounts(place).map_err(|error| format!("nothing can be mounted: {error}"))?;
    groups()?;
    network
}

fn mounts(place: &Path) -> rustix::io::Result<()> {
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", place, "tmpfs", flags, c"mode=0755,size=64k")?;
    for name in ["lower", "upper", "work", "root", "proc"] {
        rustix::fs::mkdir(place.join(name), rustix::fs::Mode::RWXU)?;
    }
    rustix::process::chdir(place)?;
    mount("overlay", "root", "overlay", flags, c"lowerdir=lower,upperdir=upper,workdir=work")?;
    mount("proc", "proc", "proc", flags, c"")
}

fn groups() -> Result<(), String> {
    let layout = sys::cgroups::layout().map_err(|error| format!("control groups cannot be read: {error}"))?;
    if layout.hierarchies.is_empty() || !layout.missing.is_empty() {
        return Err(format!("control group controllers are missing: {}", layout.missing.join(", ")));
    }
    let tag = format!("trial-{}", std::process::id());
    layout.hierarchies.iter().chain(&layout.common).try_for_each(|one| {
        let group = one.mount.join(format!("updraft-{tag}"));
        let made = fs::create_dir(&group);
        let restricted = match &made {
            Ok(()) if one.unified => sys::devices::restrict(&group, &devices::program(devices::allowed())),
            Ok(()) if layout.common.contains(one) => sys::cgroups::restrict_devices(&layout, &tag),
            _ => Ok(()),
        };
        let _ = fs::remove_dir(&group);
        made.map_err(|error| format!("control groups cannot be made below '{}': {error}", one.mount.display()))?;
        restricted
            .map_err(|error| format!("devices cannot be restricted: {error} (version 2: CAP_BPF, CONFIG_CGROUP_BPF)"))
    })
}

fn chroot(place: &Path) -> Result<(), String> {
    root()?;
    let file = place.join("file");
    let owned = fs::write(&file, "").and_then(|()| chown(&file, Some(NOBODY), Some(NOBODY)));
    owned.map_err(|error| format!("files cannot be given to another user: {error} (CAP_CHOWN)"))?;
    let program = seccomp::assemble(&seccomp::rules(Isolation::Chroot));
    let place = CString::new(place.as_os_str().as_bytes()).map_err(|error| error.to_string())?;
    let nobody = [Gid::from_raw(NOBODY)];
    // In a process of its own: a thread would have to leave the root directory of the others, which filters of
    // container runtimes forbid.
    let tried = sys::process::in_a_child(move || {
        let step = |step: u8| move |error| (step, error);
        rustix::process::chroot(place.as_c_str()).map_err(step(1))?;
        become_nobody(&nobody).map_err(step(2))?;
        rustix::thread::set_no_new_privs(true).map_err(step(3))?;
        sys::process::install_filter(&program).map_err(|error| (3, errno(&error)))
    });
    match tried.map_err(|error| format!("no process can be made: {error}"))? {
        Ok(()) => Ok(()),
        Err((1, error)) => Err(format!("the root directory cannot be changed: {error} (CAP_SYS_CHROOT)")),
        Err((2, error)) => Err(another_user(error)),
        Err((_, error)) => Err(no_filter(error)),
    }
}

fn none() -> Result<(), String> {
    // Only this thread becomes somebody else.
    if rustix::process::geteuid().is_root() {
        become_nobody(&[Gid::from_raw(NOBODY)]).map_err(another_user)?;
    }
    rustix::thread::set_no_new_privs(true).map_err(no_filter)?;
    let program = seccomp::assemble(&seccomp::rules(Isolation::None));
    sys::process::install_filter(&program).map_err(no_filter)
}

fn root() -> Result<(), String> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err("it needs root".to_owned()) }
}

fn become_nobody(groups: &[Gid]) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    rustix::thread::set_thread_groups(groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

fn another_user(error: Errno) -> String {
    format!("the user cannot be changed: {error} (CAP_SETUID, CAP_SETGID)")
}

fn no_filter(error: impl std::fmt::Display) -> String {
    format!("system calls cannot be filtered: {error} (CONFIG_SECCOMP_FILTER)")
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_runs_containers_is_not_told_that_it_cannot() {
        let is_root = rustix::process::geteuid().is_root();
        let admin = rustix::thread::CapabilitySet::SYS_ADMIN;
        let may = rustix::thread::capabilities(None).is_ok_and(|own| own.effective.contains(admin));
        if !is_root || !may {
            return;
        }
        let dir = tempfile::tempdir().expect("a place for the test");
        for isolation in Isolation::ALL {
            assert_eq!(try_out(isolation, dir.path()), Ok(()), "{isolation}");
        }
        assert_eq!(fs::read_dir(dir.path()).expect("it is there").count(), 0, "nothing is left");
    }
}
