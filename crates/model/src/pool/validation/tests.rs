use expect_test::{Expect, expect};

use super::*;
use crate::{
    Parent,
    pool::defaults,
    revision::{Container, EnvValue, EnvVar, Probe, ProbeKind},
};

fn pool() -> WorkerPool {
    let container = Container { image: "gcr.io/p/Consumer:v1".to_owned(), ..Container::default() };
    WorkerPool {
        name: Parent::new("demo-project", "us-central1").worker_pool("consumer"),
        description: String::new(),
        labels: Default::default(),
        annotations: Default::default(),
        template: RevisionTemplate { containers: vec![container], ..RevisionTemplate::default() },
        count: None,
        splits: Vec::new(),
        client: Default::default(),
        unsupported: Vec::new(),
    }
}

fn probe(kind: ProbeKind) -> Option<Probe> {
    Some(Probe { initial_delay: 0, timeout: 0, period: 0, failure_threshold: 0, kind })
}

fn check_that(change: impl FnOnce(&mut WorkerPool), expected: Expect) {
    let mut pool = pool();
    change(&mut pool);
    defaults::apply(&mut pool);
    let lines: Vec<String> = check(&pool).iter().map(|violation| format!("{violation}\n")).collect();
    expected.assert_eq(&lines.concat());
}

#[test]
fn an_image_alone_is_one_instance_of_the_latest_revision_with_neither_port_nor_probe() {
    check_that(|_| {}, expect![[""]]);
    let mut pool = pool();
    defaults::apply(&mut pool);
    assert_eq!((pool.count, pool.instances()), (Some(1), 1));
    assert_eq!(pool.splits, [InstanceSplit { allocation: Allocation::Latest, percent: 100 }]);
    assert!(pool.template.service_account.ends_with("-compute@developer.gserviceaccount.com"));
    let container = &pool.template.containers[0];
    assert_eq!((container.name.as_str(), container.port_count, container.port), ("consumer-1", 0, None));
    assert_eq!(container.startup_probe, None);
    assert_eq!((&*container.resources.limits["cpu"], &*container.resources.limits["memory"]), ("1000m", "512Mi"));
    assert!(!container.resources.cpu_idle, "always on");
    let once = pool.clone();
    defaults::apply(&mut pool);
    assert_eq!(pool, once);
}

#[test]
fn no_instances_are_not_the_default_one() {
    let mut off = WorkerPool { count: Some(0), ..pool() };
    defaults::apply(&mut off);
    assert_eq!(off.instances(), 0);
    check_that(
        |pool| pool.count = Some(10_001),
        expect![[r#"
            worker_pool.scaling.manual_instance_count: must be between 0 and 10000, got 10001
        "#]],
    );
}

#[test]
fn what_is_about_requests_is_refused() {
    check_that(
        |pool| {
            let container = &mut pool.template.containers[0];
            (container.port_count, container.port_number) = (1, 8080);
            container.readiness_probe = probe(ProbeKind::Grpc { port: 9000, service: String::new() });
            let env = |name: &str| EnvVar { name: name.to_owned(), value: EnvValue::Plain("x".to_owned()) };
            container.env =
                ["PORT", "K_SERVICE", "CLOUD_RUN_WORKER_POOL", "CLOUD_RUN_WORKER_POOL_REVISION", "CLOUD_RUN_REVISION"]
                    .map(env)
                    .into();
        },
        expect![[r#"
            worker_pool.template.containers[0].env[2].name: the name is reserved by the platform, got 'CLOUD_RUN_WORKER_POOL'
            worker_pool.template.containers[0].env[3].name: the name is reserved by the platform, got 'CLOUD_RUN_WORKER_POOL_REVISION'
            worker_pool.template.containers[0].env[4].name: the name is reserved by the platform, got 'CLOUD_RUN_REVISION'
            worker_pool.template.containers[0].ports: must be empty, for no requests are sent to a worker pool, got 8080
            worker_pool.template.containers[0].readiness_probe: must not be set, for no requests are sent to a worker pool
        "#]],
    );
}

#[test]
fn a_probe_says_which_port_it_asks() {
    check_that(
        |pool| {
            pool.template.containers[0].startup_probe = probe(ProbeKind::Tcp { port: 0 });
            pool.template.containers[0].liveness_probe = probe(ProbeKind::Grpc { port: 9000, service: String::new() });
        },
        expect![[r#"
            worker_pool.template.containers[0].startup_probe.tcp_socket.port: must be between 1 and 65535, for a worker pool's container has no port that it could stand for, got 0
        "#]],
    );
}

#[test]
fn shares_make_a_hundred() {
    let split = |id: &str, percent| InstanceSplit { allocation: Allocation::Revision(id.to_owned()), percent };
    check_that(
        |pool| pool.splits = vec![split("", -2), split("Up", 101), split("consumer-00001-abc", 2)],
        expect![[r#"
            worker_pool.instance_splits[0].percent: must be between 0 and 100, got -2
            worker_pool.instance_splits[0].revision: must be set when type is INSTANCE_SPLIT_ALLOCATION_TYPE_REVISION, got nothing
            worker_pool.instance_splits[1].percent: must be between 0 and 100, got 101
            worker_pool.instance_splits[1].revision: must be the id of a revision of 'consumer' or its full name, got 'Up'
            worker_pool.instance_splits: percentages must add up to 100, got 101
        "#]],
    );
}

#[test]
fn less_than_a_cpu_is_had_all_the_time_and_nothing_is_scaled_by() {
    check_that(
        |pool| {
            let limits = &mut pool.template.containers[0].resources.limits;
            limits.insert("cpu".to_owned(), "500m".to_owned());
            let annotations = &mut pool.template.annotations;
            annotations.insert("updraft.dev/egress".to_owned(), "private".to_owned());
            annotations.insert("updraft.dev/scaling-cpu-target".to_owned(), "0.7".to_owned());
        },
        expect![[r#"
            worker_pool.template.annotations[updraft.dev/scaling-cpu-target]: the key in the namespace updraft.dev is 'updraft.dev/egress', got 'updraft.dev/scaling-cpu-target'
        "#]],
    );
}

#[test]
fn several_containers_need_no_port_and_names_of_their_own() {
    check_that(
        |pool| {
            let side = Container { image: "side".to_owned(), name: "consumer-1".to_owned(), ..Container::default() };
            pool.template.containers.push(side);
            pool.template.revision = Some("other-1".to_owned());
            pool.description = "é".repeat(513);
        },
        expect![[r#"
            worker_pool.description: must be at most 512 characters long, got 513
            worker_pool.template.revision: must begin with 'consumer-', have only lowercase letters, digits and hyphens, not end with a hyphen and be at most 63 characters long, got 'other-1'
            worker_pool.template.containers[1].name: each container needs a name of its own, got 'consumer-1' again
        "#]],
    );
}
