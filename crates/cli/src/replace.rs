//! `services replace FILE`, and the same of jobs and worker pools: manifests of one kind, one after the other.

use http::Method;
use serde_json::Value;
use updraft_api::longrunning::Operation;

use crate::{
    args::ReplaceArgs,
    client::Ask,
    error::{CliError, Exit},
    follow, objects,
    progress::Progress,
    run::{Session, When},
};

/// The annotation that says which operation a write began.
const OPERATION: &str = "run.googleapis.com/operation-id";

/// What manifests of a kind say, and where their objects are.
#[derive(Debug)]
pub(crate) struct Kind {
    api_version: &'static str,
    kind: &'static str,
    /// In paths.
    collection: &'static str,
    /// In sentences.
    noun: &'static str,
    /// The verb that has `replace`.
    verb: &'static str,
}

/// Services.
pub(crate) const SERVICE: Kind = Kind {
    api_version: "serving.knative.dev/v1",
    kind: "Service",
    collection: "services",
    noun: "service",
    verb: "services",
};
/// Jobs.
pub(crate) const JOB: Kind =
    Kind { api_version: "run.googleapis.com/v1", kind: "Job", collection: "jobs", noun: "job", verb: "jobs" };
/// Worker pools.
pub(crate) const POOL: Kind = Kind {
    api_version: "run.googleapis.com/v1",
    kind: "WorkerPool",
    collection: "workerpools",
    noun: "worker pool",
    verb: "worker-pools",
};

/// Creates or replaces what a file holds, in its order; stops at the first that fails.
pub(crate) async fn replace(session: &mut Session<'_>, args: &ReplaceArgs, kind: &Kind) -> Result<(), CliError> {
    let path = args.file.display();
    let text = match args.file.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin()),
        _ => std::fs::read_to_string(&args.file),
    };
    let text = text.map_err(|error| CliError::usage(format!("cannot read {path}: {error}")))?;
    let manifests = documents(&text).map_err(|cause| CliError::usage(format!("{path}: {cause}")))?;
    if manifests.is_empty() {
        return Err(CliError::usage(format!("{path} holds no manifest")));
    }
    for manifest in &manifests {
        check(manifest, session, kind).map_err(|error| error.within(&path))?;
    }
    for manifest in manifests {
        one(session, args, (kind, manifest)).await?;
    }
    Ok(())
}

async fn one(session: &mut Session<'_>, args: &ReplaceArgs, (kind, manifest): (&Kind, Value)) -> Result<(), CliError> {
    let Kind { collection, noun, .. } = *kind;
    let name = manifest["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let client = &session.client;
    let is_there = match objects::one(client, &[collection, &name]).await {
        Ok(_) => true,
        Err(error) if error.is("NOT_FOUND") => false,
        Err(error) => return Err(error),
    };
    let query = if args.dry_run { vec![("dryRun", "all")] } else { Vec::new() };
    let (method, path) = match is_there {
        true => (Method::PUT, objects::place(client, &[collection, &name]).await?),
        false => (Method::POST, objects::place(client, &[collection]).await?),
    };
    let done = client.call(method, &path, Ask { query, body: Some(manifest) }).await?;
    if args.dry_run {
        session.console.say(format_args!("New configuration has been validated for {noun} [{name}]."));
        return Ok(());
    }
    let operation = done["metadata"]["annotations"][OPERATION].as_str().unwrap_or_default();
    let when = When::from(args.asynchronous);
    if when == When::Finished && !operation.is_empty() {
        let name = format!("projects/{}/locations/{}/operations/{operation}", client.project, client.region);
        let operation = Operation { name, ..Operation::default() };
        let mut progress = Progress::new(&mut session.console);
        follow::one_stage(client, operation, "Applying", &mut progress).await?;
    }
    session.console.say(format_args!("New configuration has been applied to {noun} [{name}]."));
    let url = done["status"]["url"].as_str().unwrap_or_default();
    if !url.is_empty() {
        session.console.say(format_args!("URL: {url}"));
    }
    if kind.kind == JOB.kind {
        session.console.say(format_args!("\nTo execute this job, use:\nupdraft jobs execute {name}"));
    }
    Ok(())
}

/// The documents of a file, without the empty ones.
fn documents(text: &str) -> Result<Vec<Value>, String> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        let cause = error.to_string();
        cause.strip_prefix("error: ").unwrap_or(&cause).to_owned()
    })?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// Is this one of its kind, of this project?
fn check(manifest: &Value, session: &Session<'_>, of: &Kind) -> Result<(), CliError> {
    let (kind, name) = (manifest["kind"].as_str().unwrap_or_default(), manifest["metadata"]["name"].as_str());
    if kind != of.kind || manifest["apiVersion"] != of.api_version {
        let given = manifest["apiVersion"].as_str().unwrap_or_default();
        let error = CliError::usage(format!("must hold {} {}, got {given} {kind}", of.api_version, of.kind));
        let other = [&SERVICE, &JOB, &POOL].into_iter().find(|other| kind == other.kind && given == other.api_version);
        return Err(match other {
            Some(Kind { verb, .. }) => error.with_hint(format!("'updraft {verb} replace' takes that")),
            None => error,
        });
    }
    if name.is_none_or(str::is_empty) {
        return Err(CliError::usage("metadata.name must be set"));
    }
    let namespace = manifest["metadata"]["namespace"].as_str().unwrap_or_default();
    let is_number = namespace.bytes().all(|c| c.is_ascii_digit());
    if !is_number && namespace != session.client.project {
        let project = &session.client.project;
        return Err(CliError::new(
            Exit::Usage,
            format!("metadata.namespace is '{namespace}', but the project is '{project}'"),
        )
        .with_hint(format!("pass --project {namespace}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_documents_in_order_and_empty_ones_do_not_count() {
        let names = |text: &str| -> Vec<String> {
            let documents = documents(text).expect("readable");
            documents.iter().map(|one| one["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
        };
        assert_eq!(names("metadata:\n  name: a\n---\nmetadata:\n  name: b\n---\n"), ["a", "b"]);
        assert_eq!(names("---\nmetadata: {name: a}\n"), ["a"]);
        assert!(documents("a: [").is_err());
    }
}
