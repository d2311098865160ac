//! Which devices the processes of a control group of version 2 may use: an eBPF program of `sandbox::devices`.
#![expect(unsafe_code, reason = "bpf(2) has no safe interface")]

use std::{
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    path::Path,
};

use rustix::fs::{Mode, OFlags};

use crate::sandbox::devices::Instruction;

// Of <linux/bpf.h>.
const LOAD: libc::c_int = 5;
const ATTACH: libc::c_int = 8;
const TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;

/// What `bpf(BPF_PROG_LOAD)` is told: the first fields of its part of `union bpf_attr`.
#[repr(C)]
struct Load {
    kind: u32,
    length: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
}

/// What `bpf(BPF_PROG_ATTACH)` is told. Without flags no group below can have another program, and a program that is
/// there is replaced.
#[repr(C)]
struct Attach {
    group: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// From now on, and until the group `dir` is removed, the processes of it and of all groups below may use the devices
/// that `program` says.
///
/// # Errors
/// The kernel's: `PermissionDenied` without `CAP_BPF` and `CAP_NET_ADMIN` (or `CAP_SYS_ADMIN`), or when a group above
/// has a program and does not allow others; `InvalidInput` without CONFIG_CGROUP_BPF.
pub(crate) fn restrict(dir: &Path, program: &[Instruction]) -> io::Result<()> {
    let group = rustix::fs::open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let load = Load {
        kind: TYPE_CGROUP_DEVICE,
        length: u32::try_from(program.len()).map_err(io::Error::other)?,
        instructions: program.as_ptr() as u64,
        license: c"none".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
    };
    // SAFETY: `load` and what it points to, the program in the kernel's layout and a string, outlive the call, and it
    // has the size that is passed.
    let loaded = unsafe { libc::syscall(libc::SYS_bpf, LOAD, &raw const load, size_of::<Load>()) };
    let loaded = i32::try_from(loaded).ok().filter(|&fd| fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: the kernel has just opened it for us.
    let loaded = unsafe { OwnedFd::from_raw_fd(loaded) };
    let [group, program] = [&group, &loaded].map(|fd| fd.as_raw_fd().unsigned_abs());
    let attach = Attach { group, program, kind: CGROUP_DEVICE, flags: 0 };
    // SAFETY: `attach` holds numbers only, outlives the call and has the size that is passed.
    let attached = unsafe { libc::syscall(libc::SYS_bpf, ATTACH, &raw const attach, size_of::<Attach>()) };
    if attached < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;
    use crate::{
        sandbox::devices::{allowed, program},
        sys::cgroups,
    };

    /// Also on a host whose limits are set through version 1: the unified hierarchy has this anyway.
    #[test]
    fn a_process_of_the_group_opens_and_makes_the_devices_of_the_program_alone() {
        let layout = cgroups::layout().unwrap_or_default();
        let unified = layout.hierarchies.iter().chain(&layout.freezers).find(|one| one.unified);
        let (true, Some(unified)) = (rustix::process::geteuid().is_root(), unified) else { return };
        let group = unified.mount.join(format!("updraft-dev{:x}", std::process::id()));
        fs::create_dir(&group).expect("root may");
        let below = group.join("i");
        fs::create_dir(&below).expect("root may");
        let place = tempfile::tempdir().expect("a place for the test");
        // A number that no driver has: made, it opens nothing.
        let script = "echo 0 > \"$0/cgroup.procs\"; cd \"$1\"; for node in 'n c 1 3' 'd c 1 11' 'b b 7 999'; do
            mknod $node && echo made; rm -f n d b; done; true < /dev/zero && echo zero; true < /dev/kmsg && echo kmsg";
        let said = || {
            let mut command = Command::new("sh");
            let done = command.args(["-c", script]).arg(&below).arg(place.path()).output().expect("there is a shell");
            String::from_utf8(done.stdout).expect("text")
        };
        let before = said();
        // Twice: a launcher that begins where another one crashed replaces its program.
        let restricted = (0..2).try_for_each(|_| restrict(&group, &program(allowed())));
        let after = said();
        [&below, &group].into_iter().for_each(|dir| fs::remove_dir(dir).expect("it is empty"));
        restricted.expect("root may");
        assert_eq!((before.as_str(), after.as_str()), ("made\nmade\nmade\nzero\nkmsg\n", "made\nzero\n"));
    }
}
