//! Which service accounts may be used, published for those who check tokens.
//!
//! The book is written before the answer to the call that changed an account, so a token of a disabled account is
//! refused once `disable` has answered. A call whose client left in between is made up for by the watch of the store.

use std::{collections::HashMap, sync::Arc};

use tokio::sync::{Mutex, watch};
use updraft_model::{
    Error,
    account::{AccountBook, AccountEntry, Standing},
};
use updraft_store::{Envelope, Key, Kind, Page, Selection, Store};

use super::{accounts::AccountRecord, keys::KeyRecord};
use crate::{failure::of_store, record};

/// The book's one writer.
pub(crate) struct Accounts {
    published: watch::Sender<Arc<AccountBook>>,
    /// The unique id that is published of each account. Held while the store is read: whoever comes later has read later.
    ids: Mutex<HashMap<Key, Arc<str>>>,
}

// === impl Accounts ===

impl Accounts {
    /// Publishes all accounts of the store.
    ///
    /// # Errors
    /// `Internal` when they cannot be read.
    pub(crate) async fn load(store: &dyn Store, published: watch::Sender<Arc<AccountBook>>) -> Result<Self, Error> {
        let accounts = Self { published, ids: Mutex::default() };
        accounts.reload(store).await?;
        Ok(accounts)
    }

    /// Publishes all accounts anew.
    ///
    /// # Errors
    /// As [`Accounts::load`].
    pub(crate) async fn reload(&self, store: &dyn Store) -> Result<(), Error> {
        let mut ids = self.ids.lock().await;
        let stored = store.list(&Selection::of(Kind::ServiceAccount), &Page::default()).await.map_err(of_store)?;
        ids.clear();
        let mut book = AccountBook::default();
        for envelope in stored {
            // One that cannot be read is gone, as far as tokens are concerned, and no reason not to start.
            let (id, entry) = match entry(&envelope) {
                Ok(read) => read,
                Err(error) => {
                    tracing::error!(%error, cause = error.cause(), key = %envelope.key, "service account could not be read");
                    continue;
                }
            };
            book.insert(id.clone(), entry);
            ids.insert(envelope.key, id);
        }
        self.published.send_replace(Arc::new(book));
        Ok(())
    }

    /// Publishes what the store now says of the account at `key`. Where it cannot be read the account is taken for
    /// disabled until it can be.
    ///
    /// # Errors
    /// `Internal` when it cannot be read.
    pub(crate) async fn publish(&self, store: &dyn Store, key: &Key) -> Result<(), Error> {
        let mut ids = self.ids.lock().await;
        let read = store.get(key).await.map_err(of_store).and_then(|found| found.as_ref().map(entry).transpose());
        let mut book = AccountBook::clone(&self.published.borrow());
        let before = ids.get(key).cloned();
        match &read {
            Ok(now) => {
                if let Some(before) = before {
                    book.remove(&before);
                    ids.remove(key);
                }
                if let Some((id, entry)) = now {
                    book.insert(id.clone(), entry.clone());
                    ids.insert(key.clone(), id.clone());
                }
            }
            Err(_) => {
                if let Some(before) = before
                    && let Some(entry) = book.entries.get(&before)
                {
                    let entry = AccountEntry { standing: Standing::Disabled, ..AccountEntry::clone(entry) };
                    book.insert(before, entry);
                }
            }
        }
        self.published.send_replace(Arc::new(book));
        read.map(drop)
    }

    /// The account of this unique id, if it is written down.
    pub(crate) fn find(&self, unique_id: &str) -> Option<Arc<AccountEntry>> {
        self.published.borrow().entries.get(unique_id).cloned()
    }
}

fn entry(envelope: &Envelope) -> Result<(Arc<str>, AccountEntry), Error> {
    let record: AccountRecord = record::read(envelope)?;
    let standing = if record.disabled { Standing::Disabled } else { Standing::Active };
    let (email, project) = (envelope.key.name.clone(), envelope.key.parent.project.clone());
    let keys = record.keys.iter().map(KeyRecord::held).collect();
    Ok((record.unique_id.into(), AccountEntry { email, project, standing, keys }))
}
