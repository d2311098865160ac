//! From the start of an execution to what a command says at the end.

use http::Method;
use serde_json::{Value, json};
use updraft_api::{longrunning::Operation, run::Execution};

use super::{missing, watch};
use crate::{
    args::UntilArgs,
    client::{Ask, subject},
    error::CliError,
    objects,
    output::id,
    run::Session,
};

/// How far a command goes along with an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Until it is there.
    Begun,
    /// Until a task runs.
    Started,
    /// Until it has ended.
    Completed,
}

// === impl Until ===

impl From<UntilArgs> for Until {
    fn from(args: UntilArgs) -> Self {
        match args {
            UntilArgs { asynchronous: true, .. } => Self::Begun,
            UntilArgs { wait: true, .. } => Self::Completed,
            UntilArgs { .. } => Self::Started,
        }
    }
}

/// Runs a job as it is.
pub(super) async fn run(session: &mut Session<'_>, job: &str, until: Until) -> Result<Execution, CliError> {
    let call = format!("{job}:run");
    let path = session.client.path(&["jobs", &call]);
    let operation = start(session, &path, json!({})).await;
    let operation = operation.map_err(|error| if error.is("NOT_FOUND") { missing(job) } else { error })?;
    go_along(session, &operation, until).await
}

/// Sends what starts an execution.
pub(super) async fn start(session: &Session<'_>, path: &[&str], body: Value) -> Result<Operation, CliError> {
    session.client.message(Method::POST, path, Ask { query: Vec::new(), body: Some(body) }).await
}

/// Goes along with the execution that an operation has begun.
///
/// # Errors
/// When it is waited for and ends badly.
pub(super) async fn go_along(
    session: &mut Session<'_>,
    operation: &Operation,
    until: Until,
) -> Result<Execution, CliError> {
    let begun: Execution =
        subject(operation).ok_or_else(|| CliError::unexpected("an operation without an execution"))?;
    match until {
        Until::Begun => Ok(begun),
        Until::Started => watch::started(&session.client, &mut session.console, begun).await,
        Until::Completed => watch::completed(&session.client, &mut session.console, begun, interrupt()).await,
    }
}

/// What a command says of its execution at the end.
pub(super) async fn tell(session: &mut Session<'_>, execution: &Execution, until: Until) -> Result<(), CliError> {
    let name = id(&execution.name);
    let told = match until {
        Until::Begun => "is being started asynchronously",
        Until::Started => "has successfully started running",
        Until::Completed => "has successfully completed",
    };
    session.console.say(format_args!("Execution [{name}] {told}."));
    session
        .console
        .say(format_args!("\nView details about this execution by running:\nupdraft executions describe {name}"));
    objects::print_if_asked(session, &["executions", name]).await
}

/// Ends when the user has enough; never where that cannot be known.
async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
