//! An execution as it is written down: after a restart, and when a write went wrong.

use std::collections::{BTreeMap, BTreeSet};

use updraft_api::{
    run,
    view::{job as job_view, time},
};
use updraft_model::{Error, channel::Begun, job::TaskPhase};
use updraft_plan::job::{Attempt, Progress, Terms};
use updraft_store::{Kind, Page, Selection};

use super::{PLATFORM, Subject, entries};
use crate::{
    Inner,
    executions::{Live, Row},
    failure::of_store,
    record::{self, TaskRecord},
};

/// Reads how far it has come. Attempts that had begun are told to the fleet as such: it knows whether they run still.
pub(super) async fn resume(inner: &Inner, subject: &Subject) -> Result<Live, Error> {
    let (name, envelope) = (&subject.name, &subject.envelope);
    let intent: run::Execution = record::message(envelope, &envelope.spec)?;
    let status: run::Execution = record::message(envelope, &envelope.status)?;
    let template = job_view::execution_to_model(&intent)?;
    let terms = Terms::of(&template);
    let selection = Selection::of(Kind::Task).under(name.job.parent.clone()).owned_by(&name.execution);
    let stored = inner.store.open(&PLATFORM).list(&selection, &Page::default()).await.map_err(of_store)?;
    let (mut tasks, mut rows, mut running) = (Vec::with_capacity(stored.len()), BTreeMap::new(), BTreeSet::new());
    for row in stored {
        let record: TaskRecord = record::read(&row)?;
        let Some(place) = subject.record.place_of(record.index, terms.task_count) else { continue };
        let task = record.task();
        if task.phase == TaskPhase::Running {
            running.insert(Attempt { index: place, attempt: task.attempts.saturating_sub(1) });
        }
        if !task.phase.is_terminal() {
            let started = record.started.unwrap_or(row.created);
            rows.insert(place, Row { version: row.resource_version, created: row.created, started });
        }
        tasks.push((place, task));
    }
    let progress = Progress::resume(terms, tasks, &running, inner.clock.now());
    let size = template.template.memory_bytes();
    let live = Live {
        template,
        progress,
        rows,
        is_prepared: false,
        started: status.start_time.as_ref().and_then(time),
        alarm: None,
        size,
    };
    inner.executions.note(name, &live);
    let unknown: Vec<Attempt> =
        running.into_iter().filter(|one| !inner.executions.is_told(&subject.attempt(*one))).collect();
    let told = entries(inner, subject, (&live, &unknown), Begun::Before).await?;
    inner.executions.tell(told, &[], &[]);
    Ok(live)
}
