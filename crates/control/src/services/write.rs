//! Creating and updating a service or a worker pool.

use prost_types::FieldMask;
use updraft_api::{
    longrunning::Operation,
    mask, pack, run,
    v1::{Stored, WrittenAs},
};
use updraft_model::{Error, ErrorKind, Parent, RevisionName, ServiceName, iam::Principal, name::check_service_id};
use updraft_store::{Change, Envelope, Key, Kind, Selection};

use super::draft::{self, Intent, Renewal, Revised};
use crate::{
    Control, Inner,
    access::{Permitted, Resource},
    audit,
    deployed::Deployed,
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
pub(crate) enum Source<'a, M: Deployed> {
    /// By v2: the message, the paths of it that are meant (all when there are none), and when it makes a revision.
    V2(&'a M, &'a [String], Renewal),
    /// By v1: all of it.
    V1(&'a WrittenAs<M>),
}

/// What came of a write.
pub(crate) struct Done<M> {
    /// The operation that it began.
    pub(crate) operation: Operation,
    /// The service or worker pool as it is now, or would be.
    pub(crate) resource: Stored<M>,
}

/// The envelopes of one write.
struct Written {
    resource: Envelope,
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
        let (service, mode) = (request.service, Mode::of(request.validate_only));
        self.inner.create_at(caller, (&request.parent, &request.service_id), service, mode).await
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
        let paths = request.update_mask.map(|mask| mask.paths).unwrap_or_default();
        let update = Update {
            sent: request.service,
            paths,
            missing: Missing::of(request.allow_missing),
            renewal: Renewal::default(),
        };
        self.inner.update_sent(caller, update, Mode::of(request.validate_only)).await
    }
}

/// A change by v2.
pub(crate) struct Update<M> {
    /// What was sent.
    pub(crate) sent: Option<M>,
    /// The paths of it that are meant; all when there are none.
    pub(crate) paths: Vec<String>,
    /// What becomes of one that is about nothing.
    pub(crate) missing: Missing,
    /// When it makes a revision.
    pub(crate) renewal: Renewal,
}

/// What becomes of a change of what is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// It is refused.
    Refuse,
    /// It creates it (`allow_missing`).
    Create,
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

// === impl Missing ===

impl Missing {
    pub(crate) fn of(allow_missing: bool) -> Self {
        if allow_missing { Self::Create } else { Self::Refuse }
    }
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
    /// Creates what a client of v2 sent, with this id.
    pub(crate) async fn create_at<M: Deployed>(
        &self,
        caller: &Principal,
        (parent, id): (&str, &str),
        sent: Option<M>,
        mode: Mode,
    ) -> Result<Operation, Error> {
        let parent: Parent = parent.parse()?;
        let parent = self.places.parent("parent", &parent)?;
        let name = parent.resource(M::COLLECTION, id);
        audit::makes(&name);
        let permit = self.permit(caller, M::PERMISSIONS.create, &Resource::Place(parent)).await?;
        check_service_id(M::ID, id).map_err(|violation| Error::invalid(vec![violation]))?;
        let sent = sent.ok_or_else(|| Error::invalid_field(M::FIELD, "must be set, got nothing"))?;
        Ok(self.create(&permit, &name, &Source::V2(&sent, &[], Renewal::default()), mode).await?.operation)
    }

    /// Updates what a client of v2 sent, or creates it.
    pub(crate) async fn update_sent<M: Deployed>(
        &self,
        caller: &Principal,
        update: Update<M>,
        mode: Mode,
    ) -> Result<Operation, Error> {
        let sent = update.sent.ok_or_else(|| Error::invalid_field(M::FIELD, "must be set, got nothing"))?;
        let name = self.places.resource(M::COLLECTION, sent.full_name())?;
        let source = Source::V2(&sent, &update.paths, update.renewal);
        if update.missing == Missing::Create {
            let permit = self.permit(caller, M::PERMISSIONS.update, &Resource::Service(name.clone())).await?;
            if permit.found().is_none() {
                // Whoever may update may not yet create.
                let place = Resource::Place(name.parent.clone());
                let permit = self.permit(caller, M::PERMISSIONS.create, &place).await?;
                let field = format!("{}.name", M::FIELD);
                check_service_id(&field, &name.service).map_err(|found| Error::invalid(vec![found]))?;
                return Ok(self.create(&permit, &name, &source, mode).await?.operation);
            }
        }
        Ok(self.replace(caller, &name, &source, mode).await?.operation)
    }

    /// Updates the service or worker pool `name`, which must be there.
    pub(crate) async fn replace<M: Deployed>(
        &self,
        caller: &Principal,
        name: &ServiceName,
        source: &Source<'_, M>,
        mode: Mode,
    ) -> Result<Done<M>, Error> {
        for _ in 0..ATTEMPTS {
            let mut permit = self.permit(caller, M::PERMISSIONS.update, &Resource::Service(name.clone())).await?;
            let current = permit.take_found().ok_or_else(|| Error::not_found(&name.service))?;
            if let Some(done) = self.update(&permit, current, source, mode).await? {
                return Ok(done);
            }
        }
        Err(Error::new(ErrorKind::Aborted, format!("Resource '{}' is being changed; try again.", name.service)))
    }

    /// Creates the service or worker pool `name`, which must not be there.
    pub(crate) async fn create<M: Deployed>(
        &self,
        permit: &Permitted,
        name: &ServiceName,
        source: &Source<'_, M>,
        mode: Mode,
    ) -> Result<Done<M>, Error> {
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

    /// Is there room for one more of this kind? Two creations at the same moment may both find the
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
    async fn try_create<M: Deployed>(
        &self,
        permit: &Permitted,
        intent: &Intent<M>,
        mode: Mode,
    ) -> Result<Option<Done<M>>, Error> {
        let name = intent.wish().name;
        self.check_room(permit, &name.parent, Kind::of(M::COLLECTION)).await?;
        let revised = intent.revised((self, permit), None).await?;
        self.permit_images(permit.caller(), intent, &revised).await?;
        intent.check_traffic((self, permit), &revised).await?;
        let now = self.clock.now();
        let resource = Envelope { generation: 0, ..record::envelope(Key::of(name), "", now) };
        let record = ServiceRecord { creator: permit.caller().email(), ..ServiceRecord::default() };
        let written = self.written(permit.caller(), intent, (resource, record), &revised)?;
        if mode == Mode::ValidateOnly {
            return self.validated(&written).map(Some);
        }
        let done = self.begun(&written)?;
        let mut changes: Vec<Change> = self.places.creation(&name.parent.project, now).into_iter().collect();
        changes.extend(written.changes());
        if self.committed(permit, changes).await?.is_none() {
            // Whether it itself was created meanwhile, the next look shows.
            return Ok(None);
        }
        self.queue.wake(Work::Service(name.clone()));
        Ok(Some(done))
    }

    /// One attempt of an update; `None` when somebody else wrote meanwhile.
    async fn update<M: Deployed>(
        &self,
        permit: &Permitted,
        current: Envelope,
        source: &Source<'_, M>,
        mode: Mode,
    ) -> Result<Option<Done<M>>, Error> {
        let name = current.key.parent.resource(M::COLLECTION, &current.key.name);
        if !source.is_about(&view::etag(&current)) {
            return Err(etag_mismatch(&name.service));
        }
        let before: Stored<M> = view::intent(&current)?;
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
        if self.committed(permit, written.changes().collect()).await?.is_none() {
            return Ok(None);
        }
        self.queue.wake(Work::Service(name));
        Ok(Some(done))
    }

    /// What an intent needs beside the right to write it: to act as the account that it runs as, whatever else is
    /// changed; and to set the policy for who switches the invoker check off.
    async fn permit_intent<M: Deployed>(
        &self,
        permit: &Permitted,
        intent: &Intent<M>,
        before: Option<&M>,
    ) -> Result<(), Error> {
        let caller = permit.caller();
        let wish = intent.wish();
        self.permit_act_as(caller, &wish.template.service_account, &wish.name.parent.project).await?;
        if intent.message.is_open() && !before.is_some_and(M::is_open) {
            let resource = Resource::Service(wish.name.clone());
            self.permit(caller, M::PERMISSIONS.set_policy, &resource).await?;
        }
        Ok(())
    }

    /// The images of this machine are the default project's. Who makes a revision with one elsewhere has to be allowed to read
    /// it: what is in it could be had from a container of one's own. Within the default project who deploys may.
    async fn permit_images<M: Deployed>(
        &self,
        caller: &Principal,
        intent: &Intent<M>,
        revised: &Revised,
    ) -> Result<(), Error> {
        if matches!(revised, Revised::Same) {
            return Ok(());
        }
        let wish = intent.wish();
        let images = wish.template.containers.iter().map(|container| container.image.as_str());
        self.permit_local_images(caller, &wish.name.parent.project, ("spec.template.spec", images)).await
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

    /// What a write of `intent` over what is there would store.
    fn written<M: Deployed>(
        &self,
        caller: &Principal,
        intent: &Intent<M>,
        (mut resource, mut record): (Envelope, ServiceRecord),
        revised: &Revised,
    ) -> Result<Written, Error> {
        let (now, name) = (self.clock.now(), intent.wish().name);
        let before: Stored<M> = view::intent(&resource)?;
        let made = match revised {
            Revised::Same => None,
            Revised::New(name) => Some(name.clone()),
            Revised::Again(envelope) => Some(view::revision_name(envelope)),
        };
        // Only a change of intent counts as one; writing the same again wakes the reconciler, no more.
        // Messages are compared, not bytes: the entries of a map have no order on the wire.
        let is_same = before.message == intent.message && before.rest == intent.rest;
        if resource.generation == 0 || !is_same || made.is_some() {
            resource.spec = intent.message.encode_to_vec();
            resource.v1_only = intent.rest.to_bytes();
            resource.generation += 1;
            resource.updated = now;
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
        // What the operation ends with is the resource as it was meant here, in v1 too.
        operation.v1_only.clone_from(&resource.v1_only);
        record.operation.clone_from(&id);
        record.pending.push(id);
        resource.internal = record::write(&record);
        Ok(Written { resource, revision, operation, made })
    }

    /// The answer to a write that is under way.
    fn begun<M: Deployed>(&self, written: &Written) -> Result<Done<M>, Error> {
        let name = view::operation_name(&written.operation.key.parent, &written.operation.key.name);
        let resource: Stored<M> = view::stored(&written.resource, &self.config.url)?;
        Ok(Done { operation: view::pending_operation(name, Some(pack(&resource.message))), resource })
    }

    /// The answer to a write that was only checked: the resource as it would be. Nothing is stored, the
    /// operation neither.
    fn validated<M: Deployed>(&self, written: &Written) -> Result<Done<M>, Error> {
        let name = view::operation_name(&written.operation.key.parent, &written.operation.key.name);
        let mut resource: Stored<M> = view::stored(&written.resource, &self.config.url)?;
        resource.operation.clear();
        if written.made.is_some() {
            // It was not created.
            resource.message.without_latest_created();
        }
        Ok(Done { operation: view::succeeded(name, pack(&resource.message)), resource })
    }
}

// === impl Source ===

impl<M: Deployed> Source<'_, M> {
    /// Is it a change of the version with this etag, or of whichever there is?
    fn is_about(&self, etag: &str) -> bool {
        match self {
            Self::V2(sent, ..) => sent.sent_etag().is_empty() || sent.sent_etag() == etag,
            Self::V1(written) => {
                let version = written.version().trim_matches('"');
                version.is_empty() || version == etag.trim_matches('"')
            }
        }
    }

    /// What is meant, given what is there.
    fn intent(&self, name: &ServiceName, before: Option<&Stored<M>>) -> Result<Intent<M>, Error> {
        match (self, before) {
            (Self::V2(sent, ..), None) => Intent::new(name, (*sent).clone()),
            (Self::V2(sent, paths, renewal), Some(before)) => {
                let intent = Intent::new(name, merged(&before.message, sent, paths)?)?.renewing(*renewal);
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
fn merged<M: Deployed>(before: &M, sent: &M, paths: &[String]) -> Result<M, Error> {
    if paths.is_empty() || paths == ["*"] {
        return Ok(sent.clone());
    }
    mask::apply(before, sent, &FieldMask { paths: paths.to_vec() })
}

// === impl Written ===

impl Written {
    fn changes(self) -> impl Iterator<Item = Change> {
        let puts = [self.resource, self.operation].map(|envelope| Change::Put(Box::new(envelope)));
        puts.into_iter().chain(self.revision)
    }
}
