//! What starts cost in CPU time, by the kernel's own account.

use std::{collections::HashMap, fs, time::Duration};

/// The unit of `/proc/PID/stat`: `USER_HZ`.
const TICK: Duration = Duration::from_millis(10);

/// A process, as its `stat` tells.
struct Account {
    parent: u32,
    /// Its own time, and that of the children which it has waited for.
    ticks: u64,
}

/// What the process `root` and its descendants have used until now, those that ended and were waited for included.
pub(crate) fn of_tree(root: u32) -> Duration {
    let all: HashMap<u32, Account> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, account(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect();
    let ticks: u64 = all.iter().filter(|&(&pid, _)| descends(&all, pid, root)).map(|(_, account)| account.ticks).sum();
    TICK * u32::try_from(ticks).unwrap_or(u32::MAX)
}

/// What the process `pid` has used until now with the children that it has waited for; not what those use that live.
pub(crate) fn of_one(pid: u32) -> Duration {
    let ticks = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| Some(account(&stat)?.ticks));
    TICK * u32::try_from(ticks.unwrap_or(0)).unwrap_or(u32::MAX)
}

fn descends(all: &HashMap<u32, Account>, pid: u32, root: u32) -> bool {
    let mut at = pid;
    // The table was not read at one moment: a cycle cannot be, but a number may have been given twice.
    for _ in 0..64 {
        if at == root {
            return true;
        }
        match all.get(&at) {
            Some(account) => at = account.parent,
            None => return false,
        }
    }
    false
}

fn account(stat: &str) -> Option<Account> {
    // The name in parentheses may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11..15)?.iter().map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    Some(Account { parent: fields.get(1)?.parse().ok()?, ticks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_time_and_that_of_ended_children_are_counted_whatever_the_name_is() {
        let stat = "42 (a) b) S 7 42 42 0 -1 4194560 1 2 3 4 10 20 30 40 20 0 1 0";
        let account = account(stat).expect("a line of stat");
        assert_eq!((account.parent, account.ticks), (7, 100));
    }
}
