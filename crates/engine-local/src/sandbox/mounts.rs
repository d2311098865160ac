//! The file system of a sandbox, as a list of steps.
//!
//! All of it lives in the container's own mount namespace and dies with it. The writable layer is a
//! tmpfs of the container: its pages are charged to whoever writes them, so they count against the
//! instance's memory, and its size is the instance's memory limit.
//!
//! Most of it is the same for every container and is made before one is asked for ([`staging`]); what is the
//! container's own comes when it is ([`finishing`]).
//!
//! The directories and files that we provide are put into the upper layer *before* the overlay is
//! mounted: whatever an image has in their place (a symbolic link, a file) is covered rather than
//! followed, and nothing is copied up.

use std::{fmt, path::PathBuf};

use rustix::mount::MountFlags;

use crate::{protocol::Launch, sandbox::cgroups::Hierarchy};

/// One step. Paths are relative to the directory that was entered last, unless they are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Make a directory with this mode; one that is there is left alone.
    Directory(String, u32),
    /// Make a symbolic link: path, target.
    Link(String, PathBuf),
    /// Write a file: path, contents.
    File(String, String),
    /// Make a character device: path, major, minor.
    Device(String, u32, u32),
    /// Mount a file system.
    Mount {
        /// Its type.
        kind: &'static str,
        /// Where.
        target: String,
        /// How.
        flags: MountFlags,
        /// Its own options.
        options: String,
    },
    /// From now on a mount cannot be written to, though its file system can elsewhere.
    Seal(String, MountFlags),
    /// Make a directory the current one.
    Enter(String),
    /// Make the current directory the root and let go of the old one.
    Pivot,
    /// Say how large a tmpfs may become, in bytes: path, how it is mounted, size.
    Resize(String, MountFlags, u64),
    /// Put what is mounted somewhere elsewhere: from, to.
    Move(String, String),
    /// Hide a path, if it is there: a file becomes the device that is the second path, a directory empty.
    Mask(String, String),
    /// Make a path read-only, if it is there.
    ReadOnly(String),
}

/// What a container must not see (runc's list, and `/proc/interrupts` and the power and thermal
/// readings that tell neighbours apart).
pub(crate) const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/debug",
];

/// What a container must not write (runc's list).
pub(crate) const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The devices there are: path, major, minor. All of them harmless, all of them for everybody.
pub(crate) const DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

/// What there is for a root directory to be made of.
const PLACES: [&str; 8] = ["lower", "work", "root", "upper", "upper/dev", "upper/proc", "upper/sys", "upper/etc"];
/// Where what waits for its container is mounted, below the stage.
const MADE: &str = "made";
/// What waits there.
const PARTS: [&str; 3] = ["/proc", "/dev", "/sys"];

const WRITABLE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
const CLOSED: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// What is the same for every container, made before it is known. `stage` is an empty directory of the host that
/// serves as a mount point; nothing is ever written to it. What is mounted here waits below [`MADE`].
pub(crate) fn staging(stage: &str, hierarchies: &[Hierarchy]) -> Vec<Step> {
    let mut steps = vec![
        Step::Mount {
            kind: "tmpfs",
            target: stage.to_owned(),
            flags: WRITABLE,
            options: "mode=0755,size=1m".to_owned(),
        },
        Step::Enter(stage.to_owned()),
    ];
    steps.extend(PLACES.into_iter().chain([MADE]).map(|path| Step::Directory(path.to_owned(), 0o755)));
    steps.extend(PARTS.map(|part| Step::Directory(made(part), 0o755)));
    let pseudo = |kind, part| Step::Mount { kind, target: made(part), flags: CLOSED, options: String::new() };
    steps.push(pseudo("proc", "/proc"));
    steps.extend(dev());
    steps.extend([pseudo("sysfs", "/sys"), Step::Seal(made("/sys"), CLOSED)]);
    steps.extend(control_groups(hierarchies));
    steps.extend(MASKED.map(|path| Step::Mask(made(path), made("/dev/null"))));
    steps.extend(READ_ONLY.map(|path| Step::ReadOnly(made(path))));
    steps
}

/// The container's own: an overlay of its image's layers and the tmpfs, with what [`staging`] made, as the root.
pub(crate) fn finishing(launch: &Launch) -> Vec<Step> {
    let size = launch.limits.memory_bytes;
    let mut steps = vec![Step::Resize(".".to_owned(), WRITABLE, size), Step::Resize(made("/dev/shm"), CLOSED, size)];
    steps.extend(root(launch));
    steps.extend(PARTS.map(|part| Step::Move(made(part), format!("root{part}"))));
    steps.extend([Step::Enter("root".to_owned()), Step::Pivot, Step::Directory("/tmp".to_owned(), 0o1777)]);
    steps
}

/// The same for a runtime that does the rest: from nothing to a root directory at `stage`/root.
pub(crate) fn bare(stage: &str, launch: &Launch) -> Vec<Step> {
    let options = format!("mode=0755,size={}", launch.limits.memory_bytes);
    let mut steps = vec![
        Step::Mount { kind: "tmpfs", target: stage.to_owned(), flags: WRITABLE, options },
        Step::Enter(stage.to_owned()),
    ];
    steps.extend(PLACES.map(|path| Step::Directory(path.to_owned(), 0o755)));
    steps.extend(root(launch));
    steps.push(Step::Directory("root/tmp".to_owned(), 0o1777));
    steps
}

/// An overlay of the image's layers and of what is in the current directory, a tmpfs.
fn root(launch: &Launch) -> Vec<Step> {
    let file = |(name, text): &(String, String)| Step::File(format!("upper/etc/{name}"), text.clone());
    let mut steps: Vec<Step> = launch.etc.iter().map(file).collect();
    // The options of a mount must fit a page, and a comma or a colon in a path would end it: the
    // layers go by short links, the highest first as overlayfs wants them.
    steps.extend(
        launch.layers.iter().rev().enumerate().map(|(n, layer)| Step::Link(format!("lower/{n}"), layer.clone())),
    );
    if launch.layers.is_empty() {
        steps.push(Step::Directory("lower/0".to_owned(), 0o755));
    }
    let lower: Vec<String> = (0..launch.layers.len().max(1)).map(|n| format!("lower/{n}")).collect();
    steps.push(Step::Mount {
        kind: "overlay",
        target: "root".to_owned(),
        flags: WRITABLE,
        // What only overlayfs itself may have written must not be believed when it comes with an image.
        options: format!(
            "lowerdir={},upperdir=upper,workdir=work,redirect_dir=nofollow,metacopy=off,index=off",
            lower.join(":")
        ),
    });
    steps
}

/// Where a path of the container is while it waits for its container.
fn made(path: &str) -> String {
    format!("{MADE}{path}")
}

fn dev() -> Vec<Step> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let mount =
        |kind, path, flags, options: &str| Step::Mount { kind, target: made(path), flags, options: options.to_owned() };
    let mut steps = vec![mount("tmpfs", "/dev", flags, "mode=0755,size=64k")];
    steps.extend(DEVICES.map(|(path, major, minor)| Step::Device(made(path), major, minor)));
    let links = [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
    ];
    steps.extend(links.map(|(path, target)| Step::Link(made(path), PathBuf::from(target))));
    steps.extend(["/dev/pts", "/dev/shm", "/dev/mqueue"].map(|path| Step::Directory(made(path), 0o755)));
    steps.extend([
        mount("devpts", "/dev/pts", flags, "newinstance,ptmxmode=0666,mode=0620,gid=5"),
        mount("tmpfs", "/dev/shm", CLOSED, "mode=1777,size=64k"),
        mount("mqueue", "/dev/mqueue", CLOSED, ""),
        Step::Seal(made("/dev"), flags),
    ]);
    steps
}

/// The container's own control groups, to read: runtimes size their heaps and thread pools by them.
fn control_groups(hierarchies: &[Hierarchy]) -> Vec<Step> {
    let base = made("/sys/fs/cgroup");
    let mount = |kind, target: String, flags, options: String| Step::Mount { kind, target, flags, options };
    if let [Hierarchy { unified: true, .. }] = hierarchies {
        return vec![mount("cgroup2", base.clone(), CLOSED, String::new()), Step::Seal(base, CLOSED)];
    }
    let mut steps = vec![mount("tmpfs", base.clone(), CLOSED, "mode=0755,size=16k".to_owned())];
    for hierarchy in hierarchies {
        let target = format!("{base}/{}", hierarchy.name);
        steps.push(Step::Directory(target.clone(), 0o755));
        steps.push(mount("cgroup", target.clone(), CLOSED, hierarchy.controllers.join(",")));
        steps.push(Step::Seal(target, CLOSED));
    }
    steps.push(Step::Seal(base, CLOSED));
    steps
}

// === impl Step ===

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path, mode) => write!(f, "directory {path} {mode:04o}"),
            Self::Link(path, target) => write!(f, "link {path} -> {}", target.display()),
            Self::File(path, text) => write!(f, "file {path} ({} bytes)", text.len()),
            Self::Device(path, major, minor) => write!(f, "device {path} {major}:{minor}"),
            Self::Mount { kind, target, flags, options } => {
                write!(f, "mount {kind} {target} [{}] {options}", names(*flags))
            }
            Self::Seal(target, flags) => write!(f, "seal {target} [{}]", names(*flags)),
            Self::Enter(path) => write!(f, "enter {path}"),
            Self::Pivot => f.write_str("pivot"),
            Self::Resize(path, _, size) => write!(f, "resize {path} {size}"),
            Self::Move(from, to) => write!(f, "move {from} {to}"),
            Self::Mask(path, _) => write!(f, "mask {path}"),
            Self::ReadOnly(path) => write!(f, "read-only {path}"),
        }
    }
}

fn names(flags: MountFlags) -> String {
    flags.iter_names().map(|(name, _)| name.to_lowercase()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::cgroups::Limits;

    fn launch(layers: &[&str]) -> Launch {
        Launch {
            id: "i".to_owned(),
            layers: layers.iter().map(PathBuf::from).collect(),
            root: None,
            argv: vec!["/app".to_owned()],
            env: Vec::new(),
            user: String::new(),
            working_dir: "/".to_owned(),
            hostname: "localhost".to_owned(),
            etc: vec![("hosts".to_owned(), "127.0.0.1\tlocalhost\n".to_owned())],
            limits: Limits { cpu_millis: 1000, memory_bytes: 536_870_912, pids: 100 },
        }
    }

    fn text(steps: &[Step]) -> Vec<String> {
        steps.iter().map(Step::to_string).collect()
    }

    #[test]
    fn what_is_a_containers_own_as_text() {
        assert_eq!(
            text(&finishing(&launch(&["/store/base", "/store/a:b,c"]))),
            [
                "resize . 536870912",
                "resize made/dev/shm 536870912",
                "file upper/etc/hosts (20 bytes)",
                "link lower/0 -> /store/a:b,c",
                "link lower/1 -> /store/base",
                "mount overlay root [nodev,nosuid] lowerdir=lower/0:lower/1,upperdir=upper,workdir=work,redirect_dir=nofollow,metacopy=off,index=off",
                "move made/proc root/proc",
                "move made/dev root/dev",
                "move made/sys root/sys",
                "enter root",
                "pivot",
                "directory /tmp 1777",
            ]
        );
    }

    #[test]
    fn nothing_is_made_ahead_that_is_somebodys() {
        let steps = text(&staging("/run/stage", &[]));
        assert_eq!(steps[..2], ["mount tmpfs /run/stage [nodev,nosuid] mode=0755,size=1m", "enter /run/stage"]);
        assert!(!steps.iter().any(|step| step.starts_with("file ") || step.contains("overlay") || step == "pivot"));
    }

    #[test]
    fn the_options_of_the_overlay_fit_a_page_with_as_many_layers_as_docker_allows() {
        let long = format!("/{}", "x".repeat(200));
        let layers = vec![long.as_str(); 127];
        let steps = finishing(&launch(&layers));
        let longest = steps.iter().filter_map(|step| match step {
            Step::Mount { options, .. } => Some(options.len()),
            _ => None,
        });
        assert!(longest.max().is_some_and(|length| length < 4000));
    }

    #[test]
    fn an_image_without_layers_still_has_a_lower_directory() {
        assert!(text(&finishing(&launch(&[]))).contains(&"directory lower/0 0755".to_owned()));
    }

    #[test]
    fn everything_runc_hides_is_hidden() {
        let steps = text(&staging("/s", &[]));
        let runc_masks = "acpi asound kcore keys latency_stats timer_list timer_stats sched_debug scsi";
        for name in runc_masks.split(' ') {
            assert!(steps.contains(&format!("mask made/proc/{name}")), "{name}");
        }
        assert!(steps.contains(&"mask made/sys/firmware".to_owned()));
        for name in ["bus", "fs", "irq", "sys", "sysrq-trigger"] {
            assert!(steps.contains(&format!("read-only made/proc/{name}")), "{name}");
        }
    }

    #[test]
    fn only_dev_may_hold_devices_and_it_is_sealed_after_they_are_made() {
        let steps = [staging("/s", &[]), finishing(&launch(&["/l"]))].concat();
        for step in &steps {
            if let Step::Mount { kind, target, flags, .. } = step {
                let devices = target == "made/dev" || target == "made/dev/pts";
                assert_eq!(flags.contains(MountFlags::NODEV), !devices, "{kind} {target}");
                assert!(flags.contains(MountFlags::NOSUID), "{kind} {target}");
            }
        }
        let at = |wanted: &str| text(&steps).iter().position(|step| step.starts_with(wanted));
        assert!(at("device made/dev/tty") < at("seal made/dev"));
        assert!(at("seal made/dev").is_some());
    }
}
