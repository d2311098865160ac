//! Instances that the engine took over from a server that was killed.
//!
//! They wait until the book has their revision, and then join it as instances that are on their way up: requests wait
//! for them rather than for new ones, and none reaches an instance before it has answered a probe. What is not in the
//! book, or there as something else, is ended.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::oneshot;
use updraft_base::{OnFailure, Shutdown};
use updraft_engine::{Adopted, SpecDigest};
use updraft_model::{channel::BookEntry, name::RevisionName, owner::Owner};

use crate::{
    attempts::Attempts,
    context::Context,
    instance::{self, Instance},
    parting,
    revision::{End, Revision},
};

/// How long the book may take to come. The control plane looks at everything when it starts.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may take then to name the revision: that of an image which has to be looked for comes later.
const SETTLING: Duration = Duration::from_secs(5);

/// The instances that wait for their revision.
#[derive(Default)]
pub(crate) struct Adoption {
    waiting: Mutex<HashMap<RevisionName, Vec<Candidate>>>,
    /// Asked once there is a book.
    book: Shutdown,
}

/// An instance that waits. Dropping it ends the instance.
pub(crate) struct Candidate {
    pub(crate) instance: Arc<Instance>,
    pub(crate) spec: SpecDigest,
    join: oneshot::Sender<Place>,
}

/// Where it goes on.
type Place = (Arc<Revision>, Arc<BookEntry>);

// === impl Adoption ===

impl Adoption {
    /// Do instances of this revision wait?
    pub(crate) fn has(&self, revision: &RevisionName) -> bool {
        self.waiting().contains_key(revision)
    }

    /// Those of this revision do not wait any more.
    pub(crate) fn take(&self, revision: &RevisionName) -> Vec<Candidate> {
        self.waiting().remove(revision).unwrap_or_default()
    }

    /// The book has come.
    pub(crate) fn book_came(&self) {
        self.book.ask();
    }

    /// None waits any more: all are ended.
    pub(crate) fn dismiss(&self) {
        let waiting = std::mem::take(&mut *self.waiting());
        drop(waiting);
    }

    fn forget(&self, instance: &Arc<Instance>) {
        let mut waiting = self.waiting();
        waiting.retain(|_, candidates| {
            candidates.retain(|candidate| !Arc::ptr_eq(&candidate.instance, instance));
            !candidates.is_empty()
        });
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<RevisionName, Vec<Candidate>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Candidate ===

impl Candidate {
    /// It goes on as an instance of this revision, which counts it already. False if it has ended.
    pub(crate) fn join(self, revision: &Arc<Revision>, entry: Arc<BookEntry>) -> bool {
        self.join.send((revision.clone(), entry)).is_ok()
    }
}

/// Lets them wait. To be done before the events are read: they may be of these.
pub(crate) fn enrol(context: &Arc<Context>, attempts: &Arc<Attempts>, adopted: Vec<Adopted>) {
    for Adopted { id, owner, spec, port, .. } in adopted {
        let instance = Arc::new(Instance::adopted(id, owner.clone(), port, context.clock.instant()));
        context.instances.insert(instance.clone());
        let revision = match owner {
            Owner::Revision(name) => name,
            Owner::Attempt(name) => {
                attempts.inherit(context, name, instance);
                continue;
            }
        };
        let (join, joined) = oneshot::channel();
        let candidate = Candidate { instance: instance.clone(), spec, join };
        context.adoption.waiting().entry(revision).or_default().push(candidate);
        context.tasks.spawn("adopted instance", OnFailure::Log, live(context.clone(), instance, joined));
    }
}

/// From the start of this server to the instance's end.
async fn live(context: Arc<Context>, instance: Arc<Instance>, mut joined: oneshot::Receiver<Place>) {
    let place = tokio::select! {
        biased;
        exit = instance.until_exit() => {
            context.say_end(&instance, &exit);
            None
        }
        joined = &mut joined => joined.ok(),
        () = too_late(&context) => None,
    };
    context.adoption.forget(&instance);
    joined.close();
    match (place, joined.try_recv()) {
        (Some((revision, entry)), _) => instance::go_on(revision, instance.clone(), entry).await,
        // It had ended, and was counted nevertheless.
        (None, Ok((revision, _))) => revision.gone(&instance, End::Crash),
        (None, Err(_)) if instance.has_ended() => {}
        (None, Err(_)) => {
            context.say(&instance, "Stopping instance. Reason: its revision is not served any more.");
            parting::end(&context, &instance, context.config.stop_grace).await;
        }
    }
    context.instances.remove(&instance.id);
}

/// Ends when no revision is to be waited for any more.
pub(crate) async fn too_late(context: &Context) {
    // Whether it has come or not makes no difference to what is done then.
    let _ = context.clock.timeout(PATIENCE, context.adoption.book.asked()).await;
    context.clock.sleep(SETTLING).await;
}
