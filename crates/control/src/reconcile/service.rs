//! The reconciler of services: where traffic goes, and what the service says of itself.

use std::{sync::Arc, time::Duration};

use prost::Message;
use updraft_api::{
    pack, rpc, run,
    view::{condition, policy, revision as revision_view, service as service_view, traffic},
};
use updraft_model::{
    Condition, Error, ServiceName,
    iam::{Invokers, Policy},
    revision::{
        RevisionTemplate,
        lifecycle::{Phase, not_ready},
    },
    route::{Route, RouteTarget, SessionAffinity},
    service::{Ingress, Service, TrafficTarget},
};
use updraft_plan::{
    hosts,
    iam::{self, InvokerCheck},
    rollout::{self, Action, Assignment, Rollout, Sizing},
};
use updraft_store::{Change, Envelope, Key, Kind, Page, Selection};

use super::{
    PLATFORM, Passed,
    operation::{self, End},
};
use crate::{
    Inner,
    board::{Admission, Hosts},
    failure::of_store,
    queue::Work,
    record::{self, RevisionRecord, ServiceRecord},
    view,
};

/// Everything a pass looks at.
struct Observed {
    name: ServiceName,
    envelope: Envelope,
    record: ServiceRecord,
    /// The intent.
    model: Service,
    /// What the last pass reported.
    status: run::Service,
    revisions: Vec<Seen>,
}

/// A revision of the service.
struct Seen {
    envelope: Envelope,
    record: RevisionRecord,
    template: RevisionTemplate,
}

/// How far the plan could be carried out.
enum Applied {
    /// Not yet: a revision has to be offered first, and wakes the service then.
    Waiting,
    /// Wholly; a revision that left the routes leaves the book later.
    Wholly(Option<Duration>),
}

/// One pass over a service.
pub(super) async fn pass(inner: &Inner, name: &ServiceName) -> Result<Passed, Error> {
    let Some(observed) = observe(inner, name).await? else {
        inner.board.unroute(name);
        inner.board.publish();
        return Ok(Passed::Done);
    };
    if observed.record.deleting.is_some() {
        return delete(inner, observed).await;
    }
    let plan = plan(inner, &observed);
    match apply(inner, &observed, &plan)? {
        Applied::Waiting => Ok(Passed::Done),
        Applied::Wholly(later) => {
            report(inner, observed, plan).await?;
            Ok(later.map_or(Passed::Done, Passed::Later))
        }
    }
}

async fn observe(inner: &Inner, name: &ServiceName) -> Result<Option<Observed>, Error> {
    let key = Key::new(Kind::Service, name.parent.clone(), &name.service);
    let Some(envelope) = inner.get(&PLATFORM, &key).await? else { return Ok(None) };
    let message: run::Service = record::message(&envelope, &envelope.spec)?;
    let selection = Selection::of(Kind::Revision).under(name.parent.clone()).owned_by(&name.service);
    let revisions = inner.store.open(&PLATFORM).list(&selection, &Page::default()).await.map_err(of_store)?;
    Ok(Some(Observed {
        name: name.clone(),
        record: record::read(&envelope)?,
        model: service_view::to_model(name, &message)?,
        status: record::message(&envelope, &envelope.status)?,
        revisions: revisions.into_iter().map(see).collect::<Result<_, _>>()?,
        envelope,
    }))
}

fn see(envelope: Envelope) -> Result<Seen, Error> {
    let message: run::Revision = record::message(&envelope, &envelope.spec)?;
    Ok(Seen { record: record::read(&envelope)?, template: revision_view::to_model(&message)?, envelope })
}

fn plan(inner: &Inner, observed: &Observed) -> Rollout {
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
        targets: &observed.model.traffic,
        sizing: Sizing::Requests(observed.model.scaling),
        latest_created: &observed.record.latest_created,
        revisions: &revisions,
        current: &current(&observed.status),
        now: inner.clock.now(),
    })
}

/// How traffic went according to the last report.
fn current(status: &run::Service) -> Vec<Assignment> {
    let latest = i32::from(run::TrafficTargetAllocationType::Latest);
    let line = |line: &run::TrafficTargetStatus| Assignment {
        target: TrafficTarget {
            allocation: match line.r#type == latest {
                true => updraft_model::service::Allocation::Latest,
                false => updraft_model::service::Allocation::Revision(line.revision.clone()),
            },
            percent: line.percent,
            tag: Some(line.tag.clone()).filter(|tag| !tag.is_empty()),
        },
        revision: line.revision.clone(),
    };
    status.traffic_statuses.iter().map(line).collect()
}

/// First the book, then the routes, then what leaves the book.
fn apply(inner: &Inner, observed: &Observed, plan: &Rollout) -> Result<Applied, Error> {
    let board = &inner.board;
    for (id, activity) in &plan.activity {
        let name = observed.name.revision(id);
        let is_news = board.set_activity(&name, *activity);
        let is_open = observed.find(id).is_some_and(|seen| !seen.record.phase().is_terminal());
        if is_news || is_open {
            inner.queue.wake(Work::Revision(name));
        }
    }
    let mut waiting = false;
    for action in &plan.actions {
        let Action::Serve { revision, min, max } = action else { continue };
        let name = observed.name.revision(revision);
        if board.offered(&name).is_some() {
            board.serve(&name, (*min, *max));
        } else {
            waiting = true;
            inner.queue.wake(Work::Revision(name));
        }
    }
    let admission = admission(inner, observed)?;
    if waiting {
        // Traffic waits, and may do so for long; who may call does not. Whoever closes a service relies on it.
        if observed.model.default_uri_disabled {
            board.route(&observed.name, observed.envelope.created, Hosts::new());
        } else {
            board.admit(&observed.name, &admission);
        }
        board.publish();
        return Ok(Applied::Waiting);
    }
    board.route(&observed.name, observed.envelope.created, routes(inner, observed, plan, &admission));
    board.publish();
    let mut later: Option<Duration> = None;
    for action in &plan.actions {
        match action {
            Action::Serve { .. } => {}
            Action::Retire { revision } => {
                let left = board.retire(&observed.name.revision(revision), inner.clock.instant());
                later = later.into_iter().chain(left).min();
            }
            Action::Collect { revision } => inner.forget(&observed.name.revision(revision)),
        }
    }
    board.publish();
    Ok(Applied::Wholly(later))
}

/// Who may call the service now, and from where.
fn admission(inner: &Inner, observed: &Observed) -> Result<Admission, Error> {
    let model = &observed.model;
    let policy = policy::to_model(&observed.record.policy.policy()?);
    let hosts = own_hosts(inner, observed);
    let invokers = Invokers { hosts, audiences: model.custom_audiences.clone(), policy: Policy::default() };
    let check = if model.invoker_iam_disabled { InvokerCheck::Off } else { InvokerCheck::On };
    Ok((model.ingress.unwrap_or(Ingress::All), iam::of_service(&policy, check, invokers)))
}

/// The hosts of the service itself.
fn own_hosts(inner: &Inner, observed: &Observed) -> Vec<Arc<str>> {
    hosts::service_hosts(&observed.name, &inner.config.url.domain).into_iter().map(Into::into).collect()
}

/// The hosts of the service and of its tags, and where each leads.
fn routes(inner: &Inner, observed: &Observed, plan: &Rollout, (ingress, invoker): &Admission) -> Hosts {
    if observed.model.default_uri_disabled {
        return Hosts::new();
    }
    let route = |targets: &[(&str, u32)]| {
        let target = |(id, percent): &(&str, u32)| {
            let template = &observed.find(id)?.template;
            Some(RouteTarget {
                revision: observed.name.revision(*id),
                percent: *percent,
                timeout: template.timeout?,
                protocol: template.ingress_container()?.port?.0,
                affinity: if template.session_affinity { SessionAffinity::Client } else { SessionAffinity::None },
            })
        };
        Arc::new(Route {
            service: observed.name.clone(),
            ingress: *ingress,
            invoker: invoker.clone(),
            targets: targets.iter().filter_map(target).collect(),
        })
    };
    let mut routes = Vec::new();
    let shares = plan.shares();
    if !shares.is_empty() {
        let all = route(&shares);
        routes.extend(own_hosts(inner, observed).into_iter().map(|host| (host, all.clone())));
    }
    for (tag, id) in plan.tags() {
        let one = route(&[(id, 100)]);
        let tagged = hosts::tag_hosts(&observed.name, tag, &inner.config.url.domain);
        routes.extend(tagged.into_iter().map(|host| (host.into(), one.clone())));
    }
    routes
}

/// Writes the status and ends the operations that waited for it, in one commit.
async fn report(inner: &Inner, observed: Observed, plan: Rollout) -> Result<(), Error> {
    let status = status(inner, &observed, &plan);
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
        let resource = pack(&view::service(&envelope, &inner.config.url)?);
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
    // With revisions that are collected the service is always written: traffic that is sent to one of them
    // meanwhile makes a conflict.
    if envelope != observed.envelope || !changes.is_empty() {
        changes.push(Change::Put(Box::new(envelope)));
    }
    if !changes.is_empty() {
        let ready = plan.ready().map(ToString::to_string);
        tracing::debug!(service = %observed.name, ready, "service reported");
        inner.store.open(&PLATFORM).commit(changes).await.map_err(of_store)?;
    }
    Ok(())
}

/// What the service says of itself.
fn status(inner: &Inner, observed: &Observed, plan: &Rollout) -> run::Service {
    let old = &observed.status;
    let mut before: Vec<Condition> = old.conditions.iter().filter_map(condition::to_model).collect();
    before.extend(old.terminal_condition.as_ref().and_then(condition::to_model));
    let conditions: Vec<Condition> = plan.conditions.iter().map(|c| c.clone().carried_over(&before)).collect();
    let tag_url =
        |line: &Assignment| line.target.tag.as_deref().and_then(|tag| inner.config.url.tag_url(&observed.name, tag));
    let line = |line: &Assignment| traffic::status(&line.target, &line.revision, tag_url(line));
    let full = |id: &String| observed.name.revision(id).to_string();
    let mut status = run::Service {
        // After a failure it goes on naming the intent that serves; that the failure is settled stands in
        // the record.
        observed_generation: if plan.serves() { observed.envelope.generation } else { old.observed_generation },
        latest_ready_revision: plan.latest_ready.as_ref().map(full).unwrap_or_default(),
        traffic_statuses: plan.traffic.iter().map(line).collect(),
        ..run::Service::default()
    };
    condition::write_to_service(&mut status, &conditions);
    status
}

/// What became of an operation of a settled service.
enum Outcome {
    Open,
    Done,
    Failed(String),
}

/// An operation fails with the revision it made, or with the routes; that an earlier revision failed is
/// not its fault.
fn outcome(observed: &Observed, plan: &Rollout, made: &str) -> Outcome {
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

/// Traffic stops first; then the service, its revisions and what waited for them end in one commit.
async fn delete(inner: &Inner, observed: Observed) -> Result<Passed, Error> {
    let (name, board) = (&observed.name, &inner.board);
    board.unroute(name);
    board.publish();
    for seen in &observed.revisions {
        inner.forget(&view::revision_name(&seen.envelope));
    }
    board.publish();
    let deleted = view::deleted_service(view::service(&observed.envelope, &inner.config.url)?, inner.clock.now());
    let resource = pack(&deleted);
    let mut changes = vec![Change::Delete {
        key: observed.envelope.key.clone(),
        resource_version: observed.envelope.resource_version,
    }];
    let mut ends = Vec::new();
    ends.extend(observed.record.deleting.iter().map(|id| (id, End::Done(resource.clone()))));
    for id in &observed.record.pending {
        let why = format!("Service '{}' was deleted.", name.service);
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
    tracing::debug!(service = %name, "service deleted");
    if inner.deleted.try_send(name.clone()).is_err() {
        tracing::warn!(service = %name, "what the service leaves behind, such as its logs, is not removed");
    }
    Ok(Passed::Done)
}

// === impl Observed ===

impl Observed {
    fn find(&self, revision: &str) -> Option<&Seen> {
        self.revisions.iter().find(|seen| seen.envelope.key.name == revision)
    }
}
