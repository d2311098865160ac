//! From a template to what the fleet starts.

use std::{collections::HashMap, sync::Arc};

use updraft_model::{
    Error, RevisionName,
    channel::{BookEntry, Check},
    cpu::{Billing, CpuTerms, StartupBoost},
    instance::{InstanceSpec, Limits},
    quantity,
    revision::{Container, EnvValue, RevisionTemplate},
};

/// Processes and threads of one instance.
const PIDS: u32 = 4096;

/// What an instance of a revision is. `image` is pinned.
pub(super) fn spec(name: &RevisionName, template: &RevisionTemplate, image: &str) -> Result<InstanceSpec, Error> {
    let container = ingress(name, template)?;
    let (_, port) = container.port.ok_or_else(|| Error::internal(format!("{name} has no port")))?;
    Ok(InstanceSpec {
        revision: name.clone(),
        image: image.to_owned(),
        container: container.name.clone(),
        command: container.command.clone(),
        args: container.args.clone(),
        env: environment(name, container, port),
        working_dir: Some(container.working_dir.clone()).filter(|dir| !dir.is_empty()),
        limits: limits(name, container)?,
        port,
        egress: template.egress(),
    })
}

/// What the fleet is told of a revision. The bounds are for a revision without traffic: the rollout sets
/// others.
pub(super) fn entry(spec: InstanceSpec, template: &RevisionTemplate, check: Check) -> Result<BookEntry, Error> {
    let probe = ingress(&spec.revision, template)?.startup_probe.clone();
    Ok(BookEntry {
        concurrency: template.concurrency.clamp(1, 1000),
        min: 0,
        max: template.scaling.max.max(1),
        cpu: cpu(template),
        startup_probe: probe.ok_or_else(|| Error::internal(format!("{} has no startup probe", spec.revision)))?,
        check,
        spec: Arc::new(spec),
    })
}

/// An instance is frozen as a whole, and boosted as a whole: any container that is to have CPU all the time keeps all
/// running, and any that is to start with more makes all do.
fn cpu(template: &RevisionTemplate) -> CpuTerms {
    let resources = || template.containers.iter().map(|container| &container.resources);
    CpuTerms {
        billing: if resources().all(|one| one.cpu_idle) { Billing::Requests } else { Billing::Instance },
        boost: if resources().any(|one| one.startup_cpu_boost) { StartupBoost::On } else { StartupBoost::Off },
    }
}

fn ingress<'a>(name: &RevisionName, template: &'a RevisionTemplate) -> Result<&'a Container, Error> {
    template.ingress_container().ok_or_else(|| Error::internal(format!("{name} has no container for traffic")))
}

/// The user's variables, each once with its last value, and then the platform's.
fn environment(name: &RevisionName, container: &Container, port: u16) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = Vec::new();
    let mut places = HashMap::new();
    for variable in &container.env {
        let EnvValue::Plain(value) = &variable.value else { continue };
        match places.get(&variable.name) {
            Some(&place) => {
                let (_, old): &mut (String, String) = &mut env[place];
                old.clone_from(value);
            }
            None => {
                places.insert(&variable.name, env.len());
                env.push((variable.name.clone(), value.clone()));
            }
        }
    }
    let service = &name.service.service;
    let own = [
        ("PORT", port.to_string()),
        ("K_SERVICE", service.clone()),
        ("K_REVISION", name.revision.clone()),
        ("K_CONFIGURATION", service.clone()),
    ];
    env.extend(own.map(|(key, value)| (key.to_owned(), value)));
    env
}

fn limits(name: &RevisionName, container: &Container) -> Result<Limits, Error> {
    let limit = |key: &str| container.resources.limits.get(key).map(String::as_str).unwrap_or_default();
    let cpu_millis = quantity::cpu_millis(limit("cpu"));
    let memory_bytes = quantity::memory_bytes(limit("memory"));
    match (cpu_millis, memory_bytes) {
        (Some(cpu_millis), Some(memory_bytes)) => Ok(Limits { cpu_millis, memory_bytes, pids: PIDS }),
        _ => Err(Error::internal(format!("{name} has limits that cannot be read"))),
    }
}

#[cfg(test)]
mod tests {
    use updraft_model::{
        Parent,
        instance::Egress,
        revision::{EGRESS, EnvVar, defaults},
    };

    use super::*;

    #[test]
    fn the_environment_is_the_users_then_the_platforms() {
        let variable =
            |name: &str, value: &str| EnvVar { name: name.to_owned(), value: EnvValue::Plain(value.to_owned()) };
        let container = Container {
            image: "hello".to_owned(),
            env: vec![variable("A", "1"), variable("B", "2"), variable("A", "3")],
            ..Container::default()
        };
        let mut template = RevisionTemplate { containers: vec![container], ..RevisionTemplate::default() };
        defaults::apply(&mut template, "demo-project");
        let name = Parent::new("demo-project", "us-central1").service("hello").revision("hello-00001-abc");
        let spec = spec(&name, &template, "hello@sha256:00").expect("defaults make it whole");
        let env: Vec<String> = spec.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(
            env,
            ["A=3", "B=2", "PORT=8080", "K_SERVICE=hello", "K_REVISION=hello-00001-abc", "K_CONFIGURATION=hello"]
        );
        assert_eq!(spec.egress, Egress::All);
        template.annotations.insert(EGRESS.to_owned(), "private".to_owned());
        let private = super::spec(&name, &template, "hello@sha256:00").expect("defaults make it whole");
        assert_eq!(private.egress, Egress::Private);
        assert_eq!(spec.limits, Limits { cpu_millis: 1000, memory_bytes: 512 << 20, pids: PIDS });
        let entry = entry(spec, &template, Check::Wanted).expect("defaults make it whole");
        assert_eq!((entry.concurrency, entry.min, entry.max), (80, 0, 100));
    }
}
