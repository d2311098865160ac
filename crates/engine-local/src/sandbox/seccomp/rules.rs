//! Which system calls a container may make.
//!
//! The calls that Linux had when this list was made are allowed but for those below; whatever is
//! newer does not exist for a container (`ENOSYS`, so that a libc falls back).

use super::{Rule, Verdict};
use crate::sandbox::isolation::Isolation;

/// The numbers of x86_64 that have a meaning we have looked at: two runs, with nothing between.
const REVIEWED: [(u32, u32); 2] = [(0, 334), (424, 466)];

/// Creating namespaces: mount, cgroup, UTS, IPC, user, PID, network.
const NAMESPACES: u32 = 0x7e02_0000;

/// `AF_UNIX`, `AF_INET`, `AF_INET6`, `AF_NETLINK`. Not `AF_PACKET`, `AF_VSOCK`, `AF_ALG` and the
/// rarely used families, where kernels break.
const FAMILIES: &[u32] = &[1, 2, 10, 16];

/// What there are pairs of sockets of.
const PAIRS: &[u32] = &[1];

/// Linux, Linux with 32-bit reporting, the same with an old version number, and "tell me".
const PERSONALITIES: &[u32] = &[0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// Refused with `EPERM`: number, name.
#[rustfmt::skip]
const REFUSED: [(u32, &str); 70] = [
    // Mounts and roots: a container keeps the ones it was given.
    (155, "pivot_root"), (165, "mount"), (166, "umount2"), (428, "open_tree"), (429, "move_mount"),
    (430, "fsopen"), (431, "fsconfig"), (432, "fsmount"), (433, "fspick"), (442, "mount_setattr"),
    (457, "statmount"), (458, "listmount"),
    // Namespaces of its own, or of others.
    (272, "unshare"), (308, "setns"),
    // The kernel itself: modules, other kernels, programs in it, its log and its tuning.
    (103, "syslog"), (156, "_sysctl"), (169, "reboot"), (174, "create_module"), (175, "init_module"),
    (176, "delete_module"), (177, "get_kernel_syms"), (178, "query_module"), (246, "kexec_load"),
    (298, "perf_event_open"), (313, "finit_module"), (320, "kexec_file_load"), (321, "bpf"),
    // Time and names that belong to the host.
    (164, "settimeofday"), (170, "sethostname"), (171, "setdomainname"), (227, "clock_settime"),
    (305, "clock_adjtime"),
    // Accounting, quotas, swap, hardware.
    (153, "vhangup"), (163, "acct"), (167, "swapon"), (168, "swapoff"), (172, "iopl"), (173, "ioperm"),
    (179, "quotactl"), (443, "quotactl_fd"),
    // Keys are not in any namespace.
    (248, "add_key"), (249, "request_key"), (250, "keyctl"),
    // Placement of memory on nodes, one's own or others'.
    (237, "mbind"), (238, "set_mempolicy"), (239, "get_mempolicy"), (256, "migrate_pages"),
    (279, "move_pages"), (450, "set_mempolicy_home_node"), (440, "process_madvise"),
    // Ways around checks of paths and descriptors, and into other processes.
    (278, "vmsplice"), (300, "fanotify_init"), (304, "open_by_handle_at"), (312, "kcmp"),
    (323, "userfaultfd"), (438, "pidfd_getfd"),
    // A second system call interface that this filter does not see.
    (425, "io_uring_setup"), (426, "io_uring_enter"), (427, "io_uring_register"),
    // Security modules are the host's.
    (459, "lsm_get_self_attr"), (460, "lsm_set_self_attr"), (461, "lsm_list_modules"),
    // What nobody has used for decades.
    (134, "uselib"), (136, "ustat"), (139, "sysfs"), (180, "nfsservctl"), (181, "getpmsg"),
    (182, "putpmsg"), (212, "lookup_dcookie"), (236, "vserver"),
];

/// Refused with `EPERM` as well where instances are not in namespaces of their own.
#[rustfmt::skip]
const REFUSED_WITHOUT_NAMESPACES: [(u32, &str); 8] = [
    // Another root directory is the way out of one.
    (161, "chroot"),
    // Processes of the same user, be they other instances or the server, are within reach.
    (101, "ptrace"), (310, "process_vm_readv"), (311, "process_vm_writev"),
    // What these make is seen by everybody and outlives its maker.
    (29, "shmget"), (64, "semget"), (68, "msgget"), (240, "mq_open"),
];

/// What to do with each system call number under this isolation, in order, from 0.
pub(crate) fn rules(isolation: Isolation) -> Vec<Rule> {
    let end = REVIEWED.iter().map(|(_, last)| last + 1).max().unwrap_or(0);
    let mut rules: Vec<Rule> = Vec::new();
    for number in 0..=end {
        let shared = isolation.is_shared() && REFUSED_WITHOUT_NAMESPACES.iter().any(|&(refused, _)| refused == number);
        let verdict = if shared { Verdict::Refuse(EPERM) } else { verdict(number) };
        if rules.last().is_none_or(|rule| rule.verdict != verdict) {
            rules.push(Rule { first: number, verdict });
        }
    }
    rules
}

fn verdict(number: u32) -> Verdict {
    let reviewed = REVIEWED.iter().any(|&(first, last)| (first..=last).contains(&number));
    match number {
        41 => Verdict::Families(FAMILIES),
        // Pairs of AF_TIPC there are as well, and its module comes by asking.
        53 => Verdict::Families(PAIRS),
        56 => Verdict::UnlessBits(NAMESPACES),
        135 => Verdict::OnlyValues(PERSONALITIES),
        // Its flags are behind a pointer, where no filter can look: let the libc fall back to clone.
        435 => Verdict::Refuse(ENOSYS),
        _ if !reviewed => Verdict::Refuse(ENOSYS),
        // afs_syscall, tuxcall, security: never built.
        183..=185 => Verdict::Refuse(ENOSYS),
        _ if REFUSED.iter().any(|&(refused, _)| refused == number) => Verdict::Refuse(EPERM),
        _ => Verdict::Allow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refused_number_is_refused_once_and_is_a_reviewed_one() {
        let mut numbers: Vec<u32> = REFUSED.iter().map(|&(number, _)| number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), REFUSED.len());
        for (number, name) in REFUSED {
            assert_eq!(verdict(number), Verdict::Refuse(EPERM), "{name}");
        }
    }

    #[test]
    fn the_numbers_are_those_of_this_architecture() {
        for (number, name) in [
            (libc::SYS_mount, "mount"),
            (libc::SYS_unshare, "unshare"),
            (libc::SYS_setns, "setns"),
            (libc::SYS_bpf, "bpf"),
            (libc::SYS_keyctl, "keyctl"),
            (libc::SYS_userfaultfd, "userfaultfd"),
            (libc::SYS_io_uring_setup, "io_uring_setup"),
            (libc::SYS_perf_event_open, "perf_event_open"),
            (libc::SYS_open_by_handle_at, "open_by_handle_at"),
            (libc::SYS_kexec_file_load, "kexec_file_load"),
        ] {
            assert!(REFUSED.contains(&(u32::try_from(number).expect("small"), name)), "{name}");
        }
        for (number, name) in [
            (libc::SYS_chroot, "chroot"),
            (libc::SYS_ptrace, "ptrace"),
            (libc::SYS_process_vm_readv, "process_vm_readv"),
            (libc::SYS_process_vm_writev, "process_vm_writev"),
            (libc::SYS_shmget, "shmget"),
            (libc::SYS_semget, "semget"),
            (libc::SYS_msgget, "msgget"),
            (libc::SYS_mq_open, "mq_open"),
        ] {
            let number = u32::try_from(number).expect("small");
            assert!(REFUSED_WITHOUT_NAMESPACES.contains(&(number, name)), "{name}");
            let verdict =
                |isolation| rules(isolation).iter().rfind(|rule| rule.first <= number).map(|rule| rule.verdict);
            assert_eq!(verdict(Isolation::Namespaces), Some(Verdict::Allow), "{name}");
            assert_eq!(verdict(Isolation::Chroot), Some(Verdict::Refuse(EPERM)), "{name}");
        }
    }

    #[test]
    fn what_is_newer_than_the_list_does_not_exist() {
        let rules = rules(Isolation::Namespaces);
        assert_eq!(rules.last(), Some(&Rule { first: 467, verdict: Verdict::Refuse(ENOSYS) }));
        assert!(rules.is_sorted_by_key(|rule| rule.first));
        assert_eq!(rules.first().map(|rule| rule.first), Some(0));
    }
}
