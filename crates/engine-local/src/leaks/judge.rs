//! From what was seen and who lives to what is nobody's. Pure.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use super::{Group, Leak, LeakKind, Link, Mount, Owner, Owners, Process, Role, Seen, Waiting};

/// Chains of parents longer than this are none.
const GENERATIONS: usize = 1000;

/// A launcher that has waited until its time was over is given so long to end everything.
const LAST_CALL: Duration = Duration::from_secs(15);

/// Those that live `now`: a launcher that should have ended by now owns nothing. Says who waits, too.
pub(super) fn living(mut owners: Owners, now: SystemTime) -> (Owners, Vec<Waiting>) {
    owners.retain(|_, owner| owner.waits.is_none_or(|until| now <= until + LAST_CALL));
    let waiting = owners.iter().filter_map(|(tag, owner)| {
        let (Some(pid), Some(until)) = (owner.launcher, owner.waits) else { return None };
        Some(Waiting { tag: tag.clone(), pid, until })
    });
    let waiting = waiting.collect();
    (owners, waiting)
}

/// What carries a tag (`only` one, or any) and has no owner.
pub(super) fn judge(seen: &Seen, owners: &Owners, only: Option<&str>) -> BTreeSet<Leak> {
    let mut leaks = BTreeSet::new();
    leaks.extend(seen.processes.iter().filter_map(|process| judge_process(seen, owners, process)));
    leaks.extend(seen.groups.iter().filter_map(|group| judge_group(seen, owners, group)));
    leaks.extend(seen.mounts.iter().map(judge_mount));
    leaks.extend(seen.links.iter().filter_map(|link| judge_link(owners, link)));
    leaks.extend(seen.tables.iter().filter_map(|table| judge_table(owners, table)));
    if let Some(tag) = only.filter(|tag| !owners.contains_key(*tag)) {
        leaks.extend(seen.forwarding.iter().map(|link| Leak {
            kind: LeakKind::Setting,
            tag: tag.to_owned(),
            what: format!("net.ipv4.conf.{link}.forwarding"),
            why: "a server switched it on and is gone".to_owned(),
            identity: 0,
        }));
    }
    leaks.retain(|leak| only.is_none_or(|tag| leak.tag == tag));
    leaks
}

fn judge_process(seen: &Seen, owners: &Owners, process: &Process) -> Option<Leak> {
    let (tag, why) = match &process.role {
        Role::Launcher(tag) => {
            if owners.get(tag).is_some_and(|owner| owner.launcher == Some(process.pid)) {
                return None;
            }
            (tag, "a launcher without a server".to_owned())
        }
        Role::Inside(tag, instance) => {
            if is_owned(seen, owners.get(tag), process.pid) {
                return None;
            }
            (tag, format!("a process of instance {instance}, whose launcher is gone"))
        }
    };
    Some(Leak {
        kind: LeakKind::Process,
        tag: tag.clone(),
        what: process.pid.to_string(),
        why,
        identity: process.started,
    })
}

/// Does the process descend from the launcher of its engine?
fn is_owned(seen: &Seen, owner: Option<&Owner>, pid: u32) -> bool {
    let Some(launcher) = owner.and_then(|owner| owner.launcher) else { return false };
    let mut next = Some(pid);
    for _ in 0..GENERATIONS {
        match next {
            Some(pid) if pid == launcher => return true,
            Some(pid) => next = seen.parents.get(&pid).copied(),
            None => return false,
        }
    }
    false
}

fn judge_group(seen: &Seen, owners: &Owners, group: &Group) -> Option<Leak> {
    let owner = owners.get(&group.tag);
    let why = match (&group.instance, owner) {
        (_, None) => "its server is gone",
        (None, Some(_)) => return None,
        (Some(instance), Some(_)) => {
            let lives = |process: &&Process| {
                matches!(&process.role, Role::Inside(tag, inside) if *tag == group.tag && inside == instance)
                    && is_owned(seen, owner, process.pid)
            };
            if seen.processes.iter().any(|process| lives(&process)) {
                return None;
            }
            "no process of its instance lives"
        }
    };
    let what = group.path.display().to_string();
    Some(Leak {
        kind: LeakKind::ControlGroup,
        tag: group.tag.clone(),
        what,
        why: why.to_owned(),
        identity: group.inode,
    })
}

/// Nothing that we mount can be seen outside of containers and launchers, so what is seen was left.
fn judge_mount(mount: &Mount) -> Leak {
    let (kind, why) = match mount.namespace {
        true => (LeakKind::Namespace, "held by a mount, and no server holds one that way"),
        false => (LeakKind::Mount, "no server mounts there"),
    };
    let what = mount.point.display().to_string();
    Leak { kind, tag: mount.tag.clone(), what, why: why.to_owned(), identity: mount.id }
}

fn judge_link(owners: &Owners, link: &Link) -> Option<Leak> {
    let why = match (owners.get(&link.tag), link.cable_to) {
        (None, None) => "its server is gone",
        (None, Some(_)) => "its server is gone, and something keeps the network namespace at its other end",
        (Some(_), None) => return None,
        (Some(owner), Some(Some(peer))) if owner.namespaces.contains(&peer) => return None,
        (Some(_), Some(_)) => "neither its server nor an instance has the network namespace at its other end",
    };
    Some(Leak {
        kind: LeakKind::Link,
        tag: link.tag.clone(),
        what: link.name.clone(),
        why: why.to_owned(),
        identity: link.index.into(),
    })
}

fn judge_table(owners: &Owners, table: &str) -> Option<Leak> {
    let tag = super::tag_in(table)?;
    let why = "its server is gone".to_owned();
    let leak = Leak { kind: LeakKind::PacketFilter, tag: tag.to_owned(), what: table.to_owned(), why, identity: 0 };
    (!owners.contains_key(tag)).then_some(leak)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const DEAD: &str = "dead00";
    const LIVE: &str = "11fe00";

    fn process(pid: u32, role: Role) -> Process {
        Process { pid, started: 1, role }
    }

    fn inside(tag: &str, instance: &str) -> Role {
        Role::Inside(tag.to_owned(), instance.to_owned())
    }

    fn group(tag: &str, instance: Option<&str>) -> Group {
        let path = PathBuf::from(format!("/cg/updraft-{tag}/{}", instance.unwrap_or_default()));
        Group { path, tag: tag.to_owned(), instance: instance.map(str::to_owned), inode: 1 }
    }

    fn link(tag: &str, end: &str, cable_to: Option<Option<i32>>) -> Link {
        Link { name: format!("ud{tag}-{end}"), tag: tag.to_owned(), index: 1, cable_to }
    }

    /// A server (10) with its launcher (11) and an instance (12, its child 13), and what a dead one left.
    fn host() -> (Seen, Owners) {
        let seen = Seen {
            processes: vec![
                process(11, Role::Launcher(LIVE.to_owned())),
                process(12, inside(LIVE, "one")),
                process(13, inside(LIVE, "one")),
                // Of the same engine, but its launcher is another: an earlier one.
                process(20, inside(LIVE, "stray")),
                process(30, Role::Launcher(DEAD.to_owned())),
                process(31, inside(DEAD, "two")),
            ],
            parents: [(10, 1), (11, 10), (12, 11), (13, 12), (20, 1), (30, 1), (31, 30)].into(),
            groups: vec![
                group(LIVE, None),
                group(LIVE, Some("one")),
                group(LIVE, Some("empty")),
                group(DEAD, None),
                group(DEAD, Some("two")),
            ],
            mounts: vec![Mount { id: 7, tag: DEAD.to_owned(), point: "/data/run/stage".into(), namespace: false }],
            links: vec![
                link(LIVE, "gw", None),
                link(LIVE, "1", Some(Some(4))),
                link(LIVE, "2", Some(Some(5))),
                link(LIVE, "3", Some(None)),
                link(DEAD, "gw", None),
                link(DEAD, "1", Some(Some(9))),
            ],
            tables: [format!("updraft-{LIVE}"), format!("updraft-{DEAD}"), "filter".into(), "updraft-survey".into()]
                .into(),
            forwarding: vec!["eth0".to_owned()],
        };
        let owner = Owner { launcher: Some(11), namespaces: [4].into(), ..Owner::default() };
        (seen, [(LIVE.to_owned(), owner)].into())
    }

    fn told(leaks: &BTreeSet<Leak>) -> Vec<String> {
        leaks.iter().map(|leak| format!("{} {}: {}", leak.kind, leak.what, leak.why)).collect()
    }

    #[test]
    fn of_a_living_engine_only_what_nobody_in_it_holds_is_a_leak() {
        let (seen, owners) = host();
        assert_eq!(
            told(&judge(&seen, &owners, Some(LIVE))),
            [
                "process 20: a process of instance stray, whose launcher is gone",
                "control group /cg/updraft-11fe00/empty: no process of its instance lives",
                "link ud11fe00-2: neither its server nor an instance has the network namespace at its other end",
                "link ud11fe00-3: neither its server nor an instance has the network namespace at its other end",
            ]
        );
    }

    #[test]
    fn of_a_dead_engine_everything_is_a_leak() {
        let (seen, owners) = host();
        assert_eq!(
            told(&judge(&seen, &owners, Some(DEAD))),
            [
                "process 30: a launcher without a server",
                "process 31: a process of instance two, whose launcher is gone",
                "control group /cg/updraft-dead00/: its server is gone",
                "control group /cg/updraft-dead00/two: its server is gone",
                "mount /data/run/stage: no server mounts there",
                "link uddead00-1: its server is gone, and something keeps the network namespace at its other end",
                "link uddead00-gw: its server is gone",
                "nftables table updraft-dead00: its server is gone",
                "setting net.ipv4.conf.eth0.forwarding: a server switched it on and is gone",
            ]
        );
    }

    #[test]
    fn whoever_looks_at_all_tags_sees_the_leaks_of_each() {
        let (seen, owners) = host();
        let all = judge(&seen, &owners, None);
        let mut parts = judge(&seen, &owners, Some(LIVE));
        // Which engine switched forwarding on only its own data directory tells.
        parts.extend(judge(&seen, &owners, Some(DEAD)).into_iter().filter(|leak| leak.kind != LeakKind::Setting));
        assert_eq!(all, parts);
    }

    #[test]
    fn while_a_launcher_is_being_replaced_its_engine_still_owns_what_it_made_itself() {
        let (seen, mut owners) = host();
        owners.insert(LIVE.to_owned(), Owner { namespaces: [4, 5].into(), ..Owner::default() });
        let leaks = judge(&seen, &owners, Some(LIVE));
        assert!(
            !leaks.iter().any(|leak| leak.what.ends_with("gw") || leak.kind == LeakKind::PacketFilter),
            "{leaks:?}"
        );
        assert!(!leaks.iter().any(|leak| leak.what == "ud11fe00-2"), "{leaks:?}");
    }

    #[test]
    fn a_launcher_that_waits_within_its_time_is_told_and_no_leak_and_after_it_everything_of_it_is() {
        let (seen, mut owners) = host();
        let until = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        let before = judge(&seen, &owners, None);
        owners.get_mut(LIVE).expect("there").waits = Some(until);
        let (waits, told) = living(owners.clone(), until);
        assert_eq!(told, [Waiting { tag: LIVE.to_owned(), pid: 11, until }]);
        assert_eq!(judge(&seen, &waits, None), before);
        let (late, told) = living(owners, until + LAST_CALL + Duration::from_secs(1));
        assert_eq!(told, []);
        let leaks = judge(&seen, &late, Some(LIVE));
        assert!(leaks.iter().any(|leak| leak.kind == LeakKind::Process && leak.what == "11"), "{leaks:?}");
    }

    #[test]
    fn a_circle_of_parents_has_an_end() {
        let (mut seen, owners) = host();
        seen.parents.extend([(20, 21), (21, 20)]);
        assert!(!is_owned(&seen, owners.get(LIVE), 20));
    }
}
