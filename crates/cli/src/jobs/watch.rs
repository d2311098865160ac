//! Watching an execution: looked at now and then, shown as it goes.

use std::{future::Future, time::Duration};

use http::Method;
use updraft_api::run::{Execution, Task, condition::State};

use super::{
    executions::job_of,
    state::{Counts, Phase, TaskState, condition},
    tasks,
    view::{self, Moment},
};
use crate::{
    client::{Ask, Client},
    console::Console,
    error::{CliError, Exit},
    follow::Patience,
    output::id,
    progress::{Progress, Stage},
};

/// The stage before the first task runs, in gcloud's words.
const PROVISIONING: &str = "Provisioning resources";
/// The most tasks that are asked for one by one, so as to show each; of more only the counts are.
const CELLS: u32 = 400;
/// The least time between two drawings.
const DRAWING: Duration = Duration::from_millis(250);
/// Failed tasks that are named.
const NAMED: usize = 10;

/// What was seen at a look.
#[derive(Debug)]
struct Seen {
    execution: Execution,
    /// How each task stands; empty when they are too many to be shown.
    states: Vec<TaskState>,
}

/// What is asked for at a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detail {
    Counts,
    Tasks,
}

/// Waits until a task of an execution has started.
///
/// # Errors
/// When the execution ends before that.
pub(super) async fn started(
    client: &Client,
    console: &mut Console<'_>,
    begun: Execution,
) -> Result<Execution, CliError> {
    let begin = client.clock().instant();
    let mut progress = Progress::new(console);
    progress.show(&[(PROVISIONING, Stage::Running)]);
    let (mut execution, mut patience) = (begun, Patience::default());
    loop {
        let started = condition(&execution.conditions, "Started").map(|started| started.state());
        let phase = Phase::of(&execution);
        // What has ended by now has started too, unless it says otherwise.
        if started == Some(State::ConditionSucceeded) || phase == Phase::Succeeded {
            progress.show(&[(PROVISIONING, Stage::Done)]);
            return Ok(execution);
        }
        if phase.is_over() {
            progress.fail();
            return verdict(client, execution).await;
        }
        let elapsed = client.clock().instant().saturating_duration_since(begin);
        let looked = look(client, &execution, (Detail::Counts, pause(elapsed))).await;
        if let Some(seen) = patience.with(looked, elapsed)? {
            execution = seen.execution;
        }
    }
}

/// Waits until an execution has ended, and shows how far it is: on a terminal as it goes, else in one line.
///
/// # Errors
/// When it does not end well, with the tasks that failed; and when `interrupt` ends first.
pub(super) async fn completed(
    client: &Client,
    console: &mut Console<'_>,
    begun: Execution,
    interrupt: impl Future<Output = ()>,
) -> Result<Execution, CliError> {
    let begin = client.clock().instant();
    let mut live = Live::begin(console, &begun);
    let mut seen = Seen { states: live.unseen(&begun), execution: begun };
    let mut patience = Patience::default();
    tokio::pin!(interrupt);
    loop {
        let elapsed = client.clock().instant().saturating_duration_since(begin);
        let is_over = Phase::of(&seen.execution).is_over();
        live.show(&seen, elapsed, if is_over { Draw::Always } else { Draw::IfDue });
        if is_over {
            return verdict(client, seen.execution).await;
        }
        let looked = tokio::select! {
            () = &mut interrupt => return Err(interrupted(id(&seen.execution.name))),
            looked = look(client, &seen.execution, (live.detail(&seen.execution), pause(elapsed))) => looked,
        };
        if let Some(next) = patience.with(looked, elapsed)? {
            seen = next;
        }
    }
}

/// Looks at an execution again, after a pause.
async fn look(client: &Client, before: &Execution, (detail, pause): (Detail, Duration)) -> Result<Seen, CliError> {
    client.clock().sleep(pause).await;
    let path = client.path(&["jobs", job_of(before), "executions", id(&before.name)]);
    let execution = client.message(Method::GET, &path, Ask::default()).await;
    let execution: Execution = execution.map_err(|error| match error.is("NOT_FOUND") {
        true => CliError::failed(format!("execution [{}] was deleted while it was waited for", id(&before.name))),
        false => error,
    })?;
    let states = match detail {
        Detail::Tasks => match tasks::states(client, &execution).await {
            // Who may only see the execution is shown its counts.
            Err(error) if error.exit() == Exit::Denied => Vec::new(),
            states => states?,
        },
        Detail::Counts => Vec::new(),
    };
    Ok(Seen { execution, states })
}

/// The pause before the next look: short at first, as short executions are; half a second soon, and a second after a minute.
fn pause(elapsed: Duration) -> Duration {
    let longest = if elapsed < Duration::from_secs(60) { 500 } else { 1000 };
    (elapsed / 2).clamp(Duration::from_millis(100), Duration::from_millis(longest))
}

/// Whether an execution ended well, and why not.
async fn verdict(client: &Client, execution: Execution) -> Result<Execution, CliError> {
    let name = id(&execution.name);
    match Phase::of(&execution) {
        Phase::Succeeded => return Ok(execution),
        Phase::Cancelled => {
            let hint = format!("'updraft executions describe {name}' shows how far it came");
            return Err(CliError::failed(format!("execution [{name}] was cancelled")).with_hint(hint));
        }
        Phase::Waiting | Phase::Started | Phase::Failed => {}
    }
    let message = condition(&execution.conditions, "Completed").map(|completed| completed.message.trim());
    let error = CliError::failed(match message.unwrap_or_default() {
        "" => format!("execution [{name}] has failed"),
        why => format!("execution [{name}] has failed: {why}"),
    });
    // The failure is told in any case.
    let failed = tasks::failed(client, &execution, NAMED).await.unwrap_or_default();
    Err(explained(error, &execution, &failed))
}

/// The failure with the tasks that failed, and with where to read on.
fn explained(error: CliError, execution: &Execution, failed: &[Task]) -> CliError {
    let name = id(&execution.name);
    let Some(first) = failed.first() else {
        return error.with_hint(format!("'updraft executions describe {name}' shows more"));
    };
    let note = |task: &Task| {
        let how = task.last_attempt_result.as_ref().map(tasks::told).unwrap_or_default();
        match (how.as_str(), task.retried) {
            ("", _) => format!("task {} failed", task.index),
            (how, 0) => format!("task {} failed: {how}", task.index),
            (how, retries) => format!("task {} failed: {how}, tried {} times", task.index, retries + 1),
        }
    };
    let mut notes: Vec<String> = failed.iter().map(note).collect();
    let all = usize::try_from(execution.failed_count).unwrap_or(0);
    if all > failed.len() {
        notes.push(format!("and {} more", all - failed.len()));
    }
    error.with_notes(notes).with_hint(format!(
        "'updraft executions logs read {name} --task {}' shows what the first of them wrote, \
         'updraft jobs rerun {name} --failed-only' runs only those again",
        first.index
    ))
}

fn interrupted(name: &str) -> CliError {
    CliError::new(Exit::Interrupted, format!("interrupted; execution [{name}] goes on")).with_hint(format!(
        "'updraft executions describe {name}' shows how far it is, 'updraft executions logs tail {name}' what it writes; \
         'updraft executions cancel {name}' ends it"
    ))
}

// === what is shown ===

/// An execution on the screen.
#[derive(Debug)]
struct Live<'c, 'a> {
    console: &'c mut Console<'a>,
    /// Lines that are on the screen now.
    lines: usize,
    /// When they were drawn, from the beginning.
    drawn: Option<Duration>,
}

/// When something is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Draw {
    IfDue,
    Always,
}

// === impl Live ===

impl<'c, 'a> Live<'c, 'a> {
    /// Says what runs.
    fn begin(console: &'c mut Console<'a>, execution: &Execution) -> Self {
        let tasks = match execution.task_count {
            1 => "1 task".to_owned(),
            count => format!("{count} tasks"),
        };
        console.say(format_args!(
            "Running execution [{}] of job [{}]: {tasks}",
            id(&execution.name),
            job_of(execution)
        ));
        Self { console, lines: 0, drawn: None }
    }

    /// What has to be asked for to show an execution.
    fn detail(&self, execution: &Execution) -> Detail {
        let is_shown = self.console.is_interactive() && (1..=CELLS).contains(&Counts::of(execution).tasks);
        if is_shown { Detail::Tasks } else { Detail::Counts }
    }

    /// How its tasks stand before anybody has asked.
    fn unseen(&self, execution: &Execution) -> Vec<TaskState> {
        match self.detail(execution) {
            Detail::Tasks => vec![TaskState::Pending; usize::try_from(execution.task_count).unwrap_or(0)],
            Detail::Counts => Vec::new(),
        }
    }

    fn show(&mut self, seen: &Seen, elapsed: Duration, draw: Draw) {
        let is_due = draw == Draw::Always || is_due(self.drawn, elapsed);
        if !self.console.is_interactive() || !is_due {
            return;
        }
        let moment = Moment { counts: Counts::of(&seen.execution), states: &seen.states, elapsed };
        let lines = view::lines(&moment, self.console.width());
        self.console.redraw(self.lines, &lines);
        (self.lines, self.drawn) = (lines.len(), Some(elapsed));
    }
}

/// Is it time to draw again?
fn is_due(drawn: Option<Duration>, now: Duration) -> bool {
    drawn.is_none_or(|drawn| now.saturating_sub(drawn) >= DRAWING)
}

#[cfg(test)]
mod tests {
    use updraft_base::Clock;

    use super::*;
    use crate::{args::Globals, console::Terminal};

    #[test]
    fn looks_are_frequent_at_first_and_once_a_second_in_the_end() {
        for (elapsed, expected) in
            [(0, 100), (100, 100), (600, 300), (5_000, 500), (59_999, 500), (60_000, 1000), (10_000_000, 1000)]
        {
            assert_eq!(pause(Duration::from_millis(elapsed)), Duration::from_millis(expected), "after {elapsed} ms");
        }
    }

    #[test]
    fn nothing_is_drawn_more_than_four_times_a_second() {
        let at = Duration::from_millis;
        let mut drawn = None;
        let mut times = 0;
        for now in (0..10_000).map(at) {
            if is_due(drawn, now) {
                (drawn, times) = (Some(now), times + 1);
            }
        }
        assert_eq!(times, 40);
    }

    #[tokio::test]
    async fn an_execution_that_is_watched_no_longer_goes_on_and_how_to_come_back_is_said() {
        let name = "projects/p/locations/l/jobs/batch/executions/batch-dcb4a".to_owned();
        let begun = Execution { name, task_count: 50, ..Execution::default() };
        let globals = Globals {
            project: "p".to_owned(),
            region: "l".to_owned(),
            endpoint: "http://127.0.0.1:1".to_owned(),
            token: None,
            token_file: None,
            ca_file: None,
            format: None,
            quiet: false,
        };
        let client = Client::new(&globals, Clock::system()).unwrap();
        let mut err = Vec::new();
        let mut console = Console::new(std::io::sink(), &mut err, std::io::empty(), Terminal::Plain);
        let error = completed(&client, &mut console, begun, async {}).await.unwrap_err();
        drop(console);
        assert_eq!(error.exit(), Exit::Interrupted);
        let told = error.to_string();
        assert!(told.starts_with("error: interrupted; execution [batch-dcb4a] goes on\n"), "{told}");
        assert!(told.contains("'updraft executions cancel batch-dcb4a' ends it"), "{told}");
        assert_eq!(String::from_utf8(err).unwrap(), "Running execution [batch-dcb4a] of job [batch]: 50 tasks\n");
    }
}
