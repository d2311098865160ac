//! A container as Docker makes it by default, run by runc: its capabilities, its system call filter, what it masks and
//! makes read-only, its namespaces, and a root of Debian's libraries on an overlay.
//!
//! Source: Docker Engine 27, `docs.docker.com/engine/security/seccomp` and `oci/defaults.go`, `profiles/seccomp` of
//! moby as facts: names and numbers.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::host::{UPDRAFT, run};

/// A bundle for runc, removed in the end with all that was made for it.
pub(super) struct Docker {
    dir: TempDir,
    name: String,
}

const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];
const MASKED: [&str; 13] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/sys/devices/system/cpu/cpu0/thermal_throttle",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];
/// `CLONE_NEW*`: a clone with any of them is refused to who lacks CAP_SYS_ADMIN.
const NAMESPACES: u64 = 0x7e02_0000;
/// The address families that a socket may not have are those of no use here; `AF_VSOCK` stands for them.
const AF_VSOCK: u64 = 40;

// === impl Docker ===

impl Docker {
    /// A container whose process is `arguments`, with the binary under test as `/usr/bin/updraft`.
    pub(super) fn new(arguments: &[&str]) -> Self {
        let dir = TempDir::with_prefix("updraft-docker-").expect("a temporary directory");
        let name = dir.path().file_name().expect("a name").to_string_lossy().into_owned();
        let docker = Self { dir, name };
        for folder in ["lower", "upper", "work", "bundle/rootfs"] {
            fs::create_dir_all(docker.path(folder)).expect("writable");
        }
        furnish(&docker.path("lower"));
        let options = ["lower", "upper", "work"].map(|name| docker.path(name).display().to_string());
        let options = format!("lowerdir={},upperdir={},workdir={}", options[0], options[1], options[2]);
        let root = docker.path("bundle/rootfs");
        run(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(&root));
        let config = config(&docker.name, arguments);
        fs::write(docker.path("bundle/config.json"), config.to_string()).expect("writable");
        docker
    }

    /// Runs it to its end.
    pub(super) fn run(&self) -> Output {
        self.runc().output().expect("runc")
    }

    /// Starts it; its standard output is a pipe.
    pub(super) fn start(&self) -> Child {
        self.runc().stdout(Stdio::piped()).spawn().expect("runc")
    }

    /// Its root, as the host sees it.
    pub(super) fn root(&self) -> PathBuf {
        self.path("bundle/rootfs")
    }

    /// The host's numbers of its processes.
    pub(super) fn pids(&self) -> Vec<u32> {
        let listed = run(Command::new("runc")
            .arg("--root")
            .arg(self.path("state"))
            .args(["ps", "--format", "json", &self.name]));
        serde_json::from_str(&listed).expect("numbers")
    }

    /// The host's number of its first process.
    pub(super) fn first(&self) -> u32 {
        let state = run(Command::new("runc").arg("--root").arg(self.path("state")).args(["state", &self.name]));
        let state: Value = serde_json::from_str(&state).expect("JSON");
        state["pid"].as_u64().and_then(|pid| pid.try_into().ok()).expect("a number")
    }

    /// Runs another program in it.
    pub(super) fn exec(&self, arguments: &[&str]) -> Output {
        let mut exec = Command::new("runc");
        exec.arg("--root").arg(self.path("state")).arg("exec").arg(&self.name).args(arguments);
        exec.stdin(Stdio::null()).output().expect("runc")
    }

    fn runc(&self) -> Command {
        let mut runc = Command::new("runc");
        runc.arg("--root").arg(self.path("state")).arg("run").arg("--bundle").arg(self.path("bundle")).arg(&self.name);
        runc.stdin(Stdio::null());
        runc
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        let mut delete = Command::new("runc");
        delete.arg("--root").arg(self.path("state")).args(["delete", "--force", &self.name]);
        let _ = delete.stdin(Stdio::null()).stderr(Stdio::null()).status();
        let _ = Command::new("umount").arg("--lazy").arg(self.path("bundle/rootfs")).status();
    }
}

/// Debian's libraries, busybox, and the binary.
fn furnish(root: &Path) {
    let place = |file: &Path| {
        let target = root.join(file.strip_prefix("/").expect("absolute"));
        fs::create_dir_all(target.parent().expect("below the root")).expect("writable");
        fs::copy(file, target).expect("readable");
    };
    for folder in ["proc", "sys", "dev", "tmp", "etc", "root", "usr/bin", "bin", "var/lib"] {
        fs::create_dir_all(root.join(folder)).expect("writable");
    }
    for line in run(Command::new("ldd").arg(UPDRAFT)).lines() {
        // `name => /path (address)`, or `/path (address)` for the dynamic linker.
        if let Some(path) = line.split_whitespace().find(|word| word.starts_with('/')) {
            place(Path::new(path));
        }
    }
    fs::copy(UPDRAFT, root.join("usr/bin/updraft")).expect("readable");
    fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is installed");
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").expect("writable");
    fs::write(root.join("etc/resolv.conf"), "nameserver 192.0.2.53\n").expect("writable");
    fs::write(root.join("etc/hosts"), "127.0.0.1\tlocalhost\n").expect("writable");
}

fn config(name: &str, arguments: &[&str]) -> Value {
    let sets: serde_json::Map<String, Value> =
        ["bounding", "effective", "permitted"].map(|set| (set.to_owned(), json!(CAPABILITIES))).into_iter().collect();
    let mount = |target: &str, kind: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": kind, "options": options});
    let namespaces = ["mount", "network", "uts", "pid", "ipc", "cgroup"].map(|kind| json!({"type": kind}));
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": arguments,
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TMPDIR=/tmp"],
            "cwd": "/",
            "capabilities": sets,
            "noNewPrivileges": false,
        },
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "docker",
        "mounts": [
            mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount("/dev/pts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/sys/fs/cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
            mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]),
        ],
        "linux": {
            "cgroupsPath": format!("/{name}"),
            "namespaces": namespaces,
            "resources": {"devices": devices()},
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
            "seccomp": seccomp(),
        },
    })
}

/// Any device may be made, and the harmless ones be used.
fn devices() -> Value {
    let harmless = [(1, 5), (1, 3), (1, 9), (1, 8), (5, 0), (5, 1)]
        .map(|(major, minor)| json!({"allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm"}));
    let mut rules = vec![
        json!({"allow": false, "access": "rwm"}),
        json!({"allow": true, "type": "c", "access": "m"}),
        json!({"allow": true, "type": "b", "access": "m"}),
    ];
    rules.extend(harmless);
    json!(rules)
}

fn seccomp() -> Value {
    let allowed: Vec<&str> = include_str!("docker_syscalls.txt").split_whitespace().collect();
    let personalities = [0u64, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];
    let mut calls = vec![
        json!({"names": allowed, "action": "SCMP_ACT_ALLOW"}),
        json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": AF_VSOCK, "op": "SCMP_CMP_NE"}]}),
        json!({"names": ["clone"], "action": "SCMP_ACT_ALLOW",
               "args": [{"index": 0, "value": NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}),
        json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}),
    ];
    calls.extend(personalities.map(|value| {
        json!({"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"}]})
    }));
    json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": ["SCMP_ARCH_X86_64"], "syscalls": calls})
}
