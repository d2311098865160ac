//! Containers that an OCI runtime makes, from the command line to the first byte.

use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::{
    host::{Host, UPDRAFT, containers_run_here, have, said},
    images,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_served_by_containers_of_runc_which_outlive_a_kill_of_the_server() {
    if !containers_run_here() || !have("runc") {
        return;
    }
    let mut host = Host::start(&["--runtime", "runc"]);
    host.load(&images::witness("by-runc"));
    let image = ["--image", "localhost/by-runc:latest", "--allow-unauthenticated", "--quiet"];
    host.ok(&[&["deploy", "by-runc", "--egress", "private"], &image[..]].concat());
    let template = &host.describe("by-runc")["spec"]["template"];
    assert_eq!(template["metadata"]["annotations"]["updraft.dev/egress"], "private");
    let client = reqwest::Client::new();
    let name = host.host_of("by-runc", None);
    assert_eq!(host.get(&client, &name, "/").await, (200, "ok".to_owned()));
    let wrong = host.updraft(&[&["deploy", "wrong", "--command", "/no/such/program"], &image[..]].concat());
    assert!(wrong.code != 0 && wrong.stderr.contains("/no/such/program"), "{wrong:?}");
    let leaks = |host: &Host| {
        let mut doctor = Command::new(UPDRAFT);
        doctor.args(["doctor", "--leaks", "--data-dir"]).arg(host.data_dir());
        let said = said(doctor.stdin(Stdio::null()).output().expect("the binary starts"));
        assert_eq!(said.code, 0, "{}", said.stdout);
    };
    leaks(&host);

    let process = host.process(&client, &name).await;
    let dir = host.kill();
    host = Host::start_with(dir, &[], &[("UPDRAFT_RUNTIME", "runc".to_owned())]);
    leaks(&host);
    assert_eq!(host.process(&client, &name).await, process);
    assert_eq!(host.stop().0, 0);
}

#[test]
fn what_is_no_runtime_is_refused_before_anything_is_made_and_the_doctor_says_which_one_is_used() {
    if !containers_run_here() || !have("runc") {
        return;
    }
    let dir = TempDir::with_prefix("updraft-runtime-").expect("a temporary directory");
    let data = dir.path().join("data");
    for (flags, want) in [
        (&["--runtime", "/no/such/runtime"][..], "the OCI runtime cannot be used: there is no '/no/such/runtime'"),
        (&["--runtime", "no-such-runtime"], "there is no 'no-such-runtime' in PATH"),
        (&["--runtime", "/bin/ls"], "--version' does not answer as an OCI runtime does: it says 'ls"),
        (&["--runtime", "runc", "--isolation", "none"], "goes with isolation 'namespaces' only"),
    ] {
        let mut serve = Command::new(UPDRAFT);
        serve.args(["serve", "--listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0"]).args(flags);
        let said = said(serve.arg("--data-dir").arg(&data).stdin(Stdio::null()).output().expect("the binary starts"));
        assert_eq!(said.code, 2, "nobody should restart it: {said:?}");
        assert!(said.stderr.contains(want) && said.stderr.contains("hint: "), "{said:?}");
        assert!(!data.exists(), "nothing was made");
    }
    let row_of = |name: &str, flags: &[&str]| {
        let doctor = Command::new(UPDRAFT).arg("doctor").args(flags).stdin(Stdio::null()).output();
        let said = said(doctor.expect("the binary starts"));
        let is_row = |line: &&str| line.split_whitespace().nth(1) == Some(name);
        said.stdout.lines().find(is_row).expect("a row").to_owned()
    };
    let row = |flags: &[&str]| row_of("runtime", flags);
    assert!(row(&[]).starts_with("ok") && row(&[]).contains("Updraft's own sandbox"), "{}", row(&[]));
    let runc = row(&["--runtime", "runc"]);
    assert!(runc.starts_with("ok") && runc.contains("runc version "), "{runc}");
    let users = row_of("user", &["--runtime", "runc"]);
    assert!(users.starts_with("warn") && users.contains("none with an OCI runtime"), "{users}");
    assert!(row(&["--runtime", "/no/such"]).starts_with("FAIL"), "{}", row(&["--runtime", "/no/such"]));
}
