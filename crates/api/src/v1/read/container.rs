//! Containers, probes and volumes.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    run::{self, empty_dir_volume_source::Medium, env_var::Values, probe::ProbeType, volume::VolumeType},
    v1::{
        keys,
        tree::{integer, items, pairs, text, texts},
    },
};

/// The message of a container. `names` are the full names of secrets by their aliases.
pub(super) fn container(value: &Value, names: &BTreeMap<&str, &str>) -> run::Container {
    let limits = pairs(&value["resources"], "limits").map(|(key, value)| (key.clone(), value.to_owned())).collect();
    run::Container {
        name: text(value, "name").to_owned(),
        image: text(value, "image").to_owned(),
        command: texts(value, "command"),
        args: texts(value, "args"),
        env: items(value, "env").map(|env| variable(env, names)).collect(),
        resources: Some(run::ResourceRequirements { limits, ..run::ResourceRequirements::default() }),
        ports: items(value, "ports").map(port).collect(),
        volume_mounts: items(value, "volumeMounts").map(mount).collect(),
        working_dir: text(value, "workingDir").to_owned(),
        liveness_probe: value.get("livenessProbe").map(probe),
        startup_probe: value.get("startupProbe").map(probe),
        readiness_probe: value.get("readinessProbe").map(probe),
        ..run::Container::default()
    }
}

/// The message of a volume.
pub(super) fn volume(value: &Value, names: &BTreeMap<&str, &str>) -> run::Volume {
    let source = if let Some(secret) = value.get("secret") {
        let item = |item: &Value| run::VersionToPath {
            path: text(item, "path").to_owned(),
            version: text(item, "key").to_owned(),
            mode: integer(item, "mode"),
        };
        Some(VolumeType::Secret(run::SecretVolumeSource {
            secret: in_full(text(secret, "secretName"), names),
            items: items(secret, "items").map(item).collect(),
            default_mode: integer(secret, "defaultMode"),
        }))
    } else if let Some(dir) = value.get("emptyDir") {
        let medium =
            if text(dir, "medium").eq_ignore_ascii_case("memory") { Medium::Memory } else { Medium::Unspecified };
        let size_limit = text(dir, "sizeLimit").to_owned();
        Some(VolumeType::EmptyDir(run::EmptyDirVolumeSource { medium: medium.into(), size_limit }))
    } else if let Some(nfs) = value.get("nfs") {
        Some(VolumeType::Nfs(run::NfsVolumeSource {
            server: text(nfs, "server").to_owned(),
            path: text(nfs, "path").to_owned(),
            read_only: nfs["readOnly"] == true,
        }))
    } else {
        value.get("csi").filter(|csi| text(csi, "driver") == keys::GCS_DRIVER).map(bucket)
    };
    run::Volume { name: text(value, "name").to_owned(), volume_type: source }
}

fn bucket(csi: &Value) -> VolumeType {
    let attributes = &csi["volumeAttributes"];
    let options = text(attributes, "mountOptions").split(',').filter(|option| !option.is_empty());
    VolumeType::Gcs(run::GcsVolumeSource {
        bucket: text(attributes, "bucketName").to_owned(),
        read_only: csi["readOnly"] == true,
        mount_options: options.map(str::to_owned).collect(),
    })
}

/// The message of a variable.
pub(super) fn variable(value: &Value, names: &BTreeMap<&str, &str>) -> run::EnvVar {
    let values = match value["valueFrom"].get("secretKeyRef") {
        Some(key) => {
            let reference = run::SecretKeySelector {
                secret: in_full(text(key, "name"), names),
                version: text(key, "key").to_owned(),
            };
            Some(Values::ValueSource(run::EnvVarSource { secret_key_ref: Some(reference) }))
        }
        None => value["value"].as_str().map(|text| Values::Value(text.to_owned())),
    };
    run::EnvVar { name: text(value, "name").to_owned(), values }
}

fn in_full(secret: &str, names: &BTreeMap<&str, &str>) -> String {
    names.get(secret).copied().unwrap_or(secret).to_owned()
}

fn port(value: &Value) -> run::ContainerPort {
    run::ContainerPort { name: text(value, "name").to_owned(), container_port: integer(value, "containerPort") }
}

fn mount(value: &Value) -> run::VolumeMount {
    run::VolumeMount {
        name: text(value, "name").to_owned(),
        mount_path: text(value, "mountPath").to_owned(),
        sub_path: text(value, "subPath").to_owned(),
    }
}

fn probe(value: &Value) -> run::Probe {
    let header = |header: &Value| run::HttpHeader {
        name: text(header, "name").to_owned(),
        value: text(header, "value").to_owned(),
    };
    let probe_type = if let Some(get) = value.get("httpGet") {
        Some(ProbeType::HttpGet(run::HttpGetAction {
            path: text(get, "path").to_owned(),
            http_headers: items(get, "httpHeaders").map(header).collect(),
            port: integer(get, "port"),
        }))
    } else if let Some(tcp) = value.get("tcpSocket") {
        Some(ProbeType::TcpSocket(run::TcpSocketAction { port: integer(tcp, "port") }))
    } else {
        let grpc = value
            .get("grpc")
            .map(|grpc| run::GrpcAction { port: integer(grpc, "port"), service: text(grpc, "service").to_owned() });
        grpc.map(ProbeType::Grpc)
    };
    run::Probe {
        initial_delay_seconds: integer(value, "initialDelaySeconds"),
        timeout_seconds: integer(value, "timeoutSeconds"),
        period_seconds: integer(value, "periodSeconds"),
        failure_threshold: integer(value, "failureThreshold"),
        probe_type,
    }
}
