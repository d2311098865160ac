//! A backup under load, restored elsewhere.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    thread,
};

use serde_json::Value;
use tempfile::TempDir;
use updraft::image::{File, Process, archive};

use super::{
    host::{Host, UPDRAFT, containers_run_here, eventually, have, run},
    images,
};

/// Deploys of the load at the most; far more than fit into a backup.
const ROUNDS: u32 = 60;

/// What goes on while the backup is taken: deploys of the service `churn` that answer with their number, a new image in
/// the registry with each, requests to everything.
struct Load {
    stop: Arc<AtomicBool>,
    /// The number of the last deploy that was acknowledged.
    deployed: Arc<AtomicU32>,
    threads: Vec<thread::JoinHandle<()>>,
}

// === impl Load ===

impl Load {
    fn on(host: &Host, services: &[String]) -> Self {
        let (stop, deployed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let deployer = {
            let (stop, deployed, folder) = (stop.clone(), deployed.clone(), TempDir::new().expect("a directory"));
            let client = host.client();
            move || {
                for round in 1..=ROUNDS {
                    if stop.load(SeqCst) {
                        return;
                    }
                    let image = format!("localhost/pushed-{round}:latest");
                    let file = folder.path().join("image.tar");
                    let number = round.to_string();
                    let files = [File { path: "number", contents: number.as_bytes(), mode: 0o644 }];
                    fs::write(&file, archive(&image, &files, &Process::default()).expect("in memory"))
                        .expect("written");
                    client(&["images", "load", file.to_str().expect("UTF-8")]);
                    let answer = format!("ANSWER={round}");
                    client(&["services", "update", "churn", "--set-env-vars", &answer, "--quiet"]);
                    deployed.store(round, SeqCst);
                }
            }
        };
        let (asked, address, hosts) = (stop.clone(), host.address.clone(), services.to_vec());
        let caller = move || {
            for host in hosts.iter().cycle().take(200_000) {
                if asked.load(SeqCst) {
                    return;
                }
                let mut stream = TcpStream::connect(&address).expect("it listens");
                write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("sent");
                let mut answer = String::new();
                stream.read_to_string(&mut answer).expect("an answer");
                assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
            }
        };
        Self { stop, deployed, threads: vec![thread::spawn(deployer), thread::spawn(caller)] }
    }

    async fn deployed(&self, at_least: u32) -> u32 {
        eventually("the load deploys", || async { self.deployed.load(SeqCst) >= at_least }).await;
        self.deployed.load(SeqCst)
    }

    fn end(self) {
        self.stop.store(true, SeqCst);
        for thread in self.threads {
            thread.join().expect("no request of the load failed");
        }
    }
}

/// Revision, share and tag of every target of a service, and its latest revisions.
fn traffic(host: &Host, service: &str) -> Vec<Value> {
    let status = host.describe(service)["status"].clone();
    let targets = status["traffic"].as_array().cloned().unwrap_or_default();
    let told = targets
        .iter()
        .map(|target| Value::Array(["revisionName", "percent", "tag"].map(|field| target[field].clone()).to_vec()));
    told.chain([status["latestReadyRevisionName"].clone(), status["latestCreatedRevisionName"].clone()]).collect()
}

/// Pulls an image with skopeo; every file of it by name.
fn pulled(host: &Host, image: &str) -> BTreeMap<String, Vec<u8>> {
    let dir = TempDir::new().expect("a directory");
    let source = format!("docker://{}/{image}", host.registry);
    let mut skopeo = Command::new("skopeo");
    skopeo.args(["copy", "--quiet", "--src-tls-verify=false", "--preserve-digests", &source]);
    run(skopeo.arg(format!("dir:{}", dir.path().display())));
    let files = fs::read_dir(dir.path()).expect("a directory").map(|entry| entry.expect("readable").path());
    files.map(|file| (name(&file), fs::read(&file).expect("readable"))).collect()
}

fn name(file: &Path) -> String {
    file.file_name().expect("a name").to_string_lossy().into_owned()
}

fn restore(backup: &Path) -> TempDir {
    let new = TempDir::with_prefix("updraft-it-").expect("a directory");
    run(Command::new(UPDRAFT).arg("restore").arg(backup).arg("--data-dir").arg(new.path().join("data")));
    new
}

/// A service with two revisions of one image, `one` and `two`; returns the first's name.
fn deploy(host: &Host, service: &str) -> String {
    host.load(&images::witness(service));
    let image = format!("localhost/{service}:latest");
    let mut names = ["one", "two"].map(|answer| {
        let answer = format!("ANSWER={service}-{answer}");
        let flags = ["--set-env-vars", &answer, "--allow-unauthenticated", "--quiet"];
        host.ok(&[&["deploy", service, "--image", &image], &flags[..]].concat());
        host.describe(service)["status"]["latestReadyRevisionName"].as_str().expect("ready").to_owned()
    });
    std::mem::take(&mut names[0])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_taken_under_load_restores_on_an_empty_directory_and_every_service_answers() {
    if !containers_run_here() || !have("skopeo") {
        return;
    }
    let host = Host::start(&[]);
    let client = reqwest::Client::new();
    let services = ["split", "tagged", "churn"];
    let first = services.map(|service| deploy(&host, service));
    host.ok(&["services", "update-traffic", "split", "--to-revisions", &format!("{}=100", first[0]), "--quiet"]);
    host.ok(&[
        "services",
        "update-traffic",
        "split",
        "--to-revisions",
        &format!("{}=60,LATEST=40", first[0]),
        "--quiet",
    ]);
    host.ok(&["services", "update-traffic", "tagged", "--set-tags", &format!("old={}", first[1]), "--quiet"]);
    let before = services.map(|service| traffic(&host, service));
    let image = pulled(&host, "tagged:latest");

    let load = Load::on(&host, &services.map(|service| host.host_of(service, None)));
    let folder = TempDir::new().expect("a directory");
    let backup = folder.path().join("updraft.tar.zst");
    let acknowledged = load.deployed(2).await;
    host.ok(&["backup", backup.to_str().expect("UTF-8")]);
    load.deployed(load.deployed.load(SeqCst) + 1).await;
    load.end();
    assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 1, "nothing but the backup");
    let scratch = host.data_dir().join("scratch");
    assert_eq!(fs::read_dir(&scratch).expect("there").count(), 0, "the scratch is removed");
    let (code, _data_dir) = host.stop();
    assert_eq!(code, 0);

    let host = Host::start_in(restore(&backup), &[]);
    for (service, before) in services.iter().zip(&before).take(2) {
        assert_eq!(&traffic(&host, service), before, "{service}");
    }
    for (service, tag, answers) in [
        ("split", None, &["split-one", "split-two"][..]),
        ("tagged", None, &["tagged-two"]),
        ("tagged", Some("old"), &["tagged-one"]),
    ] {
        let name = host.host_of(service, tag);
        eventually("the service is served", || async { host.get(&client, &name, "/").await.0 == 200 }).await;
        let (_, answer) = host.get(&client, &name, "/").await;
        assert!(answers.contains(&answer.as_str()), "{service} {tag:?}: {answer}");
    }
    let name = host.host_of("churn", None);
    eventually("the service is served", || async { host.get(&client, &name, "/").await.0 == 200 }).await;
    let (_, answer) = host.get(&client, &name, "/").await;
    let restored: u32 = answer.parse().expect("the number of a deploy");
    assert!(restored >= acknowledged, "deploy {acknowledged} was acknowledged before the backup, {restored} is served");
    let images = host.ok(&["images", "list"]);
    for round in 1..=acknowledged {
        assert!(images.contains(&format!("localhost/pushed-{round}:latest")), "{round} in {images}");
    }
    assert!(pulled(&host, "tagged:latest") == image, "the image is pulled bit for bit as it was pushed");
    host.ok(&["deploy", "new", "--image", "localhost/tagged:latest", "--allow-unauthenticated", "--quiet"]);
    assert_eq!(host.stop().0, 0);
}

/// An image too large to hide in the buffers of a connection, and that does not shrink.
fn large(name: &str) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252u64;
    let mut bytes = Vec::with_capacity(24 << 20);
    while bytes.len() < 24 << 20 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    let files = [File { path: "large", contents: &bytes, mode: 0o644 }];
    archive(&format!("localhost/{name}:latest"), &files, &Process::default()).expect("in memory")
}

/// A client that asks for a backup and reads nothing but the first bytes.
fn stalled(host: &Host) -> TcpStream {
    let mut client = TcpStream::connect(&host.address).expect("it listens");
    write!(client, "GET /updraft/v1/backup HTTP/1.1\r\nHost: {}\r\n\r\n", host.address).expect("sent");
    let mut status = [0; 15];
    client.read_exact(&mut status).expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 200 OK");
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_come_one_at_a_time_and_one_that_is_broken_off_leaves_nothing() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    host.load(&large("large"));
    let folder = TempDir::new().expect("a directory");
    let target = folder.path().join("backup");
    let target = target.to_str().expect("UTF-8");
    let scratch = host.data_dir().join("scratch");

    let client = stalled(&host);
    assert_eq!(fs::read_dir(&scratch).expect("there").count(), 1);
    let refused = host.updraft(&["backup", target]);
    assert!(refused.code == 1 && refused.stderr.contains("Another backup"), "{refused:?}");
    assert_eq!(fs::read_dir(folder.path()).expect("there").count(), 0, "no file of a backup that was refused");
    drop(client);
    eventually("its scratch is removed", || async { fs::read_dir(&scratch).expect("there").count() == 0 }).await;
    host.ok(&["backup", target]);

    let client = stalled(&host);
    let host = Host::start_in(host.kill(), &[]);
    assert!(!host.data_dir().join("scratch").exists(), "what a killed server left is removed by the next");
    drop(client);
    assert_eq!(host.stop().0, 0);
}
