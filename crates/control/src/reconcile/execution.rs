//! The reconciler of executions: which attempts begin and end, and what comes of all of them.
//!
//! `observe → plan → apply → report`, with one difference to the others: how far the tasks have come is kept in memory
//! between passes, since there may be ten thousand. It is what is written down and nothing else: when a write fails, it is
//! read again.
//!
//! The order is what makes it durable. An attempt is written down before the fleet is told to start it, that it is to end
//! before it is told that, and how it ended before the fleet's receipt is dropped. All that happened since the last pass is
//! one commit.

mod delete;
mod over;
mod prepare;
mod resume;
mod rows;

use std::{
    sync::{Arc, PoisonError},
    time::{Duration, SystemTime},
};

use updraft_api::{
    run,
    view::{condition, timestamp},
};
use updraft_model::{
    Condition, Error,
    channel::{Begun, BookEntry, TaskEnd, TaskEntry, Wish},
    instance::Secrets,
    job::{AttemptEnd, AttemptName, ExecutionName, Outcome, lifecycle, lifecycle::FailedTasks},
    revision::lifecycle::Failure,
};
use updraft_plan::job::{Attempt, Follows, Progress};
use updraft_store::{Change, Envelope};

use self::prepare::Readiness;
use super::{PLATFORM, Passed, instance, values};
use crate::{
    Inner,
    executions::{Claim, Live},
    failure::of_store,
    jobs::{keys, view},
    queue::Work,
    record::{self, ExecutionRecord},
};

/// How soon one that waits for room looks again: nobody tells it that services have given back memory.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// What a pass works on.
pub(super) struct Subject {
    pub(super) name: ExecutionName,
    pub(super) envelope: Envelope,
    pub(super) record: ExecutionRecord,
    /// The same as it is written down.
    written: ExecutionRecord,
}

/// What a pass does to the tasks.
#[derive(Default)]
struct Moves {
    begun: Vec<Attempt>,
    stopped: Vec<(Attempt, Wish)>,
    /// Those of which an end was told.
    over: Vec<AttemptName>,
    /// The ends of those that ran until then.
    ended: Vec<Ended>,
}

/// The end of an attempt.
struct Ended {
    /// Of the task at this place.
    place: u32,
    /// Which attempt at it.
    attempt: u32,
    /// As what it counts.
    end: AttemptEnd,
    /// When.
    time: SystemTime,
}

/// One pass over an execution.
pub(super) async fn pass(inner: &Arc<Inner>, name: &ExecutionName) -> Result<Passed, Error> {
    let found = inner.get(&PLATFORM, &keys::execution(name)).await?;
    let Some(envelope) = found.filter(|envelope| envelope.owner == name.job.job) else {
        inner.forget_execution(name);
        return Ok(Passed::Done);
    };
    let record: ExecutionRecord = record::read(&envelope)?;
    let mut subject = Subject { name: name.clone(), envelope, written: record.clone(), record };
    if let Some(operation) = subject.record.deleting.clone() {
        if subject.record.is_over {
            return delete::delete(inner, &subject, &operation).await;
        }
        // What runs of it is ended first, and that is waited for, as when it is cancelled.
        subject.record.cancelled.get_or_insert_with(|| inner.clock.now());
    }
    if subject.record.is_over {
        inner.forget_execution(name);
        return Ok(Passed::Done);
    }
    match (known(inner, &subject).await, &subject.record.deleting) {
        (Ok(live), _) => work(inner, subject, live).await,
        // What cannot be read can be deleted.
        (Err(_), Some(operation)) => delete::delete(inner, &subject, operation).await,
        (Err(error), None) => Err(error),
    }
}

/// How far it has come.
async fn known(inner: &Inner, subject: &Subject) -> Result<Live, Error> {
    if let Some(live) = inner.executions.take(&subject.name) {
        return Ok(live);
    }
    let live = resume::resume(inner, subject).await?;
    // Before its image is looked for, which may take long.
    inner.begin_if_all_seen(&subject.name);
    Ok(live)
}

/// The pass over one that is not over.
async fn work(inner: &Arc<Inner>, mut subject: Subject, mut live: Live) -> Result<Passed, Error> {
    let name = &subject.name.clone();
    // Before anything is taken of what was told: this may take long, or fail.
    let readiness = prepare::prepare(inner, &mut subject, &mut live).await;
    let readiness = match readiness {
        Ok(readiness) => readiness,
        Err(error) => {
            inner.executions.put_back(name, live, inner.clock.now());
            return Err(error);
        }
    };
    let ends = inner.executions.ends(name);
    match advance(inner, (&mut subject, &mut live), &readiness, &ends).await {
        Ok(()) => {}
        Err(error) => {
            // What is in memory may be ahead of what is written down.
            inner.executions.reread(name);
            inner.executions.give_back(name, ends);
            return Err(error);
        }
    }
    let has_room_again = !ends.is_empty();
    drop(ends);
    if subject.record.is_over {
        inner.forget_execution(name);
        inner.queue.wake(Work::Job(name.job.clone()));
        if subject.record.deleting.is_some() {
            inner.queue.wake(Work::Execution(name.clone()));
        }
        inner.wake_waiting(Some(name));
        return Ok(Passed::Done);
    }
    // A pull wakes it, and a failure has a timer of its own: one of the tasks' would be noted here and never set.
    let rests = matches!(readiness, Readiness::Ready | Readiness::Never(_));
    let passed = if rests { inner.rest(&readiness, &mut live) } else { Passed::Done };
    inner.executions.put_back(name, live, inner.clock.now());
    if has_room_again {
        inner.wake_waiting(Some(name));
    }
    match readiness {
        Readiness::Later(error) => Err(error),
        Readiness::Pulling => Ok(Passed::Pulling),
        Readiness::Ready | Readiness::Never(_) => Ok(passed),
    }
}

/// Takes in what was told, decides, writes it down, and then tells the fleet.
async fn advance(
    inner: &Arc<Inner>,
    (subject, live): (&mut Subject, &mut Live),
    readiness: &Readiness,
    ends: &[TaskEnd],
) -> Result<(), Error> {
    let now = inner.clock.now();
    let status = subject.envelope.status.clone();
    let mut moves = take_in(subject, &mut live.progress, ends);
    let failure = match readiness {
        Readiness::Never(failure) => Some(failure.clone()),
        _ => subject.record.failure(),
    };
    if failure.is_some() || subject.record.cancelled.is_some() {
        moves.stopped.extend(live.progress.cancel(now).into_iter().map(|one| (one, Wish::Cancel)));
    }
    moves.stopped.extend(live.progress.overdue(now).into_iter().map(|one| (one, Wish::TimeOut)));
    if matches!(readiness, Readiness::Ready) {
        moves.begun = inner.begin(&subject.name, live, now);
    }
    if !moves.begun.is_empty() {
        live.started.get_or_insert(now);
    }
    let phase = phase(&subject.record, live, failure.as_ref());
    let mut changes = rows::changes(subject, live, &moves.ended, now);
    subject.record.is_over = phase.is_over();
    report(subject, live, &phase, now)?;
    over::settle(inner, (subject, live), &phase, &mut changes).await?;
    if subject.record != subject.written || subject.envelope.status != status {
        subject.envelope.internal = record::write(&subject.record);
        changes.push(Change::Put(Box::new(subject.envelope.clone())));
    }
    // Before anything is written down: what cannot be started is not begun.
    let entries = entries(inner, subject, (live, &moves.begun), Begun::Now).await?;
    if !changes.is_empty() {
        let stored = inner.store.open(&PLATFORM).commit(changes).await.map_err(of_store)?;
        rows::stored(subject, live, stored);
    }
    inner.tallies.attempts(&subject.name.job, moves.ended.iter().map(|one| (one.attempt, &one.end)));
    if subject.record.is_over {
        inner.tallies.execution(&subject.name.job, &phase);
    }
    let stopped: Vec<_> = moves.stopped.iter().map(|(one, wish)| (subject.attempt(*one), *wish)).collect();
    inner.executions.tell(entries, &stopped, &moves.over);
    Ok(())
}

/// What was told of attempts.
fn take_in(subject: &Subject, progress: &mut Progress, ends: &[TaskEnd]) -> Moves {
    let (count, mut ended) = (progress.terms().task_count, Vec::with_capacity(ends.len()));
    for TaskEnd { name, end, time, .. } in ends {
        // Another place is none of ours: it is forgotten once the fleet knows that.
        let Some(place) = subject.record.place_of(name.task.index, count) else { continue };
        let attempt = Attempt { index: place, attempt: name.attempt };
        let follows = progress.ended(attempt, end.clone(), *time);
        tracing::debug!(attempt = %name, %end, ?follows, "an attempt has ended");
        match follows {
            Follows::Nothing => {}
            Follows::Over { end, .. } | Follows::Retry { end, .. } => {
                ended.push(Ended { place, attempt: name.attempt, end, time: *time });
            }
        }
    }
    Moves { over: ends.iter().map(|end| end.name.clone()).collect(), ended, ..Moves::default() }
}

fn phase(record: &ExecutionRecord, live: &Live, failure: Option<&Failure>) -> lifecycle::ExecutionPhase {
    use lifecycle::ExecutionPhase as Phase;
    let is_cancelled = record.cancelled.is_some();
    match (failure, live.progress.outcome().map(|outcome| named(record, outcome))) {
        (Some(failure), Some(_)) => Phase::Unable(failure.clone()),
        (None, Some(outcome)) => Phase::Ended(outcome),
        (_, None) if is_cancelled || failure.is_some() => Phase::Cancelling,
        (_, None) if live.started.is_some() => Phase::Running,
        (_, None) if live.is_prepared => {
            Phase::Waiting { message: "Waiting for memory, or for other tasks to end.".to_owned() }
        }
        (_, None) => Phase::Preparing,
    }
}

/// The tasks that failed are those with these indexes; the plan knows their places.
fn named(record: &ExecutionRecord, outcome: Outcome) -> Outcome {
    let Outcome::Failed(failed) = outcome else { return outcome };
    let indexes = failed.indexes.iter().map(|place| record.index_at(*place)).collect();
    Outcome::Failed(FailedTasks { indexes, ..failed })
}

/// Writes what the execution says of itself into its envelope.
fn report(subject: &mut Subject, live: &Live, phase: &lifecycle::ExecutionPhase, now: SystemTime) -> Result<(), Error> {
    let envelope = &mut subject.envelope;
    let old: run::Execution = record::message(envelope, &envelope.status)?;
    let before: Vec<Condition> = old.conditions.iter().filter_map(condition::to_model).collect();
    let completed = subject.record.is_over.then_some(now);
    let times = lifecycle::Times { created: envelope.created, started: live.started, completed };
    let conditions = lifecycle::execution_conditions(&subject.name.execution, phase, &times, now);
    let conditions: Vec<Condition> = conditions.into_iter().map(|one| one.carried_over(&before)).collect();
    let mut status = run::Execution {
        conditions: conditions.iter().map(condition::from_model).collect(),
        start_time: live.started.map(timestamp),
        completion_time: completed.map(timestamp),
        ..run::Execution::default()
    };
    if completed.is_some() {
        // Until then they are in memory, where everybody sees them: a write for each task would be one too many.
        view::write_counts(&mut status, live.progress.counts());
    }
    let status = prost::Message::encode_to_vec(&status);
    if envelope.status != status {
        envelope.status = status;
        envelope.updated = now;
    }
    Ok(())
}

/// What the fleet is told of attempts.
async fn entries(
    inner: &Inner,
    subject: &Subject,
    (live, attempts): (&Live, &[Attempt]),
    begun: Begun,
) -> Result<Vec<(AttemptName, TaskEntry)>, Error> {
    let mut values: Option<Arc<Secrets>> = None;
    let mut entries = Vec::with_capacity(attempts.len());
    for attempt in attempts {
        let name = subject.attempt(*attempt);
        let spec = subject.spec(live, name.clone())?;
        let values = match &values {
            Some(values) => values.clone(),
            None if spec.has_secrets() => {
                let account = &live.template.template.service_account;
                values.insert(Arc::new(values::values(inner, account, &spec).await?)).clone()
            }
            None => values.insert(Arc::default()).clone(),
        };
        let runs: BookEntry = instance::task_entry((spec, values), &live.template.template);
        entries.push((name, TaskEntry { runs: Arc::new(runs), begun, wish: Wish::Run }));
    }
    Ok(entries)
}

// === impl Subject ===

impl Subject {
    /// The name of an attempt at the task of a place.
    fn attempt(&self, attempt: Attempt) -> AttemptName {
        self.name.task(self.record.index_at(attempt.index)).attempt(attempt.attempt)
    }

    /// What an attempt's instance is.
    fn spec(&self, live: &Live, name: AttemptName) -> Result<updraft_model::instance::InstanceSpec, Error> {
        let told = if self.record.only.is_empty() { live.template.task_count } else { self.record.of.cast_signed() };
        instance::task_spec(name, (&live.template.template, live.template.egress()), (&self.record, told))
    }
}

// === impl Inner ===

impl Inner {
    /// Begins what may begin and has room.
    fn begin(&self, name: &ExecutionName, live: &mut Live, now: SystemTime) -> Vec<Attempt> {
        let (want, running) = (live.progress.may_begin(now), live.progress.counts().running);
        if want == 0 {
            return Vec::new();
        }
        let claim = Claim { want, running, size: live.size, services: self.memory_of_services() };
        let granted = self.executions.claim(name, claim);
        live.progress.begin(usize::try_from(granted).unwrap_or(usize::MAX), now)
    }

    /// When to look again.
    fn rest(&self, readiness: &Readiness, live: &mut Live) -> Passed {
        let now = self.clock.now();
        let waits = matches!(readiness, Readiness::Ready) && live.progress.may_begin(now) > 0;
        let look = waits.then(|| now + LOOK_AGAIN);
        // Each pass would leave a timer behind, and what is due is later and later.
        let Some(due) = live.progress.due(now).into_iter().chain(look).min() else { return Passed::Done };
        if live.alarm.is_some_and(|alarm| alarm > now && alarm <= due) {
            return Passed::Done;
        }
        live.alarm = Some(due);
        Passed::Later(due.duration_since(now).unwrap_or_default())
    }

    /// A pass knows what runs of this one, or is over however it went: nobody waits for what cannot be read. With the last of
    /// them tasks may begin.
    pub(super) fn begin_if_all_seen(&self, name: &ExecutionName) {
        if self.executions.seen(name) {
            self.wake_waiting(None);
        }
    }

    /// Wakes those that wait for room, but for one that has just asked.
    pub(super) fn wake_waiting(&self, but: Option<&ExecutionName>) {
        for name in self.executions.waiting(but) {
            self.queue.wake(Work::Execution(name));
        }
    }

    /// Forgets everything of an execution; whatever of it runs is ended.
    fn forget_execution(&self, name: &ExecutionName) {
        self.executions.forget(name);
        self.pulls.forget(&Work::Execution(name.clone()));
    }

    /// The memory that instances of services and worker pools are promised now, in bytes.
    fn memory_of_services(&self) -> u64 {
        let health = self.health.borrow().clone();
        let mut known = self.memory_of_services.lock().unwrap_or_else(PoisonError::into_inner);
        // Many passes see the same services, of which there may be very many.
        if let Some((_, memory)) = known.as_ref().filter(|(of, _)| Arc::ptr_eq(of, &health)) {
            return *memory;
        }
        let of = |(name, health): (&Arc<updraft_model::RevisionName>, &updraft_model::channel::Health)| {
            let instances = u64::from(health.ready + health.starting);
            if instances == 0 { 0 } else { instances * self.board.memory(name) }
        };
        let memory = health.entries.iter().map(of).sum();
        *known = Some((health.clone(), memory));
        memory
    }
}
