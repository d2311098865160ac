//! Processes: making one in new namespaces, and what it does to itself before it executes a program.
#![expect(unsafe_code, reason = "clone3, execve, dup3 and the like have no safe interface")]

use std::{
    ffi::{CString, c_char},
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

use rustix::{io::Errno, thread::UnshareFlags};

use crate::sandbox::seccomp::Instruction;

/// Which of the two processes returned from [`fork`].
#[derive(Debug)]
pub(crate) enum Forked {
    /// The new one.
    Child,
    /// The old one, with a handle to the new one and its number.
    Parent(OwnedFd, u32),
}

/// What a new process shares with its maker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kin {
    /// Nothing that has a namespace.
    Apart,
    /// Everything.
    Near,
}

/// PID, mount, IPC and UTS namespaces. The network namespace is joined; the one of control groups
/// is made after joining them, because its root is where its maker is.
const NAMESPACES: u64 = (libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS) as u64;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes a process, in the control group `cgroup` (version 2) if one is given.
///
/// Only for processes with a single thread: the child goes on with a copy of all memory, and
/// another thread might hold a lock there.
///
/// # Errors
/// Those of clone(2).
pub(crate) fn fork(kin: Kin, cgroup: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    let mut pidfd: libc::c_int = -1;
    let pid = match kin {
        Kin::Apart => clone_apart(&mut pidfd, cgroup),
        Kin::Near => clone_near(&mut pidfd),
    };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => {
            // SAFETY: with CLONE_PIDFD the kernel has stored a new descriptor that nobody else owns.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            Ok(Forked::Parent(pidfd, u32::try_from(pid).unwrap_or(0)))
        }
    }
}

fn clone_apart(pidfd: &mut libc::c_int, cgroup: Option<BorrowedFd<'_>>) -> libc::c_long {
    // SAFETY: clone_args is plain data of integers, for which all zeroes is a valid value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = NAMESPACES | libc::CLONE_PIDFD as u64;
    args.pidfd = std::ptr::from_mut(pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(group) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = group.as_raw_fd() as u64;
    }
    // SAFETY: `args` outlives the call and has the size that is passed; without CLONE_VM the child
    // has its own copy of memory and stack, so returning twice is sound; `pidfd` is written by the
    // kernel before it returns.
    unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) }
}

/// The older call, which the filters of container runtimes let through: flags that they cannot see, as those of
/// clone3, they refuse.
fn clone_near(pidfd: &mut libc::c_int) -> libc::c_long {
    let flags = i64::from(libc::CLONE_PIDFD | libc::SIGCHLD);
    // SAFETY: without CLONE_VM and with no stack given the child goes on with a copy of memory and stack, so
    // returning twice is sound; `pidfd` is written by the kernel before it returns, the other pointers are
    // not used without their flags.
    unsafe { libc::syscall(libc::SYS_clone, flags, 0usize, std::ptr::from_mut(pidfd), 0usize, 0usize) }
}

/// Ends the process without running anything that was registered for its end.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: _exit takes any value and touches no memory.
    unsafe { libc::_exit(code) }
}

/// A control group namespace whose root is where the caller is.
///
/// # Errors
/// Those of unshare(2).
pub(crate) fn unshare_cgroup() -> io::Result<()> {
    // SAFETY: this flag does not touch descriptors, which other code might share.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWCGROUP) }.map_err(Into::into)
}

/// A mount namespace of its own.
///
/// # Errors
/// Those of unshare(2).
pub(crate) fn unshare_mounts() -> io::Result<()> {
    // SAFETY: this flag does not touch descriptors, which other code might share.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.map_err(Into::into)
}

/// All the namespaces that an instance is in, for the calling thread and, that of PIDs, for its children. For trying
/// out: the thread is of no other use afterwards.
///
/// # Errors
/// Those of unshare(2).
pub(crate) fn unshare_all() -> io::Result<()> {
    let flags = UnshareFlags::NEWNS
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWCGROUP
        | UnshareFlags::NEWNET;
    // SAFETY: these flags do not touch descriptors, which other code might share.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(Into::into)
}

/// Does `work` in a process of its own that ends with it, and says what it said. `work` must neither allocate nor
/// take a lock: the process is made from one with other threads, which may hold any.
///
/// # Errors
/// The kernel's, when there can be no process.
pub(crate) fn in_a_child<W>(mut work: W) -> io::Result<Result<(), (u8, Errno)>>
where
    W: FnMut() -> Result<(), (u8, Errno)> + Send + Sync + 'static,
{
    use std::os::unix::process::CommandExt as _;
    /// Beyond every error number of Linux.
    const STEP: i32 = 10_000;
    let mut command = std::process::Command::new("/proc/self/exe");
    let report = move || {
        // Nothing is executed: that it did not fail comes back as the error of step 0.
        let (step, error) = work().err().unwrap_or((0, Errno::CANCELED));
        Err(io::Error::from_raw_os_error(i32::from(step) * STEP + error.raw_os_error()))
    };
    // SAFETY: `report` makes system calls and an error out of a number, and does neither allocate nor lock, which is
    // what is left to the child of a process with threads; the caller promises the same of `work`.
    unsafe { command.pre_exec(report) };
    match command.spawn() {
        Ok(mut child) => child.wait().map(|_| Ok(())),
        Err(error) => match error.raw_os_error() {
            Some(code) if code >= STEP => {
                Ok(Err((u8::try_from(code / STEP).unwrap_or(u8::MAX), Errno::from_raw_os_error(code % STEP))))
            }
            Some(code) if code == Errno::CANCELED.raw_os_error() => Ok(Ok(())),
            _ => Err(error),
        },
    }
}

/// Makes `fd` the standard stream `number` (0, 1 or 2).
///
/// # Errors
/// Those of dup2(2).
pub(crate) fn become_stream(fd: BorrowedFd<'_>, number: i32) -> io::Result<()> {
    // SAFETY: `fd` is open; whatever `number` was is not owned by any Rust value in this process:
    // only the standard streams are replaced.
    check(unsafe { libc::dup2(fd.as_raw_fd(), number) })
}

/// Closes every descriptor but the standard streams and `kept`.
///
/// Not to be followed by anything that uses or drops a descriptor of before: it is for a process that
/// has none yet, or ends without dropping anything.
///
/// # Errors
/// Those of close_range(2).
pub(crate) fn close_others(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd().unsigned_abs()).filter(|&fd| fd > 2).collect();
    kept.sort_unstable();
    let mut first = 3;
    for last in kept.iter().map(|&fd| fd - 1).chain([u32::MAX]) {
        if first <= last {
            // SAFETY: what is closed is not used any more, as the documentation demands of the caller.
            if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0u32) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        first = last.saturating_add(2);
    }
    Ok(())
}

/// A descriptor that can be read when a child has ended. From now on nothing else tells of it.
///
/// # Errors
/// Those of sigprocmask(2) and signalfd(2).
pub(crate) fn child_events() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before it is read; signalfd gives a new descriptor
    // that nobody else owns.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        check(fd)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Every signal has its default effect and none is blocked, as a new program expects.
pub(crate) fn reset_signals() {
    // The kernel's struct sigaction: handler, flags, restorer, mask. All zeroes is SIG_DFL. Not by
    // way of the libc, which keeps two signals to itself that a parent may have ignored.
    let default = [0u64; 4];
    const MASK_BYTES: usize = 8;
    for signal in 1..=64 {
        // SAFETY: the kernel reads the 32 bytes of `default` and writes nothing; the two signals
        // that cannot be changed are refused.
        unsafe {
            libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null_mut::<u64>(), MASK_BYTES)
        };
    }
    // SAFETY: the set is initialised by sigemptyset before it is read.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// These signals have no effect on this process.
pub(crate) fn ignore_signals(signals: &[i32]) {
    for &signal in signals {
        // SAFETY: SIG_IGN is a valid disposition; no handler runs.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// Installs a system call filter for this process and all it will make. `no_new_privs` is set already.
///
/// # Errors
/// Those of seccomp(2).
pub(crate) fn install_filter(program: &[Instruction]) -> io::Result<()> {
    const SET_MODE_FILTER: libc::c_uint = 1;
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let filter = libc::sock_fprog { len, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: `Instruction` has the layout of `sock_filter`; the kernel reads `len` of them and
    // keeps no pointer.
    let done = unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0u32, &raw const filter) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Becomes another program. Returns only if that fails.
pub(crate) fn execute(program: &CString, argv: &[CString], env: &[CString]) -> io::Error {
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end with a null pointer and, like `program`, consist of strings that end
    // with a zero byte and live until the call returns.
    unsafe { libc::execve(program.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Becomes the program that `file` is. Returns only if that fails.
pub(crate) fn execute_file(file: BorrowedFd<'_>, argv: &[CString], env: &[CString]) -> io::Error {
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: as for `execute`; the empty path stands for the descriptor, which is open.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    io::Error::last_os_error()
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
