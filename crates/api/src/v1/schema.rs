//! The shapes of v1's objects: which fields there are, and the normal form of what clients send.
//!
//! Source: the v1 API's discovery document, as the client in gcloud 578 has it; which fields Cloud Run
//! refuses: its reference of v1.

use serde_json::{Map, Value};
use updraft_model::{Error, Violation};

use super::tree::is_empty;
use crate::json;

/// What a value may be.
#[derive(Debug)]
pub(super) enum Shape {
    /// A text; the empty one means "not set".
    Text,
    /// A text of which the empty one is one, too.
    Verbatim,
    /// True or false; false means "not set".
    Flag,
    /// A number of 32 bits, also as text; 0 means "not set".
    Number,
    /// A number of 32 bits, also as text, of which 0 is one, too.
    Count,
    /// Texts.
    Texts,
    /// Texts by keys.
    Map,
    /// Quantities by keys: texts, or numbers.
    Quantities,
    /// An object; an empty one means "not set".
    Object(&'static [Field]),
    /// An object whose being there says something.
    Choice(&'static [Field]),
    /// Objects.
    List(&'static [Field]),
    /// Whatever it is, only the server writes it.
    Output,
    /// Cloud Run does not have it.
    Refused,
}

/// A field: name and shape.
pub(super) type Field = (&'static str, Shape);

use Shape::{
    Choice, Count, Flag, List, Map as Texted, Number, Object, Output, Quantities, Refused, Text, Texts, Verbatim,
};

const META: &[Field] = &[
    ("annotations", Texted),
    ("clusterName", Text),
    ("creationTimestamp", Output),
    ("deletionGracePeriodSeconds", Number),
    ("deletionTimestamp", Output),
    ("finalizers", Texts),
    ("generateName", Output),
    ("generation", Output),
    ("labels", Texted),
    ("managedFields", Output),
    ("name", Text),
    ("namespace", Output),
    ("ownerReferences", List(OWNER)),
    ("resourceVersion", Output),
    ("selfLink", Output),
    ("uid", Output),
];
const OWNER: &[Field] = &[
    ("apiVersion", Text),
    ("blockOwnerDeletion", Flag),
    ("controller", Flag),
    ("kind", Text),
    ("name", Text),
    ("uid", Text),
];
const KEY_REF: &[Field] = &[("key", Text), ("localObjectReference", Object(NAMED)), ("name", Text), ("optional", Flag)];
const NAMED: &[Field] = &[("name", Text)];
const SOURCE: &[Field] = &[("configMapKeyRef", Refused), ("secretKeyRef", Choice(KEY_REF))];
const ENV: &[Field] = &[("name", Text), ("value", Verbatim), ("valueFrom", Object(SOURCE))];
const HEADER: &[Field] = &[("name", Text), ("value", Verbatim)];
const HTTP: &[Field] =
    &[("host", Refused), ("httpHeaders", List(HEADER)), ("path", Text), ("port", Number), ("scheme", Text)];
const TCP: &[Field] = &[("host", Refused), ("port", Number)];
const GRPC: &[Field] = &[("port", Number), ("service", Text)];
const PROBE: &[Field] = &[
    ("exec", Refused),
    ("failureThreshold", Number),
    ("grpc", Choice(GRPC)),
    ("httpGet", Choice(HTTP)),
    ("initialDelaySeconds", Number),
    ("periodSeconds", Number),
    ("successThreshold", Number),
    ("tcpSocket", Choice(TCP)),
    ("timeoutSeconds", Number),
];
const PORT: &[Field] = &[("containerPort", Number), ("name", Text), ("protocol", Text)];
const MOUNT: &[Field] = &[("mountPath", Text), ("name", Text), ("readOnly", Flag), ("subPath", Text)];
const RESOURCES: &[Field] = &[("limits", Quantities), ("requests", Quantities)];
const CONTAINER: &[Field] = &[
    ("args", Texts),
    ("command", Texts),
    ("env", List(ENV)),
    ("envFrom", Refused),
    ("image", Text),
    ("imagePullPolicy", Text),
    ("livenessProbe", Object(PROBE)),
    ("name", Text),
    ("ports", List(PORT)),
    ("readinessProbe", Object(PROBE)),
    ("resources", Object(RESOURCES)),
    ("sandboxLauncher", Flag),
    ("securityContext", Refused),
    ("startupProbe", Object(PROBE)),
    ("terminationMessagePath", Text),
    ("terminationMessagePolicy", Text),
    ("volumeMounts", List(MOUNT)),
    ("workingDir", Text),
];
const ITEM: &[Field] = &[("key", Text), ("mode", Number), ("path", Text)];
const SECRET: &[Field] = &[("defaultMode", Number), ("items", List(ITEM)), ("optional", Flag), ("secretName", Text)];
const DIR: &[Field] = &[("medium", Text), ("sizeLimit", Text)];
const NFS: &[Field] = &[("path", Text), ("readOnly", Flag), ("server", Text)];
const CSI: &[Field] = &[("driver", Text), ("readOnly", Flag), ("volumeAttributes", Texted)];
const VOLUME: &[Field] = &[
    ("configMap", Refused),
    ("csi", Choice(CSI)),
    ("emptyDir", Choice(DIR)),
    ("name", Text),
    ("nfs", Choice(NFS)),
    ("secret", Choice(SECRET)),
];
const REVISION_SPEC: &[Field] = &[
    ("containerConcurrency", Number),
    ("containers", List(CONTAINER)),
    ("enableServiceLinks", Flag),
    ("imagePullSecrets", List(NAMED)),
    ("nodeSelector", Texted),
    ("runtimeClassName", Text),
    ("serviceAccountName", Text),
    ("terminationGracePeriodSeconds", Number),
    ("timeoutSeconds", Number),
    ("volumes", List(VOLUME)),
];
const TEMPLATE: &[Field] = &[("metadata", Object(META)), ("spec", Object(REVISION_SPEC))];
const TARGET: &[Field] = &[
    ("configurationName", Refused),
    ("latestRevision", Flag),
    ("percent", Number),
    ("revisionName", Text),
    ("tag", Text),
    ("url", Refused),
];
const SERVICE_SPEC: &[Field] = &[("template", Object(TEMPLATE)), ("traffic", List(TARGET))];
/// A service.
pub(super) const SERVICE: &[Field] = &[
    ("apiVersion", Output),
    ("kind", Output),
    ("metadata", Object(META)),
    ("spec", Object(SERVICE_SPEC)),
    ("status", Output),
];
const TASK_SPEC: &[Field] = &[
    ("containers", List(CONTAINER)),
    ("maxRetries", Count),
    ("nodeSelector", Texted),
    ("serviceAccountName", Text),
    ("terminationGracePeriodSeconds", Number),
    ("timeoutSeconds", Number),
    ("volumes", List(VOLUME)),
];
const TASK_TEMPLATE: &[Field] = &[("spec", Object(TASK_SPEC))];
const EXECUTION_SPEC: &[Field] =
    &[("delayExecution", Flag), ("parallelism", Number), ("taskCount", Number), ("template", Object(TASK_TEMPLATE))];
const EXECUTION_TEMPLATE: &[Field] = &[("metadata", Object(META)), ("spec", Object(EXECUTION_SPEC))];
const JOB_SPEC: &[Field] =
    &[("runExecutionToken", Text), ("startExecutionToken", Text), ("template", Object(EXECUTION_TEMPLATE))];
/// A job.
pub(super) const JOB: &[Field] = &[
    ("apiVersion", Output),
    ("kind", Output),
    ("metadata", Object(META)),
    ("spec", Object(JOB_SPEC)),
    ("status", Output),
];
const CONTAINER_OVERRIDE: &[Field] = &[("args", Texts), ("clearArgs", Flag), ("env", List(ENV)), ("name", Text)];
const OVERRIDES: &[Field] = &[
    ("containerOverrides", List(CONTAINER_OVERRIDE)),
    ("delayExecution", Flag),
    ("parallelism", Count),
    ("taskCount", Number),
    ("timeoutSeconds", Number),
];
/// What a run of a job asks for. `parallelism` is an extension, see [`crate::run_job`].
pub(super) const RUN_JOB: &[Field] = &[("overrides", Object(OVERRIDES))];
const SPLIT: &[Field] = &[("latestRevision", Flag), ("percent", Number), ("revisionName", Text)];
const WORKER_POOL_SPEC: &[Field] = &[("instanceSplits", List(SPLIT)), ("template", Object(TEMPLATE))];
/// A worker pool.
pub(super) const WORKER_POOL: &[Field] = &[
    ("apiVersion", Output),
    ("kind", Output),
    ("metadata", Object(META)),
    ("spec", Object(WORKER_POOL_SPEC)),
    ("status", Output),
];
const MAPPING_SPEC: &[Field] = &[("certificateMode", Text), ("forceOverride", Flag), ("routeName", Text)];
/// A domain mapping.
pub(super) const DOMAIN_MAPPING: &[Field] = &[
    ("apiVersion", Output),
    ("kind", Output),
    ("metadata", Object(META)),
    ("spec", Object(MAPPING_SPEC)),
    ("status", Output),
];

/// More violations than these help nobody.
const MOST_VIOLATIONS: usize = 20;

/// Brings an object into its normal form.
struct Reader(Vec<Violation>);

/// The normal form of `value`, an object with these fields: without what means "not set" and without what
/// only the server writes.
///
/// # Errors
/// `InvalidArgument`, with one violation per field that does not exist, does not fit, or is not one that
/// Cloud Run has.
pub(super) fn normal(fields: &[Field], value: &Value) -> Result<Value, Error> {
    let mut reader = Reader(Vec::new());
    let normal = match value {
        Value::Object(_) => reader.object(fields, value, ""),
        other => {
            reader.wrong("", "an object", other);
            Value::Null
        }
    };
    if reader.0.is_empty() { Ok(normal) } else { Err(json::refuse(reader.0)) }
}

// === impl Reader ===

impl Reader {
    fn object(&mut self, fields: &[Field], value: &Value, at: &str) -> Value {
        let Value::Object(given) = value else {
            self.wrong(at, "an object", value);
            return Value::Null;
        };
        let mut normal = Map::new();
        for (name, value) in given {
            let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
            let Some((_, shape)) = fields.iter().find(|(field, _)| field == name) else {
                let place = if at.is_empty() { String::new() } else { format!(" at '{at}'") };
                let rule = format!("Invalid JSON payload received. Unknown name \"{name}\"{place}: Cannot find field.");
                self.add(at, rule);
                continue;
            };
            if value.is_null() {
                continue;
            }
            if let Some(value) = self.value(shape, value, &path) {
                normal.insert(name.clone(), value);
            }
        }
        Value::Object(normal)
    }

    /// The normal form of a value, if it says anything.
    fn value(&mut self, shape: &Shape, value: &Value, path: &str) -> Option<Value> {
        let normal = match shape {
            Output => return None,
            Refused => {
                if !is_empty(value) {
                    self.add(path, format!("{path} is not supported by Cloud Run."));
                }
                return None;
            }
            Verbatim => return self.text(value, path),
            Text => self.text(value, path)?,
            Flag => Value::Bool(self.fit(value.as_bool(), (value, path, "TYPE_BOOL")).filter(|set| *set)?),
            Number => {
                let number = self.fit(whole(value), (value, path, "TYPE_INT32"))?;
                Value::from(Some(number).filter(|number| *number != 0)?)
            }
            Count => return self.fit(whole(value), (value, path, "TYPE_INT32")).map(Value::from),
            Texts => self.each(value, path, Self::text)?,
            List(fields) => self.each(value, path, |reader, item, path| Some(reader.object(fields, item, path)))?,
            Texted => self.entries(value, path, Self::text)?,
            Quantities => self.entries(value, path, Self::quantity)?,
            Object(fields) => self.object(fields, value, path),
            Choice(fields) => return Some(self.object(fields, value, path)),
        };
        (!is_empty(&normal)).then_some(normal)
    }

    fn text(&mut self, value: &Value, path: &str) -> Option<Value> {
        self.fit(value.as_str(), (value, path, "TYPE_STRING")).map(Value::from)
    }

    /// Manifests write `cpu: 1` as often as `cpu: "1"`.
    fn quantity(&mut self, value: &Value, path: &str) -> Option<Value> {
        match value {
            Value::Number(number) => Some(Value::String(number.to_string())),
            other => self.text(other, path),
        }
    }

    fn each(
        &mut self,
        value: &Value,
        path: &str,
        mut read: impl FnMut(&mut Self, &Value, &str) -> Option<Value>,
    ) -> Option<Value> {
        let items = self.fit(value.as_array(), (value, path, "a list"))?;
        let numbered = items.iter().enumerate();
        Some(numbered.filter_map(|(index, item)| read(self, item, &format!("{path}[{index}]"))).collect())
    }

    fn entries(
        &mut self,
        value: &Value,
        path: &str,
        mut read: impl FnMut(&mut Self, &Value, &str) -> Option<Value>,
    ) -> Option<Value> {
        let entries = self.fit(value.as_object(), (value, path, "a map"))?;
        let normal = entries.iter().filter(|(_, value)| !value.is_null());
        let normal =
            normal.filter_map(|(key, value)| Some((key.clone(), read(self, value, &format!("{path}[{key}]"))?)));
        Some(Value::Object(normal.collect()))
    }

    fn fit<T>(&mut self, read: Option<T>, (value, path, kind): (&Value, &str, &str)) -> Option<T> {
        if read.is_none() {
            self.wrong(path, kind, value);
        }
        read
    }

    fn wrong(&mut self, path: &str, kind: &str, value: &Value) {
        let shown: String = value.to_string().chars().take(64).collect();
        self.add(path, format!("Invalid value at '{path}' ({kind}), {shown}"));
    }

    fn add(&mut self, field: &str, rule: String) {
        if self.0.len() < MOST_VIOLATIONS {
            self.0.push(Violation::new(field, rule));
        }
    }
}

/// A whole number of 32 bits: as a number, also one with a fraction of zero, or as text.
fn whole(value: &Value) -> Option<i32> {
    let number = match value {
        Value::Number(number) => {
            number.as_i64().or_else(|| number.as_f64().filter(|float| float.fract() == 0.0).map(|float| float as i64))
        }
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number.and_then(|number| number.try_into().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_means_not_set_is_left_out() {
        let sent = json!({
            "apiVersion": "serving.knative.dev/v1", "status": {"address": {}},
            "metadata": {"name": "demo", "labels": {}, "creationTimestamp": null, "generation": 3},
            "spec": {"template": {"spec": {
                "timeoutSeconds": "300", "nodeSelector": {},
                "containers": [{"name": "", "image": "i", "env": [{"name": "E", "value": ""}],
                                "resources": {"limits": {"cpu": 1}}, "startupProbe": {"tcpSocket": {}}}],
                "volumes": [{"name": "v", "emptyDir": {}}],
            }}},
        });
        let normal = normal(SERVICE, &sent).expect("fits");
        let expected = json!({
            "metadata": {"name": "demo"},
            "spec": {"template": {"spec": {
                "timeoutSeconds": 300,
                "containers": [{"image": "i", "env": [{"name": "E", "value": ""}],
                                "resources": {"limits": {"cpu": "1"}}, "startupProbe": {"tcpSocket": {}}}],
                "volumes": [{"name": "v", "emptyDir": {}}],
            }}},
        });
        assert_eq!(normal, expected);
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_path() {
        let sent = json!({
            "metadata": {"annotations": {"a": 1}},
            "spec": {"template": {"spec": {"containers": [{"imag": "x", "envFrom": [{}], "args": "a"}]}}},
        });
        let error = normal(SERVICE, &sent).expect_err("wrong");
        expect_test::expect![[r#"
            Invalid value at 'metadata.annotations[a]' (TYPE_STRING), 1
            Invalid JSON payload received. Unknown name "imag" at 'spec.template.spec.containers[0]': Cannot find field.
            spec.template.spec.containers[0].envFrom is not supported by Cloud Run.
            Invalid value at 'spec.template.spec.containers[0].args' (a list), "a""#]]
        .assert_eq(error.message());
        assert_eq!(error.violations()[0].field, "metadata.annotations[a]");
    }
}
