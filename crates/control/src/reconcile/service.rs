//! The reconciler of services: where traffic goes, and what the service says of itself.

use std::{sync::Arc, time::Duration};

use updraft_api::{
    run,
    view::{condition, policy, traffic},
};
use updraft_model::{
    Condition, Error, ServiceName,
    iam::{Invokers, Policy},
    route::{Route, RouteTarget, SessionAffinity},
    service::Ingress,
};
use updraft_plan::{
    hosts,
    iam::{self, InvokerCheck},
    rollout::{Assignment, Rollout},
};

use super::{
    Passed,
    rollout::{self, Booked},
};
use crate::{
    Inner,
    board::{Admission, Hosts},
};

type Observed = rollout::Observed<run::Service>;

/// How far the plan could be carried out.
enum Applied {
    /// Not yet: a revision has to be offered first, and wakes the service then.
    Waiting,
    /// Wholly; a revision that left the routes leaves the book later.
    Wholly(Option<Duration>),
}

/// One pass over a service.
pub(super) async fn pass(inner: &Inner, name: &ServiceName) -> Result<Passed, Error> {
    let Some(observed) = rollout::observe(inner, name).await? else {
        inner.board.unroute(name);
        inner.board.publish();
        return Ok(Passed::Done);
    };
    if observed.record.deleting.is_some() {
        return rollout::delete(inner, observed).await;
    }
    let plan = rollout::plan(inner, &observed);
    match apply(inner, &observed, &plan)? {
        Applied::Waiting => Ok(Passed::Done),
        Applied::Wholly(later) => {
            let status = status(inner, &observed, &plan);
            rollout::report(inner, observed, (plan, status)).await?;
            Ok(later.map_or(Passed::Done, Passed::Later))
        }
    }
}

/// First the book, then the routes, then what leaves the book.
fn apply(inner: &Inner, observed: &Observed, plan: &Rollout) -> Result<Applied, Error> {
    let board = &inner.board;
    let booked = rollout::book(inner, observed, plan);
    let admission = admission(inner, observed)?;
    if let Booked::Waiting = booked {
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
    Ok(Applied::Wholly(rollout::let_go(inner, observed, plan)))
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
