//! What a client writes, on its way to what is stored.

use serde_json::Value;
use updraft_model::{Error, Violation};

use super::{
    Object, Rest, Stored, keys,
    tree::{is_empty, text},
};
use crate::run;

/// A service as a v1 client sent it.
pub type Written = WrittenAs<run::Service>;
/// A job as a v1 client sent it.
pub type WrittenJob = WrittenAs<run::Job>;
/// A worker pool as a v1 client sent it.
pub type WrittenWorkerPool = WrittenAs<run::WorkerPool>;

/// A resource as a v1 client sent it.
#[derive(Debug, Clone)]
pub struct WrittenAs<M> {
    /// Its name; empty when the server is to make one.
    pub name: String,
    /// What a name that the server makes begins with; empty when the client does not mind.
    pub generate_name: String,
    /// The project as the object names it, by id or number; empty when it does not.
    pub namespace: String,
    /// The version that the client read; empty when it does not mind which it replaces.
    version: String,
    /// The normal form, without the name.
    normal: Value,
    message: M,
}

// === impl WrittenAs ===

impl<M: Object> WrittenAs<M> {
    /// Reads an object.
    ///
    /// # Errors
    /// `InvalidArgument` with one violation per field that does not exist or does not fit, in v1's spelling.
    pub fn read(object: &Value) -> Result<Self, Error> {
        let mut normal = M::normal(object)?;
        check_kind(object, M::API_VERSION, M::KIND)?;
        let name = normal.pointer_mut("/metadata/name").map(Value::take);
        let name = name.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        for place in ["/metadata", "/spec/template/metadata"] {
            if let Some(metadata) = normal.pointer_mut(place) {
                drop_outputs(metadata);
            }
        }
        let mut found: Vec<Violation> = Vec::new();
        for name in ["resourceVersion", "generateName"] {
            // One of another type must not be taken for none: the first is a lock.
            if !(object["metadata"][name].is_null() || object["metadata"][name].is_string()) {
                found.push(Violation::new(format!("metadata.{name}"), "must be a string"));
            }
        }
        let message = M::of_object(&normal, &mut found);
        if !found.is_empty() {
            return Err(Error::invalid(found));
        }
        let metadata = &object["metadata"];
        let version = text(metadata, "resourceVersion").to_owned();
        Ok(Self {
            name,
            generate_name: text(metadata, "generateName").to_owned(),
            namespace: namespace(metadata),
            message: message.with_etag(&version),
            version,
            normal,
        })
    }

    /// The version that the client read; empty when it does not mind which it replaces.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The message that is meant. A template that is what there is already, as v1 sees it, stays the message
    /// that it is: v2 can say more about it.
    pub fn message(&self, before: Option<&Stored<M>>) -> M {
        let message = self.message.clone();
        match before {
            Some(before) if self.normal["spec"]["template"] == template_of(before) => {
                message.with_template_of(&before.message)
            }
            _ => message,
        }
    }

    /// What is left to be kept beside the message that will be stored: the one meant, with defaults.
    pub fn rest(&self, message: &M) -> Rest {
        let secrets = &self.normal["spec"]["template"]["metadata"]["annotations"][keys::SECRETS];
        let plain = message.intent(&Rest::default());
        // Names of secrets that the server made up itself need not be kept.
        if plain["spec"]["template"]["metadata"]["annotations"][keys::SECRETS] == *secrets {
            return Rest::between(&self.normal, &plain);
        }
        let known = Rest::with(&["spec", "template", "metadata", "annotations"], keys::SECRETS, secrets);
        Rest::between(&self.normal, &message.intent(&known))
    }
}

// === impl Rest ===

impl Rest {
    /// What of a resource's rest is its template's: what a revision of it keeps.
    #[must_use]
    pub fn of_template(resource: &Self) -> Self {
        resource.below(&["spec", "template"])
    }

    /// What stays of it beside a message that was changed by other means.
    #[must_use]
    pub fn beside<M: Object>(&self, message: &M) -> Self {
        self.pruned(&message.intent(self))
    }
}

/// The template of a resource as its clients would send it.
fn template_of<M: Object>(stored: &Stored<M>) -> Value {
    let mut shown = stored.message.intent(&stored.rest);
    stored.rest.put_back(&mut shown);
    if let Some(metadata) = shown.pointer_mut("/spec/template/metadata") {
        drop_outputs(metadata);
    }
    M::normal(&shown).map(|mut shown| shown["spec"]["template"].take()).unwrap_or_default()
}

/// Takes out of metadata what only the server writes.
pub(super) fn drop_outputs(metadata: &mut Value) {
    let Some(fields) = metadata.as_object_mut() else { return };
    for field in ["annotations", "labels"] {
        if let Some(map) = fields.get_mut(field).and_then(Value::as_object_mut) {
            map.retain(|key, _| !keys::is_output(key));
        }
    }
    fields.retain(|_, value| !is_empty(value));
}

/// Refuses an object of another kind than the path is for. Clients that leave it out mean this one.
pub(super) fn check_kind(object: &Value, api_version: &str, kind: &str) -> Result<(), Error> {
    for (field, expected) in [("apiVersion", api_version), ("kind", kind)] {
        let given = text(object, field);
        if !given.is_empty() && given != expected {
            return Err(Error::invalid_field(field, format!("must be '{expected}', got '{given}'")));
        }
    }
    Ok(())
}

/// The project of an object: manifests write the number as a number, too.
pub(super) fn namespace(metadata: &Value) -> String {
    match &metadata["namespace"] {
        Value::Number(number) => number.to_string(),
        other => other.as_str().unwrap_or_default().to_owned(),
    }
}
