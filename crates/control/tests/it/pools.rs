//! Worker pools: from what is written to what the fleet is told.

use std::time::Duration;

use updraft_api::{
    iam,
    longrunning::Operation,
    run::{self, InstanceSplitAllocationType as Type},
};
use updraft_control::{Mode, Place, Wanted};
use updraft_model::{ErrorKind, channel::Check};

use crate::world::*;

const POOLS: &str = "projects/demo-project/locations/us-central1/workerPools";

fn pool(image_name: &str, count: i32) -> run::WorkerPool {
    let container = run::Container { image: image(image_name), ..Default::default() };
    run::WorkerPool {
        template: Some(run::WorkerPoolRevisionTemplate { containers: vec![container], ..Default::default() }),
        scaling: Some(run::WorkerPoolScaling { manual_instance_count: Some(count) }),
        ..Default::default()
    }
}

fn split(revision: &str, percent: i32) -> run::InstanceSplit {
    let r#type = if revision.is_empty() { Type::Latest } else { Type::Revision };
    run::InstanceSplit { r#type: r#type.into(), revision: revision.to_owned(), percent }
}

fn ready(pool: &run::WorkerPool) -> (i32, &str) {
    let condition = pool.terminal_condition.as_ref().expect("a condition");
    (condition.state, &condition.message)
}

const SUCCEEDED: i32 = run::condition::State::ConditionSucceeded as i32;
const FAILED: i32 = run::condition::State::ConditionFailed as i32;

// === impl World ===

impl World {
    async fn create_pool(&self, id: &str, pool: run::WorkerPool) -> Operation {
        let request = run::CreateWorkerPoolRequest {
            parent: PARENT.to_owned(),
            worker_pool_id: id.to_owned(),
            worker_pool: Some(pool),
            validate_only: false,
        };
        self.control.worker_pools_create(&ME, request).await.expect("is created")
    }

    async fn deploy_pool(&self, id: &str, pool: run::WorkerPool) -> run::WorkerPool {
        self.create_pool(id, pool).await;
        self.pass().await;
        self.pool(id).await
    }

    async fn pool(&self, id: &str) -> run::WorkerPool {
        let name = format!("{POOLS}/{id}");
        self.control.worker_pools_get(&ME, run::GetWorkerPoolRequest { name }).await.expect("exists")
    }

    async fn try_update_pool(&self, pool: run::WorkerPool, paths: &[&str]) -> Result<Operation, updraft_model::Error> {
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let update_mask = (!paths.is_empty()).then_some(prost_types::FieldMask { paths });
        let request = run::UpdateWorkerPoolRequest { worker_pool: Some(pool), update_mask, ..Default::default() };
        let done = self.control.worker_pools_update(&ME, request).await?;
        self.settle().await;
        Ok(done)
    }

    async fn update_pool(&self, pool: run::WorkerPool, paths: &[&str]) -> Operation {
        self.try_update_pool(pool, paths).await.expect("is updated")
    }

    async fn scale(&self, id: &str, count: i32) -> run::WorkerPool {
        let scaling = Some(run::WorkerPoolScaling { manual_instance_count: Some(count) });
        self.update_pool(run::WorkerPool { scaling, ..self.pool(id).await }, &["scaling"]).await;
        self.pool(id).await
    }

    /// What the fleet is told of a revision of a pool: least, most, and whether it is to be checked.
    fn workers(&self, revision: &str) -> Option<(u32, u32, Check)> {
        let name = revision.parse().expect("a revision");
        self.book_entry(&name).map(|entry| (entry.min, entry.max, entry.check))
    }

    async fn pool_revisions(&self, id: &str) -> Vec<run::Revision> {
        let request = run::ListRevisionsRequest { parent: format!("{POOLS}/{id}"), ..Default::default() };
        self.control.revisions_list(&ME, request).await.expect("lists").revisions
    }
}

#[tokio::test]
async fn a_pool_is_checked_and_then_has_as_many_instances_as_it_says_and_no_host() {
    let world = World::new().await;
    let operation = world.create_pool("consumer", pool("app", 3)).await;
    world.settle().await;
    let made = world.pool("consumer").await;
    assert!(made.reconciling && made.latest_ready_revision.is_empty(), "{made:?}");
    let revision = made.latest_created_revision.clone();
    assert!(revision.starts_with(&format!("{POOLS}/consumer/revisions/consumer-00001-")), "{revision}");
    assert_eq!(world.workers(&revision), Some((0, 1, Check::Wanted)), "one is enough to find out");
    world.pass().await;
    let done: run::WorkerPool = world.response_of(&operation).await;
    assert_eq!(done, world.pool("consumer").await);
    assert_eq!((ready(&done), done.reconciling, done.observed_generation), ((SUCCEEDED, ""), false, 1));
    assert_eq!(done.latest_ready_revision, revision);
    let status = run::InstanceSplitStatus { r#type: Type::Latest.into(), revision: id(&revision), percent: 100 };
    assert_eq!(done.instance_split_statuses, [status]);
    assert_eq!(world.workers(&revision), Some((3, 3, Check::Done)));
    assert_eq!(world.hosts(), Vec::<String>::new());
    let entry = world.book_entry(&revision.parse().expect("a name")).expect("it is in the book");
    let env: Vec<String> = entry.spec.ingress.env.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let named = |variable: &str| format!("{variable}={}", id(&revision));
    let revisions = ["CLOUD_RUN_WORKER_POOL_REVISION", "CLOUD_RUN_REVISION"].map(named);
    assert_eq!((env[0].as_str(), &env[1..]), ("CLOUD_RUN_WORKER_POOL=consumer", &revisions[..]));
    assert_eq!((entry.spec.port, entry.startup_probe.as_ref()), (0, None));
    assert_eq!((entry.targets.cpu, entry.targets.concurrency), (0, 0), "nothing but the count decides");
}

#[tokio::test]
async fn it_is_switched_off_and_on_again_without_a_new_revision() {
    let world = World::new().await;
    let revision = world.deploy_pool("consumer", pool("app", 2)).await.latest_ready_revision;
    let off = world.scale("consumer", 0).await;
    assert_eq!((world.workers(&revision), ready(&off).0), (Some((0, 0, Check::Done)), SUCCEEDED));
    let on = world.scale("consumer", 5).await;
    assert_eq!(world.workers(&revision), Some((5, 5, Check::Done)));
    assert_eq!((on.latest_created_revision, on.generation), (revision, 3));
}

#[tokio::test]
async fn one_that_is_created_switched_off_starts_nothing_and_is_ready() {
    let world = World::new().await;
    let operation = world.create_pool("consumer", pool("app", 0)).await;
    world.settle().await;
    let made: run::WorkerPool = world.response_of(&operation).await;
    assert_eq!(ready(&made).0, SUCCEEDED);
    assert_eq!(world.workers(&made.latest_ready_revision), Some((0, 0, Check::Done)));
}

#[tokio::test]
async fn the_old_workers_go_when_the_new_ones_are_up() {
    let world = World::new().await;
    let old = world.deploy_pool("consumer", pool("app", 2)).await.latest_ready_revision;
    world.tell_ready(&old, 2).await;
    world
        .update_pool(run::WorkerPool { template: pool("app2", 2).template, ..world.pool("consumer").await }, &[])
        .await;
    let new = world.pool("consumer").await.latest_created_revision;
    assert_eq!(world.workers(&old), Some((2, 2, Check::Done)), "nothing changes before the new one is ready");
    assert_eq!(world.workers(&new), Some((0, 1, Check::Wanted)));
    world.pass().await;
    assert_eq!(world.workers(&new), Some((2, 2, Check::Done)));
    assert_eq!(world.workers(&old), Some((2, 2, Check::Done)), "one of two is up, and none of these is to rest");
    world.tell_ready(&new, 2).await;
    assert_eq!(world.workers(&old), None);
    let now = world.pool("consumer").await;
    assert_eq!((now.latest_ready_revision, now.reconciling), (new, false));
}

#[tokio::test]
async fn old_workers_do_not_wait_for_new_ones_for_ever() {
    let world = World::new().await;
    let old = world.deploy_pool("consumer", pool("app", 3)).await.latest_ready_revision;
    world.tell_ready(&old, 3).await;
    world
        .update_pool(run::WorkerPool { template: pool("app2", 3).template, ..world.pool("consumer").await }, &[])
        .await;
    world.pass().await;
    world.advance(Duration::from_secs(29)).await;
    assert_eq!(world.workers(&old), Some((3, 3, Check::Done)));
    world.advance(Duration::from_secs(2)).await;
    assert_eq!(world.workers(&old), None);
}

#[tokio::test]
async fn a_share_that_shrinks_does_not_wait_for_new_workers_for_ever() {
    let world = World::new().await;
    let first = world.deploy_pool("consumer", pool("app", 4)).await.latest_ready_revision;
    let changed = run::WorkerPool {
        template: pool("app2", 4).template,
        instance_splits: vec![split(&id(&first), 50), split("", 50)],
        ..world.pool("consumer").await
    };
    world.update_pool(changed, &[]).await;
    world.pass().await;
    world.advance(Duration::from_secs(29)).await;
    assert_eq!(world.workers(&first), Some((4, 4, Check::Done)));
    world.advance(Duration::from_secs(2)).await;
    assert_eq!(world.workers(&first), Some((2, 2, Check::Done)));
}

#[tokio::test]
async fn a_failed_revision_leaves_the_old_workers_at_work() {
    let world = World::new().await;
    let old = world.deploy_pool("consumer", pool("app", 2)).await.latest_ready_revision;
    let changed = run::WorkerPool { template: pool("app2", 2).template, ..world.pool("consumer").await };
    let operation = world.update_pool(changed, &[]).await;
    world.fail().await;
    let now = world.pool("consumer").await;
    let new = id(&now.latest_created_revision);
    let (code, message) = world.error(&operation).await;
    assert!(code == 9 && message.starts_with(&format!("Revision '{new}' is not ready")), "{message}");
    assert!(ready(&now).0 == FAILED && ready(&now).1 == message, "{now:?}");
    assert_eq!((now.latest_ready_revision.as_str(), now.observed_generation), (old.as_str(), 1));
    assert_eq!(world.workers(&old), Some((2, 2, Check::Done)));
}

#[tokio::test]
async fn instances_are_divided_by_the_splits() {
    let world = World::new().await;
    let first = world.deploy_pool("consumer", pool("app", 4)).await.latest_ready_revision;
    let split_up = vec![split(&id(&first), 50), split("", 50)];
    let changed = run::WorkerPool {
        template: pool("app2", 4).template,
        instance_splits: split_up,
        ..world.pool("consumer").await
    };
    world.update_pool(changed, &[]).await;
    assert_eq!(world.workers(&first), Some((4, 4, Check::Done)), "all lines move together");
    world.pass().await;
    let second = world.pool("consumer").await.latest_ready_revision;
    assert_eq!(world.workers(&second), Some((2, 2, Check::Done)));
    assert_eq!(world.workers(&first), Some((4, 4, Check::Done)), "none goes before who takes its place is up");
    world.tell_ready(&second, 2).await;
    assert_eq!((world.workers(&first), world.workers(&second)), (Some((2, 2, Check::Done)), Some((2, 2, Check::Done))));
    world.scale("consumer", 5).await;
    let workers = [&first, &second].map(|name| world.workers(name).map_or(0, |(min, ..)| min));
    assert_eq!(workers.iter().sum::<u32>(), 5, "{workers:?}");
    let pinned = run::WorkerPool { instance_splits: vec![split(&first, 100)], ..world.pool("consumer").await };
    world.update_pool(pinned, &["instance_splits"]).await;
    let now = world.pool("consumer").await;
    assert_eq!(now.instance_splits, [split(&id(&first), 100)], "a full name means the same");
    world.tell_ready(&first, 5).await;
    assert_eq!((world.workers(&first), world.workers(&second)), (Some((5, 5, Check::Done)), None));
    let missing = run::WorkerPool { instance_splits: vec![split("consumer-none", 100)], ..now };
    let refused = world.try_update_pool(missing, &["instance_splits"]).await.expect_err("there is none");
    assert_eq!(refused.kind(), ErrorKind::FailedPrecondition);
    assert_eq!(refused.message(), "Revision 'consumer-none' of worker pool 'consumer' was not found.");
}

#[tokio::test]
async fn a_revision_is_made_when_the_template_changes_or_somebody_insists() {
    let world = World::new().await;
    let first = world.deploy_pool("consumer", pool("app", 1)).await;
    let same = world.pool("consumer").await;
    world.update_pool(same.clone(), &[]).await;
    assert_eq!(world.pool("consumer").await, first, "the same again is no change");
    let request = run::UpdateWorkerPoolRequest {
        worker_pool: Some(same),
        allow_missing: true,
        force_new_revision: true,
        ..Default::default()
    };
    world.control.worker_pools_update(&ME, request).await.expect("is updated");
    world.pass().await;
    let forced = world.pool("consumer").await;
    assert!(id(&forced.latest_ready_revision).starts_with("consumer-00002-"), "{}", forced.latest_ready_revision);
    assert_eq!((forced.template, forced.generation), (first.template, 2));
    assert_eq!(world.pool_revisions("consumer").await.len(), 2);
}

#[tokio::test]
async fn what_is_only_checked_is_not_stored() {
    let world = World::new().await;
    let request = run::CreateWorkerPoolRequest {
        parent: PARENT.to_owned(),
        worker_pool_id: "consumer".to_owned(),
        worker_pool: Some(pool("app", 2)),
        validate_only: true,
    };
    let checked = world.control.worker_pools_create(&ME, request).await.expect("is fine");
    assert!(checked.done);
    let name = format!("{POOLS}/consumer");
    let got = world.control.worker_pools_get(&ME, run::GetWorkerPoolRequest { name: name.clone() }).await;
    assert_eq!(got.expect_err("not stored").kind(), ErrorKind::NotFound);
    let worker_pool = Some(run::WorkerPool { name, ..pool("app", -1) });
    let request = run::UpdateWorkerPoolRequest { worker_pool, allow_missing: true, ..Default::default() };
    let refused = world.control.worker_pools_update(&ME, request).await.expect_err("fewer than none");
    assert_eq!(refused.violations()[0].field, "worker_pool.scaling.manual_instance_count");
}

#[tokio::test]
async fn deletion_leaves_nothing_and_a_service_of_the_same_name_alone() {
    let mut world = World::new().await;
    world.deploy("consumer").await;
    let pool = world.deploy_pool("consumer", pool("app", 2)).await;
    assert_eq!((world.revisions("consumer").await.len(), world.pool_revisions("consumer").await.len()), (1, 1));
    assert_eq!(world.book_len(), 2);
    let request =
        run::DeleteWorkerPoolRequest { name: pool.name.clone(), etag: pool.etag.clone(), ..Default::default() };
    let operation = world.control.worker_pools_delete(&ME, request).await.expect("is deleted");
    let got = world.control.worker_pools_get(&ME, run::GetWorkerPoolRequest { name: pool.name.clone() }).await;
    assert_eq!(got.expect_err("it is gone at once").kind(), ErrorKind::NotFound);
    world.settle().await;
    let gone: run::WorkerPool = world.response_of(&operation).await;
    assert!(gone.delete_time.is_some() && gone.name == pool.name);
    assert_eq!((world.book_len(), world.hosts().is_empty()), (1, false), "the service is as it was");
    assert_eq!(world.revisions("consumer").await.len(), 1);
    assert_eq!(world.pool_revisions("consumer").await.len(), 0);
    assert_eq!(world.deleted.try_recv().map(|name| name.to_string()), Ok(pool.name));
}

#[tokio::test]
async fn a_name_of_one_kind_is_none_of_another() {
    let world = World::new().await;
    world.deploy_pool("consumer", pool("app", 1)).await;
    let name = format!("{POOLS}/consumer");
    let refused = world.control.services_get(&ME, run::GetServiceRequest { name }).await.expect_err("no service");
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{refused}");
    let name = format!("{PARENT}/services/consumer");
    let refused = world.control.worker_pools_get(&ME, run::GetWorkerPoolRequest { name }).await.expect_err("no pool");
    assert!(refused.message().contains("workerPools/{workerPool}"), "{refused}");
}

#[tokio::test]
async fn a_revision_without_instances_can_be_deleted() {
    let world = World::new().await;
    let first = world.deploy_pool("consumer", pool("app", 1)).await.latest_ready_revision;
    let delete = async |name: &str| {
        let request = run::DeleteRevisionRequest { name: name.to_owned(), ..Default::default() };
        world.control.revisions_delete(&ME, request).await
    };
    let refused = delete(&first).await.expect_err("it is at work");
    assert!(refused.message().ends_with("it is the latest created revision of its worker pool."), "{refused}");
    world
        .update_pool(run::WorkerPool { template: pool("app2", 1).template, ..world.pool("consumer").await }, &[])
        .await;
    world.pass().await;
    delete(&first).await.expect("it has none");
    world.settle().await;
    assert_eq!(world.pool_revisions("consumer").await.len(), 1);
}

#[tokio::test]
async fn version_1_sees_the_same_pools_and_finds_their_revisions() {
    let world = World::new().await;
    world.deploy("web").await;
    let pool = world.deploy_pool("consumer", pool("app", 2)).await;
    let place = Place { project: "demo-project".to_owned(), location: None };
    let found = world.control.v1_worker_pools_list(&ME, &place, &Wanted::default()).await.expect("lists");
    assert_eq!(found.items.iter().map(|item| &item.message).collect::<Vec<_>>(), [&pool]);
    let selector =
        updraft_api::v1::selector::Selector::parse("run.googleapis.com/workerPool = consumer").expect("fine");
    let wanted = Wanted { selector, ..Wanted::default() };
    let revisions = world.control.v1_revisions_list(&ME, &place, &wanted).await.expect("lists").items;
    assert_eq!(revisions.iter().map(|item| &item.message.name).collect::<Vec<_>>(), [&pool.latest_ready_revision]);
    let gone = world.control.v1_worker_pools_delete(&ME, (&place, "consumer"), Mode::Write).await.expect("is deleted");
    assert_eq!(gone.message.uid, pool.uid);
}

#[tokio::test]
async fn a_policy_of_a_pool_is_its_own() {
    let world = World::new().await;
    let pool = world.deploy_pool("consumer", pool("app", 1)).await;
    let binding = iam::Binding {
        role: "roles/run.viewer".to_owned(),
        members: vec!["user:me@example.com".to_owned()],
        condition: None,
    };
    let policy = iam::Policy { bindings: vec![binding], ..Default::default() };
    let request = iam::SetIamPolicyRequest { resource: pool.name.clone(), policy: Some(policy), update_mask: None };
    world.control.worker_pools_set_iam_policy(&ME, request).await.expect("is set");
    // As v1 spells it.
    let resource = pool.name.replace("workerPools", "workerpools");
    let request = iam::GetIamPolicyRequest { resource, options: None };
    let kept = world.control.worker_pools_get_iam_policy(&ME, request).await.expect("is there");
    assert_eq!(kept.bindings[0].role, "roles/run.viewer");
}

#[tokio::test]
async fn after_a_restart_the_workers_are_wanted_again() {
    let world = World::new().await;
    let revision = world.deploy_pool("consumer", pool("app", 3)).await.latest_ready_revision;
    let world = world.restart().await;
    assert_eq!(world.workers(&revision), Some((3, 3, Check::Done)));
}
