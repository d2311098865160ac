//! The rules of a revision's template, each with its field and the value that broke it.
//!
//! Sources: Cloud Run Admin API v2 (`RevisionTemplate`, `Container`, `Probe`), Cloud Run's tables of
//! CPU and memory, its list of reserved variables. Run it after the defaults.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::{
    Container, EnvValue, EnvVar, Protocol, RevisionTemplate, Volume, defaults, egress, order_rules, probe_rules,
    resource_rules, secret_rules, volume_rules,
};
use crate::{error::Violation, label, name};

/// The most containers of an instance.
pub const CONTAINERS_MAX: usize = 10;
/// The most variables of a container.
pub const ENV_MAX: usize = 1000;
/// The longest name and the longest value of a variable, in bytes.
pub const ENV_BYTES_MAX: usize = 32 << 10;
/// The most arguments of a container.
pub const ARGS_MAX: usize = 1000;
/// The longest argument, in bytes: the kernel takes no longer one.
pub const ARG_BYTES_MAX: usize = (128 << 10) - 1;
/// The most bytes of command, arguments and variables together: the kernel takes 2 MiB with the image's own.
pub const EXEC_BYTES_MAX: usize = 1 << 20;
/// The most instances that bounds may name: a slip of the finger must not fill a host.
pub const INSTANCES_MAX: u32 = 10_000;
/// The longest path, in bytes (`PATH_MAX` of Linux).
pub const PATH_BYTES_MAX: usize = 4096;
/// The most requests one instance may take at a time.
pub const CONCURRENCY_MAX: u32 = 1000;
/// The longest timeout of a request.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// What a container is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of an instance of a revision.
    Instance,
    /// Of an attempt of a task.
    Task,
    /// Of an instance of a worker pool's revision.
    Worker,
}

/// Names of variables that the platform sets.
const RESERVED_ENV: [&str; 4] = ["PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"];
/// The same in tasks.
const RESERVED_TASK_ENV: [&str; 5] =
    ["CLOUD_RUN_JOB", "CLOUD_RUN_EXECUTION", "CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_ATTEMPT", "CLOUD_RUN_TASK_COUNT"];
/// The same in worker pools.
const RESERVED_WORKER_ENV: [&str; 3] =
    ["CLOUD_RUN_WORKER_POOL", "CLOUD_RUN_WORKER_POOL_REVISION", "CLOUD_RUN_REVISION"];
/// The prefix of variables that only the platform may set.
const RESERVED_ENV_PREFIX: &str = "X_GOOGLE_";

/// Checks `template` of `service` at the path `at`.
pub fn check(at: &str, service: &str, template: &RevisionTemplate, found: &mut Vec<Violation>) {
    if let Some(id) = &template.revision {
        found.extend(name::check_revision_id(&format!("{at}.revision"), service, id).err());
    }
    label::check_labels(&format!("{at}.labels"), &template.labels, found);
    label::check_annotations(&format!("{at}.annotations"), &template.annotations, found);
    egress::check(&format!("{at}.annotations"), &template.annotations, found);
    // Empty until the defaults are in; the default is one of ours.
    if !template.service_account.is_empty() {
        found.extend(name::check_service_account(&format!("{at}.service_account"), &template.service_account).err());
    }
    let scaling = template.scaling;
    check_instances(&format!("{at}.scaling.max_instance_count"), scaling.max, found);
    if scaling.min > scaling.max {
        let rule = format!("must not be greater than max_instance_count {}, got {}", scaling.max, scaling.min);
        found.push(Violation::new(format!("{at}.scaling.min_instance_count"), rule));
    }
    if let Some(timeout) = template.timeout
        && !(Duration::from_secs(1)..=TIMEOUT_MAX).contains(&timeout)
    {
        let rule = format!("must be between 1s and 3600s, got {}s", timeout.as_secs_f64());
        found.push(Violation::new(format!("{at}.timeout"), rule));
    }
    check_concurrency(at, template, found);
    check_containers(&format!("{at}.containers"), &template.containers, found);
    volume_rules::check(at, &template.volumes, &template.containers, found);
}

/// Checks a count of instances at `field`.
pub(crate) fn check_instances(field: &str, count: u32, found: &mut Vec<Violation>) {
    if count > INSTANCES_MAX {
        found.push(Violation::new(field, format!("must be between 0 and {INSTANCES_MAX}, got {count}")));
    }
}

fn check_concurrency(at: &str, template: &RevisionTemplate, found: &mut Vec<Violation>) {
    let field = format!("{at}.max_instance_request_concurrency");
    let concurrency = template.concurrency;
    if concurrency > CONCURRENCY_MAX {
        found.push(Violation::new(field, format!("must be between 0 and {CONCURRENCY_MAX}, got {concurrency}")));
    } else if concurrency > 1 && defaults::total_cpu_millis(&template.containers).is_some_and(|cpu| cpu < 1000) {
        found.push(Violation::new(field, format!("must be 1 when less than 1 CPU is set, got {concurrency}")));
    }
}

fn check_containers(field: &str, containers: &[Container], found: &mut Vec<Violation>) {
    check_count(field, containers, found);
    let with_port = containers.iter().filter(|container| container.port_count > 0).count();
    if containers.len() > 1 && with_port != 1 {
        let rule = format!("exactly one of several containers must have ports, got {with_port} with ports");
        found.push(Violation::new(field, rule));
    }
    check_each(field, containers, Kind::Instance, found);
}

/// Checks the containers and volumes of a task's template at the path `at`: those of an instance, but that nothing has
/// to take traffic. A port is accepted, as Google does; it tells which container's end is the task's.
pub(crate) fn check_task(at: &str, containers: &[Container], volumes: &[Volume], found: &mut Vec<Violation>) {
    let field = format!("{at}.containers");
    check_count(&field, containers, found);
    let with_port = containers.iter().filter(|container| container.port_count > 0).count();
    if with_port > 1 {
        let rule = format!("at most one of several containers may have ports, got {with_port} with ports");
        found.push(Violation::new(&field, rule));
    }
    check_each(&field, containers, Kind::Task, found);
    volume_rules::check(at, volumes, containers, found);
}

/// Checks the containers and volumes of a worker pool's template at the path `at`. Nothing is sent to them, so what is
/// about that is refused rather than ignored.
pub(crate) fn check_worker(at: &str, containers: &[Container], volumes: &[Volume], found: &mut Vec<Violation>) {
    let field = format!("{at}.containers");
    check_count(&field, containers, found);
    check_each(&field, containers, Kind::Worker, found);
    volume_rules::check(at, volumes, containers, found);
}

fn check_count(field: &str, containers: &[Container], found: &mut Vec<Violation>) {
    if containers.is_empty() || containers.len() > CONTAINERS_MAX {
        let rule = format!("must have 1 to {CONTAINERS_MAX} containers, got {}", containers.len());
        found.push(Violation::new(field, rule));
    }
}

fn check_each(field: &str, containers: &[Container], kind: Kind, found: &mut Vec<Violation>) {
    let mut names = HashSet::new();
    for (index, container) in containers.iter().enumerate() {
        let path = format!("{field}[{index}]");
        check_container(&path, container, kind, found);
        if !names.insert(&container.name) {
            let rule = format!("each container needs a name of its own, got '{}' again", container.name);
            found.push(Violation::new(format!("{path}.name"), rule));
        }
    }
    order_rules::check(field, containers, found);
    resource_rules::check_total(field, containers, found);
}

fn check_container(path: &str, container: &Container, kind: Kind, found: &mut Vec<Violation>) {
    if !name::is_label(&container.name) {
        let rule = "must be at most 63 lowercase letters, digits or hyphens, with no hyphen first or last";
        found.push(Violation::new(format!("{path}.name"), format!("{rule}, got '{}'", container.name)));
    }
    if !is_image(&container.image) {
        let rule = format!("must be the URL of a container image, got '{}'", container.image);
        found.push(Violation::new(format!("{path}.image"), rule));
    }
    if !container.base_image_uri.is_empty() && !is_image(&container.base_image_uri) {
        let rule = format!("must be the URL of a container image, got '{}'", container.base_image_uri);
        found.push(Violation::new(format!("{path}.base_image_uri"), rule));
    }
    check_strings(path, container, found);
    check_env(path, &container.env, kind, found);
    match kind {
        Kind::Instance | Kind::Task => check_port(path, container, found),
        Kind::Worker if container.port_count > 0 => {
            let rule = "must be empty, for no requests are sent to a worker pool";
            found.push(Violation::new(format!("{path}.ports"), format!("{rule}, got {}", container.port_number)));
        }
        Kind::Worker => {}
    }
    let resources = format!("{path}.resources");
    resource_rules::check(&resources, container, found);
    if kind == Kind::Instance {
        resource_rules::check_idle(&resources, container, found);
    }
    if kind == Kind::Worker {
        probe_rules::check_portless(path, container, found);
    }
    probe_rules::check(path, container, found);
}

/// What is handed to the kernel: no text may hold a NUL, it would be cut there, nor be longer than it takes.
fn check_strings(path: &str, container: &Container, found: &mut Vec<Violation>) {
    check_arguments(&format!("{path}.command"), &container.command, found);
    check_arguments(&format!("{path}.args"), &container.args, found);
    let dir = &container.working_dir;
    if !dir.is_empty() && !is_path(dir) {
        let rule = format!("must be an absolute path of at most {PATH_BYTES_MAX} bytes, got '{dir}'");
        found.push(Violation::new(format!("{path}.working_dir"), rule));
    }
    let plain = |variable: &EnvVar| match &variable.value {
        EnvValue::Plain(value) => variable.name.len() + value.len() + 1,
        EnvValue::Secret { .. } => variable.name.len() + 1,
    };
    let arguments = container.command.iter().chain(&container.args).map(|text| text.len() + 1);
    let whole: usize = arguments.chain(container.env.iter().map(plain)).sum();
    if whole > EXEC_BYTES_MAX {
        let rule = format!("command, args and env together must be at most {EXEC_BYTES_MAX} bytes, got {whole} bytes");
        found.push(Violation::new(path, rule));
    }
}

/// Checks what a program is called with, at `field`.
pub(crate) fn check_arguments(field: &str, texts: &[String], found: &mut Vec<Violation>) {
    if texts.len() > ARGS_MAX {
        found.push(Violation::new(field, format!("must have at most {ARGS_MAX} arguments, got {}", texts.len())));
    }
    for (index, text) in texts.iter().enumerate() {
        if text.contains('\0') {
            found.push(Violation::new(format!("{field}[{index}]"), "must not contain a NUL character"));
        } else if text.len() > ARG_BYTES_MAX {
            let rule = format!("must be at most {ARG_BYTES_MAX} bytes, got {} bytes", text.len());
            found.push(Violation::new(format!("{field}[{index}]"), rule));
        }
    }
}

pub(super) fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.len() <= PATH_BYTES_MAX && !path.contains('\0')
}

/// Checks the variables of a container at `path`.
pub(crate) fn check_env(path: &str, env: &[EnvVar], kind: Kind, found: &mut Vec<Violation>) {
    if env.len() > ENV_MAX {
        let rule = format!("must have at most {ENV_MAX} variables, got {}", env.len());
        found.push(Violation::new(format!("{path}.env"), rule));
    }
    let mut names = HashMap::new();
    for (index, variable) in env.iter().enumerate() {
        let field = format!("{path}.env[{index}].name");
        let name = &variable.name;
        if name.is_empty() || name.len() > ENV_BYTES_MAX || name.contains(['=', '\0']) {
            let rule = "must be 1 to 32768 characters without '=' and NUL";
            found.push(Violation::new(field, format!("{rule}, got '{name}'")));
        } else if kind.reserved_env().contains(&name.as_str()) || name.starts_with(RESERVED_ENV_PREFIX) {
            found.push(Violation::new(field, format!("the name is reserved by the platform, got '{name}'")));
        } else {
            // Of plain ones the last wins; which of them would, beside a secret, should nobody have to know.
            let is_secret = matches!(variable.value, EnvValue::Secret { .. });
            let is_other_secret = names.insert(name, is_secret);
            if is_other_secret.is_some_and(|other| other || is_secret) {
                let rule = format!("a variable from a secret must be unique, got '{name}' again");
                found.push(Violation::new(field, rule));
            }
        }
        match &variable.value {
            EnvValue::Plain(value) if value.len() > ENV_BYTES_MAX || value.contains('\0') => {
                let rule = format!("must be at most {ENV_BYTES_MAX} bytes without NUL, got {} bytes", value.len());
                found.push(Violation::new(format!("{path}.env[{index}].value"), rule));
            }
            EnvValue::Plain(_) => {}
            EnvValue::Secret { secret, version } => {
                let path = format!("{path}.env[{index}].value_source.secret_key_ref");
                secret_rules::check_secret(&path, secret, found);
                // Without one it is the latest.
                if !version.is_empty() {
                    secret_rules::check_version(&path, version, found);
                }
            }
        }
    }
}

fn check_port(path: &str, container: &Container, found: &mut Vec<Violation>) {
    match container.port_count {
        0 => return,
        1 => {}
        several => {
            let rule = format!("a container may have at most one port, got {several}");
            found.push(Violation::new(format!("{path}.ports"), rule));
        }
    }
    if !(1..=65535).contains(&container.port_number) {
        let rule = format!("must be between 1 and 65535, got {}", container.port_number);
        found.push(Violation::new(format!("{path}.ports[0].container_port"), rule));
    }
    if Protocol::from_port_name(&container.port_name).is_none() {
        let rule = format!("must be 'http1' or 'h2c', got '{}'", container.port_name);
        found.push(Violation::new(format!("{path}.ports[0].name"), rule));
    }
}

// === impl Kind ===

impl Kind {
    fn reserved_env(self) -> &'static [&'static str] {
        match self {
            Self::Instance => &RESERVED_ENV,
            Self::Task => &RESERVED_TASK_ENV,
            Self::Worker => &RESERVED_WORKER_ENV,
        }
    }
}

/// Can this be a reference to an image? The whole grammar is the registry client's business.
fn is_image(image: &str) -> bool {
    let fits = |c: u8| c.is_ascii_alphanumeric() || b"._:/@-+[]".contains(&c);
    let name = image.split_once('@').map_or(image, |(name, _)| name);
    // A colon before the last slash is the registry's port, one after it the tag's.
    let is_tagged_once = name.rsplit('/').next().is_none_or(|last| last.matches(':').count() <= 1);
    let is_whole = !image.is_empty() && !image.ends_with(['/', ':', '@']);
    is_whole && image.len() <= 2048 && image.bytes().all(fits) && is_tagged_once
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::revision::EnvVar;

    fn check_that(change: impl FnOnce(&mut RevisionTemplate), expected: Expect) {
        let container = Container { image: "hello".to_owned(), ..Container::default() };
        let mut template = RevisionTemplate { containers: vec![container], ..RevisionTemplate::default() };
        change(&mut template);
        defaults::apply(&mut template, "demo-project");
        let mut found = Vec::new();
        check("t", "hello", &template, &mut found);
        let lines: Vec<String> = found.iter().map(|violation| format!("{violation}\n")).collect();
        expected.assert_eq(&lines.concat());
    }

    fn env(name: &str) -> EnvVar {
        EnvVar { name: name.to_owned(), value: EnvValue::Plain("x".to_owned()) }
    }

    #[test]
    fn reserved_variables_are_refused_by_their_path() {
        check_that(
            |template| {
                template.containers[0].env =
                    ["A", "A", "PORT", "K_SERVICE", "X_GOOGLE_Y", "K_OTHER", "a=b"].map(env).into()
            },
            expect![[r#"
                t.containers[0].env[2].name: the name is reserved by the platform, got 'PORT'
                t.containers[0].env[3].name: the name is reserved by the platform, got 'K_SERVICE'
                t.containers[0].env[4].name: the name is reserved by the platform, got 'X_GOOGLE_Y'
                t.containers[0].env[6].name: must be 1 to 32768 characters without '=' and NUL, got 'a=b'
            "#]],
        );
    }

    #[test]
    fn counts_and_sizes_have_googles_limits() {
        check_that(
            |template| {
                template.concurrency = 1001;
                template.timeout = Some(Duration::from_secs(3601));
                template.scaling.min = 101;
                let container = &mut template.containers[0];
                container.args = vec![String::new(); 1001];
                container.env = vec![env("A"); 1001];
                container.env[0].value = EnvValue::Plain("x".repeat(32_769));
                container.command = vec!["x".repeat(131_072); 8];
                container.working_dir = "here".to_owned();
                container.base_image_uri = "a b".to_owned();
            },
            expect![[r#"
                t.scaling.min_instance_count: must not be greater than max_instance_count 100, got 101
                t.timeout: must be between 1s and 3600s, got 3601s
                t.max_instance_request_concurrency: must be between 0 and 1000, got 1001
                t.containers[0].base_image_uri: must be the URL of a container image, got 'a b'
                t.containers[0].command[0]: must be at most 131071 bytes, got 131072 bytes
                t.containers[0].command[1]: must be at most 131071 bytes, got 131072 bytes
                t.containers[0].command[2]: must be at most 131071 bytes, got 131072 bytes
                t.containers[0].command[3]: must be at most 131071 bytes, got 131072 bytes
                t.containers[0].command[4]: must be at most 131071 bytes, got 131072 bytes
                t.containers[0].command[5]: must be at most 131071 bytes, got 131072 bytes
                t.containers[0].command[6]: must be at most 131071 bytes, got 131072 bytes
                t.containers[0].command[7]: must be at most 131071 bytes, got 131072 bytes
                t.containers[0].args: must have at most 1000 arguments, got 1001
                t.containers[0].working_dir: must be an absolute path of at most 4096 bytes, got 'here'
                t.containers[0]: command, args and env together must be at most 1048576 bytes, got 1085356 bytes
                t.containers[0].env: must have at most 1000 variables, got 1001
                t.containers[0].env[0].value: must be at most 32768 bytes without NUL, got 32769 bytes
            "#]],
        );
    }

    #[test]
    fn one_of_several_containers_takes_the_traffic() {
        let second = |template: &mut RevisionTemplate| {
            let sidecar =
                Container { image: "side".to_owned(), depends_on: vec!["x".to_owned()], ..Container::default() };
            template.containers.push(sidecar);
        };
        check_that(
            second,
            expect![[r#"
                t.containers: exactly one of several containers must have ports, got 0 with ports
                t.containers[1].depends_on[0]: must name another container of the template, got 'x'
            "#]],
        );
    }

    #[test]
    fn an_image_has_one_tag_and_its_registry_may_have_a_port() {
        for sound in
            ["hello", "hello:v1", "localhost:5000/hello:v1", "localhost:5000/hello:v1@sha256:aa", "a/b@sha256:aa"]
        {
            assert!(is_image(sound), "{sound}");
        }
        for broken in ["foo:bar:baz", "localhost:5000/foo:bar:baz", "foo:bar:baz@sha256:aa", "hello:", ""] {
            assert!(!is_image(broken), "{broken}");
        }
    }

    #[test]
    fn ports_images_and_names_are_checked() {
        check_that(
            |template| {
                template.revision = Some("other-1".to_owned());
                let container = &mut template.containers[0];
                (container.port_count, container.port_number) = (2, 70_000);
                "grpc".clone_into(&mut container.port_name);
                "no image".clone_into(&mut container.image);
            },
            expect![[r#"
                t.revision: must begin with 'hello-', have only lowercase letters, digits and hyphens, not end with a hyphen and be at most 63 characters long, got 'other-1'
                t.containers[0].image: must be the URL of a container image, got 'no image'
                t.containers[0].ports: a container may have at most one port, got 2
                t.containers[0].ports[0].container_port: must be between 1 and 65535, got 70000
                t.containers[0].ports[0].name: must be 'http1' or 'h2c', got 'grpc'
                t.containers[0].startup_probe.tcp_socket.port: must be between 1 and 65535, got 70000
            "#]],
        );
    }

    #[test]
    fn cpu_and_memory_follow_the_table() {
        let with = |cpu: &'static str, memory: &'static str| {
            move |template: &mut RevisionTemplate| {
                let resources = &mut template.containers[0].resources;
                (resources.given, resources.cpu_idle) = (true, true);
                resources.limits.insert("cpu".to_owned(), cpu.to_owned());
                resources.limits.insert("memory".to_owned(), memory.to_owned());
            }
        };
        for (cpu, memory) in
            [("80m", "128Mi"), ("500m", "1Gi"), ("1", "4Gi"), ("2", "8Gi"), ("4", "16Gi"), ("8", "4Gi")]
        {
            check_that(with(cpu, memory), expect![[""]]);
        }
        check_that(
            with("3", "x"),
            expect![[r#"
                t.containers[0].resources.limits[cpu]: must be 0.08 to 1 in steps of 0.001, or 1, 2, 4, 6 or 8, got '3'
                t.containers[0].resources.limits[memory]: must be a quantity such as 512Mi or 1Gi, got 'x'
            "#]],
        );
        check_that(
            with("1", "5Gi"),
            expect![[r#"
                t.containers: with a total of 1000m CPU, memory must be between 128Mi and 4096Mi, got 5120Mi
            "#]],
        );
        check_that(
            with("4", "512Mi"),
            expect![[r#"
                t.containers: with a total of 4000m CPU, memory must be between 2048Mi and 16384Mi, got 512Mi
            "#]],
        );
        check_that(
            |template| {
                with("500m", "512Mi")(template);
                template.concurrency = 80;
                template.containers[0].resources.cpu_idle = false;
            },
            expect![[r#"
                t.max_instance_request_concurrency: must be 1 when less than 1 CPU is set, got 80
                t.containers[0].resources.cpu_idle: must be true when less than 1 CPU is set, got false
            "#]],
        );
    }
}
