//! Instances that are frozen between requests, for real.

use futures::future::join_all;

use super::{
    host::{Host, containers_run_here, eventually},
    images,
    traces::Traces,
};

const FROZEN: &str = "updraft_frozen_instances ";
const FREEZES: &str = "updraft_instance_freezes_total ";
const THAWS: &str = "updraft_instance_thaw_seconds_count ";

fn deploy(host: &Host, name: &str, more: &[&str]) -> String {
    host.load(&images::witness(name));
    let image = format!("localhost/{name}:latest");
    host.ok(&[&["deploy", name, "--image", &image, "--allow-unauthenticated", "--quiet"], more].concat());
    host.host_of(name, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_requests_meet_as_many_freezes_and_every_one_is_answered() {
    const SERVICES: usize = 2;
    const CLIENTS: usize = 2;
    const EACH: usize = 750;
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&["--freeze-after", "0"]);
    let traces = Traces::of(&host);
    let names: Vec<String> = (0..SERVICES).map(|n| deploy(&host, &format!("busy{n}"), &[])).collect();
    let client = reqwest::Client::new();
    let clients = names.iter().flat_map(|name| std::iter::repeat_n(name, CLIENTS));
    let answered = join_all(clients.map(|name| async {
        for _ in 0..EACH {
            assert_eq!(host.get(&client, name, "/").await, (200, "ok".to_owned()));
        }
        EACH
    }));
    assert_eq!(answered.await.into_iter().sum::<usize>(), SERVICES * CLIENTS * EACH);
    assert_eq!(host.metric(&client, "updraft_requests_total{response_code_class=\"5xx\"}").await, 0.0);
    eventually("all rest", || async { host.metric(&client, FROZEN).await == host.metric(&client, READY).await }).await;
    // A freeze that a request forestalled is none; but they did meet.
    let (freezes, thaws) = (host.metric(&client, FREEZES).await, host.metric(&client, THAWS).await);
    assert!(thaws >= 100.0 && freezes >= thaws, "{freezes} freezes, {thaws} thaws");
    let (code, _data_dir) = host.stop();
    assert_eq!((code, traces.left()), (0, Vec::new()));
}

const READY: &str = "updraft_instances{state=\"ready\"}";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_paid_for_by_the_request_is_frozen_and_what_is_paid_for_all_the_time_is_not() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&["--freeze-after", "0"]);
    let by_request = deploy(&host, "by-request", &["--min-instances", "1"]);
    let always = deploy(&host, "always", &["--no-cpu-throttling"]);
    let client = reqwest::Client::new();
    for round in 0..3 {
        for name in [&by_request, &always] {
            assert_eq!(host.get(&client, name, "/").await.0, 200, "round {round}");
        }
        eventually("one of two is frozen", || async {
            (host.metric(&client, FROZEN).await, host.metric(&client, READY).await) == (1.0, 2.0)
        })
        .await;
    }
    // It was frozen as often as it was idle, and the other never: its thaws would be counted.
    assert!(host.metric(&client, THAWS).await <= 3.0);
    assert_eq!(host.stop().0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_the_next_server_serves_with_the_instance_that_was_frozen() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&["--freeze-after", "0"]);
    let traces = Traces::of(&host);
    let name = deploy(&host, "asleep", &[]);
    let client = reqwest::Client::new();
    let process = host.process(&client, &name).await;
    eventually("it is frozen", || async { host.metric(&client, FROZEN).await == 1.0 }).await;
    let host = Host::start_in(host.kill(), &["--freeze-after", "never"]);
    let name = host.host_of("asleep", None);
    eventually("the service is served again", || async { host.get(&client, &name, "/").await.0 == 200 }).await;
    assert_eq!(host.process(&client, &name).await, process);
    assert_eq!(host.metric(&client, FREEZES).await, 0.0);
    let (code, _data_dir) = host.stop();
    assert_eq!((code, traces.left()), (0, Vec::new()));
}
