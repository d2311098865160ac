//! The same root file system and the same program under runc, as Docker, Podman and Buildah have it run: `runc spec`
//! with their usual capabilities and the system call filter that Debian ships for them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use serde_json::{Value, json};

use crate::image::Image;

/// Runs containers out of a directory.
pub(crate) struct Runc {
    dir: tempfile::TempDir,
}

/// Docker's default.
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
/// Of golang-github-containers-common, which buildah depends on.
const FILTER: &str = "/usr/share/containers/seccomp.json";

// === impl Runc ===

impl Runc {
    /// `None` where it is not installed, after saying so.
    pub(crate) fn find() -> Option<Self> {
        let version = Command::new("runc").arg("--version").stdout(Stdio::null()).status();
        if !version.is_ok_and(|status| status.success()) {
            crate::bed::skipped("nothing is compared, since runc is not installed");
            return None;
        }
        Some(Self { dir: tempfile::tempdir().expect("a place for the test") })
    }

    /// What `args` print in a container of this image with 64 MiB and 24 processes.
    pub(crate) fn run(&self, image: &Image, args: &[&str], env: &[(String, String)]) -> Vec<String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("updraft-escapes-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let bundle = self.dir.path().join(&id);
        let root = bundle.join("rootfs");
        fs::create_dir_all(&root).expect("a directory of the test");
        fs::create_dir_all(root.join("tmp")).expect("a directory of the test");
        image.unpack(&root);
        let made = self.command(&["spec", "--bundle"]).arg(&bundle).status();
        assert!(made.expect("it is there").success(), "runc spec");
        configure(&bundle.join("config.json"), &id, args, env);
        let output = self.command(&["run", "--bundle"]).arg(&bundle).arg(&id).output().expect("it is there");
        // It removes it itself; not if it was interrupted.
        let _ = self.command(&["delete", "--force", &id]).stderr(Stdio::null()).status();
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!out.is_empty(), "runc: {}", String::from_utf8_lossy(&output.stderr));
        out.lines().map(str::to_owned).collect()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("runc");
        command.arg("--root").arg(self.state()).args(args).stdin(Stdio::null());
        command
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }
}

fn configure(file: &Path, id: &str, args: &[&str], env: &[(String, String)]) {
    let text = fs::read_to_string(file).expect("just made");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    let process = &mut config["process"];
    process["terminal"] = json!(false);
    process["args"] = json!([&["/escape"], args].concat());
    process["env"] = env.iter().map(|(name, value)| json!(format!("{name}={value}"))).collect();
    for set in ["bounding", "effective", "permitted"] {
        process["capabilities"][set] = json!(CAPABILITIES);
    }
    config["root"]["readonly"] = json!(false);
    // As engines mount a volume in memory: a file system for itself, with no more flags than asked for.
    let volume = json!({
        "destination": "/volume", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777", "size=8m"],
    });
    config["mounts"].as_array_mut().expect("runc spec makes some").push(volume);
    let linux = &mut config["linux"];
    linux["cgroupsPath"] = json!(format!("/{id}"));
    linux["resources"]["memory"] = json!({"limit": 64 << 20});
    linux["resources"]["pids"] = json!({"limit": 24});
    if let Ok(text) = fs::read_to_string(FILTER) {
        linux["seccomp"] = filter(&serde_json::from_str(&text).expect("JSON"));
    }
    fs::write(file, config.to_string()).expect("a directory of the test");
}

/// The engines' format of a filter, with conditions, as runc's, which has none.
fn filter(profile: &Value) -> Value {
    let holds = |condition: &Value| {
        let named = |key: &str, ours: &[&str]| {
            let list = condition[key].as_array();
            list.map(|list| list.iter().any(|one| one.as_str().is_some_and(|one| ours.contains(&one))))
        };
        [named("caps", &CAPABILITIES), named("arches", &["amd64", "x32", "x86"])]
    };
    let rules: Vec<&Value> = profile["syscalls"].as_array().into_iter().flatten().collect();
    let taken = rules.into_iter().filter(|rule| {
        holds(&rule["includes"]).iter().all(|one| one.unwrap_or(true))
            && !holds(&rule["excludes"]).iter().any(|one| one.unwrap_or(false))
    });
    let plain = taken.map(|rule| {
        let mut plain = json!({"names": rule["names"], "action": rule["action"]});
        for key in ["args", "errnoRet"] {
            let worth = rule[key].as_array().is_none_or(|list| !list.is_empty()) && !rule[key].is_null();
            if worth {
                plain[key] = rule[key].clone();
            }
        }
        plain
    });
    json!({
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": plain.collect::<Vec<_>>(),
    })
}
