//! From flags to a worker pool.

use updraft_api::run::{
    InstanceSplit, InstanceSplitAllocationType as Split, TrafficTarget, TrafficTargetAllocationType as Traffic,
    WorkerPool, WorkerPoolRevisionTemplate,
};

use super::{
    NewRevision, Program, labels,
    mask::{self, Masked},
    program_of,
};
use crate::{args::PoolSettingsArgs, error::CliError, output::id, traffic};

/// What was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PoolWish<'a> {
    /// The worker pool's id.
    pub(crate) id: &'a str,
    /// What is to run.
    pub(crate) program: Program<'a>,
    /// The flags.
    pub(crate) settings: &'a PoolSettingsArgs,
    /// Does even an unchanged template make a revision?
    pub(crate) revision: NewRevision,
}

/// What to send.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PoolPlan {
    /// The worker pool with the fields that changed, its name and its etag.
    pub(crate) pool: WorkerPool,
    /// The paths of the fields that changed; empty for a new one, and when there is nothing to do.
    pub(crate) mask: Vec<&'static str>,
    /// Is a revision to be made, whether the template changed or not?
    pub(crate) revision: NewRevision,
}

/// What to create, or to change of the worker pool that is there.
pub(crate) fn pool(before: Option<&WorkerPool>, wish: &PoolWish<'_>) -> Result<PoolPlan, CliError> {
    let settings = wish.settings;
    let mut after = before.cloned().unwrap_or_default();
    apply(&mut after, wish)?;
    let Some(before) = before else {
        if settings.no_promote {
            return Err(CliError::usage("a new worker pool has no other revision that its instances could be of")
                .with_hint("deploy it without --no-promote first"));
        }
        after.sign();
        return Ok(PoolPlan { pool: after, mask: Vec::new(), revision: NewRevision::IfChanged });
    };
    if settings.no_promote {
        let ready = id(&before.latest_ready_revision);
        if ready.is_empty() {
            return Err(CliError::failed(format!("no revision of [{}] is ready to keep the instances", wish.id)));
        }
        after.instance_splits = splits(&traffic::pin_latest(&targets(&before.instance_splits), ready));
    }
    let template = after.template.get_or_insert_default();
    // Whose name it has is made already; one that was not asked for is the server's to give.
    template.revision = settings.revision_suffix.as_ref().map(|end| format!("{}-{end}", wish.id)).unwrap_or_default();
    let revision = wish.revision;
    if revision == NewRevision::IfChanged && settings.revision_suffix.is_none() && is_same(before, &after) {
        after.template.clone_from(&before.template);
    }
    let (mut pool, mut mask) = mask::changed(before, after.clone());
    if revision == NewRevision::Always && !mask.contains(&"template") {
        // There has to be something to make a revision of.
        pool.template = after.template;
        mask.push("template");
    }
    Ok(PoolPlan { pool, mask, revision })
}

/// Are the templates the same, but for the name of a revision?
fn is_same(before: &WorkerPool, after: &WorkerPool) -> bool {
    let unnamed = |pool: &WorkerPool| {
        let template = pool.template.clone().unwrap_or_default();
        WorkerPoolRevisionTemplate { revision: String::new(), ..template }
    };
    unnamed(before) == unnamed(after)
}

/// What to send so that `before` has these shares.
pub(crate) fn with_splits(before: &WorkerPool, shares: &[TrafficTarget]) -> PoolPlan {
    let after = WorkerPool { instance_splits: splits(shares), ..before.clone() };
    let (pool, mask) = mask::changed(before, after);
    PoolPlan { pool, mask, revision: NewRevision::IfChanged }
}

fn apply(pool: &mut WorkerPool, wish: &PoolWish<'_>) -> Result<(), CliError> {
    let settings = wish.settings;
    if let Some(description) = &settings.description {
        pool.description.clone_from(description);
    }
    if let Some(instances) = settings.instances {
        pool.scaling.get_or_insert_default().manual_instance_count = Some(instances);
    }
    labels(&mut pool.labels, &settings.labels);
    let template = pool.template.get_or_insert_default();
    labels(&mut template.labels, &settings.labels);
    if let Some(end) = &settings.revision_suffix {
        template.revision = format!("{}-{end}", wish.id);
    }
    if let Some(account) = &settings.service_account {
        template.service_account.clone_from(account);
    }
    program_of((&mut template.containers, &mut template.volumes), &wish.program)
}

/// The split as a traffic table, of which it is one without tags.
pub(crate) fn targets(splits: &[InstanceSplit]) -> Vec<TrafficTarget> {
    let target = |split: &InstanceSplit| TrafficTarget {
        r#type: match split.r#type() {
            Split::Revision => Traffic::Revision,
            Split::Latest | Split::Unspecified => Traffic::Latest,
        }
        .into(),
        revision: split.revision.clone(),
        percent: split.percent,
        tag: String::new(),
    };
    splits.iter().map(target).collect()
}

fn splits(targets: &[TrafficTarget]) -> Vec<InstanceSplit> {
    let split = |target: &TrafficTarget| InstanceSplit {
        r#type: match target.r#type() {
            Traffic::Revision => Split::Revision,
            Traffic::Latest | Traffic::Unspecified => Split::Latest,
        }
        .into(),
        revision: target.revision.clone(),
        percent: target.percent,
    };
    targets.iter().map(split).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;
    use crate::client::{decode, encode};

    #[derive(Debug, Parser)]
    struct Flags {
        #[arg(long)]
        image: Option<String>,
        #[command(flatten)]
        settings: PoolSettingsArgs,
    }

    /// What is sent, without who sends it, and the mask.
    fn planned(before: Option<&Value>, line: &str, revision: NewRevision) -> Result<(Value, String), String> {
        let words = std::iter::once("x").chain(line.split_whitespace());
        let flags = Flags::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        let container = &flags.settings.container;
        let program = Program { project: "demo-project", image: flags.image.as_deref(), container, env_file: None };
        let wish = PoolWish { id: "wp", program, settings: &flags.settings, revision };
        let before: Option<WorkerPool> = before.map(|before| decode(before).unwrap());
        let plan = pool(before.as_ref(), &wish).map_err(|error| error.to_string())?;
        let mut sent = encode(&plan.pool).unwrap();
        sent.as_object_mut().unwrap().retain(|field, _| !field.starts_with("client"));
        Ok((sent, plan.mask.join(",")))
    }

    fn before() -> Value {
        let revision = "projects/demo-project/locations/us-central1/workerPools/wp/revisions/wp-00002-abc";
        json!({
            "name": "projects/demo-project/locations/us-central1/workerPools/wp", "etag": "\"e2\"",
            "client": "gcloud", "latestReadyRevision": revision, "latestCreatedRevision": revision,
            "scaling": {"manualInstanceCount": 2},
            "template": {"revision": "wp-00002-abc", "containers": [{"image": "worker"}]},
            "instanceSplits": [{"type": "INSTANCE_SPLIT_ALLOCATION_TYPE_LATEST", "percent": 100}],
        })
    }

    #[test]
    fn a_new_worker_pool_says_only_what_was_asked_for() {
        let line = "--image i --instances 2 --set-env-vars A=1 --cpu 1 --memory 512Mi --revision-suffix one";
        let (sent, mask) = planned(None, line, NewRevision::Always).unwrap();
        let container = json!({
            "image": "i", "env": [{"name": "A", "value": "1"}], "resources": {"limits": {"cpu": "1", "memory": "512Mi"}},
        });
        let template = json!({"revision": "wp-one", "containers": [container]});
        assert_eq!(sent, json!({"scaling": {"manualInstanceCount": 2}, "template": template}));
        assert_eq!(mask, "");
    }

    #[test]
    fn no_instances_at_all_can_be_said() {
        let (sent, mask) = planned(Some(&before()), "--instances 0", NewRevision::IfChanged).unwrap();
        assert_eq!(sent["scaling"], json!({"manualInstanceCount": 0}));
        assert_eq!(mask, "scaling,client,clientVersion");
        assert_eq!(sent.get("template"), None, "the number of instances makes no revision");
    }

    #[test]
    fn a_deploy_makes_a_revision_even_of_an_unchanged_template_and_an_update_does_not() {
        let (sent, mask) = planned(Some(&before()), "--image worker", NewRevision::Always).unwrap();
        assert_eq!(
            (&sent["template"], mask.contains("template")),
            (&json!({"containers": [{"image": "worker"}]}), true)
        );
        let (_, mask) = planned(Some(&before()), "--image worker", NewRevision::IfChanged).unwrap();
        assert_eq!(mask, "");
        let (sent, mask) = planned(Some(&before()), "--image other", NewRevision::IfChanged).unwrap();
        assert_eq!(
            (&sent["template"], &*mask),
            (&json!({"containers": [{"image": "other"}]}), "template,client,clientVersion")
        );
    }

    #[test]
    fn without_promotion_the_revision_that_is_ready_keeps_the_instances() {
        let (sent, _) = planned(Some(&before()), "--image i --no-promote", NewRevision::Always).unwrap();
        let kept =
            json!([{"type": "INSTANCE_SPLIT_ALLOCATION_TYPE_REVISION", "revision": "wp-00002-abc", "percent": 100}]);
        assert_eq!(sent["instanceSplits"], kept);
        let refused = planned(None, "--image i --no-promote", NewRevision::Always).unwrap_err();
        assert!(refused.contains("hint: deploy it without --no-promote first"), "{refused}");
    }
}
