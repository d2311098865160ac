//! What a client means with a job: cleaned, defaulted, checked.

use updraft_api::{run, v1::Rest, view::job};
use updraft_model::{
    Error,
    job::{Job, JobName, defaults, validation},
};

/// An intent that breaks no rule.
#[derive(Debug)]
pub(crate) struct Intent {
    /// As it is stored: with defaults, without what only the server writes.
    pub(crate) message: run::Job,
    /// As decisions see it.
    pub(crate) model: Job,
    /// What the message cannot hold of it.
    pub(crate) rest: Rest,
}

// === impl Intent ===

impl Intent {
    /// Cleans, defaults and checks what a client sent.
    ///
    /// # Errors
    /// `InvalidArgument` with every broken rule.
    pub(crate) fn new(name: &JobName, sent: run::Job) -> Result<Self, Error> {
        if sent.template.as_ref().is_none_or(|template| template.template.is_none()) {
            let field = if sent.template.is_none() { "job.template" } else { "job.template.template" };
            return Err(Error::invalid_field(field, "must be set, got nothing"));
        }
        let mut message = without_outputs(sent);
        let unnamed = job::check_unnamed(&message)?;
        if !unnamed.is_empty() {
            return Err(Error::invalid(unnamed));
        }
        let mut model = job::to_model(name, &message)?;
        defaults::apply(&mut model);
        let found = validation::check(&model);
        if !found.is_empty() {
            return Err(Error::invalid(found));
        }
        job::write_defaults(&mut message, &model);
        // A wish of this write, and not of the job.
        message.create_execution = None;
        Ok(Self { message, model, rest: Rest::default() })
    }

    /// The same, keeping what its message cannot hold.
    pub(crate) fn keeping(self, rest: Rest) -> Result<Self, Error> {
        rest.check()?;
        Ok(Self { rest, ..self })
    }
}

/// Takes out of a client's job what only the server writes.
fn without_outputs(job: run::Job) -> run::Job {
    let mut intent = run::Job {
        name: String::new(),
        uid: String::new(),
        generation: 0,
        create_time: None,
        update_time: None,
        delete_time: None,
        expire_time: None,
        creator: String::new(),
        last_modifier: String::new(),
        observed_generation: 0,
        terminal_condition: None,
        conditions: Vec::new(),
        execution_count: 0,
        latest_created_execution: None,
        reconciling: false,
        satisfies_pzs: false,
        etag: String::new(),
        ..job
    };
    let template = intent.template.as_mut().and_then(|template| template.template.as_mut());
    for container in template.into_iter().flat_map(|template| &mut template.containers) {
        container.build_info = None;
    }
    intent
}
