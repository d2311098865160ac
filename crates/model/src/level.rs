//! The map that a level is made of: versions of it share what they have in common.
//!
//! A level is published whole at every change, and its readers want to know what is new. So its entries are spread over
//! [`SHARDS`] small maps: a change copies the one that it falls into, and whoever compares two versions goes only
//! through those that are not the same piece of memory. Both cost the same few microseconds for ten entries and for a
//! hundred thousand. Keys and values that are cheap to clone, such as an `Arc`, keep it so.

use std::{
    borrow::Borrow,
    collections::{HashMap, hash_map::DefaultHasher},
    fmt,
    hash::{BuildHasher, BuildHasherDefault, Hash},
    sync::Arc,
};

/// Into how many small maps the entries are spread: at 100,000 entries a change copies a hundred, and a version of its
/// own costs 8 KiB.
pub const SHARDS: usize = 1024;

type Shard<K, V> = Arc<HashMap<K, V>>;

/// A map that is cheap to copy, to change after that, and to compare with what it was before.
#[derive(Clone)]
pub struct Level<K, V> {
    shards: Box<[Shard<K, V>]>,
    len: usize,
}

// === impl Level ===

impl<K, V> Level<K, V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Is there none?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// The keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }
}

impl<K: Hash + Eq, V> Level<K, V> {
    /// What is at `key`.
    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shards.get(index(key))?.get(key)
    }

    /// Is there something at `key`?
    pub fn contains_key<Q>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.get(key).is_some()
    }

    /// What is not as it was `before`: the keys, and what is there now, if anything. What both versions have in common is
    /// not looked at; of the rest, `is_same` says what has not changed.
    pub fn changes<'a>(
        &'a self,
        before: &'a Self,
        is_same: impl Fn(&V, &V) -> bool,
    ) -> impl Iterator<Item = (&'a K, Option<&'a V>)> {
        let pairs = self.shards.iter().zip(&before.shards).filter(|(now, before)| !Arc::ptr_eq(now, before));
        pairs.flat_map(move |(now, before)| {
            let gone = before.keys().filter(|key| !now.contains_key(*key)).map(|key| (key, None));
            let is_news = |(key, value): &(&K, &V)| before.get(*key).is_none_or(|old| !is_same(value, old));
            let news = now.iter().filter(is_news).map(|(key, value)| (key, Some(value)));
            gone.chain(news).collect::<Vec<_>>()
        })
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Level<K, V> {
    /// Puts `value` at `key`; returns what was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let before = Arc::make_mut(self.shards.get_mut(index(&key))?).insert(key, value);
        self.len += usize::from(before.is_none());
        before
    }

    /// Removes and returns what is at `key`.
    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let shard = self.shards.get_mut(index(key))?;
        // Looked for first: what is not there is no reason for a copy.
        if !shard.contains_key(key) {
            return None;
        }
        let before = Arc::make_mut(shard).remove(key);
        self.len -= usize::from(before.is_some());
        before
    }
}

/// Which shard has a key: the same one in every version, so nothing here is random.
fn index<Q: Hash + ?Sized>(key: &Q) -> usize {
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
    usize::try_from(hash % SHARDS as u64).unwrap_or_default()
}

impl<K, V> Default for Level<K, V> {
    fn default() -> Self {
        let empty = Shard::default();
        Self { shards: (0..SHARDS).map(|_| empty.clone()).collect(), len: 0 }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> FromIterator<(K, V)> for Level<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut level = Self::default();
        for (key, value) in entries {
            level.insert(key, value);
        }
        level
    }
}

impl<K: Hash + Eq, V: PartialEq> PartialEq for Level<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.changes(other, V::eq).next().is_none()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for Level<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const MANY: usize = 100_000;

    fn of_numbers(count: usize) -> Level<Arc<str>, usize> {
        (0..count).map(|number| (key(number), number)).collect()
    }

    fn key(number: usize) -> Arc<str> {
        format!("service-{number}.run.localhost").into()
    }

    fn changes(now: &Level<Arc<str>, usize>, before: &Level<Arc<str>, usize>) -> Vec<(Arc<str>, Option<usize>)> {
        now.changes(before, usize::eq).map(|(key, value)| (key.clone(), value.copied())).collect()
    }

    #[test]
    fn it_is_a_map() {
        let mut level = of_numbers(5);
        assert_eq!((level.len(), level.get("service-3.run.localhost")), (5, Some(&3)));
        assert_eq!(level.insert(key(3), 33), Some(3));
        assert_eq!(level.remove("service-4.run.localhost"), Some(4));
        assert_eq!(level.remove("service-4.run.localhost"), None);
        assert!(level.contains_key("service-3.run.localhost") && !level.contains_key("service-4.run.localhost"));
        let mut entries: Vec<_> = level.iter().map(|(_, number)| *number).collect();
        entries.sort_unstable();
        assert_eq!((entries, level.len(), level.keys().count()), (vec![0, 1, 2, 33], 4, 4));
        assert!(Level::<Arc<str>, usize>::default().is_empty());
    }

    #[test]
    fn versions_are_equal_by_what_is_in_them() {
        let (one, mut other) = (of_numbers(100), of_numbers(100));
        assert_eq!(one, other);
        other.insert(key(7), 8);
        assert_ne!(one, other);
        other.insert(key(7), 7);
        assert_eq!(one, other);
        other.remove(&key(7));
        assert_ne!(one, other);
    }

    #[test]
    fn what_is_put_changed_or_removed_is_told_and_nothing_else() {
        let before = of_numbers(MANY);
        let mut now = before.clone();
        assert!(changes(&now, &before).is_empty());
        now.insert(key(1), 11);
        now.insert(key(2), 2);
        now.remove(&key(3));
        now.insert(key(MANY), MANY);
        let mut told = changes(&now, &before);
        told.sort_unstable();
        let mut expected = vec![(key(1), Some(11)), (key(3), None), (key(MANY), Some(MANY))];
        expected.sort_unstable();
        assert_eq!(told, expected);
        // The version before is as it was.
        assert_eq!((before.get(&key(1)), before.get(&key(3)), before.len()), (Some(&1), Some(&3), MANY));
    }

    #[test]
    fn a_change_copies_one_shard_and_a_comparison_looks_at_that_one_only() {
        let before = of_numbers(MANY);
        let mut now = before.clone();
        now.insert(key(1), 11);
        let copied = now.shards.iter().zip(&before.shards).filter(|(now, before)| !Arc::ptr_eq(now, before));
        assert_eq!(copied.count(), 1);
        let looked_at = Cell::new(0);
        let told = now.changes(&before, |now, before| {
            looked_at.set(looked_at.get() + 1);
            now == before
        });
        assert_eq!(told.count(), 1);
        assert!(looked_at.get() < 10 * MANY / SHARDS, "{} entries of {MANY} were looked at", looked_at.get());
    }

    #[test]
    fn no_shard_is_much_larger_than_the_others() {
        let largest = of_numbers(MANY).shards.iter().map(|shard| shard.len()).max().unwrap_or_default();
        assert!(largest < 3 * MANY / SHARDS, "{largest}");
    }
}
