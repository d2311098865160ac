use std::sync::Arc;

use prometheus_client::encoding::text;
use updraft_model::{
    channel::Waits,
    iam::InvokerAccess,
    instance::InstanceId,
    name::Parent,
    revision::Protocol,
    route::{Route, RouteTarget, SessionAffinity},
    service::Ingress,
};

use super::*;

const MILLI: Duration = Duration::from_millis(1);

/// Metrics, and a time at which they begin.
#[expect(clippy::disallowed_methods, reason = "an arbitrary origin for readings that only differences are made of")]
fn metrics() -> (RequestMetrics, Registry, Instant) {
    let mut registry = Registry::default();
    let now = Instant::now();
    (RequestMetrics::new(&mut registry, now), registry, now)
}

fn request(service: &str, status: u16) -> RequestRecord {
    let service = Parent::new("demo", "here").service(service);
    let revision = service.revision("first");
    let timeout = Duration::from_secs(300);
    let affinity = SessionAffinity::None;
    let target = RouteTarget { revision, percent: 100, timeout, protocol: Protocol::Http1, affinity };
    let route = Route { service, ingress: Ingress::All, invoker: InvokerAccess::Open, targets: vec![target] };
    RequestRecord {
        time: std::time::SystemTime::UNIX_EPOCH,
        route: Arc::new(route),
        target: Some(0),
        instance: Some(InstanceId("00c0ffee".to_owned())),
        method: "GET".into(),
        url: "http://hello.run.localhost/".to_owned(),
        protocol: "HTTP/1.1",
        request_bytes: Some(0),
        status,
        response_bytes: 0,
        user_agent: None,
        referer: None,
        remote: std::net::Ipv4Addr::LOCALHOST.into(),
        latency: 100 * MILLI,
        waits: None,
        stops: [None; STOPS.len()],
        trace: None,
        note: None,
        detail: None,
    }
}

/// The lines of a metric, without its name.
fn lines(registry: &Registry, name: &str) -> Vec<String> {
    let mut output = String::new();
    text::encode(&mut output, registry).expect("a String takes everything");
    output.lines().filter_map(|line| line.strip_prefix(name)).map(str::to_owned).collect()
}

#[test]
fn requests_are_counted_by_revision_and_code_with_the_labels_of_cloud_run() {
    let (metrics, registry, now) = metrics();
    for status in [200, 200, 404, 499] {
        metrics.count(&request("hello", status), now);
    }
    let mut counts = lines(&registry, "updraft_request_count_total");
    counts.sort();
    let of = |class: &str, code: u16, count: u32| {
        format!(
            "{{project_id=\"demo\",location=\"here\",service_name=\"hello\",revision_name=\"first\",\
             response_code_class=\"{class}\",response_code=\"{code}\"}} {count}"
        )
    };
    assert_eq!(counts, [of("2xx", 200, 2), of("4xx", 404, 1), of("4xx", 499, 1)]);
    let latencies = lines(&registry, "updraft_request_latencies_seconds_count");
    assert_eq!(latencies.len(), 2, "one of each class: {latencies:?}");
}

#[test]
fn the_latency_is_without_the_start_of_an_instance_and_the_execution_without_the_wait() {
    let (metrics, registry, now) = metrics();
    let waits = Waits { queued: 10 * MILLI, sandbox: 20 * MILLI, app: 30 * MILLI, first_byte: 40 * MILLI };
    let cold = RequestRecord { waits: Some(Box::new(waits)), ..request("hello", 200) };
    metrics.count(&cold, now);
    let sum = |name: &str| -> f64 {
        let [line] = &lines(&registry, name)[..] else { panic!("{name}") };
        line.rsplit_once(' ').expect("a value").1.parse().expect("a number")
    };
    for (name, milliseconds) in [
        ("updraft_request_latencies_seconds_sum", 50.0),
        ("updraft_request_latency_e2e_latencies_seconds_sum", 100.0),
        ("updraft_request_latency_pending_seconds_sum", 60.0),
        ("updraft_request_latency_user_execution_seconds_sum", 40.0),
    ] {
        assert!((sum(name) * 1000.0 - milliseconds).abs() < 0.001, "{name}: {}", sum(name));
    }
}

#[test]
fn a_revision_that_nobody_asks_for_an_hour_has_no_series_any_more() {
    let (metrics, registry, now) = metrics();
    metrics.count(&request("quiet", 200), now);
    metrics.count(&request("busy", 200), now + FORGOTTEN / 2);
    metrics.count(&request("busy", 200), now + FORGOTTEN);
    for name in ["updraft_request_count_total", "updraft_request_latencies_seconds_count"] {
        let left = lines(&registry, name);
        assert!(left.len() == 1 && left[0].contains("service_name=\"busy\""), "{left:?}");
    }
}

#[test]
fn of_too_many_revisions_those_asked_last_have_series() {
    let (metrics, registry, now) = metrics();
    let has = |service: &str| metrics.known().series.contains_key(&Parent::new("demo", "here").service(service));
    // All of one moment, as those of one batch of the log are.
    for number in 0..REVISIONS + SURPLUS {
        metrics.count(&request(&format!("s{number}"), 200), now);
    }
    assert!(has("s0"));
    metrics.count(&request("one-too-many", 200), now);
    assert_eq!(metrics.known().count, REVISIONS, "at once, and not at the next minute");
    assert!(has("one-too-many") && !has("s0") && !has(&format!("s{SURPLUS}")) && has(&format!("s{}", SURPLUS + 1)));
    // With every minute the surplus goes too.
    metrics.count(&request("another", 200), now);
    metrics.count(&request("another", 200), now + PRUNE);
    assert_eq!(metrics.known().count, REVISIONS);
    let mut output = String::new();
    text::encode(&mut output, &registry).expect("a String takes everything");
    let counts = output.lines().filter(|line| line.starts_with("updraft_request_count_total")).count();
    assert_eq!(counts, REVISIONS, "what is not known has no series");
    assert!(output.len() < 24 << 20, "{} bytes", output.len());
}
