//! Memory, by the kernel's own account.

use std::fs;

use super::process;
use crate::Error;

/// The proportional set size of a process in KiB: what it has alone, and its share of what it has with others.
pub(crate) fn pss_kib(pid: u32) -> Result<u64, Error> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    read(&rollup).ok_or_else(|| format!("{path} does not tell the Pss").into())
}

/// Of a process and all that descend from it. One that ends meanwhile counts for nothing.
pub(crate) fn pss_kib_of_tree(root: u32) -> u64 {
    process::family(root).into_iter().filter_map(|pid| pss_kib(pid).ok()).sum()
}

fn read(rollup: &str) -> Option<u64> {
    rollup.lines().find_map(|line| line.strip_prefix("Pss:")?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_memory_is_not_taken_for_one_of_its_parts() {
        let rollup = "00400000-7ffe [rollup]\nRss:  900 kB\nPss_Dirty: 7 kB\nPss:     123 kB\nPss_Anon:  1 kB\n";
        assert_eq!(read(rollup), Some(123));
        assert_eq!(read(""), None);
    }
}
