//! What the reconcilers of services and of worker pools have in common: they look at the same things, carry out plans of
//! the same kind, and end operations in the same way.

use std::time::Duration;

use updraft_api::{pack, rpc, run, view::revision as revision_view};
use updraft_model::{
    Error, ServiceName,
    name::Collection,
    revision::{
        RevisionTemplate,
        lifecycle::{Phase, not_ready},
    },
};
use updraft_plan::rollout::{self, Action, Rollout};
use updraft_store::{Change, Envelope, Key, Kind, Page, Selection};

use super::{
    PLATFORM, Passed,
    operation::{self, End},
};
use crate::{
    Inner,
    deployed::Deployed,
    failure::of_store,
    queue::Work,
    record::{self, RevisionRecord, ServiceRecord},
    view,
};

/// Everything a pass looks at.
pub(super) struct Observed<M: Deployed> {
    pub(super) name: ServiceName,
    pub(super) envelope: Envelope,
    pub(super) record: ServiceRecord,
    /// The intent.
    pub(super) model: M::Model,
    /// What the last pass reported.
    pub(super) status: M,
    pub(super) revisions: Vec<Seen>,
}

/// A revision of it.
pub(super) struct Seen {
    pub(super) envelope: Envelope,
    pub(super) record: RevisionRecord,
    pub(super) template: RevisionTemplate,
}

/// How far the book has come.
pub(super) enum Booked {
    /// Every revision that serves is in it, within its bounds.
    Wholly,
    /// A revision has to be offered first, and wakes its service or worker pool then.
    Waiting,
}

pub(super) async fn observe<M: Deployed>(inner: &Inner, name: &ServiceName) -> Result<Option<Observed<M>>, Error> {
    let Some(envelope) = inner.get(&PLATFORM, &Key::of(name)).await? else { return Ok(None) };
    let message: M = record::message(&envelope, &envelope.spec)?;
    let selection = Selection::of(Kind::Revision).under(name.parent.clone()).owned_by(record::owner(name));
    let revisions = inner.store.open(&PLATFORM).list(&selection, &Page::default()).await.map_err(of_store)?;
    Ok(Some(Observed {
        name: name.clone(),
        record: record::read(&envelope)?,
        model: message.to_model(name)?,
        status: record::message(&envelope, &envelope.status)?,
        revisions: revisions.into_iter().map(see).collect::<Result<_, _>>()?,
        envelope,
    }))
}

fn see(envelope: Envelope) -> Result<Seen, Error> {
    let message: run::Revision = record::message(&envelope, &envelope.spec)?;
    Ok(Seen { record: record::read(&envelope)?, template: revision_view::to_model(&message)?, envelope })
}

pub(super) fn plan<M: Deployed>(inner: &Inner, observed: &Observed<M>) -> Rollout {
    let wish = M::wish(&observed.model);
    let revisions: Vec<rollout::Observed> = observed
        .revisions
        .iter()
        .map(|seen| rollout::Observed {
            id: seen.envelope.key.name.clone(),
            sequence: seen.record.sequence,
            phase: seen.record.phase(),
            scaling: seen.template.scaling,
        })
        .collect();
    rollout::plan(&rollout::Input {
        targets: &wish.targets,
        sizing: wish.sizing,
        latest_created: &observed.record.latest_created,
        revisions: &revisions,
        current: &observed.status.current(),
        now: inner.clock.now(),
    })
}

/// Puts the revisions that serve into the book, each within its bounds, and wakes those that have something to say. Workers that
/// are too many stay for now.
pub(super) fn book<M: Deployed>(inner: &Inner, observed: &Observed<M>, plan: &Rollout) -> Booked {
    let board = &inner.board;
    for (id, activity) in &plan.activity {
        let name = observed.name.revision(id);
        let is_news = board.set_activity(&name, *activity);
        let is_open = observed.find(id).is_some_and(|seen| !seen.record.phase().is_terminal());
        if is_news || is_open {
            inner.queue.wake(Work::Revision(name));
        }
    }
    let mut booked = Booked::Wholly;
    for action in &plan.actions {
        let Action::Serve { revision, min, max } = action else { continue };
        let name = observed.name.revision(revision);
        // They go when those are up that take their place (`pool`).
        if M::COLLECTION == Collection::WorkerPools && board.exceeds(&name, *max) {
            continue;
        }
        if board.offered(&name).is_some() {
            board.serve(&name, (*min, *max));
        } else {
            booked = Booked::Waiting;
            inner.queue.wake(Work::Revision(name));
        }
    }
    booked
}

/// Lets go of what does not serve; says when the first of it leaves the book.
pub(super) fn let_go<M: Deployed>(inner: &Inner, observed: &Observed<M>, plan: &Rollout) -> Option<Duration> {
    let mut later: Option<Duration> = None;
    for action in &plan.actions {
        match action {
            Action::Serve { .. } => {}
            Action::Retire { revision } => {
                let left = inner.board.retire(&observed.name.revision(revision), inner.clock.instant());
                later = later.into_iter().chain(left).min();
            }
            Action::Collect { revision } => inner.forget(&observed.name.revision(revision)),
        }
    }
    inner.board.publish();
    later
}

/// Writes the status and ends the operations that waited for it, in one commit.
pub(super) async fn report<M: Deployed>(
    inner: &Inner,
    observed: Observed<M>,
    (plan, status): (Rollout, M),
) -> Result<(), Error> {
    let mut changes: Vec<Change> = Vec::new();
    for action in &plan.actions {
        if let Action::Collect { revision } = action {
            let key = Key::new(Kind::Revision, observed.name.parent.clone(), revision);
            changes.push(Change::Delete { key, resource_version: 0 });
        }
    }
    let mut envelope = Envelope { status: status.encode_to_vec(), ..observed.envelope.clone() };
    let mut record = observed.record.clone();
    if plan.is_settled() {
        record.settled_generation = envelope.generation;
        envelope.internal = record::write(&record);
        let resource = pack(&M::shown(&envelope, &inner.config.url)?);
        record.pending.clear();
        for id in &observed.record.pending {
            let Some((open, about)) = inner.open_operation(&observed.name.parent, id).await? else { continue };
            match outcome(&observed, &plan, &about.revision) {
                Outcome::Open => record.pending.push(id.clone()),
                Outcome::Done => changes.push(operation::ended(open, End::Done(resource.clone()))),
                Outcome::Failed(why) => {
                    let end = End::Failed(Some(resource.clone()), rpc::Code::FailedPrecondition, why);
                    changes.push(operation::ended(open, end));
                }
            }
        }
    }
    envelope.internal = record::write(&record);
    // With revisions that are collected it is always written: traffic that is sent to one of them
    // meanwhile makes a conflict.
    if envelope != observed.envelope || !changes.is_empty() {
        changes.push(Change::Put(Box::new(envelope)));
    }
    if !changes.is_empty() {
        let ready = plan.ready().map(ToString::to_string);
        tracing::debug!(name = %observed.name, ready, "reported");
        inner.store.open(&PLATFORM).commit(changes).await.map_err(of_store)?;
    }
    Ok(())
}

/// What became of an operation of what is settled.
enum Outcome {
    Open,
    Done,
    Failed(String),
}

/// An operation fails with the revision it made, or with the routes; that an earlier revision failed is
/// not its fault.
fn outcome<M: Deployed>(observed: &Observed<M>, plan: &Rollout, made: &str) -> Outcome {
    match observed.find(made).map(|seen| seen.record.phase()) {
        Some(Phase::Failed(failure)) => return Outcome::Failed(not_ready(made, &failure.message)),
        // Superseded by a later one, but still on its way.
        Some(Phase::Resolving | Phase::Checking) => return Outcome::Open,
        None if !made.is_empty() && made == observed.record.latest_created => {
            return Outcome::Failed(format!("Revision '{made}' is not found."));
        }
        Some(Phase::Ready) | None => {}
    }
    match plan.routes_failure() {
        Some(why) => Outcome::Failed(why.to_owned()),
        None => Outcome::Done,
    }
}

/// Traffic stops first, and instances end; then it, its revisions and what waited for them end in one commit.
pub(super) async fn delete<M: Deployed>(inner: &Inner, observed: Observed<M>) -> Result<Passed, Error> {
    let (name, board) = (&observed.name, &inner.board);
    board.unroute(name);
    board.publish();
    for seen in &observed.revisions {
        inner.forget(&view::revision_name(&seen.envelope));
    }
    board.publish();
    let resource = pack(&M::shown(&observed.envelope, &inner.config.url)?.deleted(inner.clock.now()));
    let mut changes = vec![Change::Delete {
        key: observed.envelope.key.clone(),
        resource_version: observed.envelope.resource_version,
    }];
    let mut ends = Vec::new();
    ends.extend(observed.record.deleting.iter().map(|id| (id, End::Done(resource.clone()))));
    for id in &observed.record.pending {
        let what = match M::COLLECTION {
            Collection::WorkerPools => "Worker pool",
            Collection::Services | Collection::Jobs => "Service",
        };
        let why = format!("{what} '{}' was deleted.", name.service);
        ends.push((id, End::Failed(Some(resource.clone()), rpc::Code::Aborted, why)));
    }
    for seen in &observed.revisions {
        changes.push(Change::Delete { key: seen.envelope.key.clone(), resource_version: 0 });
        if let Some(id) = &seen.record.deleting {
            let gone = view::deleted_revision(view::revision(&seen.envelope)?, inner.clock.now());
            ends.push((id, End::Done(pack(&gone))));
        }
    }
    for (id, end) in ends {
        changes.extend(inner.end_operation(&name.parent, id, end).await?);
    }
    inner.store.open(&PLATFORM).commit(changes).await.map_err(of_store)?;
    tracing::debug!(%name, "deleted");
    if inner.deleted.try_send(name.clone()).is_err() {
        tracing::warn!(%name, "what it leaves behind, such as its logs, is not removed");
    }
    Ok(Passed::Done)
}

// === impl Observed ===

impl<M: Deployed> Observed<M> {
    pub(super) fn find(&self, revision: &str) -> Option<&Seen> {
        self.revisions.iter().find(|seen| seen.envelope.key.name == revision)
    }
}
