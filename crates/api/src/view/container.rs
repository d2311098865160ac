//! A container and its probes: message ↔ model.

use run::{env_var::Values, probe::ProbeType};
use updraft_model::revision::{Container, EnvValue, EnvVar, Probe, ProbeKind, Protocol, Resources};

use super::Issues;
use crate::run;

pub(super) fn read_all(issues: &mut Issues, path: &str, messages: &[run::Container]) -> Vec<Container> {
    let numbered = messages.iter().enumerate();
    numbered.map(|(index, message)| read(issues, &format!("{path}.containers[{index}]"), message)).collect()
}

fn read(issues: &mut Issues, path: &str, message: &run::Container) -> Container {
    let first_port = message.ports.first();
    Container {
        name: message.name.clone(),
        image: message.image.clone(),
        command: message.command.clone(),
        args: message.args.clone(),
        env: read_env(issues, path, &message.env),
        resources: resources(message.resources.as_ref()),
        port: first_port.and_then(port),
        port_count: message.ports.len(),
        port_name: first_port.map(|port| port.name.clone()).unwrap_or_default(),
        port_number: first_port.map(|port| port.container_port).unwrap_or_default(),
        volume_mounts: message.volume_mounts.iter().map(|m| (m.name.clone(), m.mount_path.clone())).collect(),
        working_dir: message.working_dir.clone(),
        startup_probe: message.startup_probe.as_ref().map(probe),
        liveness_probe: message.liveness_probe.as_ref().map(probe),
        readiness_probe: message.readiness_probe.as_ref().map(probe),
        depends_on: message.depends_on.clone(),
        base_image_uri: message.base_image_uri.clone(),
    }
}

/// Variables, of a container or of what an execution has otherwise.
pub(super) fn read_env(issues: &mut Issues, path: &str, messages: &[run::EnvVar]) -> Vec<EnvVar> {
    messages.iter().enumerate().map(|(index, var)| env(issues, path, index, var)).collect()
}

/// The message of a variable.
pub(super) fn env_message(variable: &EnvVar) -> run::EnvVar {
    let values = match &variable.value {
        EnvValue::Plain(text) => Values::Value(text.clone()),
        EnvValue::Secret { secret, version } => Values::ValueSource(run::EnvVarSource {
            secret_key_ref: Some(run::SecretKeySelector { secret: secret.clone(), version: version.clone() }),
        }),
    };
    run::EnvVar { name: variable.name.clone(), values: Some(values) }
}

/// The port as it will be used; `None` when its name or number is none that validation lets pass.
fn port(message: &run::ContainerPort) -> Option<(Protocol, u16)> {
    let number = u16::try_from(message.container_port).ok().filter(|number| *number != 0);
    Protocol::from_port_name(&message.name).zip(number)
}

fn env(issues: &mut Issues, path: &str, index: usize, message: &run::EnvVar) -> EnvVar {
    let value = match &message.values {
        None => EnvValue::Plain(String::new()),
        Some(Values::Value(text)) => EnvValue::Plain(text.clone()),
        Some(Values::ValueSource(source)) => match &source.secret_key_ref {
            Some(key) => EnvValue::Secret { secret: key.secret.clone(), version: key.version.clone() },
            None => {
                issues.add(format!("{path}.env[{index}].value_source.secret_key_ref"), "must be set");
                EnvValue::Plain(String::new())
            }
        },
    };
    EnvVar { name: message.name.clone(), value }
}

fn resources(message: Option<&run::ResourceRequirements>) -> Resources {
    let Some(message) = message else { return Resources::default() };
    Resources {
        given: true,
        limits: message.limits.clone().into_iter().collect(),
        cpu_idle: message.cpu_idle,
        startup_cpu_boost: message.startup_cpu_boost,
    }
}

fn probe(message: &run::Probe) -> Probe {
    Probe {
        initial_delay: message.initial_delay_seconds,
        timeout: message.timeout_seconds,
        period: message.period_seconds,
        failure_threshold: message.failure_threshold,
        kind: match &message.probe_type {
            None => ProbeKind::Unset,
            Some(ProbeType::HttpGet(get)) => ProbeKind::Http {
                path: get.path.clone(),
                headers: get.http_headers.iter().map(|h| (h.name.clone(), h.value.clone())).collect(),
                port: get.port,
            },
            Some(ProbeType::TcpSocket(tcp)) => ProbeKind::Tcp { port: tcp.port },
            Some(ProbeType::Grpc(grpc)) => ProbeKind::Grpc { port: grpc.port, service: grpc.service.clone() },
        },
    }
}

pub(super) fn write_defaults(message: &mut run::Container, container: &Container) {
    message.name.clone_from(&container.name);
    write_port(message, container.port);
    let resources = message.resources.get_or_insert_default();
    resources.limits = container.resources.limits.clone().into_iter().collect();
    resources.cpu_idle = container.resources.cpu_idle;
    resources.startup_cpu_boost = container.resources.startup_cpu_boost;
    message.startup_probe = container.startup_probe.as_ref().map(probe_message);
    message.liveness_probe = container.liveness_probe.as_ref().map(probe_message);
    message.readiness_probe = container.readiness_probe.as_ref().map(probe_message);
}

/// Only the ingress container has a port; of two ports in the message none is touched, validation
/// refuses them.
fn write_port(message: &mut run::Container, port: Option<(Protocol, u16)>) {
    let Some((protocol, number)) = port else { return };
    let written = run::ContainerPort { name: protocol.as_str().to_owned(), container_port: number.into() };
    match &mut message.ports[..] {
        [] => message.ports.push(written),
        [only] => *only = written,
        _ => {}
    }
}

/// The message of a probe.
fn probe_message(probe: &Probe) -> run::Probe {
    run::Probe {
        initial_delay_seconds: probe.initial_delay,
        timeout_seconds: probe.timeout,
        period_seconds: probe.period,
        failure_threshold: probe.failure_threshold,
        probe_type: match &probe.kind {
            ProbeKind::Unset => None,
            ProbeKind::Http { path, headers, port } => Some(ProbeType::HttpGet(run::HttpGetAction {
                path: path.clone(),
                http_headers: headers.iter().map(header).collect(),
                port: *port,
            })),
            ProbeKind::Tcp { port } => Some(ProbeType::TcpSocket(run::TcpSocketAction { port: *port })),
            ProbeKind::Grpc { port, service } => {
                Some(ProbeType::Grpc(run::GrpcAction { port: *port, service: service.clone() }))
            }
        },
    }
}

fn header((name, value): &(String, String)) -> run::HttpHeader {
    run::HttpHeader { name: name.clone(), value: value.clone() }
}
