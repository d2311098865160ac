//! Jobs with a fault or two, and what is said of them.

use expect_test::{Expect, expect};

use super::*;
use crate::{
    job::{ContainerOverride, FirstExecution, Overrides, TaskTemplate, defaults},
    name::Parent,
    revision::{Container, EGRESS, EnvValue, EnvVar, Volume, VolumeKind},
};

fn job() -> Job {
    let container = Container { image: "hello".to_owned(), ..Container::default() };
    let template = TaskTemplate { containers: vec![container], ..TaskTemplate::default() };
    Job {
        name: Parent::new("demo-project", "us-central1").job("nightly"),
        labels: Default::default(),
        annotations: Default::default(),
        template: ExecutionTemplate { template, ..ExecutionTemplate::default() },
        first_execution: None,
        client: Default::default(),
        unsupported: Vec::new(),
    }
}

fn env(name: &str, value: &str) -> EnvVar {
    EnvVar { name: name.to_owned(), value: EnvValue::Plain(value.to_owned()) }
}

fn lines(found: &[Violation]) -> String {
    found.iter().map(|violation| format!("{violation}\n")).collect()
}

fn check_that(change: impl FnOnce(&mut Job), expected: Expect) {
    let mut job = job();
    change(&mut job);
    defaults::apply(&mut job);
    expected.assert_eq(&lines(&check(&job)));
}

#[test]
fn an_image_alone_is_a_valid_job() {
    check_that(|_| {}, expect![[""]]);
}

#[test]
fn counts_retries_and_timeouts_have_googles_limits() {
    for (tasks, parallelism, retries, seconds) in [(1, 0, 0, 1), (10_000, 10_000, 10, 168 * 3600)] {
        check_that(
            |job| {
                (job.template.task_count, job.template.parallelism) = (tasks, parallelism);
                job.template.template.max_retries = Some(retries);
                job.template.template.timeout = Some(Duration::from_secs(seconds));
            },
            expect![[""]],
        );
    }
    check_that(
        |job| {
            (job.template.task_count, job.template.parallelism) = (10_001, -1);
            job.template.template.max_retries = Some(11);
            job.template.template.timeout = Some(Duration::from_secs(168 * 3600 + 1));
            job.unsupported.push("binary_authorization".to_owned());
        },
        expect![[r#"
            job.template.task_count: must be between 1 and 10000, got 10001
            job.template.parallelism: must be between 0, as many as there is room for, and task_count 10001, got -1
            job.template.template.max_retries: must be between 0 and 10, got 11
            job.template.template.timeout: must be whole seconds between 1s and 604800s (168 hours), got 604801s
            job.binary_authorization: is not supported by this version
        "#]],
    );
    check_that(
        |job| {
            (job.template.task_count, job.template.parallelism) = (2, 3);
            job.template.template.max_retries = Some(-1);
            job.template.template.timeout = Some(Duration::from_millis(1500));
            "me".clone_into(&mut job.template.template.service_account);
        },
        expect![[r#"
            job.template.parallelism: must be between 0, as many as there is room for, and task_count 2, got 3
            job.template.template.max_retries: must be between 0 and 10, got -1
            job.template.template.timeout: must be whole seconds between 1s and 604800s (168 hours), got 1.5s
            job.template.template.service_account: must be the e-mail of a service account, got 'me'
        "#]],
    );
}

#[test]
fn containers_of_tasks_have_the_rules_of_those_of_instances() {
    check_that(
        |job| {
            let task = &mut job.template.template;
            "no image".clone_into(&mut task.containers[0].image);
            task.containers[0].env = vec![env("PORT", "1"), env("CLOUD_RUN_TASK_INDEX", "1"), env("X_GOOGLE_Y", "1")];
            task.containers[0].volume_mounts = vec![("data".to_owned(), "/proc".to_owned())];
            task.containers[0].resources.limits.insert("cpu".to_owned(), "3".to_owned());
            let kind = VolumeKind::EmptyDir { size_limit: "much".to_owned() };
            task.volumes.push(Volume { name: "data".to_owned(), kind });
        },
        expect![[r#"
            job.template.template.containers[0].image: must be the URL of a container image, got 'no image'
            job.template.template.containers[0].env[1].name: the name is reserved by the platform, got 'CLOUD_RUN_TASK_INDEX'
            job.template.template.containers[0].env[2].name: the name is reserved by the platform, got 'X_GOOGLE_Y'
            job.template.template.containers[0].resources.limits[cpu]: must be 0.08 to 1 in steps of 0.001, or 1, 2, 4, 6 or 8, got '3'
            job.template.template.volumes[0].empty_dir.size_limit: must be a quantity above 0 such as 64Mi or 1Gi, got 'much'
            job.template.template.containers[0].volume_mounts[0].mount_path: must not be /, nor in /dev, /proc, /sys, got '/proc'
        "#]],
    );
    check_that(
        |job| job.template.template.containers.clear(),
        expect![[r#"
            job.template.template.containers: must have 1 to 10 containers, got 0
        "#]],
    );
}

#[test]
fn tasks_need_no_port_and_one_container_at_most_has_some() {
    let with_ports = |ports: [usize; 2]| {
        move |job: &mut Job| {
            let containers = &mut job.template.template.containers;
            containers.push(containers[0].clone());
            for (container, count) in containers.iter_mut().zip(ports) {
                container.port_count = count;
            }
        }
    };
    for ports in [[0, 0], [0, 1]] {
        check_that(with_ports(ports), expect![[""]]);
    }
    check_that(
        with_ports([2, 1]),
        expect![[r#"
            job.template.template.containers: at most one of several containers may have ports, got 2 with ports
            job.template.template.containers[0].ports: a container may have at most one port, got 2
        "#]],
    );
    let mut job = job();
    with_ports([0, 1])(&mut job);
    defaults::apply(&mut job);
    assert_eq!(job.template.template.main_container().map(|main| &*main.name), Some("hello-2"), "the one with a port");
    with_ports([0, 0])(&mut job);
    assert_eq!(job.template.template.main_container().map(|main| &*main.name), Some("hello-1"), "or the first");
}

#[test]
fn less_than_a_cpu_is_accepted_though_it_is_always_on() {
    check_that(
        |job| {
            let resources = &mut job.template.template.containers[0].resources;
            resources.given = true;
            resources.limits.insert("cpu".to_owned(), "500m".to_owned());
        },
        expect![[""]],
    );
}

#[test]
fn what_is_said_of_egress_belongs_to_the_executions_template() {
    let key = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    check_that(
        |job| {
            job.annotations.extend([key(EGRESS, "none")]);
            job.template.annotations.extend([key(EGRESS, "some"), key("updraft.dev/scaling-cpu-target", "50")]);
        },
        expect![[r#"
            job.annotations[updraft.dev/egress]: keys in the namespace updraft.dev belong to the template, got 'updraft.dev/egress'
            job.template.annotations[updraft.dev/egress]: must be 'none', 'private' or 'all', got 'some'
            job.template.annotations[updraft.dev/scaling-cpu-target]: the key in the namespace updraft.dev is 'updraft.dev/egress', got 'updraft.dev/scaling-cpu-target'
        "#]],
    );
}

#[test]
fn the_token_of_an_execution_is_checked_by_the_field_that_has_it() {
    check_that(|job| job.first_execution = Some(FirstExecution::Start("v1".to_owned())), expect![[""]]);
    check_that(
        |job| job.first_execution = Some(FirstExecution::Run("V1".to_owned())),
        expect![[r#"
            job.run_execution_token: must be 1 to 55 lowercase letters, digits and hyphens and not end with a hyphen: job id and token together must be less than 63 characters, got 'V1'
        "#]],
    );
}

/// What is run of a job of ten tasks, five at a time, whose container `main` has arguments and variables.
fn overridden(overrides: &Overrides) -> Result<ExecutionTemplate, String> {
    let mut job = job();
    (job.template.task_count, job.template.parallelism) = (10, 5);
    let container = &mut job.template.template.containers[0];
    "main".clone_into(&mut container.name);
    container.args = vec!["a".to_owned()];
    container.env = vec![env("A", "1"), env("B", "1"), env("A", "2")];
    defaults::apply(&mut job);
    assert_eq!(lines(&check(&job)), "");
    overrides.apply(&job.template).map_err(|error| lines(error.violations()))
}

#[test]
fn overrides_replace_arguments_and_counts_and_are_merged_over_variables() {
    assert!(Overrides::default().is_empty());
    let container = ContainerOverride {
        args: vec!["b".to_owned(), "c".to_owned()],
        env: vec![env("A", "3"), env("C", "3")],
        ..ContainerOverride::default()
    };
    let overrides = Overrides {
        containers: vec![container],
        task_count: Some(3),
        timeout: Some(Duration::from_secs(5)),
        parallelism: None,
    };
    assert!(!overrides.is_empty());
    let changed = overridden(&overrides).expect("fine");
    assert_eq!((changed.task_count, changed.parallelism), (3, 3), "no more at a time than there are");
    assert_eq!(changed.template.timeout, Some(Duration::from_secs(5)));
    let container = &changed.template.containers[0];
    assert_eq!(container.args, ["b", "c"]);
    assert_eq!(container.env, [env("B", "1"), env("A", "3"), env("C", "3")]);
}

#[test]
fn arguments_stay_unless_they_are_replaced_or_cleared() {
    let named = ContainerOverride { name: "main".to_owned(), ..ContainerOverride::default() };
    let cleared = ContainerOverride { clear_args: true, ..named.clone() };
    let args = |container: ContainerOverride| {
        let overrides = Overrides { containers: vec![container], parallelism: Some(99), ..Overrides::default() };
        let changed = overridden(&overrides).expect("fine");
        assert_eq!(changed.parallelism, 10, "all of them");
        changed.template.containers[0].args.clone()
    };
    assert_eq!(args(named), ["a"]);
    assert_eq!(args(cleared), [""; 0]);
}

#[test]
fn overrides_are_checked_where_they_are_written() {
    let broken = ContainerOverride {
        name: "side".to_owned(),
        args: vec!["\0".to_owned()],
        env: vec![env("CLOUD_RUN_JOB", "x")],
        clear_args: true,
    };
    let overrides = Overrides {
        containers: vec![broken],
        task_count: Some(0),
        timeout: Some(Duration::ZERO),
        parallelism: Some(-1),
    };
    expect![[r#"
        overrides.task_count: must be between 1 and 10000, got 0
        overrides.parallelism: must be 0 or more, got -1
        overrides.timeout: must be whole seconds between 1s and 604800s (168 hours), got 0s
        overrides.container_overrides[0].args[0]: must not contain a NUL character
        overrides.container_overrides[0].env[0].name: the name is reserved by the platform, got 'CLOUD_RUN_JOB'
        overrides.container_overrides[0].args: must be empty when clear_args is true, got 1 arguments
        overrides.container_overrides[0].name: must be the name of a container of the job (main), got 'side'
    "#]]
    .assert_eq(&overridden(&overrides).expect_err("refused"));
}

#[test]
fn what_only_the_whole_breaks_is_said_of_the_whole() {
    let container = ContainerOverride { args: vec!["x".repeat(131_071); 8], ..ContainerOverride::default() };
    let overrides = Overrides { containers: vec![container], ..Overrides::default() };
    let said = overridden(&overrides).expect_err("too much");
    assert!(said.starts_with("job.template.template.containers[0]: command, args and env together"), "{said}");
}
