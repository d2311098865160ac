//! The parameters of v1's methods.

use serde_json::{Value, json};
use updraft_api::{
    json::{is_system, parse},
    path::query_pairs,
    v1::{method::Method, selector::Selector},
};
use updraft_control::{Mode, Running, Wanted};
use updraft_model::Error;

/// What a query says.
#[derive(Debug, Default)]
pub(super) struct Query {
    /// What a list is to hold.
    pub(super) wanted: Wanted,
    /// Of operations.
    pub(super) filter: String,
    /// Is the change only checked?
    pub(super) mode: Mode,
    /// What becomes of executions of a job that is deleted.
    pub(super) running: Running,
}

/// Parameters of Kubernetes that change nothing here: clients poll, and deletions go on in the background.
const IGNORED: [&str; 8] = [
    "watch",
    "resourceVersion",
    "fieldSelector",
    "includeUninitialized",
    "apiVersion",
    "kind",
    "propagationPolicy",
    "orphanDependents",
];

// === impl Query ===

impl Query {
    /// Reads the query of a call.
    ///
    /// # Errors
    /// `InvalidArgument` for a parameter that is not known or does not fit.
    pub(super) fn read(method: Method, query: &str) -> Result<Self, Error> {
        let mut read = Self::default();
        for (name, value) in query_pairs(query) {
            match name.as_str() {
                "labelSelector" => read.wanted.selector = Selector::parse(&value)?,
                "limit" | "pageSize" => read.wanted.limit = number(&name, &value)?,
                "continue" | "pageToken" => read.wanted.token = value,
                "filter" if method == Method::OperationsList => read.filter = value,
                "dryRun" => read.mode = dry_run(&value)?,
                "force" if method == Method::JobsDelete => read.running = force(&value)?,
                name if IGNORED.contains(&name) || is_system(name) => {}
                _ => {
                    let message = format!(
                        "Invalid JSON payload received. Unknown name \"{name}\": Cannot bind query parameter. Field '{name}' could not be found in request message."
                    );
                    return Err(Error::invalid_field("", "").with_message(message));
                }
            }
        }
        Ok(read)
    }
}

fn number(name: &str, value: &str) -> Result<i32, Error> {
    let refused = || Error::invalid_field(name, format!("must be a number that is not negative, got '{value}'"));
    if value.is_empty() { Ok(0) } else { value.parse().ok().filter(|number| *number >= 0).ok_or_else(refused) }
}

fn dry_run(value: &str) -> Result<Mode, Error> {
    match value {
        "" => Ok(Mode::Write),
        "all" | "All" => Ok(Mode::ValidateOnly),
        other => Err(Error::invalid_field("dryRun", format!("must be 'all', got '{other}'"))),
    }
}

fn force(value: &str) -> Result<Running, Error> {
    match value {
        "" | "false" => Ok(Running::Keep),
        "true" => Ok(Running::End),
        other => Err(Error::invalid_field("force", format!("must be true or false, got '{other}'"))),
    }
}

/// Is a deletion only checked? What the query says, or the body: `DeleteOptions` of Kubernetes. How what depends on it is
/// deleted changes nothing here.
///
/// # Errors
/// `InvalidArgument` for what is not known, and for preconditions: who sets some relies on them.
pub(super) fn deletion(mode: Mode, body: &[u8]) -> Result<Mode, Error> {
    const WITHOUT_EFFECT: [&str; 5] =
        ["apiVersion", "kind", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"];
    if body.trim_ascii().is_empty() {
        return Ok(mode);
    }
    let options = parse(body)?;
    let Value::Object(options) = options else { return Err(Error::invalid_field("", "must be an object")) };
    let mut mode = mode;
    for (name, value) in &options {
        match name.as_str() {
            _ if value.is_null() => {}
            "dryRun" if *value == json!(["All"]) => mode = Mode::ValidateOnly,
            "dryRun" if *value == json!([]) => {}
            "dryRun" => return Err(Error::invalid_field("dryRun", format!("must be ['All'], got {value}"))),
            "preconditions" => return Err(Error::invalid_field("preconditions", "not supported")),
            name if WITHOUT_EFFECT.contains(&name) => {}
            name => return Err(Error::invalid_field(name, "is not a field of DeleteOptions")),
        }
    }
    Ok(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_of_kubernetes_send_is_understood() {
        let query = "labelSelector=serving.knative.dev%2Fservice+%3D+demo&limit=100&watch=false&alt=json&continue=x";
        let read = Query::read(Method::RevisionsList, query).expect("known");
        assert_eq!((read.wanted.limit, read.wanted.token.as_str(), read.mode), (100, "x", Mode::Write));
        assert_eq!(read.wanted.selector.value_of("serving.knative.dev/service"), Some("demo"));
        let checked = Query::read(Method::ServicesCreate, "dryRun=all").expect("known").mode;
        assert_eq!(checked, Mode::ValidateOnly);
    }

    #[test]
    fn a_deletion_that_is_only_to_be_checked_is_not_carried_out() {
        let of = |body: &str| deletion(Mode::Write, body.as_bytes());
        assert_eq!(of("").expect("fine"), Mode::Write);
        assert_eq!(of(r#"{"kind":"DeleteOptions","propagationPolicy":"Background"}"#).expect("fine"), Mode::Write);
        assert_eq!(of(r#"{"dryRun":["All"]}"#).expect("fine"), Mode::ValidateOnly);
        for body in [r#"{"dryRun":["Some"]}"#, r#"{"preconditions":{"uid":"x"}}"#, r#"{"dryrun":["All"]}"#, "[]", "{"] {
            assert!(of(body).is_err(), "{body}");
        }
    }

    #[test]
    fn what_is_not_known_or_does_not_fit_is_refused() {
        for query in ["foo=1", "dryRun=some", "limit=-1", "limit=x", "labelSelector=a~b", "filter=done:true"] {
            assert!(Query::read(Method::ServicesList, query).is_err(), "{query}");
        }
        assert!(Query::read(Method::OperationsList, "filter=done:true").is_ok());
    }
}
