//! Which capabilities a container's root keeps.
//!
//! Docker's default set without `MKNOD` (devices are made by us), `NET_RAW` (no spoofed packets on
//! the host's bridge) and `AUDIT_WRITE`: what is left lets an image drop privileges, own files and
//! bind low ports. Anybody but root has none: the change of user clears them, and
//! `no_new_privs` keeps files from giving any back.

use rustix::thread::CapabilitySet;

use super::isolation::Isolation;

/// What root keeps under this isolation. A root directory is no prison for who may change it again, and
/// where files are the host's, nobody is to be above their permissions.
pub(crate) fn kept_under(isolation: Isolation) -> CapabilitySet {
    match isolation {
        Isolation::Namespaces => kept(),
        Isolation::Chroot => kept() - CapabilitySet::SYS_CHROOT,
        Isolation::None => {
            CapabilitySet::KILL | CapabilitySet::NET_BIND_SERVICE | CapabilitySet::SETGID | CapabilitySet::SETUID
        }
    }
}

/// What root keeps, in the bounding, permitted and effective sets. Inheritable and ambient are empty.
pub(crate) fn kept() -> CapabilitySet {
    CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID
        | CapabilitySet::KILL
        | CapabilitySet::NET_BIND_SERVICE
        | CapabilitySet::SETFCAP
        | CapabilitySet::SETGID
        | CapabilitySet::SETPCAP
        | CapabilitySet::SETUID
        | CapabilitySet::SYS_CHROOT
}

/// The capabilities to take out of the bounding set so that `kept` are left, of those that the kernel
/// knows up to `last`.
pub(crate) fn dropped(kept: CapabilitySet, last: u32) -> impl Iterator<Item = CapabilitySet> {
    (0..=last.min(63)).map(|bit| CapabilitySet::from_bits_retain(1 << bit)).filter(move |one| !kept.contains(*one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_that_docker_drops() {
        // Docker's default: 0xa80425fb.
        assert_eq!(kept().bits() & !0xa804_25fb, 0);
        assert_eq!(kept().bits(), 0x8004_05fb);
    }

    #[test]
    fn a_weaker_sandbox_keeps_no_more() {
        for isolation in Isolation::ALL {
            assert!(kept().contains(kept_under(isolation)), "{isolation}");
        }
        assert!(!kept_under(Isolation::Chroot).contains(CapabilitySet::SYS_CHROOT));
        assert!(!kept_under(Isolation::None).contains(CapabilitySet::DAC_OVERRIDE));
    }

    #[test]
    fn capabilities_that_are_newer_than_this_list_are_dropped_too() {
        let dropped: u64 = dropped(kept(), 45).map(|one| one.bits()).sum();
        assert_eq!(dropped, ((1 << 46) - 1) & !kept().bits());
    }
}
