//! A worker pool as text, as gcloud writes it.

use updraft_api::run::{Revision, WorkerPool};

use crate::{
    describe::{Page, Purpose, instance_split, revision_with},
    output::{id, readiness, region, time},
    settings,
};

/// A worker pool.
pub(super) fn pool(pool: &WorkerPool) -> String {
    let mut page = Page::default();
    let (mark, message) = readiness(pool.terminal_condition.as_ref());
    page.line(0, &format!("{mark} WorkerPool {} in region {}", id(&pool.name), region(&pool.name)));
    page.labels(&pool.labels);
    page.blank();
    page.push(&split(pool));
    page.blank();
    // One when nothing is said (`WorkerPoolScaling`).
    let instances = pool.scaling.as_ref().and_then(|scaling| scaling.manual_instance_count).unwrap_or(1);
    let scaling = format!("Manual (Instances: {instances})");
    page.fields(0, &[("Scaling", scaling), ("Description", pool.description.clone())]);
    page.blank();
    let since = pool.terminal_condition.as_ref().and_then(|condition| condition.last_transition_time.as_ref());
    page.line(0, &format!("Last updated on {} by {}:", time(since), pool.last_modifier));
    page.line(2, &format!("Revision {}", id(&pool.latest_created_revision)));
    if let Some(template) = &pool.template {
        page.containers(2, Purpose::Work, (&template.containers, &template.volumes));
        page.fields(2, &[("Service account", template.service_account.clone())]);
    }
    page.problem(mark, message);
    page.0
}

/// A revision of one.
pub(super) fn revision(revision: &Revision) -> String {
    revision_with(revision, |page| {
        page.containers(0, Purpose::Work, (&revision.containers, &revision.volumes));
        page.fields(0, &[("Service account", revision.service_account.clone())]);
    })
}

/// Which revisions have which share of its instances.
pub(super) fn split(pool: &WorkerPool) -> String {
    let mut page = Page::default();
    instance_split(&mut page, &settings::targets(&pool.instance_splits), id(&pool.latest_ready_revision));
    page.0
}
