//! Hosts that forbid namespaces, and the isolations that do without.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt, chown},
    process::{Command, Output, Stdio},
};

use futures::future::join_all;
use tempfile::TempDir;

use super::{
    docker::Docker,
    host::{Host, PATIENCE, UPDRAFT, containers_run_here, eventually, have},
    images,
};

const NOBODY: u32 = 65_534;
const INSTANCES: &str = "updraft_instances{";

/// Root, without what namespaces and mounts need.
const WITHOUT_ADMIN: [&str; 4] = ["setpriv", "--bounding-set", "-sys_admin", "--"];

/// Runs the server without it.
fn without_admin() -> Command {
    let [program, arguments @ ..] = WITHOUT_ADMIN;
    let mut command = Command::new(program);
    command.args(arguments).arg(UPDRAFT);
    command
}

fn text(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Is what quickstart said the whole tour, in this isolation, and the warning that cannot be missed?
fn assert_toured(output: &Output, isolation: &str, cause: &str) {
    let (out, err) = text(output);
    assert!(output.status.success(), "{out}\n{err}");
    assert!(out.contains("From zero: \"Hello from hello-00001-"), "{out}\n{err}");
    assert!(out.contains("Stopped; containers, network and data are removed."), "{out}");
    let made_of = if isolation == "none" { "copy of the image, limits" } else { "copy of the image, root, limits" };
    assert!(out.contains(made_of), "the table is of this isolation: {out}");
    assert!(err.contains("WARNING: this host does not allow namespaces."), "{err}");
    assert!(err.contains(&format!("Isolation is '{isolation}' instead.")), "{err}");
    assert!(err.contains(cause) && err.contains("docs/isolation.md"), "{err}");
    assert!(err.lines().filter(|line| *line == "=".repeat(78)).count() == 2, "a block of its own: {err}");
}

/// A port that nobody has, for images that insist on one.
fn free_port() -> u16 {
    TcpListener::bind("0.0.0.0:0").and_then(|socket| socket.local_addr()).expect("a free port").port()
}

fn deploy(host: &Host, service: &str, image: &str, flags: &[&str]) -> super::host::Said {
    let image = format!("localhost/{image}:latest");
    host.updraft(&[&["deploy", service, "--image", &image, "--allow-unauthenticated", "--quiet"], flags].concat())
}

fn deployed(host: &Host, service: &str, image: &str, flags: &[&str]) -> String {
    let said = deploy(host, service, image, flags);
    assert_eq!(said.code, 0, "{said:?}");
    host.host_of(service, None)
}

#[test]
fn quickstart_works_as_root_without_sys_admin() {
    if !containers_run_here() || !have("setpriv") {
        return;
    }
    let dir = TempDir::with_prefix("updraft-quick-").expect("a temporary directory");
    let data = dir.path().join("data");
    let mut tour = without_admin();
    tour.args(["quickstart", "--once", "--data-dir"]).arg(&data).stdin(Stdio::null());
    let output = tour.output().expect("setpriv");
    assert_toured(&output, "chroot", "CAP_SYS_ADMIN");
    assert!(!data.exists(), "its data is removed");
}

#[test]
fn quickstart_works_in_a_plain_docker_container() {
    if !containers_run_here() || !have("runc") {
        return;
    }
    let docker = Docker::new(&["/usr/bin/updraft", "quickstart", "--once"]);
    assert_toured(&docker.run(), "chroot", "CAP_SYS_ADMIN");
}

#[test]
fn quickstart_works_without_root_because_its_program_is_static() {
    if !containers_run_here() || !have("setpriv") {
        return;
    }
    let dir = TempDir::with_prefix("updraft-quick-").expect("a temporary directory");
    let (home, program) = (dir.path().join("home"), dir.path().join("updraft"));
    fs::create_dir(&home).expect("writable");
    fs::copy(UPDRAFT, &program).expect("readable");
    fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("ours");
    chown(&home, Some(NOBODY), Some(NOBODY)).expect("root");
    let mut tour = Command::new("setpriv");
    tour.args([
        "--reuid",
        &NOBODY.to_string(),
        "--regid",
        &NOBODY.to_string(),
        "--clear-groups",
        "--inh-caps",
        "-all",
        "--",
    ]);
    tour.arg(&program).args(["quickstart", "--once", "--data-dir"]).arg(home.join("data"));
    let output = tour.env("HOME", &home).current_dir("/").stdin(Stdio::null()).output().expect("setpriv");
    assert_toured(&output, "none", "it needs root");
}

#[test]
fn serving_without_sys_admin_has_to_be_asked_for_and_the_hint_says_how() {
    if !containers_run_here() || !have("setpriv") {
        return;
    }
    let dir = TempDir::with_prefix("updraft-poor-").expect("a temporary directory");
    let mut serve = without_admin();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0"]);
    let output = serve.arg("--data-dir").arg(dir.path().join("data")).stdin(Stdio::null()).output().expect("setpriv");
    let (_, err) = text(&output);
    assert_eq!(output.status.code(), Some(2), "nobody should restart it: {err}");
    assert!(err.contains("error: isolation 'namespaces' is not possible on this host: "), "{err}");
    assert!(err.contains("CAP_SYS_ADMIN") && err.contains("hint: `--isolation chroot` works here"), "{err}");

    let doctor = without_admin().arg("doctor").stdin(Stdio::null()).output().expect("setpriv");
    let (out, _) = text(&doctor);
    assert!(!doctor.status.success(), "{out}");
    let row = |name: &str| out.lines().find(|line| line.contains(name)).unwrap_or_default().to_owned();
    assert!(row("isolation namespaces").starts_with("FAIL"), "{out}");
    assert!(row("isolation chroot").starts_with("ok") && row("isolation none").starts_with("ok"), "{out}");
    assert!(out.contains("`updraft serve --isolation chroot`"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_plain_docker_container_memory_is_watched_and_nothing_outlives_the_server() {
    if !containers_run_here() || !have("runc") {
        return;
    }
    let serve = ["serve", "--isolation", "chroot", "--listen", "127.0.0.1:8080", "--registry-listen", "127.0.0.1:5000"];
    let docker = Docker::new(&[&["/usr/bin/updraft"], &serve[..]].concat());
    let mut child = docker.start();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().expect("piped")));
    assert!(lines.by_ref().map_while(Result::ok).any(|line| line.starts_with("Registry ")), "it serves");
    let inside = |words: &[&str]| {
        let (out, err) = text(&docker.exec(words));
        format!("{out}{err}")
    };
    let image = docker.root().join("tmp/image.tar");
    fs::write(&image, images::witness("hungry")).expect("writable");
    inside(&["/usr/bin/updraft", "images", "load", "/tmp/image.tar"]);
    let port = ["--port", "9000", "--memory", "512Mi"];
    let deploy =
        ["/usr/bin/updraft", "deploy", "hungry", "--image", "localhost/hungry:latest", "--allow-unauthenticated", "-q"];
    let said = inside(&[&deploy[..], &port[..]].concat());
    assert!(said.contains("is serving 100 percent of traffic"), "{said}");
    let url = said.split_whitespace().find(|word| word.starts_with("http://")).expect("a URL").to_owned();
    let name = url.trim_start_matches("http://").split(':').next().unwrap_or_default().to_owned();
    let get = |path: &str| {
        let header = format!("Host: {name}");
        inside(&[
            "/bin/busybox",
            "wget",
            "-q",
            "-S",
            "-O",
            "-",
            "--header",
            &header,
            &format!("http://127.0.0.1:8080{path}"),
        ])
    };
    assert!(get("/").contains("ok"), "{}", get("/"));
    let refused = get("/eat/700");
    assert!(refused.contains("500"), "{refused}");
    assert!(get("/").contains("ok"), "the next is answered");
    let log = inside(&["/usr/bin/updraft", "services", "logs", "read", "hungry"]);
    assert!(log.contains("Memory limit of 512 MiB exceeded with"), "{log}");

    let busy = docker.pids();
    assert!(busy.len() >= 4, "server, launcher, keeper and instance: {busy:?}");
    // In a container the server is the first process, and the kernel ends all others with it.
    let _ = rustix::process::kill_process(
        rustix::process::Pid::from_raw(docker.first().cast_signed()).expect("a number"),
        rustix::process::Signal::KILL,
    );
    child.wait().expect("it is ours");
    eventually("everything has ended", || async {
        !busy.iter().any(|pid| std::path::Path::new(&format!("/proc/{pid}/exe")).exists())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_services_and_revisions_share_one_network_when_they_respect_port() {
    if !containers_run_here() {
        return;
    }
    for isolation in ["chroot", "none"] {
        let host = Host::start(&["--isolation", isolation, "--idle-timeout", "3s"]);
        host.load(&images::witness("one"));
        let name = deployed(&host, "one", "one", &["--concurrency", "1", "--max-instances", "3"]);
        deployed(&host, "two", "one", &["--set-env-vars", "ANSWER=two"]);
        let client = reqwest::Client::new();
        let two = host.host_of("two", None);
        assert_eq!(host.get(&client, &two, "/").await, (200, "two".to_owned()));

        let answers = join_all((0..12).map(|_| host.get(&client, &name, "/slow/100"))).await;
        let mut instances = BTreeSet::new();
        for (status, answer) in answers {
            assert_eq!(status, 200, "{isolation}: {answer}");
            assert!(answer.starts_with("1 "), "{isolation}: never two requests in one instance: {answer}");
        }
        let ports = join_all((0..12).map(|_| async {
            let (_, port) = host.get(&client, &name, "/env/PORT").await;
            port
        }));
        instances.extend(ports.await);
        assert!((1..=3).contains(&instances.len()) && !instances.contains("8080"), "{isolation}: {instances:?}");

        let first = host.describe("one")["status"]["latestReadyRevisionName"].as_str().expect("a name").to_owned();
        deployed(&host, "one", "one", &["--set-env-vars", "ANSWER=new", "--no-traffic", "--tag", "next"]);
        let next = host.host_of("one", Some("next"));
        assert_eq!(host.get(&client, &next, "/").await, (200, "new".to_owned()));
        host.ok(&["services", "update-traffic", "one", "--to-revisions", &format!("{first}=50,LATEST=50"), "--quiet"]);
        let mut seen = BTreeSet::new();
        for _ in 0..60 {
            seen.insert(host.get(&client, &name, "/").await.1);
        }
        assert_eq!(seen, BTreeSet::from(["new".to_owned(), "ok".to_owned()]), "{isolation}");

        eventually("zero again", || async { host.metric(&client, INSTANCES).await == 0.0 }).await;
        let roots = host.data_dir().join("run/roots");
        eventually("no copy is left", || async { fs::read_dir(&roots).is_ok_and(|mut left| left.next().is_none()) })
            .await;
        let (code, _data_dir) = host.stop();
        assert_eq!(code, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_ignores_port_gets_one_instance_and_a_warning_and_the_next_service_is_told_who_has_the_port() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&["--isolation", "chroot"]);
    let port = free_port().to_string();
    host.load(&images::witness_with("stubborn", &["insist", &port]));
    let flags = ["--port", &port, "--concurrency", "1", "--max-instances", "5"];
    let name = deployed(&host, "stubborn", "stubborn", &flags);
    let client = reqwest::Client::new();
    let answers = join_all((0..6).map(|_| host.get(&client, &name, "/slow/50"))).await;
    let instances: BTreeSet<String> = answers.iter().map(|(_, answer)| answer.clone()).collect();
    assert!(answers.iter().all(|(status, _)| *status == 200), "requests wait for the one: {answers:?}");
    assert_eq!(instances.len(), 1, "{instances:?}");
    let log = host.ok(&["services", "logs", "read", "stubborn"]);
    assert!(log.contains("WARNING") && log.contains("limited to one instance"), "{log}");

    let said = deploy(&host, "second", "stubborn", &flags);
    assert_ne!(said.code, 0, "{said:?}");
    let told = format!("Port {port} is taken by service 'stubborn'");
    assert!(said.stderr.contains(&told), "{said:?}");
    assert!(host.describe("second")["status"].to_string().contains(&told));
    assert_eq!(host.get(&client, &name, "/").await.0, 200, "the first goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_needs_its_image_is_refused_without_a_root_of_its_own() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&["--isolation", "none"]);
    let files = [updraft::image::File { path: "start", contents: b"#!/bin/sh\nexec sleep 1000\n", mode: 0o755 }];
    let process = updraft::image::Process { entrypoint: &["/start"], ..updraft::image::Process::default() };
    host.load(&updraft::image::archive("localhost/script:latest", &files, &process).expect("in memory"));
    let said = deploy(&host, "script", "script", &[]);
    assert_ne!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains("only static programs run") && said.stderr.contains("/bin/sh"), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_without_namespaces_nothing_is_left_and_what_was_deployed_is_served() {
    if !containers_run_here() || !have("setpriv") {
        return;
    }
    let dir = TempDir::with_prefix("updraft-it-").expect("a temporary directory");
    let host = Host::start_by(without_admin(), dir, &["--isolation", "chroot"]);
    host.load(&images::witness("phoenix"));
    let name = deployed(&host, "phoenix", "phoenix", &[]);
    let client = reqwest::Client::new();
    assert_eq!(host.get(&client, &name, "/").await.0, 200);
    let processes = super::traces::Traces::of(&host);
    let data_dir = host.kill();
    eventually("nothing outlives the server", || async {
        processes.instances().is_empty() && !processes.any_process()
    })
    .await;
    let host = Host::start_by(without_admin(), data_dir, &["--isolation", "chroot"]);
    let name = host.host_of("phoenix", None);
    let clock = updraft_base::Clock::system();
    let begun = clock.instant();
    eventually("the service is served again", || async { host.get(&client, &name, "/").await.0 == 200 }).await;
    assert!(clock.instant() - begun < PATIENCE);
    let (code, _data_dir) = host.stop();
    assert_eq!(code, 0);
    assert_eq!(processes.left(), Vec::<String>::new());
}
