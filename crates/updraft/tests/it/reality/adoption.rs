//! kill -9 of the server alone: its instances live on, and the next server goes on with them.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use reqwest::Client;
use serde_json::Value;
use updraft_base::Clock;

use super::{
    host::{Host, PATIENCE, UPDRAFT, containers_run_here, eventually, said},
    images,
    killed::{Chance, assert_nothing_left},
    traces::Traces,
};

/// How often the server is killed.
const KILLS: usize = 20;

/// Loads and deploys the witness with these arguments; returns its host.
fn deployed(host: &Host, service: &str, cmd: &[&str]) -> String {
    host.load(&images::witness_with(service, cmd));
    let image = format!("localhost/{service}:latest");
    host.ok(&["deploy", service, "--image", &image, "--allow-unauthenticated", "--quiet"]);
    host.host_of(service, None)
}

/// The name of the process that answers for the service behind `name`.
async fn process(host: &Host, client: &Client, name: &str) -> String {
    let (status, body) = host.get(client, name, "/slow/0").await;
    assert_eq!(status, 200, "{body}");
    body.split(' ').nth(1).expect("a name").to_owned()
}

/// What a service has written and what was said of it, in the order of its log: instance, text.
pub(super) fn log(data_dir: &Path, service: &str) -> Vec<(String, String)> {
    let dir = data_dir.join("logs/demo-project/us-central1").join(service);
    let mut files: Vec<_> = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    let text: String = files.iter().map(|file| fs::read_to_string(file).expect("readable")).collect();
    let entry = |line: &str| {
        let entry: Value = serde_json::from_str(line).ok()?;
        Some((entry["labels"]["instanceId"].as_str()?.to_owned(), entry["textPayload"].as_str()?.to_owned()))
    };
    text.lines().filter_map(entry).collect()
}

/// The number after the last one that was written: none is missing, and none comes before the one that it follows.
/// Some come twice: a server was killed between writing them down and saying so.
fn counted(data_dir: &Path, service: &str) -> u64 {
    let mut next = 0;
    for number in log(data_dir, service).iter().filter_map(|(_, text)| text.parse::<u64>().ok()) {
        assert!(number <= next, "{number} was written, and {next} was not");
        next = next.max(number + 1);
    }
    next
}

/// The instances of a service that ended with code 7.
fn ended(data_dir: &Path, service: &str) -> BTreeSet<String> {
    let all = log(data_dir, service).into_iter();
    all.filter(|(_, text)| text == "Container called exit(7).").map(|(instance, _)| instance).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_the_next_server_has_every_line_and_every_exit_and_serves_with_the_same_instances() {
    if !containers_run_here() {
        return;
    }
    let (chance, clock) = (Chance::seeded("adoption"), Clock::system());
    let mut host = Host::start(&[]);
    let (traces, data) = (Traces::of(&host), host.data_dir());
    let [steady, mortal, third] = [("steady", &["count", "5"][..]), ("mortal", &[]), ("third", &[])]
        .map(|(service, cmd)| deployed(&host, service, cmd));
    // What a deploy has checked goes on as the first instance.
    let client = || Client::builder().timeout(PATIENCE).build().expect("a client");
    let before = process(&host, &client(), &steady).await;
    host.get(&client(), &third, "/exit/0").await;
    for round in 0..KILLS {
        let asked = client();
        let dies = format!("/later/{}/7", chance.below(400));
        assert_eq!(host.get(&asked, &mortal, &dies).await.0, 200);
        // A start is under way, or has just been, when the server dies.
        let url = format!("http://{}/", host.address);
        let started = asked.get(&url).header("host", &third).send();
        let killed = async { clock.sleep(chance.time(Duration::from_millis(40))).await };
        tokio::select! {
            biased;
            () = killed => {}
            _ = async { drop(started.await); std::future::pending::<()>().await } => {}
        }
        let dir = host.kill();
        clock.sleep(chance.time(Duration::from_millis(200))).await;
        if chance.one_in(4) {
            let mut hurried = serve(dir.path());
            clock.sleep(chance.time(Duration::from_millis(300))).await;
            hurried.kill().expect("our own child");
            hurried.wait().expect("our own child");
        }
        host = Host::start_in(dir, &[]);
        let client = client();
        let (first, second) = tokio::join!(process(&host, &client, &steady), process(&host, &client, &steady));
        assert_eq!((&first, &second), (&before, &before), "round {round}: the same instance answers");
        let so_far = counted(&data, "steady");
        eventually("it goes on writing", async || counted(&data, "steady") > so_far).await;
        eventually("the exit is told", async || ended(&data, "mortal").len() == round + 1).await;
        // Adopted or made anew: there is one.
        process(&host, &client, &third).await;
        eventually("no instance is there twice", async || count(&traces) == 2).await;
        host.get(&client, &third, "/exit/0").await;
        if round % 5 == 4 {
            assert_nothing_left(&data, &format!("round {round}"));
        }
    }
    // Idle time is counted anew, and then it goes like any other.
    let host = Host::start_in(host.kill(), &["--idle-timeout", "1s"]);
    assert_eq!(process(&host, &client(), &steady).await, before);
    eventually("it scales to zero", async || traces.instances().is_empty()).await;
    let all = counted(&data, "steady");
    assert!(all > 500, "only {all} lines were written");
    let (code, _dir) = host.stop();
    assert_eq!((code, traces.left()), (0, Vec::new()));
}

/// How many instances there are: each has a control group in several hierarchies, with its name.
fn count(traces: &Traces) -> usize {
    let groups = traces.instances();
    let names = groups.iter().filter_map(|group| group.rsplit('/').next()?.split(' ').next());
    names.collect::<BTreeSet<_>>().len()
}

pub(super) fn serve(dir: &Path) -> std::process::Child {
    let mut serve = Command::new(UPDRAFT);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0", "--log", "warn"]);
    serve.arg("--data-dir").arg(dir.join("data")).stdin(Stdio::null()).stdout(Stdio::null());
    serve.spawn().expect("the binary starts")
}

#[tokio::test(flavor = "multi_thread")]
async fn fresh_ends_what_a_killed_server_left_and_the_doctor_calls_it_what_it_is() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    let (traces, data) = (Traces::of(&host), host.data_dir());
    let name = deployed(&host, "app", &[]);
    let before = process(&host, &Client::new(), &name).await;
    let dir = host.kill();
    let mut doctor = Command::new(UPDRAFT);
    doctor.args(["doctor", "--leaks", "--data-dir"]).arg(&data);
    let told = said(doctor.stdin(Stdio::null()).output().expect("the binary starts"));
    assert_eq!(told.code, 0, "{told:?}");
    assert!(told.stdout.contains("keeps the instances of a server that was killed"), "{told:?}");
    assert!(!traces.instances().is_empty());
    let host = Host::start_in(dir, &["--fresh"]);
    assert_eq!(traces.instances(), Vec::<String>::new());
    assert_nothing_left(&data, "after --fresh");
    assert_ne!(process(&host, &Client::new(), &name).await, before);
    let (code, _dir) = host.stop();
    assert_eq!((code, traces.left()), (0, Vec::new()));
}
