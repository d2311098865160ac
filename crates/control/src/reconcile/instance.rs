//! From a template to what the fleet starts.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use updraft_api::v1::Rest;
use updraft_model::{
    Error, RevisionName,
    channel::{BookEntry, Check, HealthProbes},
    cpu::{Billing, CpuTerms, StartupBoost},
    instance::{ContainerSpec, Contents, Egress, InstanceSpec, Limits, Mount, SecretEnv, Secrets, VolumeSpec},
    job::{AttemptName, TaskTemplate},
    name::Collection,
    owner::Owner,
    quantity,
    revision::{Container, EnvValue, RevisionTemplate, ScalingTargets, Volume, VolumeKind, defaults},
};

use super::values;
use crate::record::{ExecutionRecord, RevisionRecord};

/// Processes and threads of one container.
const PIDS: u32 = 4096;

/// Whose containers these are, and which versions their variables have of secrets.
#[derive(Clone, Copy)]
struct Subject<'a> {
    owner: &'a Owner,
    versions: Option<&'a BTreeMap<String, u64>>,
    /// What the platform tells every container.
    env: &'a [(&'static str, String)],
}

/// What an instance of a revision is; `record` has its images, pinned.
pub(super) fn spec(
    name: &RevisionName,
    template: &RevisionTemplate,
    record: &RevisionRecord,
) -> Result<InstanceSpec, Error> {
    let owner = Owner::from(name.clone());
    let env = revision_env(name);
    let subject = Subject { owner: &owner, versions: record.secret_versions.as_ref(), env: &env };
    let ingress = ingress(name, template)?;
    let port = match name.service.collection {
        // Nobody calls a worker.
        Collection::WorkerPools => None,
        Collection::Services | Collection::Jobs => {
            let port = ingress.port.map(|(_, port)| port);
            Some(port.ok_or_else(|| Error::internal(format!("{name} has no port")))?)
        }
    };
    let sidecars = template.containers.iter().filter(|container| container.name != ingress.name);
    let sidecars = sidecars.map(|sidecar| {
        // One that was resolved before there were sidecars has no image for them: then it is not ready anyway.
        let image = record.sidecar_images.get(&sidecar.name);
        let image = image.ok_or_else(|| Error::internal(format!("{name} has no image for '{}'", sidecar.name)))?;
        container(subject, sidecar, (image, None))
    });
    let mut spec = InstanceSpec {
        ingress: container(subject, ingress, (&record.image, port))?,
        sidecars: sidecars.collect::<Result<_, Error>>()?,
        volumes: Vec::new(),
        port: port.unwrap_or_default(),
        egress: template.egress(),
        owner,
    };
    let memory = spec.limits().memory_bytes;
    let volumes = template.volumes.iter().filter_map(|volume| self::volume(&spec.owner, volume, memory).transpose());
    spec.volumes = volumes.collect::<Result<_, Error>>()?;
    Ok(spec)
}

/// What the instance of an attempt is; `record` has the images of its execution, pinned.
pub(super) fn task_spec(
    name: AttemptName,
    (template, egress): (&TaskTemplate, Egress),
    (record, count): (&ExecutionRecord, i32),
) -> Result<InstanceSpec, Error> {
    let env = task_env(&name, count);
    let owner = Owner::from(name);
    let subject = Subject { owner: &owner, versions: record.secret_versions.as_ref(), env: &env };
    let main = template.main_container().ok_or_else(|| Error::internal(format!("{owner} has no container")))?;
    let image = |container: &Container| {
        let image = record.images.get(&container.name).map(String::as_str);
        image.ok_or_else(|| Error::internal(format!("{owner} has no image for '{}'", container.name)))
    };
    let others = template.containers.iter().filter(|container| container.name != main.name);
    let mut spec = InstanceSpec {
        ingress: container(subject, main, (image(main)?, None))?,
        sidecars: others.map(|other| container(subject, other, (image(other)?, None))).collect::<Result<_, Error>>()?,
        volumes: Vec::new(),
        // Nobody calls a task.
        port: 0,
        egress,
        owner: owner.clone(),
    };
    let memory = spec.limits().memory_bytes;
    let volumes = template.volumes.iter().filter_map(|volume| self::volume(&owner, volume, memory).transpose());
    spec.volumes = volumes.collect::<Result<_, Error>>()?;
    Ok(spec)
}

/// Source: the container runtime contract of Cloud Run, "Environment variables for services".
fn revision_env(name: &RevisionName) -> Vec<(&'static str, String)> {
    let service = &name.service.service;
    match name.service.collection {
        Collection::WorkerPools => vec![
            ("CLOUD_RUN_WORKER_POOL", service.clone()),
            ("CLOUD_RUN_WORKER_POOL_REVISION", name.revision.clone()),
            // Not in the contract; it was the only one for a while, and programs may read it.
            ("CLOUD_RUN_REVISION", name.revision.clone()),
        ],
        Collection::Services | Collection::Jobs => vec![
            ("K_SERVICE", service.clone()),
            ("K_REVISION", name.revision.clone()),
            ("K_CONFIGURATION", service.clone()),
        ],
    }
}

/// Source: the container runtime contract of Cloud Run, "Environment variables for jobs".
fn task_env(name: &AttemptName, count: i32) -> Vec<(&'static str, String)> {
    let execution = &name.task.execution;
    vec![
        ("CLOUD_RUN_JOB", execution.job.job.clone()),
        ("CLOUD_RUN_EXECUTION", execution.execution.clone()),
        ("CLOUD_RUN_TASK_INDEX", name.task.index.to_string()),
        ("CLOUD_RUN_TASK_ATTEMPT", name.attempt.to_string()),
        ("CLOUD_RUN_TASK_COUNT", count.to_string()),
    ]
}

/// One container; `port` is what it is told as `PORT`.
fn container(
    subject: Subject<'_>,
    container: &Container,
    (image, port): (&str, Option<u16>),
) -> Result<ContainerSpec, Error> {
    let mount = |(volume, path): &(String, String)| Mount { volume: volume.clone(), path: path.clone() };
    Ok(ContainerSpec {
        name: container.name.clone(),
        image: image.to_owned(),
        command: container.command.clone(),
        args: container.args.clone(),
        env: environment(subject, container, port),
        secret_env: secret_environment(subject, container)?,
        working_dir: Some(container.working_dir.clone()).filter(|dir| !dir.is_empty()),
        limits: limits(subject.owner, container)?,
        mounts: container.volume_mounts.iter().map(mount).collect(),
        depends_on: container.depends_on.clone(),
    })
}

/// The variables from secrets, with the versions that were noted when the revision was made ready.
fn secret_environment(
    Subject { owner: name, versions, .. }: Subject<'_>,
    container: &Container,
) -> Result<Vec<SecretEnv>, Error> {
    let noted = versions.iter().copied().flatten().map(|(key, number)| (key.as_str(), *number));
    let noted: HashMap<&str, u64> = noted.collect();
    let mut env = Vec::new();
    for variable in &container.env {
        let EnvValue::Secret { secret, version } = &variable.value else { continue };
        let secret = values::full_name(name, secret)?;
        let Some(&version) = noted.get(values::key(&secret, version).as_str()) else {
            return Err(Error::internal(format!("{name} has no version for the variable '{}'", variable.name)));
        };
        env.push(SecretEnv { name: variable.name.clone(), secret, version });
    }
    Ok(env)
}

/// A volume in memory, for an instance with so much of it: by default half of that, and never more than all; or one of
/// a secret.
fn volume(name: &Owner, volume: &Volume, memory: u64) -> Result<Option<VolumeSpec>, Error> {
    match &volume.kind {
        VolumeKind::EmptyDir { size_limit } => {
            let size = quantity::memory_bytes(size_limit).map_or(memory / 2, |limit| limit.min(memory)).max(1);
            Ok(Some(VolumeSpec::in_memory(&volume.name, size)))
        }
        VolumeKind::Secret(source) => {
            let secret = values::full_name(name, &source.secret)?;
            let paths = source.files(secret.rsplit('/').next().unwrap_or_default());
            Ok(Some(VolumeSpec { name: volume.name.clone(), contents: Contents::Secret { secret, paths } }))
        }
        _ => Ok(None),
    }
}

/// What the fleet is told of a revision. The bounds are for a revision without traffic: the rollout sets
/// others.
///
/// `rest` is what the revision has been told in words that only API v1 knows.
pub(super) fn entry(
    (spec, secrets): (InstanceSpec, Secrets),
    (template, rest): (&RevisionTemplate, &Rest),
    check: Check,
) -> Result<BookEntry, Error> {
    let probe = template.ingress_container().and_then(|container| container.startup_probe.clone());
    let sidecars = template.containers.iter().filter(|container| container.name != spec.ingress.name);
    let probes = sidecars.filter_map(|sidecar| Some((sidecar.name.clone(), sidecar.startup_probe.clone()?)));
    Ok(BookEntry {
        concurrency: template.concurrency.clamp(1, 1000),
        min: 0,
        max: template.scaling.max.max(1),
        targets: targets(&spec, template),
        cpu: cpu(template),
        startup_probe: probe,
        sidecar_probes: probes.collect(),
        health_probes: template.containers.iter().filter_map(|one| health_probes(one, rest)).collect(),
        check,
        account: template.service_account.clone(),
        spec: Arc::new(spec),
        secrets: Arc::new(secrets),
    })
}

/// What the fleet is told of an attempt: it takes no requests, so of the rest only what is about its start has a meaning.
pub(super) fn task_entry((spec, secrets): (InstanceSpec, Arc<Secrets>), template: &TaskTemplate) -> BookEntry {
    let probe = |container: &Container| container.startup_probe.clone();
    let main = template.main_container();
    let others = template.containers.iter().filter(|container| container.name != spec.ingress.name);
    BookEntry {
        concurrency: 1,
        min: 0,
        max: 1,
        targets: ScalingTargets::default(),
        cpu: CpuTerms { billing: Billing::Instance, boost: StartupBoost::Off },
        startup_probe: main.and_then(probe),
        sidecar_probes: others.filter_map(|one| Some((one.name.clone(), probe(one)?))).collect(),
        health_probes: BTreeMap::new(),
        check: Check::Done,
        account: template.service_account.clone(),
        spec: Arc::new(spec),
        secrets,
    }
}

/// How much is to be used of an instance. A worker pool has as many as it says, however much they do.
fn targets(spec: &InstanceSpec, template: &RevisionTemplate) -> ScalingTargets {
    match spec.owner.resource().collection {
        Collection::WorkerPools => ScalingTargets { cpu: 0, concurrency: 0 },
        Collection::Services | Collection::Jobs => template.targets(),
    }
}

/// The name of a container, and what it is asked once it is up; `None` if that is nothing.
fn health_probes(container: &Container, rest: &Rest) -> Option<(String, HealthProbes)> {
    let probes = HealthProbes {
        liveness: container.liveness_probe.clone(),
        readiness: container.readiness_probe.clone(),
        readiness_successes: rest.readiness_successes(&container.name).unwrap_or(defaults::READINESS_SUCCESSES),
    };
    (probes.liveness.is_some() || probes.readiness.is_some()).then(|| (container.name.clone(), probes))
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
fn environment(subject: Subject<'_>, container: &Container, port: Option<u16>) -> Vec<(String, String)> {
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
    let port = port.map(|port| ("PORT", port.to_string()));
    env.extend(port.into_iter().chain(subject.env.iter().cloned()).map(|(key, value)| (key.to_owned(), value)));
    env
}

fn limits(name: &Owner, container: &Container) -> Result<Limits, Error> {
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
        revision::{EGRESS, EnvVar, Probe, ProbeKind, defaults},
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
        let record = RevisionRecord { image: "hello@sha256:00".to_owned(), ..RevisionRecord::default() };
        let spec = spec(&name, &template, &record).expect("defaults make it whole");
        assert_eq!(
            env(&spec.ingress),
            ["A=3", "B=2", "PORT=8080", "K_SERVICE=hello", "K_REVISION=hello-00001-abc", "K_CONFIGURATION=hello"]
        );
        assert_eq!(spec.limits(), Limits { cpu_millis: 1000, memory_bytes: 512 << 20, pids: PIDS });
        assert_eq!(spec.egress, Egress::All);
        template.annotations.insert(EGRESS.to_owned(), "private".to_owned());
        let private = super::spec(&name, &template, &record).expect("defaults make it whole");
        assert_eq!(private.egress, Egress::Private);
        let spec = (spec, Secrets::default());
        let entry = entry(spec, (&template, &Rest::default()), Check::Wanted).expect("defaults make it whole");
        assert_eq!((entry.concurrency, entry.min, entry.max), (80, 0, 100));
        assert_eq!(entry.account, updraft_model::account::default_email("demo-project"));
    }

    fn env(container: &ContainerSpec) -> Vec<String> {
        container.env.iter().map(|(key, value)| format!("{key}={value}")).collect()
    }

    /// A proxy in front of an application, which share a volume.
    fn several() -> RevisionTemplate {
        let mounts = vec![("v".to_owned(), "/data".to_owned())];
        let side = Container {
            name: "side".to_owned(),
            image: "side".to_owned(),
            volume_mounts: mounts.clone(),
            startup_probe: Some(Probe {
                initial_delay: 0,
                timeout: 0,
                period: 0,
                failure_threshold: 0,
                kind: ProbeKind::Tcp { port: 9000 },
            }),
            ..Container::default()
        };
        let web = Container {
            name: "web".to_owned(),
            image: "web".to_owned(),
            port_count: 1,
            volume_mounts: mounts,
            depends_on: vec!["side".to_owned()],
            ..Container::default()
        };
        RevisionTemplate { containers: vec![side, web], ..RevisionTemplate::default() }
    }

    fn spec_of(mut template: RevisionTemplate) -> (InstanceSpec, BookEntry) {
        defaults::apply(&mut template, "demo-project");
        let name = Parent::new("demo-project", "us-central1").service("hello").revision("hello-00001-abc");
        let record = RevisionRecord {
            image: "web@sha256:00".to_owned(),
            sidecar_images: [("side".to_owned(), "side@sha256:01".to_owned())].into(),
            ..RevisionRecord::default()
        };
        let spec = spec(&name, &template, &record).expect("defaults make it whole");
        let told = (spec.clone(), Secrets::default());
        let entry = entry(told, (&template, &Rest::default()), Check::Wanted).expect("defaults make it whole");
        (spec, entry)
    }

    #[test]
    fn only_the_container_with_the_traffic_is_told_a_port() {
        let (spec, entry) = spec_of(several());
        assert_eq!((spec.ingress.name.as_str(), spec.ingress.image.as_str()), ("web", "web@sha256:00"));
        assert_eq!(spec.ingress.depends_on, ["side"]);
        assert!(env(&spec.ingress).contains(&"PORT=8080".to_owned()));
        let [side] = &spec.sidecars[..] else { panic!("one sidecar: {:?}", spec.sidecars) };
        assert_eq!(side.image, "side@sha256:01");
        assert_eq!(env(side), ["K_SERVICE=hello", "K_REVISION=hello-00001-abc", "K_CONFIGURATION=hello"]);
        assert_eq!(side.mounts, [Mount { volume: "v".to_owned(), path: "/data".to_owned() }]);
        let probed: Vec<_> = entry.sidecar_probes.iter().map(|(name, probe)| (name.as_str(), &probe.kind)).collect();
        assert_eq!(probed, [("side", &ProbeKind::Tcp { port: 9000 })]);
    }

    #[test]
    fn what_a_container_is_asked_once_it_is_up_has_its_defaults_and_what_api_v1_alone_can_say() {
        let probe = |port| {
            let kind = ProbeKind::Grpc { port, service: String::new() };
            Some(Probe { initial_delay: 0, timeout: 0, period: 0, failure_threshold: 0, kind })
        };
        let mut template = several();
        template.containers[0].liveness_probe = probe(9000);
        template.containers[1].readiness_probe = probe(0);
        let (_, entry) = spec_of(template);
        let filled = |port| probe(port).map(|probe| Probe { timeout: 1, period: 10, failure_threshold: 3, ..probe });
        let side = HealthProbes { liveness: filled(9000), readiness: None, readiness_successes: 2 };
        let web = HealthProbes { liveness: None, readiness: filled(8080), readiness_successes: 2 };
        assert_eq!(entry.health_probes, [("side".to_owned(), side), ("web".to_owned(), web)].into());
        assert_eq!(spec_of(several()).1.health_probes, BTreeMap::new());
    }

    #[test]
    fn a_volume_takes_half_of_the_memory_if_it_does_not_say_and_never_more_than_all() {
        let size = |size_limit: &str| {
            let kind = VolumeKind::EmptyDir { size_limit: size_limit.to_owned() };
            let template = RevisionTemplate { volumes: vec![Volume { name: "v".to_owned(), kind }], ..several() };
            match spec_of(template).0.volumes[0].contents {
                Contents::Memory { size_bytes } => size_bytes >> 20,
                Contents::Secret { .. } => panic!("it is none of a secret"),
            }
        };
        // Two containers with 512 MiB each.
        assert_eq!((size(""), size("64Mi"), size("4Gi")), (512, 64, 1024));
    }
}
