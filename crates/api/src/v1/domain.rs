//! Domain mappings, which only v1 has.

use serde_json::{Map, Value, json};
use updraft_model::{Error, Parent, Violation, label::ANNOTATIONS_BYTES_MAX};

use super::{
    keys, read, schema, show,
    tree::{object, put, sorted, text},
    write::{check_kind, drop_outputs, namespace},
};

/// The kind of domain mappings.
pub const DOMAIN_MAPPING: &str = "DomainMapping";
/// Their group, with its version.
pub const DOMAINS: &str = "domains.cloudrun.com/v1";
/// The longest domain that can be mapped, in characters. Source: the limits of domain mappings.
pub const DOMAIN_MAX: usize = 64;

/// A mapping as a client sent it.
#[derive(Debug, Clone)]
pub struct WrittenMapping {
    /// The domain.
    pub name: String,
    /// The project as the object names it, by id or number; empty when it does not.
    pub namespace: String,
    /// What is stored.
    pub intent: Value,
}

/// A mapping with what the server knows of it.
#[derive(Debug)]
pub struct Mapping<'a> {
    /// Where it is.
    pub parent: &'a Parent,
    /// The domain.
    pub name: &'a str,
    /// As it was written.
    pub intent: &'a Value,
    /// A UUID.
    pub uid: &'a str,
    /// The version of its intent.
    pub version: &'a str,
    /// When it was made.
    pub created: std::time::SystemTime,
    /// E-mail of who made it.
    pub creator: &'a str,
    /// The host of the service's own URL; `None` when there is no such service.
    pub target: Option<&'a str>,
}

// === impl WrittenMapping ===

impl WrittenMapping {
    /// Reads an object.
    ///
    /// # Errors
    /// `InvalidArgument` with one violation per field that does not exist or breaks a rule.
    pub fn read(sent: &Value) -> Result<Self, Error> {
        let mut intent = schema::normal(schema::DOMAIN_MAPPING, sent)?;
        check_kind(sent, DOMAINS, DOMAIN_MAPPING)?;
        drop_outputs(&mut intent["metadata"]);
        let name = text(&intent["metadata"], "name").to_owned();
        let mut found = Vec::new();
        read::check_keys(keys::Scope::Mapping, &intent, "", &mut found);
        if !is_domain(&name) {
            let rule = format!(
                "must be a domain of at most {DOMAIN_MAX} lowercase letters, digits, hyphens and full stops, got '{name}'"
            );
            found.push(Violation::new("metadata.name", rule));
        }
        if text(&intent["spec"], "routeName").is_empty() {
            found.push(Violation::new("spec.routeName", "must name a service, got nothing"));
        }
        let mode = text(&intent["spec"], "certificateMode");
        if !matches!(mode, "" | "AUTOMATIC" | "NONE" | "CERTIFICATE_MODE_UNSPECIFIED") {
            found.push(Violation::new("spec.certificateMode", format!("must be AUTOMATIC or NONE, got '{mode}'")));
        }
        let bytes = intent.to_string().len();
        if bytes > ANNOTATIONS_BYTES_MAX {
            found.push(Violation::new(
                "metadata",
                format!("must have at most {ANNOTATIONS_BYTES_MAX} bytes, got {bytes}"),
            ));
        }
        if !found.is_empty() {
            return Err(Error::invalid(found));
        }
        Ok(Self { name, namespace: namespace(&sent["metadata"]), intent })
    }
}

// === impl Mapping ===

impl Mapping<'_> {
    /// The mapping in the v1 shape.
    pub fn json(&self) -> Value {
        let mut metadata: Map<String, Value> = self.intent["metadata"].as_object().cloned().unwrap_or_default();
        let mut labels = metadata.get("labels").and_then(Value::as_object).cloned().unwrap_or_default();
        labels.insert(keys::LOCATION_LABEL.to_owned(), json!(self.parent.location));
        let mut annotations = metadata.get("annotations").and_then(Value::as_object).cloned().unwrap_or_default();
        put(&mut annotations, keys::CREATOR, json!(self.creator));
        put(&mut annotations, keys::LAST_MODIFIER, json!(self.creator));
        let namespace = show::namespace(&self.parent.project);
        let created = prost_types::Timestamp::from(self.created).to_string();
        let link = format!("/apis/{DOMAINS}/namespaces/{namespace}/domainmappings/{}", self.name);
        for (key, value) in [
            ("annotations", Value::Object(annotations)),
            ("labels", Value::Object(labels)),
            ("name", json!(self.name)),
            ("namespace", json!(namespace)),
            ("selfLink", json!(link)),
            ("uid", json!(self.uid)),
            ("resourceVersion", json!(self.version)),
            ("generation", json!(1)),
            ("creationTimestamp", json!(created)),
        ] {
            put(&mut metadata, key, value);
        }
        let mut spec = self.intent["spec"].as_object().cloned().unwrap_or_default();
        spec.entry("certificateMode").or_insert_with(|| json!("AUTOMATIC"));
        sorted(json!({
            "apiVersion": DOMAINS,
            "kind": DOMAIN_MAPPING,
            "metadata": metadata,
            "spec": spec,
            "status": self.status(&created),
        }))
    }

    fn status(&self, since: &str) -> Value {
        let service = text(&self.intent["spec"], "routeName");
        let condition = |kind: &str, status: &str, (reason, message): (&str, String)| {
            object(vec![
                ("lastTransitionTime", json!(since)),
                ("message", json!(message)),
                ("reason", json!(reason)),
                ("status", json!(status)),
                ("type", json!(kind)),
            ])
        };
        let unrouted = "The mapping is stored; this version does not serve mapped domains yet.".to_owned();
        let conditions = match self.target {
            None => {
                let why = format!("Service '{service}' does not exist.");
                vec![condition("Ready", "False", ("RouteNotFound", why))]
            }
            Some(_) => vec![
                condition("Ready", "Unknown", ("DomainNotRoutable", unrouted.clone())),
                condition("CertificateProvisioned", "Unknown", ("", String::new())),
                condition("DomainRoutable", "Unknown", ("DomainNotRoutable", unrouted)),
            ],
        };
        object(vec![
            ("conditions", Value::Array(conditions)),
            ("mappedRouteName", json!(self.target.map(|_| service))),
            ("observedGeneration", json!(1)),
            ("resourceRecords", self.target.map(|target| records(self.name, target)).unwrap_or_default()),
        ])
    }
}

/// What the zone of a domain needs so that the domain leads to `target`. The top of a zone cannot be an
/// alias: on this machine it is its own addresses.
fn records(domain: &str, target: &str) -> Value {
    let is_top = domain.split('.').count() <= 2;
    if is_top && target.ends_with("localhost") {
        let record = |kind: &str, data: &str| json!({"type": kind, "rrdata": data});
        return json!([record("A", "127.0.0.1"), record("AAAA", "::1")]);
    }
    let name = domain.split('.').next().filter(|_| !is_top).unwrap_or_default();
    let mut record = json!({"type": "CNAME", "rrdata": format!("{target}.")});
    if !name.is_empty() {
        record["name"] = json!(domain.rsplitn(3, '.').nth(2).unwrap_or(name));
    }
    json!([record])
}

fn is_domain(name: &str) -> bool {
    let label = |label: &str| {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty() && label.chars().all(fits) && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= DOMAIN_MAX && name.contains('.') && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subdomain_is_an_alias_and_the_top_of_a_zone_is_addresses() {
        let sub = records("app.example.com", "demo-1.us-central1.run.localhost");
        assert_eq!(sub, json!([{"name": "app", "type": "CNAME", "rrdata": "demo-1.us-central1.run.localhost."}]));
        assert_eq!(records("a.b.example.com", "x.run.example")[0]["name"], "a.b");
        let top = records("example.com", "demo-1.us-central1.run.localhost");
        assert_eq!(top[0], json!({"type": "A", "rrdata": "127.0.0.1"}));
    }

    #[test]
    fn what_a_mapping_needs_is_named() {
        let error = WrittenMapping::read(&json!({"metadata": {"name": "Example"}, "spec": {"certificateMode": "x"}}))
            .expect_err("wrong");
        let fields: Vec<&str> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["metadata.name", "spec.routeName", "spec.certificateMode"]);
    }
}
