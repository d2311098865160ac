//! From flags to a service, a job or a worker pool: the one before and what was asked for make the one after, and the
//! fields that changed. Pure.

mod container;
mod job;
mod mask;
mod pool;
mod secrets;

#[cfg(test)]
mod tests;

use std::{collections::HashMap, mem};

use updraft_api::run::{Container, IngressTraffic, RevisionTemplate, Service, Volume};
use updraft_model::{name::generated_revision_id, revision::EGRESS};

pub(crate) use self::{
    job::{JobWish, job},
    pool::{PoolPlan, PoolWish, pool, targets, with_splits},
};
use crate::{
    args::{ContainerArgs, Egress, Ingress, LabelArgs, ScalingArgs, SettingsArgs},
    error::CliError,
    settings::mask::Masked,
    traffic::{self, Remove, TagChange, Target},
    values::Pairs,
};

/// A label that differs from deploy to deploy, as gcloud's does: the same image name may lead to
/// another image by now, so that a deploy always makes a revision.
const NONCE: &str = "client.knative.dev/nonce";

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish<'a> {
    /// The service's id.
    pub(crate) id: &'a str,
    /// The service's project, by the name that is used here.
    pub(crate) project: &'a str,
    /// The image, if it is to change.
    pub(crate) image: Option<&'a str>,
    /// The flags.
    pub(crate) settings: &'a SettingsArgs,
    /// What the file of `--env-vars-file` says.
    pub(crate) env_file: Option<&'a [(String, String)]>,
    /// Does even an unchanged template make a revision?
    pub(crate) revision: NewRevision,
    /// Picks what is to be unique.
    pub(crate) seed: u64,
}

/// What is to run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Program<'a> {
    /// The project that secrets without one are of, by the name that is used here.
    pub(crate) project: &'a str,
    /// The image, if it is to change.
    pub(crate) image: Option<&'a str>,
    /// The flags.
    pub(crate) container: &'a ContainerArgs,
    /// What the file of `--env-vars-file` says.
    pub(crate) env_file: Option<&'a [(String, String)]>,
}

/// When a new revision is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewRevision {
    /// In any case: `deploy`.
    Always,
    /// When the template changed: `services update`.
    IfChanged,
}

/// What to send.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// The service with the fields that changed, its name and its etag.
    pub(crate) service: Service,
    /// The paths of the fields that changed; empty when there is nothing to do.
    pub(crate) mask: Vec<&'static str>,
    /// Will there be a new revision?
    pub(crate) makes_revision: bool,
}

/// What to create when there is no such service.
pub(crate) fn creation(wish: &Wish<'_>) -> Result<Plan, CliError> {
    if wish.settings.no_traffic {
        return Err(CliError::usage("a new service cannot be without traffic")
            .with_hint("deploy it without --no-traffic first; nobody can call it until you allow that"));
    }
    let mut service = Service { template: Some(RevisionTemplate::default()), ..Service::default() };
    apply(&mut service, wish)?;
    // New services start faster for it, and Google's do so too.
    let boost = wish.settings.switches.boost().unwrap_or(true);
    container::resources(container::ingress(template(&mut service))).startup_cpu_boost = boost;
    new_revision(&mut service, wish);
    tag(&mut service, wish);
    service.sign();
    Ok(Plan { service, mask: Vec::new(), makes_revision: true })
}

/// What to change of the service that is there.
pub(crate) fn update(before: &Service, wish: &Wish<'_>) -> Result<Plan, CliError> {
    let mut after = before.clone();
    apply(&mut after, wish)?;
    let named = wish.settings.revision_suffix.is_some() || wish.settings.tag.is_some();
    let makes_revision = wish.revision == NewRevision::Always || named || after.template != before.template;
    if makes_revision {
        new_revision(&mut after, wish);
    }
    if wish.settings.no_traffic {
        let ready = before.latest_ready_revision.rsplit('/').next().unwrap_or_default();
        if ready.is_empty() {
            return Err(CliError::failed(format!("no revision of [{}] is ready to keep the traffic", wish.id)));
        }
        after.traffic = traffic::pin_latest(&before.traffic, ready);
    }
    tag(&mut after, wish);
    let (service, mask) = mask::changed(before, after);
    Ok(Plan { service, mask, makes_revision })
}

/// What to send so that `before` has this traffic table.
pub(crate) fn with_traffic(before: &Service, traffic: Vec<updraft_api::run::TrafficTarget>) -> Plan {
    let after = Service { traffic, ..before.clone() };
    let (service, mask) = mask::changed(before, after);
    Plan { service, mask, makes_revision: false }
}

fn apply(service: &mut Service, wish: &Wish<'_>) -> Result<(), CliError> {
    let settings = wish.settings;
    if let Some(description) = &settings.description {
        service.description.clone_from(description);
    }
    if let Some(ingress) = settings.ingress {
        service.set_ingress(match ingress {
            Ingress::All => IngressTraffic::All,
            Ingress::Internal => IngressTraffic::InternalOnly,
            Ingress::InternalAndCloudLoadBalancing => IngressTraffic::InternalLoadBalancer,
        });
    }
    if let Some(check) = settings.switches.invoker_check() {
        service.invoker_iam_disabled = !check;
    }
    labels(&mut service.labels, &settings.labels);
    service_scaling(service, &settings.scaling);
    let template = template(service);
    labels(&mut template.labels, &settings.labels);
    revision_settings(template, settings);
    container::apply(container::ingress(template), settings)?;
    let (project, image, env_file) = (wish.project, wish.image, wish.env_file);
    program(template, &Program { project, image, container: &settings.container, env_file })
}

fn program(template: &mut RevisionTemplate, program: &Program<'_>) -> Result<(), CliError> {
    let secrets = secrets::Changes::read(&program.container.secrets)?;
    // What goes makes room, also for a plain variable of the same name.
    secrets.take_away(template);
    container::program(container::ingress(template), program)?;
    secrets.put(template, program.project)
}

/// The same for a template that is not a revision's.
fn program_of(
    (containers, volumes): (&mut Vec<Container>, &mut Vec<Volume>),
    wanted: &Program<'_>,
) -> Result<(), CliError> {
    let mut template = RevisionTemplate {
        containers: mem::take(containers),
        volumes: mem::take(volumes),
        ..RevisionTemplate::default()
    };
    let done = program(&mut template, wanted);
    (*containers, *volumes) = (template.containers, template.volumes);
    done
}

fn revision_settings(template: &mut RevisionTemplate, settings: &SettingsArgs) {
    if let Some(concurrency) = settings.concurrency {
        template.max_instance_request_concurrency = concurrency.or_unset();
    }
    if let Some(timeout) = settings.timeout {
        template.timeout = Some(prost_types::Duration { seconds: timeout.0, nanos: 0 });
    }
    match settings.egress {
        None => {}
        // What it is without the annotation.
        Some(Egress::All) => drop(template.annotations.remove(EGRESS)),
        Some(Egress::Private) => drop(template.annotations.insert(EGRESS.to_owned(), "private".to_owned())),
        Some(Egress::None) => drop(template.annotations.insert(EGRESS.to_owned(), "none".to_owned())),
    }
    if let Some(account) = &settings.service_account {
        template.service_account.clone_from(account);
    }
    if let Some(min) = settings.scaling.min_instances {
        template.scaling.get_or_insert_default().min_instance_count = min.or_unset();
    }
    if let Some(max) = settings.scaling.max_instances {
        template.scaling.get_or_insert_default().max_instance_count = max.or_unset();
    }
}

fn service_scaling(service: &mut Service, scaling: &ScalingArgs) {
    if let Some(min) = scaling.min {
        service.scaling.get_or_insert_default().min_instance_count = min.or_unset();
    }
    if let Some(max) = scaling.max {
        service.scaling.get_or_insert_default().max_instance_count = max.or_unset();
    }
}

fn labels(labels: &mut HashMap<String, String>, args: &LabelArgs) {
    if args.clear_labels {
        labels.retain(|key, _| key == NONCE);
    }
    for key in args.remove_labels.iter().flat_map(|list| &list.0) {
        labels.remove(key);
    }
    labels.extend(Pairs::all(&args.update_labels).map(|(key, value)| (key.to_owned(), value.to_owned())));
}

/// Marks a template of which even an unchanged image is to be looked up again.
fn mark(labels: &mut HashMap<String, String>, seed: u64) {
    labels.insert(NONCE.to_owned(), nonce(seed));
}

/// Names the revision to come: as asked, by us when a tag must know it, else by the server.
fn new_revision(service: &mut Service, wish: &Wish<'_>) {
    let next = u64::try_from(service.generation).unwrap_or(0) + 1;
    let settings = wish.settings;
    let template = template(service);
    template.revision = match (&settings.revision_suffix, &settings.tag) {
        (Some(suffix), _) => format!("{}-{suffix}", wish.id),
        (None, Some(_)) => generated_revision_id(wish.id, next, wish.seed),
        (None, None) => String::new(),
    };
    if template.revision.is_empty() {
        mark(&mut template.labels, wish.seed);
    } else {
        template.labels.remove(NONCE);
    }
}

fn tag(service: &mut Service, wish: &Wish<'_>) {
    let Some(tag) = &wish.settings.tag else { return };
    let revision = template(service).revision.clone();
    let set = [(tag.clone(), Target::Revision(revision))].into();
    service.traffic = traffic::set_tags(&service.traffic, &TagChange { remove: Remove::default(), set });
}

fn template(service: &mut Service) -> &mut RevisionTemplate {
    service.template.get_or_insert_default()
}

/// Ten letters.
fn nonce(seed: u64) -> String {
    let mut rest = seed;
    let letter = |_| {
        let letter = char::from(b'a' + u8::try_from(rest % 26).unwrap_or(0));
        rest /= 26;
        letter
    };
    (0..10).map(letter).collect()
}
