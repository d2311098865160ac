//! What is left free of a disk.

use std::{io, os::fd::AsFd};

use rustix::io::Errno;

/// What is left free of the disk, in bytes: the database and the logs live on it too, and a server that cannot write
/// its database can do nothing at all.
const RESERVE: u64 = 64 << 20;
/// On small disks the reserve is this part of the whole.
const RESERVE_PART: u64 = 20;

/// Has the disk of `file` room for `more` bytes, and some to spare? Whoever writes what others decide the size of asks
/// before each piece.
///
/// # Errors
/// The host's; `ENOSPC` (see [`is_full`]) when there is too little.
pub fn check_space(file: impl AsFd, more: u64) -> io::Result<()> {
    let disk = rustix::fs::fstatvfs(file)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let whole = disk.f_blocks.saturating_mul(disk.f_frsize);
    if has_room(free, whole, more) { Ok(()) } else { Err(Errno::NOSPC.into()) }
}

/// Did the host refuse for want of space, on the disk or in a quota?
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn has_room(free: u64, whole: u64, more: u64) -> bool {
    free >= RESERVE.min(whole / RESERVE_PART).saturating_add(more)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_is_left_of_large_disks_and_of_small_ones() {
        let (small, large) = (100 << 20, 100 << 30);
        assert!(has_room(RESERVE + 5, large, 5) && !has_room(RESERVE + 4, large, 5));
        assert!(has_room(small / 20 + 5, small, 5) && !has_room(small / 20 + 4, small, 5));
        assert!(!has_room(large, large, u64::MAX));
    }

    #[test]
    fn what_fits_on_no_disk_is_refused_as_on_a_full_one() {
        let file = tempfile::tempfile().expect("a temporary file");
        let error = check_space(&file, u64::MAX).expect_err("no such disk");
        assert!(is_full(&error), "{error}");
    }
}
