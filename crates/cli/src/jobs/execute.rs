//! `jobs execute` and `jobs rerun`.

use reqwest::Method;
use updraft_api::{
    run::{EnvVar, env_var::Values, run_job_request::overrides::ContainerOverride},
    run_job::{Overrides, RunJobRequest},
};

use super::{
    executions, find,
    launch::{self, Until},
    missing,
};
use crate::{
    args::{ExecuteArgs, RerunArgs},
    client::{Ask, encode},
    error::CliError,
    output::id,
    run::Session,
    values::{Pairs, Parallelism},
};

/// `jobs execute`.
pub(super) async fn execute(session: &mut Session<'_>, args: &ExecuteArgs) -> Result<(), CliError> {
    let until = Until::from(args.until);
    let body = encode(&RunJobRequest { overrides: overrides(args), ..RunJobRequest::default() })?;
    let call = format!("{}:run", args.job);
    let path = session.client.path(&["jobs", &call]);
    session.console.say("Creating execution...");
    let operation = launch::start(session, &path, body).await;
    let operation = operation.map_err(|error| if error.is("NOT_FOUND") { missing(&args.job) } else { error })?;
    let execution = launch::go_along(session, &operation, until).await?;
    launch::tell(session, &execution, until).await
}

/// `jobs rerun`: a call of this server's own, which answers as `RunJob` does.
pub(super) async fn rerun(session: &mut Session<'_>, args: &RerunArgs) -> Result<(), CliError> {
    let until = Until::from(args.until);
    let (job, execution) = resolve(session, &args.name).await?;
    session.console.say(format_args!("Running the failed tasks of execution [{execution}] again..."));
    let client = &session.client;
    let query = vec![
        ("project", client.project.as_str()),
        ("location", client.region.as_str()),
        ("job", job.as_str()),
        ("execution", execution.as_str()),
    ];
    let path = ["updraft", "v1", "executions:rerun"];
    let operation = client.message(Method::POST, &path, Ask { query, body: None }).await?;
    let again = launch::go_along(session, &operation, until).await?;
    launch::tell(session, &again, until).await
}

/// The job and the execution that a name means: the latest of a job, or the execution itself.
async fn resolve(session: &Session<'_>, name: &str) -> Result<(String, String), CliError> {
    if let Some(job) = find(&session.client, name).await? {
        let latest = job.latest_created_execution.filter(|latest| !latest.name.is_empty());
        let latest = latest.ok_or_else(|| {
            CliError::failed(format!("job [{name}] has not been executed yet"))
                .with_hint(format!("'updraft jobs execute {name}' does that"))
        })?;
        return Ok((name.to_owned(), id(&latest.name).to_owned()));
    }
    let found = executions::find(&session.client, name).await?;
    let execution = found.ok_or_else(|| {
        let error = CliError::new(crate::error::Exit::NotFound, format!("cannot find a job or an execution [{name}]"));
        error.with_hint("'updraft jobs list' and 'updraft executions list' show those of this project and region")
    })?;
    Ok((executions::job_of(&execution).to_owned(), name.to_owned()))
}

/// What is to be otherwise in one execution; `None` when nothing is.
fn overrides(args: &ExecuteArgs) -> Option<Overrides> {
    let env = Pairs::all(&args.update_env_vars)
        .map(|(name, value)| EnvVar { name: name.to_owned(), values: Some(Values::Value(value.to_owned())) });
    let words = args.args.as_ref().map(|words| words.0.clone());
    let clear_args = words.as_ref().is_some_and(Vec::is_empty);
    let container =
        ContainerOverride { args: words.unwrap_or_default(), clear_args, env: env.collect(), name: String::new() };
    let timeout = args.task_timeout.map(|timeout| prost_types::Duration { seconds: timeout.0, nanos: 0 });
    let overrides = Overrides {
        container_overrides: (container != ContainerOverride::default()).then_some(container).into_iter().collect(),
        task_count: args.tasks.unwrap_or(0),
        timeout,
        parallelism: args.parallelism.map(Parallelism::or_unset),
    };
    (overrides != Overrides::default()).then_some(overrides)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::Value;

    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        args: ExecuteArgs,
    }

    #[test]
    fn only_what_is_said_is_otherwise() {
        for (line, expected) in [
            ("batch", json!({})),
            ("batch --parallelism 2", json!({ "overrides": { "parallelism": 2 } })),
            ("batch --parallelism none", json!({ "overrides": { "parallelism": 0 } })),
            ("batch --tasks 3", json!({ "overrides": { "taskCount": 3 } })),
            ("batch --task-timeout 100s", json!({ "overrides": { "timeout": "100s" } })),
            ("batch --args=", json!({ "overrides": { "containerOverrides": [{ "clearArgs": true }] } })),
            (
                "batch --args=one,--two --update-env-vars=X=9 --update-env-vars=Y=",
                json!({ "overrides": { "containerOverrides": [{
                    "args": ["one", "--two"], "env": [{ "name": "X", "value": "9" }, { "name": "Y", "value": "" }]
                }] } }),
            ),
        ] {
            let flags = Flags::try_parse_from(std::iter::once("x").chain(line.split(' '))).expect(line);
            let request = RunJobRequest { overrides: overrides(&flags.args), ..RunJobRequest::default() };
            assert_eq!(encode(&request).map_err(|error| error.to_string()), Ok::<Value, _>(expected), "{line}");
        }
    }
}
