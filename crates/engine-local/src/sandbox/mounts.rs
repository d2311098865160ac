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

use std::path::PathBuf;

use rustix::mount::MountFlags;

use crate::{
    protocol::{Ahead, Launch},
    sandbox::{
        cgroups::{Hierarchy, Limits},
        step::{Blank, Step},
        users::Users,
    },
};

/// What a container must not see: runc's list, and the kernel's addresses, which only a setting of the host keeps from
/// it otherwise. (`/proc/interrupts`, in both, tells neighbours' work.)
pub(crate) const MASKED: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// What the kernel lets only the host's root read: its log, and what tells neighbours' work (pages and the kernel's
/// allocators of the whole machine). Where the container's root is not the host's, no mount is needed to keep it out,
/// unless somebody has opened it to all on this host (`chmod` on a file of `/proc` holds everywhere).
pub(crate) const ROOTS: [&str; 7] = [
    "/proc/kmsg",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/pagetypeinfo",
    "/proc/slabinfo",
    "/proc/vmallocinfo",
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

/// The group that owns terminals, everywhere.
const TTY: u32 = 5;
/// How many terminals an instance may open: all of a machine share a limit (4096 by default).
pub(crate) const TERMINALS: u32 = 256;

/// What there is for a root directory to be made of.
const PLACES: [&str; 8] = ["lower", "work", "root", "upper", "upper/dev", "upper/proc", "upper/sys", "upper/etc"];
/// Where what waits for its container is mounted, below the stage.
const MADE: &str = "made";
/// Where the processes of the sandbox are seen until then.
pub(crate) const STAGED_PROC: &str = "made/proc";
/// What waits there.
const PARTS: [&str; 3] = ["/proc", "/dev", "/sys"];
/// What hides things while the parts wait.
const BLANK: Blank = Blank { file: "made/dev/null", directory: "empty" };

const WRITABLE: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV);
pub(crate) const CLOSED: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
/// The mount, and not what others have mounted of the same file system.
const READABLE: MountFlags = CLOSED.union(MountFlags::RDONLY);

/// What is the same for every container, made before it is known. `stage` is an empty directory of the host that
/// serves as a mount point; nothing is ever written to it. What is mounted here waits below [`MADE`].
pub(crate) fn staging(stage: &str, hierarchies: &[Hierarchy], users: Users) -> Vec<Step> {
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
    let upper = PLACES.into_iter().filter(|path| path.starts_with("upper"));
    steps.extend(upper.flat_map(|path| give(path, users)));
    // Where a layer is shown: most images are flattened to one.
    if users != Users::Hosts {
        steps.push(Step::Directory("lower/0".to_owned(), 0o755));
    }
    steps.extend(PARTS.map(|part| Step::Directory(made(part), 0o755)));
    let pseudo = |kind, part, flags| Step::Mount { kind, target: made(part), flags, options: String::new() };
    steps.push(pseudo("proc", "/proc", CLOSED));
    steps.extend(dev(users));
    steps.push(pseudo("sysfs", "/sys", READABLE));
    steps.extend(control_groups(hierarchies));
    steps.push(Step::Directory(BLANK.directory.to_owned(), 0o555));
    steps.extend(MASKED.map(|path| Step::Mask(made(path), BLANK)));
    let hide = if users == Users::Hosts { Step::Mask } else { Step::Conceal };
    steps.extend(ROOTS.map(|path| hide(made(path), BLANK)));
    steps.extend(READ_ONLY.map(|path| Step::ReadOnly(made(path))));
    steps
}

/// What the container will probably want, after [`staging`].
pub(crate) fn anticipating(ahead: &Ahead, users: Users) -> Vec<Step> {
    let mut steps = ahead.limits.map(sizes).unwrap_or_default();
    steps.extend(files(ahead.etc.iter(), users));
    steps
}

/// The container's own: an overlay of its image's layers and the tmpfs, with what [`staging`] made, as the root. What
/// was done `ahead` is not done again.
pub(crate) fn finishing(launch: &Launch, users: Users, ahead: &Ahead) -> Vec<Step> {
    let is_sized = ahead.limits.is_some_and(|limits| limits.memory_bytes == launch.limits.memory_bytes);
    let mut steps = if is_sized { Vec::new() } else { sizes(launch.limits) };
    steps.extend(files(launch.etc.iter().filter(|one| !ahead.etc.contains(one)), users));
    // Of the guess nothing stays that the container does not want.
    let is_wanted = |(name, _): &&(String, String)| launch.etc.iter().any(|(wanted, _)| wanted == name);
    steps.extend(ahead.etc.iter().filter(|one| !is_wanted(one)).map(|(name, _)| Step::Remove(etc(name))));
    steps.extend(overlay(launch, users));
    steps.extend(PARTS.map(|part| Step::Move(made(part), format!("root{part}"))));
    steps.extend([Step::Enter("root".to_owned()), Step::Pivot]);
    steps
}

/// The same for a runtime that does the rest: from nothing to a root directory at `stage`/root, of the host's users.
pub(crate) fn bare(stage: &str, launch: &Launch) -> Vec<Step> {
    let options = format!("mode=0755,size={}", launch.limits.memory_bytes);
    let mut steps = vec![
        Step::Mount { kind: "tmpfs", target: stage.to_owned(), flags: WRITABLE, options },
        Step::Enter(stage.to_owned()),
    ];
    steps.extend(PLACES.map(|path| Step::Directory(path.to_owned(), 0o755)));
    steps.extend(files(launch.etc.iter(), Users::Hosts));
    steps.extend(overlay(launch, Users::Hosts));
    steps.push(Step::Directory("root/tmp".to_owned(), 0o1777));
    steps
}

/// An overlay of the image's layers and of what is in the current directory, a tmpfs.
fn overlay(launch: &Launch, users: Users) -> Vec<Step> {
    let mut steps = Vec::new();
    // The options of a mount must fit a page, and a comma or a colon in a path would end it: the
    // layers go by short names, the highest first as overlayfs wants them.
    for (n, layer) in launch.layers.iter().rev().enumerate() {
        let path = format!("lower/{n}");
        match users {
            Users::Hosts => steps.push(Step::Link(path, layer.clone())),
            // The first has been made ahead.
            Users::Mapped(_) if n == 0 => steps.push(Step::Show(path, layer.clone())),
            Users::Mapped(_) => {
                steps.extend([Step::Directory(path.clone(), 0o755), Step::Show(path, layer.clone())]);
            }
        }
    }
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

/// How much the file systems in memory may hold.
fn sizes(limits: Limits) -> Vec<Step> {
    let size = limits.memory_bytes;
    vec![Step::Resize(".".to_owned(), WRITABLE, size), Step::Resize(made("/dev/shm"), CLOSED, size)]
}

/// Files of `/etc`, which belong to the instance's root.
fn files<'a>(wanted: impl Iterator<Item = &'a (String, String)>, users: Users) -> Vec<Step> {
    let mut steps: Vec<Step> = wanted.map(|(name, text)| Step::File(etc(name), text.clone())).collect();
    if let (Users::Mapped(first), false) = (users, steps.is_empty()) {
        // Cheaper than to give them away one by one.
        steps.insert(0, Step::Author(first));
        steps.push(Step::Author(0));
    }
    steps
}

fn etc(name: &str) -> String {
    format!("upper/etc/{name}")
}

/// What every container has, made by its own root.
pub(crate) fn furnishing() -> Step {
    Step::Directory("/tmp".to_owned(), 0o1777)
}

/// Makes a path that we made the instance's root's.
fn give(path: &str, users: Users) -> Option<Step> {
    match users {
        Users::Hosts => None,
        Users::Mapped(first) => Some(Step::Give(path.to_owned(), first)),
    }
}

/// Where a path of the container is while it waits for its container.
fn made(path: &str) -> String {
    format!("{MADE}{path}")
}

fn dev(users: Users) -> Vec<Step> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let mount =
        |kind, path, flags, options: &str| Step::Mount { kind, target: made(path), flags, options: options.to_owned() };
    let mut steps = vec![mount("tmpfs", "/dev", flags, "mode=0755,size=64k")];
    steps.extend(give(&made("/dev"), users));
    for (path, major, minor) in DEVICES {
        steps.push(Step::Device(made(path), major, minor));
        steps.extend(give(&made(path), users));
    }
    let links = [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
    ];
    steps.extend(links.map(|(path, target)| Step::Link(made(path), PathBuf::from(target))));
    steps.extend(["/dev/pts", "/dev/shm", "/dev/mqueue"].map(|path| Step::Directory(made(path), 0o755)));
    let tty = users.of_host(TTY);
    steps.extend([
        mount("devpts", "/dev/pts", flags, &format!("newinstance,ptmxmode=0666,mode=0620,gid={tty},max={TERMINALS}")),
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
        return vec![mount("cgroup2", base, READABLE, String::new())];
    }
    let mut steps = vec![mount("tmpfs", base.clone(), CLOSED, "mode=0755,size=16k".to_owned())];
    for hierarchy in hierarchies {
        let target = format!("{base}/{}", hierarchy.name);
        steps.push(Step::Directory(target.clone(), 0o755));
        steps.push(mount("cgroup", target, READABLE, hierarchy.controllers.join(",")));
    }
    steps.push(Step::Seal(base, CLOSED));
    steps
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
            mounts: Vec::new(),
            limits: Limits { cpu_millis: 1000, memory_bytes: 536_870_912, pids: 100, ..Limits::default() },
        }
    }

    fn text(steps: &[Step]) -> Vec<String> {
        steps.iter().map(Step::to_string).collect()
    }

    #[test]
    fn what_is_a_containers_own_as_text() {
        assert_eq!(
            text(&finishing(&launch(&["/store/base", "/store/a:b,c"]), Users::Hosts, &Ahead::default())),
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
            ]
        );
    }

    #[test]
    fn what_is_made_is_given_to_the_instances_root_and_layers_are_shown_with_its_users() {
        let users = Users::Mapped(1_900_019_712);
        let steps = text(&finishing(&launch(&["/store/base", "/store/a:b,c"]), users, &Ahead::default()));
        assert_eq!(
            steps[2..8],
            [
                "author 1900019712",
                "file upper/etc/hosts (20 bytes)",
                "author 0",
                "show lower/0 <- /store/a:b,c",
                "directory lower/1 0755",
                "show lower/1 <- /store/base",
            ]
        );
        let steps = text(&staging("/s", &[], users));
        assert!(steps.contains(&"give upper 1900019712".to_owned()));
        assert!(
            steps.iter().any(|step| step.contains("gid=1900019717")),
            "terminals belong to the instance's tty group"
        );
    }

    #[test]
    fn what_was_guessed_right_is_not_done_again_and_of_a_wrong_guess_nothing_stays() {
        let wanted = launch(&["/l"]);
        let etc = |name: &str, text: &str| (name.to_owned(), text.to_owned());
        let right = Ahead { limits: Some(wanted.limits), etc: wanted.etc.clone() };
        let users = Users::Mapped(1000);
        assert_eq!(
            text(&anticipating(&right, users))[..],
            [
                "resize . 536870912",
                "resize made/dev/shm 536870912",
                "author 1000",
                "file upper/etc/hosts (20 bytes)",
                "author 0"
            ]
        );
        assert!(text(&finishing(&wanted, users, &right))[0].starts_with("show lower/0"));
        let other = Limits { memory_bytes: 1, ..wanted.limits };
        let wrong = Ahead { limits: Some(other), etc: vec![etc("hosts", "other"), etc("motd", "hello")] };
        let steps = text(&finishing(&wanted, users, &wrong));
        let expected =
            ["resize . 536870912", "resize made/dev/shm 536870912", "author 1000", "file upper/etc/hosts (20 bytes)"];
        assert_eq!(steps[..4], expected);
        assert!(steps.contains(&"remove upper/etc/motd".to_owned()));
    }

    #[test]
    fn nothing_is_made_ahead_that_is_somebodys() {
        let steps = text(&staging("/run/stage", &[], Users::Hosts));
        assert_eq!(steps[..2], ["mount tmpfs /run/stage [nodev,nosuid] mode=0755,size=1m", "enter /run/stage"]);
        assert!(!steps.iter().any(|step| step.starts_with("file ") || step.contains("overlay") || step == "pivot"));
    }

    #[test]
    fn the_options_of_the_overlay_fit_a_page_with_as_many_layers_as_docker_allows() {
        let long = format!("/{}", "x".repeat(200));
        let layers = vec![long.as_str(); 127];
        let steps = finishing(&launch(&layers), Users::Hosts, &Ahead::default());
        let longest = steps.iter().filter_map(|step| match step {
            Step::Mount { options, .. } => Some(options.len()),
            _ => None,
        });
        assert!(longest.max().is_some_and(|length| length < 4000));
    }

    #[test]
    fn an_image_without_layers_still_has_a_lower_directory() {
        assert!(
            text(&finishing(&launch(&[]), Users::Hosts, &Ahead::default()))
                .contains(&"directory lower/0 0755".to_owned())
        );
    }

    #[test]
    fn everything_runc_hides_is_hidden() {
        let steps = text(&staging("/s", &[], Users::Hosts));
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
    fn what_only_root_may_read_is_hidden_from_the_hosts_root_and_from_others_if_it_is_open() {
        for path in ROOTS {
            for (users, how) in [(Users::Hosts, "mask"), (Users::Mapped(1000), "conceal")] {
                let steps = text(&staging("/s", &[], users));
                assert!(steps.contains(&format!("{how} made{path}")), "{how} {path}");
            }
        }
    }

    #[test]
    fn only_dev_may_hold_devices_and_it_is_sealed_after_they_are_made() {
        let steps =
            [staging("/s", &[], Users::Hosts), finishing(&launch(&["/l"]), Users::Hosts, &Ahead::default())].concat();
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
