//! Values of secrets on their way to instances.
//!
//! What a variable has is decided when its instance starts; files follow what the book says as long as their instance
//! is there.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;
use updraft_base::Backoff;
use updraft_model::instance::{InstanceSpec, Secrets};

use crate::{context::Context, instance::Instance};

/// The secrets of one instance.
pub(crate) struct Held {
    /// Those of the newest book; `None` before one that another server had started has a place in it.
    newest: watch::Sender<Option<Arc<Secrets>>>,
    /// Those that it has; `None` of one that another server had started.
    shown: Mutex<Option<Arc<Secrets>>>,
}

/// The wait before files are exchanged once more that could not be.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(10);

// === impl Held ===

impl Held {
    /// Of an instance that is started with them.
    pub(crate) fn new(secrets: Arc<Secrets>) -> Self {
        Self { shown: Mutex::new(Some(secrets.clone())), newest: watch::Sender::new(Some(secrets)) }
    }

    /// Of one that was there before: nobody knows what it has.
    pub(crate) fn unknown() -> Self {
        Self { shown: Mutex::new(None), newest: watch::Sender::new(None) }
    }

    /// From now on these are to be shown.
    pub(crate) fn offer(&self, secrets: Arc<Secrets>) {
        self.newest.send_replace(Some(secrets));
    }

    /// Those it is started with.
    pub(crate) fn newest(&self) -> Arc<Secrets> {
        self.newest.borrow().clone().unwrap_or_default()
    }

    fn shows(&self, secrets: &Arc<Secrets>) -> bool {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|it| it.files == secrets.files)
    }

    /// It has them.
    pub(crate) fn was_shown(&self, secrets: Arc<Secrets>) {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(secrets);
    }
}

/// Has the files of a running instance follow the book. Never ends.
pub(crate) async fn follow(context: &Context, instance: &Instance, spec: &InstanceSpec) -> Infallible {
    let held = &instance.secrets;
    let mut newest = held.newest.subscribe();
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    loop {
        let wanted = newest.borrow_and_update().clone();
        if let Some(wanted) = wanted.filter(|wanted| spec.has_secrets() && !held.shows(wanted)) {
            match context.engine.show_secrets(&instance.id, spec, &wanted).await {
                Ok(()) => {
                    say_unreadable(context, instance, (spec, &wanted));
                    held.was_shown(wanted);
                    backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
                }
                Err(error) => {
                    tracing::warn!(instance = %instance.id, %error, "files of secrets could not be exchanged");
                    context.clock.sleep(backoff.next_delay()).await;
                    continue;
                }
            }
        }
        // The sender is the instance's.
        if newest.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Names the files that are not there, in the log of the service.
pub(crate) fn say_unreadable(context: &Context, instance: &Instance, (spec, secrets): (&InstanceSpec, &Secrets)) {
    for volume in &spec.volumes {
        let files = secrets.files.get(&volume.name).into_iter().flatten();
        for (path, file) in volume.secret_paths().into_iter().flatten().zip(files) {
            if let Err(cause) = file {
                let text = format!("The file '{}' of the volume '{}' cannot be read. {cause}", path.path, volume.name);
                context.say(instance, text);
            }
        }
    }
}
