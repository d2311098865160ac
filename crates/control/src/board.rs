//! What is published: the revision book for the fleet, the route table for the proxy.
//!
//! The board is derived from the store and rebuilt after a restart. The order is kept here: a revision is
//! in the book before a route leads to it, and stays there for a while after the last route is gone, for
//! requests that still hold the old table.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;
use updraft_model::{
    RevisionName, ServiceName,
    channel::{BookEntry, Check, RevisionBook},
    revision::lifecycle::Activity,
    route::{Route, RouteTable},
};

/// How long a revision stays in the book after its last route is gone.
pub(crate) const RETIRE_AFTER: Duration = Duration::from_secs(30);

/// The hosts of one service, and where each leads.
pub(crate) type Hosts = Vec<(Box<str>, Arc<Route>)>;

/// The book and the routes, as they are put together.
#[derive(Debug)]
pub(crate) struct Board {
    state: Mutex<State>,
    book: watch::Sender<Arc<RevisionBook>>,
    routes: watch::Sender<Arc<RouteTable>>,
}

#[derive(Debug, Default)]
struct State {
    /// Nothing is published before everything was looked at once: a table with half of the services
    /// would answer 404 for the others.
    is_open: bool,
    book_changed: bool,
    routes_changed: bool,
    slots: HashMap<RevisionName, Slot>,
    prepared: HashSet<RevisionName>,
    activity: HashMap<RevisionName, Activity>,
    /// By the age of the service: two could claim one host.
    routes: BTreeMap<Owner, Hosts>,
    owners: HashMap<ServiceName, SystemTime>,
}

/// When a service was created, and its name.
type Owner = (SystemTime, ServiceName);

#[derive(Debug)]
struct Slot {
    entry: Arc<BookEntry>,
    leaves: Option<Instant>,
}

// === impl Board ===

impl Board {
    pub(crate) fn new(book: watch::Sender<Arc<RevisionBook>>, routes: watch::Sender<Arc<RouteTable>>) -> Self {
        Self { state: Mutex::default(), book, routes }
    }

    /// Publishes what has come together, and from now on every change.
    pub(crate) fn open(&self) {
        {
            let mut state = self.lock();
            state.is_open = true;
            // Also when there is neither: it is the word that there is none.
            (state.book_changed, state.routes_changed) = (true, true);
        }
        self.publish();
    }

    /// Has the first table been published?
    pub(crate) fn is_open(&self) -> bool {
        self.lock().is_open
    }

    /// Publishes what has changed: the book first, for routes must not lead to what is not in it.
    pub(crate) fn publish(&self) {
        let mut state = self.lock();
        if !state.is_open {
            return;
        }
        if std::mem::take(&mut state.book_changed) {
            let entries = state.slots.iter().map(|(name, slot)| (name.clone(), slot.entry.clone())).collect();
            self.book.send_replace(Arc::new(RevisionBook { entries }));
        }
        if std::mem::take(&mut state.routes_changed) {
            let mut hosts = HashMap::new();
            for (host, route) in state.routes.values().flatten() {
                // `a---b` may be a service of earlier days and a tag of `b`: the older service keeps the host.
                hosts.entry(host.clone()).or_insert_with(|| route.clone());
            }
            self.routes.send_replace(Arc::new(RouteTable { hosts, is_whole: true }));
        }
    }

    /// Notes that the engine has the revision ready.
    pub(crate) fn prepared(&self, revision: &RevisionName) {
        self.lock().prepared.insert(revision.clone());
    }

    /// Has the engine the revision ready?
    pub(crate) fn is_prepared(&self, revision: &RevisionName) -> bool {
        self.lock().prepared.contains(revision)
    }

    /// Puts the revision into the book, or changes its entry but for the bounds.
    pub(crate) fn offer(&self, revision: &RevisionName, mut entry: BookEntry) {
        let mut state = self.lock();
        if let Some(slot) = state.slots.get(revision) {
            (entry.min, entry.max) = (slot.entry.min, slot.entry.max);
            if *slot.entry == entry {
                return;
            }
        }
        state.slots.insert(revision.clone(), Slot { entry: Arc::new(entry), leaves: None });
        state.book_changed = true;
    }

    /// What the fleet is told of the revision, if anything.
    pub(crate) fn offered(&self, revision: &RevisionName) -> Option<Check> {
        self.lock().slots.get(revision).map(|slot| slot.entry.check)
    }

    /// Sets the bounds of a revision in the book, which stays there.
    pub(crate) fn serve(&self, revision: &RevisionName, (min, max): (u32, u32)) {
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(revision) else { return };
        slot.leaves = None;
        if (slot.entry.min, slot.entry.max) != (min, max) {
            slot.entry = Arc::new(BookEntry { min, max, ..BookEntry::clone(&slot.entry) });
            state.book_changed = true;
        }
    }

    /// Lets a revision go: nothing is kept of it, and after [`RETIRE_AFTER`] it leaves the book. Says when
    /// to ask again.
    pub(crate) fn retire(&self, revision: &RevisionName, now: Instant) -> Option<Duration> {
        let mut state = self.lock();
        let slot = state.slots.get_mut(revision)?;
        let leaves = *slot.leaves.get_or_insert(now + RETIRE_AFTER);
        if leaves > now {
            if slot.entry.min > 0 {
                slot.entry = Arc::new(BookEntry { min: 0, ..BookEntry::clone(&slot.entry) });
                state.book_changed = true;
            }
            return Some(leaves - now);
        }
        state.withdraw(revision);
        None
    }

    /// Takes a revision out of the book at once.
    pub(crate) fn withdraw(&self, revision: &RevisionName) {
        self.lock().withdraw(revision);
    }

    /// Notes whether traffic goes to a revision; says whether that is news.
    pub(crate) fn set_activity(&self, revision: &RevisionName, activity: Activity) -> bool {
        self.lock().activity.insert(revision.clone(), activity) != Some(activity)
    }

    /// Does traffic go to the revision? `None` before its service was looked at.
    pub(crate) fn activity(&self, revision: &RevisionName) -> Option<Activity> {
        self.lock().activity.get(revision).copied()
    }

    /// Sets where the hosts of a service lead that was created at `created`.
    pub(crate) fn route(&self, service: &ServiceName, created: SystemTime, hosts: Hosts) {
        let mut state = self.lock();
        let owner = (created, service.clone());
        if state.routes.get(&owner) == Some(&hosts) {
            return;
        }
        // A service that was deleted and created again has another age.
        if let Some(before) = state.owners.insert(service.clone(), created) {
            state.routes.remove(&(before, service.clone()));
        }
        state.routes.insert(owner, hosts);
        state.routes_changed = true;
    }

    /// Forgets the hosts of a service.
    pub(crate) fn unroute(&self, service: &ServiceName) {
        let mut state = self.lock();
        if let Some(created) = state.owners.remove(service) {
            state.routes.remove(&(created, service.clone()));
            state.routes_changed = true;
        }
    }

    /// Forgets everything of a revision.
    pub(crate) fn forget(&self, revision: &RevisionName) {
        let mut state = self.lock();
        state.withdraw(revision);
        state.activity.remove(revision);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn withdraw(&mut self, revision: &RevisionName) {
        // The engine may drop what it has ready once nobody can start it: it is asked again.
        self.prepared.remove(revision);
        if self.slots.remove(revision).is_some() {
            self.book_changed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use updraft_model::{Parent, iam::InvokerAccess, service::Ingress};

    use super::*;

    #[test]
    fn of_two_services_the_older_keeps_the_host() {
        let routes = watch::Sender::new(Arc::default());
        let board = Board::new(watch::Sender::new(Arc::default()), routes.clone());
        board.open();
        let place = Parent::new("demo-project", "here");
        let route = |id: &str, age: u64| {
            let service = place.service(id);
            let (ingress, invoker) = (Ingress::All, InvokerAccess::Open);
            let route = Route { service: service.clone(), ingress, invoker, targets: Vec::new() };
            let created = SystemTime::UNIX_EPOCH + Duration::from_secs(age);
            board.route(&service, created, vec![("t---ws".into(), Arc::new(route))]);
            board.publish();
            routes.borrow().hosts["t---ws"].service.service.clone()
        };
        assert_eq!(route("ws", 1), "ws");
        assert_eq!(route("t---ws", 2), "ws");
        // Deleted and created again, it is the younger one.
        assert_eq!(route("ws", 3), "t---ws");
    }
}
