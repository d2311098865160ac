//! Watching an operation until it ends.

use std::time::Duration;

use updraft_api::{
    longrunning::{Operation, operation::Result as Outcome},
    run::{Service, condition::State},
};

use crate::{
    client::{Client, subject},
    error::{CliError, Exit},
    output::id,
    progress::{Progress, Stage},
};

pub(crate) const CREATING: &str = "Creating Revision";
pub(crate) const ROUTING: &str = "Routing traffic";

/// How long the server may be away before that is an error: long enough for it to be started again. What is under way goes on.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon it is asked again then.
const AGAIN: Duration = Duration::from_secs(1);

/// Since when the server is away, if it is.
#[derive(Debug, Default)]
pub(crate) struct Patience(Option<Duration>);

/// A change of a service that is under way.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    /// The operation that stands for it.
    pub(crate) operation: Operation,
    /// Does it make a revision?
    pub(crate) makes_revision: bool,
    /// The revision that was the latest before, by its full name; empty for a new service.
    pub(crate) revision_before: String,
}

/// Shows the stages of `change` until it ends, and returns the service as it is then.
///
/// # Errors
/// When it ends badly: with the text of the condition, which says why.
pub(crate) async fn service(
    client: &Client,
    mut change: Change,
    progress: &mut Progress<'_, '_>,
) -> Result<Service, CliError> {
    loop {
        let service: Option<Service> = subject(&change.operation);
        match &change.operation.result {
            Some(Outcome::Error(status)) => {
                progress.show(&stages(service.as_ref(), &change));
                progress.fail();
                progress.console().say("Deployment failed");
                return Err(failure(&status.message, service.as_ref()));
            }
            Some(Outcome::Response(_)) => {
                let titles =
                    [CREATING, ROUTING].into_iter().filter(|title| change.makes_revision || *title != CREATING);
                progress.show(&titles.map(|title| (title, Stage::Done)).collect::<Vec<_>>());
                return service.ok_or_else(|| CliError::unexpected("an operation ended without a service"));
            }
            None => progress.show(&stages(service.as_ref(), &change)),
        }
        change.operation = client.wait(&change.operation).await?;
    }
}

/// Waits for the end of an operation that is shown as one stage, and returns it as it is then.
pub(crate) async fn one_stage(
    client: &Client,
    mut operation: Operation,
    title: &'static str,
    progress: &mut Progress<'_, '_>,
) -> Result<Operation, CliError> {
    progress.show(&[(title, Stage::Running)]);
    let (begin, mut patience) = (client.clock().instant(), Patience::default());
    while !operation.done {
        let waited = client.wait(&operation).await;
        let elapsed = client.clock().instant().saturating_duration_since(begin);
        match patience.with(waited, elapsed).inspect_err(|_| progress.fail())? {
            Some(next) => operation = next,
            None => client.clock().sleep(AGAIN).await,
        }
    }
    match &operation.result {
        Some(Outcome::Error(status)) => {
            progress.fail();
            Err(CliError::failed(status.message.clone()))
        }
        _ => {
            progress.show(&[(title, Stage::Done)]);
            Ok(operation)
        }
    }
}

// === impl Patience ===

impl Patience {
    /// What was seen, if anything was; an error that does not pass, or has not for too long. `elapsed` counts from the
    /// beginning of the wait.
    pub(crate) fn with<T>(&mut self, looked: Result<T, CliError>, elapsed: Duration) -> Result<Option<T>, CliError> {
        match looked {
            Ok(seen) => {
                self.0 = None;
                Ok(Some(seen))
            }
            Err(error) if error.exit() == Exit::Unreachable => {
                let away = elapsed.saturating_sub(*self.0.get_or_insert(elapsed));
                if away < PATIENCE { Ok(None) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }
}

/// The stages, from the conditions. A condition may still speak of the revision before: only a new
/// one counts. That traffic has moved is sure only at the end.
fn stages(service: Option<&Service>, change: &Change) -> Vec<(&'static str, Stage)> {
    let state = |kind: &str| {
        let conditions = service.map(|service| &service.conditions).into_iter().flatten();
        conditions.filter(|condition| condition.r#type == kind).map(|condition| condition.state()).next()
    };
    let mut stages = Vec::new();
    if change.makes_revision {
        let is_new = service.is_some_and(|service| service.latest_created_revision != change.revision_before);
        stages.push(match state("ConfigurationsReady") {
            Some(State::ConditionFailed) if is_new => (CREATING, Stage::Failed),
            Some(State::ConditionSucceeded) if is_new => (CREATING, Stage::Done),
            _ => (CREATING, Stage::Running),
        });
    }
    stages.push((ROUTING, Stage::Running));
    stages
}

/// Cloud Run's sentence and the container's last lines come from the server, in this order.
fn failure(message: &str, service: Option<&Service>) -> CliError {
    let error = CliError::failed(message);
    let Some(service) = service else { return error };
    let mut hints = Vec::new();
    // An image that is not there writes nothing.
    if message.contains("failed to start") {
        let name = id(&service.name);
        hints.push(format!(
            "'updraft services doctor {name}' shows what else was seen, 'updraft services logs {name}' what it wrote"
        ));
    }
    let statuses = service.traffic_statuses.iter().filter(|status| status.percent > 0);
    let serving: Vec<String> = statuses.map(|status| format!("[{}]", id(&status.revision))).collect();
    match &serving[..] {
        [] => {}
        [one] => hints.push(format!("revision {one} goes on serving")),
        several => hints.push(format!("revisions {} go on serving", several.join(", "))),
    }
    if hints.is_empty() { error } else { error.with_hint(hints.join("; ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_away_for_a_while_is_waited_for_and_for_no_longer() {
        let away = || Err::<(), _>(CliError::new(Exit::Unreachable, "away"));
        let mut patience = Patience::default();
        let at = Duration::from_secs;
        assert_eq!(patience.with(away(), at(100)).ok(), Some(None));
        assert_eq!(patience.with(away(), at(159)).ok(), Some(None));
        assert_eq!(patience.with(Ok(()), at(159)).ok(), Some(Some(())));
        assert_eq!(patience.with(away(), at(170)).ok(), Some(None), "it counts anew");
        assert!(patience.with(away(), at(230)).is_err());
        let other = Err::<(), _>(CliError::new(Exit::Denied, "no"));
        assert!(Patience::default().with(other, at(0)).is_err(), "what does not pass is not waited for");
    }
}
