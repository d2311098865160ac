//! What this host offers to containers, and what to do about what it lacks (`updraft doctor`).

pub(crate) mod trial;

pub use trial::isolations;

use std::{fs, path::Path};

use crate::{
    net,
    sandbox::{cgroups::Layout, isolation::Isolation, process::OPEN_FILES},
    sys,
};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was seen, in a sentence without an end.
    pub detail: String,
    /// What to do, when it is not as it should be.
    pub hint: Option<String>,
}

/// An isolation, and whether this host allows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Possible {
    /// Which.
    pub isolation: Isolation,
    /// What is in the way, if something is: a sentence without an end.
    pub outcome: Result<(), String>,
}

/// How good a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Containers run, and something is missing.
    Warn,
    /// Containers do not run, or only with a weaker isolation.
    Fail,
}

const GIB: u64 = 1 << 30;

/// Whether instances can have users of their own, with images in `dir`. What has to be made for trying is made there
/// and removed. Blocks for some milliseconds.
pub fn identities(dir: &Path) -> Finding {
    const NAME: &str = "user namespaces";
    match trial::identities(dir, dir) {
        Ok(()) => {
            Finding::ok(NAME, format!("root of an instance is nobody on the host (tried in '{}')", dir.display()))
        }
        Err(cause) => {
            let hint = "none needed; Linux 6.3 and a data directory on ext4, XFS, btrfs or tmpfs keep an instance's root \
                        from being the host's";
            Finding::bad(NAME, Verdict::Warn, cause, hint)
        }
    }
}

/// Looks at the host. Changes nothing on it; what has to be tried out is tried out in namespaces that
/// are thrown away. Blocks for some milliseconds.
pub fn survey() -> Vec<Finding> {
    let mut findings = vec![root(), kernel(), namespaces(), overlay(), seccomp(), landlock(), memory(), open_files()];
    findings.extend(control_groups());
    findings.extend(net::survey().into_iter().map(|(name, fine, detail, hint)| {
        let verdict = if fine { Verdict::Ok } else { Verdict::Fail };
        Finding { name, verdict, detail, hint: (!fine && !hint.is_empty()).then_some(hint) }
    }));
    findings
}

// === impl Finding ===

impl Finding {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, detail: detail.into(), hint: None }
    }

    fn bad(name: &'static str, verdict: Verdict, detail: impl Into<String>, hint: &str) -> Self {
        Self { name, verdict, detail: detail.into(), hint: Some(hint.to_owned()) }
    }
}

fn root() -> Finding {
    if rustix::process::geteuid().is_root() {
        return Finding::ok("root", "running as root");
    }
    Finding::bad(
        "root",
        Verdict::Fail,
        "not running as root",
        "run the server as root: namespaces, mounts and control groups need it",
    )
}

fn kernel() -> Finding {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    if !cfg!(target_arch = "x86_64") {
        return Finding::bad(
            "kernel",
            Verdict::Fail,
            "not an x86_64 machine",
            "use an x86_64 machine: the system call filter is written for it",
        );
    }
    // clone3 with a control group came with 5.7, close_range with 5.9, mount_setattr with 5.12.
    if version(&release) < (5, 12) {
        return Finding::bad("kernel", Verdict::Fail, format!("Linux {release}"), "use Linux 5.12 or newer");
    }
    Finding::ok("kernel", format!("Linux {release}"))
}

fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn namespaces() -> Finding {
    let missing: Vec<&str> = ["pid", "mnt", "net", "ipc", "uts", "cgroup"]
        .into_iter()
        .filter(|kind| fs::symlink_metadata(format!("/proc/self/ns/{kind}")).is_err())
        .collect();
    if missing.is_empty() {
        return Finding::ok("namespaces", "PID, mount, network, IPC, UTS and cgroup namespaces");
    }
    let detail = format!("missing: {}", missing.join(", "));
    Finding::bad("namespaces", Verdict::Fail, detail, "use a kernel that is built with all kinds of namespaces")
}

fn overlay() -> Finding {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let has = |name: &str| known.lines().any(|line| line.split_whitespace().last() == Some(name));
    if has("overlay") {
        return Finding::ok("overlayfs", "image layers can be stacked");
    }
    Finding::bad(
        "overlayfs",
        Verdict::Fail,
        "the kernel does not know it",
        "load the kernel module 'overlay' (modprobe overlay)",
    )
}

fn seccomp() -> Finding {
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    if actions.contains("errno") && actions.contains("kill_process") {
        return Finding::ok("seccomp", "system calls can be filtered");
    }
    Finding::bad(
        "seccomp",
        Verdict::Fail,
        "the kernel cannot filter system calls",
        "use a kernel built with CONFIG_SECCOMP_FILTER",
    )
}

fn memory() -> Finding {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse::<u64>().ok());
    let Some(available) = available.map(|kib| kib << 10) else {
        return Finding::bad("memory", Verdict::Warn, "/proc/meminfo cannot be read", "mount /proc");
    };
    let detail = format!("{:.1} GiB available", available as f64 / GIB as f64);
    if available < GIB {
        return Finding::bad(
            "memory",
            Verdict::Warn,
            detail,
            "an instance may use 512 MiB by default: free some, or set smaller limits",
        );
    }
    Finding::ok("memory", detail)
}

fn open_files() -> Finding {
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let may_raise = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::SYS_RESOURCE));
    match most.filter(|&most| most < OPEN_FILES && !may_raise) {
        None => Finding::ok("open files", format!("a process of an instance may open {OPEN_FILES}")),
        Some(most) => {
            let detail = format!("a process of an instance may open {most} files, not {OPEN_FILES}");
            Finding::bad("open files", Verdict::Warn, detail, "raise the server's hard limit (ulimit -Hn 25000)")
        }
    }
}

/// Of use to isolation `chroot` alone.
fn landlock() -> Finding {
    const NAME: &str = "landlock";
    match sys::landlock::version() {
        0 => {
            let detail =
                "not there: under isolation 'chroot' instances that work together can leave their root directory";
            let hint = "none needed with 'namespaces'; else a kernel with landlock in /sys/kernel/security/lsm";
            Finding::bad(NAME, Verdict::Warn, detail, hint)
        }
        version @ ..6 => {
            let detail = format!(
                "version {version}: under isolation 'chroot' instances that work together can change owner and mode of files outside"
            );
            Finding::bad(NAME, Verdict::Warn, detail, "none needed with 'namespaces'; else Linux 6.12 or later")
        }
        version => Finding::ok(
            NAME,
            format!("version {version}: also under isolation 'chroot' the host's files are out of reach"),
        ),
    }
}

fn control_groups() -> Vec<Finding> {
    const NAME: &str = "control groups";
    const HINT: &str = "mount the controllers cpu, memory, pids, devices and cpuacct or the unified hierarchy (version 1), or the unified hierarchy with cpu, memory and pids (version 2)";
    let layout = match sys::cgroups::layout() {
        Ok(layout) => layout,
        Err(error) => return vec![Finding::bad(NAME, Verdict::Fail, error.to_string(), HINT)],
    };
    if !layout.missing.is_empty() || layout.hierarchies.is_empty() {
        let detail = if layout.hierarchies.is_empty() {
            "no hierarchy is mounted".to_owned()
        } else {
            format!("version {}, missing: {}", layout.version(), layout.missing.join(", "))
        };
        return vec![Finding::bad(NAME, Verdict::Fail, detail, HINT)];
    }
    let mut findings = vec![if layout.version() == 1 {
        Finding::ok(NAME, "version 1 with cpu, memory, pids and devices")
    } else {
        Finding::bad(
            NAME,
            Verdict::Warn,
            "version 2 with cpu, memory and pids",
            "none needed; support for version 2 has not been verified on a real host yet",
        )
    }];
    findings.push(freezer(&layout));
    findings.extend(swap(&layout));
    findings
}

fn freezer(layout: &Layout) -> Finding {
    const NAME: &str = "freezer";
    match layout.freezer() {
        Some(one) => Finding::ok(NAME, format!("idle instances are frozen through '{}'", one.mount.display())),
        None => Finding::bad(
            NAME,
            Verdict::Warn,
            "none: idle instances keep their CPU",
            "mount the unified hierarchy, or the controller freezer of version 1",
        ),
    }
}

/// Without accounting of swap a limit of memory is one of resident memory only.
fn swap(layout: &Layout) -> Option<Finding> {
    let has_swap = fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1);
    let memory = layout.hierarchies.iter().find(|one| one.controllers.iter().any(|name| name == "memory"))?;
    let counted = memory.unified || memory.mount.join("memory.memsw.limit_in_bytes").exists();
    (has_swap && !counted).then(|| {
        let hint = "boot with swapaccount=1, or turn swap off (swapoff -a)";
        Finding::bad("swap", Verdict::Warn, "swap is on and not counted against the limits of instances", hint)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_compare_as_numbers() {
        assert_eq!(version("6.18.44-fc-v657"), (6, 18));
        assert!(version("5.4.0") < (5, 11));
        assert_eq!(version("odd"), (0, 0));
    }

    #[test]
    fn every_shortcoming_comes_with_advice() {
        for finding in survey() {
            assert_eq!(finding.hint.is_some(), finding.verdict != Verdict::Ok, "{finding:?}");
            assert!(!finding.detail.is_empty(), "{finding:?}");
        }
    }
}
