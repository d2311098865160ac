//! Resources as v1 objects, which is how JSON, YAML and manifests have them: the server's view, with all
//! that it keeps.

use http::Method;
use serde_json::Value;

use crate::{
    args::Format,
    client::{Ask, Client},
    error::CliError,
    output,
    run::Session,
};

/// Objects in one page of a list.
const PAGE: &str = "100";

/// What a manifest leaves out of annotations: they say who wrote it and what the server does with it.
const OMITTED: [&str; 10] = [
    "run.googleapis.com/client-name",
    "run.googleapis.com/client-version",
    "run.googleapis.com/creator",
    "run.googleapis.com/creatorEmail",
    "run.googleapis.com/lastModifier",
    "run.googleapis.com/lastModifierEmail",
    "run.googleapis.com/operation-id",
    "serving.knative.dev/creator",
    "serving.knative.dev/creatorEmail",
    "serving.knative.dev/lastModifier",
];

/// The label that says when somebody wrote it, which jobs have where services have a condition.
const UPDATED: &str = "run.googleapis.com/lastUpdatedTime";

/// Collections that v1 has below namespaces only (`apis/run.googleapis.com/v1`).
const NAMESPACED: [&str; 4] = ["jobs", "executions", "tasks", "workerpools"];

/// Is a format one that shows objects?
pub(crate) fn is_for(format: Option<Format>) -> bool {
    matches!(format, Some(Format::Json | Format::Yaml | Format::Export))
}

/// Prints an object in the format that was asked for.
pub(crate) async fn print(session: &mut Session<'_>, path: &[&str]) -> Result<(), CliError> {
    let object = one(&session.client, path).await?;
    let (format, object) = match session.format {
        Some(Format::Export) => (Some(Format::Yaml), manifest(object)),
        format => (format, object),
    };
    match output::one(format, &object)? {
        Some(text) => session.console.print(&text),
        None => Ok(()),
    }
}

/// Prints an object when a format asks for that. Otherwise nothing: what there is to say to people was said.
pub(crate) async fn print_if_asked(session: &mut Session<'_>, path: &[&str]) -> Result<(), CliError> {
    if is_for(session.format) { print(session, path).await } else { Ok(()) }
}

/// Prints all objects of a collection that a label selector lets through.
pub(crate) async fn print_all(session: &mut Session<'_>, collection: &str, selector: &str) -> Result<(), CliError> {
    let objects = all(&session.client, collection, selector).await?;
    let (format, objects) = match session.format {
        Some(Format::Export) => (Some(Format::Yaml), objects.into_iter().map(manifest).collect()),
        format => (format, objects),
    };
    match output::many(format, &objects)? {
        Some(text) => session.console.print(&text),
        None => Ok(()),
    }
}

/// Prints one resource: as YAML when nothing else is asked for, as gcloud does.
pub(crate) fn show(session: &mut Session<'_>, value: &Value) -> Result<(), CliError> {
    let format = session.format.filter(|format| *format != Format::Table).unwrap_or(Format::Yaml);
    session.console.print(&output::one(Some(format), value)?.unwrap_or_default())
}

/// Prints resources in the format that was asked for, else as rows under headings.
pub(crate) fn rows(
    session: &mut Session<'_>,
    values: &[Value],
    (headings, rows): (&[&str], Vec<Vec<String>>),
) -> Result<(), CliError> {
    if let Some(text) = output::many(session.format, values)? {
        return session.console.print(&text);
    }
    if rows.is_empty() {
        session.console.say("Listed 0 items.");
        return Ok(());
    }
    session.console.print(&output::table(headings, rows))
}

/// An object by its path below project and region.
pub(crate) async fn one(client: &Client, path: &[&str]) -> Result<Value, CliError> {
    client.call(Method::GET, &place(client, path).await?, Ask::default()).await
}

/// Where an object, or a collection of them, is.
///
/// # Errors
/// When that path carries no region, and the one that the server takes it for is not the one that is meant: the answer would
/// be about something else.
pub(crate) async fn place<'s>(client: &'s Client, path: &[&'s str]) -> Result<Vec<&'s str>, CliError> {
    let Some(collection) = path.first().filter(|collection| NAMESPACED.contains(collection)) else {
        return Ok(client.object_path(path));
    };
    let info = client.call(Method::GET, &["updraft", "v1", "info"], Ask::default()).await?;
    let (served, region) = (info["defaultLocation"].as_str().unwrap_or_default(), &client.region);
    if served != region {
        return Err(CliError::usage(format!(
            "objects of v1 for {collection} are those of the server's first region, {served}, not of {region}"
        ))
        .with_hint("verbs have all regions when they print no objects: without --format and manifests"));
    }
    Ok([&["apis", "run.googleapis.com", "v1", "namespaces", &client.project], path].concat())
}

async fn all(client: &Client, collection: &str, selector: &str) -> Result<Vec<Value>, CliError> {
    let (mut objects, mut token) = (Vec::new(), String::new());
    let place = place(client, &[collection]).await?;
    loop {
        let query = vec![("limit", PAGE), ("continue", token.as_str()), ("labelSelector", selector)];
        let query = query.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let ask = Ask { query, body: None };
        let mut page = client.call(Method::GET, &place, ask).await?;
        if let Value::Array(items) = page["items"].take() {
            objects.extend(items);
        }
        page["metadata"]["continue"].as_str().unwrap_or_default().clone_into(&mut token);
        if token.is_empty() {
            return Ok(objects);
        }
    }
}

/// An object without what the server says of it: what can be written again, here or elsewhere.
fn manifest(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|field, _| {
            !matches!(&**field, "creationTimestamp" | "generation" | "resourceVersion" | "selfLink" | "uid")
        });
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.retain(|key, _| !OMITTED.contains(&&**key));
        }
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.remove(UPDATED);
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_manifest_holds_what_can_be_written_again() {
        let object = json!({
            "kind": "Service",
            "metadata": {"name": "x", "uid": "1", "generation": 2, "annotations": {
                "serving.knative.dev/creator": "me", "run.googleapis.com/ingress": "all",
            }},
            "spec": {"template": {}},
            "status": {"url": "u"},
        });
        let expected = json!({
            "kind": "Service",
            "metadata": {"name": "x", "annotations": {"run.googleapis.com/ingress": "all"}},
            "spec": {"template": {}},
        });
        assert_eq!(manifest(object), expected);
    }
}
