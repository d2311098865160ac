//! `updraft doctor --leaks` on a host where something was left.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use updraft_engine_local::tag_of;

use super::{
    host::{Host, UPDRAFT, containers_run_here, have, run},
    images,
};

/// What the doctor says: whether all is well, and kind and name of what was left.
fn diagnose(data_dir: &Path) -> (Option<i32>, BTreeSet<(String, String)>) {
    let mut doctor = Command::new(UPDRAFT);
    doctor.args(["doctor", "--leaks", "--format", "json", "--data-dir"]).arg(data_dir);
    let output = doctor.stdin(Stdio::null()).output().expect("the binary starts");
    let said: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    for finding in &said {
        assert!(!text(&finding["why"]).is_empty() && !text(&finding["hint"]).is_empty(), "{finding:#}");
    }
    (output.status.code(), said.iter().map(|finding| (text(&finding["kind"]), text(&finding["what"]))).collect())
}

/// What a test leaves on the host on purpose, taken away at its end.
struct Litter {
    group: String,
    namespace: String,
}

impl Litter {
    /// A control group without a process, and a cable to a network namespace that no server has.
    fn leave(tag: &str) -> Self {
        let group = format!("/sys/fs/cgroup/pids/updraft-{tag}/ghost");
        fs::create_dir(&group).expect("version 1, as in the other tests of this host");
        let namespace = format!("updraft-it-leaks-{}", std::process::id());
        let ip = |arguments: &str| {
            run(Command::new("ip").args(arguments.split(' ')));
        };
        ip(&format!("netns add {namespace}"));
        ip(&format!("link add ud{tag}-ghost type veth peer name eth0 netns {namespace}"));
        Self { group, namespace }
    }
}

impl Drop for Litter {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.group);
        let _ = Command::new("ip").args(["netns", "delete", &self.namespace]).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_is_found_and_what_lives_is_not() {
    if !containers_run_here() || !have("ip") {
        return;
    }
    let host = Host::start(&[]);
    let data = host.data_dir();
    host.load(&images::witness("leaky"));
    host.ok(&["deploy", "leaky", "--image", "localhost/leaky:latest", "--allow-unauthenticated", "--quiet"]);
    let name = host.host_of("leaky", None);
    let client = reqwest::Client::new();
    assert_eq!(host.get(&client, &name, "/").await.0, 200);
    assert_eq!(diagnose(&data), (Some(0), BTreeSet::new()), "an instance lives, and nothing is left");

    let tag = tag_of(&fs::canonicalize(&data).expect("there"));
    let files = ["upload-ghost.tar", "images/layers/.new-ghost", "logs/demo-project/us-central1/ghost"];
    fs::write(data.join(files[0]), "x").expect("writable");
    fs::create_dir(data.join(files[1])).expect("writable");
    fs::create_dir_all(data.join(files[2])).expect("writable");
    let has_groups = Path::new("/sys/fs/cgroup/pids").is_dir();
    if has_groups {
        let litter = Litter::leave(&tag);
        let mut expected: BTreeSet<(String, String)> =
            files.iter().map(|file| ("file".to_owned(), data.join(file).display().to_string())).collect();
        expected.insert(("control group".to_owned(), litter.group.clone()));
        expected.insert(("link".to_owned(), format!("ud{tag}-ghost")));
        assert_eq!(diagnose(&data), (Some(1), expected), "beside a living server only what is nobody's");
    }

    // Both die at once: nobody cleans up.
    let noted = fs::read_to_string(data.join("run/launcher.lock")).expect("it is noted");
    let launcher = Pid::from_raw(noted.trim().parse().expect("a number")).expect("a process");
    kill_process(launcher, Signal::STOP).expect("it lives");
    let dir = host.kill();
    kill_process(launcher, Signal::KILL).expect("it is stopped");
    let (code, found) = diagnose(&data);
    let kinds: BTreeSet<&str> = found.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(code, Some(1));
    assert!(["control group", "file", "link", "nftables table"].iter().all(|kind| kinds.contains(kind)), "{found:?}");
    let run_dir = ("file".to_owned(), data.join("run").display().to_string());
    assert!(
        found.contains(&run_dir) && found.contains(&("nftables table".to_owned(), format!("updraft-{tag}"))),
        "{found:?}"
    );

    let host = Host::start_in(dir, &[]);
    assert_eq!(diagnose(&data), (Some(0), BTreeSet::new()), "the next start removed all of it");
    assert_eq!(host.get(&client, &name, "/").await.0, 200);
    let (code, _dir) = host.stop();
    assert_eq!((code, diagnose(&data)), (0, (Some(0), BTreeSet::new())));
}
