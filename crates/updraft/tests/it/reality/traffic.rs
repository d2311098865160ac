//! Splits, tags, rollback.

use std::process::Command;

use futures::future::join_all;

use super::{
    host::{Host, containers_run_here, have},
    images,
};

/// Two revisions of `service` that answer with their names; returns the revisions' ids.
fn two_revisions(host: &Host, service: &str) -> (String, String) {
    host.load(&images::witness(service));
    let image = format!("localhost/{service}:latest");
    let deploy = |answer: &str| {
        host.ok(&[
            "deploy",
            service,
            "--image",
            &image,
            "--set-env-vars",
            answer,
            "--allow-unauthenticated",
            "--quiet",
        ]);
        let described = host.describe(service);
        described["status"]["latestReadyRevisionName"].as_str().expect("a revision").to_owned()
    };
    (deploy("ANSWER=one"), deploy("ANSWER=two"))
}

#[tokio::test(flavor = "multi_thread")]
async fn ninety_to_ten_over_ten_thousand_requests_is_within_what_chance_allows() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    let (one, two) = two_revisions(&host, "split");
    host.ok(&["services", "update-traffic", "split", "--to-revisions", &format!("{one}=90,{two}=10"), "--quiet"]);
    let (client, name) = (reqwest::Client::new(), host.host_of("split", None));
    let mut answered_two = 0u32;
    for _ in 0..10_000 / 50 {
        for (status, answer) in join_all((0..50).map(|_| host.get(&client, &name, "/"))).await {
            assert_eq!(status, 200);
            answered_two += u32::from(answer == "two");
        }
    }
    // 1000 ± 5 standard deviations of a binomial (30): chance fails this once in a million runs.
    assert!((850..=1150).contains(&answered_two), "{answered_two} of 10000 went to the revision with 10 percent");

    // Once split, a later deploy keeps the split.
    let image = "localhost/split:latest";
    host.ok(&["deploy", "split", "--image", image, "--set-env-vars", "ANSWER=three", "--quiet"]);
    let shares = host.describe("split")["status"]["traffic"].clone();
    assert_eq!((&shares[0]["percent"], &shares[1]["percent"]), (&90.into(), &10.into()), "{shares:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_reaches_its_revision_with_and_without_a_share() {
    if !containers_run_here() {
        return;
    }
    let host = Host::start(&[]);
    let (one, two) = two_revisions(&host, "tagged");
    host.ok(&["services", "update-traffic", "tagged", "--set-tags", &format!("old={one},new={two}"), "--quiet"]);
    let client = reqwest::Client::new();
    for (tag, answer) in [(Some("old"), "one"), (Some("new"), "two"), (None, "two")] {
        let name = host.host_of("tagged", tag);
        assert_eq!(host.get(&client, &name, "/").await, (200, answer.to_owned()), "{tag:?} at {name}");
    }
    let unknown = host.host_of("tagged", Some("old")).replace("old---", "gone---");
    let (status, page) = host.get(&client, &unknown, "/").await;
    assert!(status == 404 && page.contains("Page not found"), "{status} {page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_under_load_fails_no_request() {
    if !containers_run_here() || !have("wrk") {
        return;
    }
    let host = Host::start(&[]);
    let (one, two) = two_revisions(&host, "swing");
    let name = host.host_of("swing", None);
    let mut wrk = Command::new("wrk");
    wrk.args(["-t1", "-c16", "-d8s", "-H", &format!("Host: {name}"), &format!("http://{}/", host.address)]);
    let load = tokio::task::spawn_blocking(move || super::host::run(&mut wrk));
    for round in 0..6 {
        let target = if round % 2 == 0 { &one } else { &two };
        host.ok(&["services", "update-traffic", "swing", "--to-revisions", &format!("{target}=100"), "--quiet"]);
    }
    let report = load.await.expect("wrk");
    assert!(report.contains("requests in"), "{report}");
    assert!(!report.contains("Non-2xx") && !report.contains("Socket errors"), "{report}");
    let (_, answer) = host.get(&reqwest::Client::new(), &name, "/").await;
    assert_eq!(answer, "two", "the last rollback is in effect");
}
