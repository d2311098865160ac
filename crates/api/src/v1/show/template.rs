//! Templates of revisions, and the spec that revisions share with them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{annotations, container};
use crate::{
    run::{self, env_var::Values, volume::VolumeType},
    v1::{
        Rest, keys,
        tree::{number, object, put, short},
    },
};

/// What of a template a client can set. `rest` is the template's; it knows how its secrets of other
/// projects are called.
pub(in crate::v1) fn template_json(template: &run::RevisionTemplate, rest: &Rest) -> Value {
    let known = rest.value(&["metadata", "annotations"], keys::SECRETS).and_then(Value::as_str).unwrap_or_default();
    let aliases = Aliases::of(template, known);
    let mut annotations = annotations::of_template(template);
    put(&mut annotations, keys::SECRETS, json!(aliases.written()));
    object(vec![
        (
            "metadata",
            object(vec![
                ("annotations", Value::Object(annotations)),
                ("labels", labels(template)),
                ("name", json!(template.revision)),
            ]),
        ),
        ("spec", spec(template, &aliases)),
    ])
}

fn labels(template: &run::RevisionTemplate) -> Value {
    let mut labels: Map<String, Value> =
        template.labels.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    let ingress = template.containers.iter().find(|container| !container.ports.is_empty());
    if let Some(probe) = ingress.and_then(|container| container.startup_probe.as_ref()) {
        let kind = if container::is_default_startup(probe) { "Default" } else { "Custom" };
        put(&mut labels, keys::PROBE_LABEL, json!(kind));
    }
    Value::Object(labels)
}

fn spec(template: &run::RevisionTemplate, aliases: &Aliases) -> Value {
    let accelerator = template.node_selector.as_ref().map(|selector| &selector.accelerator);
    let selector = accelerator.map(|kind| json!({keys::ACCELERATOR: kind}));
    let sockets: Vec<&str> = template.volumes.iter().filter(|volume| is_cloud_sql(volume)).map(|v| &*v.name).collect();
    let containers =
        template.containers.iter().map(|container| container::container_json(container, aliases, &sockets)).collect();
    object(vec![
        ("containerConcurrency", number(template.max_instance_request_concurrency)),
        ("containers", containers),
        ("nodeSelector", json!(selector)),
        ("serviceAccountName", json!(template.service_account)),
        ("timeoutSeconds", json!(template.timeout.map(|timeout| timeout.seconds))),
        ("volumes", template.volumes.iter().filter_map(|volume| container::volume_json(volume, aliases)).collect()),
    ])
}

fn is_cloud_sql(volume: &run::Volume) -> bool {
    matches!(volume.volume_type, Some(VolumeType::CloudSqlInstance(_)))
}

/// How secrets of other projects are called: v2 names them in full, v1 by an alias that an annotation
/// explains.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    /// Full name → alias.
    names: BTreeMap<String, String>,
    /// The annotation as the client wrote it.
    known: String,
    /// Aliases that the client did not name.
    made: Vec<(String, String)>,
}

// === impl Aliases ===

impl Aliases {
    fn of(template: &run::RevisionTemplate, known: &str) -> Self {
        let mut aliases = Self { known: known.to_owned(), ..Self::default() };
        for (alias, name) in crate::v1::read::aliases(known) {
            aliases.names.entry(name.to_owned()).or_insert_with(|| alias.to_owned());
        }
        for name in secrets(template).filter(|name| name.contains('/')) {
            if aliases.names.contains_key(name) {
                continue;
            }
            let taken = |alias: &str| {
                aliases.names.values().any(|known| known == alias) || secrets(template).any(|name| name == alias)
            };
            let id = short(name);
            let alias = (1..).map(|n| if n == 1 { id.to_owned() } else { format!("{id}-{n}") }).find(|a| !taken(a));
            let alias = alias.unwrap_or_else(|| id.to_owned());
            aliases.made.push((alias.clone(), name.to_owned()));
            aliases.names.insert(name.to_owned(), alias);
        }
        aliases
    }

    /// What v1 calls a secret.
    pub(super) fn name<'a>(&'a self, secret: &'a str) -> &'a str {
        self.names.get(secret).map_or(secret, String::as_str)
    }

    /// The annotation, when the client's own does not name them all.
    fn written(&self) -> Option<String> {
        if self.made.is_empty() {
            return None;
        }
        let known = Some(self.known.clone()).filter(|known| !known.is_empty());
        let made = self.made.iter().map(|(alias, name)| format!("{alias}:{name}"));
        Some(known.into_iter().chain(made).collect::<Vec<_>>().join(","))
    }
}

fn secrets(template: &run::RevisionTemplate) -> impl Iterator<Item = &str> {
    let env = template.containers.iter().flat_map(|container| &container.env).filter_map(|env| match &env.values {
        Some(Values::ValueSource(source)) => source.secret_key_ref.as_ref().map(|key| key.secret.as_str()),
        _ => None,
    });
    let volumes = template.volumes.iter().filter_map(|volume| match &volume.volume_type {
        Some(VolumeType::Secret(secret)) => Some(secret.secret.as_str()),
        _ => None,
    });
    env.chain(volumes)
}
