//! User namespaces, and mounts that show files with the users of one.
#![expect(unsafe_code, reason = "clone, changes of user for a thread, and mount_setattr have no safe interface")]

use std::{
    fs, io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags},
    io::Errno,
    mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount, move_mount, open_tree},
    process::{
        DumpableBehavior, Pid, Signal, WaitOptions, dumpable_behavior, kill_process, set_dumpable_behavior, waitpid,
    },
    thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities},
};

use crate::sandbox::users::COUNT;

/// A user namespace whose users are the host's from `first` on. It belongs to the first of them, so that what the
/// kernel counts per user is counted for that one. `proc` is where the processes of the caller's PID namespace are
/// seen.
///
/// For root. After an error the calling thread may be somebody else, and is of no other use.
///
/// # Errors
/// The kernel's.
pub(crate) fn namespace(first: u32, proc: &Path) -> io::Result<OwnedFd> {
    let dumpable = dumpable_behavior()?;
    let made = made_by(first, proc);
    // It is of the whole process, and was lost with the change of user. Other values than this one cannot be set; then
    // what was lost is that, or as good as that. Not before the founder is gone, who shares the memory.
    if dumpable == DumpableBehavior::Dumpable {
        set_dumpable_behavior(dumpable)?;
    }
    made
}

fn made_by(first: u32, proc: &Path) -> io::Result<OwnedFd> {
    let own = capabilities(None)?;
    // The effective ones go with the user and come back with it, all that are permitted.
    act_as(first)?;
    // Hosts that forbid user namespaces to others allow them to who has this one.
    let admin = CapabilitySet::SYS_ADMIN;
    set_capabilities(
        None,
        CapabilitySets { effective: admin, permitted: own.permitted, inheritable: own.inheritable },
    )?;
    let mut stack = vec![0u8; STACK];
    let founder = Founder::begin(&mut stack)?;
    act_as_root()?;
    set_capabilities(None, own)?;
    let made = describe(first, &proc.join(founder.0.as_raw_nonzero().to_string()));
    drop(founder);
    made
}

/// What its maker does to a namespace: who is who, and a descriptor.
fn describe(first: u32, process: &Path) -> io::Result<OwnedFd> {
    let map = format!("0 {first} {COUNT}\n");
    fs::write(process.join("uid_map"), &map)?;
    fs::write(process.join("gid_map"), &map)?;
    rustix::fs::open(process.join("ns/user"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(Into::into)
}

/// The calling thread, not its process, acts as this user and group until [`act_as_root`]; who it really is stays.
fn act_as(user: u32) -> io::Result<()> {
    // The group first: who does not act as root cannot change it.
    act(libc::SYS_setresgid, user)?;
    act(libc::SYS_setresuid, user)
}

fn act_as_root() -> io::Result<()> {
    act(libc::SYS_setresuid, 0)?;
    act(libc::SYS_setresgid, 0)
}

fn act(call: libc::c_long, effective: u32) -> io::Result<()> {
    // SAFETY: the call takes numbers and touches no memory. By its number: that of the C library changes all threads
    // of the process.
    let done = unsafe { libc::syscall(call, u32::MAX, effective, u32::MAX) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A process in a user namespace that nobody is in yet, which does nothing. It ends when this is dropped, before
/// the stack can go: it lives in its maker's memory, because a copy takes several times as long as all the rest.
struct Founder<'a>(Pid, std::marker::PhantomData<&'a mut [u8]>);

/// What a process needs that only waits.
const STACK: usize = 16 << 10;

impl<'a> Founder<'a> {
    fn begin(stack: &'a mut [u8]) -> io::Result<Self> {
        extern "C" fn wait(maker: *mut libc::c_void) -> libc::c_int {
            // SAFETY: the calls touch no memory. Its maker may be killed, before it asked to be told too, and of a PID
            // namespace's first process nobody would ask for the end; in a new one it does not see its maker.
            unsafe {
                libc::syscall(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
                let parent = libc::syscall(libc::SYS_getppid);
                if parent != 0 && parent != maker.addr() as i64 {
                    libc::syscall(libc::SYS_exit_group, 0);
                }
            }
            loop {
                // SAFETY: waits for a signal, of which only one that ends the process can come.
                unsafe { libc::syscall(libc::SYS_ppoll, 0usize, 0usize, 0usize, 0usize, 0usize) };
            }
        }
        let flags = libc::CLONE_VM | libc::CLONE_NEWUSER | libc::SIGCHLD;
        // SAFETY: the sets are initialised by the calls before they are read. The new process runs `wait` and nothing
        // else, on a stack of its own that is there until it has ended (`drop`). It makes system calls by their numbers,
        // which do not fail, so it writes nowhere else; and no signal handler can run in it: those that a program can
        // have are blocked, and the two of the C library are sent to threads that it knows, which this is none of. The
        // kernel wants the stack's upper end, aligned to 16 bytes.
        let pid = unsafe {
            let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = std::mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            let top = stack.as_mut_ptr_range().end.map_addr(|end| end & !15);
            let maker = std::ptr::without_provenance_mut(std::process::id() as usize);
            let pid = libc::clone(wait, top.cast(), flags, maker);
            let failed = io::Error::last_os_error();
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
            Pid::from_raw(pid).filter(|_| pid > 0).ok_or(failed)?
        };
        Ok(Self(pid, std::marker::PhantomData))
    }
}

impl Drop for Founder<'_> {
    fn drop(&mut self) {
        // It is our child and has not been waited for: the number is its own.
        let _ = kill_process(self.0, Signal::KILL);
        let _ = rustix::io::retry_on_intr(|| waitpid(Some(self.0), WaitOptions::empty()));
    }
}

/// From now on the calling thread makes files as this user and group, with no more rights to files than they have; 0 is
/// root, and has all again.
///
/// # Errors
/// When the kernel did not do it, of which it does not say why.
pub(crate) fn author(user: u32) -> io::Result<()> {
    for call in [libc::SYS_setfsgid, libc::SYS_setfsuid] {
        // SAFETY: takes a number and touches no memory. What it returns is who it was before; asked again with a number
        // that cannot be, it changes nothing.
        let now = unsafe {
            libc::syscall(call, user);
            libc::syscall(call, u32::MAX)
        };
        if u32::try_from(now) != Ok(user) {
            return Err(io::Error::from(io::ErrorKind::PermissionDenied));
        }
    }
    Ok(())
}

/// What may be done with the files of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// They are read.
    ReadOnly,
    /// Whatever their rights allow.
    Full,
}

/// Puts the tree at `source` to the directory `target`, read-only, with its files' users being those of `users`.
///
/// # Errors
/// The kernel's; `InvalidInput` for a file system that cannot do that.
pub(crate) fn show(source: &Path, target: &Path, users: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, source, flags)?;
    translate(tree.as_fd(), users, Access::ReadOnly)?;
    move_mount(&tree, c"", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(Into::into)
}

/// From now on the files of a mount that is in no tree yet are those of `users`: what belongs to the user 0 belongs to
/// their first one, and so on.
///
/// # Errors
/// As of [`show`].
pub(crate) fn translate(mount: BorrowedFd<'_>, users: BorrowedFd<'_>, access: Access) -> io::Result<()> {
    const ID_MAP: u64 = 0x10_0000;
    let set = if access == Access::ReadOnly { READ_ONLY | ID_MAP } else { ID_MAP };
    set_attributes(mount, set, Some(users))
}

/// From now on nothing can be written, executed or taken for a device by a mount that is in no tree yet. By others of the
/// same file system it can.
///
/// # Errors
/// The kernel's.
pub(crate) fn restrict(mount: BorrowedFd<'_>) -> io::Result<()> {
    const NO_SUID: u64 = 0x2;
    const NO_DEVICES: u64 = 0x4;
    const NO_EXECUTION: u64 = 0x8;
    set_attributes(mount, READ_ONLY | NO_SUID | NO_DEVICES | NO_EXECUTION, None)
}

/// `MOUNT_ATTR_RDONLY`.
const READ_ONLY: u64 = 0x1;

fn set_attributes(mount: BorrowedFd<'_>, set: u64, users: Option<BorrowedFd<'_>>) -> io::Result<()> {
    /// `struct mount_attr`.
    #[repr(C)]
    struct Attributes {
        set: u64,
        clear: u64,
        propagation: u64,
        users: u64,
    }
    let users = users.map_or(0, |users| users.as_raw_fd().unsigned_abs().into());
    let attributes = Attributes { set, clear: 0, propagation: 0, users };
    // SAFETY: the empty path stands for the descriptor, which is open; `attributes` outlives the call and has the size
    // that is passed.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<Attributes>(),
        )
    };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Can the files of `dir` be shown with the users of a namespace, and be the lower side of an overlay? Tried in
/// `place`, an empty directory, in the mount namespace of the caller, which is of no other use afterwards.
///
/// # Errors
/// What is in the way, as a sentence without an end.
pub(crate) fn try_out(dir: &Path, place: &Path, first: u32) -> Result<(), String> {
    let users = namespace(first, Path::new("/proc")).map_err(|error| format!("no user namespace: {error}"))?;
    let mounted = || -> rustix::io::Result<()> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        mount("tmpfs", place, "tmpfs", flags, c"mode=0755,size=64k")?;
        for name in ["lower", "upper", "work", "root"] {
            rustix::fs::mkdir(place.join(name), Mode::RWXU)?;
        }
        rustix::process::chdir(place)
    };
    mounted().map_err(|error| format!("nothing can be mounted: {error}"))?;
    // Volumes in memory.
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let in_memory = open_tree(CWD, ".", flags).map_err(io::Error::from);
    in_memory.and_then(|tree| translate(tree.as_fd(), users.as_fd(), Access::Full)).map_err(|error| {
        format!("file systems in memory cannot show files with other users (Linux before 6.3): {error}")
    })?;
    show(dir, Path::new("lower"), users.as_fd()).map_err(|error| {
        format!("the file system of '{}' cannot show files with other users: {error}", dir.display())
    })?;
    let options = c"lowerdir=lower,upperdir=upper,workdir=work";
    let stacked = mount("overlay", "root", "overlay", MountFlags::NOSUID | MountFlags::NODEV, options);
    stacked.map_err(|error: Errno| format!("overlays do not take such files (Linux before 5.19): {error}"))
}
