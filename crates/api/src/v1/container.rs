//! Containers, probes and volumes in the v1 shape.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{number, object};
use crate::run::{self, empty_dir_volume_source::Medium, env_var::Values, probe::ProbeType, volume::VolumeType};

pub(super) fn container_json(container: &run::Container) -> Value {
    let limits: BTreeMap<_, _> = container.resources.iter().flat_map(|resources| &resources.limits).collect();
    object(vec![
        ("args", json!(container.args)),
        ("command", json!(container.command)),
        ("env", container.env.iter().map(env_json).collect()),
        ("image", json!(container.image)),
        ("livenessProbe", container.liveness_probe.as_ref().map(probe_json).unwrap_or_default()),
        ("name", json!(container.name)),
        ("ports", container.ports.iter().map(port_json).collect()),
        ("readinessProbe", container.readiness_probe.as_ref().map(probe_json).unwrap_or_default()),
        ("resources", object(vec![("limits", json!(limits))])),
        ("startupProbe", container.startup_probe.as_ref().map(probe_json).unwrap_or_default()),
        ("volumeMounts", container.volume_mounts.iter().map(mount_json).collect()),
        ("workingDir", json!(container.working_dir)),
    ])
}

/// `{"after":["before"]}`: which container starts after which, as JSON in a string.
pub(super) fn dependencies(containers: &[run::Container]) -> Value {
    let waiting = containers.iter().filter(|container| !container.depends_on.is_empty());
    let map: BTreeMap<_, _> = waiting.map(|container| (&container.name, &container.depends_on)).collect();
    if map.is_empty() { Value::Null } else { json!(json!(map).to_string()) }
}

/// The instances that v1 names in an annotation instead of a volume.
pub(super) fn cloud_sql(volumes: &[run::Volume]) -> Value {
    let instances: Vec<&str> = volumes
        .iter()
        .filter_map(|volume| match &volume.volume_type {
            Some(VolumeType::CloudSqlInstance(sql)) => Some(sql.instances.iter().map(String::as_str)),
            _ => None,
        })
        .flatten()
        .collect();
    json!(instances.join(","))
}

/// Is it the probe that a container gets which has none?
pub(super) fn is_default_startup(probe: &run::Probe) -> bool {
    let times = (probe.initial_delay_seconds, probe.timeout_seconds, probe.period_seconds, probe.failure_threshold);
    times == (0, 240, 240, 1) && matches!(probe.probe_type, Some(ProbeType::TcpSocket(_)))
}

/// A volume; `None` for what v1 has no volume for.
pub(super) fn volume_json(volume: &run::Volume) -> Option<Value> {
    let (key, source) = match volume.volume_type.as_ref()? {
        VolumeType::CloudSqlInstance(_) => return None,
        VolumeType::Secret(secret) => {
            let item = |item: &run::VersionToPath| {
                object(vec![("key", json!(item.version)), ("mode", number(item.mode)), ("path", json!(item.path))])
            };
            let items = secret.items.iter().map(item).collect();
            let source = vec![
                ("defaultMode", number(secret.default_mode)),
                ("items", items),
                ("secretName", json!(secret.secret)),
            ];
            ("secret", object(source))
        }
        VolumeType::EmptyDir(dir) => {
            let medium = if dir.medium() == Medium::Memory { "Memory" } else { "" };
            ("emptyDir", object(vec![("medium", json!(medium)), ("sizeLimit", json!(dir.size_limit))]))
        }
        VolumeType::Nfs(nfs) => ("nfs", json!({"path": nfs.path, "readOnly": nfs.read_only, "server": nfs.server})),
        VolumeType::Gcs(gcs) => {
            let options = json!(gcs.mount_options.join(","));
            let attributes = object(vec![("bucketName", json!(gcs.bucket)), ("mountOptions", options)]);
            let driver = json!("gcsfuse.run.googleapis.com");
            ("csi", json!({"driver": driver, "readOnly": gcs.read_only, "volumeAttributes": attributes}))
        }
    };
    Some(json!({"name": volume.name, key: source}))
}

fn env_json(env: &run::EnvVar) -> Value {
    match &env.values {
        Some(Values::ValueSource(source)) => {
            let key = source.secret_key_ref.clone().unwrap_or_default();
            json!({"name": env.name, "valueFrom": {"secretKeyRef": {"key": key.version, "name": key.secret}}})
        }
        Some(Values::Value(value)) => json!({"name": env.name, "value": value}),
        None => json!({"name": env.name}),
    }
}

fn port_json(port: &run::ContainerPort) -> Value {
    object(vec![("containerPort", number(port.container_port)), ("name", json!(port.name))])
}

fn mount_json(mount: &run::VolumeMount) -> Value {
    let (path, sub_path) = (json!(mount.mount_path), json!(mount.sub_path));
    object(vec![("mountPath", path), ("name", json!(mount.name)), ("subPath", sub_path)])
}

fn probe_json(probe: &run::Probe) -> Value {
    let (key, action) = match &probe.probe_type {
        None => ("tcpSocket", Value::Null),
        Some(ProbeType::HttpGet(get)) => {
            let header = |header: &run::HttpHeader| json!({"name": header.name, "value": header.value});
            let headers = get.http_headers.iter().map(header).collect();
            let action = vec![("httpHeaders", headers), ("path", json!(get.path)), ("port", number(get.port))];
            ("httpGet", object(action))
        }
        Some(ProbeType::TcpSocket(tcp)) => ("tcpSocket", object(vec![("port", number(tcp.port))])),
        Some(ProbeType::Grpc(grpc)) => {
            ("grpc", object(vec![("port", number(grpc.port)), ("service", json!(grpc.service))]))
        }
    };
    object(vec![
        ("failureThreshold", number(probe.failure_threshold)),
        ("initialDelaySeconds", number(probe.initial_delay_seconds)),
        ("periodSeconds", number(probe.period_seconds)),
        ("timeoutSeconds", number(probe.timeout_seconds)),
        (key, action),
    ])
}
