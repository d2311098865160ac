//! A container in the words of the OCI runtime specification: the same decisions as everywhere in `sandbox`, as the
//! `config.json` of a bundle.
//!
//! What a runtime is told is all that it decides. The root directory, the network namespace and the control group
//! are made before it runs and only named here.

use rustix::thread::CapabilitySet;
use serde_json::{Value, json};

use super::{
    capabilities,
    cgroups::{self, Limits},
    isolation::Isolation,
    mounts::{DEVICES, MASKED, READ_ONLY, ROOTS, TERMINALS},
    seccomp,
    user::Identity,
};
use crate::protocol::Launch;

/// The version of the specification; every runtime of the last years takes it.
const VERSION: &str = "1.0.2";
/// Where the root directory is, from the bundle.
pub(crate) const ROOT: &str = "root";

/// What a container finds there.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    /// Where the network namespace can be opened.
    pub(crate) netns: &'a str,
    /// The control group, from the root of every hierarchy.
    pub(crate) group: &'a str,
    /// Who is preferred under memory pressure of the host (`oom_score_adj`).
    pub(crate) oom_score: i32,
    /// How many files a process may open: by itself, and at most. `None` is no limit.
    pub(crate) open_files: (Option<u64>, Option<u64>),
    /// How large its stack may become, in bytes, in the same way.
    pub(crate) stack: (Option<u64>, Option<u64>),
    /// The same of the size of a core.
    pub(crate) core: (Option<u64>, Option<u64>),
}

/// The whole `config.json`.
pub(crate) fn config(launch: &Launch, identity: &Identity, place: &Place<'_>) -> Value {
    let masked = [&MASKED[..], &ROOTS].concat();
    json!({
        "ociVersion": VERSION,
        "process": process(launch, identity, place),
        "root": {"path": ROOT, "readonly": false},
        "hostname": launch.hostname,
        "mounts": mounts(launch.limits.memory_bytes),
        "linux": {
            "namespaces": [
                {"type": "pid"},
                {"type": "ipc"},
                {"type": "uts"},
                {"type": "mount"},
                {"type": "cgroup"},
                {"type": "network", "path": place.netns},
            ],
            "cgroupsPath": place.group,
            "resources": resources(launch.limits),
            "rootfsPropagation": "private",
            "maskedPaths": masked,
            "readonlyPaths": READ_ONLY,
            "seccomp": seccomp::profile(&seccomp::rules(Isolation::Namespaces)),
        },
    })
}

fn process(launch: &Launch, identity: &Identity, place: &Place<'_>) -> Value {
    let mut env: Vec<String> = launch.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    if !launch.env.iter().any(|(name, _)| name == "HOME") {
        env.push(format!("HOME={}", identity.home));
    }
    let bounding = names(capabilities::kept());
    let own = if identity.uid == 0 { bounding.clone() } else { Vec::new() };
    json!({
        "terminal": false,
        "user": {"uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups, "umask": 0o022},
        "args": launch.argv,
        "env": env,
        "cwd": launch.working_dir,
        "capabilities": {
            "bounding": bounding, "effective": own, "permitted": own, "inheritable": [], "ambient": [],
        },
        "rlimits": [
            rlimit("RLIMIT_NOFILE", place.open_files),
            rlimit("RLIMIT_STACK", place.stack),
            rlimit("RLIMIT_CORE", place.core),
        ],
        "noNewPrivileges": true,
        "oomScoreAdj": place.oom_score,
    })
}

fn rlimit(name: &str, (soft, hard): (Option<u64>, Option<u64>)) -> Value {
    json!({"type": name, "soft": soft.unwrap_or(u64::MAX), "hard": hard.unwrap_or(u64::MAX)})
}

fn names(set: CapabilitySet) -> Vec<String> {
    set.iter_names().map(|(name, _)| format!("CAP_{name}")).collect()
}

/// As in our own sandbox (`sandbox::mounts`), but that the device files are the runtime's to make.
fn mounts(memory_bytes: u64) -> Value {
    let closed = ["nosuid", "nodev", "noexec"];
    let mount = |target: &str, kind: &str, flags: &[&str], own: &[&str]| {
        let options: Vec<&str> = flags.iter().chain(own).copied().collect();
        json!({"destination": target, "type": kind, "source": kind, "options": options})
    };
    let device = ["nosuid", "noexec"];
    let shm = format!("size={memory_bytes}");
    let terminals = format!("max={TERMINALS}");
    json!([
        mount("/proc", "proc", &closed, &[]),
        mount("/dev", "tmpfs", &device, &["mode=755", "size=64k", "ro"]),
        mount("/dev/pts", "devpts", &device, &["newinstance", "ptmxmode=0666", "mode=0620", "gid=5", &terminals]),
        mount("/dev/shm", "tmpfs", &closed, &["mode=1777", &shm]),
        mount("/dev/mqueue", "mqueue", &closed, &[]),
        mount("/sys", "sysfs", &closed, &["ro"]),
        mount("/sys/fs/cgroup", "cgroup", &closed, &["ro"]),
    ])
}

/// They are set on the control group before, too: a runtime that sets them again sets the same.
fn resources(limits: Limits) -> Value {
    let mut devices = vec![json!({"allow": false, "access": "rwm"})];
    devices.extend(
        DEVICES.map(
            |(_, major, minor)| json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm"}),
        ),
    );
    let cpu = cgroups::cpu_of(limits);
    json!({
        "devices": devices,
        "memory": {"limit": limits.memory_bytes},
        "cpu": {"shares": cpu.shares, "quota": cpu.quota_us, "period": cpu.period_us},
        "pids": {"limit": limits.pids},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch() -> Launch {
        Launch {
            id: "i1".to_owned(),
            layers: Vec::new(),
            root: None,
            argv: vec!["/app".to_owned(), "x y".to_owned()],
            env: vec![("PORT".to_owned(), "8080".to_owned())],
            user: "app".to_owned(),
            working_dir: "/srv".to_owned(),
            hostname: "localhost".to_owned(),
            etc: Vec::new(),
            mounts: Vec::new(),
            limits: Limits { cpu_millis: 1500, memory_bytes: 1 << 29, pids: 100, ..Limits::default() },
        }
    }

    fn made(uid: u32) -> Value {
        let identity = Identity { uid, gid: 1001, groups: vec![44], home: "/home/app".to_owned() };
        let place = Place {
            netns: "/proc/7/fd/3",
            group: "/updraft-ab12cd/i1",
            oom_score: 500,
            open_files: (Some(25_000), Some(25_000)),
            core: (Some(1), Some(1)),
            stack: (Some(8 << 20), None),
        };
        config(&launch(), &identity, &place)
    }

    #[test]
    fn what_runs_and_as_whom() {
        let process = &made(1000)["process"];
        assert_eq!(process["args"], json!(["/app", "x y"]));
        assert_eq!(process["env"], json!(["PORT=8080", "HOME=/home/app"]));
        assert_eq!(process["user"], json!({"uid": 1000, "gid": 1001, "additionalGids": [44], "umask": 18}));
        assert_eq!(process["noNewPrivileges"], json!(true));
        assert_eq!(process["rlimits"][0], json!({"type": "RLIMIT_NOFILE", "soft": 25_000, "hard": 25_000}));
        assert_eq!(process["rlimits"][1]["hard"], json!(u64::MAX));
        assert_eq!(process["rlimits"][2], json!({"type": "RLIMIT_CORE", "soft": 1, "hard": 1}));
    }

    #[test]
    fn only_root_has_capabilities_and_only_those_of_our_own_sandbox() {
        let (root, user) = (&made(0)["process"]["capabilities"], &made(1000)["process"]["capabilities"]);
        let kept = root["bounding"].as_array().expect("a list");
        assert_eq!(kept.len(), capabilities::kept().bits().count_ones() as usize);
        assert!(kept.contains(&json!("CAP_NET_BIND_SERVICE")) && !kept.contains(&json!("CAP_NET_RAW")), "{kept:?}");
        assert_eq!(root["effective"], root["bounding"]);
        for set in ["effective", "permitted", "inheritable", "ambient"] {
            assert_eq!(user[set], json!([]), "{set}");
        }
        assert_eq!(user["bounding"], root["bounding"]);
    }

    #[test]
    fn the_network_and_the_control_group_are_ours_and_the_rest_is_new() {
        let linux = &made(0)["linux"];
        let namespaces = linux["namespaces"].as_array().expect("a list");
        assert!(namespaces.contains(&json!({"type": "network", "path": "/proc/7/fd/3"})));
        assert_eq!(namespaces.iter().filter(|one| one.get("path").is_none()).count(), 5);
        assert_eq!(linux["cgroupsPath"], json!("/updraft-ab12cd/i1"));
        assert_eq!(linux["resources"]["memory"]["limit"], json!(1 << 29));
        assert_eq!(linux["resources"]["cpu"], json!({"shares": 1536, "quota": 150_000, "period": 100_000}));
        assert_eq!(linux["resources"]["pids"]["limit"], json!(100));
        assert_eq!(linux["maskedPaths"].as_array().map(Vec::len), Some(MASKED.len() + ROOTS.len()));
    }

    #[test]
    fn nothing_is_mounted_that_may_hold_devices_but_dev_and_nothing_may_give_rights() {
        for mount in made(0)["mounts"].as_array().expect("a list") {
            let has = |option: &str| mount["options"].as_array().expect("a list").contains(&json!(option));
            let devices = mount["destination"] == "/dev" || mount["destination"] == "/dev/pts";
            assert!(has("nosuid") && has("noexec") && has("nodev") != devices, "{mount}");
        }
    }
}
