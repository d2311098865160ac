//! Service accounts, as far as tokens ask about them.
//!
//! What an account is kept with is the control plane's; whoever checks a token needs only whether the account is still
//! there and may be used, at once and without a store.

use std::sync::Arc;

use crate::{
    level::Level,
    name::{fnv1a, project_number},
};

/// The accounts that were written down, by their unique ids. A level, control → identity.
#[derive(Debug, Clone, Default)]
pub struct AccountBook {
    /// By unique id, which is never given twice: an account that is made again under its old address is another one.
    pub entries: Level<Arc<str>, Arc<AccountEntry>>,
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
    /// How the account with this unique id stands. The default account of a project is there before anything is
    /// written down of it, and cannot be deleted.
    pub fn standing(&self, unique_id: &str, project: &str) -> Standing {
        match self.entries.get(unique_id) {
            Some(entry) => entry.standing,
            None if default_unique_id(&default_email(project)) == unique_id => Standing::Active,
            None => Standing::Gone,
        }
    }
}

/// The address of what services of a project run as when they name no account.
pub fn default_email(project: &str) -> String {
    format!("{}-compute@developer.gserviceaccount.com", project_number(project))
}

/// The unique id of the account with that address.
pub fn default_unique_id(default_email: &str) -> String {
    format!("1{:020}", fnv1a(default_email.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_stands_as_the_book_says_and_a_default_one_without_it() {
        let entry = |standing| {
            Arc::new(AccountEntry {
                email: "a@p.iam.gserviceaccount.com".to_owned(),
                project: "p".to_owned(),
                standing,
            })
        };
        let default = default_unique_id(&default_email("p"));
        let mut book = AccountBook::default();
        book.entries.insert("1".into(), entry(Standing::Active));
        book.entries.insert("2".into(), entry(Standing::Disabled));
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
        book.entries.insert(default.as_str().into(), entry(Standing::Disabled));
        assert_eq!(book.standing(&default, "p"), Standing::Disabled);
    }
}
