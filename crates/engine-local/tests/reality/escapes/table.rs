//! The list: what is tried, and what is to come of it. docs/sandbox.md shows the same, which a test holds.

/// One attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Escape {
    /// What the fixture calls it.
    pub(crate) name: &'static str,
    /// What it tries, in a few words.
    pub(crate) tries: &'static str,
    /// What is to come of it in a sandbox of ours.
    pub(crate) want: Want,
}

/// What is to come of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Want {
    /// It is refused.
    Blocked,
    /// A container may do that; it has no effect outside of it.
    Confined,
}

/// What is tried in one instance, in this order.
pub(crate) fn single() -> impl Iterator<Item = Escape> {
    ESCAPES.iter().copied().filter(|escape| !escape.is_bomb())
}

/// What is tried in an instance of its own each.
pub(crate) fn bombs() -> impl Iterator<Item = Escape> {
    ESCAPES.iter().copied().filter(Escape::is_bomb)
}

const fn no(name: &'static str, tries: &'static str) -> Escape {
    Escape { name, tries, want: Want::Blocked }
}

const fn own(name: &'static str, tries: &'static str) -> Escape {
    Escape { name, tries, want: Want::Confined }
}

#[rustfmt::skip]
pub(crate) const ESCAPES: &[Escape] = &[
    no("mount-tmpfs", "mount a tmpfs"),
    no("mount-proc", "mount a /proc without masks"),
    no("mount-sysfs", "mount a /sys that can be written to"),
    no("mount-devtmpfs", "mount the host's /dev"),
    no("mount-cgroup", "mount control groups"),
    no("mount-overlay", "mount an overlay"),
    no("mount-bind", "bind /proc elsewhere, without its masks"),
    no("mount-move", "move a mount away"),
    no("mount-propagation", "make mounts propagate"),
    no("remount-root", "remount the root with other flags"),
    no("remount-proc-sys", "remount /proc/sys writable"),
    no("remount-dev", "remount /dev writable"),
    no("remount-cgroup", "remount the control groups writable"),
    no("unmount-mask", "unmount what hides /proc/kcore"),
    no("unmount-root", "unmount the root"),
    no("mount-fsopen", "mount by fsopen(2)"),
    no("mount-open-tree", "clone a mount by open_tree(2)"),
    no("mount-move-mount", "move a mount by move_mount(2)"),
    no("mount-setattr", "change a mount by mount_setattr(2)"),
    no("pivot-root", "change the root by pivot_root(2)"),
    own("chroot-classic", "leave the root by chroot and .."),
    no("proc-root-of-init", "a host's file by /proc/1/root"),
    no("proc-cwd-of-init", "a host's file by /proc/1/cwd"),
    no("dot-dot", "a host's file by .. beyond the root"),

    no("unshare-user", "a new user namespace"),
    no("unshare-mount", "a new mount namespace"),
    no("unshare-pid", "a new PID namespace"),
    no("unshare-net", "a new network namespace"),
    no("unshare-ipc", "a new IPC namespace"),
    no("unshare-uts", "a new UTS namespace"),
    no("unshare-cgroup", "a new cgroup namespace"),
    no("unshare-time", "a new time namespace"),
    no("clone-user", "clone(2) into a new user namespace"),
    no("clone-user-mount", "clone(2) into new user and mount namespaces"),
    no("clone-net", "clone(2) into a new network namespace"),
    no("clone3-user", "clone3(2) into a new user namespace, its flags out of a filter's sight"),
    no("setns-mount", "join a mount namespace"),
    no("setns-net", "join a network namespace"),
    no("setns-user", "join a user namespace"),
    no("hostname", "change the host name"),
    no("domainname", "change the domain name"),

    no("sysrq", "open /proc/sysrq-trigger to write"),
    no("core-pattern", "write kernel/core_pattern (a program of the host)"),
    no("modprobe-path", "write kernel/modprobe (a program of the host)"),
    no("sysctl-vm", "write a setting of the memory"),
    no("sysctl-kernel", "write a setting of the kernel"),
    no("sysctl-fs", "write a setting of files"),
    no("binfmt", "register a binary format"),
    no("uevent-helper", "write the uevent helper"),
    no("sys-write", "write settings below /sys/kernel"),
    no("sys-module", "write parameters of modules"),
    no("sys-power", "write the machine's power state"),
    no("sys-block", "write settings of disks"),
    no("sys-firmware", "read the firmware's tables"),
    no("sys-debug", "read debugfs and tracefs"),
    no("kcore", "read the kernel's memory in /proc/kcore"),
    no("kallsyms", "read the kernel's addresses"),
    no("kmsg", "read the kernel's log in /proc/kmsg and /dev/kmsg"),
    no("syslog", "read the kernel's log by syslog(2)"),
    no("page-tables", "read what each page of the machine is used for"),
    no("slab-info", "read the kernel's allocators"),
    no("timer-list", "read the timers and the scheduler of all processes"),
    no("interrupts", "read interrupts, which tell neighbours' work, or steer them"),
    no("proc-keys", "read the list of keys"),
    no("proc-acpi", "look into /proc/acpi"),
    no("proc-scsi", "look into /proc/scsi"),
    no("proc-bus-write", "write to a bus"),
    no("module-load", "load a module of the kernel"),
    no("module-unload", "unload a module of the kernel"),
    no("kexec-load", "load another kernel by kexec_load(2)"),
    no("kexec-file", "load another kernel by kexec_file_load(2)"),
    no("reboot", "reboot(2)"),
    no("swap-on", "swapon(2)"),
    no("swap-off", "swapoff(2)"),
    no("settimeofday", "set the clock by settimeofday(2)"),
    no("clock-settime", "set the clock by clock_settime(2)"),
    no("adjtimex", "tune the clock"),
    no("acct", "switch process accounting"),
    no("quotactl", "change disk quotas"),
    no("iopl", "raise the I/O privilege level"),
    no("ioperm", "open I/O ports"),
    no("bpf", "make an eBPF map"),
    no("perf-event", "open a performance counter"),
    no("userfaultfd", "handle page faults of the kernel"),
    no("io-uring", "set up io_uring, which no filter sees"),
    no("key-add", "add a key"),
    no("key-session", "join a session keyring"),
    no("key-request", "request a key"),
    no("fanotify", "watch file systems by fanotify"),
    no("lookup-dcookie", "a path by its cookie"),
    no("vhangup", "hang up the terminal"),
    no("move-memory-of-others", "move the memory of a host's process"),

    no("capability-raise", "take all capabilities"),
    no("capability-bounding", "a capability in the bounding set beyond eleven harmless ones"),
    no("capability-ambient", "raise an ambient capability"),
    no("no-new-privs-lift", "lift no_new_privs"),
    no("filter-lift", "an allowing filter on top of ours"),
    no("x32-abi", "mount(2) by its x32 number"),
    no("i386-abi", "unshare(2) by the 32-bit entry"),
    no("setuid-program", "become root by a set-user-id program of one's own"),
    no("file-capability", "get capabilities from a file"),
    no("xattr-trusted", "write what overlayfs believes"),
    no("personality-aslr", "switch address randomisation off"),
    no("personality-exec", "make all readable memory executable"),
    no("rlimit-raise", "raise a hard limit"),
    no("nice-raise", "a priority above others"),
    no("realtime", "real-time scheduling"),
    no("io-realtime", "real-time I/O"),
    no("oom-score", "be the last to be killed for memory"),
    no("device-block", "make a block device"),
    no("device-mem", "make the device of the memory"),
    no("device-kmsg", "make the device of the kernel's log"),
    no("device-fuse", "make /dev/fuse"),
    no("device-open", "open 30 devices that a host has"),
    no("device-in-dev", "make a file in /dev"),
    no("device-mode", "change the mode of /dev/null"),

    no("kill-host", "signal a host's process by its number"),
    no("kill-host-queue", "queue a signal to a host's process"),
    own("kill-everybody", "SIGKILL to -1"),
    no("kill-launcher", "find who made the instance"),
    no("pidfd-host", "a descriptor of a host's process"),
    no("pidfd-getfd", "take a descriptor out of another process"),
    no("ptrace-host", "trace a host's process"),
    no("process-vm-read", "read a host's process's memory"),
    no("process-vm-write", "write a host's process's memory"),
    no("process-madvise", "drop another process's memory"),
    no("kcmp", "compare kernel objects of processes"),
    no("prlimit-host", "limit a host's process"),
    no("priority-host", "lower a host's process's priority"),
    no("affinity-host", "pin a host's process"),
    no("move-pages-host", "move a host's process's pages"),
    no("proc-of-host", "a host's process in /proc: environment, memory, root"),
    no("proc-strangers", "processes of others in /proc"),
    no("tiocsti", "type into the terminal of who started it"),
    no("inherited-descriptors", "descriptors that somebody left open"),
    no("launcher-program", "write to the program that runs"),
    no("launcher-directory", "the launcher's directory, by its path on the host"),

    no("symlink-out", "a host's file by symbolic links"),
    no("symlink-proc-root", "a host's file by a link through /proc/1/root"),
    no("hardlink-out", "a hard link to a host's file"),
    no("rename-race", "a host's file by a directory exchanged for a link under way"),
    no("handle-open", "a file of the mount below, by its handle"),
    own("image-write", "write to a file of the image, which others have"),
    no("volume-symlink", "a host's file by symbolic links in a volume"),
    no("volume-hardlink-in", "a hard link in a volume to a file outside"),
    no("volume-hardlink-out", "a hard link outside to a file of a volume"),
    no("volume-race", "a host's file by a directory of a volume exchanged for a link under way"),
    no("volume-device", "make devices in a volume"),
    no("volume-setuid", "become root by a set-user-id program in a volume"),
    no("volume-capability", "get capabilities from a file in a volume"),
    no("volume-trusted", "write what overlayfs believes on a volume"),
    no("volume-remount", "remount a volume with other flags or another size"),
    no("volume-unmount", "unmount a volume"),
    no("volume-full", "24 MiB in a volume of 8"),
    no("cgroup-limit", "raise its own limits"),
    no("cgroup-devices", "allow itself devices"),
    no("cgroup-move", "move to another control group"),
    no("cgroup-release-agent", "name a program for the host to run"),
    no("cgroup-make", "make control groups"),
    no("cgroup-kill", "kill or freeze a control group"),

    no("socket-raw", "raw IP sockets"),
    no("socket-packet", "packet sockets"),
    no("socket-vsock", "AF_VSOCK, to the hypervisor"),
    no("socket-alg", "AF_ALG, the kernel's ciphers"),
    no("socket-bluetooth", "AF_BLUETOOTH"),
    no("socket-can", "AF_CAN"),
    no("socket-rare", "29 more families, AF_TIPC and AF_XDP among them"),
    no("socketpair-tipc", "a pair of sockets of a rare family"),
    no("netlink-audit", "the audit system's netlink"),
    no("netlink-link", "add a network link"),
    no("netlink-address", "add an address"),
    no("netlink-route", "add a route"),
    no("netlink-firewall", "add a table of nftables"),
    no("ioctl-address", "change an address by ioctl(2)"),
    no("ioctl-hardware-address", "change a hardware address"),
    no("ioctl-flags", "take a link down"),
    no("socket-mark", "mark packets, which firewalls trust"),
    no("socket-priority", "a priority of packets for administrators"),
    no("socket-buffer-force", "buffers beyond the limits"),
    no("socket-transparent", "send from others' addresses"),
    no("sysctl-net", "write settings of the network"),
    no("host-loopback", "the host's loopback"),
    no("host-gateway", "a port of the host by the gateway's address, where the API and the launcher's server are"),
    no("host-gateway-udp", "the same by UDP"),
    no("host-address", "a port of the host by its own address"),
    no("host-bind", "listen on the host's address"),
    no("metadata-address", "169.254.169.254 of the host's cloud"),
    no("link-local-services", "other ports of it, and other link-local addresses where clouds have keys and names"),
    no("ipv6-link-local", "neighbours by IPv6 link-local addresses"),

    no("neighbour-address", "another instance by its address"),
    no("neighbour-abstract-socket", "another instance's abstract UNIX socket"),
    no("neighbour-shared-memory", "another instance's SysV shared memory"),
    no("neighbour-semaphores", "another instance's SysV semaphores"),
    no("neighbour-messages", "another instance's SysV message queue"),
    no("neighbour-queue", "another instance's POSIX queue"),
    no("neighbour-dev-shm", "another instance's /dev/shm"),
    no("neighbour-files", "another instance's files"),
    no("neighbour-volume", "another instance's volume"),
    no("neighbour-key", "another instance's keys"),
    no("host-abstract-socket", "the host's abstract UNIX socket"),
    no("strangers-abstract-socket", "any abstract UNIX socket"),

    no("bomb-processes", "400 processes"),
    no("bomb-threads", "400 threads"),
    no("bomb-memory", "160 MiB of memory in an instance of 64"),
    no("bomb-disk", "160 MiB of files"),
    no("bomb-dev-shm", "160 MiB in /dev/shm"),
    no("bomb-dev", "160 MiB in /dev"),
    no("bomb-inodes", "400,000 empty files"),
    no("bomb-volume", "160 MiB in a volume of 1 GiB"),
    no("bomb-volume-inodes", "400,000 empty files in a volume"),
    no("bomb-files", "70,000 open files"),
    no("bomb-terminals", "1,500 terminals"),
    no("bomb-watches", "400 inotify instances, of which a user of the machine may have 128"),
    no("bomb-queues", "400 POSIX queues"),
    no("bomb-shared-memory", "160 MiB of SysV shared memory"),
    no("bomb-locked-memory", "160 MiB of locked memory"),
    no("bomb-pipes", "400 MiB in pipes"),
];

// === impl Escape ===

impl Escape {
    /// Is it one that takes as much as it can get?
    pub(crate) fn is_bomb(&self) -> bool {
        self.name.starts_with("bomb-")
    }
}
