//! Places that run out: so many for all, and so many of them for each.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Places for those who come, by who they are: nobody can take them all. Cheap to clone.
#[derive(Debug)]
pub struct Seats<K>(Arc<Room<K>>);

#[derive(Debug)]
struct Room<K> {
    all: usize,
    each: usize,
    taken: Mutex<Taken<K>>,
}

#[derive(Debug)]
struct Taken<K> {
    count: usize,
    by: HashMap<K, usize>,
}

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub struct Seat<K: Hash + Eq> {
    room: Arc<Room<K>>,
    who: K,
}

// === impl Seats ===

impl<K: Hash + Eq + Clone> Seats<K> {
    /// So many places for all, and of them no more than `each` for one.
    pub fn new(all: usize, each: usize) -> Self {
        let taken = Mutex::new(Taken { count: 0, by: HashMap::new() });
        Self(Arc::new(Room { all, each, taken }))
    }

    /// A place, if there is one for `who`.
    pub fn take(&self, who: &K) -> Option<Seat<K>> {
        let mut taken = self.0.taken();
        let has = taken.by.get(who).copied().unwrap_or_default();
        if taken.count >= self.0.all || has >= self.0.each {
            return None;
        }
        taken.count += 1;
        taken.by.insert(who.clone(), has + 1);
        Some(Seat { room: self.0.clone(), who: who.clone() })
    }
}

impl<K> Clone for Seats<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

// === impl Room ===

impl<K> Room<K> {
    fn taken(&self) -> MutexGuard<'_, Taken<K>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Seat ===

impl<K: Hash + Eq> Drop for Seat<K> {
    fn drop(&mut self) {
        let mut taken = self.room.taken();
        taken.count -= 1;
        let Some(has) = taken.by.get_mut(&self.who) else { return };
        *has -= 1;
        // Whoever has none is forgotten: names come and go.
        if *has == 0 {
            taken.by.remove(&self.who);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_the_places_of_others_and_there_are_no_more_than_there_are() {
        let seats = Seats::new(3, 2);
        let first = seats.take(&"a").expect("there are three");
        let _second = seats.take(&"a").expect("of which two are for one");
        assert!(seats.take(&"a").is_none());
        let third = seats.take(&"b").expect("the last one");
        assert!(seats.take(&"c").is_none());
        drop(first);
        assert!(seats.take(&"c").is_some_and(|_| seats.clone().take(&"a").is_none()), "it is taken for now");
        drop(third);
        assert_eq!(seats.0.taken().by, [("a", 1)].into(), "who has none is forgotten");
    }
}
