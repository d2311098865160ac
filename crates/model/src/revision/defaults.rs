//! What a revision gets that does not say otherwise.
//!
//! Source: Cloud Run Admin API v2, as observed on a service created with nothing but an image.

use std::time::Duration;

use super::{Container, Probe, ProbeKind, Protocol, RevisionTemplate};
use crate::{
    name::{LABEL_MAX, project_number},
    quantity,
};

/// How long a request may take.
pub const TIMEOUT: Duration = Duration::from_secs(300);
/// Requests one instance takes at a time, with a whole CPU; with less it is 1.
pub const CONCURRENCY: u32 = 80;
/// Instances allowed.
pub const MAX_INSTANCES: u32 = 100;
/// The port a container is told to listen on.
pub const PORT: u16 = 8080;
/// The limit of CPU.
pub const CPU: &str = "1000m";
/// The limit of memory.
pub const MEMORY: &str = "512Mi";
/// Successes in a row after which an instance whose readiness probe failed gets requests again. Source: Cloud Run's
/// "Container health checks"; Kubernetes has 1.
pub const READINESS_SUCCESSES: u32 = 2;
/// How long a container may take until it listens, in seconds.
pub const STARTUP_SECONDS: i32 = 240;

/// The service account of what says none, in `project`.
pub fn service_account(project: &str) -> String {
    format!("{}-compute@developer.gserviceaccount.com", project_number(project))
}

/// Fills in what the client left open, for a template of a service in `project`. Applying it twice
/// is applying it once.
pub fn apply(template: &mut RevisionTemplate, project: &str) {
    template.timeout.get_or_insert(TIMEOUT);
    if template.scaling.max == 0 {
        template.scaling.max = MAX_INSTANCES;
    }
    if template.service_account.is_empty() {
        template.service_account = service_account(project);
    }
    let alone = template.containers.len() == 1;
    for (index, container) in template.containers.iter_mut().enumerate() {
        fill_container(container, index);
        if alone && container.port_count == 0 {
            container.port_count = 1;
        }
        if container.port_count > 0 {
            fill_ingress(container);
        }
    }
    if template.concurrency == 0 {
        template.concurrency =
            if total_cpu_millis(&template.containers).is_some_and(|cpu| cpu < 1000) { 1 } else { CONCURRENCY };
    }
}

/// The CPU of all `containers` together, in thousandths; `None` when one of them cannot be read.
pub fn total_cpu_millis(containers: &[Container]) -> Option<u32> {
    let limit = |container: &Container| {
        container.resources.limits.get("cpu").map_or(Some(1000), |text| quantity::cpu_millis(text))
    };
    containers.iter().map(limit).try_fold(0, |sum: u32, cpu| sum.checked_add(cpu?))
}

/// Fills in the name, limits and probes of the container with this index.
pub(crate) fn fill_container(container: &mut Container, index: usize) {
    if container.name.is_empty() {
        container.name = format!("{}-{}", image_basename(&container.image), index + 1);
    }
    let resources = &mut container.resources;
    resources.limits.entry("cpu".to_owned()).or_insert_with(|| CPU.to_owned());
    resources.limits.entry("memory".to_owned()).or_insert_with(|| MEMORY.to_owned());
    if !resources.given {
        resources.cpu_idle = true;
        resources.given = true;
    }
    for probe in [&mut container.startup_probe, &mut container.liveness_probe, &mut container.readiness_probe] {
        probe.as_mut().map(fill_probe);
    }
}

/// The container that takes the traffic has a port and a startup probe.
fn fill_ingress(container: &mut Container) {
    fill_port(container);
    let port = container.port_number;
    container.startup_probe.get_or_insert(Probe {
        initial_delay: 0,
        timeout: STARTUP_SECONDS,
        period: STARTUP_SECONDS,
        failure_threshold: 1,
        kind: ProbeKind::Tcp { port },
    });
}

/// The port has a name and a number, and the probes ask it unless they say otherwise.
pub(crate) fn fill_port(container: &mut Container) {
    if container.port_name.is_empty() {
        container.port_name = Protocol::Http1.as_str().to_owned();
    }
    if container.port_number == 0 {
        container.port_number = i32::from(PORT);
    }
    let protocol = Protocol::from_port_name(&container.port_name);
    container.port = protocol.zip(u16::try_from(container.port_number).ok());
    let port = container.port_number;
    for probe in [&mut container.startup_probe, &mut container.liveness_probe, &mut container.readiness_probe] {
        if let Some(
            ProbeKind::Http { port: own, .. } | ProbeKind::Tcp { port: own } | ProbeKind::Grpc { port: own, .. },
        ) = probe.as_mut().map(|probe| &mut probe.kind)
            && *own == 0
        {
            *own = port;
        }
    }
}

fn fill_probe(probe: &mut Probe) {
    for (field, default) in [(&mut probe.timeout, 1), (&mut probe.period, 10), (&mut probe.failure_threshold, 3)] {
        if *field == 0 {
            *field = default;
        }
    }
    if let ProbeKind::Http { path, .. } = &mut probe.kind
        && path.is_empty()
    {
        "/".clone_into(path);
    }
}

/// The last part of an image's repository, made a label: `gcr.io/p/My_App:v1` → `my-app`.
fn image_basename(image: &str) -> String {
    let repository = image.split('@').next().unwrap_or(image);
    let last = repository.rsplit('/').next().unwrap_or(repository);
    let plain = last.split(':').next().unwrap_or(last).to_ascii_lowercase();
    let label: String = plain.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    // Room for a hyphen and the container's number.
    let label = label.trim_matches('-').chars().take(LABEL_MAX - 4).collect::<String>();
    let label = label.trim_end_matches('-');
    if label.is_empty() { "container".to_owned() } else { label.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_image(image: &str) -> RevisionTemplate {
        RevisionTemplate {
            containers: vec![Container { image: image.to_owned(), ..Container::default() }],
            ..RevisionTemplate::default()
        }
    }

    #[test]
    fn an_image_alone_gets_everything_google_gives_it() {
        let mut template = of_image("localhost:5000/team/Hello_World:v1");
        apply(&mut template, "demo-project");
        let container = &template.containers[0];
        assert_eq!(container.name, "hello-world-1");
        assert_eq!(container.port, Some((Protocol::Http1, 8080)));
        assert_eq!(container.resources.limits["cpu"], "1000m");
        assert_eq!(container.resources.limits["memory"], "512Mi");
        assert!(container.resources.cpu_idle);
        let probe = container.startup_probe.as_ref().expect("a default probe");
        assert_eq!((probe.timeout, probe.period, probe.failure_threshold), (240, 240, 1));
        assert_eq!(probe.kind, ProbeKind::Tcp { port: 8080 });
        assert_eq!((template.concurrency, template.scaling.max, template.timeout), (80, 100, Some(TIMEOUT)));
        assert!(template.service_account.ends_with("-compute@developer.gserviceaccount.com"));
        let once = template.clone();
        apply(&mut template, "demo-project");
        assert_eq!(template, once);
    }

    #[test]
    fn resources_that_were_sent_leave_cpu_idle_as_sent() {
        let mut template = of_image("hello");
        template.containers[0].resources.given = true;
        apply(&mut template, "demo-project");
        assert!(!template.containers[0].resources.cpu_idle);
    }

    #[test]
    fn less_than_a_cpu_means_one_request_at_a_time() {
        let mut template = of_image("hello");
        template.containers[0].resources.limits.insert("cpu".to_owned(), "500m".to_owned());
        apply(&mut template, "demo-project");
        assert_eq!(template.concurrency, 1);
    }

    #[test]
    fn a_probe_without_a_port_asks_the_containers() {
        let mut template = of_image("hello@sha256:00");
        let container = &mut template.containers[0];
        (container.port_count, container.port_number) = (1, 9000);
        container.startup_probe = Some(Probe {
            initial_delay: 0,
            timeout: 0,
            period: 0,
            failure_threshold: 0,
            kind: ProbeKind::Http { path: String::new(), headers: Vec::new(), port: 0 },
        });
        apply(&mut template, "demo-project");
        let probe = template.containers[0].startup_probe.clone().expect("kept");
        assert_eq!((probe.timeout, probe.period, probe.failure_threshold), (1, 10, 3));
        assert_eq!(probe.kind, ProbeKind::Http { path: "/".to_owned(), headers: Vec::new(), port: 9000 });
    }
}
