//! Scheduled jobs over the binary: what was acknowledged is requested, whenever the server is killed.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};
use updraft_base::Clock;

use super::host::{Host, PATIENCE};

/// Nothing here runs a container, so nothing here needs root.
const FLAGS: [&str; 4] = ["--isolation", "none", "--sandboxes", "0"];
const JOBS: &str = "/cloudscheduler/v1/projects/demo-project/locations/us-central1/jobs";
/// How often the server is killed, each time a little later after a run was acknowledged.
const KILLS: u64 = 12;
/// How long the target takes to answer: a kill may come before, during and after that.
const TAKES: Duration = Duration::from_millis(10);

/// The times that requests said they are for.
type Seen = Arc<Mutex<Vec<Timestamp>>>;

/// One time may be written with more zeros or less.
fn moment(text: &str) -> Timestamp {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A target that writes down what it was asked, and answers a little later.
async fn target(listener: TcpListener, seen: Seen) {
    let mut connections = JoinSet::new();
    loop {
        let (mut stream, _) = listener.accept().await.expect("accepts");
        let seen = seen.clone();
        connections.spawn(async move {
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                let mut piece = [0; 1024];
                match stream.read(&mut piece).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => head.extend_from_slice(&piece[..count]),
                }
            }
            let head = String::from_utf8_lossy(&head).to_ascii_uppercase();
            let time = head.lines().find_map(|line| line.strip_prefix("X-CLOUDSCHEDULER-SCHEDULETIME: "));
            seen.lock().unwrap_or_else(PoisonError::into_inner).extend(time.map(moment));
            Clock::system().sleep(TAKES).await;
            // Whoever asked may be gone.
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_acknowledged_is_made_whenever_the_server_is_killed() {
    let (clock, client) = (Clock::system(), reqwest::Client::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let uri = format!("http://{}/", listener.local_addr().expect("bound"));
    let seen = Seen::default();
    let mut tasks = JoinSet::new();
    tasks.spawn(target(listener, seen.clone()));
    let has_seen = |time: Timestamp| seen.lock().unwrap_or_else(PoisonError::into_inner).contains(&time);

    let mut host = Host::start(&FLAGS);
    let name = "projects/demo-project/locations/us-central1/jobs/yearly";
    let made = json!({"name": name, "schedule": "0 0 1 1 *", "httpTarget": {"uri": uri, "httpMethod": "GET"}});
    let answer = client.post(format!("http://{}{JOBS}", host.address)).json(&made).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.text().await.expect("text"));
    for kill in 0..KILLS {
        let run = client.post(format!("http://{}{JOBS}/yearly:run", host.address)).json(&json!({})).send().await;
        let run: Value = run.expect("an answer").json().await.expect("JSON");
        let asked = moment(run["scheduleTime"].as_str().expect("it is to come at once"));
        clock.sleep(Duration::from_millis(kill * 2)).await;
        host = Host::start_in(host.kill(), &FLAGS);
        let deadline = clock.instant() + PATIENCE;
        while !has_seen(asked) {
            assert!(clock.instant() < deadline, "after kill {kill}: never requested");
            clock.sleep(Duration::from_millis(5)).await;
        }
    }
    // What came of the last one is told, and nothing is left to do.
    let deadline = clock.instant() + PATIENCE;
    loop {
        let shown = host.ok(&["scheduler", "jobs", "describe", "yearly", "--format", "json"]);
        let job: Value = serde_json::from_str(&shown).expect("JSON");
        let is_rested = job["scheduleTime"].as_str().is_some_and(|time| time.contains("-01-01T00:00:00Z"));
        if job["status"] == json!({}) && is_rested {
            break;
        }
        assert!(clock.instant() < deadline, "{job:#}");
        clock.sleep(Duration::from_millis(5)).await;
    }
    let count = seen.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
    assert!((KILLS..=3 * KILLS).contains(&count), "{count} requests for {KILLS} runs");
}
