//! Settings of the container that takes the traffic, or that is the only one.

use updraft_api::run::{
    Container, ContainerPort, EnvVar, GrpcAction, HttpGetAction, Probe, ResourceRequirements, RevisionTemplate,
    TcpSocketAction, env_var::Values, probe::ProbeType,
};

use super::Program;
use crate::{
    args::{EnvArgs, SettingsArgs},
    error::CliError,
    values::{Pairs, Port},
};

/// The port of a container that names none.
const DEFAULT_PORT: i32 = 8080;

/// The container that takes the traffic: the one with a port, else the first; made if there is none.
pub(super) fn ingress(template: &mut RevisionTemplate) -> &mut Container {
    let index = ingress_index(template);
    &mut template.containers[index]
}

/// Its place among the containers.
pub(super) fn ingress_index(template: &mut RevisionTemplate) -> usize {
    if template.containers.is_empty() {
        template.containers.push(Container::default());
    }
    template.containers.iter().position(|container| !container.ports.is_empty()).unwrap_or(0)
}

/// The resources, made if there are none. CPU only while requests are in flight is what a container
/// without resources gets; with them, it must be said.
pub(super) fn resources(container: &mut Container) -> &mut ResourceRequirements {
    container
        .resources
        .get_or_insert_with(|| ResourceRequirements { cpu_idle: true, ..ResourceRequirements::default() })
}

/// What only services say of it.
pub(super) fn apply(container: &mut Container, settings: &SettingsArgs) -> Result<(), CliError> {
    if settings.container.cpu.is_some() || settings.container.memory.is_some() {
        resources(container);
    }
    if let Some(throttling) = settings.switches.throttling() {
        resources(container).cpu_idle = throttling;
    }
    if let Some(boost) = settings.switches.boost() {
        resources(container).startup_cpu_boost = boost;
    }
    port(container, settings);
    if let Some(fields) = &settings.startup_probe {
        container.startup_probe = probe(container.startup_probe.take(), fields)?;
    }
    Ok(())
}

/// What services, jobs and worker pools say of it alike.
pub(super) fn program(container: &mut Container, program: &Program<'_>) -> Result<(), CliError> {
    let flags = program.container;
    if let Some(image) = program.image {
        image.clone_into(&mut container.image);
    }
    if let Some(command) = &flags.command {
        container.command.clone_from(&command.0);
    }
    if let Some(args) = &flags.args {
        container.args.clone_from(&args.0);
    }
    for (resource, limit) in [("cpu", &flags.cpu), ("memory", &flags.memory)] {
        if let Some(limit) = limit {
            container.resources.get_or_insert_default().limits.insert(resource.to_owned(), limit.clone());
        }
    }
    env(&mut container.env, &flags.env, program.env_file)
}

/// Port and protocol. A TCP startup probe of the port goes with it.
fn port(container: &mut Container, settings: &SettingsArgs) {
    if settings.port.is_none() && settings.switches.http2().is_none() {
        return;
    }
    let before = container.ports.first().cloned().unwrap_or_default();
    let old = if before.container_port == 0 { DEFAULT_PORT } else { before.container_port };
    let new = match settings.port {
        None => old,
        Some(Port(port)) => port.map_or(DEFAULT_PORT, i32::from),
    };
    let name = match settings.switches.http2() {
        Some(true) => "h2c".to_owned(),
        Some(false) => "http1".to_owned(),
        None if before.name.is_empty() => "http1".to_owned(),
        None => before.name,
    };
    container.ports = vec![ContainerPort { name, container_port: new }];
    if let Some(ProbeType::TcpSocket(socket)) =
        container.startup_probe.as_mut().and_then(|probe| probe.probe_type.as_mut())
        && socket.port == old
    {
        socket.port = new;
    }
}

/// Plain variables are what these flags are about: those that come from secrets stay, unless one is removed by name. One
/// that is to become plain is taken for a mistake, as gcloud does: it would uncover what was a secret.
fn env(env: &mut Vec<EnvVar>, args: &EnvArgs, file: Option<&[(String, String)]>) -> Result<(), CliError> {
    if args.clear_env_vars || !args.set_env_vars.is_empty() || file.is_some() {
        env.retain(|variable| matches!(variable.values, Some(Values::ValueSource(_))));
    }
    for name in args.remove_env_vars.iter().flat_map(|list| &list.0) {
        env.retain(|variable| variable.name != *name);
    }
    let file = file.unwrap_or_default().iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in Pairs::all(&args.set_env_vars).chain(file).chain(Pairs::all(&args.update_env_vars)) {
        let values = Some(Values::Value(value.to_owned()));
        match env.iter_mut().find(|variable| variable.name == name) {
            Some(EnvVar { values: Some(Values::ValueSource(_)), .. }) => {
                let message = format!(
                    "Cannot update environment variable [{name}] to string literal because it has already been set with a \
                     different type."
                );
                return Err(CliError::usage(message).with_hint(format!("add --remove-secrets {name}")));
            }
            Some(variable) => variable.values = values,
            None => env.push(EnvVar { name: name.to_owned(), values }),
        }
    }
    Ok(())
}

/// The probe with these fields of a v1 Probe changed; none when there are no fields.
fn probe(before: Option<Probe>, fields: &Pairs) -> Result<Option<Probe>, CliError> {
    if fields.0.is_empty() {
        return Ok(None);
    }
    let mut probe = before.unwrap_or_default();
    for (field, value) in &fields.0 {
        let number = || {
            value.parse::<i32>().ok().filter(|number| *number >= 0).ok_or_else(|| {
                CliError::usage(format!("--startup-probe: {field} must be a whole number from 0, got '{value}'"))
            })
        };
        match field.as_str() {
            "initialDelaySeconds" => probe.initial_delay_seconds = number()?,
            "timeoutSeconds" => probe.timeout_seconds = number()?,
            "periodSeconds" => probe.period_seconds = number()?,
            "failureThreshold" => probe.failure_threshold = number()?,
            "httpGet.port" => http(&mut probe).port = number()?,
            "httpGet.path" => http(&mut probe).path.clone_from(value),
            "tcpSocket.port" => probe.probe_type = Some(ProbeType::TcpSocket(TcpSocketAction { port: number()? })),
            "grpc.port" => grpc(&mut probe).port = number()?,
            "grpc.service" => grpc(&mut probe).service.clone_from(value),
            _ => return Err(CliError::usage(format!("--startup-probe: there is no field '{field}'")).with_hint(
                "use initialDelaySeconds, timeoutSeconds, periodSeconds, failureThreshold, httpGet.port, httpGet.path, tcpSocket.port, grpc.port or grpc.service",
            )),
        }
    }
    Ok(Some(probe))
}

/// The probe's GET; made, in place of another kind, if it has none.
fn http(probe: &mut Probe) -> &mut HttpGetAction {
    if !matches!(probe.probe_type, Some(ProbeType::HttpGet(_))) {
        probe.probe_type = Some(ProbeType::HttpGet(HttpGetAction::default()));
    }
    match &mut probe.probe_type {
        Some(ProbeType::HttpGet(action)) => action,
        _ => unreachable!("it was just made one"),
    }
}

/// The same for gRPC.
fn grpc(probe: &mut Probe) -> &mut GrpcAction {
    if !matches!(probe.probe_type, Some(ProbeType::Grpc(_))) {
        probe.probe_type = Some(ProbeType::Grpc(GrpcAction::default()));
    }
    match &mut probe.probe_type {
        Some(ProbeType::Grpc(action)) => action,
        _ => unreachable!("it was just made one"),
    }
}
