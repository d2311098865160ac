//! Service accounts, as far as tokens ask about them.
//!
//! What an account is kept with is the control plane's; whoever checks a token needs only whether the account is still
//! there and may be used, at once and without a store.

use std::{sync::Arc, time::SystemTime};

use crate::{
    level::Level,
    name::{fnv1a, project_number},
};

/// The accounts that were written down, by their unique ids. A level, control → identity.
#[derive(Debug, Clone, Default)]
pub struct AccountBook {
    /// By unique id, which is never given twice: an account that is made again under its old address is another one.
    pub entries: Level<Arc<str>, Arc<AccountEntry>>,
    /// The unique ids, by address.
    pub ids: Level<Arc<str>, Arc<str>>,
}

/// What the book says of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountEntry {
    /// Its address.
    pub email: String,
    /// The id of its project.
    pub project: String,
    /// May it be used?
    pub standing: Standing,
    /// The keys that others hold of it.
    pub keys: Vec<HeldKey>,
}

/// The public half of a key that others hold of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldKey {
    /// Its id.
    pub id: String,
    /// The certificate that holds it, in PEM.
    pub certificate: String,
    /// From when on it may be used.
    pub valid_after: SystemTime,
    /// Until when; `None`: always.
    pub valid_before: Option<SystemTime>,
    /// May it be used?
    pub is_enabled: bool,
}

/// Whether an account may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Active,
    /// It is there, and switched off.
    Disabled,
    /// There is none.
    Gone,
}

// === impl AccountBook ===

impl AccountBook {
    /// Puts an account in, in the place of the one with that unique id.
    pub fn insert(&mut self, unique_id: Arc<str>, entry: AccountEntry) {
        self.remove(&unique_id);
        self.ids.insert(entry.email.as_str().into(), unique_id.clone());
        self.entries.insert(unique_id, Arc::new(entry));
    }

    /// Takes an account out.
    pub fn remove(&mut self, unique_id: &str) {
        let Some(entry) = self.entries.remove(unique_id) else { return };
        // Another account may have the address by now.
        if self.ids.get(entry.email.as_str()).is_some_and(|id| &**id == unique_id) {
            self.ids.remove(entry.email.as_str());
        }
    }

    /// The account that is meant by an address or a unique id, and its unique id.
    pub fn find(&self, name: &str) -> Option<(Arc<str>, &AccountEntry)> {
        let id = self.ids.get(name).cloned().unwrap_or_else(|| name.into());
        self.entries.get(&id).map(|entry| (id.clone(), &**entry))
    }

    /// How the account with this unique id stands. The default account of a project is there before anything is
    /// written down of it, and cannot be deleted.
    pub fn standing(&self, unique_id: &str, project: &str) -> Standing {
        match self.entries.get(unique_id) {
            Some(entry) => entry.standing,
            None if default_unique_id(project) == unique_id => Standing::Active,
            None => Standing::Gone,
        }
    }
}

/// The address of what services of a project run as when they name no account.
pub fn default_email(project: &str) -> String {
    format!("{}-compute@developer.gserviceaccount.com", project_number(project))
}

/// The unique id of that account.
pub fn default_unique_id(project: &str) -> String {
    unique_id_of(&default_email(project))
}

/// The unique id that the default account with this address has.
pub fn unique_id_of(default_email: &str) -> String {
    format!("1{:020}", fnv1a(default_email.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_stands_as_the_book_says_and_a_default_one_without_it() {
        let entry = |name: &str, standing| AccountEntry {
            email: format!("{name}@p.iam.gserviceaccount.com"),
            project: "p".to_owned(),
            standing,
            keys: Vec::new(),
        };
        let default = default_unique_id("p");
        let mut book = AccountBook::default();
        book.insert("1".into(), entry("a", Standing::Active));
        book.insert("2".into(), entry("b", Standing::Disabled));
        for (id, standing) in [
            ("1", Standing::Active),
            ("2", Standing::Disabled),
            ("3", Standing::Gone),
            ("", Standing::Gone),
            (default.as_str(), Standing::Active),
        ] {
            assert_eq!(book.standing(id, "p"), standing, "{id}");
        }
        assert_eq!(book.standing(&default, "q"), Standing::Gone, "it is another project's");
        book.insert(default.as_str().into(), entry("c", Standing::Disabled));
        assert_eq!(book.standing(&default, "p"), Standing::Disabled);
    }

    #[test]
    fn an_account_is_found_by_its_address_until_another_has_it() {
        let entry =
            |standing| AccountEntry { email: "a@p".to_owned(), project: "p".to_owned(), standing, keys: Vec::new() };
        let mut book = AccountBook::default();
        book.insert("1".into(), entry(Standing::Active));
        assert_eq!(book.find("a@p").map(|(id, _)| id), Some("1".into()));
        assert_eq!(book.find("1").map(|(id, _)| id), Some("1".into()));
        book.insert("2".into(), entry(Standing::Disabled));
        book.remove("1");
        assert_eq!(book.find("a@p").map(|(id, entry)| (id, entry.standing)), Some(("2".into(), Standing::Disabled)));
        book.remove("2");
        assert!(book.find("a@p").is_none() && book.find("2").is_none() && book.ids.is_empty());
    }
}
