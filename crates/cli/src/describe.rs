//! A service and a revision as text, as gcloud writes them.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
};

use updraft_api::run::{
    Container, EnvVarSource, IngressTraffic, Probe, Revision, RevisionScaling, Service, TrafficTarget,
    TrafficTargetAllocationType, Volume, env_var::Values, probe::ProbeType, service_scaling::ScalingMode,
    volume::VolumeType,
};

use crate::{
    output::{id, readiness, region, time},
    traffic::Target,
};

/// Text that grows line by line.
#[derive(Debug, Default)]
pub(crate) struct Page(pub(crate) String);

/// What containers are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To take requests. Only then is it a question when they have CPU.
    Requests,
    /// To work by themselves.
    Work,
}

/// What a revision says of how it runs; also the template of a service, for want of a revision.
struct Spec<'a> {
    containers: &'a [Container],
    volumes: &'a [Volume],
    service_account: &'a str,
    concurrency: i32,
    scaling: Option<&'a RevisionScaling>,
    timeout: Option<&'a prost_types::Duration>,
}

/// A service.
pub(crate) fn service(service: &Service) -> String {
    let mut page = Page::default();
    let (mark, message) = readiness(service.terminal_condition.as_ref());
    page.line(0, &format!("{mark} Service {} in region {}", id(&service.name), region(&service.name)));
    page.labels(&service.labels);
    page.blank();
    page.push(&traffic(service));
    page.blank();
    page.fields(0, &[("Scaling", scaling(service)), ("Description", service.description.clone())]);
    page.blank();
    let since = service.terminal_condition.as_ref().and_then(|condition| condition.last_transition_time.as_ref());
    page.line(0, &format!("Last updated on {} by {}:", time(since), service.last_modifier));
    page.line(2, &format!("Revision {}", id(&service.latest_created_revision)));
    if let Some(template) = &service.template {
        let spec = Spec {
            containers: &template.containers,
            volumes: &template.volumes,
            service_account: &template.service_account,
            concurrency: template.max_instance_request_concurrency,
            scaling: template.scaling.as_ref(),
            timeout: template.timeout.as_ref(),
        };
        page.spec(2, &spec);
    }
    page.problem(mark, message);
    page.0
}

/// A revision.
pub(crate) fn revision(revision: &Revision) -> String {
    let spec = Spec {
        containers: &revision.containers,
        volumes: &revision.volumes,
        service_account: &revision.service_account,
        concurrency: revision.max_instance_request_concurrency,
        scaling: revision.scaling.as_ref(),
        timeout: revision.timeout.as_ref(),
    };
    revision_with(revision, |page| page.spec(0, &spec))
}

/// A revision, with what `rest` says of it between its heading and its problem.
pub(crate) fn revision_with(revision: &Revision, rest: impl FnOnce(&mut Page)) -> String {
    let mut page = Page::default();
    let ready = revision.conditions.iter().find(|condition| condition.r#type == "Ready");
    let (mark, message) = readiness(ready);
    page.line(0, &format!("{mark} Revision {} in region {}", id(&revision.name), region(&revision.name)));
    page.labels(&revision.labels);
    page.blank();
    rest(&mut page);
    page.problem(mark, message);
    page.0
}

/// What a volume is.
fn volume(volume: &Volume) -> String {
    match &volume.volume_type {
        Some(VolumeType::EmptyDir(dir)) if dir.size_limit.is_empty() => "in memory, half of it".to_owned(),
        Some(VolumeType::EmptyDir(dir)) => format!("in memory, {}", dir.size_limit),
        Some(VolumeType::Secret(secret)) => format!("secret {}", secret.secret),
        Some(VolumeType::CloudSqlInstance(sql)) => format!("Cloud SQL {}", sql.instances.join(", ")),
        Some(VolumeType::Nfs(nfs)) => format!("NFS {}:{}", nfs.server, nfs.path),
        Some(VolumeType::Gcs(gcs)) => format!("bucket {}", gcs.bucket),
        None => "nothing".to_owned(),
    }
}

/// The secrets of a container as the flags of `deploy` take them: variables by name, files by path.
fn secrets(container: &Container, volumes: &[Volume]) -> Vec<(String, String)> {
    let pinned = |secret: &str, version: &str| match version {
        "" => format!("{secret}:latest"),
        version => format!("{secret}:{version}"),
    };
    let variables = container.env.iter().filter_map(|variable| match &variable.values {
        Some(Values::ValueSource(EnvVarSource { secret_key_ref: Some(key) })) => {
            Some((variable.name.clone(), pinned(&key.secret, &key.version)))
        }
        _ => None,
    });
    let files = container.volume_mounts.iter().flat_map(|mount| {
        let dir = mount.mount_path.trim_end_matches('/');
        let volume = volumes.iter().find(|volume| volume.name == mount.name);
        match volume.and_then(|volume| volume.volume_type.as_ref()) {
            Some(VolumeType::Secret(source)) if source.items.is_empty() => {
                vec![(format!("{dir}/{}", id(&source.secret)), pinned(&source.secret, ""))]
            }
            Some(VolumeType::Secret(source)) => {
                let items = source.items.iter();
                items.map(|item| (format!("{dir}/{}", item.path), pinned(&source.secret, &item.version))).collect()
            }
            _ => Vec::new(),
        }
    });
    variables.chain(files).collect()
}

/// Where a service is and where its traffic goes: also what `update-traffic` prints.
pub(crate) fn traffic(service: &Service) -> String {
    let mut page = Page::default();
    let ingress = match service.ingress() {
        IngressTraffic::All | IngressTraffic::Unspecified => "all",
        IngressTraffic::InternalOnly => "internal",
        IngressTraffic::InternalLoadBalancer => "internal-and-cloud-load-balancing",
        IngressTraffic::None => "none",
    };
    page.fields(0, &[("URL", url(service).to_owned()), ("Ingress", ingress.to_owned())]);
    page.line(0, "Traffic:");
    let latest = id(&service.latest_ready_revision);
    for (target, percent, tags) in merged(&service.traffic) {
        page.share(&target, percent, latest);
        for tag in tags {
            page.line(9, &format!("{tag}: {}", tag_url(service, &tag).unwrap_or_default()));
        }
    }
    page.0
}

/// Which revisions of a worker pool have which share of its instances.
pub(crate) fn instance_split(page: &mut Page, targets: &[TrafficTarget], latest: &str) {
    page.line(0, "Instance Split:");
    for (target, percent, _) in merged(targets) {
        page.share(&target, percent, latest);
    }
}

/// The main URL of a service.
pub(crate) fn url(service: &Service) -> &str {
    service.urls.first().unwrap_or(&service.uri)
}

/// The URL of a tag of a service.
pub(crate) fn tag_url<'a>(service: &'a Service, tag: &str) -> Option<&'a str> {
    let status = service.traffic_statuses.iter().find(|status| status.tag == tag)?;
    Some(&status.uri).filter(|uri| !uri.is_empty()).map(String::as_str)
}

/// One entry per target: its share and its tags. LATEST last.
fn merged(targets: &[TrafficTarget]) -> Vec<(Target, i32, Vec<String>)> {
    let latest =
        TrafficTarget { r#type: TrafficTargetAllocationType::Latest.into(), percent: 100, ..TrafficTarget::default() };
    let targets = if targets.is_empty() { std::slice::from_ref(&latest) } else { targets };
    let mut merged: BTreeMap<Target, (i32, Vec<String>)> = Default::default();
    for target in targets {
        let (percent, tags) = merged.entry(Target::of(target)).or_default();
        *percent += target.percent;
        tags.extend((!target.tag.is_empty()).then(|| target.tag.clone()));
    }
    merged.into_iter().map(|(target, (percent, tags))| (target, percent, tags)).collect()
}

fn scaling(service: &Service) -> String {
    let scaling = service.scaling.unwrap_or_default();
    match (scaling.scaling_mode(), scaling.max_instance_count) {
        (ScalingMode::Manual, _) => format!("Manual (Instances: {})", scaling.manual_instance_count()),
        (_, 0) => format!("Auto (Min: {})", scaling.min_instance_count),
        (_, max) => format!("Auto (Min: {}, Max: {max})", scaling.min_instance_count),
    }
}

fn probe(probe: &Probe) -> (String, Vec<(&'static str, String)>) {
    let (kind, path, port) = match &probe.probe_type {
        Some(ProbeType::HttpGet(action)) => ("HTTP", action.path.clone(), action.port),
        Some(ProbeType::Grpc(action)) => ("GRPC", action.service.clone(), action.port),
        Some(ProbeType::TcpSocket(action)) => ("TCP", String::new(), action.port),
        None => ("TCP", String::new(), 0),
    };
    let fields = vec![
        ("Path", path),
        ("Port", number(port)),
        ("Initial delay", format!("{}s", probe.initial_delay_seconds)),
        ("Timeout", format!("{}s", probe.timeout_seconds)),
        ("Failure threshold", number(probe.failure_threshold)),
    ];
    (format!("{kind} every {}s", probe.period_seconds), fields)
}

/// A number; nothing for "not said".
fn number(number: i32) -> String {
    if number == 0 { String::new() } else { number.to_string() }
}

// === impl Page ===

impl Page {
    pub(crate) fn push(&mut self, text: &str) {
        self.0.push_str(text);
    }

    pub(crate) fn line(&mut self, indent: usize, text: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{:indent$}{}", "", text.trim_end());
    }

    pub(crate) fn blank(&mut self) {
        self.0.push('\n');
    }

    /// `100% LATEST (currently hello-00001-abc)`; `latest` is empty while there is none.
    fn share(&mut self, target: &Target, percent: i32, latest: &str) {
        let name = match target {
            Target::Latest if latest.is_empty() => "LATEST".to_owned(),
            Target::Latest => format!("LATEST (currently {latest})"),
            Target::Revision(revision) => revision.clone(),
        };
        self.line(2, &format!("{:<4} {name}", format!("{percent}%")));
    }

    /// Labels with their values in a column; those without a value are left out.
    pub(crate) fn fields(&mut self, indent: usize, fields: &[(&str, String)]) {
        let shown: Vec<_> = fields.iter().filter(|(_, value)| !value.is_empty()).collect();
        let width = shown.iter().map(|(label, _)| label.len() + 1).max().unwrap_or(0);
        for (label, value) in shown {
            self.line(indent, &format!("{:<width$} {value}", format!("{label}:")));
        }
    }

    pub(crate) fn labels(&mut self, labels: &HashMap<String, String>) {
        // Those with a prefix are the tools', not the user's.
        let mut own: Vec<String> =
            labels.iter().filter(|(key, _)| !key.contains('/')).map(|(key, value)| format!("{key}:{value}")).collect();
        own.sort();
        if !own.is_empty() {
            self.line(0, &own.join(" "));
        }
    }

    fn spec(&mut self, indent: usize, spec: &Spec<'_>) {
        self.containers(indent, Purpose::Requests, (spec.containers, spec.volumes));
        let scaling = spec.scaling.copied().unwrap_or_default();
        let http2 = spec.containers.iter().flat_map(|container| &container.ports).any(|port| port.name == "h2c");
        self.fields(
            indent,
            &[
                ("Service account", spec.service_account.to_owned()),
                ("Concurrency", number(spec.concurrency)),
                ("Min instances", number(scaling.min_instance_count)),
                ("Max instances", number(scaling.max_instance_count)),
                ("Timeout", spec.timeout.map(|timeout| format!("{}s", timeout.seconds)).unwrap_or_default()),
                ("HTTP/2 Enabled", if http2 { "Enabled".to_owned() } else { String::new() }),
            ],
        );
    }

    /// Containers, and the volumes that they share.
    pub(crate) fn containers(
        &mut self,
        indent: usize,
        purpose: Purpose,
        (containers, volumes): (&[Container], &[Volume]),
    ) {
        for container in containers {
            match containers.len() {
                1 => self.line(indent, "Container"),
                _ => self.line(indent, &format!("Container {}", container.name)),
            }
            self.container(indent + 2, purpose, (container, volumes));
        }
        if !volumes.is_empty() {
            self.line(indent, "Volumes:");
            let volumes: Vec<_> = volumes.iter().map(|one| (one.name.as_str(), volume(one))).collect();
            self.columns(indent + 2, &volumes);
        }
    }

    fn container(&mut self, indent: usize, purpose: Purpose, (container, volumes): (&Container, &[Volume])) {
        let limit = |name| container.resources.as_ref().and_then(|resources| resources.limits.get(name)).cloned();
        let resources = container.resources.as_ref().filter(|_| purpose == Purpose::Requests);
        let throttled = resources.map(|resources| match resources.cpu_idle {
            true => "only during request processing",
            false => "always",
        });
        self.fields(
            indent,
            &[
                ("Image", container.image.clone()),
                ("Command", container.command.join(" ")),
                ("Args", container.args.join(" ")),
                ("Port", container.ports.first().map(|port| port.container_port.to_string()).unwrap_or_default()),
                ("Memory", limit("memory").unwrap_or_default()),
                ("CPU", limit("cpu").unwrap_or_default()),
                ("CPU allocated", throttled.unwrap_or_default().to_owned()),
                ("Starts after", container.depends_on.join(", ")),
            ],
        );
        if !container.volume_mounts.is_empty() {
            self.line(indent, "Volume mounts:");
            let mounts = container.volume_mounts.iter().map(|mount| (mount.name.as_str(), mount.mount_path.clone()));
            self.columns(indent + 2, &mounts.collect::<Vec<_>>());
        }
        let plain = container.env.iter().filter_map(|variable| match &variable.values {
            Some(Values::Value(value)) => Some((variable.name.as_str(), value.clone())),
            Some(Values::ValueSource(_)) => None,
            None => Some((variable.name.as_str(), String::new())),
        });
        let plain: Vec<_> = plain.collect();
        if !plain.is_empty() {
            self.line(indent, "Env vars:");
            self.columns(indent + 2, &plain);
        }
        self.secrets(indent, &secrets(container, volumes));
        for (title, found) in [
            ("Startup Probe", &container.startup_probe),
            ("Liveness Probe", &container.liveness_probe),
            ("Readiness Probe", &container.readiness_probe),
        ] {
            if let Some(found) = found {
                let (what, fields) = probe(found);
                self.line(indent, &format!("{title}:"));
                self.line(indent + 2, &what);
                self.fields(indent + 2, &fields);
            }
        }
    }

    /// Which versions of which secrets; values are nowhere in a service.
    fn secrets(&mut self, indent: usize, secrets: &[(String, String)]) {
        if !secrets.is_empty() {
            self.line(indent, "Secrets:");
            let rows: Vec<_> = secrets.iter().map(|(place, secret)| (place.as_str(), secret.clone())).collect();
            self.columns(indent + 2, &rows);
        }
    }

    /// Two columns; also what has no value is shown.
    fn columns(&mut self, indent: usize, rows: &[(&str, String)]) {
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in rows {
            self.line(indent, &format!("{name:<width$} {value}"));
        }
    }

    pub(crate) fn problem(&mut self, mark: &str, message: Option<&str>) {
        if let Some(message) = message.filter(|message| !message.is_empty()) {
            self.line(0, &format!("{mark} {message}"));
        }
    }
}
