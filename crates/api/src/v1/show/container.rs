//! Containers, probes and volumes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::template::Aliases;
use crate::{
    run::{self, empty_dir_volume_source::Medium, env_var::Values, probe::ProbeType, volume::VolumeType},
    v1::{
        keys,
        tree::{flag_value, number, object},
    },
};

/// Where Cloud SQL's sockets are mounted; v1 has no mount for them.
pub(in crate::v1) const SOCKETS: &str = "/cloudsql";

pub(super) fn container_json(container: &run::Container, aliases: &Aliases, sockets: &[&str]) -> Value {
    let limits: BTreeMap<_, _> = container.resources.iter().flat_map(|resources| &resources.limits).collect();
    let mounts = container.volume_mounts.iter();
    let mounts = mounts.filter(|mount| !(sockets.contains(&&*mount.name) && mount.mount_path == SOCKETS));
    object(vec![
        ("args", json!(container.args)),
        ("command", json!(container.command)),
        ("env", container.env.iter().map(|env| env_json(env, aliases)).collect()),
        ("image", json!(container.image)),
        ("livenessProbe", container.liveness_probe.as_ref().map(probe_json).unwrap_or_default()),
        ("name", json!(container.name)),
        ("ports", container.ports.iter().map(port_json).collect()),
        ("readinessProbe", container.readiness_probe.as_ref().map(probe_json).unwrap_or_default()),
        ("resources", object(vec![("limits", json!(limits))])),
        ("startupProbe", container.startup_probe.as_ref().map(probe_json).unwrap_or_default()),
        ("volumeMounts", mounts.map(mount_json).collect()),
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
pub(super) fn volume_json(volume: &run::Volume, aliases: &Aliases) -> Option<Value> {
    let (key, source) = match &volume.volume_type {
        None => return Some(json!({"name": volume.name})),
        Some(VolumeType::CloudSqlInstance(_)) => return None,
        Some(VolumeType::Secret(secret)) => {
            let item = |item: &run::VersionToPath| {
                object(vec![("key", json!(item.version)), ("mode", number(item.mode)), ("path", json!(item.path))])
            };
            let items = secret.items.iter().map(item).collect();
            let source = vec![
                ("defaultMode", number(secret.default_mode)),
                ("items", items),
                ("secretName", json!(aliases.name(&secret.secret))),
            ];
            ("secret", object(source))
        }
        Some(VolumeType::EmptyDir(dir)) => {
            let medium = if dir.medium() == Medium::Memory { "Memory" } else { "" };
            ("emptyDir", object(vec![("medium", json!(medium)), ("sizeLimit", json!(dir.size_limit))]))
        }
        Some(VolumeType::Nfs(nfs)) => {
            let source =
                vec![("path", json!(nfs.path)), ("readOnly", flag_value(nfs.read_only)), ("server", json!(nfs.server))];
            ("nfs", object(source))
        }
        Some(VolumeType::Gcs(gcs)) => {
            let options = json!(gcs.mount_options.join(","));
            let attributes = object(vec![("bucketName", json!(gcs.bucket)), ("mountOptions", options)]);
            let source = vec![
                ("driver", json!(keys::GCS_DRIVER)),
                ("readOnly", flag_value(gcs.read_only)),
                ("volumeAttributes", attributes),
            ];
            ("csi", object(source))
        }
    };
    Some(json!({"name": volume.name, key: source}))
}

fn env_json(env: &run::EnvVar, aliases: &Aliases) -> Value {
    match &env.values {
        Some(Values::ValueSource(source)) => {
            let key = source.secret_key_ref.clone().unwrap_or_default();
            let named = object(vec![("key", json!(key.version)), ("name", json!(aliases.name(&key.secret)))]);
            json!({"name": env.name, "valueFrom": {"secretKeyRef": named}})
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
    let mut shown = object(vec![
        ("failureThreshold", number(probe.failure_threshold)),
        ("initialDelaySeconds", number(probe.initial_delay_seconds)),
        ("periodSeconds", number(probe.period_seconds)),
        ("timeoutSeconds", number(probe.timeout_seconds)),
    ]);
    let (key, action) = match &probe.probe_type {
        None => return shown,
        Some(ProbeType::HttpGet(get)) => {
            let header = |header: &run::HttpHeader| json!({"name": header.name, "value": header.value});
            let headers: Value = get.http_headers.iter().map(header).collect();
            let action = vec![("httpHeaders", headers), ("path", json!(get.path)), ("port", number(get.port))];
            ("httpGet", object(action))
        }
        Some(ProbeType::TcpSocket(tcp)) => ("tcpSocket", object(vec![("port", number(tcp.port))])),
        Some(ProbeType::Grpc(grpc)) => {
            ("grpc", object(vec![("port", number(grpc.port)), ("service", json!(grpc.service))]))
        }
    };
    // Also an empty one: that it is there is what chooses it.
    shown[key] = action;
    shown
}
