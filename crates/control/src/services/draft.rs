//! The intent of a service or a worker pool, cleaned, defaulted and checked; and the envelopes it becomes.

use std::time::SystemTime;

use prost::Message;
use updraft_api::{
    run,
    v1::{Rest, Stored},
    view,
};
use updraft_model::{Error, ErrorKind, RevisionName, ServiceName, iam::Principal, name::generated_revision_id};
use updraft_store::{Change, Envelope, Key, Kind};

use crate::{
    Inner,
    access::Permitted,
    deployed::{Deployed, Wish},
    record::{self, OperationRecord, RevisionRecord, ServiceRecord},
};

/// When a write makes a revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Renewal {
    /// When the template changes.
    #[default]
    OnChange,
    /// Also when it does not (`force_new_revision`): what its tags lead to may have moved. Not when it names one that is
    /// there.
    Always,
}

/// An intent that breaks no rule.
#[derive(Debug)]
pub(super) struct Intent<M: Deployed> {
    /// As it is stored: with defaults, without what only the server writes.
    pub(super) message: M,
    /// As decisions see it.
    pub(super) model: M::Model,
    /// What the message cannot hold of it.
    pub(super) rest: Rest,
    /// When it makes a revision.
    renewal: Renewal,
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

impl<M: Deployed> Intent<M> {
    /// Cleans, defaults and checks what a client sent.
    pub(super) fn new(name: &ServiceName, sent: M) -> Result<Self, Error> {
        if sent.template().is_none() {
            return Err(Error::invalid_field(format!("{}.template", M::FIELD), "must be set, got nothing"));
        }
        let mut message = sent.without_outputs();
        let unnamed = message.check_unnamed()?;
        if !unnamed.is_empty() {
            return Err(Error::invalid(unnamed));
        }
        let mut model = message.to_model(name)?;
        let found = M::complete(&mut model);
        if !found.is_empty() {
            return Err(Error::invalid(found));
        }
        message.write_defaults(&model);
        Ok(Self { message, model, rest: Rest::default(), renewal: Renewal::default() })
    }

    /// The same with another rule for new revisions.
    pub(super) fn renewing(self, renewal: Renewal) -> Self {
        Self { renewal, ..self }
    }

    /// What is meant.
    pub(super) fn wish(&self) -> Wish<'_> {
        M::wish(&self.model)
    }

    /// The same, keeping what its message cannot hold.
    pub(super) fn keeping(self, rest: Rest) -> Result<Self, Error> {
        rest.check()?;
        Ok(Self { rest, ..self })
    }

    /// The template without the name of a revision: two templates are the same if this is.
    pub(super) fn template(&self) -> run::RevisionTemplate {
        nameless(self.message.template().unwrap_or_default())
    }

    /// What a revision made of the template keeps of the rest.
    fn template_rest(&self) -> Rest {
        Rest::of_template(&self.rest)
    }

    /// What the intent does to the revisions, given the service as it was.
    pub(super) async fn revised(
        &self,
        (inner, permit): (&Inner, &Permitted),
        before: Option<(&Stored<M>, &ServiceRecord)>,
    ) -> Result<Revised, Error> {
        let Wish { name: service, template, .. } = self.wish();
        let wanted = template.revision.as_deref();
        let same = before.is_some_and(|(old, record)| {
            let template = old.message.template();
            nameless(template.clone().unwrap_or_default()) == self.template()
                && old.template_rest() == self.template_rest()
                && wanted.is_none_or(|id| {
                    id == record.latest_created || template.as_ref().is_some_and(|template| template.revision == id)
                })
        });
        if same && (self.renewal == Renewal::OnChange || wanted.is_some()) {
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
            Some(envelope) if record::owned_by(&envelope) == *service && self.has_spec(&envelope)? => {
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
        let wish = self.wish();
        for id in wish.named_revisions() {
            let name = wish.name.revision(id);
            if matches!(revised, Revised::New(new) if *new == name) {
                continue;
            }
            let found = inner.get_revision(permit, &name).await?;
            let deleting = match &found {
                Some(envelope) => record::read::<RevisionRecord>(envelope)?.deleting.is_some(),
                None => true,
            };
            if deleting {
                let (word, id_of) = (wish.name.collection.word(), &wish.name.service);
                let message = format!("Revision '{id}' of {word} '{id_of}' was not found.");
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
pub(super) fn revision_change<M: Deployed>(
    caller: &Principal,
    intent: &Intent<M>,
    (revised, sequence): (&Revised, u64),
    now: SystemTime,
) -> Result<Option<Change>, Error> {
    match revised {
        Revised::Same => Ok(None),
        Revised::New(name) => {
            let template = intent.message.template().unwrap_or_default();
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
                ..record::envelope(key, &record::owner(&name.service), now)
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
    Envelope { internal: record::write(record), ..record::envelope(key, &record::owner(service), now) }
}
