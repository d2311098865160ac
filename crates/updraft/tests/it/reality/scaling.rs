//! From zero, up, and back to zero.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
};

use futures::future::join_all;

use super::{
    host::{Host, PATIENCE, containers_run_here, eventually},
    images,
    traces::Traces,
};

const INSTANCES: &str = "updraft_instances{";

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_never_meet_in_an_instance_and_then_all_goes_to_zero() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&["--idle-timeout", "3s"]);
    let traces = Traces::of(&host);
    host.load(&images::witness("one"));
    let flags = ["--concurrency", "1", "--max-instances", "5", "--allow-unauthenticated", "--quiet"];
    host.ok(&[&["deploy", "one", "--image", "localhost/one:latest"], &flags[..]].concat());
    let (client, name) = (reqwest::Client::new(), host.host_of("one", None));

    eventually("zero before the first request", || async { host.metric(&client, INSTANCES).await == 0.0 }).await;
    assert_eq!(host.get(&client, &name, "/").await, (200, "ok".to_owned()), "the first request is held and answered");

    let answers = join_all((0..100).map(|_| host.get(&client, &name, "/slow/50"))).await;
    let mut instances = BTreeSet::new();
    for (status, answer) in answers {
        let (peak, instance) = answer.split_once(' ').unwrap_or_default();
        assert_eq!((status, peak), (200, "1"), "answered, and never two requests in one instance");
        instances.insert(instance.to_owned());
    }
    // None is retired within the second that this takes at the least, so each that ever was has answered.
    assert!((1..=5).contains(&instances.len()), "{instances:?}");

    eventually("zero again", || async { host.metric(&client, INSTANCES).await == 0.0 }).await;
    eventually("nothing is left of the instances", || async { traces.instances().is_empty() }).await;
    let (code, _data_dir) = host.stop();
    assert_eq!(code, 0);
    assert_eq!(traces.left(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_stopped_under_load_leaves_nothing_behind() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    let traces = Traces::of(&host);
    host.load(&images::witness("busy"));
    host.ok(&["deploy", "busy", "--image", "localhost/busy:latest", "--allow-unauthenticated", "--quiet"]);
    let (client, name) = (reqwest::Client::new(), host.host_of("busy", None));
    assert_eq!(host.get(&client, &name, "/").await.0, 200);
    assert!(!traces.left().is_empty(), "a running server has traces, or this test sees none");
    let (code, _data_dir) = host.stop();
    assert_eq!(code, 0);
    assert_eq!(traces.left(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_upgraded_client_does_not_hold_up_the_end() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    let traces = Traces::of(&host);
    host.load(&images::witness("silent"));
    host.ok(&["deploy", "silent", "--image", "localhost/silent:latest", "--allow-unauthenticated", "--quiet"]);
    let name = host.host_of("silent", None);
    let mut client = std::net::TcpStream::connect(&host.address).expect("the server listens");
    write!(client, "GET /upgrade HTTP/1.1\r\nHost: {name}\r\nConnection: upgrade\r\nUpgrade: silence\r\n\r\n")
        .expect("sent");
    let mut status = [0; 12];
    client.read_exact(&mut status).expect("an answer");
    assert_eq!(&status, b"HTTP/1.1 101");

    let clock = updraft_base::Clock::system();
    let asked = clock.instant();
    let (code, _data_dir) = host.stop();
    assert_eq!(code, 0);
    assert!(clock.instant() - asked < PATIENCE, "the request's own limit is 300 s, and the end must not wait for it");
    assert_eq!(traces.left(), Vec::<String>::new());
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_the_next_start_goes_on_with_what_was_left_or_removes_it_and_serves_what_was_deployed() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    let traces = Traces::of(&host);
    host.load(&images::witness("phoenix"));
    host.ok(&["deploy", "phoenix", "--image", "localhost/phoenix:latest", "--allow-unauthenticated", "--quiet"]);
    let client = reqwest::Client::new();
    let name = host.host_of("phoenix", None);
    assert_eq!(host.get(&client, &name, "/").await.0, 200);

    let before = traces.instances();
    assert!(!before.is_empty(), "an instance that answers has traces, or this test sees none");
    let data_dir = host.kill();
    let host = Host::start_in(data_dir, &[]);
    assert_eq!(traces.instances(), before, "it goes on with them, and with nothing else");
    assert_eq!(host.get(&client, &name, "/").await.0, 200);
    assert_eq!(traces.instances(), before, "it was this one that answered");
    let host = Host::start_in(host.kill(), &["--fresh"]);
    let mut left = traces.instances();
    left.retain(|one| before.contains(one));
    assert_eq!(left, Vec::<String>::new());
    let name = host.host_of("phoenix", None);
    eventually("the service is served again", || async { host.get(&client, &name, "/").await.0 == 200 }).await;
    let (code, _data_dir) = host.stop();
    assert_eq!(code, 0);
    assert_eq!(traces.left(), Vec::<String>::new());
}
