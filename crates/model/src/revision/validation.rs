//! The rules of a revision's template, each with its field and the value that broke it.
//!
//! Sources: Cloud Run Admin API v2 (`RevisionTemplate`, `Container`, `Probe`), Cloud Run's tables of
//! CPU and memory, its list of reserved variables. Run it after the defaults.

use std::{collections::HashSet, time::Duration};

use super::{Container, EnvValue, Protocol, RevisionTemplate, defaults, probe_rules, resource_rules};
use crate::{error::Violation, label, name};

/// The most containers of an instance.
pub const CONTAINERS_MAX: usize = 10;
/// The most variables of a container.
pub const ENV_MAX: usize = 1000;
/// The longest name and the longest value of a variable, in bytes.
pub const ENV_BYTES_MAX: usize = 32 << 10;
/// The most arguments of a container.
pub const ARGS_MAX: usize = 1000;
/// The most requests one instance may take at a time.
pub const CONCURRENCY_MAX: u32 = 1000;
/// The longest timeout of a request.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

/// Names of variables that the platform sets.
const RESERVED_ENV: [&str; 4] = ["PORT", "K_SERVICE", "K_REVISION", "K_CONFIGURATION"];
/// The prefix of variables that only the platform may set.
const RESERVED_ENV_PREFIX: &str = "X_GOOGLE_";

/// Checks `template` of `service` at the path `at`.
pub fn check(at: &str, service: &str, template: &RevisionTemplate, found: &mut Vec<Violation>) {
    if let Some(id) = &template.revision {
        found.extend(name::check_revision_id(&format!("{at}.revision"), service, id).err());
    }
    label::check_labels(&format!("{at}.labels"), &template.labels, found);
    label::check_annotations(&format!("{at}.annotations"), &template.annotations, found);
    let scaling = template.scaling;
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
    check_containers(at, template, found);
    check_volumes(at, template, found);
}

fn check_concurrency(at: &str, template: &RevisionTemplate, found: &mut Vec<Violation>) {
    let field = format!("{at}.max_instance_request_concurrency");
    let concurrency = template.concurrency;
    if concurrency > CONCURRENCY_MAX {
        found.push(Violation::new(field, format!("must be between 0 and {CONCURRENCY_MAX}, got {concurrency}")));
    } else if concurrency > 1 && defaults::total_cpu_millis(template).is_some_and(|cpu| cpu < 1000) {
        found.push(Violation::new(field, format!("must be 1 when less than 1 CPU is set, got {concurrency}")));
    }
}

fn check_containers(at: &str, template: &RevisionTemplate, found: &mut Vec<Violation>) {
    let field = format!("{at}.containers");
    let containers = &template.containers;
    if containers.is_empty() || containers.len() > CONTAINERS_MAX {
        let rule = format!("must have 1 to {CONTAINERS_MAX} containers, got {}", containers.len());
        found.push(Violation::new(&field, rule));
    }
    let with_port = containers.iter().filter(|container| container.port_count > 0).count();
    if containers.len() > 1 && with_port != 1 {
        let rule = format!("exactly one of several containers must have ports, got {with_port} with ports");
        found.push(Violation::new(&field, rule));
    }
    let mut names = HashSet::new();
    for (index, container) in containers.iter().enumerate() {
        let path = format!("{field}[{index}]");
        check_container(&path, container, found);
        if !names.insert(&container.name) {
            let rule = format!("each container needs a name of its own, got '{}' again", container.name);
            found.push(Violation::new(format!("{path}.name"), rule));
        }
        check_dependencies(&path, container, containers, found);
    }
    resource_rules::check_total(&field, template, found);
}

fn check_container(path: &str, container: &Container, found: &mut Vec<Violation>) {
    if !name::is_label(&container.name) {
        let rule = "must be at most 63 lowercase letters, digits or hyphens, with no hyphen first or last";
        found.push(Violation::new(format!("{path}.name"), format!("{rule}, got '{}'", container.name)));
    }
    if !is_image(&container.image) {
        let rule = format!("must be the URL of a container image, got '{}'", container.image);
        found.push(Violation::new(format!("{path}.image"), rule));
    }
    if container.args.len() > ARGS_MAX {
        let rule = format!("must have at most {ARGS_MAX} arguments, got {}", container.args.len());
        found.push(Violation::new(format!("{path}.args"), rule));
    }
    check_strings(path, container, found);
    check_env(path, container, found);
    check_port(path, container, found);
    resource_rules::check(&format!("{path}.resources"), container, found);
    probe_rules::check(path, container, found);
}

/// No argument or path may hold a NUL: the kernel would cut it there.
fn check_strings(path: &str, container: &Container, found: &mut Vec<Violation>) {
    for (field, texts) in [("command", &container.command), ("args", &container.args)] {
        for (index, _) in texts.iter().enumerate().filter(|(_, text)| text.contains('\0')) {
            found.push(Violation::new(format!("{path}.{field}[{index}]"), "must not contain a NUL character"));
        }
    }
    let dir = &container.working_dir;
    if !dir.is_empty() && (!dir.starts_with('/') || dir.contains('\0')) {
        let rule = format!("must be an absolute path, got '{dir}'");
        found.push(Violation::new(format!("{path}.working_dir"), rule));
    }
}

fn check_env(path: &str, container: &Container, found: &mut Vec<Violation>) {
    if container.env.len() > ENV_MAX {
        let rule = format!("must have at most {ENV_MAX} variables, got {}", container.env.len());
        found.push(Violation::new(format!("{path}.env"), rule));
    }
    let mut from_secrets = HashSet::new();
    for (index, variable) in container.env.iter().enumerate() {
        let field = format!("{path}.env[{index}].name");
        let name = &variable.name;
        if name.is_empty() || name.len() > ENV_BYTES_MAX || name.contains(['=', '\0']) {
            let rule = "must be 1 to 32768 characters without '=' and NUL";
            found.push(Violation::new(field, format!("{rule}, got '{}'", shorten(name))));
        } else if RESERVED_ENV.contains(&name.as_str()) || name.starts_with(RESERVED_ENV_PREFIX) {
            found.push(Violation::new(field, format!("the name is reserved by the platform, got '{name}'")));
        } else if matches!(variable.value, EnvValue::Secret { .. }) && !from_secrets.insert(name) {
            found.push(Violation::new(field, format!("a variable from a secret must be unique, got '{name}' again")));
        }
        if let EnvValue::Plain(value) = &variable.value
            && (value.len() > ENV_BYTES_MAX || value.contains('\0'))
        {
            let rule = format!("must be at most {ENV_BYTES_MAX} bytes without NUL, got {} bytes", value.len());
            found.push(Violation::new(format!("{path}.env[{index}].value"), rule));
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

fn check_dependencies(path: &str, container: &Container, all: &[Container], found: &mut Vec<Violation>) {
    for (index, wanted) in container.depends_on.iter().enumerate() {
        if *wanted == container.name || !all.iter().any(|other| other.name == *wanted) {
            let rule = format!("must name another container of the template, got '{wanted}'");
            found.push(Violation::new(format!("{path}.depends_on[{index}]"), rule));
        }
    }
}

fn check_volumes(at: &str, template: &RevisionTemplate, found: &mut Vec<Violation>) {
    let mut names = HashSet::new();
    for (index, volume) in template.volumes.iter().enumerate() {
        if !name::is_label(&volume.name) || !names.insert(&volume.name) {
            let rule =
                format!("must be a name of its own of lowercase letters, digits or hyphens, got '{}'", volume.name);
            found.push(Violation::new(format!("{at}.volumes[{index}].name"), rule));
        }
    }
    for (index, container) in template.containers.iter().enumerate() {
        for (mount, (volume, _)) in container.volume_mounts.iter().enumerate() {
            if !names.contains(volume) {
                let field = format!("{at}.containers[{index}].volume_mounts[{mount}].name");
                found.push(Violation::new(field, format!("must name a volume of the template, got '{volume}'")));
            }
        }
    }
}

/// Can this be a reference to an image? The whole grammar is the registry client's business.
fn is_image(image: &str) -> bool {
    let fits = |c: u8| c.is_ascii_alphanumeric() || b"._:/@-+[]".contains(&c);
    !image.is_empty() && image.len() <= 2048 && image.bytes().all(fits) && !image.ends_with(['/', ':', '@'])
}

/// The beginning of a text that may be as long as the request.
fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
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
            },
            expect![[r#"
                t.scaling.min_instance_count: must not be greater than max_instance_count 100, got 101
                t.timeout: must be between 1s and 3600s, got 3601s
                t.max_instance_request_concurrency: must be between 0 and 1000, got 1001
                t.containers[0].args: must have at most 1000 arguments, got 1001
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
