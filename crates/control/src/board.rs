//! What is published: the revision book for the fleet, the route table for the proxy.
//!
//! The board is derived from the store and rebuilt after a restart. The order is kept here: a revision is
//! in the book before a route leads to it, and stays there for a while after the last route is gone, for
//! requests that still hold the old table.

mod claims;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;
use updraft_model::{
    RevisionName, ServiceName,
    channel::{BookEntry, Check, RevisionBook},
    iam::ProjectInvokers,
    instance::InstanceSpec,
    level::Level,
    name::Collection,
    revision::lifecycle::Activity,
    route::RouteTable,
};

use claims::Claims;
pub(crate) use claims::{Admission, Hosts};

/// How long a revision stays in the book after its last route is gone.
pub(crate) const RETIRE_AFTER: Duration = Duration::from_secs(30);

/// The book and the routes, as they are put together.
#[derive(Debug)]
pub(crate) struct Board {
    state: Mutex<State>,
    book: watch::Sender<Arc<RevisionBook>>,
    routes: watch::Sender<Arc<RouteTable>>,
}

#[derive(Debug, Default)]
struct State {
    /// Was everything looked at once? Before that, who does not find a host waits rather than taking it for gone.
    is_open: bool,
    book_changed: bool,
    routes_changed: bool,
    /// Counts what was published.
    version: u64,
    /// What is in the book.
    entries: Level<Arc<RevisionName>, Arc<BookEntry>>,
    /// What is going to leave it, or of which there is to be less, and when.
    leaving: HashMap<RevisionName, Instant>,
    known: HashMap<Arc<RevisionName>, Known>,
    /// Those whose secrets were read for the book, and which these are.
    secrets: HashMap<RevisionName, BTreeSet<String>>,
    claims: Claims,
    projects: Level<Arc<str>, Arc<ProjectInvokers>>,
}

/// What else is known of a revision.
#[derive(Debug, Default)]
struct Known {
    /// The engine has it ready.
    prepared: bool,
    activity: Option<Activity>,
    /// May there be other values of its secrets than those in the book?
    secrets_stale: bool,
}

// === impl Board ===

impl Board {
    pub(crate) fn new(book: watch::Sender<Arc<RevisionBook>>, routes: watch::Sender<Arc<RouteTable>>) -> Self {
        Self { state: Mutex::default(), book, routes }
    }

    /// Says of what is published from now on that it is everything.
    pub(crate) fn open(&self) {
        {
            let mut state = self.lock();
            state.is_open = true;
            // Also when there is neither: it is the word that there is none.
            (state.book_changed, state.routes_changed) = (true, true);
        }
        self.publish();
    }

    /// Has everything been looked at, and published?
    pub(crate) fn is_open(&self) -> bool {
        self.lock().is_open
    }

    /// Publishes what has changed: the book first, for routes must not lead to what is not in it.
    pub(crate) fn publish(&self) {
        let mut state = self.lock();
        let is_whole = state.is_open;
        state.version += u64::from(state.book_changed || state.routes_changed);
        if std::mem::take(&mut state.book_changed) {
            self.book.send_replace(Arc::new(RevisionBook { entries: state.entries.clone(), is_whole }));
        }
        if std::mem::take(&mut state.routes_changed) {
            let (hosts, projects) = (state.claims.hosts.clone(), state.projects.clone());
            self.routes.send_replace(Arc::new(RouteTable { hosts, projects, is_whole }));
        }
    }

    /// How often something was published.
    pub(crate) fn version(&self) -> u64 {
        self.lock().version
    }

    /// Notes that the engine has the revision ready.
    pub(crate) fn prepared(&self, revision: &RevisionName) {
        self.lock().known(revision).prepared = true;
    }

    /// Has the engine the revision ready?
    pub(crate) fn is_prepared(&self, revision: &RevisionName) -> bool {
        self.lock().known.get(revision).is_some_and(|known| known.prepared)
    }

    /// Puts the revision into the book, or changes its entry but for the bounds.
    pub(crate) fn offer(&self, revision: &RevisionName, mut entry: BookEntry) {
        let mut state = self.lock();
        if entry.spec.has_secrets() && !state.secrets.contains_key(revision) {
            // It was taken out of the book while they were read: what changed since then was not heard of.
            state.note_secrets(revision, &entry.spec);
            state.known(revision).secrets_stale = true;
        }
        if let Some(there) = state.entries.get(revision) {
            (entry.min, entry.max) = (there.min, there.max);
            if **there == entry {
                return;
            }
        }
        state.leaving.remove(revision);
        state.enter(revision, entry);
    }

    /// Notes that secrets have changed, those that `is_it` names; returns the revisions that have such.
    pub(crate) fn secrets_changed(&self, is_it: impl Fn(&str) -> bool) -> Vec<RevisionName> {
        let mut state = self.lock();
        let those = state.secrets.iter().filter(|(_, named)| named.iter().any(|secret| is_it(secret)));
        let those: Vec<RevisionName> = those.map(|(name, _)| name.clone()).collect();
        those.iter().for_each(|name| state.known(name).secrets_stale = true);
        those
    }

    /// Have secrets of the revision changed since they were begun to be read?
    pub(crate) fn has_stale_secrets(&self, revision: &RevisionName) -> bool {
        self.lock().known.get(revision).is_some_and(|known| known.secrets_stale)
    }

    /// The secrets of the revision are going to be read: those that change from here on have to be read again.
    pub(crate) fn reading_secrets(&self, revision: &RevisionName, spec: &InstanceSpec) {
        let mut state = self.lock();
        state.note_secrets(revision, spec);
        state.known(revision).secrets_stale = false;
    }

    /// They could not be read, and still have to be.
    pub(crate) fn secrets_unread(&self, revision: &RevisionName) {
        self.lock().known(revision).secrets_stale = true;
    }

    /// Why no instance of the revision can be started, if its secrets are the reason.
    pub(crate) fn secrets_fault(&self, revision: &RevisionName) -> Option<String> {
        self.lock().entries.get(revision)?.secrets.fault.clone()
    }

    /// What the fleet is told of the revision, if anything.
    pub(crate) fn offered(&self, revision: &RevisionName) -> Option<Check> {
        self.lock().entries.get(revision).map(|entry| entry.check)
    }

    /// The memory that an instance of the revision is promised, in bytes; 0 when it is not in the book.
    pub(crate) fn memory(&self, revision: &RevisionName) -> u64 {
        self.lock().entries.get(revision).map_or(0, |entry| entry.spec.limits().memory_bytes)
    }

    /// Sets the bounds of a revision in the book, which stays there.
    pub(crate) fn serve(&self, revision: &RevisionName, (min, max): (u32, u32)) {
        let mut state = self.lock();
        let Some(entry) = state.entries.get(revision).cloned() else { return };
        state.leaving.remove(revision);
        if (entry.min, entry.max) != (min, max) {
            state.enter(revision, BookEntry { min, max, ..BookEntry::clone(&entry) });
        }
    }

    /// Lets a revision go: after [`RETIRE_AFTER`] it leaves the book. Until then a service keeps nothing of it that has
    /// no requests; a worker pool keeps all of it, as a worker never has any. Says when to ask again.
    pub(crate) fn retire(&self, revision: &RevisionName, now: Instant) -> Option<Duration> {
        let mut state = self.lock();
        let entry = state.entries.get(revision)?.clone();
        let left = state.left(revision, now);
        if left.is_some() {
            if entry.min > 0 && revision.service.collection != Collection::WorkerPools {
                state.enter(revision, BookEntry { min: 0, ..BookEntry::clone(&entry) });
            }
        } else {
            state.withdraw(revision);
        }
        left
    }

    /// Lowers the bounds of a revision, which goes on with fewer instances, after [`RETIRE_AFTER`]. Says when to ask again.
    pub(crate) fn lower(&self, revision: &RevisionName, bounds: (u32, u32), now: Instant) -> Option<Duration> {
        let left = self.lock().left(revision, now);
        if left.is_none() {
            self.serve(revision, bounds);
        }
        left
    }

    /// May a revision in the book have more instances than `max`?
    pub(crate) fn exceeds(&self, revision: &RevisionName, max: u32) -> bool {
        self.lock().entries.get(revision).is_some_and(|entry| entry.max > max)
    }

    /// Has the service or worker pool revisions that are going to leave the book, or to have less?
    pub(crate) fn is_leaving(&self, service: &ServiceName) -> bool {
        self.lock().leaving.keys().any(|revision| revision.service == *service)
    }

    /// Takes a revision out of the book at once.
    pub(crate) fn withdraw(&self, revision: &RevisionName) {
        self.lock().withdraw(revision);
    }

    /// Notes whether traffic goes to a revision; says whether that is news.
    pub(crate) fn set_activity(&self, revision: &RevisionName, activity: Activity) -> bool {
        self.lock().known(revision).activity.replace(activity) != Some(activity)
    }

    /// Does traffic go to the revision? `None` before its service was looked at.
    pub(crate) fn activity(&self, revision: &RevisionName) -> Option<Activity> {
        self.lock().known.get(revision)?.activity
    }

    /// Sets where the hosts of a service lead that was created at `created`.
    pub(crate) fn route(&self, service: &ServiceName, created: SystemTime, hosts: Hosts) {
        let mut state = self.lock();
        state.routes_changed |= state.claims.set(service, created, hosts);
    }

    /// Sets who may call a service, and from where, on the routes that there are.
    pub(crate) fn admit(&self, service: &ServiceName, admission: &Admission) {
        let mut state = self.lock();
        state.routes_changed |= state.claims.admit(service, admission);
    }

    /// Sets what a project says about who may call the services in it.
    pub(crate) fn set_project(&self, project: &str, said: ProjectInvokers) {
        let mut state = self.lock();
        let before = state.projects.get(project).map(|before| **before == said);
        match before {
            // Most say nothing, and take no room. Roles alone say something: the policies of services name them.
            None if said == ProjectInvokers::default() => return,
            Some(true) => return,
            Some(false) if said == ProjectInvokers::default() => drop(state.projects.remove(project)),
            None | Some(false) => drop(state.projects.insert(project.into(), Arc::new(said))),
        }
        state.routes_changed = true;
    }

    /// Forgets the hosts of a service.
    pub(crate) fn unroute(&self, service: &ServiceName) {
        let mut state = self.lock();
        state.routes_changed |= state.claims.remove(service);
    }

    /// Forgets everything of a revision.
    pub(crate) fn forget(&self, revision: &RevisionName) {
        let mut state = self.lock();
        state.withdraw(revision);
        state.known.remove(revision);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn known(&mut self, revision: &RevisionName) -> &mut Known {
        self.known.entry(Arc::new(revision.clone())).or_default()
    }

    fn note_secrets(&mut self, revision: &RevisionName, spec: &InstanceSpec) {
        self.secrets.insert(revision.clone(), spec.secrets().map(str::to_owned).collect());
    }

    fn enter(&mut self, revision: &RevisionName, entry: BookEntry) {
        let name = self.known.get_key_value(revision).map(|(name, _)| name.clone());
        self.entries.insert(name.unwrap_or_else(|| Arc::new(revision.clone())), Arc::new(entry));
        self.book_changed = true;
    }

    /// How long what is going to be less is still left as it is; that time begins with the first question.
    fn left(&mut self, revision: &RevisionName, now: Instant) -> Option<Duration> {
        let until = *self.leaving.entry(revision.clone()).or_insert(now + RETIRE_AFTER);
        (until > now).then(|| until - now)
    }

    fn withdraw(&mut self, revision: &RevisionName) {
        // The engine may drop what it has ready once nobody can start it: it is asked again.
        if let Some(known) = self.known.get_mut(revision) {
            known.prepared = false;
        }
        self.leaving.remove(revision);
        self.secrets.remove(revision);
        self.book_changed |= self.entries.remove(revision).is_some();
    }
}

#[cfg(test)]
mod tests;
