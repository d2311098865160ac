//! Creating and updating a service.

use prost::Message;
use prost_types::FieldMask;
use updraft_api::{
    longrunning::Operation,
    mask, pack, run,
    v1::{self, Stored},
};
use updraft_model::{Error, ErrorKind, Parent, RevisionName, ServiceName, iam::Principal, name::check_service_id};
use updraft_store::{Change, Envelope, Key, Kind, Selection, StoreError};

use super::draft::{self, Intent, Revised};
use crate::{
    Control, Inner,
    access::{Permitted, Resource},
    audit,
    failure::{etag_mismatch, of_store},
    queue::Work,
    record::{self, OperationRecord, ServiceRecord},
    view,
};

/// How often a write is tried again because the reconciler wrote its report meanwhile.
const ATTEMPTS: usize = 16;

/// The most services, and the most of each of jobs, worker pools and domain mappings, of a project and location.
const SERVICES_MAX: usize = 1000;

/// What it takes to run an image of this machine in a project that is not the default one.
const READ_IMAGE: &str = "artifactregistry.repositories.downloadArtifacts";

/// What a client wrote.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// By v2: the service, and the paths of it that are meant; all when there are none.
    V2(&'a run::Service, &'a [String]),
    /// By v1: all of it.
    V1(&'a v1::Written),
}

/// What came of a write.
pub(crate) struct Done {
    /// The operation that it began.
    pub(crate) operation: Operation,
    /// The service as it is now, or would be.
    pub(crate) service: Stored<run::Service>,
}

/// The envelopes of one write.
struct Written {
    service: Envelope,
    revision: Option<Change>,
    operation: Envelope,
    made: Option<RevisionName>,
}

// === impl Control ===

impl Control {
    /// Creates a service.
    ///
    /// # Errors
    /// `InvalidArgument` with every broken rule, `AlreadyExists`, `PermissionDenied`, `ResourceExhausted` when
    /// the project has as many services as it may.
    pub async fn services_create(
        &self,
        caller: &Principal,
        request: run::CreateServiceRequest,
    ) -> Result<Operation, Error> {
        let inner = &*self.inner;
        let parent: Parent = request.parent.parse()?;
        let parent = inner.places.parent("parent", &parent)?;
        audit::makes(parent.service(&request.service_id));
        let permit = inner.permit(caller, "run.services.create", &Resource::Place(parent.clone())).await?;
        check_service_id("service_id", &request.service_id).map_err(|violation| Error::invalid(vec![violation]))?;
        let name = parent.service(&request.service_id);
        let Some(sent) = request.service else {
            return Err(Error::invalid_field("service", "must be set, got nothing"));
        };
        let done = inner.create(&permit, &name, Source::V2(&sent, &[]), Mode::of(request.validate_only)).await?;
        Ok(done.operation)
    }

    /// Updates a service, or creates it with `allow_missing`.
    ///
    /// # Errors
    /// As [`Control::services_create`]; `NotFound`; `Aborted` when the etag is not the current one;
    /// `FailedPrecondition` when traffic is sent to a revision that does not exist.
    pub async fn services_update(
        &self,
        caller: &Principal,
        request: run::UpdateServiceRequest,
    ) -> Result<Operation, Error> {
        let inner = &*self.inner;
        let Some(sent) = request.service else {
            return Err(Error::invalid_field("service", "must be set, got nothing"));
        };
        let name = inner.places.service(&sent.name)?;
        let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
        let mode = Mode::of(request.validate_only);
        let source = Source::V2(&sent, &paths);
        if request.allow_missing {
            let permit = inner.permit(caller, "run.services.update", &Resource::Service(name.clone())).await?;
            if permit.found().is_none() {
                // Whoever may update may not yet create.
                let place = Resource::Place(name.parent.clone());
                let permit = inner.permit(caller, "run.services.create", &place).await?;
                check_service_id("service.name", &name.service).map_err(|found| Error::invalid(vec![found]))?;
                return Ok(inner.create(&permit, &name, source, mode).await?.operation);
            }
        }
        Ok(inner.replace(caller, &name, source, mode).await?.operation)
    }
}

/// Is the write carried out, or only checked?
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mode {
    /// It is carried out.
    #[default]
    Write,
    /// It is only checked (`validateOnly`, `dryRun=all`).
    ValidateOnly,
}

// === impl Mode ===

impl Mode {
    pub(crate) fn of(validate_only: bool) -> Self {
        if validate_only { Self::ValidateOnly } else { Self::Write }
    }

    pub(crate) fn is_check(self) -> bool {
        self == Self::ValidateOnly
    }
}

// === impl Inner ===

impl Inner {
    /// Updates the service `name`, which must be there.
    pub(crate) async fn replace(
        &self,
        caller: &Principal,
        name: &ServiceName,
        source: Source<'_>,
        mode: Mode,
    ) -> Result<Done, Error> {
        for _ in 0..ATTEMPTS {
            let mut permit = self.permit(caller, "run.services.update", &Resource::Service(name.clone())).await?;
            let current = permit.take_found().ok_or_else(|| Error::not_found(&name.service))?;
            if let Some(done) = self.update(&permit, current, source, mode).await? {
                return Ok(done);
            }
        }
        Err(Error::new(ErrorKind::Aborted, format!("Resource '{}' is being changed; try again.", name.service)))
    }

    /// Creates the service `name`, which must not be there.
    pub(crate) async fn create(
        &self,
        permit: &Permitted,
        name: &ServiceName,
        source: Source<'_>,
        mode: Mode,
    ) -> Result<Done, Error> {
        audit::makes(name);
        let intent = source.intent(name, None)?;
        self.permit_intent(permit, &intent, None).await?;
        self.await_deletion(permit, name).await?;
        for _ in 0..ATTEMPTS {
            if self.service(permit, name).await?.is_some() {
                return Err(Error::new(
                    ErrorKind::AlreadyExists,
                    format!("Resource '{}' already exists.", name.service),
                ));
            }
            if let Some(done) = self.try_create(permit, &intent, mode).await? {
                return Ok(done);
            }
        }
        Err(Error::new(ErrorKind::Aborted, format!("Resource '{}' is being changed; try again.", name.service)))
    }

    /// Is there room for one more of services, jobs, worker pools or domain mappings? Two creations at the same moment may both find the
    /// last place.
    pub(crate) async fn check_room(&self, permit: &Permitted, parent: &Parent, kind: Kind) -> Result<(), Error> {
        let what = match kind {
            Kind::DomainMapping => "domain mappings",
            Kind::Job => "jobs",
            Kind::WorkerPool => "worker pools",
            _ => "services",
        };
        let selection = Selection::of(kind).under(parent.clone());
        if self.store.open(permit).count(&selection).await.map_err(of_store)? < SERVICES_MAX {
            return Ok(());
        }
        let message = format!("Quota exceeded: {parent} has {SERVICES_MAX} {what}, the most it may have.");
        Err(Error::new(ErrorKind::ResourceExhausted, message))
    }

    /// One attempt of a creation; `None` when somebody else wrote one of its keys meanwhile.
    async fn try_create(&self, permit: &Permitted, intent: &Intent, mode: Mode) -> Result<Option<Done>, Error> {
        let name = &intent.model.name;
        self.check_room(permit, &name.parent, Kind::Service).await?;
        let revised = intent.revised((self, permit), None).await?;
        self.permit_images(permit.caller(), intent, &revised).await?;
        intent.check_traffic((self, permit), &revised).await?;
        let now = self.clock.now();
        let key = Key::new(Kind::Service, name.parent.clone(), &name.service);
        let service = Envelope { generation: 0, ..record::envelope(key, "", now) };
        let record = ServiceRecord { creator: permit.caller().email(), ..ServiceRecord::default() };
        let written = self.written(permit.caller(), intent, (service, record), &revised)?;
        if mode == Mode::ValidateOnly {
            return self.validated(&written).map(Some);
        }
        let done = self.begun(&written)?;
        let mut changes: Vec<Change> = self.places.creation(&name.parent.project, now).into_iter().collect();
        changes.extend(written.changes());
        match self.store.open(permit).commit(changes).await {
            Ok(_) => {}
            // The first service of a project also creates the project: whoever loses that race has lost
            // nothing. Whether the service itself was created meanwhile, the next look shows.
            Err(StoreError::Conflict { key, .. }) => {
                if key.kind == Kind::Project {
                    self.places.created(&name.parent.project);
                }
                return Ok(None);
            }
            Err(error) => return Err(of_store(error)),
        }
        self.places.created(&name.parent.project);
        self.queue.wake(Work::Service(name.clone()));
        Ok(Some(done))
    }

    /// One attempt of an update; `None` when somebody else wrote meanwhile.
    async fn update(
        &self,
        permit: &Permitted,
        current: Envelope,
        source: Source<'_>,
        mode: Mode,
    ) -> Result<Option<Done>, Error> {
        let name = view::service_name(&current);
        if !source.is_about(&view::etag(&current)) {
            return Err(etag_mismatch(&name.service));
        }
        let before = view::intent(&current)?;
        let record: ServiceRecord = record::read(&current)?;
        let intent = source.intent(&name, Some(&before))?;
        self.permit_intent(permit, &intent, Some(&before.message)).await?;
        let revised = intent.revised((self, permit), Some((&before, &record))).await?;
        self.permit_images(permit.caller(), &intent, &revised).await?;
        intent.check_traffic((self, permit), &revised).await?;
        let written = self.written(permit.caller(), &intent, (current, record), &revised)?;
        if mode == Mode::ValidateOnly {
            return self.validated(&written).map(Some);
        }
        let done = self.begun(&written)?;
        match self.store.open(permit).commit(written.changes().collect()).await {
            Ok(_) => {}
            Err(StoreError::Conflict { .. }) => return Ok(None),
            Err(error) => return Err(of_store(error)),
        }
        self.queue.wake(Work::Service(name));
        Ok(Some(done))
    }

    /// What an intent needs beside the right to write it: to act as the account that the service runs as, whatever else is
    /// changed; and to set the policy for who switches the invoker check off.
    async fn permit_intent(
        &self,
        permit: &Permitted,
        intent: &Intent,
        before: Option<&run::Service>,
    ) -> Result<(), Error> {
        let caller = permit.caller();
        let (account, home) = (&intent.model.template.service_account, &intent.model.name.parent.project);
        self.permit_act_as(caller, account, home).await?;
        let is_open = |service: &run::Service| service.invoker_iam_disabled;
        if is_open(&intent.message) && !before.is_some_and(is_open) {
            let resource = Resource::Service(intent.model.name.clone());
            self.permit(caller, "run.services.setIamPolicy", &resource).await?;
        }
        Ok(())
    }

    /// The images of this machine are the default project's. Who makes a revision with one elsewhere has to be allowed to read
    /// it: what is in it could be had from a container of one's own. Within the default project who deploys may.
    async fn permit_images(&self, caller: &Principal, intent: &Intent, revised: &Revised) -> Result<(), Error> {
        if matches!(revised, Revised::Same) {
            return Ok(());
        }
        let images = intent.model.template.containers.iter().map(|container| container.image.as_str());
        self.permit_local_images(caller, &intent.model.name.parent.project, ("spec.template.spec", images)).await
    }

    /// The same of images in a template at `path` of an object.
    pub(crate) async fn permit_local_images(
        &self,
        caller: &Principal,
        project: &str,
        (path, images): (&str, impl Iterator<Item = &str>),
    ) -> Result<(), Error> {
        let owner = &self.config.default_project;
        if project == owner {
            return Ok(());
        }
        let Some((index, image)) = images.enumerate().find(|(_, image)| self.images.is_local_name(image)) else {
            return Ok(());
        };
        let permitted = self.permit(caller, READ_IMAGE, &Resource::Project(owner.to_string())).await;
        permitted.map(drop).map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => {
                let message = format!(
                    "{path}.containers[{index}].image: User must have permission to read the image, {}. Ensure \
                     that the provided container image URL is correct and that the above account has permission to access the \
                     image. Note that the image is from project [{owner}], which is not the same as this project [{project}]. \
                     Permission '{READ_IMAGE}' must be granted to the User from this project.",
                    image
                );
                Error::new(ErrorKind::PermissionDenied, message)
            }
            _ => error,
        })
    }

    /// What a write of `intent` over the service as it is would store.
    fn written(
        &self,
        caller: &Principal,
        intent: &Intent,
        (mut service, mut record): (Envelope, ServiceRecord),
        revised: &Revised,
    ) -> Result<Written, Error> {
        let (now, name) = (self.clock.now(), &intent.model.name);
        let before = view::intent(&service)?;
        let made = match revised {
            Revised::Same => None,
            Revised::New(name) => Some(name.clone()),
            Revised::Again(envelope) => Some(view::revision_name(envelope)),
        };
        // Only a change of intent counts as one; writing the same again wakes the reconciler, no more.
        // Messages are compared, not bytes: the entries of a map have no order on the wire.
        let is_same = before.message == intent.message && before.rest == intent.rest;
        if service.generation == 0 || !is_same || made.is_some() {
            service.spec = intent.message.encode_to_vec();
            service.v1_only = intent.rest.to_bytes();
            service.generation += 1;
            service.updated = now;
            record.last_modifier = caller.email();
        }
        if let Some(made) = &made {
            record.sequence += 1;
            record.latest_created.clone_from(&made.revision);
        }
        let revision = draft::revision_change(caller, intent, (revised, record.sequence), now)?;
        let id = uuid::Uuid::new_v4().to_string();
        let about = OperationRecord {
            resource: name.to_string(),
            revision: made.as_ref().map(|made| made.revision.clone()).unwrap_or_default(),
        };
        let mut operation = draft::operation(&id, name, &about, now);
        // What the operation ends with is a service as it was meant here, in v1 too.
        operation.v1_only.clone_from(&service.v1_only);
        record.operation.clone_from(&id);
        record.pending.push(id);
        service.internal = record::write(&record);
        Ok(Written { service, revision, operation, made })
    }

    /// The answer to a write that is under way.
    fn begun(&self, written: &Written) -> Result<Done, Error> {
        let name = view::operation_name(&written.operation.key.parent, &written.operation.key.name);
        let service = view::stored_service(&written.service, &self.config.url)?;
        Ok(Done { operation: view::pending_operation(name, Some(pack(&service.message))), service })
    }

    /// The answer to a write that was only checked: the resource as it would be. Nothing is stored, the
    /// operation neither.
    fn validated(&self, written: &Written) -> Result<Done, Error> {
        let name = view::operation_name(&written.operation.key.parent, &written.operation.key.name);
        let mut service = view::stored_service(&written.service, &self.config.url)?;
        service.operation.clear();
        if written.made.is_some() {
            // It was not created.
            service.message.latest_created_revision.clear();
        }
        Ok(Done { operation: view::succeeded(name, pack(&service.message)), service })
    }
}

// === impl Source ===

impl Source<'_> {
    /// Is it a change of the version with this etag, or of whichever there is?
    fn is_about(&self, etag: &str) -> bool {
        match self {
            Self::V2(sent, _) => sent.etag.is_empty() || sent.etag == etag,
            Self::V1(written) => {
                let version = written.version().trim_matches('"');
                version.is_empty() || version == etag.trim_matches('"')
            }
        }
    }

    /// What is meant, given what is there.
    fn intent(&self, name: &ServiceName, before: Option<&Stored<run::Service>>) -> Result<Intent, Error> {
        match (self, before) {
            (Self::V2(sent, _), None) => Intent::new(name, (*sent).clone()),
            (Self::V2(sent, paths), Some(before)) => {
                let intent = Intent::new(name, merged(&before.message, sent, paths)?)?;
                let rest = before.rest.beside(&intent.message);
                intent.keeping(rest)
            }
            (Self::V1(written), before) => {
                let intent = Intent::new(name, written.message(before))?;
                let rest = written.rest(&intent.message);
                intent.keeping(rest)
            }
        }
    }
}

/// What a client sent, put over what is there. Without a mask everything that can be changed is replaced.
fn merged(before: &run::Service, sent: &run::Service, paths: &[String]) -> Result<run::Service, Error> {
    if paths.is_empty() || paths == ["*"] {
        return Ok(sent.clone());
    }
    mask::apply(before, sent, &FieldMask { paths: paths.to_vec() })
}

// === impl Written ===

impl Written {
    fn changes(self) -> impl Iterator<Item = Change> {
        let puts = [self.service, self.operation].map(|envelope| Change::Put(Box::new(envelope)));
        puts.into_iter().chain(self.revision)
    }
}
