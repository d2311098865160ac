//! A service's intent, cleaned, defaulted and checked; and the envelopes it becomes.

use std::time::SystemTime;

use prost::Message;
use updraft_api::{
    run,
    v1::{Rest, Stored},
    view,
};
use updraft_model::{
    Error, ErrorKind, RevisionName, ServiceName,
    iam::Principal,
    name::generated_revision_id,
    service::{Allocation, Service, defaults, validation},
};
use updraft_store::{Change, Envelope, Key, Kind};

use crate::{
    Inner,
    access::Permitted,
    record::{self, OperationRecord, RevisionRecord, ServiceRecord},
};

/// An intent that breaks no rule.
#[derive(Debug)]
pub(super) struct Intent {
    /// As it is stored: with defaults, without what only the server writes.
    pub(super) message: run::Service,
    /// As decisions see it.
    pub(super) model: Service,
    /// What the message cannot hold of it.
    pub(super) rest: Rest,
}

/// What an intent does to the revisions of its service.
#[derive(Debug)]
pub(super) enum Revised {
    /// Nothing.
    Same,
    /// It makes a new one.
    New(RevisionName),
    /// It makes one that exists already, with the same spec, the latest again.
    Again(Box<Envelope>),
}

// === impl Intent ===

impl Intent {
    /// Cleans, defaults and checks what a client sent.
    pub(super) fn new(name: &ServiceName, sent: run::Service) -> Result<Self, Error> {
        if sent.template.is_none() {
            return Err(Error::invalid_field("service.template", "must be set, got nothing"));
        }
        let mut message = crate::view::without_outputs(sent);
        let unnamed = view::service::check_unnamed(&message)?;
        if !unnamed.is_empty() {
            return Err(Error::invalid(unnamed));
        }
        let mut model = view::service::to_model(name, &message)?;
        defaults::apply(&mut model);
        let found = validation::check(&model);
        if !found.is_empty() {
            return Err(Error::invalid(found));
        }
        view::service::write_defaults(&mut message, &model);
        Ok(Self { message, model, rest: Rest::default() })
    }

    /// The same, keeping what its message cannot hold.
    pub(super) fn keeping(self, rest: Rest) -> Result<Self, Error> {
        rest.check()?;
        Ok(Self { rest, ..self })
    }

    /// The template without the name of a revision: two templates are the same if this is.
    pub(super) fn template(&self) -> run::RevisionTemplate {
        nameless(self.message.template.clone().unwrap_or_default())
    }

    /// What a revision made of the template keeps of the rest.
    fn template_rest(&self) -> Rest {
        Rest::of_template(&self.rest)
    }

    /// What the intent does to the revisions, given the service as it was.
    pub(super) async fn revised(
        &self,
        (inner, permit): (&Inner, &Permitted),
        before: Option<(&Stored<run::Service>, &ServiceRecord)>,
    ) -> Result<Revised, Error> {
        let service = &self.model.name;
        let wanted = self.model.template.revision.as_deref();
        let same = before.is_some_and(|(old, record)| {
            let template = old.message.template.as_ref();
            nameless(template.cloned().unwrap_or_default()) == self.template()
                && old.template_rest() == self.template_rest()
                && wanted.is_none_or(|id| {
                    id == record.latest_created || template.is_some_and(|template| template.revision == id)
                })
        });
        if same {
            return Ok(Revised::Same);
        }
        let Some(id) = wanted else {
            let sequence = before.map_or(0, |(_, record)| record.sequence) + 1;
            return Ok(Revised::New(free_name((inner, permit), service, sequence).await?));
        };
        let name = service.revision(id);
        let key = Key::new(Kind::Revision, service.parent.clone(), id);
        match inner.get(permit, &key).await? {
            None => Ok(Revised::New(name)),
            // It would be the latest revision of its service, and gone a moment later.
            Some(envelope) if record::read::<RevisionRecord>(&envelope)?.deleting.is_some() => {
                Err(Error::new(ErrorKind::Aborted, format!("Revision '{id}' is being deleted; try again.")))
            }
            Some(envelope) if envelope.owner == service.service && self.has_spec(&envelope)? => {
                Ok(Revised::Again(Box::new(envelope)))
            }
            Some(_) => Err(Error::new(
                ErrorKind::AlreadyExists,
                format!("Revision named '{id}' with different configuration already exists."),
            )),
        }
    }

    /// Every revision that traffic is sent to has to exist, or come into being with this intent.
    pub(super) async fn check_traffic(
        &self,
        (inner, permit): (&Inner, &Permitted),
        revised: &Revised,
    ) -> Result<(), Error> {
        for target in &self.model.traffic {
            let Allocation::Revision(id) = &target.allocation else { continue };
            let name = self.model.name.revision(id);
            if matches!(revised, Revised::New(new) if *new == name) {
                continue;
            }
            let found = inner.get_revision(permit, &name).await?;
            let deleting = match &found {
                Some(envelope) => record::read::<RevisionRecord>(envelope)?.deleting.is_some(),
                None => true,
            };
            if deleting {
                let message = format!("Revision '{id}' of service '{}' was not found.", self.model.name.service);
                return Err(Error::new(ErrorKind::FailedPrecondition, message));
            }
        }
        Ok(())
    }

    fn has_spec(&self, envelope: &Envelope) -> Result<bool, Error> {
        let revision: run::Revision = record::message(envelope, &envelope.spec)?;
        let record: RevisionRecord = record::read(envelope)?;
        let mut template = view::revision::template_of(&revision);
        template.health_check_disabled = record.health_check_disabled;
        Ok(nameless(template) == self.template() && crate::view::rest(envelope)? == self.template_rest())
    }
}

fn nameless(mut template: run::RevisionTemplate) -> run::RevisionTemplate {
    template.revision.clear();
    template
}

/// A generated name that is free.
async fn free_name(
    (inner, permit): (&Inner, &Permitted),
    service: &ServiceName,
    sequence: u64,
) -> Result<RevisionName, Error> {
    loop {
        let name = service.revision(generated_revision_id(&service.service, sequence, rand::random()));
        let key = Key::new(Kind::Revision, service.parent.clone(), &name.revision);
        if inner.get(permit, &key).await?.is_none() {
            return Ok(name);
        }
    }
}

/// The change that writes what an intent does to the revisions.
pub(super) fn revision_change(
    caller: &Principal,
    intent: &Intent,
    (revised, sequence): (&Revised, u64),
    now: SystemTime,
) -> Result<Option<Change>, Error> {
    match revised {
        Revised::Same => Ok(None),
        Revised::New(name) => {
            let template = intent.message.template.clone().unwrap_or_default();
            let record = RevisionRecord {
                creator: caller.email(),
                sequence,
                health_check_disabled: template.health_check_disabled,
                ..RevisionRecord::default()
            };
            let spec = view::revision::from_template(name, &template).encode_to_vec();
            let key = Key::new(Kind::Revision, name.service.parent.clone(), &name.revision);
            let envelope = Envelope {
                spec,
                v1_only: intent.template_rest().to_bytes(),
                internal: record::write(&record),
                ..record::envelope(key, &name.service.service, now)
            };
            Ok(Some(Change::Put(Box::new(envelope))))
        }
        Revised::Again(envelope) => {
            let record = RevisionRecord { sequence, ..record::read(envelope)? };
            let envelope = Envelope { internal: record::write(&record), ..Envelope::clone(envelope) };
            Ok(Some(Change::Put(Box::new(envelope))))
        }
    }
}

/// A new operation about `resource`, which belongs to `service`.
pub(crate) fn operation(id: &str, service: &ServiceName, record: &OperationRecord, now: SystemTime) -> Envelope {
    let key = Key::new(Kind::Operation, service.parent.clone(), id);
    Envelope { internal: record::write(record), ..record::envelope(key, &service.service, now) }
}
