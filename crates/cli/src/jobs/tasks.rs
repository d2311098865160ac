//! Verbs on tasks.

use updraft_api::{
    rpc::Code,
    run::{Execution, ListTasksResponse, Task, TaskAttemptResult},
};

use super::{
    executions::{self, job_of},
    show,
    state::TaskState,
};
use crate::{
    args::ListTasksArgs,
    client::Client,
    error::{CliError, Exit},
    objects,
    output::{self, id},
    run::Session,
};

/// What stands between the name of an execution and the index of a task in the task's name.
const INFIX: &str = "-task";

/// `tasks list`.
pub(super) async fn list(session: &mut Session<'_>, args: &ListTasksArgs) -> Result<(), CliError> {
    let wanted = wanted(args);
    if objects::is_for(session.format) {
        return objects::print_all(session, "tasks", &selector(&args.execution, &wanted)).await;
    }
    let execution = executions::need(&session.client, &args.execution).await?;
    let mut tasks = all(&session.client, &execution).await?;
    tasks.retain(|task| wanted.is_empty() || wanted.contains(&TaskState::of(task)));
    tasks.sort_by_key(|task| task.index);
    let row = |task: &Task| {
        let state = TaskState::of(task);
        let retries = if task.start_time.is_some() { task.retried.to_string() } else { String::new() };
        vec![
            state.mark().to_owned(),
            task.index.to_string(),
            state.word().to_owned(),
            id(&task.name).to_owned(),
            output::seconds(task.start_time.as_ref()),
            output::seconds(task.completion_time.as_ref()),
            retries,
        ]
    };
    let headings = ["", "INDEX", "STATE", "TASK", "STARTED", "COMPLETED", "RETRIES"];
    let rows = tasks.iter().map(row).collect();
    objects::rows(session, &[], (&headings, rows))
}

/// `tasks describe`.
pub(super) async fn describe(session: &mut Session<'_>, name: &str) -> Result<(), CliError> {
    if objects::is_for(session.format) {
        let printed = objects::print(session, &["tasks", name]).await;
        return printed.map_err(|error| if error.is("NOT_FOUND") { missing(name) } else { error });
    }
    let execution = execution_of(name).ok_or_else(|| missing(name))?;
    let client = &session.client;
    let execution = executions::find(client, execution).await?.ok_or_else(|| missing(name))?;
    let path = ["jobs", job_of(&execution), "executions", id(&execution.name), "tasks", name];
    let task: Task = client.find(&path).await?.ok_or_else(|| missing(name))?;
    session.console.print(&show::task(&task))
}

/// All tasks of an execution.
async fn all(client: &Client, execution: &Execution) -> Result<Vec<Task>, CliError> {
    let mut tasks = Vec::new();
    let page = |page: ListTasksResponse| {
        tasks.extend(page.tasks);
        page.next_page_token
    };
    client.pages(&path(client, execution), page).await?;
    Ok(tasks)
}

/// How each task of an execution stands, by index.
pub(super) async fn states(client: &Client, execution: &Execution) -> Result<Vec<TaskState>, CliError> {
    let mut states = vec![TaskState::Pending; usize::try_from(execution.task_count).unwrap_or(0)];
    for task in all(client, execution).await? {
        if let Some(state) = usize::try_from(task.index).ok().and_then(|index| states.get_mut(index)) {
            *state = TaskState::of(&task);
        }
    }
    Ok(states)
}

/// The first tasks of an execution that failed, at most `count` of those that are found first.
pub(super) async fn failed(client: &Client, execution: &Execution, count: usize) -> Result<Vec<Task>, CliError> {
    let mut failed = Vec::new();
    let page = |page: ListTasksResponse| {
        failed.extend(page.tasks.into_iter().filter(|task| TaskState::of(task) == TaskState::Failed));
        if failed.len() < count { page.next_page_token } else { String::new() }
    };
    client.pages(&path(client, execution), page).await?;
    failed.sort_by_key(|task| task.index);
    failed.truncate(count);
    Ok(failed)
}

fn path<'a>(client: &'a Client, execution: &'a Execution) -> Vec<&'a str> {
    client.path(&["jobs", job_of(execution), "executions", id(&execution.name), "tasks"])
}

/// How an attempt ended, in a few words; nothing when it ended well.
pub(super) fn told(result: &TaskAttemptResult) -> String {
    let said = result.status.as_ref().map(|status| status.message.trim()).unwrap_or_default();
    // What ended it is a signal then, too, and says less.
    let code = result.status.as_ref().map(|status| status.code).and_then(|code| Code::try_from(code).ok());
    match (result.exit_code, result.term_signal) {
        _ if code == Some(Code::DeadlineExceeded) => "timed out".to_owned(),
        _ if code == Some(Code::ResourceExhausted) => "out of memory".to_owned(),
        (0, 0) => said.to_owned(),
        (0, signal) => format!("ended by signal {signal}"),
        (code, _) => format!("exit code {code}"),
    }
}

/// The states that were asked for; none for all.
fn wanted(args: &ListTasksArgs) -> Vec<TaskState> {
    let asked = [
        (args.succeeded, TaskState::Succeeded),
        (args.failed, TaskState::Failed),
        (args.cancelled, TaskState::Cancelled),
        (args.abandoned, TaskState::Abandoned),
        (args.running, TaskState::Running),
        (args.pending, TaskState::Pending),
    ];
    asked.into_iter().filter(|(is_asked, _)| *is_asked).map(|(_, state)| state).collect()
}

fn selector(execution: &str, wanted: &[TaskState]) -> String {
    let of = format!("run.googleapis.com/execution={execution}");
    if wanted.is_empty() {
        return of;
    }
    let words: Vec<&str> = wanted.iter().map(|state| state.word()).collect();
    format!("{of},run.googleapis.com/runningState in ({})", words.join(","))
}

/// The execution in the name of a task.
fn execution_of(task: &str) -> Option<&str> {
    let (execution, index) = task.rsplit_once(INFIX)?;
    let is_index = !index.is_empty() && index.bytes().all(|c| c.is_ascii_digit());
    (is_index && !execution.is_empty()).then_some(execution)
}

fn missing(name: &str) -> CliError {
    CliError::new(Exit::NotFound, format!("cannot find task [{name}]"))
        .with_hint("'updraft tasks list --execution EXECUTION' shows those of an execution")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_task_ends_in_its_index() {
        for (name, expected) in [
            ("batch-dcb4a-task0", Some("batch-dcb4a")),
            ("batch-task1-x-task12", Some("batch-task1-x")),
            ("batch-dcb4a", None),
            ("batch-dcb4a-task", None),
            ("batch-dcb4a-taskx", None),
            ("-task1", None),
        ] {
            assert_eq!(execution_of(name), expected, "{name}");
        }
    }

    #[test]
    fn how_an_attempt_ended_is_told_in_a_few_words() {
        let result = |exit_code, term_signal, message: &str| TaskAttemptResult {
            status: Some(updraft_api::rpc::Status { message: message.to_owned(), ..Default::default() }),
            exit_code,
            term_signal,
        };
        let by_platform = |code: Code| TaskAttemptResult {
            status: Some(updraft_api::rpc::Status { code: code.into(), ..Default::default() }),
            ..result(0, 15, "")
        };
        for (result, expected) in [
            (by_platform(Code::DeadlineExceeded), "timed out"),
            (by_platform(Code::ResourceExhausted), "out of memory"),
            (result(0, 0, ""), ""),
            (result(3, 0, "The container exited with an error."), "exit code 3"),
            (result(0, 9, ""), "ended by signal 9"),
            (result(0, 0, "The configured timeout was reached."), "The configured timeout was reached."),
        ] {
            assert_eq!(told(&result), expected);
        }
    }

    #[test]
    fn tasks_are_selected_as_gcloud_selects_them() {
        assert_eq!(selector("e", &[]), "run.googleapis.com/execution=e");
        let states = [TaskState::Failed, TaskState::Pending];
        let expected = "run.googleapis.com/execution=e,run.googleapis.com/runningState in (Failed,Pending)";
        assert_eq!(selector("e", &states), expected);
    }
}
