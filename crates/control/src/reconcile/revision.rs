//! The reconciler of revisions: from a tag to something that can serve, or the reason why not.

use std::sync::{Arc, PoisonError};

use prost::Message;
use updraft_api::{
    pack, run,
    view::{condition, revision as revision_view, service as service_view},
};
use updraft_model::{
    Condition, Error, ErrorKind, Reason, RevisionName,
    channel::{BookEntry, Check, CheckOutcome},
    instance::{InstanceSpec, Secrets},
    revision::{
        RevisionTemplate,
        lifecycle::{self, Activity, Failure, Phase},
    },
    service::{Scaling, ScalingMode},
};
use updraft_plan::{
    diagnosis::{self, Evidence, Happened},
    readiness::{self, Step},
};
use updraft_store::{Change, Envelope, Key, Kind};

use super::{PLATFORM, Passed, instance, operation::End, values};
use crate::{
    Inner,
    failure::of_store,
    pull::Fault,
    queue::Work,
    record::{self, RevisionRecord},
    view,
};

/// How often what may be a passing fault is tried before the revision fails.
const ATTEMPTS: u32 = 6;

/// Everything a pass looks at.
struct Observed {
    name: RevisionName,
    envelope: Envelope,
    record: RevisionRecord,
    template: RevisionTemplate,
    facts: readiness::Observed,
}

/// What came of a step.
enum Went {
    /// It is done: look anew.
    On,
    /// It is done, and nothing of it is stored: what was read of the store is as good as new.
    Published(Box<Observed>),
    /// A pull is under way, whose end wakes the revision.
    Pulling,
}

/// One pass over a revision: step by step, looking anew after each.
pub(super) async fn pass(inner: &Arc<Inner>, name: &RevisionName) -> Result<Passed, Error> {
    let mut known = None;
    loop {
        let observed = match known.take() {
            Some(observed) => Some(observed),
            None => observe(inner, name).await?,
        };
        let Some(observed) = observed else {
            inner.forget(name);
            inner.board.publish();
            return Ok(Passed::Done);
        };
        if let Some(operation) = observed.record.deleting.clone() {
            delete(inner, &observed, &operation).await?;
            return Ok(Passed::Done);
        }
        match plan(&observed) {
            Step::Rest => {
                inner.pulls.forget(name);
                report(inner, observed).await?;
                return Ok(Passed::Done);
            }
            step => match apply(inner, observed, step).await? {
                Went::Pulling => return Ok(Passed::Pulling),
                Went::Published(observed) => known = Some(inner.with_news(*observed)),
                Went::On => {}
            },
        }
    }
}

async fn observe(inner: &Inner, name: &RevisionName) -> Result<Option<Observed>, Error> {
    let Some(envelope) = inner.get_revision(&PLATFORM, name).await? else { return Ok(None) };
    let message: run::Revision = record::message(&envelope, &envelope.spec)?;
    let record: RevisionRecord = record::read(&envelope)?;
    // Asked only as long as it is of account: a start looks at every revision, and most are ready. A service and its
    // revisions end in one commit.
    let is_switched_off = match record.phase() {
        Phase::Resolving | Phase::Checking if !record.health_check_disabled => match inner.scaling(name).await? {
            Some(scaling) => is_switched_off(&scaling),
            None => return Ok(None),
        },
        _ => false,
    };
    let template = revision_view::to_model(&message)?;
    let facts = readiness::Observed {
        phase: record.phase(),
        unsupported: lifecycle::unsupported(&template),
        prepared: false,
        secrets_open: record.secret_versions.is_none() && values::has_secrets((&template.containers, &template.volumes)),
        secrets_stale: false,
        offered: None,
        check_skipped: record.health_check_disabled || is_switched_off,
        health: CheckOutcome::Pending,
        activity: Activity::default(),
    };
    Ok(Some(inner.with_news(Observed { name: name.clone(), envelope, record, template, facts })))
}

fn plan(observed: &Observed) -> Step {
    readiness::next(&observed.facts)
}

async fn apply(inner: &Arc<Inner>, observed: Observed, step: Step) -> Result<Went, Error> {
    tracing::debug!(revision = %observed.name, %step, "revision");
    match step {
        Step::Resolve => return resolve(inner, observed).await,
        Step::CheckSecrets => check_secrets(inner, observed).await?,
        Step::Prepare => return prepare(inner, observed).await,
        Step::Offer(check) | Step::Refresh(check) => {
            let entry = observed.entry(inner, check).await?;
            inner.board.offer(&observed.name, entry);
            inner.board.publish();
            observed.wake_service(inner);
            return Ok(Went::Published(Box::new(observed)));
        }
        Step::Pass => {
            let entry = observed.entry(inner, Check::Done).await?;
            let name = observed.name.clone();
            observed.save(inner, &Phase::Ready).await?;
            if inner.board.offered(&name).is_some() {
                inner.board.offer(&name, entry);
                inner.board.publish();
            }
        }
        Step::Fail(failure) => fail(inner, observed, failure).await?,
        Step::Rest => {}
    }
    Ok(Went::On)
}

/// Writes the status, if it says something new.
async fn report(inner: &Inner, observed: Observed) -> Result<(), Error> {
    // Whether traffic goes to a ready revision is not known before its service was looked at.
    if observed.facts.phase == Phase::Ready && inner.board.activity(&observed.name).is_none() {
        return Ok(());
    }
    let envelope = Envelope { status: observed.status(inner)?, ..observed.envelope.clone() };
    if envelope != observed.envelope {
        inner.store.open(&PLATFORM).commit(vec![Change::Put(Box::new(envelope))]).await.map_err(of_store)?;
    }
    Ok(())
}

async fn resolve(inner: &Arc<Inner>, mut observed: Observed) -> Result<Went, Error> {
    let image = observed.template.ingress_container().map(|container| container.image.clone()).unwrap_or_default();
    let wanted: Vec<String> = observed.template.containers.iter().map(|container| container.image.clone()).collect();
    let images = inner.images.clone();
    let work = async move {
        let mut pinned = Vec::with_capacity(wanted.len());
        for image in &wanted {
            pinned.push(images.resolve(image).await?);
        }
        Ok(pinned)
    };
    match inner.pull(&observed.name, &image, work) {
        None => return Ok(Went::Pulling),
        Some(Ok(pinned)) => {
            observed.pin(pinned);
            observed.save(inner, &Phase::Checking).await?;
        }
        Some(Err(fault)) => fail_or_repeat(inner, observed, fault).await?,
    }
    Ok(Went::On)
}

/// Fails the revision if its account may not read what it names, as Google does; otherwise its variables have their
/// versions from here on.
async fn check_secrets(inner: &Inner, mut observed: Observed) -> Result<(), Error> {
    let (template, owner) = (&observed.template, observed.name.clone().into());
    let parts = (&template.containers[..], &template.volumes[..]);
    match values::check(inner, (&owner, &template.service_account), parts).await? {
        Ok(numbers) => {
            observed.record.secret_versions = Some(numbers);
            observed.save(inner, &Phase::Checking).await
        }
        Err(cause) => {
            let happened = Happened::Secrets { cause };
            let (reason, evidence) = (diagnosis::reason(&happened), Evidence::of(0, happened));
            fail(inner, observed, Failure::diagnosed(reason, diagnosis::diagnose(&evidence), Vec::new())).await
        }
    }
}

async fn prepare(inner: &Arc<Inner>, observed: Observed) -> Result<Went, Error> {
    let (engine, spec) = (inner.engine.clone(), observed.spec()?);
    let image = spec.ingress.image.clone();
    let work = async move { engine.prepare(&spec).await.map(|()| Vec::new()).map_err(Fault::from) };
    let fault = match inner.pull(&observed.name, &image, work) {
        None => return Ok(Went::Pulling),
        Some(Ok(_)) => {
            inner.board.prepared(&observed.name);
            inner.pulls.forget(&observed.name);
            return Ok(Went::Published(Box::new(observed)));
        }
        Some(Err(fault)) => fault,
    };
    if observed.facts.phase == Phase::Ready {
        // It was fine before, and traffic is meant for it: what can be started goes on being started, and
        // the rest of the service's traffic does not wait for it.
        inner.pulls.forget(&observed.name);
        inner.board.offer(&observed.name, observed.entry(inner, Check::Done).await?);
        inner.board.publish();
        observed.wake_service(inner);
        tracing::warn!(revision = %observed.name, error = fault.cause(), "a ready revision could not be prepared");
        return Err(Error::new(ErrorKind::Unavailable, fault.cause()));
    }
    fail_or_repeat(inner, observed, fault).await?;
    Ok(Went::On)
}

/// Fails the revision for a lasting cause, or when a passing one has lasted too long.
async fn fail_or_repeat(inner: &Inner, observed: Observed, fault: Fault) -> Result<(), Error> {
    let tried = inner.queue.failures(&Work::Revision(observed.name.clone()));
    let reason = match fault.lasting {
        Some(reason) => reason,
        None if tried + 1 < ATTEMPTS => return Err(Error::new(ErrorKind::Unavailable, fault.cause())),
        None => Reason::ProgressDeadlineExceeded,
    };
    let port = observed.template.ingress_container().and_then(|container| container.port.as_ref());
    let evidence = Evidence::of(port.map_or(0, |(_, port)| *port), fault.happened);
    fail(inner, observed, Failure::diagnosed(reason, diagnosis::diagnose(&evidence), Vec::new())).await
}

async fn fail(inner: &Inner, observed: Observed, failure: Failure) -> Result<(), Error> {
    let name = observed.name.clone();
    observed.save(inner, &Phase::Failed(failure)).await?;
    inner.board.withdraw(&name);
    inner.pulls.forget(&name);
    inner.board.publish();
    Ok(())
}

/// It leaves the book; then the revision and the operation end in one commit.
async fn delete(inner: &Inner, observed: &Observed, operation: &str) -> Result<(), Error> {
    inner.forget(&observed.name);
    inner.board.publish();
    let deleted = view::deleted_revision(view::revision(&observed.envelope)?, inner.clock.now());
    let end = End::Done(pack(&deleted));
    let mut changes = vec![Change::Delete {
        key: observed.envelope.key.clone(),
        resource_version: observed.envelope.resource_version,
    }];
    changes.extend(inner.end_operation(&observed.name.service.parent, operation, end).await?);
    inner.store.open(&PLATFORM).commit(changes).await.map_err(of_store)?;
    observed.wake_service(inner);
    Ok(())
}

/// A service with a manual count of 0 starts nothing, not even for a check.
fn is_switched_off(scaling: &Scaling) -> bool {
    scaling.mode == ScalingMode::Manual && scaling.manual_count == Some(0)
}

// === impl Inner ===

impl Inner {
    /// What the service of a revision says of its bounds; `None` when there is none.
    async fn scaling(&self, name: &RevisionName) -> Result<Option<Scaling>, Error> {
        let key = Key::new(Kind::Service, name.service.parent.clone(), &name.service.service);
        let Some(service) = self.get(&PLATFORM, &key).await? else { return Ok(None) };
        let intent: run::Service = record::message(&service, &service.spec)?;
        Ok(Some(service_view::to_model(&name.service, &intent)?.scaling))
    }

    /// The same with what is not stored, as it is now.
    fn with_news(&self, mut observed: Observed) -> Observed {
        let (name, board) = (&observed.name, &self.board);
        let seen = self.health_seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        observed.facts = readiness::Observed {
            prepared: board.is_prepared(name),
            offered: board.offered(name),
            secrets_stale: board.has_stale_secrets(name),
            health: seen.entries.get(name).map_or(CheckOutcome::Pending, |health| health.check.clone()),
            activity: board.activity(name).unwrap_or_default(),
            ..observed.facts
        };
        observed
    }
}

// === impl Observed ===

impl Observed {
    fn spec(&self) -> Result<InstanceSpec, Error> {
        instance::spec(&self.name, &self.template, &self.record)
    }

    /// Notes to which images the tags of its containers lead.
    fn pin(&mut self, images: Vec<String>) {
        let ingress = self.template.ingress_container().map(|container| container.name.clone());
        for (container, image) in self.template.containers.iter().zip(images) {
            if ingress.as_ref() == Some(&container.name) {
                self.record.image = image;
            } else {
                self.record.sidecar_images.insert(container.name.clone(), image);
            }
        }
    }

    /// What the fleet is told, with the values that its secrets have now.
    async fn entry(&self, inner: &Inner, check: Check) -> Result<BookEntry, Error> {
        let spec = self.spec()?;
        let values = if spec.has_secrets() {
            // Before they are read: what changes meanwhile is read again.
            inner.board.reading_secrets(&self.name, &spec);
            let read = values::values(inner, &self.template.service_account, &spec).await;
            read.inspect_err(|_| inner.board.secrets_unread(&self.name))?
        } else {
            Secrets::default()
        };
        instance::entry((spec, values), (&self.template, &view::rest(&self.envelope)?), check)
    }

    fn wake_service(&self, inner: &Inner) {
        inner.queue.wake(Work::Service(self.name.service.clone()));
    }

    /// Writes down how far the revision has come, what it says of itself then, and tells its service.
    async fn save(mut self, inner: &Inner, phase: &Phase) -> Result<(), Error> {
        self.record.set_phase(phase);
        self.facts.phase = phase.clone();
        let status = self.status(inner)?;
        let envelope = Envelope { internal: record::write(&self.record), status, ..self.envelope.clone() };
        inner.store.open(&PLATFORM).commit(vec![Change::Put(Box::new(envelope))]).await.map_err(of_store)?;
        self.wake_service(inner);
        Ok(())
    }

    /// What the revision says of itself.
    fn status(&self, inner: &Inner) -> Result<Vec<u8>, Error> {
        let old: run::Revision = record::message(&self.envelope, &self.envelope.status)?;
        let before: Vec<Condition> = old.conditions.iter().filter_map(condition::to_model).collect();
        let phase = &self.facts.phase;
        let now = inner.clock.now();
        let mut conditions = lifecycle::conditions(&self.name.revision, phase, self.facts.activity, now);
        if *phase == Phase::Ready
            && let Some(fault) = inner.board.secrets_fault(&self.name)
        {
            conditions = lifecycle::without_starts(conditions, &fault, now);
        }
        let conditions: Vec<Condition> =
            conditions.into_iter().map(|condition| condition.carried_over(&before)).collect();
        let mut status = run::Revision {
            observed_generation: if phase.is_terminal() { self.envelope.generation } else { 0 },
            ..run::Revision::default()
        };
        condition::write_to_revision(&mut status, &conditions);
        Ok(status.encode_to_vec())
    }
}
