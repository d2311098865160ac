//! The reconciler of worker pools: which revisions have instances, and what the pool says of itself. As that of services,
//! without routes.

use std::{sync::PoisonError, time::Duration};

use updraft_api::{
    run,
    view::{condition, pool},
};
use updraft_model::{Condition, Error, ServiceName};
use updraft_plan::rollout::{Action, Assignment, Rollout};

use super::{
    Passed,
    rollout::{self, Booked},
};
use crate::Inner;

type Observed = rollout::Observed<run::WorkerPool>;

/// One pass over a worker pool.
pub(super) async fn pass(inner: &Inner, name: &ServiceName) -> Result<Passed, Error> {
    let Some(observed): Option<Observed> = rollout::observe(inner, name).await? else { return Ok(Passed::Done) };
    if observed.record.deleting.is_some() {
        return rollout::delete(inner, observed).await;
    }
    let plan = rollout::plan(inner, &observed);
    let booked = rollout::book(inner, &observed, &plan);
    inner.board.publish();
    if let Booked::Waiting = booked {
        return Ok(Passed::Done);
    }
    let later = let_go(inner, &observed, &plan);
    let status = status(&observed, &plan);
    rollout::report(inner, observed, (plan, status)).await?;
    Ok(later.map_or(Passed::Done, Passed::Later))
}

/// What does not serve any more, and what is too many of a revision that does, goes when those are up that take its place: the
/// work is not to lie still meanwhile. If they are not within the time that the revisions of a service have, it goes all the
/// same.
fn let_go(inner: &Inner, observed: &Observed, plan: &Rollout) -> Option<Duration> {
    let (board, now) = (&inner.board, inner.clock.instant());
    let (mut falling, mut rising) = (Vec::new(), Vec::new());
    for action in &plan.actions {
        let Action::Serve { revision, min, max } = action else { continue };
        let name = observed.name.revision(revision);
        match board.exceeds(&name, *max) {
            true => falling.push((name, (*min, *max))),
            false => rising.push((revision, *min)),
        }
    }
    // Noted before it is looked who is up: from here on, who comes up wakes the pool.
    let lowered = falling.iter().filter_map(|(name, bounds)| board.lower(name, *bounds, now)).min();
    let later = rollout::let_go(inner, observed, plan).into_iter().chain(lowered).min();
    if !rising.into_iter().all(|(revision, min)| ready(inner, observed, revision) >= min) {
        return later;
    }
    for (name, bounds) in &falling {
        board.serve(name, *bounds);
    }
    for action in &plan.actions {
        if let Action::Retire { revision } = action {
            board.withdraw(&observed.name.revision(revision));
        }
    }
    board.publish();
    None
}

/// How many instances of a revision are up.
fn ready(inner: &Inner, observed: &Observed, revision: &str) -> u32 {
    let seen = inner.health_seen.lock().unwrap_or_else(PoisonError::into_inner);
    seen.entries.get(&observed.name.revision(revision)).map_or(0, |health| health.ready)
}

/// What the pool says of itself.
fn status(observed: &Observed, plan: &Rollout) -> run::WorkerPool {
    let old = &observed.status;
    let before: Vec<Condition> = old.terminal_condition.iter().filter_map(condition::to_model).collect();
    let conditions: Vec<Condition> =
        plan.ready().map(|ready| ready.clone().carried_over(&before)).into_iter().collect();
    let line = |line: &Assignment| pool::split_status(&line.target.allocation, &line.revision, line.target.percent);
    let mut status = run::WorkerPool {
        // As of a service: after a failure it goes on naming the intent that is carried out.
        observed_generation: if plan.serves() { observed.envelope.generation } else { old.observed_generation },
        latest_ready_revision: plan
            .latest_ready
            .as_ref()
            .map(|id| observed.name.revision(id).to_string())
            .unwrap_or_default(),
        instance_split_statuses: plan.traffic.iter().map(line).collect(),
        ..run::WorkerPool::default()
    };
    condition::write_to_worker_pool(&mut status, &conditions);
    status
}
