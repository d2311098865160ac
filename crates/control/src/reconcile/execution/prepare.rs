//! What an execution needs before its first task begins: its images, and the right to read its secrets.

use std::sync::Arc;

use updraft_model::{
    Error, ErrorKind, Reason,
    job::lifecycle,
    owner::Owner,
    revision::{Container, lifecycle::Failure},
};
use updraft_plan::{
    diagnosis::{self, Evidence, Happened},
    job::Attempt,
};

use super::Subject;
use crate::{Inner, executions::Live, pull::Fault, queue::Work, reconcile::values};

/// How often what may be a passing fault is tried before the execution fails.
const ATTEMPTS: u32 = 6;

/// May tasks begin?
pub(super) enum Readiness {
    /// They may.
    Ready,
    /// A pull is under way, whose end wakes the execution.
    Pulling,
    /// Something was in the way that may pass.
    Later(Error),
    /// They never will.
    Never(Failure),
}

/// The next steps on the way to the first task. What is found out is noted in `subject`, to be written down by the pass.
pub(super) async fn prepare(inner: &Arc<Inner>, subject: &mut Subject, live: &mut Live) -> Result<Readiness, Error> {
    if live.is_prepared {
        return Ok(Readiness::Ready);
    }
    if let Some(failure) = subject.record.failure() {
        return Ok(Readiness::Never(failure));
    }
    if subject.record.cancelled.is_some() {
        // Nothing is going to begin.
        return Ok(Readiness::Ready);
    }
    let unsupported = lifecycle::unsupported(&live.template);
    if !unsupported.is_empty() {
        return Ok(subject.never(Failure::unsupported(&unsupported)));
    }
    if subject.record.images.is_empty() {
        match resolve(inner, subject, live) {
            None => {}
            Some(readiness) => return Ok(readiness),
        }
    }
    let task = &live.template.template;
    let parts = (&task.containers[..], &task.volumes[..]);
    if subject.record.secret_versions.is_none() && values::has_secrets(parts) {
        let owner = Owner::from(subject.attempt(Attempt { index: 0, attempt: 0 }));
        match values::check(inner, (&owner, &task.service_account), parts).await? {
            Ok(numbers) => subject.record.secret_versions = Some(numbers),
            Err(cause) => return Ok(subject.never(failure_of(Happened::Secrets { cause }))),
        }
    }
    ready_engine(inner, subject, live)
}

/// Finds which images the tags mean; `None` once that is noted.
fn resolve(inner: &Arc<Inner>, subject: &mut Subject, live: &Live) -> Option<Readiness> {
    let containers = &live.template.template.containers;
    let wanted: Vec<String> = containers.iter().map(|container| container.image.clone()).collect();
    let (first, images) = (wanted.first().cloned().unwrap_or_default(), inner.images.clone());
    let work = async move {
        let mut pinned = Vec::with_capacity(wanted.len());
        for image in &wanted {
            pinned.push(images.resolve(image).await?);
        }
        Ok(pinned)
    };
    match inner.pull(&subject.work(), &first, work) {
        None => Some(Readiness::Pulling),
        Some(Ok(pinned)) => {
            let names = containers.iter().map(|container: &Container| container.name.clone());
            subject.record.images = names.zip(pinned).collect();
            None
        }
        Some(Err(fault)) => Some(subject.later_or_never(inner, fault)),
    }
}

fn ready_engine(inner: &Arc<Inner>, subject: &mut Subject, live: &mut Live) -> Result<Readiness, Error> {
    let spec = subject.spec(live, subject.attempt(Attempt { index: 0, attempt: 0 }))?;
    let (engine, image) = (inner.engine.clone(), spec.ingress.image.clone());
    let work = async move { engine.prepare(&spec).await.map(|()| Vec::new()).map_err(Fault::from) };
    Ok(match inner.pull(&subject.work(), &image, work) {
        None => Readiness::Pulling,
        Some(Ok(_)) => {
            inner.pulls.forget(&subject.work());
            live.is_prepared = true;
            Readiness::Ready
        }
        // Some of its tasks ran before this server came. They are not ended for it if they run still, and what may pass is
        // waited for as long as it takes: each time it has as long as the first.
        Some(Err(fault))
            if live.started.is_some() && (fault.lasting.is_none() || live.progress.counts().running > 0) =>
        {
            inner.pulls.forget(&subject.work());
            Readiness::Later(Error::new(ErrorKind::Unavailable, fault.cause()))
        }
        Some(Err(fault)) => subject.later_or_never(inner, fault),
    })
}

fn failure_of(happened: Happened) -> Failure {
    let (reason, evidence) = (diagnosis::reason(&happened), Evidence::of(0, happened));
    Failure::diagnosed(reason, diagnosis::diagnose(&evidence), Vec::new())
}

// === impl Subject ===

impl Subject {
    fn work(&self) -> Work {
        Work::Execution(self.name.clone())
    }

    /// Notes why tasks never begin.
    fn never(&mut self, failure: Failure) -> Readiness {
        failure.reason.as_str().clone_into(&mut self.record.reason);
        self.record.message.clone_from(&failure.message);
        Readiness::Never(failure)
    }

    /// A lasting cause, or a passing one that has lasted too long, is the end.
    fn later_or_never(&mut self, inner: &Inner, fault: Fault) -> Readiness {
        let tried = inner.queue.failures(&self.work());
        let reason = match fault.lasting {
            Some(reason) => reason,
            None if tried + 1 < ATTEMPTS => {
                return Readiness::Later(Error::new(ErrorKind::Unavailable, fault.cause()));
            }
            None => Reason::ProgressDeadlineExceeded,
        };
        let evidence = Evidence::of(0, fault.happened);
        self.never(Failure::diagnosed(reason, diagnosis::diagnose(&evidence), Vec::new()))
    }
}
