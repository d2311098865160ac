//! What is deployed: services and worker pools. Both are a template of which revisions are made, and say which revisions
//! serve; use cases and reconcilers are the same for both, but for what stands here.

use std::{fmt, time::SystemTime};

use updraft_api::{
    Named,
    run::{self, InstanceSplitAllocationType, TrafficTargetAllocationType},
    v1::{self, Object},
    view,
};
use updraft_model::{
    Error, ServiceName, Violation,
    iam::Permission,
    name::Collection,
    pool::{self, WorkerPool},
    revision::RevisionTemplate,
    service::{self, Allocation, ScalingMode, Service, TrafficTarget},
};
use updraft_plan::{
    hosts::UrlConfig,
    rollout::{Assignment, Sizing},
};
use updraft_store::Envelope;

use crate::view as shown;

/// The permissions of a kind.
#[derive(Debug)]
pub(crate) struct Permissions {
    pub(crate) create: Permission,
    pub(crate) get: Permission,
    pub(crate) list: Permission,
    pub(crate) update: Permission,
    pub(crate) delete: Permission,
    pub(crate) get_policy: Permission,
    pub(crate) set_policy: Permission,
}

/// What is meant, as decisions see it, whatever it is.
pub(crate) struct Wish<'a> {
    pub(crate) name: &'a ServiceName,
    pub(crate) template: &'a RevisionTemplate,
    /// Which revisions serve.
    pub(crate) targets: Vec<TrafficTarget>,
    pub(crate) sizing: Sizing,
}

/// The message of something that is deployed.
pub(crate) trait Deployed: Object + Named + PartialEq + Send + Sync {
    /// As decisions see it.
    type Model: fmt::Debug + Send + Sync;

    /// Where it belongs.
    const COLLECTION: Collection;
    /// What requests call it, and what fields of it begin with.
    const FIELD: &'static str;
    /// What requests call its id.
    const ID: &'static str;
    /// What it needs to do something with it.
    const PERMISSIONS: Permissions;

    /// Its full name.
    fn full_name(&self) -> &str;

    /// The version that a client read.
    fn sent_etag(&self) -> &str;

    /// Without what only the server writes.
    #[must_use]
    fn without_outputs(self) -> Self;

    /// Its template, in the words of a revision's.
    fn template(&self) -> Option<run::RevisionTemplate>;

    /// What is wrong with the parts of it that the model does not name.
    fn check_unnamed(&self) -> Result<Vec<Violation>, Error>;

    /// As decisions see it.
    fn to_model(&self, name: &ServiceName) -> Result<Self::Model, Error>;

    /// Fills in what the client left open; says what is wrong then.
    fn complete(model: &mut Self::Model) -> Vec<Violation>;

    /// Writes the defaults of a model that is complete.
    fn write_defaults(&mut self, model: &Self::Model);

    /// What is meant.
    fn wish(model: &Self::Model) -> Wish<'_>;

    /// May anybody call it, whatever its policy says?
    fn is_open(&self) -> bool;

    /// As clients see what is stored.
    fn shown(envelope: &Envelope, urls: &UrlConfig) -> Result<Self, Error>;

    /// With the time of its deletion.
    #[must_use]
    fn deleted(self, now: SystemTime) -> Self;

    /// Says nothing of a latest revision.
    fn without_latest_created(&mut self);

    /// The id of its latest ready revision, by its last report.
    fn latest_ready(&self) -> &str;

    /// Which revisions serve, by its last report.
    fn current(&self) -> Vec<Assignment>;

    /// The labels of its object in v1.
    fn labels(&self) -> Vec<(String, String)>;
}

impl Deployed for run::Service {
    type Model = Service;

    const COLLECTION: Collection = Collection::Services;
    const FIELD: &'static str = "service";
    const ID: &'static str = "service_id";
    const PERMISSIONS: Permissions = Permissions {
        create: "run.services.create",
        get: "run.services.get",
        list: "run.services.list",
        update: "run.services.update",
        delete: "run.services.delete",
        get_policy: "run.services.getIamPolicy",
        set_policy: "run.services.setIamPolicy",
    };

    fn full_name(&self) -> &str {
        &self.name
    }

    fn sent_etag(&self) -> &str {
        &self.etag
    }

    fn without_outputs(self) -> Self {
        shown::without_outputs(self)
    }

    fn template(&self) -> Option<run::RevisionTemplate> {
        self.template.clone()
    }

    fn check_unnamed(&self) -> Result<Vec<Violation>, Error> {
        view::service::check_unnamed(self)
    }

    fn to_model(&self, name: &ServiceName) -> Result<Service, Error> {
        view::service::to_model(name, self)
    }

    fn complete(model: &mut Service) -> Vec<Violation> {
        service::defaults::apply(model);
        service::validation::check(model)
    }

    fn write_defaults(&mut self, model: &Service) {
        view::service::write_defaults(self, model);
    }

    fn wish(model: &Service) -> Wish<'_> {
        let sizing = Sizing::Requests(model.scaling);
        Wish { name: &model.name, template: &model.template, targets: model.traffic.clone(), sizing }
    }

    fn is_open(&self) -> bool {
        self.invoker_iam_disabled
    }

    fn shown(envelope: &Envelope, urls: &UrlConfig) -> Result<Self, Error> {
        shown::service(envelope, urls)
    }

    fn deleted(self, now: SystemTime) -> Self {
        let gone = Some(view::timestamp(now));
        Self { delete_time: gone, expire_time: gone, reconciling: false, ..self }
    }

    fn without_latest_created(&mut self) {
        self.latest_created_revision.clear();
    }

    fn latest_ready(&self) -> &str {
        last(&self.latest_ready_revision)
    }

    fn current(&self) -> Vec<Assignment> {
        let latest = i32::from(TrafficTargetAllocationType::Latest);
        let line = |line: &run::TrafficTargetStatus| {
            let tag = Some(line.tag.clone()).filter(|tag| !tag.is_empty());
            assignment(line.r#type == latest, &line.revision, (line.percent, tag))
        };
        self.traffic_statuses.iter().map(line).collect()
    }

    fn labels(&self) -> Vec<(String, String)> {
        v1::service_labels(self)
    }
}

impl Deployed for run::WorkerPool {
    type Model = WorkerPool;

    const COLLECTION: Collection = Collection::WorkerPools;
    const FIELD: &'static str = "worker_pool";
    const ID: &'static str = "worker_pool_id";
    const PERMISSIONS: Permissions = Permissions {
        create: "run.workerpools.create",
        get: "run.workerpools.get",
        list: "run.workerpools.list",
        update: "run.workerpools.update",
        delete: "run.workerpools.delete",
        get_policy: "run.workerpools.getIamPolicy",
        set_policy: "run.workerpools.setIamPolicy",
    };

    fn full_name(&self) -> &str {
        &self.name
    }

    fn sent_etag(&self) -> &str {
        &self.etag
    }

    fn without_outputs(self) -> Self {
        shown::worker_pool_without_outputs(self)
    }

    fn template(&self) -> Option<run::RevisionTemplate> {
        self.template.as_ref().map(view::pool::template_of)
    }

    fn check_unnamed(&self) -> Result<Vec<Violation>, Error> {
        view::pool::check_unnamed(self)
    }

    fn to_model(&self, name: &ServiceName) -> Result<WorkerPool, Error> {
        view::pool::to_model(name, self)
    }

    fn complete(model: &mut WorkerPool) -> Vec<Violation> {
        pool::defaults::apply(model);
        pool::validation::check(model)
    }

    fn write_defaults(&mut self, model: &WorkerPool) {
        view::pool::write_defaults(self, model);
    }

    fn wish(model: &WorkerPool) -> Wish<'_> {
        let sizing = Sizing::Count(model.instances());
        Wish { name: &model.name, template: &model.template, targets: model.targets(), sizing }
    }

    fn is_open(&self) -> bool {
        false
    }

    fn shown(envelope: &Envelope, _: &UrlConfig) -> Result<Self, Error> {
        shown::worker_pool(envelope)
    }

    fn deleted(self, now: SystemTime) -> Self {
        let gone = Some(view::timestamp(now));
        Self { delete_time: gone, expire_time: gone, reconciling: false, ..self }
    }

    fn without_latest_created(&mut self) {
        self.latest_created_revision.clear();
    }

    fn latest_ready(&self) -> &str {
        last(&self.latest_ready_revision)
    }

    fn current(&self) -> Vec<Assignment> {
        let latest = i32::from(InstanceSplitAllocationType::Latest);
        let line =
            |line: &run::InstanceSplitStatus| assignment(line.r#type == latest, &line.revision, (line.percent, None));
        self.instance_split_statuses.iter().map(line).collect()
    }

    fn labels(&self) -> Vec<(String, String)> {
        v1::worker_pool_labels(self)
    }
}

fn assignment(is_latest: bool, revision: &str, (percent, tag): (i32, Option<String>)) -> Assignment {
    let allocation = if is_latest { Allocation::Latest } else { Allocation::Revision(revision.to_owned()) };
    Assignment { target: TrafficTarget { allocation, percent, tag }, revision: revision.to_owned() }
}

/// The last part of a name.
fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or_default()
}

// === impl Wish ===

impl Wish<'_> {
    /// Does it say that there are to be no instances at all? Then nothing is started, not even for a check.
    pub(crate) fn is_switched_off(&self) -> bool {
        match self.sizing {
            Sizing::Requests(scaling) => scaling.mode == ScalingMode::Manual && scaling.manual_count == Some(0),
            Sizing::Count(count) => count == 0,
        }
    }

    /// The revisions that it names, by their ids.
    pub(crate) fn named_revisions(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().filter_map(|target| match &target.allocation {
            Allocation::Latest => None,
            Allocation::Revision(id) => Some(id.as_str()),
        })
    }
}
