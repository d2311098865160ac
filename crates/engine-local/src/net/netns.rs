//! Network namespaces: making one without staying in it.

use std::{fs, io, path::Path};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{Mode, OFlags},
    thread::{LinkNameSpaceType, UnshareFlags},
};

use super::{
    NetError,
    netlink::{Socket, Subsystem},
};

/// A new namespace and the means to set it up from outside.
#[derive(Debug)]
pub(super) struct Namespace {
    pub(super) fd: OwnedFd,
    /// Acts inside.
    pub(super) socket: Socket,
    /// Tells of sockets inside, where the kernel has that.
    pub(super) diagnosis: Option<Socket>,
}

/// The namespace of the calling thread.
pub(super) fn current() -> Result<OwnedFd, NetError> {
    rustix::fs::open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(NetError::host("open the network namespace of a thread"))
}

/// Makes a namespace and comes back to `home`. The calling thread must do nothing else meanwhile.
///
/// # Panics
/// When there is no way back: everything the thread did from then on would be done in the wrong
/// namespace, so it must end.
pub(super) fn create(home: BorrowedFd<'_>) -> Result<Namespace, NetError> {
    leave()?;
    let made = settle();
    enter(home).expect("the way back to a namespace that is held open");
    made
}

/// Moves the calling thread into a namespace of its own.
#[expect(unsafe_code, reason = "unshare can take away what other code relies on")]
pub(super) fn leave() -> Result<(), NetError> {
    // SAFETY: a new network namespace changes neither memory nor descriptors; only later lookups of
    // links and addresses by this thread, which is what is wanted.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
        .map_err(NetError::host("create a network namespace"))
}

/// Moves the calling thread into a namespace.
pub(super) fn enter(namespace: BorrowedFd<'_>) -> io::Result<()> {
    rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network)).map_err(Into::into)
}

/// Does something in a namespace and comes back to `home`.
///
/// # Panics
/// As [`create`].
pub(super) fn inside<T>(
    namespace: BorrowedFd<'_>,
    home: BorrowedFd<'_>,
    work: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    enter(namespace)?;
    let done = work();
    enter(home).expect("the way back to a namespace that is held open");
    done
}

/// Sets up the namespace that the thread is in, as far as it takes files, and gets hold of it.
fn settle() -> Result<Namespace, NetError> {
    // For the links that are there and, by the kernel's own rule, for those to come.
    write_setting("net/ipv6/conf/all/disable_ipv6", "1")?;
    // As other container runtimes have it: a user of the image that is not root may listen on port
    // 80 and send pings.
    write_setting("net/ipv4/ip_unprivileged_port_start", "0")?;
    write_setting("net/ipv4/ping_group_range", "0 2147483647")?;
    let socket = Socket::open(Subsystem::Route).map_err(NetError::io("open a netlink socket"))?;
    let diagnosis = Socket::open(Subsystem::Diagnosis).ok();
    Ok(Namespace { fd: current()?, socket, diagnosis })
}

/// Writes a setting of the kernel. One that this kernel lacks has nothing to switch off.
pub(super) fn write_setting(name: &str, value: &str) -> Result<(), NetError> {
    let path = Path::new("/proc/sys").join(name);
    match fs::write(&path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(NetError::file("write", path)),
    }
}

/// Reads a setting of the kernel.
pub(super) fn read_setting(name: &str) -> Option<String> {
    fs::read_to_string(Path::new("/proc/sys").join(name)).ok().map(|text| text.trim().to_owned())
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
